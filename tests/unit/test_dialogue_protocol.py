"""Answers in words against references: VQA's accuracy, exact match, POPE's yes and no."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import answer_row, read_answer, score_pairs, words_of
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.evaluation.protocols.dialogue import DialogueProtocol, DialogueRow
from t4spp.evaluation.protocols.panel import Panel
from t4spp.evaluation.words import (
    normalised,
    official_accuracy,
    says_either,
    says_yes,
    soft_accuracy,
    word_overlap,
)
from t4spp.testing import build_scheme
from t4spp.types import Sample


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The two red Buses.", "2 red buses"),
        ("yes, it is", "yes it is"),
        ("yes,it is", "yes it is"),
        ("1,000 dogs", "1000 dogs"),
        ("it costs 2.50.", "it costs 2.50"),
        ("black/white", "black white"),
        ("t-shirt", "t shirt"),
        ("- no -", "no"),
        ("dont know", "don't know"),
        ("none", "0"),
        ("a man's hat", "man's hat"),
        ("wouldntve", "wouldntve"),
        ("wouldn'tve", "wouldn't've"),
        ("  an\tapple\n", "apple"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_vqas_evaluation_does(text: str, expected: str) -> None:
    assert normalised(text) == expected


def over_subsets(answer: str, references: Sequence[str]) -> float:
    """The definition: the mean over all subsets of nine of ten references."""
    scores = [
        min(subset.count(answer) / 3, 1) for subset in combinations(references, len(references) - 1)
    ]
    return sum(scores) / len(scores)


@given(st.lists(st.sampled_from(["cat", "dog", "cow"]), min_size=10, max_size=10))
def test_soft_accuracy_is_the_mean_over_subsets_of_nine(references: list[str]) -> None:
    assert soft_accuracy("cat", references) == pytest.approx(over_subsets("cat", references))


@pytest.mark.parametrize(
    ("agreeing", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_soft_accuracy_of_ten_references_by_how_many_agree(agreeing: int, expected: float) -> None:
    references = ["cat"] * agreeing + ["dog"] * (10 - agreeing)
    assert soft_accuracy("cat", references) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("references", "expected"),
    [(["a"], 1.0), (["b"], 0.0), (["a", "b"], 0.5), (["a", "a"], 1.0), (["a", "b", "b"], 1 / 3)],
)
def test_with_few_references_an_answer_must_agree_with_all_of_a_subset(
    references: list[str], expected: float
) -> None:
    assert soft_accuracy("a", references) == pytest.approx(expected)


def test_the_official_code_normalises_nothing_where_all_references_are_alike() -> None:
    assert official_accuracy("Yes", ["yes"] * 10) == 0.0
    assert official_accuracy("yes", ["yes"] * 10) == 1.0
    assert official_accuracy("Yes", ["yes"] * 9 + ["no"]) == 1.0
    assert official_accuracy(" yes\n", ["yes\t"] * 10) == 1.0


def test_overlap_of_words_counts_repeats_and_takes_the_best_reference() -> None:
    assert word_overlap("red bus", ["red bus stop", "car"]) == pytest.approx(0.8)
    assert word_overlap("red red", ["red"]) == pytest.approx(2 / 3)
    assert (word_overlap("", ["red"]), word_overlap("car", ["bus"])) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "yes", "either"),
    [
        ("Yes, there is.", True, True),
        ("No.", False, True),
        ("no, not at all", False, True),
        ("There is not a dog. Yes!", False, True),
        ("A dog is there. No cat.", True, False),
        ("NO", False, True),
        ("nothing", True, False),
        ("", None, False),
    ],
)
def test_yes_and_no_are_read_as_pope_does(text: str, yes: bool | None, either: bool) -> None:
    assert says_yes(text) is yes
    assert says_either(text) is either


def question(*answers: str, tags: tuple[str, ...] = (), image: str = "") -> Sample:
    return Sample(
        id="q", size=(8, 8), prompt="?", targets=(), kind="dialogue", answers=answers, tags=tags,
        image_id=image,
    )  # fmt: skip


def answered(sample: Sample, text: str, position: int = 0, **more: Any) -> Answered:
    prediction = Prediction(
        id=sample.id, prompt="?", labels=(), text=text, num_tokens=3, num_passes=3, seconds=0.1,
        **more,
    )  # fmt: skip
    decoded = read_answer(sample, prediction, build_scheme("image-rrle"), None)[1]
    return Answered(
        position=position,
        sample=sample,
        prediction=prediction,
        decoded=decoded,
        pairs=score_pairs(position, sample, decoded),
    )


def rows_of(*pairs: tuple[Sample, str]) -> list[DialogueRow]:
    protocol = DialogueProtocol()
    return [
        row
        for position, (sample, text) in enumerate(pairs)
        for row in protocol.measure(answered(sample, text, position))
    ]


YES, NO = question("yes"), question("no")


def test_pope_scores_have_their_textbook_values() -> None:
    rows = rows_of(
        (YES, "Yes."), (YES, "yes it is"), (YES, "No"),
        (NO, "no"), (NO, "Yes"), (NO, "It is there"), (NO, "no"), (YES, ""),
    )  # fmt: skip
    protocol = DialogueProtocol()
    protocol.update(rows)
    found = protocol.compute()
    # true positives 2, false positives 2, false negatives 2 (one says nothing), true negatives 2
    assert found["yes_no_accuracy"] == 4 / 8
    assert found["yes_no_precision"] == 2 / 4
    assert found["yes_no_recall"] == 2 / 4
    assert found["yes_no_f1"] == 4 / 8
    assert found["yes_ratio"] == 4 / 8
    assert found["exact_match"] == 3 / 8


def test_scores_are_those_of_the_terms_and_do_not_depend_on_sharding() -> None:
    rows = rows_of(
        (question(*["net"] * 4, *["racket"] * 6), "A net!"),
        (question("a red bus"), "The red car"),
        (YES, "no"),
        (question(), "left out"),
    )
    whole, sharded = DialogueProtocol(), DialogueProtocol()
    whole.update(rows)
    for row in reversed(rows):
        sharded.update([row])
        sharded.update([])
    assert whole.compute() == pytest.approx(sharded.compute(), nan_ok=True)
    terms = {name: term.value() for name, term in whole.terms(rows).items()}
    assert terms == pytest.approx(whole.compute(), nan_ok=True)
    assert whole.compute()["exact_match"] == pytest.approx(1 / 3)
    assert whole.compute()["vqa_accuracy"] == pytest.approx(1 / 3)
    assert whole.compute()["word_f1"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_without_questions_every_score_is_undefined() -> None:
    protocol = DialogueProtocol()
    protocol.update([])
    found = protocol.compute()
    assert all(value != value for value in found.values())


def test_a_mask_in_an_answer_is_left_out_of_its_words_and_counted() -> None:
    text = "Yes <seg>dog *4\n</seg> it is <seg>open"
    assert words_of(text) == "Yes   it is"
    rows = rows_of((YES, text), (YES, "<seg>dog *4\n</seg>"), (NO, "no"))
    counts = DialogueProtocol().counts(rows)
    assert (counts["answers_with_a_mask"], counts["empty_answers"]) == (2, 1)
    assert [row.said for row in rows] == [True, None, False]
    statuses = [answered(YES, one).decoded.status for one in (text, "<seg>", "yes")]
    assert statuses == ["repaired", "invalid", "ok"]


def test_what_was_not_asked_or_cut_is_told() -> None:
    refused = answered(YES, "", refused="prompt-too-long")
    cut = answered(YES, "yes and", problem="budget-ended")
    assert (refused.decoded.status, cut.decoded.status) == ("invalid", "repaired")
    rows = [*DialogueProtocol().measure(refused), *DialogueProtocol().measure(cut)]
    assert DialogueProtocol().counts(rows)["answers_cut_short"] == 1
    assert rows[0].said is None


def test_counts_tell_references_apart_and_scores_stand_by_tag() -> None:
    rows = rows_of(
        (question(*["net"] * 10, tags=("part:vqa",)), "net"),
        (question("no", tags=("part:pope",)), "perhaps"),
        (question("no", tags=("part:pope",)), "no"),
        (question(), "x"),
    )
    counts = DialogueProtocol().counts(rows)
    assert {name: value for name, value in counts.items() if name != "by_tag"} == {
        "questions": 4,
        "without_reference_left_out": 1,
        "with_one_reference": 2,
        "with_fewer_than_ten_references": 2,
        "yes_no_questions": 2,
        "neither_yes_nor_no": 1,
        "answers_with_a_mask": 0,
        "empty_answers": 0,
        "answers_cut_short": 0,
    }
    assert counts["by_tag"]["part:pope"]["yes_no_accuracy"] == 0.5
    assert counts["by_tag"]["part:vqa"] == {
        "questions": 1,
        "exact_match": 1.0,
        "vqa_accuracy": 1.0,
        "vqa_accuracy_official": 1.0,
        "word_f1": 1.0,
    }


def test_questions_are_no_pairs_and_other_protocols_never_see_them() -> None:
    one = answered(YES, "yes")
    assert one.pairs == []
    assert answer_row(0, YES, one.prediction, one.decoded).in_words
    panel = Panel(tuple(PROTOCOLS))
    assert set(panel.measure(one)) == {"dialogue"}
    mask = Sample(id="m", size=(8, 8), prompt="dog", targets=(), labels=("dog",))
    assert "dialogue" not in panel.measure(answered(mask, "Here it is.\n<seg>others *8</seg>"))
