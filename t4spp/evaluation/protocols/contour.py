"""The ``contour`` protocol: IoU together with the average Hausdorff distance between contours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from t4spp.evaluation.averages import ExactMean, MeanDistance
from t4spp.evaluation.bootstrap import Terms
from t4spp.evaluation.contours import ContourDistances, contour_distances, diagonal
from t4spp.evaluation.pairs import truth_of
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol

HALVING_SHARE = 0.02
"""Share of the diagonal at which an average distance halves the score: the width of the band that
Boundary IoU takes for a boundary (Cheng et al., 2021)."""


@dataclass(frozen=True, kw_only=True)
class ContourRow:
    """One (sample, label).

    Attributes:
        position: of the sample in its split.
        image_id: its picture.
        has_target: whether the truth has a pixel; the scores leave the others out.
        found: whether the answer has one, too.
        iou: of the two masks, 0..1.
        distances: between their contours, in pixels.
        diagonal: of the picture, in pixels.
    """

    position: int
    image_id: str
    has_target: bool
    found: bool
    iou: float
    distances: ContourDistances
    diagonal: float

    @property
    def score(self) -> float:
        """``IoU / (1 + AHD / (0.02 diagonal))``, 0..1; 1 for equal masks alone."""
        return self.iou / (1 + self.distances.ahd / (HALVING_SHARE * self.diagonal))


_COLUMNS: Mapping[str, Callable[[ContourRow], float]] = {
    "contour_score": lambda row: row.score,
    "mean_iou": lambda row: row.iou,
    "ahd": lambda row: row.distances.ahd,
    "ahd_relative": lambda row: row.distances.ahd / row.diagonal,
    "hd95": lambda row: row.distances.hd95,
    "hd95_relative": lambda row: row.distances.hd95 / row.diagonal,
    "hd": lambda row: row.distances.hd,
}
_FOUND: Mapping[str, Callable[[ContourRow], float]] = {
    "ahd_found": _COLUMNS["ahd"],
    "ahd_relative_found": _COLUMNS["ahd_relative"],
}
"""Of pairs whose answer is not empty, so that a miss is no distance."""


class ContourProtocol(EvaluationProtocol[ContourRow]):
    """Means over the pairs with a target, at the picture's own resolution.

    LlamaSeg (arXiv 2505.19422) proposes IoU together with the average Hausdorff distance; how its
    abstract leaves open. This is t4spp's reading: see docs/protocols/contour.md.
    """

    name = "contour"
    summary = "IoU together with the average Hausdorff distance between contours"

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            name: ExactMean() if name in ("contour_score", "mean_iou") else MeanDistance()
            for name in (*_COLUMNS, *_FOUND)
        }

    def measure(self, answered: Answered) -> Sequence[ContourRow]:
        """The rows of one answer, one a pair; ``ignore`` is taken from both masks first."""
        sample, size = answered.sample, answered.sample.size
        rows: list[ContourRow] = []
        for pair in answered.pairs:
            distances = ContourDistances(ahd=0.0, hd95=0.0, hd=0.0)
            if pair.has_target:
                truth = truth_of(sample, pair.label)
                predicted = answered.decoded.union(pair.label, size)
                if sample.ignore is not None:
                    truth &= ~sample.ignore
                    predicted &= ~sample.ignore
                distances = contour_distances(predicted, truth)
            rows.append(
                ContourRow(
                    position=pair.position,
                    image_id=pair.image_id,
                    has_target=pair.has_target,
                    found=pair.predicted_area > 0,
                    iou=pair.iou,
                    distances=distances,
                    diagonal=diagonal(size),
                )
            )
        return rows

    def update(self, rows: Sequence[ContourRow], device: torch.device | None = None) -> None:
        """Add pairs to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        present = [row for row in rows if row.has_target]
        for columns, chosen in (
            (_COLUMNS, present),
            (_FOUND, [row for row in present if row.found]),
        ):
            for name, value in columns.items():
                metric = self.metrics[name]
                if device is not None:
                    metric.to(device)
                metric.update(torch.tensor([value(row) for row in chosen], dtype=torch.float64))

    def terms(self, rows: Sequence[ContourRow]) -> dict[str, Terms]:
        """The same means as ratios of sums over pairs, for the bootstrap."""
        terms: dict[str, Terms] = {}
        for columns, needs_answer in ((_COLUMNS, False), (_FOUND, True)):
            counted = np.array(
                [row.has_target and (row.found or not needs_answer) for row in rows],
                dtype=np.float64,
            )
            for name, value in columns.items():
                numbers = np.array([value(row) for row in rows], dtype=np.float64)
                terms[name] = Terms(numerator=numbers * counted, denominator=counted)
        return terms

    def counts(self, rows: Sequence[ContourRow]) -> Mapping[str, Any]:
        """How many pairs have a target, how many of them were answered with nothing, and the rest.

        Args:
            rows: of all processes, in the split's order.
        """
        present = [row for row in rows if row.has_target]
        return {
            "pairs": len(present),
            "empty_answers": sum(not row.found for row in present),
            "pairs_without_target_left_out": len(rows) - len(present),
        }
