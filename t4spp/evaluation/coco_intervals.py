"""Average precision over resampled pictures: matches are accumulated anew, not made anew.

pycocotools computes the scores themselves. Here each picture counts as often as it was drawn, which
is what pycocotools would compute if it stood in the dataset that often (apart from the order of
equal scores within it).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from t4spp.evaluation.bootstrap import Interval, interval_of, resampled_times
from t4spp.evaluation.coco_matching import NUM_THRESHOLDS, Matches

RESAMPLED = ("ap", "ap50", "ap75", "ar100")
"""What is computed, by label."""
RESAMPLED_POOLED = ("phrase_ap", "phrase_ap50", "phrase_ap75")
"""The first three over all labels as one."""
MOST_DETECTIONS = 50_000
"""Beyond so many, resampling takes minutes, and is left out."""

MOST_LABELS = 2_000
"""Beyond so many, scores by label are not resampled."""

_LEVELS = 101
"""Recalls at which COCO reads the precision: 0, 0.01, ..., 1."""
_ROUNDING = 1e-9
_AT_ONCE = 500_000
"""Numbers in one array."""
_TINY = float(np.spacing(1))


def resampled_scores(
    image_ids: Sequence[str],
    labels: Sequence[str],
    matches: Sequence[Matches],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """95 % intervals of :data:`RESAMPLED` and :data:`RESAMPLED_POOLED` over pictures.

    Args:
        image_ids: the picture of each of the N (picture, label), in the order in which equal
            scores count.
        labels: likewise.
        matches: likewise.
        resamples: of pictures, with replacement.
        seed: of the resampling.
    """
    _, images = np.unique(np.asarray(image_ids, dtype=np.str_), return_inverse=True)
    grouped: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        grouped.setdefault(label, []).append(index)
    if len(grouped) > MOST_LABELS:
        grouped = {}
    names = (*RESAMPLED_POOLED, *(RESAMPLED if grouped else ()))
    every = _Curve(images, matches)
    curves = [_Curve(images[chosen], [matches[i] for i in chosen]) for chosen in grouped.values()]
    parts: list[npt.NDArray[np.float64]] = []
    for times in resampled_times(int(images.max()) + 1, resamples, seed):
        columns = [every.values(times)[:, : len(RESAMPLED_POOLED)]]
        if curves:
            columns.append(_mean([curve.values(times) for curve in curves]))
        parts.append(np.concatenate(columns, axis=1))
    return {
        name: interval_of(column[np.isfinite(column)])
        for name, column in zip(names, np.concatenate(parts).T, strict=True)
    }


class _Curve:
    """The detections of one category by falling score, whatever their size (COCO's range all)."""

    def __init__(self, images: npt.NDArray[np.intp], matches: Sequence[Matches]) -> None:
        entries = [(image, item.entries()[0]) for image, item in zip(images, matches, strict=True)]
        found = [(image, entry) for image, entry in entries if entry is not None]
        none = np.zeros((NUM_THRESHOLDS, 0), dtype=np.bool_)
        scores = np.concatenate([[], *(entry["dtScores"] for _, entry in found)])
        order = np.argsort(-scores, kind="mergesort")
        matched = np.concatenate([none, *(entry["dtMatches"] for _, entry in found)], axis=1)
        ignored = np.concatenate([none, *(entry["dtIgnore"] for _, entry in found)], axis=1)
        owners = [np.full(len(entry["dtScores"]), image) for image, entry in found]
        self.owners = np.concatenate([np.zeros(0, dtype=np.intp), *owners])[order].astype(np.intp)
        self.counted = ~ignored[:, order]
        self.right = [np.flatnonzero(row) for row in matched[:, order] & self.counted]
        self.truths = np.zeros(int(images.max(initial=0)) + 1)
        for image, entry in found:
            self.truths[image] += np.count_nonzero(~entry["gtIgnore"])

    def values(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """float64[B, 4], NaN where no truth was drawn.

        Args:
            times: how often each picture was drawn, float64[B, I].
        """
        step = max(1, _AT_ONCE // max(1, len(self.owners)))
        parts = [self._some(times[start : start + step]) for start in range(0, len(times), step)]
        return np.concatenate(parts)

    def _some(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        true = times[:, : len(self.truths)] @ self.truths
        known = np.where(true > 0, true, 1.0)[:, None]
        weights = times[:, self.owners]
        everything = np.cumsum(weights, axis=1)
        average = np.zeros((NUM_THRESHOLDS, len(times)))
        last = np.zeros_like(average)
        for index, places in enumerate(self.right):
            if not len(places):
                continue
            # Precision is highest, and recall grows, at right detections alone.
            counted = self.counted[index]
            seen = everything if counted.all() else np.cumsum(weights * counted, axis=1)
            right = np.cumsum(weights[:, places], axis=1)
            precision = right / (seen[:, places] + _TINY)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = right / known
            # Each of the 101 recall levels takes the precision where it is first reached.
            reached = np.floor(recall * (_LEVELS - 1) + _ROUNDING) + (recall > 0)
            average[index] = (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / _LEVELS
            last[index] = recall[:, -1]
        found = [average.mean(axis=0), average[0], average[5], last.mean(axis=0)]
        return np.where(true[:, None] > 0, np.stack(found, axis=1), np.nan)


def _mean(values: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """The mean over labels that have a truth; NaN where none has."""
    table = np.stack(values)
    known = np.isfinite(table)
    number = known.sum(axis=0)
    total = np.where(known, table, 0.0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
