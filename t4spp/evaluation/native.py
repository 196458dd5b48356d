"""The ``native`` protocol: referring scores at the picture's own resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torchmetrics import Metric

from t4spp.evaluation.bootstrap import Terms
from t4spp.evaluation.metrics import BoxAccuracy, CumulativeIoU, EmptyAccuracy, MeanIoU, box_ious
from t4spp.evaluation.pairs import PairScore
from t4spp.types import Box


class NativeProtocol:
    """cIoU, mean IoU and Acc@0.5 over pairs with a target; N-acc over pairs without one.

    Pairs without a target never enter the first three: a model that answers "nothing" gains
    nothing there, and one that invents a mask loses in ``n_acc``. So does one whose answer cannot
    be read: it has not said that nothing is there.
    """

    name = "native"

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            "mean_iou": MeanIoU(),
            "ciou": CumulativeIoU(),
            "acc@0.5": BoxAccuracy(0.5),
            "n_acc": EmptyAccuracy(),
        }

    def update(self, pairs: Sequence[PairScore], device: torch.device | None = None) -> None:
        """Add pairs to the metrics; an empty sequence is allowed.

        Args:
            pairs: rows of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        present = [pair for pair in pairs if pair.has_target]
        absent = [pair for pair in pairs if not pair.has_target]

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

    def compute(self) -> dict[str, float]:
        """The scores over all processes; NaN where nothing counts. All processes must call it."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}

    @staticmethod
    def terms(pairs: Sequence[PairScore]) -> dict[str, Terms]:
        """The same scores as ratios of sums over ``pairs``, for the bootstrap."""
        present = np.array([pair.has_target for pair in pairs], dtype=np.float64)
        ious = np.array([pair.iou for pair in pairs], dtype=np.float64)
        intersection = np.array([pair.intersection for pair in pairs], dtype=np.float64)
        union = np.array([pair.union for pair in pairs], dtype=np.float64)
        silent = np.array([pair.says_nothing for pair in pairs], dtype=np.float64)
        boxes = box_ious(
            _boxes([pair.predicted_box for pair in pairs]),
            _boxes([pair.true_box for pair in pairs]),
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
