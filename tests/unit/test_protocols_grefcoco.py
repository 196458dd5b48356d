"""``grefcoco``: expressions with one target, several, or none."""

from __future__ import annotations

import numpy as np
import pytest
from support_protocols import answered, counts, rectangle, scores

DOG = rectangle(0, 0, 10, 10)
NOTHING = np.zeros((20, 20), dtype=np.bool_)


def test_no_target_predicted_empty_counts_one_and_adds_nothing_to_ciou() -> None:
    silent = answered()
    half = answered([("dog", DOG)], [("dog", rectangle(0, 0, 5, 10))], position=1)
    got = scores("grefcoco", silent, half)
    assert (got["mean_iou"], got["ciou"], got["n_acc"]) == (0.75, 0.5, 1.0)


def test_no_target_predicted_non_empty_counts_zero_and_its_area_joins_the_union() -> None:
    invented = answered([], [("dog", rectangle(0, 0, 3, 10))])
    found = answered([("dog", DOG)], [("dog", DOG)], position=1)
    got = scores("grefcoco", invented, found)
    assert (got["mean_iou"], got["ciou"], got["n_acc"]) == (0.5, 100 / 130, 0.0)


def test_target_predicted_empty_keeps_its_union() -> None:
    missed = answered([("dog", DOG)])
    found = answered([("dog", DOG)], [("dog", DOG)], position=1)
    got = scores("grefcoco", missed, found)
    assert (got["mean_iou"], got["ciou"], got["t_acc"]) == (0.5, 0.5, 0.5)


def test_accuracies_are_over_their_own_kind_of_expression() -> None:
    answers = [
        answered(position=0),
        answered(position=1),
        answered([], [("dog", DOG)], position=2),
        answered([("dog", DOG)], [("dog", rectangle(15, 15, 16, 16))], position=3),
        answered([("dog", DOG)], [], position=4),
    ]
    got = scores("grefcoco", *answers)
    # N-acc = TP / (TP + FN) = 2 / 3; T-acc = TN / (TN + FP) = 1 / 2: a wrong mask is not empty.
    assert (got["n_acc"], got["t_acc"]) == (2 / 3, 1 / 2)


@pytest.mark.parametrize(
    ("rows", "expected"), [(7, (1.0, 0.0, 0.0)), (8, (1.0, 1.0, 0.0)), (9, (1.0, 1.0, 1.0))]
)
def test_precision_counts_an_iou_that_equals_its_threshold(
    rows: int, expected: tuple[float, float, float]
) -> None:
    got = scores("grefcoco", answered([("dog", DOG)], [("dog", rectangle(0, 0, rows, 10))]))
    assert got["mean_iou"] == rows / 10
    assert (got["pr@0.7"], got["pr@0.8"], got["pr@0.9"]) == expected


def test_precision_is_over_expressions_with_a_target() -> None:
    got = scores("grefcoco", answered(), answered([("dog", DOG)], [("dog", DOG)], position=1))
    assert got["pr@0.7"] == 1.0
    assert scores("grefcoco", answered())["pr@0.7"] is None


def test_equal_masks_score_exactly_one() -> None:
    got = scores("grefcoco", answered([("dog", DOG)], [("dog", DOG)]))
    assert got == {
        "mean_iou": 1.0,
        "ciou": 1.0,
        "n_acc": None,
        "t_acc": 1.0,
        "pr@0.7": 1.0,
        "pr@0.8": 1.0,
        "pr@0.9": 1.0,
    }


def test_unreadable_answer_to_a_no_target_expression_is_an_empty_mask_and_right() -> None:
    got = scores("grefcoco", answered(status="invalid"))
    assert (got["mean_iou"], got["n_acc"]) == (1.0, 1.0)


def test_target_without_a_pixel_is_a_target_all_the_same() -> None:
    got = scores("grefcoco", answered([("dog", NOTHING)]))
    assert (got["mean_iou"], got["n_acc"], got["t_acc"]) == (0.0, None, 0.0)
    assert counts("grefcoco", answered([("dog", NOTHING)]))["without_target"] == 0


def test_several_targets_are_one_mask() -> None:
    both = [("dog", rectangle(0, 0, 4, 5)), ("dog", rectangle(10, 0, 14, 5))]
    got = scores("grefcoco", answered(both, both[:1]))
    assert (got["mean_iou"], got["ciou"]) == (0.5, 0.5)
