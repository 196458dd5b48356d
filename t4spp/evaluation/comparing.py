"""Two runs over the same samples: differences of scores with intervals, and a paired test.

Both are drawn over pictures, because prompts about one picture are not independent. The interval
is the percentile interval of the difference under a paired bootstrap: every resample draws the same
pictures for both runs. The p-value is of an approximate randomisation test (Noreen, "Computer
Intensive Methods for Testing Hypotheses", 1989; Yeh, "More accurate tests for the statistical
significance of result differences", COLING 2000): were the runs alike, their answers to a picture
could change places, so each shuffle swaps them with probability one half, picture by picture, and
``p = (1 + shuffles with at least so large a difference) / (1 + shuffles)`` (Phipson and Smyth 2010:
never 0). Scores that are ratios of sums, or means over classes, are formed anew from the sums of
each draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.evaluation.bootstrap import Interval, interval_of, resampled_sums
from t4spp.evaluation.protocols.base import ABOVE, BELOW, EvaluationProtocol
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.evaluation.sums import ProtocolSums

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
"""Of the paired bootstrap."""
SHUFFLES = 10_000
"""Of the randomisation test."""
_AT_ONCE = 128
_TIE = 1e-12
"""Differences that rounding parts count as equal."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One score of two runs, over the samples that both have.

    Attributes:
        protocol: its protocol.
        metric: its name.
        first: the first run's; NaN where nothing counts.
        second: the second run's.
        interval: of ``second - first``, 95 %.
        p_value: of the two-sided test that the runs are alike; NaN where there is no difference to
            test.
    """

    protocol: str
    metric: str
    first: float
    second: float
    interval: Interval
    p_value: float

    @property
    def difference(self) -> float:
        """The second run's score minus the first's."""
        return self.second - self.first


@dataclass(frozen=True, kw_only=True)
class ProtocolComparison:
    """A protocol's differences, and over how many samples and pictures."""

    protocol: str
    num_samples: int
    num_images: int
    differences: tuple[Difference, ...]


def compare_sums(
    first: Mapping[str, ProtocolSums],
    second: Mapping[str, ProtocolSums],
    kept: frozenset[str],
    *,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Iterator[ProtocolComparison]:
    """Compare the scores of every protocol that both runs have, by what samples add to them.

    Args:
        first: a run's sums by protocol.
        second: the other's.
        kept: the ids to compare; a protocol may have measured only some of them.
        resamples: of the paired bootstrap; 0: no intervals.
        shuffles: of the test; 0: no p-values.
        seed: of both.
    """
    for name, own in first.items():
        if name not in second or name not in PROTOCOLS:
            continue
        other = second[name]
        common = kept & set(other.ids)
        ids = [key for key in own.ids if key in common]
        if not ids:
            continue
        columns = _united(own.columns, other.columns)
        left, right = _laid(own, ids, columns), _laid(other, ids, columns)
        pictures = dict(zip(own.ids, own.image_ids, strict=True))
        images = [pictures[key] for key in ids]
        differences = _differences(
            PROTOCOLS[name](), columns, left, right, images, resamples, shuffles, seed
        )
        yield ProtocolComparison(
            protocol=name,
            num_samples=len(ids),
            num_images=len(set(images)),
            differences=tuple(differences),
        )


def _united(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """The columns of both runs.

    A ratio that one run does not have cannot be compared; a class that one run does not name has
    no pixels there.
    """
    either = dict.fromkeys([*first, *second])
    both = set(first) & set(second)
    return tuple(name for name in either if name in both or not name.endswith((ABOVE, BELOW)))


def _laid(sums: ProtocolSums, ids: Sequence[str], columns: Sequence[str]) -> Floats:
    """float64[N, C] of some samples; columns that the run does not have are 0."""
    rows = {key: number for number, key in enumerate(sums.ids)}
    laid = np.zeros((len(ids), len(columns)))
    place = {name: number for number, name in enumerate(columns)}
    own = [number for number, name in enumerate(sums.columns) if name in place]
    chosen = sums.values[[rows[key] for key in ids]]
    laid[:, [place[sums.columns[number]] for number in own]] = chosen[:, own]
    return laid


def _differences(
    protocol: EvaluationProtocol[Any],
    columns: Sequence[str],
    first: Floats,
    second: Floats,
    images: Sequence[str],
    resamples: int,
    shuffles: int,
    seed: int,
) -> Iterator[Difference]:
    totals = first.sum(axis=0), second.sum(axis=0)
    values = [protocol.of_sums(columns, total[np.newaxis]) for total in totals]
    intervals = _bootstrap(protocol, columns, first, second, images, resamples, seed)
    p_values = _randomise(protocol, columns, first, second, images, shuffles, seed)
    for metric in values[0]:
        yield Difference(
            protocol=protocol.name,
            metric=metric,
            first=float(values[0][metric][0]),
            second=float(values[1][metric][0]),
            interval=intervals.get(metric, Interval(low=float("nan"), high=float("nan"))),
            p_value=p_values.get(metric, float("nan")),
        )


def _bootstrap(
    protocol: EvaluationProtocol[Any],
    columns: Sequence[str],
    first: Floats,
    second: Floats,
    images: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """95 % intervals of the differences; a resample must define both scores to count."""
    if resamples <= 0:
        return {}
    both = np.hstack([first, second])
    draws = resampled_sums(images, both, resamples=resamples, seed=seed)
    left = protocol.of_sums(columns, draws[:, : len(columns)])
    right = protocol.of_sums(columns, draws[:, len(columns) :])
    found = {}
    for metric in left:
        differences = right[metric] - left[metric]
        found[metric] = interval_of(differences[np.isfinite(differences)])
    return found


def _randomise(
    protocol: EvaluationProtocol[Any],
    columns: Sequence[str],
    first: Floats,
    second: Floats,
    images: Sequence[str],
    shuffles: int,
    seed: int,
) -> dict[str, float]:
    """Two-sided p-values; NaN where the difference, or that of any shuffle, is not defined."""
    if shuffles <= 0:
        return {}
    _, places = np.unique(np.asarray(images, dtype=np.str_), return_inverse=True)
    gains = np.zeros((int(places.max()) + 1, first.shape[1]))
    np.add.at(gains, places, second - first)
    left, right = first.sum(axis=0), second.sum(axis=0)
    observed = _gaps(protocol, columns, left[np.newaxis], right[np.newaxis])
    as_large = {metric: 0 for metric in observed}
    undefined: set[str] = {metric for metric, gap in observed.items() if np.isnan(gap[0])}
    rng = np.random.default_rng((seed, 1))
    for start in range(0, shuffles, _AT_ONCE):
        swapped = rng.integers(0, 2, (min(_AT_ONCE, shuffles - start), len(gains)))
        moved = swapped.astype(np.float64) @ gains
        for metric, gap in _gaps(protocol, columns, left + moved, right - moved).items():
            if np.isnan(gap).any():
                undefined.add(metric)
                continue
            as_large[metric] += int(np.count_nonzero(gap >= observed[metric][0] - _TIE))
    return {
        metric: float("nan") if metric in undefined else (1 + number) / (1 + shuffles)
        for metric, number in as_large.items()
    }


def _gaps(
    protocol: EvaluationProtocol[Any],
    columns: Sequence[str],
    left: Floats,
    right: Floats,
) -> dict[str, Floats]:
    """How far apart two scores lie, float64[R]."""
    one, other = protocol.of_sums(columns, left), protocol.of_sums(columns, right)
    return {metric: np.abs(other[metric] - one[metric]) for metric in one}
