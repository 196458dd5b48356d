"""Referring metrics as torchmetrics. States are integers, so any sharding gives the same score.

Shapes: N (sample, label) pairs in one update. The field's names: ``ciou`` is cIoU (also oIoU),
``mean_iou`` is what referring papers call gIoU.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class CumulativeIoU(Metric):
    """cIoU: the sum of intersections over the sum of unions; large objects weigh most."""

    full_state_update = False
    higher_is_better = True
    intersection: Tensor
    union: Tensor

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("intersection", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("union", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, intersection: Tensor, union: Tensor) -> None:
        """Add pairs: pixels in both masks and in either, int64[N] each."""
        self.intersection += intersection.sum()
        self.union += union.sum()

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN when no pair has a pixel."""
        return self.intersection.double() / self.union.double()


class MeanIoU(Metric):
    """The mean of the pairs' IoU; every prompt weighs the same. An empty union counts 1.

    IoUs are summed in ascending order, so the order of updates and processes cannot matter.
    """

    full_state_update = False
    higher_is_better = True
    intersections: list[Tensor]
    unions: list[Tensor]

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("intersections", [], dist_reduce_fx="cat")
        self.add_state("unions", [], dist_reduce_fx="cat")

    def update(self, intersection: Tensor, union: Tensor) -> None:
        """Add pairs: pixels in both masks and in either, int64[N] each."""
        self.intersections.append(intersection.to(self.device, torch.int64))
        self.unions.append(union.to(self.device, torch.int64))

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN without pairs."""
        intersections = dim_zero_cat(self.intersections).double()
        unions = dim_zero_cat(self.unions).double()
        ious = torch.where(unions > 0, intersections / unions.clamp(min=1), 1.0)
        return ious.sort().values.sum() / len(ious)


class BoxAccuracy(Metric):
    """The share of pairs whose masks' boxes overlap with an IoU strictly above a threshold.

    Boxes are half-open (y0, x0, y1, x1) in pixels, so a box of one pixel has the area 1. An empty
    mask has the box (0, 0, 0, 0) and misses.
    """

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    total: Tensor

    def __init__(self, threshold: float = 0.5) -> None:
        """Keep the threshold, 0..1."""
        super().__init__()
        self.threshold = threshold
        self.add_state("hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Add pairs of boxes, int64[N, 4] each."""
        self.hits += (box_ious(predicted, truth) > self.threshold).sum()
        self.total += len(truth)

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN without pairs."""
        return self.hits.double() / self.total.double()


class EmptyAccuracy(Metric):
    """N-acc: the share of pairs without a target of which the answer says so."""

    full_state_update = False
    higher_is_better = True
    hits: Tensor
    total: Tensor

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, says_nothing: Tensor) -> None:
        """Add pairs without a target: 1 where the answer was read and is empty, int64[N]."""
        self.hits += says_nothing.sum()
        self.total += len(says_nothing)

    def compute(self) -> Tensor:
        """float64 in 0..1; NaN without pairs."""
        return self.hits.double() / self.total.double()


def box_ious(first: Tensor, second: Tensor) -> Tensor:
    """IoU, float64[N], of half-open boxes int64[N, 4] (y0, x0, y1, x1); 0 for an empty union."""
    near = torch.maximum(first[:, :2], second[:, :2])
    far = torch.minimum(first[:, 2:], second[:, 2:])
    intersection = (far - near).clamp(min=0).prod(dim=1)
    union = (
        (first[:, 2:] - first[:, :2]).prod(dim=1)
        + (second[:, 2:] - second[:, :2]).prod(dim=1)
        - intersection
    )
    return intersection.double() / union.clamp(min=1).double()
