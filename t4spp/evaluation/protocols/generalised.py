"""The ``grefcoco`` protocol: expressions with one target, several, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.expressions import (
    ExpressionProtocol,
    ExpressionRow,
    cumulative,
    plain_rows,
)

_THRESHOLDS = (0.7, 0.8, 0.9)


def generalised_iou(row: ExpressionRow) -> float:
    """The IoU of an expression, 0..1.

    With a target: I / U, and 0 for an empty union. Without one: 1 where nothing was predicted,
    else 0. ReLA (arXiv 2306.00968), ``refer_evaluation.py``, ``ReferEvaluator.evaluate``.
    """
    if not row.has_target:
        return float(row.predicted_area == 0)
    return row.intersection / row.union if row.union else 0.0


def _precision(row: ExpressionRow, threshold: float) -> tuple[int, int]:
    """Over expressions with a target, at least the threshold."""
    if not row.has_target:
        return 0, 0
    return int(generalised_iou(row) >= threshold), 1


def _no_target_accuracy(row: ExpressionRow) -> tuple[int, int]:
    """TP / (TP + FN): of the expressions without a target, those predicted empty."""
    return (0, 0) if row.has_target else (int(row.predicted_area == 0), 1)


def _target_accuracy(row: ExpressionRow) -> tuple[int, int]:
    """TN / (TN + FP): of the expressions with a target, those not predicted empty."""
    return (int(row.predicted_area > 0), 1) if row.has_target else (0, 0)


class GRefCocoProtocol(ExpressionProtocol[ExpressionRow]):
    """gIoU, cIoU, N-acc, T-acc and Pr of generalised referring segmentation."""

    name = "grefcoco"
    summary = "gIoU, cIoU, N-acc, T-acc and Pr with expressions that have no target, as ReLA"
    means: ClassVar[Mapping[str, Callable[[Any], float | None]]] = {"mean_iou": generalised_iou}
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {
        "ciou": cumulative,  # without a target: 0 and the predicted area, 0 where that is empty
        "n_acc": _no_target_accuracy,
        "t_acc": _target_accuracy,
        **{f"pr@{value}": partial(_precision, threshold=value) for value in _THRESHOLDS},
    }

    def measure(self, answered: Answered) -> Sequence[ExpressionRow]:
        """The answer's expressions."""
        return plain_rows(answered)
