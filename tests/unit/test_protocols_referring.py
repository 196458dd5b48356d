"""``text4seg``, ``lisa`` and ``reasonseg``: gIoU and cIoU over expressions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_protocols import answered, counts, rectangle, scores

from t4spp.types import FURTHER_PHRASE

ALL = ("text4seg", "lisa", "reasonseg")
DOG = rectangle(0, 0, 10, 10)


@pytest.mark.parametrize("name", ALL)
def test_mean_iou_is_the_mean_of_i_over_u_plus_a_hundred_thousandth(name: str) -> None:
    half = answered([("dog", DOG)], [("dog", rectangle(0, 0, 5, 10))])
    miss = answered([("dog", DOG)], [("dog", rectangle(10, 10, 20, 20))], position=1)
    assert scores(name, half, miss) == {
        "mean_iou": (50 / 100.00001 + 0 / 200.00001) / 2,
        "ciou": 50 / 300,
    }


@pytest.mark.parametrize("name", ALL)
def test_equal_masks_score_a_little_less_than_one(name: str) -> None:
    assert scores(name, answered([("dog", DOG)], [("dog", DOG)])) == {
        "mean_iou": 100 / 100.00001,
        "ciou": 1.0,
    }


@pytest.mark.parametrize("name", ALL)
def test_empty_union_counts_one_and_adds_nothing_to_ciou(name: str) -> None:
    nothing = answered()
    half = answered([("dog", DOG)], [("dog", rectangle(0, 0, 5, 10))], position=1)
    assert scores(name, nothing, half) == {
        "mean_iou": (1.0 + 50 / 100.00001) / 2,
        "ciou": 0.5,
    }


@pytest.mark.parametrize("name", ALL)
def test_mask_invented_for_no_target_scores_zero_and_joins_the_union(name: str) -> None:
    invented = answered([], [("dog", rectangle(0, 0, 3, 10))])
    found = answered([("dog", DOG)], [("dog", DOG)], position=1)
    assert scores(name, invented, found) == {
        "mean_iou": 100 / 100.00001 / 2,
        "ciou": 100 / 130,
    }


@pytest.mark.parametrize("name", ALL)
def test_answer_that_cannot_be_read_is_an_empty_mask(name: str) -> None:
    unread = answered(status="invalid")
    assert scores(name, unread) == {"mean_iou": 1.0, "ciou": None}
    missed = answered([("dog", DOG)], status="invalid")
    assert scores(name, missed) == {"mean_iou": 0.0, "ciou": 0.0}


@pytest.mark.parametrize("name", ALL)
def test_expressions_weigh_the_same_however_many_a_picture_has(name: str) -> None:
    found = [answered([("dog", DOG)], [("dog", DOG)], position=p, image_id="a") for p in range(3)]
    missed = answered([("dog", DOG)], [], position=3, image_id="b")
    # By pictures it would be the mean of 1 and 0.
    assert scores(name, *found, missed)["mean_iou"] == pytest.approx(3 / 4, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_several_targets_of_an_expression_are_one_mask(name: str) -> None:
    pair = answered(
        [("dog", rectangle(0, 0, 4, 5)), ("dog", rectangle(10, 0, 14, 5))],
        [("dog", rectangle(0, 0, 4, 5))],
    )
    assert scores(name, pair) == {"mean_iou": 20 / 40.00001, "ciou": 0.5}


@pytest.mark.parametrize("name", ALL)
def test_ignored_pixels_count_on_neither_side(name: str) -> None:
    ignore = rectangle(0, 0, 20, 5)  # ReasonSeg's 255
    one = answered(
        [("dog", DOG)], [("dog", rectangle(0, 0, 20, 8))], ignore=ignore, image_id="picture"
    )
    # Columns 5 to 9 of the truth: 50 pixels; 5 to 7 of the answer: 60, 30 of them right.
    assert scores(name, one) == {"mean_iou": 30 / 80.00001, "ciou": 30 / 80}
    assert counts(name, one)["ignored_pixels"] == 100


@pytest.mark.parametrize("name", ALL)
def test_target_under_ignore_is_an_empty_truth(name: str) -> None:
    hidden = answered([("dog", rectangle(0, 0, 5, 5))], [], ignore=rectangle(0, 0, 6, 6))
    assert scores(name, hidden) == {"mean_iou": 1.0, "ciou": None}
    invented = answered(
        [("dog", rectangle(0, 0, 5, 5))], [("dog", DOG)], ignore=rectangle(0, 0, 6, 6)
    )
    assert scores(name, invented) == {"mean_iou": 0.0, "ciou": 0.0}


def test_prompt_without_labels_is_scored_on_everything_that_was_answered() -> None:
    answer = [("cat", rectangle(0, 0, 2, 2)), ("others", rectangle(10, 10, 20, 20))]
    assert scores("lisa", answered([], answer, labels=())) == {"mean_iou": 0.0, "ciou": 0.0}
    assert scores("lisa", answered([], answer[1:], labels=())) == {"mean_iou": 1.0, "ciou": None}


@pytest.mark.parametrize(("name", "expected"), [("lisa", 0.5), ("reasonseg", 1.0)])
def test_further_phrases_are_left_out_by_reasonseg_alone(name: str, expected: float) -> None:
    first = answered([("dog", DOG)], [("dog", DOG)], image_id="a")
    further = answered([("dog", DOG)], [], position=1, image_id="a", tags=(FURTHER_PHRASE,))
    assert scores(name, first, further)["ciou"] == expected
    told = counts(name, first, further)
    assert told["expressions"] + told["further_phrases"] == 2
    assert told["further_phrases"] == (name == "reasonseg")


def test_only_further_phrases_leave_nothing_to_score() -> None:
    further = answered([("dog", DOG)], [("dog", DOG)], tags=(FURTHER_PHRASE,))
    assert scores("reasonseg", further) == {"mean_iou": None, "ciou": None}


def test_counts_say_how_many_expressions_have_no_target() -> None:
    told = counts("text4seg", answered(), answered([("dog", DOG)], position=1))
    assert told == {
        "expressions": 2,
        "without_target": 1,
        "further_phrases": 0,
        "ignored_pixels": 0,
    }


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_scores_are_those_of_histograms_averaged_by_picture_first(
    seed: int, phrases: list[int]
) -> None:
    """As LISA's ``validate`` goes about it: a mean a picture, weighted by its expressions."""
    generator = np.random.default_rng(seed)
    answers, sums, weights = [], [], []
    both_classes, either_classes = torch.zeros(2), torch.zeros(2)
    for picture, number in enumerate(phrases):
        total = 0.0
        for _ in range(number):
            truth = generator.choice([0, 0, 1, 255], (5, 4))
            answer = generator.choice([0, 1], (5, 4)) * generator.integers(0, 2)
            one = answered(
                [("dog", truth == 1)],
                [("dog", answer == 1)],
                position=len(answers),
                size=(5, 4),
                image_id=f"picture-{picture}",
                ignore=truth == 255,
            )
            answers.append(one)
            target = torch.from_numpy(truth).float()
            output = torch.where(target == 255, 255.0, torch.from_numpy(answer).float())
            both = torch.histc(output[output == target], bins=2, min=0, max=1)
            either = torch.histc(output, bins=2, min=0, max=1)
            either = either + torch.histc(target, bins=2, min=0, max=1) - both
            both_classes, either_classes = both_classes + both, either_classes + either
            total += float(both[1] / (either[1] + 1e-5)) if either[1] else 1.0
        sums.append(total / number)
        weights.append(number)
    got = scores("lisa", *answers)
    assert got["mean_iou"] == pytest.approx(np.average(sums, weights=weights), abs=1e-6)
    if either_classes[1]:
        assert got["ciou"] == pytest.approx(float(both_classes[1] / either_classes[1]), abs=1e-6)
    else:
        assert got["ciou"] is None
