"""Generation inside the grammar of a scheme's answers, with weights that know nothing."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_backbone import TinyParams, TinyText
from tokenizers import AddedToken, Tokenizer
from transformers import GenerationConfig, PreTrainedTokenizerFast

from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder, wrap
from t4spp.data.templates import TEMPLATES
from t4spp.decoding.asking import EngineBatch, end_ids
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.constraint import Constraint, GrammarMask, answer_grammar
from t4spp.decoding.engine import constrained_engine, plain_engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import BackboneError, SchemeError
from t4spp.plugins import load_catalogue
from t4spp.schemes.base import Scheme
from t4spp.schemes.lark import append_literal
from t4spp.testing import GrammarWalker, build_scheme, build_tokenizer
from t4spp.testing.canvases import Canvas, canvas_strategy, written

SCHEMES = ("image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick")
LABELS: tuple[tuple[str, ...] | None, ...] = (
    ("dog",),
    ("start", "cat left", "é*[x]"),
    ("no",),
)


def scheme_of(name: str) -> Scheme:
    params = {"max_regions": 2} if name in ("semantic-brick", "next-brick") else {}
    return build_scheme(name, grid=2, max_label_chars=9, **params)


def backbone_of(scheme: Scheme, seed: int = 0, widen: int = 0) -> TinyText:
    """Random weights; ``widen`` columns of the logits stand for no token."""
    backbone = TinyText(TinyParams(seed=seed))
    backbone.load(scheme.special_tokens)
    if widen:
        rows = len(backbone.tokenizer) + widen
        backbone.model.resize_token_embeddings(rows, mean_resizing=False)
        with torch.no_grad():  # the columns that stand for nothing would win
            backbone.model.get_output_embeddings().weight[-widen:] *= 50
    return backbone


def ask(
    backbone: TinyText,
    scheme: Scheme,
    labels: Any = LABELS,
    *,
    bound: int | None = None,
    engine: Any = constrained_engine,
    seed: int = 0,
    **options: Any,
) -> list[Any]:
    bounds = TokenBounds(backbone.tokenizer, scheme, bytewise=True)
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    batch = EngineBatch(
        conversations=[
            Conversation(
                id=str(place),
                question=f"Segment {'|'.join(asked or ('all',))}.",
                answer=None,
                size=(8, 8),
                load_image=lambda: picture,
            )
            for place, asked in enumerate(labels)
        ],
        labels=list(labels),
        max_new_tokens=bound or max(map(bounds.of, labels)),
        seed=seed,
    )
    return list(engine(backbone, batch, scheme, GenerationSettings(**options)))


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", SCHEMES)
def test_every_answer_of_random_weights_decodes_without_guessing(
    name: str, temperature: float
) -> None:
    scheme = scheme_of(name)
    answers = ask(backbone_of(scheme, widen=37), scheme, temperature=temperature)
    assert len(answers) == len(LABELS)
    for answer, labels in zip(answers, LABELS, strict=True):
        assert answer.problem == ""
        decoded = scheme.decode(answer.text, (20, 30), labels)
        assert decoded.status == "ok", (answer.text, decoded.problems)
        assert {region.label for region in decoded.regions} <= set(labels or ())


@pytest.mark.parametrize("name", SCHEMES)
def test_free_labels_are_answered_too(name: str) -> None:
    scheme = scheme_of(name)
    (answer,) = ask(backbone_of(scheme), scheme, [None], temperature=1.0)
    decoded = scheme.decode(answer.text, (20, 30), None)
    assert (answer.problem, decoded.status) == ("", "ok"), answer.text


@pytest.mark.parametrize("name", SCHEMES)
def test_without_the_grammar_the_same_weights_write_no_sound_answer(name: str) -> None:
    scheme = scheme_of(name)
    answers = ask(backbone_of(scheme), scheme, engine=plain_engine, bound=60, temperature=1.0)
    found = [scheme.decode(a.text, (20, 30), ("dog",)).status for a in answers]
    assert "ok" not in found


@pytest.mark.parametrize("name", SCHEMES)
def test_an_answer_that_is_cut_is_a_problem_and_no_exception(name: str) -> None:
    scheme = scheme_of(name)
    backbone = backbone_of(scheme)
    for bound in (1, 12, 22):
        for answer in ask(backbone, scheme, bound=bound):
            assert answer.num_tokens <= bound
            decoded = scheme.decode(answer.text, (20, 30), ("dog",))
            assert decoded.status in ("repaired", "invalid"), answer.text
            assert decoded.problems


def test_what_the_grammar_cannot_go_on_with_is_cut_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A tokenizer without the letters of the label: after the opening there is no way on."""
    scheme = scheme_of("image-full")
    backbone = backbone_of(scheme)
    described = json.loads(backbone.tokenizer.backend_tokenizer.to_str())

    def lose(letter: str) -> None:
        del described["model"]["vocab"][letter]
        backbone.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(described)),
            pad_token="<pad>",
            eos_token="<end>",
        )

    lose("d")
    with pytest.raises(
        SchemeError, match=r"no sequence of this .*'s tokens spells the label 'dog'"
    ):
        ask(backbone, scheme, [("dog",)], bound=90)
    lose("o")
    with pytest.raises(BackboneError, match="spells 'others' of every answer"):
        ask(backbone, scheme, [("dog",)], bound=90)
    with caplog.at_level(logging.WARNING), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Constraint, "check_labels", lambda *_: None)
        patch.setattr(Constraint, "_check_scheme", lambda *_: None)
        answers = ask(backbone, scheme, [("dog",), ("dog",)], bound=90)
    assert [answer.problem for answer in answers] == ["grammar-stuck"] * 2
    assert "the answer to '0' is cut" in caplog.text
    assert scheme.decode(answers[0].text, (8, 8), ("dog",)).status != "ok"


def test_all_prompts_too_long_are_answered_by_none() -> None:
    scheme = scheme_of("next-brick")
    assert ask(backbone_of(scheme), scheme, max_length=3) == [None, None, None]


def test_a_chats_end_token_besides_the_tokenizers_ends_an_answer() -> None:
    scheme = scheme_of("image-rrle")
    backbone = backbone_of(scheme)
    backbone.tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)
    chat_end = backbone.tokenizer.convert_tokens_to_ids("<|im_end|>")
    backbone.model.resize_token_embeddings(chat_end + 1, mean_resizing=False)
    backbone.end_ids = (chat_end,)
    assert end_ids(backbone) == [chat_end, backbone.tokenizer.eos_token_id]
    with torch.no_grad():  # it is the likeliest token wherever it is admitted
        backbone.model.get_output_embeddings().weight[1] = 0
    for answer in ask(backbone, scheme, temperature=1.0):
        assert "<|im_end|>" not in answer.text
        assert scheme.decode(answer.text, (8, 8), None).status == "ok"
    matcher = Constraint.of(backbone.tokenizer, end_ids(backbone)).matcher(scheme, ("dog",))
    whole = wrap("Here it is.", "dog *2\n dog *2\n")
    assert matcher.consume_tokens(backbone.tokenizer(whole)["input_ids"])
    mask = GrammarMask([matcher], Constraint.of(backbone.tokenizer, end_ids(backbone)))
    scores = mask(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, chat_end + 1))
    assert scores.isfinite().nonzero()[:, 1].tolist() == [1, chat_end]


@pytest.mark.parametrize("special", [True, False], ids=["special", "added"])
@pytest.mark.parametrize("name", SCHEMES)
def test_tags_that_are_tokens_of_their_own_are_written_as_such(name: str, special: bool) -> None:
    scheme = scheme_of(name)
    backbone = backbone_of(scheme)
    tags = [AddedToken(tag, normalized=False, special=special) for tag in ("<seg>", "</seg>")]
    backbone.tokenizer.add_tokens(tags, special_tokens=special)
    backbone.model.resize_token_embeddings(len(backbone.tokenizer), mean_resizing=False)
    whole = wrap("Here it is.", scheme.encode((), (8, 8)))
    ids = backbone.tokenizer(whole)["input_ids"]
    assert len(backbone.tokenizer) - 2 in ids
    for labels in (None, ("dog",)):
        matcher = Constraint.of(backbone.tokenizer, [1]).matcher(scheme, labels)
        assert matcher.try_consume_tokens(ids) == len(ids), (labels, matcher.get_error())
        assert matcher.is_accepting()
    for answer, labels in zip(ask(backbone, scheme), LABELS, strict=True):
        assert answer.problem == ""
        assert scheme.decode(answer.text, (20, 30), labels).status == "ok", answer.text


def test_the_grammar_leaves_a_sound_answer_of_trained_weights_as_it_is() -> None:
    catalogue = load_catalogue()
    scheme = build_scheme("next-brick")
    nano = catalogue.build("backbone", "nano", {})
    nano.load(scheme.special_tokens)
    samples = catalogue.build("recipe", "refshapes", {}).samples("val")
    builder = ConversationBuilder(scheme, "fixed")
    talks = [builder.build(samples[n]) for n in range(4)]
    batch = EngineBatch(
        conversations=[talk for talk in talks if talk is not None],
        labels=[tuple(samples[n].labels) for n in range(4)],
        max_new_tokens=160,
    )
    settings = GenerationSettings()
    plain = plain_engine(nano, batch, scheme, settings)
    held = constrained_engine(nano, batch, scheme, settings)
    sound = 0
    for n, (free, answer) in enumerate(zip(plain, held, strict=True)):
        assert free is not None
        assert answer is not None
        size, labels = samples[n].size, samples[n].labels
        assert scheme.decode(answer.text, size, labels).status == "ok"
        if scheme.decode(free.text, size, labels).status == "ok":
            assert answer == free
            sound += 1
    assert sound >= 3


def test_a_vendors_sampling_defaults_do_not_reach_the_answers() -> None:
    scheme = scheme_of("next-brick")
    plain, vendors = backbone_of(scheme), backbone_of(scheme)
    vendor = GenerationConfig(
        do_sample=True,
        temperature=0.01,
        top_k=1,
        top_p=0.001,
        min_p=0.9,
        repetition_penalty=3.0,
        no_repeat_ngram_size=2,
        suppress_tokens=list(range(2, 200)),
        num_beams=3,
        max_length=7,
        eos_token_id=1,
        pad_token_id=0,
    )
    vendors.model.generation_config = vendor
    for temperature in (0.0, 1.0):
        expected, found = (
            ask(b, scheme, engine=plain_engine, bound=12, temperature=temperature)
            for b in (plain, vendors)
        )
        assert found == expected
    assert len({a.text for a in expected}) == 3
    assert vendors.model.generation_config is vendor


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("free", [True, False], ids=["free", "asked"])
def test_every_written_answer_is_in_the_grammar_of_whole_answers(name: str, free: bool) -> None:
    scheme = build_scheme(name, grid=3)
    tokenizer = build_tokenizer(scheme.special_tokens)
    asked = None if free else ("dog", "cat on the left", "no", "é*[x]")
    walker = GrammarWalker(answer_grammar(scheme, asked), tokenizer)
    nothing = scheme.encode((), (8, 8))
    for opening in ("Here it is.", "Names and masks follow."):
        assert walker.admits(wrap(opening, nothing))
    assert not walker.admits(wrap("Sure!", nothing))
    assert not walker.admits(wrap("Here it is.", nothing) + " ")

    @settings(max_examples=15, deadline=None, database=None)
    @given(canvas=canvas_strategy(scheme))
    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None:
            return
        if asked is not None and not {target.label for target in canvas.targets} <= set(asked):
            return
        whole = wrap("Here it is.", text)
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        if tokenizer.decode(ids) == whole:  # it has no bytes for some scripts
            assert walker.admits(whole), whole

    check()


@given(st.text(st.characters(codec="ascii"), max_size=8))
def test_only_the_rule_is_renamed_when_grammars_are_joined(label: str) -> None:
    quoted = '"' + label.replace("\\", "").replace('"', "").replace("\n", "") + ' start"'
    lark = f"start: <|start|> {quoted} /start\\/x/ restart // start\nrestart: start | A_start\n"
    renamed = append_literal(lark, "</seg>").split("\n")
    inner = "descriptor_of_the_scheme"
    assert renamed[0] == f'start: {inner} "</seg>"'
    assert renamed[1] == f"{inner}: <|start|> {quoted} /start\\/x/ restart // start"
    assert renamed[2] == f"restart: {inner} | A_start"


def test_a_byte_bound_holds_however_a_text_is_cut_into_tokens() -> None:
    scheme = build_scheme("next-brick", grid=2, max_regions=1)
    bounds = TokenBounds(backbone_of(scheme).tokenizer, scheme, bytewise=True)
    longest = max(len(a) for kind in TEMPLATES.values() for a in kind.answers)
    # wrapper and spare tokens; the label and its bound's one more; four coordinates, four bricks
    assert bounds.of(("dog",)) == longest + len("\n<seg></seg>") + 16 + len("dog") + 1 + 4 + 4


def test_a_grammar_that_a_scheme_does_not_have_is_said_before_anything_is_written() -> None:
    scheme = build_scheme("image-irle", grid=64)
    with pytest.raises(SchemeError, match="no grammar on a grid of 64 x 64"):
        ask(backbone_of(scheme), scheme)


def test_a_tokenizer_that_llguidance_cannot_read_is_one_clear_error() -> None:
    class Slow:
        def __len__(self) -> int:
            return 3

    slow: Any = Slow()
    with pytest.raises(BackboneError, match=r"cannot read a Slow.*generation\.constrained=false"):
        Constraint(slow, [1])
