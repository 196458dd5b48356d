"""``open-vocab``: mIoU over classes, careful and as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_protocols import answered, counts, rectangle, rows_of, scores
from torchmetrics import JaccardIndex

from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.types import BACKGROUND

CLASSES = ("cat", "dog", "sky")
LEFT, RIGHT = rectangle(0, 0, 20, 10), rectangle(0, 10, 20, 20)


def test_miou_is_the_mean_over_classes_of_summed_pixels_and_not_over_pictures() -> None:
    first = answered(
        [("cat", LEFT), ("dog", RIGHT)],
        [("cat", LEFT), ("dog", RIGHT)],
        labels=CLASSES,
        kind="conditioned",
    )
    second = answered(
        [("cat", LEFT | RIGHT)], [("dog", RIGHT)], labels=CLASSES, kind="conditioned", position=1
    )
    # cat: 200 of 200 + 400; dog: 200 of 200 + 200; sky has no pixel anywhere.
    assert scores("open-vocab", first, second)["miou"] == (200 / 600 + 200 / 400) / 2
    told = counts("open-vocab", first, second)
    assert told["class_iou"] == {"cat": 200 / 600, "dog": 200 / 400}
    assert (told["classes"], told["classes_without_pixels"]) == (3, 1)


def test_published_miou_averages_class_0_in_and_counts_unseen_classes_zero() -> None:
    one = answered([("cat", LEFT)], [("cat", LEFT)], labels=CLASSES, kind="conditioned")
    # cat 1, dog 0, sky 0, and class 0: the right half, which always counts right.
    assert scores("open-vocab", one) == {
        "miou": 1.0,
        "miou_published": pytest.approx(2 / 4, abs=1e-10),
    }


def test_published_class_0_is_hurt_only_by_true_classes_without_an_answer() -> None:
    # Class 0: 200 pixels without a true class, whatever was answered there, over 200 + 100 missed.
    invented = answered(
        [("cat", LEFT)],
        [("cat", rectangle(0, 0, 10, 10)), ("cat", RIGHT)],
        labels=("cat",),
        kind="conditioned",
    )
    got = scores("open-vocab", invented)
    assert got["miou_published"] == pytest.approx((100 / 200 + 200 / 300) / 2, abs=1e-10)
    # The careful one counts the invented half against cat: 100 of 200 + 200.
    assert got["miou"] == 100 / 400


def test_published_miou_charges_pixels_that_are_neither_ignored_nor_of_a_class() -> None:
    """As VOC's contours, 255, which Text4Seg's evaluation does not ignore beside 0."""
    contour = rectangle(0, 8, 20, 10)
    one = answered(
        [("cat", LEFT & ~contour)],
        [("cat", LEFT)],
        labels=("cat",),
        kind="conditioned",
        ignore=RIGHT,
    )
    # cat: 160 of 160 + 40 on the contour; class 0: the 200 ignored pixels.
    got = scores("open-vocab", one)
    assert got["miou_published"] == pytest.approx((160 / 200 + 1) / 2, abs=1e-10)
    silent = answered([], [], labels=("cat",), kind="conditioned", ignore=RIGHT)
    # Left and not of a class: 200 pixels that class 0 was predicted on and is charged for.
    assert scores("open-vocab", silent)["miou_published"] == pytest.approx(0.25, abs=1e-10)


def test_ignored_pixels_count_for_no_class() -> None:
    one = answered(
        [("cat", LEFT)],
        [("cat", LEFT | RIGHT)],
        labels=("cat", "dog"),
        kind="conditioned",
        ignore=RIGHT,
    )
    assert scores("open-vocab", one)["miou"] == 1.0
    assert counts("open-vocab", one)["ignored_pixels"] == 200


def test_prompts_for_some_classes_are_left_out_and_counted() -> None:
    partial = answered([("cat", LEFT)], [("cat", LEFT)], labels=("cat",), kind="partial")
    assert scores("open-vocab", partial) == {"miou": None, "miou_published": None}
    told = counts("open-vocab", partial)
    assert (told["prompts"], told["prompts_without_class_list"]) == (0, 1)


def test_background_by_name_is_no_class() -> None:
    one = answered(
        [("cat", LEFT)],
        [("cat", LEFT), (BACKGROUND, RIGHT)],
        labels=("cat", BACKGROUND),
        kind="conditioned",
    )
    assert scores("open-vocab", one)["miou"] == 1.0
    assert counts("open-vocab", one)["classes"] == 1


def test_open_prompt_is_scored_on_the_classes_of_the_split() -> None:
    answers = [("cat", LEFT), ("dog", rectangle(0, 10, 10, 20)), ("unicorn", RIGHT)]
    first = answered([("cat", LEFT)], answers, labels=(), kind="open")
    second = answered([("dog", LEFT)], [("dog", LEFT)], labels=(), kind="open", position=1)
    # dog is known from the second picture: invented on the first, 200 of 200 + 100.
    assert scores("open-vocab", first, second)["miou"] == (1 + 200 / 300) / 2
    assert counts("open-vocab", first, second)["unknown_labels"] == 1


def test_unreadable_answer_misses_every_class_of_its_picture() -> None:
    one = answered(
        [("cat", LEFT), ("dog", RIGHT)], labels=CLASSES, kind="conditioned", status="invalid"
    )
    assert scores("open-vocab", one) == {"miou": 0.0, "miou_published": 0.0}


def test_interval_of_a_single_picture_is_its_score() -> None:
    one = answered([("cat", LEFT)], [("cat", LEFT | RIGHT)], labels=CLASSES, kind="conditioned")
    protocol = PROTOCOLS["open-vocab"]()
    interval = protocol.intervals(rows_of(protocol, [one]), resamples=10, seed=0)
    assert interval["miou"].low == interval["miou"].high == 0.5
    published = scores("open-vocab", one)["miou_published"]
    assert interval["miou_published"].low == pytest.approx(published, abs=1e-12)


def test_interval_spans_the_scores_of_resampled_pictures() -> None:
    good = answered([("cat", LEFT)], [("cat", LEFT)], labels=CLASSES, kind="conditioned")
    bad = answered([("cat", LEFT)], [], labels=CLASSES, kind="conditioned", position=1)
    protocol = PROTOCOLS["open-vocab"]()
    rows = rows_of(protocol, [good, bad])
    interval = protocol.intervals(rows, resamples=400, seed=0)["miou"]
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert protocol.intervals(rows, resamples=0, seed=0) == {}


class_maps = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 4, (2, 6, 5))
)
"""True and predicted classes: 0 is none, 1 to 3 are ``CLASSES``."""


def from_maps(maps: list[np.ndarray], *, ignore_unlabelled: bool) -> list[Answered]:
    return [
        answered(
            [(name, truth == number) for number, name in enumerate(CLASSES, 1)],
            [(name, answer == number) for number, name in enumerate(CLASSES, 1)],
            labels=CLASSES,
            kind="conditioned",
            position=position,
            size=(6, 5),
            ignore=truth == 0 if ignore_unlabelled else None,
        )
        for position, (truth, answer) in enumerate(maps)
    ]


@given(st.lists(class_maps, min_size=1, max_size=4))
def test_miou_equals_torchmetrics(maps: list[np.ndarray]) -> None:
    truth = torch.from_numpy(np.stack([pair[0] for pair in maps]))
    answer = torch.from_numpy(np.stack([pair[1] for pair in maps]))
    jaccard = JaccardIndex(task="multiclass", num_classes=4, average="none", ignore_index=0)
    ious = jaccard(answer, truth).double().numpy()[1:]
    seen = [((truth == c) | ((answer == c) & (truth > 0))).any().item() for c in (1, 2, 3)]
    got = scores("open-vocab", *from_maps(maps, ignore_unlabelled=True))["miou"]
    if any(seen):
        assert got == pytest.approx(ious[seen].mean(), abs=1e-6)
    else:
        assert got is None


@given(st.lists(class_maps, min_size=1, max_size=4), st.booleans())
def test_published_miou_equals_histograms_of_class_maps(
    maps: list[np.ndarray], ignore_unlabelled: bool
) -> None:
    """By histograms over all classes with ignore_index 0, as Text4Seg computes it."""
    both, either = np.zeros(4), np.zeros(4)
    for truth, answer in maps:
        answer = np.where(truth == 0, 0, answer)
        right = np.bincount(truth[truth == answer], minlength=4)
        both += right
        either += np.bincount(truth.ravel(), minlength=4) - right
        either += np.bincount(answer.ravel(), minlength=4)
    answers = from_maps(maps, ignore_unlabelled=ignore_unlabelled)
    got = scores("open-vocab", *answers)["miou_published"]
    assert got == pytest.approx((both / (either + 1e-10)).mean(), abs=1e-12)
