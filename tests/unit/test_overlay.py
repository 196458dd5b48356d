from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.report.overlay import (
    PALETTE,
    draw_occupancy,
    draw_overlay,
    label_colour,
    label_colours,
    outline_of,
)
from t4spp.types import Box


def square(size: int = 40, inner: slice = slice(10, 30)) -> np.ndarray:
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[inner, inner] = True
    return mask


def test_label_has_the_same_colour_in_another_process() -> None:
    code = "from t4spp.report.overlay import label_colour; print(label_colour('the dog'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(label_colour("the dog"))


@given(st.lists(st.text(max_size=8), max_size=len(PALETTE), unique=True))
def test_labels_of_one_picture_have_distinct_colours_whatever_their_order(
    labels: list[str],
) -> None:
    colours = label_colours(labels)
    assert len(set(colours.values())) == len(labels)
    assert colours == label_colours(reversed(labels))


def test_more_labels_than_colours_still_get_one_each() -> None:
    labels = [str(number) for number in range(40)]
    assert set(label_colours(labels)) == set(labels)


def test_fill_is_blended_outline_is_opaque_and_the_input_is_untouched() -> None:
    image = np.full((40, 40, 3), 100, np.uint8)
    drawn = draw_overlay(image, [("dog", square())], alpha=0.5, colours={"dog": (200, 0, 0)})
    assert drawn.dtype == np.uint8
    assert drawn[20, 20].tolist() == [150, 50, 50]
    assert drawn[10, 15].tolist() == [200, 0, 0]
    assert drawn[9, 15].max() < 100  # the halo outside
    assert drawn[2, 2].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_object_one_pixel_wide_is_drawn_in_full_colour() -> None:
    mask = np.zeros((40, 40), dtype=np.bool_)
    mask[:, 7] = True
    drawn = draw_overlay(np.zeros((40, 40, 3), np.uint8), [("wire", mask)])
    assert (drawn[:, 7] == label_colour("wire")).all()


def test_mask_of_the_whole_picture_gets_a_frame() -> None:
    line = outline_of(np.ones((8, 8), dtype=np.bool_))
    assert line[0].all() and line[:, -1].all() and not line[1:-1, 1:-1].any()


def test_object_that_leaves_the_frame_has_no_line_at_the_border() -> None:
    mask = np.zeros((20, 20), dtype=np.bool_)
    mask[5:15, 10:] = True
    line = outline_of(mask)
    assert line[5, 12] and not line[10, 19]


def test_empty_masks_and_no_masks_leave_the_picture_as_it_is() -> None:
    image = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    np.testing.assert_array_equal(draw_overlay(image, []), image)
    empty = np.zeros((10, 10), dtype=np.bool_)
    np.testing.assert_array_equal(draw_overlay(image, [("a", empty)]), image)


def test_mask_of_another_size_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'dog'"):
        draw_overlay(np.zeros((10, 12, 3), np.uint8), [("dog", np.ones((12, 10), np.bool_))])


def test_alpha_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        draw_overlay(np.zeros((4, 4, 3), np.uint8), [], alpha=1.5)


def test_fuller_cells_of_the_grid_are_drawn_stronger_and_the_box_is_framed() -> None:
    soft = np.zeros((20, 20), dtype=np.float32)
    soft[5:10, 5:10], soft[10:15, 5:10] = 1.0, 0.4
    box = Box(y0=5, x0=5, y1=15, x1=15)
    image = np.full((20, 20, 3), 90, np.uint8)
    colours = {"dog": (230, 0, 0)}
    drawn = draw_occupancy(image, [("dog", soft)], [("dog", box)], colours=colours).astype(int)
    redness = drawn[..., 0] - drawn[..., 1]
    assert redness[7, 7] > redness[12, 7] > redness[12, 12] == 0
    assert drawn[5, 12].tolist() == [230, 0, 0]
