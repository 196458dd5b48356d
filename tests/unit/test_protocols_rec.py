"""``rec``: Acc@0.5 of masks' boxes, extents max - min."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_protocols import answered, counts, rectangle, scores
from torchvision.ops import box_iou, masks_to_boxes

from t4spp.types import BoolMask

DOG = rectangle(0, 0, 11, 11)  # extents 10 x 10, area 100


def accuracy(truth: BoolMask, answer: BoolMask) -> float | None:
    return scores("rec", answered([("dog", truth)], [("dog", answer)]))["acc@0.5"]


def test_iou_of_exactly_one_half_is_a_miss() -> None:
    # Rows 0 to 5: extents 5 x 10, area 50 of 100.
    assert accuracy(DOG, rectangle(0, 0, 6, 11)) == 0.0
    assert accuracy(DOG, rectangle(0, 0, 7, 11)) == 1.0


def test_extents_are_max_minus_min() -> None:
    # As counts of pixels: 3 x 2 of 3 x 3, IoU 2/3, a hit. As max - min: 2 x 1 of 2 x 2, IoU 1/2.
    assert accuracy(rectangle(0, 0, 3, 3), rectangle(0, 0, 2, 3)) == 0.0
    native = scores(
        "native",
        answered([("dog", rectangle(0, 0, 3, 3))], [("dog", rectangle(0, 0, 2, 3))]),
    )
    assert native["acc@0.5"] == 1.0


def test_only_the_boxes_count_and_not_what_they_hold() -> None:
    corners = rectangle(0, 0, 1, 1) | rectangle(10, 10, 11, 11)
    assert accuracy(DOG, corners) == 1.0


@pytest.mark.parametrize(
    "flat", [rectangle(3, 3, 4, 4), rectangle(3, 0, 4, 20), rectangle(0, 3, 20, 4)]
)
def test_box_one_pixel_high_or_wide_is_not_hit_even_by_itself(flat: BoolMask) -> None:
    assert accuracy(flat, flat) == 0.0
    assert accuracy(flat, rectangle(0, 0, 20, 20)) == 0.0
    assert counts("rec", answered([("dog", flat)], [("dog", flat)]))["true_boxes_without_area"] == 1


def test_empty_mask_misses() -> None:
    assert scores("rec", answered([("dog", DOG)]))["acc@0.5"] == 0.0
    assert scores("rec", answered([("dog", DOG)], status="invalid"))["acc@0.5"] == 0.0


def test_expression_without_target_is_a_miss_whatever_is_answered() -> None:
    assert scores("rec", answered())["acc@0.5"] == 0.0
    assert scores("rec", answered([], [("dog", DOG)]))["acc@0.5"] == 0.0
    told = counts("rec", answered())
    assert (told["without_target"], told["true_boxes_without_area"]) == (1, 0)


def test_target_under_ignore_is_a_miss() -> None:
    hidden = answered([("dog", DOG)], [("dog", DOG)], ignore=rectangle(0, 0, 12, 12))
    assert scores("rec", hidden)["acc@0.5"] == 0.0


def test_boxes_apart_do_not_overlap() -> None:
    assert accuracy(rectangle(0, 0, 5, 5), rectangle(10, 10, 15, 15)) == 0.0
    # Both differences are negative: their product is not an overlap.
    assert accuracy(rectangle(0, 0, 2, 2), rectangle(18, 18, 20, 20)) == 0.0


def test_accuracy_is_over_expressions() -> None:
    hit = [answered([("dog", DOG)], [("dog", DOG)], position=p, image_id="a") for p in range(2)]
    miss = answered([("dog", DOG)], [], position=2, image_id="b")
    assert scores("rec", *hit, miss) == {"acc@0.5": 2 / 3}


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.002, 0.01, 0.1]))
def test_hits_are_those_of_torchvisions_boxes(seed: int, density: float) -> None:
    """``masks_to_boxes`` gives max - min extents, ``box_iou`` NaN for two boxes without area."""
    generator = np.random.default_rng(seed)
    masks = [generator.random((20, 20)) < density for _ in range(2)]
    masks[0][4, 3] = masks[1][4, generator.integers(0, 20)] = True
    boxes = masks_to_boxes(torch.from_numpy(np.stack(masks)))
    expected = float(box_iou(boxes[:1], boxes[1:])[0, 0] > 0.5)
    assert accuracy(masks[0], masks[1]) == expected
