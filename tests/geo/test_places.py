"""Places of a study: ground that runs with other windows answered about as well."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

shapely = pytest.importorskip("shapely", reason="the extra geo is not installed")

from t4spp.report.places import Frame, find_places, laid  # noqa: E402
from t4spp.report.window_rows import WindowRow  # noqa: E402
from t4spp.types import GeoRef  # noqa: E402


def row(x: float, y: float, side: float, iou: float | None, scene: str = "a") -> WindowRow:
    return WindowRow(
        id=f"{scene}/{x:g}/{y:g}/{side:g}",
        scene=scene,
        label="building",
        iou=iou,
        missed=0.0,
        invented=0.0,
        crs="EPSG:32616",
        outline=shapely.box(x, y, x + side, y + side),
    )


def geo(x: float, y: float, pixel: float, angle: float = 0.0) -> GeoRef:
    a, b = pixel * math.cos(angle), pixel * math.sin(angle)
    return GeoRef(crs="EPSG:32616", transform=(a, b, x, b, -a, y))


def test_places_are_the_largest_windows_with_every_runs_mean_over_them() -> None:
    coarse = [row(0, 0, 20, 0.4), row(20, 0, 20, 0.8)]
    fine = [row(x, y, 10, (x + y) / 100) for x in (0, 10, 20, 30) for y in (0, 10)]
    places = find_places([fine, coarse])
    assert [place.row.id for place in places] == ["a/0/0/20", "a/20/0/20"]
    assert places[0].ious == (pytest.approx(0.1), 0.4)
    assert places[1].ious == (pytest.approx(0.3), 0.8)
    assert [len(parts) for parts in places[0].parts] == [4, 1]
    assert all(part.share == 1.0 and part.cover == 0.25 for part in places[0].parts[0])


def test_ground_that_a_run_did_not_score_is_no_place() -> None:
    coarse = [row(0, 0, 20, 0.4), row(20, 0, 20, 0.8)]
    half = [row(0, 0, 10, 0.5), row(0, 10, 10, 0.5), row(20, 0, 10, None), row(30, 0, 10, None)]
    assert find_places([half, coarse]) == []
    elsewhere = [row(0, 0, 20, 0.5, scene="b"), row(20, 0, 20, 0.5, scene="b")]
    assert find_places([elsewhere, coarse]) == []


def test_windows_of_other_scenes_on_the_same_ground_are_not_mixed() -> None:
    coarse = [row(0, 0, 20, 0.4)]
    fine = [row(0, 0, 20, 0.9, scene="b"), row(0, 0, 20, 0.2)]
    (place,) = find_places([fine, coarse])
    assert place.ious == (0.2, 0.4)


def test_frame_covers_a_pictures_ground_at_another_size() -> None:
    frame = Frame.over(geo(100.0, 200.0, 0.5), (64, 128), side=32)
    assert frame.size == (16, 32)
    assert frame.transform == (2.0, 0.0, 100.0, 0.0, -2.0, 200.0)
    rows, columns = frame.places(geo(100.0, 200.0, 0.5))
    assert rows[:, 0].tolist() == list(range(2, 64, 4))
    assert columns[0].tolist() == list(range(2, 128, 4))


@given(angle=st.floats(-3.1, 3.1), pixel=st.floats(0.1, 10.0))
def test_a_picture_laid_on_its_own_frame_is_itself(angle: float, pixel: float) -> None:
    mask = np.zeros((12, 20), dtype=np.bool_)
    mask[3:7, 5:16] = True
    own = geo(1000.0, 2000.0, pixel, angle)
    frame = Frame.over(own, (12, 20), side=20)
    assert np.array_equal(laid(frame, [(own, mask)]), mask)


def test_neighbouring_windows_make_one_mask_and_overlaps_are_put_to_the_vote() -> None:
    whole = np.ones((4, 4), dtype=np.bool_)
    frame = Frame(size=(4, 8), transform=(1.0, 0.0, 0.0, 0.0, -1.0, 4.0))
    west, east = geo(0.0, 4.0, 1.0), geo(4.0, 4.0, 1.0)
    assert laid(frame, [(west, whole), (east, ~whole)])[0].tolist() == [True] * 4 + [False] * 4
    votes = [(west, whole), (west, ~whole), (west, ~whole)]
    assert not laid(frame, votes).any()
    assert laid(frame, votes[:2])[0, :4].all()  # a tie counts as said
