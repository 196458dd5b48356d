"""The map of where a run fails."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

shapely = pytest.importorskip("shapely", reason="the extra geo is not installed")
pytest.importorskip("pyproj", reason="the extra geo is not installed")

from t4spp.report.score_map import colour, score_maps  # noqa: E402
from t4spp.report.window_rows import WindowRow  # noqa: E402


def window(x: float, y: float, iou: float | None, **given: object) -> WindowRow:
    values = {"scene": "a", "label": "building", "crs": "EPSG:32616", "missed": 0.1}
    return WindowRow(
        id=f"a/{x:g}-{y:g}",
        iou=iou,
        invented=0.2,
        outline=shapely.box(x, y, x + 10, y + 10),
        **{**values, **given},  # type: ignore[arg-type]
    )


def polygons(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in points.split()]  # type: ignore[misc]
        for points in re.findall(r'<polygon class="window" points="([^"]+)"', svg)
    ]


def test_neighbouring_windows_are_one_map_with_north_up() -> None:
    (chart,) = score_maps([window(0, 0, 0.9), window(10, 0, 0.1), window(0, 10, 0.5)])
    ElementTree.fromstring(chart.svg)
    first, east, north = polygons(chart.svg)
    assert min(x for x, _ in east) == max(x for x, _ in first)
    assert max(y for _, y in north) == min(y for _, y in first)
    assert chart.title == "building"
    assert "a, a/10-0: IoU 0.100, missed 10.0 %, invented 20.0 %" in chart.svg
    assert "IoU of 3 windows on the map, mean 0.500" in chart.svg


def test_worse_windows_have_another_colour_than_better_ones() -> None:
    assert colour(0.0) == "#7b1e3c" and colour(1.0) == "#106082"
    assert len({colour(step / 10) for step in range(11)}) == 11
    assert colour(-1.0) == colour(0.0) and colour(2.0) == colour(1.0)


def test_scenes_far_apart_are_drawn_side_by_side() -> None:
    rows = [window(0, 0, 0.5), window(1e6, 1e6, 0.5, scene="b")]
    first, second = polygons(score_maps(rows)[0].svg)
    assert max(x for x, _ in first) - min(x for x, _ in first) > 200
    assert max(x for x, _ in second) - min(x for x, _ in second) > 200


def test_degrees_are_drawn_as_wide_as_they_are_on_the_ground() -> None:
    row = window(0, 0, 0.5, crs="EPSG:4326")
    north = WindowRow(**{**vars(row), "outline": shapely.box(10, 59.99, 10.02, 60.0)})
    (points,) = polygons(score_maps([north])[0].svg)
    wide = max(x for x, _ in points) - min(x for x, _ in points)
    high = max(y for _, y in points) - min(y for _, y in points)
    assert wide / high == pytest.approx(2 * 0.5, rel=0.01)  # cos 60 is a half


def test_every_label_has_a_map_and_windows_without_a_score_are_left_out() -> None:
    rows = [window(0, 0, 0.5), window(10, 0, 0.5), window(0, 0, 0.2, label="road")]
    assert [c.title for c in score_maps([*rows, window(20, 0, None)])] == ["building", "road"]
    assert len(polygons(score_maps([*rows, window(20, 0, None)])[0].svg)) == 2
    assert score_maps([window(0, 0, None)]) == ()
