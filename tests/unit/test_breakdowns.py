"""What true masks are like, and the scores of each bin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from t4spp.data.vocabulary import MAX_READ, labels_of
from t4spp.evaluation.breakdowns import describe_breakdowns
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.shapes import compactness, contour_length, shape_of
from t4spp.types import Box, Decoded, Region, Sample, Target


def mask_of(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (200, 300)) -> np.ndarray:
    mask = np.zeros(size, dtype=np.bool_)
    for y0, x0, y1, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def scored(sample: Sample, *regions: Region, position: int = 0):
    return score_pairs(position, sample, Decoded(regions=regions, status="ok"))


def sample_of(*masks: np.ndarray, number: int = 0, label: str = "dog", **values) -> Sample:
    return Sample(
        id=f"s{number}",
        size=(200, 300),
        prompt=label,
        labels=(label,),
        targets=tuple(Target(label=label, mask=mask) for mask in masks),
        **values,
    )


def disc(radius: int) -> np.ndarray:
    rows, columns = np.indices((2 * radius + 9, 2 * radius + 9))
    return np.hypot(rows - radius - 4, columns - radius - 4) <= radius


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ((1, 1), 4 * math.sqrt(0.5)),
        ((1, 5), 8 + 4 * math.sqrt(0.5)),
        ((3, 3), 8 + 2 * math.sqrt(2)),
    ],
)
def test_contour_of_a_block_has_straight_steps_and_cut_corners(
    shape: tuple[int, int], length: float
) -> None:
    assert contour_length(np.ones(shape, dtype=np.bool_)) == pytest.approx(length)


def test_contours_of_holes_count() -> None:
    ring = np.ones((9, 9), dtype=np.bool_)
    ring[4, 4] = False
    whole = contour_length(np.ones((9, 9), dtype=np.bool_))
    assert contour_length(ring) == pytest.approx(whole + 4 * math.sqrt(0.5))


def test_disc_is_compact_and_a_thread_is_not() -> None:
    assert compactness(disc(40)) == pytest.approx(0.9, abs=0.02)
    assert compactness(np.ones((1, 400), dtype=np.bool_)) == pytest.approx(math.pi / 400, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_contour_and_compactness_do_not_depend_on_how_the_mask_is_turned(mask: np.ndarray) -> None:
    turned = (np.rot90(mask), mask[::-1], mask.T)
    assert all(contour_length(other) == pytest.approx(contour_length(mask)) for other in turned)
    if mask.any():
        assert 0 < compactness(mask) <= 1


def test_shape_of_several_parts_measures_the_largest() -> None:
    mask = mask_of((10, 10, 60, 60), (100, 100, 101, 130), (61, 60, 62, 61))
    shape = shape_of(mask, Box.of_mask(mask), 2)
    assert shape.area == 2500 + 30 + 1
    assert shape.share == (2500 + 30 + 1) / 60000
    assert shape.num_parts == 3
    assert shape.num_instances == 2
    assert shape.compactness == pytest.approx(compactness(np.ones((50, 50), dtype=np.bool_)))


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    mask = mask_of((10, 10, 20, 20), (20, 20, 30, 30))
    assert shape_of(mask, Box.of_mask(mask), 1).num_parts == 1


def test_ignored_pixels_and_instances_are_no_part_of_a_shape() -> None:
    ignore = mask_of((0, 0, 200, 100))
    sample = sample_of(mask_of((10, 10, 20, 20)), mask_of((10, 90, 20, 120)), ignore=ignore)
    (pair,) = scored(sample)
    assert (pair.shape.area, pair.shape.num_instances) == (200, 1)


def test_pair_without_target_has_no_shape() -> None:
    (pair,) = scored(sample_of())
    assert pair.shape is None


def test_scores_are_parted_by_size_instances_parts_and_thinness() -> None:
    small, large = mask_of((0, 0, 10, 10)), mask_of((50, 50, 150, 150))
    thread = mask_of((0, 0, 2, 300))
    pairs = [
        *scored(sample_of(small, number=0), Region(label="dog", mask=small)),
        *scored(sample_of(large, number=1), Region(label="dog", mask=mask_of((50, 50, 100, 150)))),
        *scored(sample_of(thread, mask_of((20, 0, 22, 300)), number=2)),
        *scored(sample_of(number=3)),
    ]
    found = describe_breakdowns(pairs, resamples=0, seed=0)
    told = {
        by: {name: (bins["num_pairs"], bins["mean_iou"]["value"]) for name, bins in content.items()}
        for by, content in found.items()
    }
    assert told == {
        "area": {
            "small: below 32²": (1, 1.0),
            "medium: 32² to 96²": (1, 0.0),
            "large: from 96²": (1, 0.5),
        },
        "share": {"below 1 %": (1, 1.0), "1 to 5 %": (1, 0.0), "5 to 20 %": (1, 0.5)},
        "instances": {"1": (2, 0.75), "2": (1, 0.0)},
        "parts": {"1": (2, 0.75), "2": (1, 0.0)},
        "compactness": {"thin: below 0.25": (1, 0.0), "compact: from 0.5": (2, 0.75)},
    }


@pytest.mark.parametrize(
    ("side", "name"),
    [
        (31, "small: below 32²"),
        (32, "medium: 32² to 96²"),
        (95, "medium: 32² to 96²"),
        (96, "large: from 96²"),
    ],
)
def test_a_bound_belongs_to_the_larger_bin(side: int, name: str) -> None:
    pairs = scored(sample_of(mask_of((0, 0, side, side))))
    assert list(describe_breakdowns(pairs, resamples=0, seed=0)["area"]) == [name]


def test_labels_seen_in_training_stand_apart_where_they_are_known() -> None:
    mask = mask_of((0, 0, 10, 10))
    pairs = [
        *scored(sample_of(mask, number=0), Region(label="dog", mask=mask)),
        *scored(sample_of(mask, number=1, label="gnu")),
        *scored(Sample(id="s2", size=(200, 300), prompt="anything", targets=())),
    ]
    found = describe_breakdowns(pairs, resamples=20, seed=0, seen={"dog"})["label"]
    assert found["seen in training"]["mean_iou"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["not seen in training"]["num_pairs"] == 1
    assert "label" not in describe_breakdowns(pairs, resamples=0, seed=0)


def test_no_pairs_make_no_break_downs() -> None:
    assert describe_breakdowns([], resamples=10, seed=0) == {}


class Lazy:
    """Samples that may tell their labels without being made."""

    def __init__(self, length: int, tells: bool) -> None:
        self.length = length
        self.made = 0
        if tells:
            self.labels_at = lambda index: (f"label {index % 3}", "others")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.made += 1
        return sample_of(label=f"label {index % 2}")


def test_labels_are_told_without_making_a_sample() -> None:
    samples = Lazy(100_000, tells=True)
    assert labels_of(samples) == {"label 0", "label 1", "label 2"}
    assert samples.made == 0


def test_labels_of_few_samples_are_read_and_of_many_are_left_out() -> None:
    assert labels_of(Lazy(10, tells=False)) == {"label 0", "label 1"}
    many = Lazy(MAX_READ + 1, tells=False)
    assert labels_of(many) is None
    assert many.made == MAX_READ
