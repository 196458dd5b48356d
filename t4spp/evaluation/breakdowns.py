"""``native`` scores by what the truth is like: size, instances, parts, thinness, seen labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from t4spp.evaluation.bins import BREAKDOWNS, LABEL, SEEN, UNSEEN
from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals
from t4spp.evaluation.pairs import PairScore
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import with_intervals


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
