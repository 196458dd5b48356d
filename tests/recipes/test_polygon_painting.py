from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp_recipes.natural.referring.polygon_painting import fill_as_opencv, fill_as_pil

# Printed by opencv-python-headless 4.8.1.78: cv2.polylines(..., True, 1, 1), then cv2.fillPoly, on
# numpy int32 points, as LISA's utils/data_processing.py paints.
PAINTED_BY_OPENCV = {
    "fractions cut off": (
        [[1.9, 0.2], [10.9, 3.0], [3.0, 7.9]],
        [
            ".##.........",
            ".#####......",
            "..#######...",
            "..#########.",
            "..########..",
            "..######....",
            "...###......",
            "...#........",
        ],
    ),
    "concave": (
        [[0, 0], [11, 1], [4, 4], [10, 7], [1, 6]],
        [
            "######......",
            "############",
            "##########..",
            "########....",
            ".#####......",
            ".#######....",
            ".#########..",
            "......#####.",
        ],
    ),
    "beyond the picture": (
        [[-4, -3], [9, 2], [15, 12], [2, 5]],
        [
            "#####.......",
            "########....",
            "##########..",
            "##########..",
            ".##########.",
            "..#########.",
            "....########",
            "......######",
        ],
    ),
    "a line": (
        [[1, 1], [9, 5]],
        [
            "............",
            ".##.........",
            "...##.......",
            ".....##.....",
            ".......##...",
            ".........#..",
            "............",
            "............",
        ],
    ),
    "crossing itself": (
        [[0, 0], [11, 7], [11, 0], [0, 7]],
        [
            "#..........#",
            "###......###",
            "####....####",
            "############",
            "############",
            "####....####",
            "###......###",
            "#..........#",
        ],
    ),
}


def rows(mask: np.ndarray) -> list[str]:
    return ["".join(".#"[int(value)] for value in row) for row in mask]


@pytest.mark.parametrize("name", PAINTED_BY_OPENCV)
def test_polygons_are_painted_pixel_for_pixel_as_opencv_paints_them(name):
    points, expected = PAINTED_BY_OPENCV[name]
    assert rows(fill_as_opencv(points, (8, 12))) == expected


def test_random_polygons_equal_opencvs_in_every_pixel():
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless 4.8, to compare with")
    if not cv2.__version__.startswith(("4.8.", "4.9.", "4.10.")):
        pytest.skip(f"OpenCV {cv2.__version__} fills by another rule than 4.8, which LISA pins")
    rng = np.random.default_rng(0)
    for number in range(1500):
        height, width = (int(side) for side in rng.integers(20, 400, 2))
        beyond = 30 if number % 2 else 0
        points = rng.uniform(
            (-beyond, -beyond), (width + beyond, height + beyond), (int(rng.integers(3, 25)), 2)
        )
        expected = np.zeros((height, width), np.uint8)
        cv2.polylines(expected, np.array([points], dtype=np.int32), True, 1, 1)
        cv2.fillPoly(expected, np.array([points], dtype=np.int32), 1)
        assert np.array_equal(fill_as_opencv(points, (height, width)), expected.astype(bool))


def test_a_polygon_wholly_outside_paints_nothing():
    assert not fill_as_opencv([[20, 20], [30, 20], [25, 40]], (8, 12)).any()
    assert not fill_as_opencv([[-9, 2], [-3, 2], [-5, 7]], (8, 12)).any()


def test_no_point_and_one_point_are_painted():
    assert not fill_as_opencv(np.empty((0, 2)), (4, 4)).any()
    assert np.argwhere(fill_as_opencv([[2, 1]], (4, 4))).tolist() == [[1, 2]]


@settings(deadline=None, max_examples=60)
@given(
    points=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 29)), min_size=3, max_size=8),
)
def test_what_lies_well_inside_is_painted_and_what_lies_well_outside_is_not(points):
    shapely = pytest.importorskip("shapely", reason="an independent geometry; the extra 'geo'")
    polygon = shapely.Polygon(points)
    mask = fill_as_opencv(points, (30, 40))
    if not polygon.is_valid:
        return  # shapely fills what crosses itself by another rule
    for y in range(0, 30, 3):
        for x in range(0, 40, 3):
            point = shapely.Point(x, y)
            distance = polygon.exterior.distance(point)
            if distance > 1.5:
                assert mask[y, x] == polygon.contains(point)


def test_pil_paints_the_outline_and_a_line_of_two_points():
    square = np.array([[2, 1], [5, 1], [5, 3], [2, 3]], np.int32)
    line = np.array([[0, 0], [0, 3]], np.int32)
    assert rows(fill_as_pil([square, line], (5, 8))) == [
        "#.......",
        "#.####..",
        "#.####..",
        "#.####..",
        "........",
    ]
    assert not fill_as_pil([], (5, 8)).any()
