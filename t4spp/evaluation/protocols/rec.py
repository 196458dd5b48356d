"""The ``rec`` protocol: referring comprehension by the boxes of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from t4spp.evaluation.pairs import scored_labels
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.expressions import ExpressionProtocol, ExpressionRow, plain_rows
from t4spp.types import Box

_EMPTY = Box(y0=0, x0=0, y1=0, x1=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxRow(ExpressionRow):
    """One expression with its masks' boxes, (0, 0, 0, 0) for an empty mask."""

    predicted_box: Box
    true_box: Box


def extent(box: Box) -> tuple[int, int]:
    """Height and width as max - min of pixel indices: one less than the pixels in a row."""
    return box.height - 1, box.width - 1


def box_hit(row: BoxRow) -> tuple[int, int]:
    """Whether the boxes' IoU is strictly greater than 0.5, in whole numbers.

    Extents are max - min, so a box one pixel high or wide has no area: as the true box it is never
    hit, not even by itself. An empty mask neither hits nor is hit.

    Text4Seg, ``eval_refer_comprehen.py`` and ``masks_to_boxes``.
    """
    first, second = row.predicted_box, row.true_box
    if not first.height or not second.height:
        return 0, 1
    height = min(first.y1, second.y1) - 1 - max(first.y0, second.y0)
    width = min(first.x1, second.x1) - 1 - max(first.x0, second.x0)
    both = max(0, height) * max(0, width)
    (first_height, first_width), (second_height, second_width) = extent(first), extent(second)
    union = first_height * first_width + second_height * second_width - both
    return int(2 * both > union), 1


class RecProtocol(ExpressionProtocol[BoxRow]):
    """Acc@0.5 of the predicted masks' boxes against the true masks' boxes."""

    name = "rec"
    summary = "Acc@0.5 of masks' boxes, extents max - min, as Text4Seg's comprehension"
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {"acc@0.5": box_hit}

    def measure(self, answered: Answered) -> Sequence[BoxRow]:
        """The answer's expressions with their boxes."""
        pairs = {pair.label: pair for pair in answered.pairs}
        rows = []
        labels = scored_labels(answered.sample) or ("",)
        for label, row in zip(labels, plain_rows(answered), strict=True):
            pair = pairs.get(label)  # None where every true pixel is ignored: no true box
            rows.append(
                BoxRow(
                    **asdict(row),
                    predicted_box=_EMPTY if pair is None else pair.predicted_box,
                    true_box=_EMPTY if pair is None else pair.true_box,
                )
            )
        return rows

    def counts(self, rows: Sequence[BoxRow]) -> dict[str, int]:
        """Also the expressions whose true box has no area, so that nothing can hit it.

        Args:
            rows: of all processes, in the split's order.
        """
        flat = [row for row in rows if row.true_box.height and not all(extent(row.true_box))]
        return {**super().counts(rows), "true_boxes_without_area": len(flat)}
