"""``t4spp bench decode --replay`` from end to end, and the replay itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t4spp.cli import main
from t4spp.decoding.constraint import Constraint
from t4spp.decoding.planning import Row
from t4spp.errors import SchemeError
from t4spp.evaluation.replay import (
    RefusedError,
    Replayed,
    replay,
    replay_answer,
    spelt_under_grammar,
)
from t4spp.testing import build_scheme, build_tokenizer
from t4spp.types import Sample, Target

KEYS = {"name", "params", "mean_tokens", "mean_passes", "tokens_per_pass", "mean_drafted"}
OPENED = "Here it is.\n<seg>"


def sample_of(mask: Any, labels: Sequence[str] = ("dog",), **more: Any) -> Sample:
    return Sample(
        id="0",
        size=mask.shape,
        prompt="|".join(labels),
        labels=tuple(labels),
        targets=(Target(label="dog", mask=mask),),
        **more,
    )


def square() -> Any:
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:20, 12:30] = True
    return mask


def entrant(name: str, **params: Any) -> Replayed:
    scheme = build_scheme(name, **params)
    return Replayed(
        name=name, params=params, scheme=scheme, tokenizer=build_tokenizer(scheme.special_tokens)
    )


def test_still_rows_take_a_handful_of_passes() -> None:
    played = entrant("image-rrle", grid=16)
    (found,) = replay([sample_of(square())], [played])
    text = OPENED + played.scheme.encode([Target(label="dog", mask=square())], (32, 32)) + "</seg>"
    assert found.mean_tokens == len(played.tokenizer(text)["input_ids"]) + 1
    # The prompt's; the blank rows and the outline's left, its right; the rows below it; the rest.
    assert found.mean_passes <= 6
    assert found.tokens_per_pass == found.mean_tokens / found.mean_passes
    assert (found.num_answers, found.refused, found.unwritable) == (1, {}, {})


def test_without_drafts_only_what_the_grammar_forces_saves_passes() -> None:
    played = entrant("image-rrle", grid=16)
    (none,) = replay([sample_of(square())], [played], max_draft=0)
    (few,) = replay([sample_of(square())], [played], max_draft=10)
    (many,) = replay([sample_of(square())], [played])
    assert none.mean_drafted == 0
    assert none.mean_tokens == few.mean_tokens == many.mean_tokens
    assert none.mean_tokens > none.mean_passes > few.mean_passes > many.mean_passes
    assert few.mean_drafted <= 10 * few.mean_passes


def test_answers_are_summed_before_they_are_divided() -> None:
    played = entrant("image-rrle", grid=16)
    short, long = sample_of(np.zeros((32, 32), dtype=bool)), sample_of(square())
    (one,), (two,) = replay([short], [played]), replay([long], [played])
    (both,) = replay([short, long], [played])
    assert both.mean_tokens == (one.mean_tokens + two.mean_tokens) / 2
    tokens, passes = one.mean_tokens + two.mean_tokens, one.mean_passes + two.mean_passes
    assert both.tokens_per_pass == pytest.approx(tokens / passes)


def test_answer_that_the_grammar_refuses_counts_a_pass_a_token() -> None:
    played = entrant("image-rrle", grid=16)
    asked = sample_of(square(), ["cat"])
    (found,) = replay([asked], [played])
    assert found.tokens_per_pass == 1
    assert list(found.refused.values()) == [1]
    assert "cat', which the answer does not hold" in next(iter(found.refused))


def test_answer_that_the_scheme_cannot_write_counts_nowhere() -> None:
    played = entrant("image-rrle", grid=16)
    labelled = sample_of(square())
    broken = Sample(
        id="1", size=(32, 32), prompt="a|b", labels=("dog",),
        targets=(Target(label="a|b", mask=square()),),
    )  # fmt: skip
    (found,) = replay([labelled, broken], [played])
    (alone,) = replay([labelled], [played])
    assert (found.num_answers, list(found.unwritable.values())) == (1, [1])
    assert found.tokens_per_pass == alone.tokens_per_pass


def test_scheme_without_a_grammar_is_told() -> None:
    with pytest.raises(SchemeError, match="no grammar"):
        replay([sample_of(square())], [entrant("image-irle", grid=64)])


class Faulty(Row):
    """Writes another token than it should."""

    def _choice(self, *args: Any) -> int:
        return super()._choice(*args) + 1


def test_replay_notices_when_it_departs_from_the_answer() -> None:
    with pytest.raises(RuntimeError, match="departs from the answer behind 0 tokens"):
        replay_answer(Faulty(None, None, [9]), [5, 6, 9], 4)


def test_replay_notices_when_the_answer_ends_too_soon() -> None:
    with pytest.raises(RuntimeError, match="ends after 2 of 3 tokens"):
        replay_answer(Row(None, None, [6]), [5, 6, 9], 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OPENED + "dog *4\n dog *4\n</seg>", "does not admit"),
        (OPENED + "dog *5", "does not admit"),
        ("Here it is not.", "forces"),
        (OPENED + "dog *4\n" + " dog *4\n" * 3 + "</se", "end"),
    ],
)
def test_text_outside_the_grammar_is_refused(text: str, message: str) -> None:
    played = entrant("image-rrle", grid=4)
    constraint = Constraint.of(played.tokenizer, [played.tokenizer.eos_token_id])
    matcher = constraint.matcher(played.scheme, ("dog",))
    with pytest.raises(RefusedError, match=message):
        spelt_under_grammar(text, played.tokenizer, matcher, 0)


def test_text_is_spelt_as_its_tokenizer_cuts_it() -> None:
    played = entrant("image-rrle", grid=4)
    constraint = Constraint.of(played.tokenizer, [played.tokenizer.eos_token_id])
    text = OPENED + "dog *4\n" + " dog *4\n" * 3 + "</seg>"
    matcher = constraint.matcher(played.scheme, ("dog",))
    found = spelt_under_grammar(text, played.tokenizer, matcher, 77)
    assert list(found) == [*played.tokenizer(text)["input_ids"], 77]


# The command


def camvid(shared_data: Path) -> list[str]:
    folder = shared_data / "camvid"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return ["--recipe", "semantic-folder", "--param", f"root={folder}", "--param", "preset=camvid"]


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    build_tokenizer(()).save_pretrained(str(tmp_path / "tokenizer"))
    return str(tmp_path / "tokenizer")


def test_replay_of_camvid(
    shared_data: Path, tokenizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["bench", "decode", "--replay", *camvid(shared_data), "--scheme", "image-rrle:grid=32",
         "--scheme", "image-rrle:grid=16", "--scheme", "next-brick:grid=16",
         "--tokenizer", tokenizer, "--limit", "40", "--json"]
    )  # fmt: skip
    out = capsys.readouterr()
    assert code == 0, out.err
    found = json.loads(out.out)
    assert set(found) == {"schemes"}
    assert [set(scheme) for scheme in found["schemes"]] == [KEYS] * 3
    fine, coarse, brick = found["schemes"]
    assert (fine["name"], fine["params"]) == ("image-rrle", {"grid": 32})
    assert fine["tokens_per_pass"] >= 13
    assert coarse["tokens_per_pass"] >= 13
    assert brick["tokens_per_pass"] >= 2.4
    assert "count" not in out.err


def test_table_for_people(tokenizer: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["bench", "decode", "--replay", "--recipe", "refshapes", "--scheme", "next-brick:grid=8",
         "--max-draft", "4", "--limit", "3", "--tokenizer", tokenizer]
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "refshapes: 3 true answers replayed; tokens over passes, sums"
    assert lines[1].split() == ["scheme", "tokens", "passes", "tokens", "a", "pass", "drafted"]
    assert lines[2].startswith("next-brick:grid=8")


REPLAY = ["--replay", "--recipe", "refshapes", "--scheme", "image-rrle:grid=8"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a run's folder or a config, or replay"),
        (["--replay"], "--recipe NAME"),
        (["--replay", "--recipe", "refshapes"], "name a scheme"),
        ([*REPLAY, "--max-draft", "-1"], "--max-draft -1: expected at least 0"),
        ([*REPLAY, "--limit", "0"], "--limit 0: expected at least 1"),
        ([*REPLAY, "--split", "vla"], "Did you mean 'val'?"),
        ([*REPLAY, "--tokenizer", "nowhere"], "no such folder"),
        ([*REPLAY, "run"], "RUN|CONFIG does not go with --replay"),
        ([*REPLAY, "--set", "seed=1"], "--set does not go with --replay"),
        (["run", "--scheme", "image-rrle"], "--scheme goes with --replay only"),
        (["run", "--max-draft", "4"], "--max-draft goes with --replay only"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "decode", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_scheme_that_can_write_none_of_the_answers_is_told(
    tokenizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["bench", "decode", "--replay", "--recipe", "refshapes", "--limit", "2",
         "--scheme", "image-rrle:grid=8,max_label_chars=1", "--tokenizer", tokenizer]
    )  # fmt: skip
    err = capsys.readouterr().err
    assert code == 2
    assert "2 answers cannot be written and count nowhere" in err
    assert "can write none of the answers" in err


def test_a_model_is_measured_in_every_way_on_the_same_prompts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = Path(__file__).parents[2] / "configs" / "experiments" / "quickstart.yaml"
    arguments = ["bench", "decode", str(config), "--samples", "2", "--batch-size", "1"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ways = {way["way"]: way for way in found["ways"]}
    held, fast = ways["generate, grammar"], ways["fast, forced tokens and drafts"]
    assert held["passes"] == held["tokens"] == fast["tokens"]
    assert fast["passes"] < held["passes"]
    for name, way in ways.items():
        assert way["equal"] in (None, 1.0), name
    assert held["well_formed"] == fast["well_formed"] == 1.0
    assert 0 < held["grammar"] < 1
    assert {way["grammar"] for way in found["ways"] if way != held} == {None}
    assert found["num_samples"] == 2

    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "tokens a pass" in table
    assert "fast, forced tokens and drafts" in table
