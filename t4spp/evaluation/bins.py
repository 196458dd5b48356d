"""The bins that scores are broken down into; loads nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from t4spp.evaluation.shapes import Shape

SMALL, LARGE = 32**2, 96**2
"""COCO's bounds of small, medium and large objects, in pixels of area."""


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """One way to part the pairs with a target.

    Attributes:
        name: its key in ``metrics.json``.
        title: what a page calls it.
        bins: their names, in order; all are told, those without a pair left out.
        place: the index of a shape's bin.
    """

    name: str
    title: str
    bins: tuple[str, ...]
    place: Callable[[Shape], int]


def _by_bounds(value: Callable[[Shape], float], *bounds: float) -> Callable[[Shape], int]:
    """The number of bounds that a value reaches."""
    return lambda shape: sum(value(shape) >= bound for bound in bounds)


BREAKDOWNS: tuple[Breakdown, ...] = (
    Breakdown(
        name="area",
        title="area in pixels (COCO's sizes)",
        bins=("small: below 32²", "medium: 32² to 96²", "large: from 96²"),
        place=_by_bounds(lambda shape: shape.area, SMALL, LARGE),
    ),
    Breakdown(
        name="share",
        title="share of the picture",
        bins=("below 1 %", "1 to 5 %", "5 to 20 %", "from 20 %"),
        place=_by_bounds(lambda shape: shape.share, 0.01, 0.05, 0.2),
    ),
    Breakdown(
        name="instances",
        title="number of instances",
        bins=("1", "2", "3 to 5", "from 6"),
        place=_by_bounds(lambda shape: shape.num_instances, 2, 3, 6),
    ),
    Breakdown(
        name="parts",
        title="number of connected parts",
        bins=("1", "2", "3 to 5", "from 6"),
        place=_by_bounds(lambda shape: shape.num_parts, 2, 3, 6),
    ),
    Breakdown(
        name="compactness",
        title="thinness (compactness of the largest part)",
        bins=("thin: below 0.25", "0.25 to 0.5", "compact: from 0.5"),
        place=_by_bounds(lambda shape: shape.compactness, 0.25, 0.5),
    ),
)
"""What every evaluation breaks its scores down by; ``label`` joins where training is known."""
LABEL = "label"
SEEN, UNSEEN = "seen in training", "not seen in training"
TITLES: Mapping[str, str] = {
    **{one.name: one.title for one in BREAKDOWNS},
    LABEL: "label (its very text)",
}
"""What a page calls each break-down."""
