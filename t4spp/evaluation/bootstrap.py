"""Bootstrap intervals over images for scores that are ratios of sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_RESAMPLES_AT_ONCE = 64
"""Resamples drawn in one array, so that memory stays flat for large splits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """A score as ``sum(numerator) / sum(denominator)`` over rows.

    Attributes:
        numerator: float64[N].
        denominator: float64[N]; 0 for a row that the score leaves out.
    """

    numerator: npt.NDArray[np.float64]
    denominator: npt.NDArray[np.float64]

    def value(self) -> float:
        """The score over all rows; NaN when no row counts."""
        total = float(self.denominator.sum())
        return float(self.numerator.sum()) / total if total > 0 else float("nan")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Ends of a confidence interval; NaN where no resample defines the score."""

    low: float
    high: float


def bootstrap_intervals(
    image_ids: Sequence[str],
    terms: Mapping[str, Terms],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of several scores under one resampling of whole images.

    Rows of one image are drawn together, because they are not independent of each other. All
    scores see the same resamples, so their intervals may be compared.

    Args:
        image_ids: the image of each of the N rows.
        terms: the scores, each with N rows.
        resamples: number of resamples of images, with replacement; 0 gives NaN intervals.
        confidence: share of resamples inside the interval.
        seed: of the resampling; equal seeds give equal intervals.

    Returns:
        An interval a score. A resample in which a score has no row is left out of it.
    """
    names = list(terms)
    if not len(image_ids) or not names or resamples <= 0:
        return {name: Interval(low=float("nan"), high=float("nan")) for name in names}
    columns = [side for name in names for side in (terms[name].numerator, terms[name].denominator)]
    draws = resampled_sums(image_ids, np.stack(columns, axis=1), resamples=resamples, seed=seed)

    intervals: dict[str, Interval] = {}
    for position, name in enumerate(names):
        numerator, denominator = draws[:, 2 * position], draws[:, 2 * position + 1]
        counted = denominator > 0
        intervals[name] = interval_of(numerator[counted] / denominator[counted], confidence)
    return intervals


def resampled_sums(
    image_ids: Sequence[str], columns: npt.NDArray[np.float64], *, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Sums of columns over resamples of whole images, for scores that are made of sums.

    Args:
        image_ids: the image of each of the N rows, N at least 1.
        columns: float64[N, C].
        resamples: number of resamples of images, with replacement.
        seed: of the resampling; equal seeds and images give equal resamples, whatever is summed.

    Returns:
        float64[resamples, C].
    """
    _, images = np.unique(np.asarray(image_ids, dtype=np.str_), return_inverse=True)
    num_images = int(images.max()) + 1
    sums = np.empty((num_images, columns.shape[1]))
    for position in range(columns.shape[1]):
        sums[:, position] = np.bincount(images, columns[:, position], num_images)

    draws = [times @ sums for times in resampled_times(num_images, resamples, seed)]
    return np.concatenate(draws)


def resampled_times(
    num_images: int, resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float64]]:
    """How often each image is drawn in resamples of as many images, with replacement.

    Args:
        num_images: I, at least 1.
        resamples: B, at least 1.
        seed: of the resampling.

    Yields:
        float64[some of B, I], so that memory stays flat.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        count = min(_RESAMPLES_AT_ONCE, resamples - start)
        picks = rng.integers(0, num_images, (count, num_images))
        picks += np.arange(count)[:, None] * num_images
        times = np.bincount(picks.ravel(), minlength=count * num_images)
        yield times.reshape(count, num_images).astype(np.float64)


def interval_of(values: npt.NDArray[np.float64], confidence: float = 0.95) -> Interval:
    """The percentile interval of a score's values, float64[R], over resamples that define it."""
    if not len(values):
        return Interval(low=float("nan"), high=float("nan"))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(low=float(low), high=float(high))
