"""``rmsin`` and ``segearth``: masks in a frame of their own, thresholds, empty unions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support_protocols import answered, counts, rectangle, scores

from t4spp.evaluation.protocols.framing import longest_side_1024, square_of_480
from t4spp.types import FURTHER_PHRASE, BoolMask

DOG = rectangle(0, 0, 10, 10)


def test_rmsin_compares_at_480_by_480() -> None:
    # Nearest pixels of 3 x 1: 160 of the frame's rows each; a column is the whole width.
    truth, answer = rectangle(0, 0, 2, 1, (3, 1)), rectangle(1, 0, 3, 1, (3, 1))
    got = scores("rmsin", answered([("dog", truth)], [("dog", answer)], size=(3, 1)))
    assert (got["mean_iou"], got["ciou"]) == (1 / 3, 1 / 3)
    # A picture of 800 x 800 (RRSIS-D) at 480 shows pixels 0, 2, 4, 5, 7, ... : row 1 is not there.
    lost = rectangle(1, 0, 2, 800, (800, 800))
    got = scores("rmsin", answered([("dog", lost)], [("dog", lost)], size=(800, 800)))
    assert (got["mean_iou"], got["ciou"]) == (0.0, None)
    kept = rectangle(2, 0, 3, 800, (800, 800))
    got = scores("rmsin", answered([("dog", kept)], [("dog", kept)], size=(800, 800)))
    assert (got["mean_iou"], got["ciou"]) == (1.0, 1.0)


def test_rmsin_counts_an_empty_union_zero() -> None:
    got = scores("rmsin", answered())
    assert (got["mean_iou"], got["pr@0.5"], got["ciou"]) == (0.0, 0.0, None)


def test_rmsin_weighs_pictures_of_all_sizes_alike_in_oiou() -> None:
    small = answered([("dog", rectangle(0, 0, 4, 4, (4, 4)))], [], size=(4, 4))
    large = answered(
        [("dog", rectangle(0, 0, 40, 40, (40, 40)))],
        [("dog", rectangle(0, 0, 40, 40, (40, 40)))],
        size=(40, 40),
        position=1,
    )
    assert scores("rmsin", small, large)["ciou"] == 0.5
    assert scores("lisa", small, large)["ciou"] == 1600 / 1616


@pytest.mark.parametrize("tenths", [5, 6, 7, 8, 9])
def test_rmsin_counts_an_iou_that_equals_its_threshold(tenths: int) -> None:
    got = scores(
        "rmsin", answered([("dog", DOG)], [("dog", rectangle(0, 0, tenths, 10))], position=tenths)
    )
    assert got["mean_iou"] == tenths / 10
    assert [got[f"pr@0.{step}"] for step in range(5, 10)] == [
        float(step <= tenths) for step in range(5, 10)
    ]


@pytest.mark.parametrize("tenths", [5, 6, 7, 8, 9])
def test_segearth_counts_only_above_its_threshold(tenths: int) -> None:
    size = (1024, 1024)
    truth, answer = rectangle(0, 0, 10, 10, size), rectangle(0, 0, tenths, 10, size)
    got = scores("segearth", answered([("dog", truth)], [("dog", answer)], size=size))
    assert got["ciou"] == tenths / 10
    assert [got[f"pr@0.{step}"] for step in range(5, 10)] == [
        float(step < tenths) for step in range(5, 10)
    ]


def test_segearth_makes_the_longest_side_1024() -> None:
    # 512 x 256: each pixel stands for 2 x 2.
    size = (512, 256)
    truth, answer = rectangle(0, 0, 10, 10, size), rectangle(0, 0, 5, 10, size)
    got = scores("segearth", answered([("dog", truth)], [("dog", answer)], size=size))
    assert (got["mean_iou"], got["ciou"]) == (200 / 400.00001, 0.5)
    wide = scores("segearth", answered([("dog", truth.T)], [("dog", answer.T)], size=(256, 512)))
    assert wide == got


def test_segearth_counts_an_empty_union_one() -> None:
    got = scores("segearth", answered())
    assert (got["mean_iou"], got["pr@0.9"], got["ciou"]) == (1.0, 1.0, None)


def test_segearth_leaves_further_questions_out() -> None:
    first = answered([("dog", DOG)], [("dog", DOG)])
    further = answered([("dog", DOG)], [], position=1, tags=(FURTHER_PHRASE,))
    assert scores("segearth", first, further)["ciou"] == 1.0
    assert counts("segearth", first, further)["further_phrases"] == 1
    assert scores("rmsin", first, further)["ciou"] == 0.5


@pytest.mark.parametrize("name", ["rmsin", "segearth"])
def test_answer_that_cannot_be_read_is_an_empty_mask(name: str) -> None:
    got = scores(name, answered([("dog", DOG)], status="invalid"))
    assert (got["mean_iou"], got["ciou"]) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["rmsin", "segearth"])
def test_ignored_pixels_count_on_neither_side_of_the_frame(name: str) -> None:
    one = answered(
        [("dog", DOG)], [("dog", rectangle(0, 0, 20, 20))], ignore=rectangle(10, 0, 20, 20)
    )
    assert scores(name, one)["ciou"] == 0.5
    assert counts(name, one)["ignored_pixels"] == {"rmsin": 480 * 240, "segearth": 1024 * 512}[name]


def test_pillow_picks_the_pixels_of_a_frame_of_480() -> None:
    sampling = square_of_480((800, 1000))
    assert sampling.rows[:8].tolist() == [0, 2, 4, 5, 7, 9, 10, 12]
    assert sampling.columns[:8].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert square_of_480((7, 480)).row_times.tolist() == [69, 68, 69, 68, 69, 68, 69]


def test_opencv_picks_the_pixels_of_a_frame_of_1024() -> None:
    # What OpenCV 4.11's resize with INTER_NEAREST gives.
    assert longest_side_1024((3, 3)).row_times.tolist() == [342, 341, 341]
    assert longest_side_1024((7, 7)).column_times.tolist() == [147, 146, 146, 147, 146, 146, 146]
    assert longest_side_1024((1500, 1500)).rows[:8].tolist() == [0, 1, 2, 4, 5, 7, 8, 10]
    assert longest_side_1024((1500, 1500)).rows[-3:].tolist() == [1495, 1497, 1498]
    # Pixel 512 of a side of 186 shows 92; torch's nearest, in float32, shows 93.
    assert np.repeat(np.arange(186), longest_side_1024((186, 186)).row_times)[512] == 92


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((512, 1024), (512, 1024)),
        ((600, 800), (768, 1024)),  # int(600 * (1024 / 800))
        ((800, 600), (1024, 768)),
        ((667, 1000), (683, 1024)),  # 683.008 rounds down
        ((333, 1000), (340, 1024)),  # 340.992 does too
        ((2, 4000), (1, 1024)),  # OpenCV refuses a side of 0
    ],
)
def test_shorter_side_is_cut_to_a_whole_pixel(
    size: tuple[int, int], frame: tuple[int, int]
) -> None:
    sampling = longest_side_1024(size)
    assert (sampling.row_times.sum(), sampling.column_times.sum()) == frame


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(size=sizes, seed=st.integers(0, 2**32 - 1))
def test_areas_are_those_of_the_mask_that_pillow_resizes(size: tuple[int, int], seed: int) -> None:
    mask = np.random.default_rng(seed).random(size) < 0.4
    resized = np.asarray(
        Image.fromarray(mask.astype(np.uint8)).resize((480, 480), Image.Resampling.NEAREST)
    )
    sampling = square_of_480(size)
    assert sampling.area(sampling.sample(mask)) == int(resized.sum())


@given(size=sizes, seed=st.integers(0, 2**32 - 1))
def test_areas_are_those_of_the_frame_that_was_never_made(size: tuple[int, int], seed: int) -> None:
    def frame(mask: BoolMask) -> BoolMask:
        """By indices, pixel for pixel, with SegEarth-R1's borders."""
        height, width = mask.shape
        if width > height:
            new = (max(1, int(height * (1024 / width))), 1024)
        else:
            new = (1024, max(1, int(width * (1024 / height))))
        rows = [min(int(i * (1.0 / (new[0] / height))), height - 1) for i in range(new[0])]
        columns = [min(int(i * (1.0 / (new[1] / width))), width - 1) for i in range(new[1])]
        top, left = (1024 - new[0]) // 2, (1024 - new[1]) // 2
        framed = np.zeros((1024, 1024), dtype=np.bool_)
        framed[top : top + new[0], left : left + new[1]] = mask[np.ix_(rows, columns)]
        return framed

    generator = np.random.default_rng(seed)
    truth, answer = generator.random(size) < 0.4, generator.random(size) < 0.6
    got = scores("segearth", answered([("dog", truth)], [("dog", answer)], size=size))
    both = np.count_nonzero(frame(truth) & frame(answer))
    either = np.count_nonzero(frame(truth) | frame(answer))
    assert got["mean_iou"] == (both / (either + 1e-5) if either else 1.0)
    assert got["ciou"] == (both / either if either else None)
