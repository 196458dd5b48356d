"""Where windows lie: they cover every pixel, and padding is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support_geo import NORTH, UTM, WEST

from t4spp.errors import GeoError
from t4spp.geo.scenes import Scene
from t4spp.geo.windows import WindowView, plan_windows
from t4spp.types import Box

pytest.importorskip("pyproj", reason="windows need the extra 'geo'")


def scene_of(height, width, pixel=(0.5, 0.5)) -> Scene:
    return Scene(
        path=Path("scene.tif"),
        name="scene",
        size=(height, width),
        crs=UTM,
        transform=(pixel[1], 0, WEST, 0, -pixel[0], NORTH),
        nodata=None,
        num_bands=1,
        dtypes=("uint8",),
        has_gaps=False,
        stamp=(0, 0),
    )


def boxes(grid):
    return [(window.box.y0, window.box.x0) for window in grid]


def test_windows_run_row_by_row_and_the_last_ones_are_padded():
    grid = plan_windows(scene_of(60, 50), WindowView(size=32))
    assert boxes(grid) == [(0, 0), (0, 32), (32, 0), (32, 32)]
    assert [window.padded for window in grid] == [False, True, True, True]
    assert grid.num_padded == 3
    assert grid[3].box == Box(y0=32, x0=32, y1=64, x1=64)
    assert {window.out_size for window in grid} == {(32, 32)}
    assert (grid[2].row, grid[2].column) == (1, 0)
    assert grid[-1] == grid[3] and len(grid[1:]) == 3
    with pytest.raises(IndexError):
        _ = grid[4]


def test_shifted_windows_stay_inside():
    grid = plan_windows(scene_of(60, 50), WindowView(size=32, edge="shift"))
    assert boxes(grid) == [(0, 0), (0, 18), (28, 0), (28, 18)]
    assert grid.num_padded == 0


def test_whole_scene_is_one_window():
    grid = plan_windows(scene_of(60, 50), WindowView())
    assert (len(grid), grid[0].box, grid[0].out_size) == (
        1,
        Box(y0=0, x0=0, y1=60, x1=50),
        (60, 50),
    )


def test_metres_and_resolution_set_ground_and_picture_apart():
    scene = scene_of(400, 400, pixel=(0.5, 0.25))
    grid = plan_windows(scene, WindowView(size_m=50))
    assert (grid.box_size, grid.out_size) == ((100, 200), (100, 200))
    grid = plan_windows(scene, WindowView(size=64, resolution=1.0, stride=32))
    assert (grid.box_size, grid.out_size) == ((128, 256), (64, 64))
    assert boxes(grid)[:2] == [(0, 0), (0, 128)]
    grid = plan_windows(scene, WindowView(size_m=50, resolution=0.5, stride_m=25))
    assert (grid.box_size, grid.out_size) == ((100, 200), (100, 100))
    assert plan_windows(scene, WindowView(resolution=1.0)).out_size == (200, 100)


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.integers(16, 120),
    overlap=st.floats(0, 0.9),
    resolution=st.sampled_from([None, 0.37, 0.5, 1.3]),
    edge=st.sampled_from(["pad", "shift"]),
)
@settings(max_examples=200, deadline=None)
def test_every_pixel_is_in_a_window_and_every_window_shows_one(
    height, width, size, overlap, resolution, edge
):
    stride = max(int(size * (1 - overlap)), 1)
    view = WindowView(size=size, stride=stride, resolution=resolution, edge=edge)
    scene = scene_of(height, width)
    try:
        grid = plan_windows(scene, view)
    except GeoError:
        assert edge == "shift" and min(height, width) < size * (resolution or 0.5) / 0.5 + 1
        return
    covered = np.zeros((height, width), dtype=np.bool_)
    padded = 0
    numbers = np.arange(len(grid))
    assert grid.boxes(numbers).shape == (len(grid), 4)
    for number, window in enumerate(grid):
        box = window.box
        assert 0 <= box.y0 < height and 0 <= box.x0 < width
        assert (box.height, box.width) == grid.box_size
        assert window.padded == (box.y1 > height or box.x1 > width)
        assert grid.boxes(numbers)[number].tolist() == [box.y0, box.x0, box.y1, box.x1]
        padded += window.padded
        covered[box.slices] = True
    assert covered.all()
    assert padded == grid.num_padded
    assert edge == "pad" or padded == 0
    assert len(set(boxes(grid))) == len(grid)


@given(
    place=st.tuples(st.integers(0, 190), st.integers(0, 140)),
    extent=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.integers(16, 64),
    stride=st.integers(3, 64),
    edge=st.sampled_from(["pad", "shift"]),
)
@settings(deadline=None)
def test_windows_that_reach_a_box_are_found_and_no_others(place, extent, size, stride, edge):
    view = WindowView(size=size, stride=min(size, stride), edge=edge)
    grid = plan_windows(scene_of(191, 141), view)
    wanted = Box(y0=place[0], x0=place[1], y1=place[0] + extent[0], x1=place[1] + extent[1])
    expected = [
        number
        for number, window in enumerate(grid)
        if window.box.y0 < wanted.y1
        and wanted.y0 < window.box.y1
        and window.box.x0 < wanted.x1
        and wanted.x0 < window.box.x1
    ]
    assert list(grid.reaching(wanted)) == expected


def test_grid_of_any_size_costs_nothing():
    grid = plan_windows(scene_of(2_000_000, 2_000_000), WindowView(size=256, stride=64))
    assert len(grid) == 31247**2
    assert grid[len(grid) - 1].row == 31246
    whole = replace(scene_of(2_000_000, 2_000_000))
    with pytest.raises(GeoError, match="would have 2000000 x 2000000 pixels"):
        plan_windows(whole, WindowView())


def test_window_larger_than_the_scene_is_padded_or_refused():
    grid = plan_windows(scene_of(20, 300), WindowView(size=64))
    assert (len(grid), grid.num_padded) == (5, 5)
    with pytest.raises(GeoError, match="20 x 300 pixels, a window 64 x 64"):
        plan_windows(scene_of(20, 300), WindowView(size=64, edge="shift"))


def test_stride_in_metres_beyond_a_window_in_pixels_is_refused():
    with pytest.raises(GeoError, match="would leave pixels out"):
        plan_windows(scene_of(300, 300), WindowView(size=64, stride_m=40))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"size": 32, "stride": 40}, "pixels would be lost"),
        ({"size_m": 32, "stride_m": 40}, "pixels would be lost"),
        ({"size": 32, "size_m": 4}, "not in both"),
        ({"size": 32, "stride": 3, "stride_m": 4}, "not in both"),
        ({"stride": 3}, "whole scenes have one window"),
        ({"resolution": 0}, "greater than 0"),
        ({"size": 256, "overlap": 3}, "Extra inputs"),
    ],
)
def test_views_that_contradict_themselves_are_refused(params, reason):
    with pytest.raises(ValidationError, match=reason):
        WindowView(**params)


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (
            WindowView(size=512, resolution=1e6),
            r"scene\.tif \(60 x 50 pixels\): a window of size 512, resolution 1e\+06 would cover "
            r"1024000000 x 1024000000 pixels.*limit is 67108864.*resolution up to about 8 metres",
        ),
        (WindowView(size=512, resolution=1e308), r"size 512, resolution 1e\+308 .*limit is"),
        (WindowView(size=16, resolution=257), r"resolution up to about 256 metres"),
        (
            WindowView(size_m=5000, resolution=2),
            r"size_m 5000, resolution 2 .*to about 4.1e\+03",
        ),
    ],
)
def test_windows_that_cover_too_much_of_the_scene_are_one_clear_error(view, reason):
    with pytest.raises(GeoError, match=reason):
        plan_windows(scene_of(60, 50), view)


def test_windows_at_the_limit_of_what_they_cover_are_planned():
    (window,) = plan_windows(scene_of(60, 50), WindowView(size=512, resolution=8))
    assert window.box == Box(y0=0, x0=0, y1=8192, x1=8192)
    whole = WindowView(resolution=4.0)
    assert plan_windows(scene_of(8192, 8192), whole).out_size == (1024, 1024)
    with pytest.raises(GeoError, match="of resolution 4 would cover 8193 x 8192"):
        plan_windows(scene_of(8193, 8192), whole)
