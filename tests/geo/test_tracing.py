"""Numbered pixels become polygons along their edges."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.features import rasterize
from rasterio.transform import Affine

from t4spp.geo.tracing import trace

numbered = st.tuples(st.integers(1, 12), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.int32, shape, elements=st.integers(0, 4))
)
sparse = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 90), st.integers(1, 12), st.integers(1, 12)),
    max_size=6,
)


def painted(boxes) -> np.ndarray:
    numbers = np.zeros((32, 100), dtype=np.int32)
    for number, (y, x, height, width) in enumerate(boxes, start=1):
        numbers[y : y + height, x : x + width] = number
    return numbers


@settings(max_examples=60, deadline=None)
@given(numbered | sparse.map(painted), st.integers(0, 1000))
def test_polygons_drawn_again_give_the_numbers(numbers, top):
    found = trace(numbers, top)
    assert set(found) == set(np.unique(numbers[numbers > 0]).tolist())
    drawn = np.zeros_like(numbers)
    shapes = [(part, number) for number, parts in found.items() for part in parts]
    if shapes:
        rasterize(shapes, out=drawn, transform=Affine.translation(0, top))
    assert np.array_equal(drawn, numbers)


@settings(max_examples=60, deadline=None)
@given(numbered | sparse.map(painted))
def test_areas_are_numbers_of_pixels_and_parts_are_valid_and_apart(numbers):
    for number, parts in trace(numbers, 0).items():
        assert sum(part.area for part in parts) == np.count_nonzero(numbers == number)
        assert all(part.is_valid for part in parts)
        assert shapely.union_all(parts).area == sum(part.area for part in parts)


def test_nothing_has_no_outline():
    assert trace(np.zeros((4, 9), dtype=np.int32), 3) == {}


@pytest.mark.parametrize("width", [60, 6000])
def test_things_lie_where_they_are_however_much_lies_between_them(width):
    numbers = np.zeros((30, width), dtype=np.int32)
    numbers[2:5, 1:4] = 7
    numbers[3, 2] = 0
    numbers[10:30, width - 3 : width] = 2
    found = trace(numbers, 100)
    ring = shapely.box(1, 102, 4, 105) - shapely.box(2, 103, 3, 104)
    assert shapely.equals(found[7][0], ring)
    assert [len(found[number]) for number in (2, 7)] == [1, 1]
    assert shapely.equals(found[2][0], shapely.box(width - 3, 110, width, 130))
