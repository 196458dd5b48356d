"""Means and ratios as torchmetrics whose values do not depend on how rows were shared out."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class ExactMean(Metric):
    """The mean of numbers, summed without rounding (``math.fsum``): no order can matter."""

    full_state_update = False
    values: list[Tensor]

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        """Add numbers, float64[N]; N may be 0."""
        self.values.append(values.to(self.device, torch.float64))

    def compute(self) -> Tensor:
        """float64; NaN without numbers."""
        values = dim_zero_cat(self.values).tolist()
        mean = math.fsum(values) / len(values) if values else math.nan
        return torch.tensor(mean, dtype=torch.float64)


class MeanDistance(ExactMean):
    """The same mean of distances, of which the smaller one is better."""

    higher_is_better = False


class CountRatio(Metric):
    """A sum of whole numbers over another: precision, recall, F1."""

    full_state_update = False
    numerator: Tensor
    denominator: Tensor

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("numerator", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("denominator", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, numerator: Tensor, denominator: Tensor) -> None:
        """Add terms, int64[N] each; N may be 0."""
        self.numerator += numerator.to(self.device).sum()
        self.denominator += denominator.to(self.device).sum()

    def compute(self) -> Tensor:
        """float64; NaN where the denominator is 0."""
        return self.numerator.double() / self.denominator.double()
