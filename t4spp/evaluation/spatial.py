"""Objects on the map: which predicted polygons are which true ones, and what that scores.

The rule is the one of the SpaceNet building challenges (precision, recall and F1 at IoU 0.5),
greedy and one to one. IoU is a ratio of areas in map units; least areas and area errors are in
square metres, measured on the ellipsoid (:func:`t4spp.geo.crs.area_m2`), never in degrees.

Shapes: P predicted and T true polygons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

OBJECT_IOU = 0.5
"""IoU from which on a predicted and a true object are the same one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """Which predicted object is which true one.

    Attributes:
        true_of: int64[P], the index of each predicted object's true one, or -1.
        ious: float64[P], the pairs' IoU; 0 without a pair.
        predicted_of: int64[T], the index of each true object's predicted one, or -1.
    """

    true_of: npt.NDArray[np.int64]
    ious: npt.NDArray[np.float64]
    predicted_of: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ObjectCounts:
    """What a layer of objects scores; counts of several scenes add up.

    Attributes:
        num_predicted: predicted objects that count.
        num_true: true objects that count.
        num_matched: pairs that count.
        num_small: objects left out because they are smaller than the least area.
        iou_sum: sum of the counted pairs' IoU.
        area_error_sum: sum of the counted pairs' ``|predicted - true| / true`` areas.
    """

    num_predicted: int = 0
    num_true: int = 0
    num_matched: int = 0
    num_small: int = 0
    iou_sum: float = 0.0
    area_error_sum: float = 0.0

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        """The counts of both."""
        return ObjectCounts(
            num_predicted=self.num_predicted + other.num_predicted,
            num_true=self.num_true + other.num_true,
            num_matched=self.num_matched + other.num_matched,
            num_small=self.num_small + other.num_small,
            iou_sum=self.iou_sum + other.iou_sum,
            area_error_sum=self.area_error_sum + other.area_error_sum,
        )

    @property
    def precision(self) -> float | None:
        """Share of the predicted objects that are true ones; None where nothing is predicted."""
        return self.num_matched / self.num_predicted if self.num_predicted else None

    @property
    def recall(self) -> float | None:
        """Share of the true objects that are found; None where nothing is there."""
        return self.num_matched / self.num_true if self.num_true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both, ``2 M / (P + T)``; None where both sides are empty."""
        both = self.num_predicted + self.num_true
        return 2 * self.num_matched / both if both else None


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectScores:
    """The objects of one label in one scene.

    Attributes:
        counts: what they score.
        matches: who is who.
        predicted_area: float64[P], square metres.
        true_area: float64[T], square metres.
        predicted_counts: bool[P], False where the least area leaves an object out.
        true_counts: bool[T], likewise.
    """

    counts: ObjectCounts
    matches: Matches
    predicted_area: npt.NDArray[np.float64]
    true_area: npt.NDArray[np.float64]
    predicted_counts: npt.NDArray[np.bool_]
    true_counts: npt.NDArray[np.bool_]


def object_scores(
    predicted: Sequence[Any],
    true: Sequence[Any],
    crs: str,
    *,
    iou: float = OBJECT_IOU,
    least_area: float = 0.0,
) -> ObjectScores:
    """Compare the objects of one label in one scene.

    An object smaller than ``least_area`` is neither invented nor missed: where it has no partner
    it is left out, and a pair counts if its true object is large enough. So a prediction that
    finds an object too small to count costs nothing.

    Args:
        predicted: shapely polygons or multipolygons, valid, in ``crs``.
        true: likewise.
        crs: WKT or ``EPSG:n``.
        iou: at least so much makes a pair, 0 < iou <= 1.
        least_area: square metres.

    Raises:
        ValueError: a threshold outside its range.
        GeoError: an unknown CRS.
    """
    from t4spp.geo.crs import area_m2

    if not 0 < iou <= 1 or not least_area >= 0:
        raise ValueError(f"iou {iou} is not in 0..1, or least_area {least_area} is negative")
    matches = match_objects(predicted, true, iou=iou)
    predicted_area = area_m2(_array(predicted), crs)
    true_area = area_m2(_array(true), crs)
    true_counts = true_area >= least_area
    partner = matches.true_of
    alone = partner < 0
    predicted_counts = predicted_area >= least_area
    if len(true):
        predicted_counts = np.where(alone, predicted_counts, true_counts[partner])
    pairs = np.flatnonzero(~alone & predicted_counts)
    errors = [
        abs(predicted_area[index] - true_area[partner[index]]) / true_area[partner[index]]
        for index in pairs
    ]
    counts = ObjectCounts(
        num_predicted=int(np.count_nonzero(predicted_counts)),
        num_true=int(np.count_nonzero(true_counts)),
        num_matched=len(pairs),
        num_small=int(np.count_nonzero(~predicted_counts) + np.count_nonzero(~true_counts)),
        iou_sum=float(sum(matches.ious[index] for index in pairs)),
        area_error_sum=float(sum(errors)),
    )
    return ObjectScores(
        counts=counts,
        matches=matches,
        predicted_area=predicted_area,
        true_area=true_area,
        predicted_counts=predicted_counts,
        true_counts=true_counts,
    )


def match_objects(
    predicted: Sequence[Any], true: Sequence[Any], *, iou: float = OBJECT_IOU
) -> Matches:
    """Pair objects greedily, the pair with the highest IoU first; each has one partner at most.

    Pairs of equal IoU go by the order of the predicted, then of the true objects. Polygons lie in
    one CRS. IoU is a ratio of areas, which a CRS's scale leaves as it is where an object is small
    beside the scale's changes.
    """
    pairs, ious = pair_ious(predicted, true)
    true_of = np.full(len(predicted), -1, dtype=np.int64)
    predicted_of = np.full(len(true), -1, dtype=np.int64)
    found = np.zeros(len(predicted), dtype=np.float64)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -ious))
    for index in order:
        if ious[index] < iou:
            break
        mine, theirs = pairs[index]
        if true_of[mine] < 0 and predicted_of[theirs] < 0:
            true_of[mine], predicted_of[theirs], found[mine] = theirs, mine, ious[index]
    return Matches(true_of=true_of, ious=found, predicted_of=predicted_of)


def pair_ious(
    predicted: Sequence[Any], true: Sequence[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Every (predicted, true) pair that overlaps, int64[N, 2], and its IoU, float64[N]."""
    import shapely

    first, second = _array(predicted), _array(true)
    if not len(first) or not len(second):
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.float64)
    mine, theirs = shapely.STRtree(second).query(first, predicate="intersects")
    shared = shapely.area(shapely.intersection(first[mine], second[theirs]))
    union = shapely.area(first)[mine] + shapely.area(second)[theirs] - shared
    ious = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    kept = shared > 0
    pairs = np.stack([mine[kept], theirs[kept]], axis=1).astype(np.int64)
    return pairs, ious[kept]


def _array(polygons: Sequence[Any]) -> npt.NDArray[Any]:
    """object[N]: numpy would take a multipolygon for a sequence."""
    made = np.empty(len(polygons), dtype=object)
    for index, polygon in enumerate(polygons):
        made[index] = polygon
    return made
