"""``native`` scores by what the truth is like: size, instances, parts, thinness, seen labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals
from t4spp.evaluation.pairs import PairScore
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import with_intervals
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


def describe_breakdowns(
    pairs: Sequence[PairScore],
    *,
    resamples: int,
    seed: int,
    seen: Collection[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """``breakdowns`` of ``metrics.json``: ``{by: {bin: {"num_pairs", metric: score}}}``.

    Args:
        pairs: of all processes, in the split's order.
        resamples: of the bootstrap over all pictures; a resample counts for a bin where it holds
            a pair of it. 0: no intervals.
        seed: of the bootstrap.
        seen: labels of the training samples; None where they are not known, or nothing trained.
    """
    if not pairs:
        return {}
    terms = NativeProtocol().terms(pairs)
    images = [pair.image_id for pair in pairs]
    shapes = [(index, pair.shape) for index, pair in enumerate(pairs) if pair.shape is not None]

    def described(bins: Sequence[str], places: np.ndarray[Any, Any]) -> dict[str, Any]:
        return _described(terms, images, bins, places, resamples, seed)

    found: dict[str, dict[str, Any]] = {}
    for one in BREAKDOWNS:
        places = np.full(len(pairs), -1)
        for index, shape in shapes:
            places[index] = one.place(shape)
        found[one.name] = described(one.bins, places)
    if seen is not None:
        own = np.array([_seen(pair.label, seen) for pair in pairs])
        found[LABEL] = described((SEEN, UNSEEN), own)
    return {name: bins for name, bins in found.items() if bins}


def _seen(label: str, seen: Collection[str]) -> int:
    if not label:
        return -1  # a prompt that names none
    return 0 if label in seen else 1


def _described(
    terms: Mapping[str, Terms],
    images: Sequence[str],
    bins: Sequence[str],
    places: np.ndarray[Any, Any],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The scores of each bin that has a pair, all under the same resamples."""
    parted: dict[tuple[int, str], Terms] = {}
    for place in range(len(bins)):
        own = places == place
        if not own.any():
            continue
        for metric, term in terms.items():
            parted[place, metric] = Terms(
                numerator=term.numerator * own, denominator=term.denominator * own
            )
    keyed = {f"{place} {metric}": term for (place, metric), term in parted.items()}
    intervals = bootstrap_intervals(images, keyed, resamples=resamples, seed=seed)
    found: dict[str, Any] = {}
    for place, name in enumerate(bins):
        number = int(np.count_nonzero(places == place))
        if not number:
            continue
        values = {metric: parted[place, metric].value() for metric in terms}
        own_intervals = {metric: intervals[f"{place} {metric}"] for metric in terms}
        found[name] = {"num_pairs": number, **with_intervals(values, own_intervals)}
    return found
