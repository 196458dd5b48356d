"""``t4spp grammar`` prints what decoding uses, as servers take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import llguidance
import pytest
from llguidance.hf import from_tokenizer
from support_backbone import byte_tokenizer
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from t4spp.cli import main
from t4spp.cli.grammar import HEADER, answers_of, labels_of
from t4spp.data.conversations import wrap
from t4spp.data.templates import TEMPLATES
from t4spp.decoding.constraint import Constraint, answer_grammar
from t4spp.errors import ConfigError, SchemeError
from t4spp.testing import build_scheme, build_tokenizer

SCHEMES = ("image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick")
OPENINGS = [opening for kind in TEMPLATES.values() for opening in kind.answers]
CONFIG = """\
name: asked
scheme: {name: image-rrle, params: {grid: 4}}
backbone: {name: tiny-text}
data: {recipe: {name: rectangles}}
"""


@pytest.fixture
def config(tmp_path: Path, project: Path) -> list[str]:
    file = tmp_path / "asked.yaml"
    file.write_text(CONFIG)
    plugin = project / "tests" / "support_backbone.py"
    return [str(file), "--plugin-file", str(plugin)]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main(["grammar", *arguments])
    out = capsys.readouterr()
    assert code == 0, out.err
    return out.out


def test_answers_grammar_is_decodings_under_a_header(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed(capsys, *config, "--labels", "dog, cat on the left")
    scheme = build_scheme("image-rrle", grid=4)
    assert found == HEADER + answer_grammar(scheme, ("dog", "cat on the left"))
    assert found.startswith("%llguidance {}\nstart: OPENING_OF_THE_ANSWER")
    assert '"Here it is.\\n<seg>"' in found.splitlines()[2]


def test_bare_descriptor_and_free_labels(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    scheme = build_scheme("image-rrle", grid=4)
    found = printed(capsys, *config, "--free-labels", "--descriptor")
    assert found == HEADER + scheme.grammar(None)


def test_json_holds_grammar_labels_and_scheme(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(capsys, *config, "--labels", "dog", "--labels", "cat", "--json"))
    scheme = build_scheme("image-rrle", grid=4)
    assert set(found) == {"scheme", "labels", "grammar"}
    assert (found["scheme"], found["labels"]) == (scheme.fingerprint(), ["dog", "cat"])
    assert found["grammar"].startswith(HEADER)


def test_backbone_that_is_loaded_says_what_its_tags_are(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed(capsys, *config, "--labels", "dog", "--load")
    tokenizer = byte_tokenizer()
    constraint = Constraint.of(tokenizer, [tokenizer.eos_token_id])
    assert found == HEADER + constraint.lark(build_scheme("image-rrle", grid=4), ("dog",))


def test_tags_that_are_tokens_stand_unquoted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(project / "configs" / "experiments" / "quickstart.yaml")
    found = printed(capsys, file, "--labels", "dog", "--set", "scheme.params.grid=4")
    assert found.splitlines()[1] == (
        "start: OPENING_OF_THE_ANSWER <seg> descriptor_of_the_scheme_opened"
    )


@pytest.mark.parametrize("labels", [("dog", "the cat's ::= left"), None], ids=["given", "free"])
@pytest.mark.parametrize("name", SCHEMES)
def test_servers_take_the_grammar_as_it_is(name: str, labels: tuple[str, ...] | None) -> None:
    scheme = build_scheme(name, grid=4)
    printed = HEADER + answer_grammar(scheme, labels)
    tokenizer: Any = build_tokenizer(scheme.special_tokens)
    # What vLLM (structured_outputs.grammar) and SGLang (ebnf) call.
    for kind in ("grammar", "ebnf", "lark"):
        serialised = llguidance.grammar_from(kind, printed)  # type: ignore[arg-type]
        matcher = llguidance.LLMatcher(from_tokenizer(tokenizer), serialised, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        text = wrap("Here it is.", scheme.encode((), (8, 8)))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert matcher.try_consume_tokens(ids) == len(ids)
        assert matcher.is_accepting()


def test_labels_are_parted_by_commas_or_are_a_list() -> None:
    assert labels_of(["dog, cat ", "dog", "bird,"]) == ("dog", "cat", "bird")
    assert labels_of(['["a, b", c]']) == ("a, b", "c")
    for texts, message in (
        (["", " , "], "the list is empty"),
        (["[]"], "the list is empty"),
        (["[1, a]"], "1 is no text"),
    ):
        with pytest.raises(ConfigError, match=message):
            labels_of(texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--labels --free-labels is required"),
        (["--labels", "dog", "--free-labels"], "not allowed with"),
        (["--labels", ""], "the list is empty"),
        (["--labels", "a|b"], "cannot be written"),
        (["--labels", "dog", "--set", "scheme.name=image-irle", "--set", "scheme.params.grid=64"],
         "has no grammar on a grid of 64 x 64"),
        (["--labels", "dog", "--set", "scheme.name=next-bricks"], "Did you mean 'next-brick'?"),
    ],
)  # fmt: skip
def test_mistakes_are_told(
    config: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grammar", *config, *arguments]) == 2
    assert message in capsys.readouterr().err


class Lettered:
    """A backbone whose tokenizer knows a few letters and no bytes."""

    model = None
    answer_joint = ""
    tokenizer: Any = None

    def load(self, scheme_tokens: Any) -> None:
        known = dict.fromkeys("$" + "".join(OPENINGS) + "others<seg>/*|0123456789")
        letters = ["Ġ", "Ċ", *(letter for letter in known if letter != " ")]
        inner = Tokenizer(BPE({letter: n for n, letter in enumerate(letters)}, []))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        make: Any = PreTrainedTokenizerFast
        self.tokenizer = make(tokenizer_object=inner, eos_token="$")


def test_label_that_no_token_spells_is_refused() -> None:
    scheme, backbone = build_scheme("image-rrle", grid=4), Lettered()
    assert '"she *4"' in answers_of(scheme, backbone, ("she",), load=True)  # type: ignore[arg-type]
    with pytest.raises(SchemeError, match="spells the label 'shé'"):
        answers_of(scheme, backbone, ("shé",), load=True)  # type: ignore[arg-type]


def test_answers_that_talk_have_a_grammar_that_lets_them(
    config: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grammar", *config, "--labels", "road"]) == 0
    quiet = capsys.readouterr().out
    assert main(["grammar", *config, "--labels", "road", "--set", "generation.talks=true"]) == 0
    talking = capsys.readouterr().out
    assert "/[^<]{0,400}/" in talking
    assert "/[^<]{0,400}/" not in quiet
