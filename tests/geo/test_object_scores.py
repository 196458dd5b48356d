"""Objects on the map are matched one to one and measured in square metres."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

shapely = pytest.importorskip("shapely", reason="the extra geo is not installed")
pytest.importorskip("pyproj", reason="the extra geo is not installed")

from t4spp.evaluation.spatial import ObjectCounts, match_objects, object_scores  # noqa: E402

UTM = "EPSG:32616"
EAST, NORTH = 740_000.0, 3_720_000.0


def square(x: float, y: float, side: float = 10.0) -> shapely.Polygon:
    return shapely.box(EAST + x, NORTH + y, EAST + x + side, NORTH + y + side)


squares = st.lists(
    st.builds(square, st.integers(0, 60), st.integers(0, 60), st.sampled_from([6.0, 10.0, 14.0])),
    max_size=7,
)


def test_equal_layers_score_one_whatever_their_order() -> None:
    true = [square(0, 0), square(20, 0), square(0, 20)]
    scores = object_scores(true[::-1], true, UTM).counts
    assert (scores.precision, scores.recall, scores.f1) == (1.0, 1.0, 1.0)
    assert scores.iou_sum == pytest.approx(3.0)
    assert scores.area_error_sum == 0.0


def test_missed_and_invented_objects_lower_recall_and_precision() -> None:
    true = [square(0, 0), square(20, 0), square(40, 0), square(60, 0)]
    predicted = [square(0, 1), square(20, 1), square(100, 100)]
    scores = object_scores(predicted, true, UTM)
    assert scores.counts.num_matched == 2
    assert scores.counts.precision == pytest.approx(2 / 3)
    assert scores.counts.recall == pytest.approx(2 / 4)
    assert scores.counts.f1 == pytest.approx(4 / 7)
    assert scores.matches.true_of.tolist() == [0, 1, -1]
    assert scores.matches.predicted_of.tolist() == [0, 1, -1, -1]


def test_two_halves_of_a_building_do_not_both_match_it() -> None:
    whole = shapely.box(EAST, NORTH, EAST + 20, NORTH + 10)
    halves = [square(0, 0), square(10, 0)]
    assert object_scores(halves, [whole], UTM).counts.num_matched == 1  # IoU 0.5 counts
    assert object_scores(halves, [whole], UTM, iou=0.51).counts.num_matched == 0


def test_the_best_pair_goes_first_not_the_first_one() -> None:
    true = [square(0, 0)]
    near, exact = square(2, 0), square(0, 0)
    assert match_objects([near, exact], true).true_of.tolist() == [-1, 0]


def test_empty_sides_have_no_score_where_nothing_is_defined() -> None:
    nothing = object_scores([], [], UTM).counts
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    missed = object_scores([], [square(0, 0)], UTM).counts
    assert (missed.precision, missed.recall, missed.f1) == (None, 0.0, 0.0)
    invented = object_scores([square(0, 0)], [], UTM).counts
    assert (invented.precision, invented.recall, invented.f1) == (0.0, None, 0.0)


def test_objects_below_the_least_area_are_neither_missed_nor_invented() -> None:
    true = [square(0, 0), square(50, 50, 2)]
    predicted = [square(0, 0), square(50, 50, 2), square(80, 80, 3)]
    counts = object_scores(predicted, true, UTM, least_area=20).counts
    assert (counts.num_predicted, counts.num_true, counts.num_matched) == (1, 1, 1)
    assert counts.num_small == 3


def test_small_prediction_of_a_large_enough_object_counts() -> None:
    true, predicted = [square(0, 0)], [square(0, 0, 8)]  # 100 and 64 square metres, IoU 0.64
    counts = object_scores(predicted, true, UTM, least_area=80).counts
    assert (counts.num_predicted, counts.num_true, counts.num_matched) == (1, 1, 1)


def test_areas_are_square_metres_in_degrees_and_in_feet() -> None:
    degree = shapely.box(85.5, 27.6, 85.5001, 27.6001)  # about 9.9 m by 11.1 m in Nepal
    scores = object_scores([degree], [degree], "EPSG:4326")
    assert scores.true_area[0] == pytest.approx(109.3, rel=0.01)
    feet = shapely.box(6_000_000, 2_000_000, 6_000_100, 2_000_100)  # California zone 3, US feet
    assert object_scores([feet], [], "EPSG:2227").predicted_area[0] == pytest.approx(
        (100 * 0.3048006) ** 2, rel=0.001
    )


def test_area_error_is_relative_to_the_true_object() -> None:
    counts = object_scores([square(0, 0, 8)], [square(0, 0)], UTM).counts
    assert counts.area_error_sum == pytest.approx(0.36)


def test_multipolygons_are_one_object() -> None:
    both = shapely.union_all([square(0, 0), square(30, 0)])
    assert object_scores([both], [both], UTM).counts.num_matched == 1
    assert object_scores([square(0, 0), square(30, 0)], [both], UTM).counts.num_matched == 1


@pytest.mark.parametrize(("iou", "least_area"), [(0.0, 0.0), (1.1, 0.0), (0.5, -1.0)])
def test_thresholds_outside_their_range_are_refused(iou: float, least_area: float) -> None:
    with pytest.raises(ValueError, match=r"not in 0\.\.1"):
        object_scores([], [], UTM, iou=iou, least_area=least_area)


apart = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    max_size=8,
).map(lambda cells: [square(15 * i + x, 15 * j + y) for (i, j), (x, y) in cells.items()])


@settings(deadline=None, max_examples=60)
@given(predicted=apart, true=apart)
def test_swapping_the_sides_swaps_precision_and_recall(
    predicted: list[shapely.Polygon], true: list[shapely.Polygon]
) -> None:
    forth = match_objects(predicted, true, iou=0.501)  # above 0.5 a partner is the only one
    back = match_objects(true, predicted, iou=0.501)
    assert np.count_nonzero(forth.true_of >= 0) == np.count_nonzero(back.predicted_of >= 0)
    assert sorted(forth.ious[forth.true_of >= 0]) == pytest.approx(
        sorted(back.ious[back.true_of >= 0])
    )


@settings(deadline=None, max_examples=60)
@given(predicted=squares, true=squares)
def test_every_object_has_one_partner_at_most_and_counts_never_exceed_a_side(
    predicted: list[shapely.Polygon], true: list[shapely.Polygon]
) -> None:
    scores = object_scores(predicted, true, UTM)
    partners = [index for index in scores.matches.true_of.tolist() if index >= 0]
    assert len(partners) == len(set(partners)) == scores.counts.num_matched
    assert scores.counts.num_matched <= min(len(predicted), len(true))
    assert (scores.matches.ious[scores.matches.true_of >= 0] >= 0.5).all()


def test_counts_of_scenes_add_up() -> None:
    one = ObjectCounts(num_predicted=3, num_true=2, num_matched=1, iou_sum=0.5)
    both = one + ObjectCounts(num_predicted=1, num_true=2, num_matched=1, iou_sum=1.0)
    assert (both.precision, both.recall, both.f1) == (0.5, 0.5, 0.5)
    assert both.iou_sum == 1.5


def test_spacenets_own_footprints_match_themselves_one_to_one(shared_data: Path) -> None:
    file = next((shared_data / "rs_spacenet").rglob("geotiff_labels.geojson"))
    features = json.loads(file.read_text())["features"]
    footprints = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
    counts = object_scores(footprints, footprints, UTM).counts
    assert counts.num_true == len(footprints) == 43
    assert (counts.precision, counts.recall) == (1.0, 1.0)
