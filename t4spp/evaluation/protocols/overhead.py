"""The protocols ``rmsin`` (RRSIS-D) and ``segearth`` (EarthReason), for pictures from above."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.expressions import (
    THRESHOLDS,
    ExpressionProtocol,
    ExpressionRow,
    cumulative,
    framed_rows,
    further_row,
)
from t4spp.evaluation.protocols.framing import longest_side_1024, square_of_480
from t4spp.evaluation.protocols.referring import softened_iou


def plain_iou(row: ExpressionRow) -> float:
    """I / U, and 0 for an empty union, whatever the truth (RMSIN, ``test.py``, ``evaluate``)."""
    return row.intersection / row.union if row.union else 0.0


def _at_least(row: ExpressionRow, threshold: float) -> tuple[int, int]:
    return int(plain_iou(row) >= threshold), 1


def _above(row: ExpressionRow, threshold: float) -> tuple[int, int]:
    return int(softened_iou(row) > threshold), 1


class RmsinProtocol(ExpressionProtocol[ExpressionRow]):
    """RRSIS-D as RMSIN (arXiv 2312.12470) scores it, at 480 x 480."""

    name = "rmsin"
    summary = "mIoU, oIoU and Pr at 480 x 480, as RMSIN on RRSIS-D"
    means: ClassVar[Mapping[str, Callable[[Any], float | None]]] = {"mean_iou": plain_iou}
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {
        "ciou": cumulative,
        **{f"pr@{value}": partial(_at_least, threshold=value) for value in THRESHOLDS},
    }

    def measure(self, answered: Answered) -> Sequence[ExpressionRow]:
        """The answer's expressions."""
        return framed_rows(answered, square_of_480)


class SegEarthProtocol(ExpressionProtocol[ExpressionRow]):
    """EarthReason as SegEarth-R1 (arXiv 2504.09644) scores it, in a frame of 1024 x 1024."""

    name = "segearth"
    summary = "gIoU, cIoU and Pr of first questions at 1024 pixels, as SegEarth-R1 on EarthReason"
    means: ClassVar[Mapping[str, Callable[[Any], float | None]]] = {"mean_iou": softened_iou}
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {
        "ciou": cumulative,
        **{f"pr@{value}": partial(_above, threshold=value) for value in THRESHOLDS},
    }

    def measure(self, answered: Answered) -> Sequence[ExpressionRow]:
        """The answer's expressions, or what counts a further question."""
        further = further_row(answered)
        return framed_rows(answered, longest_side_1024) if further is None else [further]
