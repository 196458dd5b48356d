"""What schemes reach for what they cost, target by target, and by what the targets are like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import SchemeError
from t4spp.evaluation.bins import BREAKDOWNS
from t4spp.evaluation.ceiling import Candidate, share_of
from t4spp.evaluation.contours import contour_distances, diagonal
from t4spp.evaluation.shapes import Shape, shape_of
from t4spp.evaluation.workers import by_workers
from t4spp.types import Box, Sample, Target

BY = ("area", "share", "compactness", "parts")
"""The break-downs of :data:`t4spp.evaluation.bins.BREAKDOWNS` that hold of one target."""
CHUNK = 8
"""Samples that a worker takes at once, at most."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Every target of some samples, each alone, by every scheme.

    Attributes:
        shapes: one a target.
        diagonals: of the targets' pictures in pixels, float64[T].
        num_empty: targets without a pixel, which are left out.
        num_small: targets below the asked share of their picture, which are left out.
        num_in_words: samples that ask for words, which hold no target.
        ious: float64[T, S], 0 where a target cannot be written.
        distances: average Hausdorff distance of the contours in pixels, float64[T, S]; the
            picture's diagonal where nothing is left.
        tokens: of the bare descriptor, float64[T, S]; NaN where a target cannot be written.
        kept: whether any pixel of the target is left, bool[T, S].
    """

    shapes: tuple[Shape, ...]
    diagonals: Values
    num_empty: int
    num_small: int
    num_in_words: int
    ious: Values
    distances: Values
    tokens: Values
    kept: npt.NDArray[np.bool_]


_Row = tuple[float, float, float, bool]


@dataclass(kw_only=True)
class _Part:
    """What a worker found in some samples."""

    rows: list[tuple[Shape, float, list[_Row]]] = field(default_factory=list)
    num_empty: int = 0
    num_small: int = 0
    num_in_words: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    """What the workers share."""

    samples: Sequence[Sample]
    candidates: Sequence[Candidate]
    min_share: float

    def measure(self, positions: range) -> _Part:
        part = _Part()
        for position in positions:
            sample = self.samples[position]
            part.num_in_words += sample.kind == "dialogue"
            for target in sample.targets:
                box = Box.of_mask(target.mask)
                if box is None:
                    part.num_empty += 1
                    continue
                if share_of(target) < self.min_share:
                    part.num_small += 1
                    continue
                found = [_measured(one, target, sample.size) for one in self.candidates]
                shape = shape_of(target.mask, box, 1)
                part.rows.append((shape, diagonal(sample.size), found))
        return part


def measure_frontier(
    samples: Sequence[Sample],
    candidates: Sequence[Candidate],
    *,
    min_share: float = 0.0,
    workers: int = 0,
    advance: Callable[[int], object] = lambda number: None,
) -> Measured:
    """Write and read every target alone, by every scheme.

    Args:
        samples: pictures are not read, and ``ignore`` is not looked at.
        candidates: the schemes.
        min_share: targets that cover less of their picture, 0..1, are left out.
        workers: processes that share the samples; 0 or 1: this one alone. The result is the same.
        advance: told how many samples have just been done.

    Raises:
        RunError: a worker died.
    """
    job = _Job(samples=samples, candidates=candidates, min_share=min_share)
    length = min(CHUNK, max(1, len(samples) // 16))  # few samples may hold many targets each
    chunks = [
        range(start, min(start + length, len(samples))) for start in range(0, len(samples), length)
    ]
    parts = (
        map(job.measure, chunks)
        if workers <= 1
        else by_workers(job.measure, chunks, workers, advice="--workers 1")
    )
    shapes: list[Shape] = []
    diagonals: list[float] = []
    rows: list[list[_Row]] = []
    total = _Part()
    for chunk, part in zip(chunks, parts, strict=True):
        for shape, across, row in part.rows:
            shapes.append(shape)
            diagonals.append(across)
            rows.append(row)
        total.num_empty += part.num_empty
        total.num_small += part.num_small
        total.num_in_words += part.num_in_words
        advance(len(chunk))
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(candidates), 4)
    return Measured(
        shapes=tuple(shapes),
        diagonals=np.array(diagonals, dtype=np.float64),
        num_empty=total.num_empty,
        num_small=total.num_small,
        num_in_words=total.num_in_words,
        ious=values[..., 0],
        distances=values[..., 1],
        tokens=values[..., 2],
        kept=values[..., 3] > 0,
    )


def holds_target(samples: Sequence[Sample], min_share: float = 0.0) -> bool:
    """Whether there is anything to measure; looks no further than the first target."""
    return any(
        share > 0 and share >= min_share
        for position in range(len(samples))
        for share in map(share_of, samples[position].targets)
    )


def _measured(candidate: Candidate, target: Target, size: tuple[int, int]) -> _Row:
    """IoU, contour distance, tokens, whether anything is left."""
    try:
        text = candidate.scheme.encode([target], size)
    except SchemeError:
        return 0.0, diagonal(size), float("nan"), False
    found = candidate.scheme.decode(text, size).union(target.label, size)
    shared = int(np.count_nonzero(found & target.mask))
    union = int(np.count_nonzero(found | target.mask))
    distance = contour_distances(found, target.mask).ahd
    return shared / union, distance, float(candidate.count_tokens(text)), shared > 0


def summary(measured: Measured, scheme: int, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The means of one scheme over some targets.

    Returns:
        ``num_targets``; ``mean_iou``; ``contour_px`` and ``contour_share`` (of the picture's
        diagonal), means of the average Hausdorff distance; ``mean_tokens`` and ``p95_tokens`` over
        what could be written, None where nothing could; ``lost``, the share of which no pixel is
        left; ``refused``, how many could not be written.
    """
    tokens = measured.tokens[chosen, scheme]
    written = tokens[~np.isnan(tokens)]
    distances = measured.distances[chosen, scheme]
    return {
        "num_targets": int(np.count_nonzero(chosen)),
        "mean_iou": float(measured.ious[chosen, scheme].mean()),
        "contour_px": float(distances.mean()),
        "contour_share": float((distances / measured.diagonals[chosen]).mean()),
        "mean_tokens": float(written.mean()) if len(written) else None,
        "p95_tokens": float(np.percentile(written, 95)) if len(written) else None,
        "lost": float(1 - measured.kept[chosen, scheme].mean()),
        "refused": int(len(tokens) - len(written)),
    }


def summaries(measured: Measured, scheme: int) -> dict[str, Any]:
    """One scheme over all targets, and ``by`` break-down and bin; bins without a target are not."""
    every = np.ones(len(measured.shapes), dtype=np.bool_)
    by: dict[str, dict[str, Any]] = {}
    for one in BREAKDOWNS:
        if one.name in BY:
            places = np.array([one.place(shape) for shape in measured.shapes])
            by[one.name] = {
                name: summary(measured, scheme, places == place)
                for place, name in enumerate(one.bins)
                if (places == place).any()
            }
    return {**summary(measured, scheme, every), "by": by}


def on_front(points: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which points no other beats: one with no more tokens and no lower IoU, and better in one."""
    found = []
    for point in points:
        tokens, iou = point["mean_tokens"], point["mean_iou"]
        beaten = tokens is None or any(
            other["mean_tokens"] is not None
            and other["mean_tokens"] <= tokens
            and other["mean_iou"] >= iou
            and (other["mean_tokens"] < tokens or other["mean_iou"] > iou)
            for other in points
        )
        found.append(not beaten)
    return found
