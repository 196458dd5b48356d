"""The protocols ``text4seg``, ``lisa`` and ``reasonseg``: gIoU and cIoU over expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.expressions import (
    ExpressionProtocol,
    ExpressionRow,
    cumulative,
    further_row,
    plain_rows,
)

EPSILON = 1e-5
"""Pixels that the published code adds to each expression's union."""


def softened_iou(row: ExpressionRow) -> float:
    """``I / (U + 1e-5)``, a little below 1 for equal masks; 1 for an empty union.

    LISA, ``train_ds.py``, ``validate``; Text4Seg, ``eval_refer_seg.py``; SegEarth-R1,
    ``eval.py``, ``compute_metric``.
    """
    return row.intersection / (row.union + EPSILON) if row.union else 1.0


class ReferringProtocol(ExpressionProtocol[ExpressionRow]):
    """Mean IoU and cIoU over expressions, at the picture's own resolution.

    Attributes:
        first_phrase_only: whether samples tagged ``further-phrase`` are left out.
    """

    means: ClassVar[Mapping[str, Callable[[Any], float | None]]] = {"mean_iou": softened_iou}
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {"ciou": cumulative}
    first_phrase_only: ClassVar[bool] = False

    def measure(self, answered: Answered) -> Sequence[ExpressionRow]:
        """The answer's expressions."""
        further = further_row(answered) if self.first_phrase_only else None
        return plain_rows(answered) if further is None else [further]


class Text4SegProtocol(ReferringProtocol):
    """RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO as Text4Seg (arXiv 2410.09855) scores them."""

    name = "text4seg"
    summary = "gIoU and cIoU over expressions, as Text4Seg's evaluation"


class LisaProtocol(ReferringProtocol):
    """RefCOCO, RefCOCO+ and RefCOCOg as LISA (arXiv 2308.00692) scores them."""

    name = "lisa"
    summary = "gIoU and cIoU over expressions, as LISA's validation"


class ReasonSegProtocol(ReferringProtocol):
    """ReasonSeg as LISA (arXiv 2308.00692) scores it: each picture's first phrase only."""

    name = "reasonseg"
    summary = "gIoU and cIoU over each picture's first phrase, as LISA on ReasonSeg"
    first_phrase_only = True
