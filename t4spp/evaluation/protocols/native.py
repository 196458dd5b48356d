"""The ``native`` protocol: referring scores at the picture's own resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torchmetrics import Metric

from t4spp.evaluation.bootstrap import Terms
from t4spp.evaluation.metrics import BoxAccuracy, CumulativeIoU, EmptyAccuracy, MeanIoU, box_ious
from t4spp.evaluation.pairs import PairScore
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.types import Box


class NativeProtocol(EvaluationProtocol[PairScore]):
    """cIoU, mean IoU and Acc@0.5 over pairs with a target; N-acc over pairs without one.

    Pairs without a target never enter the first three: a model that answers "nothing" gains
    nothing there, and one that invents a mask loses in ``n_acc``. So does one whose answer cannot
    be read: it has not said that nothing is there.
    """

    name = "native"
    summary = "referring scores at the picture's own resolution, every prompt once"

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            "mean_iou": MeanIoU(),
            "ciou": CumulativeIoU(),
            "acc@0.5": BoxAccuracy(0.5),
            "n_acc": EmptyAccuracy(),
        }

    def measure(self, answered: Answered) -> Sequence[PairScore]:
        """The answer's pairs."""
        return answered.pairs

    def update(self, rows: Sequence[PairScore], device: torch.device | None = None) -> None:
        """Add pairs to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        present = [pair for pair in rows if pair.has_target]
        absent = [pair for pair in rows if not pair.has_target]

        def column(rows: Sequence[PairScore], value: Callable[[PairScore], int]) -> torch.Tensor:
            return torch.tensor([value(row) for row in rows], dtype=torch.int64, device=device)

        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        intersection = column(present, lambda pair: pair.intersection)
        union = column(present, lambda pair: pair.union)
        self.metrics["mean_iou"].update(intersection, union)
        self.metrics["ciou"].update(intersection, union)
        self.metrics["acc@0.5"].update(
            _boxes([pair.predicted_box for pair in present]).to(intersection.device),
            _boxes([pair.true_box for pair in present]).to(intersection.device),
        )
        self.metrics["n_acc"].update(column(absent, lambda pair: pair.says_nothing))

    def terms(self, rows: Sequence[PairScore]) -> dict[str, Terms]:
        """The same scores as ratios of sums over pairs, for the bootstrap."""
        present = np.array([pair.has_target for pair in rows], dtype=np.float64)
        ious = np.array([pair.iou for pair in rows], dtype=np.float64)
        intersection = np.array([pair.intersection for pair in rows], dtype=np.float64)
        union = np.array([pair.union for pair in rows], dtype=np.float64)
        silent = np.array([pair.says_nothing for pair in rows], dtype=np.float64)
        boxes = box_ious(
            _boxes([pair.predicted_box for pair in rows]),
            _boxes([pair.true_box for pair in rows]),
        ).numpy()
        return {
            "mean_iou": Terms(numerator=ious * present, denominator=present),
            "ciou": Terms(numerator=intersection * present, denominator=union * present),
            "acc@0.5": Terms(numerator=(boxes > 0.5) * present, denominator=present),
            "n_acc": Terms(numerator=silent * (1 - present), denominator=1 - present),
        }


def _boxes(boxes: Sequence[Box]) -> torch.Tensor:
    rows = [(box.y0, box.x0, box.y1, box.x1) for box in boxes]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 4)
