"""Questions in words are answered free of the grammar, in the batches of prompts for masks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support_backbone import TinyParams, TinyText

from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.prompting import ExamplePool
from t4spp.decoding.answers import BUDGET_ENDED, Answer, Growing
from t4spp.decoding.asking import Asked, EngineBatch
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.candidates import agreeing, choose_words
from t4spp.decoding.engine import constrained_engine, plain_engine
from t4spp.decoding.generate import generate
from t4spp.decoding.settings import GenerationSettings
from t4spp.decoding.speculative import fast_engine
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme
from t4spp.types import Sample

LABELS: tuple[Any, ...] = (("dog",), None, ("a cat",), None)
WORDS = (False, True, False, True)
ENGINES = {"generate": constrained_engine, "fast": fast_engine}


def scheme_of(name: str = "image-rrle") -> Scheme:
    return build_scheme(name, grid=2, max_label_chars=9)


def backbone_of(scheme: Scheme, seed: int = 0) -> TinyText:
    """Random weights in float64, with columns of the logits that stand for no token."""
    backbone = TinyText(TinyParams(seed=seed))
    backbone.load(scheme.special_tokens)
    backbone.model.resize_token_embeddings(len(backbone.tokenizer) + 5, mean_resizing=False)
    backbone.model.double()
    return backbone


def batch_of(
    backbone: TinyText, scheme: Scheme, places: Any = range(4), words: int = 12, **more: Any
) -> EngineBatch:
    bounds = TokenBounds(backbone.tokenizer, scheme, bytewise=True)
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    return EngineBatch(
        conversations=[
            Conversation(
                id=str(place),
                question="What is it?" if WORDS[place] else f"Segment {LABELS[place][0]}.",
                answer=None,
                size=(8, 8),
                load_image=lambda: picture,
                in_words=WORDS[place],
            )
            for place in places
        ],
        labels=[LABELS[place] for place in places],
        max_new_tokens=max(bounds.of(LABELS[0]), bounds.of(LABELS[2])),
        max_dialogue_tokens=words,
        **more,
    )


def run(engine: str, backbone: Any, batch: EngineBatch, scheme: Scheme, **options: Any) -> Any:
    settings = GenerationSettings(**{"constrained": True, "engine": engine, **options})
    return list(ENGINES[engine](backbone, batch, scheme, settings))


def said(answers: list[Any]) -> list[tuple[str, int, str]]:
    return [(answer.text, answer.num_tokens, answer.problem) for answer in answers]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["image-rrle", "next-brick"])
def test_both_engines_write_the_same_in_a_mixed_batch(name: str, seed: int) -> None:
    scheme = scheme_of(name)
    backbone = backbone_of(scheme, seed)
    batch = batch_of(backbone, scheme)
    assert said(run("fast", backbone, batch, scheme)) == said(
        run("generate", backbone, batch, scheme)
    )


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_mixed_batch_is_answered_as_its_halves(engine: str) -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    mixed = run(engine, backbone, batch_of(backbone, scheme), scheme)
    masks = run(engine, backbone, batch_of(backbone, scheme, (0, 2)), scheme)
    words = run(engine, backbone, batch_of(backbone, scheme, (1, 3)), scheme)
    assert said([mixed[0], mixed[2]]) == said(masks)
    assert said([mixed[1], mixed[3]]) == said(words)
    for answer, labels in zip(masks, (("dog",), ("a cat",)), strict=True):
        assert scheme.decode(answer.text, (8, 8), labels).status == "ok"


def test_words_are_those_of_a_model_without_any_grammar() -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, (1, 3))
    free = plain_engine(backbone, batch, scheme, GenerationSettings())
    assert said(run("fast", backbone, batch, scheme)) == said(free)
    assert "<seg>" not in free[0].text


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("limit", [1, 5, 3000])
def test_words_have_a_bound_of_their_own_and_masks_keep_theirs(engine: str, limit: int) -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, (0, 1, 2), words=limit)
    masks = run(engine, backbone, batch_of(backbone, scheme, (0, 2)), scheme)
    settings = GenerationSettings(max_length=None)
    assert Asked.of(backbone, batch, settings).limits == (
        batch.max_new_tokens, limit, batch.max_new_tokens,
    )  # fmt: skip
    if limit == 3000:
        return
    found = run(engine, backbone, batch, scheme)
    assert said([found[0], found[2]]) == said(masks)
    assert found[1].num_tokens == limit
    assert found[1].problem == BUDGET_ENDED
    assert (
        found[1].text
        == run(engine, backbone, replace(batch, max_dialogue_tokens=30), scheme)[1].text[
            : len(found[1].text)
        ]
    )


@pytest.mark.parametrize("engine", list(ENGINES))
def test_whoever_looks_on_sees_words_grow_to_their_end(engine: str) -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    seen: dict[str, list[Growing]] = {}
    batch = batch_of(backbone, scheme, watch=lambda g: seen.setdefault(g.id, []).append(g))
    answers = run(engine, backbone, batch, scheme)
    assert [seen[str(place)][-1].text for place in range(4)] == [a.text for a in answers]
    assert all(seen[str(place)][-1].ended for place in range(4))


def test_words_need_no_tokenizer_that_the_grammar_can_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a grammar was asked for")

    monkeypatch.setattr("t4spp.decoding.constraint.Constraint.of", refuse)
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    batch = batch_of(backbone, scheme, (1, 3))
    assert said(run("fast", backbone, batch, scheme)) == said(
        run("generate", backbone, batch, scheme)
    )


def answer(text: str) -> Answer:
    return Answer(text=text, num_tokens=3, num_passes=2)


def test_of_several_answers_in_words_the_most_frequent_is_kept() -> None:
    kept = choose_words([answer("No."), answer("A red bus."), answer("a red  bus"), answer("Two")])
    assert (kept.text, kept.num_passes) == ("A red bus.", 8)
    assert kept.others == ("No.", "a red  bus", "Two")
    assert choose_words([answer("one"), answer("two")]).text == "one"


def test_candidates_of_words_are_not_read_as_masks() -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    settings = GenerationSettings(constrained=True, candidates=3, temperature=1.0)
    kept = agreeing(fast_engine)(backbone, batch_of(backbone, scheme), scheme, settings)
    assert [len(found.others) for found in kept if found] == [2, 2, 2, 2]
    assert scheme.decode(kept[0].text if kept[0] else "", (8, 8), ("dog",)).status == "ok"


def question(name: str, kind: Any = "dialogue", **more: Any) -> Sample:
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    defaults: dict[str, Any] = {"answers": ("a bus", "bus"), "prompt": "What is it?"}
    if kind != "dialogue":
        defaults = {"prompt": "dog", "labels": ("dog",)}
    return Sample(
        id=name, size=(8, 8), targets=(), kind=kind, load_image=lambda: picture,
        **{**defaults, **more},
    )  # fmt: skip


def test_one_pass_over_a_split_answers_masks_and_words_in_order() -> None:
    scheme = scheme_of()
    backbone = backbone_of(scheme)
    samples = [question("a", "partial"), question("b"), question("c"), question("d", "partial")]
    settings = GenerationSettings(batch_size=3, max_dialogue_tokens=7, constrained=True)
    builder = ConversationBuilder(scheme, "fixed", explain=True)
    found = list(generate(backbone, samples, scheme, builder, settings))
    assert [prediction.id for prediction in found] == ["a", "b", "c", "d"]
    assert [prediction.num_tokens for prediction in found][1:3] == [7, 7]
    assert [prediction.problem for prediction in found] == ["", BUDGET_ENDED, BUDGET_ENDED, ""]
    assert found[0].text.endswith("</seg>")


def test_a_dialogue_is_asked_and_learnt_in_plain_words() -> None:
    scheme = scheme_of()
    builder = ConversationBuilder(scheme, "varied", explain=True)
    sample = question("b", prompt="How many {prompt}?", context=(("What?", "Buses."),))
    learnt = builder.build(sample, training=True, epoch=4)
    assert learnt is not None
    assert (learnt.question, learnt.answer) == ("How many {prompt}?", "a bus")
    assert learnt.in_words and learnt.load_target is None
    assert learnt.turns == (("What?", "Buses."),)
    asked = builder.build(sample)
    assert asked is not None and (asked.question, asked.answer) == ("How many {prompt}?", None)


def test_a_question_without_an_answer_is_counted_and_not_learnt() -> None:
    builder = ConversationBuilder(scheme_of())
    assert builder.build(question("b", answers=()), training=True) is None
    assert builder.counters["unwritable"] == 1
    assert builder.drain_unwritable() == (("b", "the question has no answer to learn"),)


def test_examples_of_a_dialogue_are_dialogues() -> None:
    samples = [question(str(n), "partial" if n % 2 else "dialogue") for n in range(8)]
    builder = ConversationBuilder(scheme_of(), pool=ExamplePool(samples, shots=2, seed=0))
    built = builder.build(question("x"))
    assert built is not None
    assert [example.answer for example in built.examples] == ["a bus", "a bus"]
