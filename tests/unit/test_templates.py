"""Questions and answers around descriptors."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.data.conversations import ConversationBuilder
from t4spp.data.templates import PHRASE, TEMPLATES, answer_opening, pick, question
from t4spp.testing import build_scheme
from t4spp.types import Sample, Target


def sample(sample_id: str = "s", kind: str = "partial", prompt: str = "the dog") -> Sample:
    mask = np.zeros((8, 8), dtype=np.bool_)
    mask[2:6, 2:6] = True
    return Sample(
        id=sample_id,
        size=(8, 8),
        prompt=prompt,
        targets=(Target(label="dog", mask=mask),),
        labels=("dog", "cat"),
        kind=kind,  # type: ignore[arg-type]
    )


def test_fixed_questions_are_the_first_of_their_kind() -> None:
    asked = [
        question(sample(kind=kind, prompt=prompt), "fixed", seed=1, epoch=3)
        for kind, prompt in (("partial", "the dog"), ("conditioned", "dog|cat"), ("open", ""))
    ]
    assert asked == [
        "Segment the dog.",
        "Segment by these classes: dog|cat.",
        "Segment everything.",
    ]


def test_an_empty_prompt_is_replaced_by_the_labels() -> None:
    asked = question(sample(kind="conditioned", prompt=""), "fixed", seed=0, epoch=None)
    assert asked == "Segment by these classes: dog|cat."


def test_a_prompt_may_hold_braces_and_percent_signs() -> None:
    asked = question(sample(prompt="a {prompt} 5%"), "fixed", seed=0, epoch=None)
    assert asked == "Segment a {prompt} 5%."


@pytest.mark.parametrize("kind", ["partial", "conditioned", "open"])
def test_every_kind_has_distinct_templates_and_only_open_leaves_the_phrase_out(kind: str) -> None:
    chosen = TEMPLATES[kind]  # type: ignore[index]
    assert len(set(chosen.questions)) == len(chosen.questions) >= 6
    assert len(set(chosen.answers)) == len(chosen.answers) >= 6
    assert all((PHRASE in text) == (kind != "open") for text in chosen.questions)
    assert not any("<seg>" in text or "\n" in text for text in chosen.answers)


def test_evaluation_asks_the_same_question_every_time() -> None:
    """The published evaluation drew its template unseeded, so that scores did not repeat."""
    first = [question(sample(f"s{i}"), "varied", seed=7, epoch=None) for i in range(50)]
    again = [question(sample(f"s{i}"), "varied", seed=7, epoch=None) for i in range(50)]
    assert first == again
    assert len(set(first)) == 6


def test_training_varies_the_wording_from_epoch_to_epoch() -> None:
    wordings = {question(sample(), "varied", seed=0, epoch=epoch) for epoch in range(40)}
    assert len(wordings) == 6


def test_the_choice_is_pinned_across_machines_and_versions() -> None:
    assert [pick(6, "varied", ("question", 0, f"s{i}", "evaluation")) for i in range(8)] == [
        4,
        2,
        0,
        4,
        3,
        1,
        0,
        0,
    ]


@given(st.text(), st.integers(0, 2**31), st.integers(1, 9))
def test_a_pick_is_within_its_choices(sample_id: str, seed: int, num_choices: int) -> None:
    assert 0 <= pick(num_choices, "varied", (seed, sample_id)) < num_choices
    assert pick(num_choices, "fixed", (seed, sample_id)) == 0


def test_a_training_conversation_wraps_the_descriptor() -> None:
    scheme = build_scheme("image-rrle", grid=2)
    built = ConversationBuilder(scheme, "fixed").build(sample(), training=True, epoch=0)
    assert built is not None
    descriptor = scheme.encode(sample().targets, (8, 8))
    assert built.question == "Segment the dog."
    assert built.answer == f"Here it is.\n<seg>{descriptor}</seg>"


def test_an_evaluation_conversation_has_no_answer_and_needs_no_writable_target() -> None:
    mask = np.ones((8, 8), dtype=np.bool_)
    strange = Sample(id="x", size=(8, 8), prompt="a|b", targets=(Target(label="a|b", mask=mask),))
    builder = ConversationBuilder(build_scheme("image-rrle", grid=2))
    built = builder.build(strange)
    assert built is not None
    assert built.answer is None
    assert builder.counters == {"built": 1, "unwritable": 0}


def test_a_sample_without_targets_is_written() -> None:
    empty = Sample(id="none", size=(8, 8), prompt="the bird", targets=())
    scheme = build_scheme("image-rrle", grid=2)
    built = ConversationBuilder(scheme, "fixed").build(empty, training=True)
    assert built is not None and built.answer is not None
    assert scheme.decode(built.answer, (8, 8)).status == "ok"


def test_the_opening_tells_nothing_about_the_truth() -> None:
    empty = Sample(id="s", size=(8, 8), prompt="the dog", targets=())
    assert [answer_opening(empty, "varied", seed=0, epoch=e) for e in range(9)] == [
        answer_opening(sample("s"), "varied", seed=0, epoch=e) for e in range(9)
    ]


def test_unwritable_samples_are_counted_with_their_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mask = np.ones((8, 8), dtype=np.bool_)
    builder = ConversationBuilder(build_scheme("image-rrle", grid=2))
    with caplog.at_level(logging.WARNING):
        for number in range(7):
            bad = Sample(
                id=f"bad{number}",
                size=(8, 8),
                prompt="a|b",
                targets=(Target(label="a|b", mask=mask),),
            )
            assert builder.build(bad, training=True) is None
    assert builder.counters == {"built": 0, "unwritable": 7}
    assert sum(builder.reasons.values()) == 7
    pending = builder.drain_unwritable()
    assert [sample_id for sample_id, _ in pending] == [f"bad{n}" for n in range(7)]
    assert "|" in pending[0][1]
    assert builder.drain_unwritable() == ()
    assert len(caplog.records) == 5
