"""mIoU over classes as torchmetrics whose states are whole numbers, whatever the classes are.

A class is known by a 64-bit digest of its name, so that processes need not agree on a list first.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def class_key(name: str) -> int:
    """A signed 64-bit digest of a class name, equal on every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


class ClassSums(Metric):
    """Sums a class: its key, whether a list names it, intersection, union."""

    full_state_update = False
    higher_is_better = True
    rows: list[Tensor]

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, rows: Tensor) -> None:
        """Add int64[N, 4]: key, 1 where a list or the truth names the class, I, U; N may be 0."""
        self.rows.append(rows.to(self.device, torch.int64).reshape(-1, 4))

    def sums(self) -> Tensor:
        """int64[K, 2]: intersection and union of each class that is named, by its key."""
        rows = dim_zero_cat(self.rows)
        keys, places = torch.unique(rows[:, 0], return_inverse=True)
        sums = torch.zeros((len(keys), 3), dtype=torch.int64, device=rows.device)
        sums.index_add_(0, places, rows[:, 1:])
        return sums[sums[:, 0] > 0][:, 1:]


class ClassMeanIoU(ClassSums):
    """The mean IoU of the named classes that have a pixel, true or predicted."""

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN without such a class."""
        sums = self.sums()
        seen = sums[sums[:, 1] > 0].double()
        ious = (seen[:, 0] / seen[:, 1]).tolist()
        mean = math.fsum(ious) / len(ious) if ious else math.nan
        return torch.tensor(mean, dtype=torch.float64)


class PublishedClassMeanIoU(ClassSums):
    """The mean of I / (U + 1e-10) over all named classes and class 0, seen or not.

    Text4Seg, ``eval_semantic_seg.py``: the pixels of class 0 always count as right, the others for
    which nothing was predicted join its union.
    """

    unlabelled: Tensor
    missed: Tensor

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        for name in ("unlabelled", "missed"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, rows: Tensor, unlabelled: Tensor | None = None, missed: Tensor | None = None
    ) -> None:
        """Add classes as ``ClassSums`` does, and what became of class 0.

        Args:
            rows: int64[N, 4].
            unlabelled: pixels of class 0, int64[M].
            missed: other pixels for which nothing was predicted, int64[M].
        """
        super().update(rows)
        if unlabelled is not None:
            self.unlabelled += unlabelled.to(self.device).sum()
        if missed is not None:
            self.missed += missed.to(self.device).sum()

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN without a named class."""
        sums = self.sums().double()
        if not len(sums):
            return torch.tensor(math.nan, dtype=torch.float64)
        ious = (sums[:, 0] / (sums[:, 1] + 1e-10)).tolist()
        right = float(self.unlabelled)
        ious.append(right / (right + float(self.missed) + 1e-10))
        return torch.tensor(math.fsum(ious) / len(ious), dtype=torch.float64)
