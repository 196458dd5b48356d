"""What protocols of referring segmentation share: a row an expression, scores by one rule each.

An *expression* is a (sample, label), as a pair of ``native`` is: the union of the sample's targets
of that label against the union of the regions that bear it; a prompt that names no label is one
expression. Masks alone count, as in the published code: an answer that cannot be read is an empty
mask. Pixels under ``ignore`` count on neither side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from torchmetrics import Metric

from t4spp.evaluation.averages import CountRatio, ExactMean
from t4spp.evaluation.bootstrap import Terms
from t4spp.evaluation.pairs import PairScore, answered_mask, scored_labels, truth_of
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.evaluation.protocols.framing import Frame
from t4spp.types import FURTHER_PHRASE, Decoded, Sample

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""At which remote-sensing papers give the share of expressions (Pr@)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpressionRow:
    """One expression; areas in pixels of the masks that the protocol compares.

    Attributes:
        position: of the sample in its split.
        image_id: its picture.
        has_target: whether the truth names a target, by annotation and not by its pixels.
        intersection: pixels in both masks.
        union: pixels in either.
        predicted_area: predicted pixels.
        ignored: pixels that count nowhere.
        further: a further phrase for the same targets, which the protocol leaves out.
    """

    position: int
    image_id: str
    has_target: bool
    intersection: int
    union: int
    predicted_area: int
    ignored: int = 0
    further: bool = False


class Counted(Protocol):
    """What a row must tell so that its scores and counts can be made."""

    @property
    def position(self) -> int:
        """Of its sample in the split."""

    @property
    def image_id(self) -> str:
        """Its picture."""

    @property
    def has_target(self) -> bool:
        """Whether the truth names a target."""

    @property
    def ignored(self) -> int:
        """Pixels that count nowhere."""

    @property
    def further(self) -> bool:
        """Whether the row is left out."""


Row = TypeVar("Row", bound=Counted)


class ExpressionProtocol(EvaluationProtocol[Row]):
    """Scores that are means over expressions or ratios of whole numbers' sums.

    Attributes:
        means: a score's value of a row, None where the row does not enter it.
        ratios: a score's numerator and denominator of a row.
    """

    means: ClassVar[Mapping[str, Callable[[Any], float | None]]] = {}
    ratios: ClassVar[Mapping[str, Callable[[Any], tuple[int, int]]]] = {}

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            **{name: ExactMean() for name in self.means},
            **{name: CountRatio() for name in self.ratios},
        }

    def update(self, rows: Sequence[Row], device: torch.device | None = None) -> None:
        """Add expressions to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        counted = [row for row in rows if not row.further]
        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        for name, mean in self.means.items():
            values = [value for row in counted if (value := mean(row)) is not None]
            self.metrics[name].update(torch.tensor(values, dtype=torch.float64))
        for name, ratio in self.ratios.items():
            pairs = torch.tensor([ratio(row) for row in counted], dtype=torch.int64)
            pairs = pairs.reshape(-1, 2)
            self.metrics[name].update(pairs[:, 0], pairs[:, 1])

    def terms(self, rows: Sequence[Row]) -> dict[str, Terms]:
        """The same scores as ratios of sums over expressions, for the bootstrap."""
        counted = np.array([not row.further for row in rows], dtype=np.float64)
        terms: dict[str, Terms] = {}
        for name, mean in self.means.items():
            values = [mean(row) for row in rows]
            enters = counted * [value is not None for value in values]
            numbers = np.array([value or 0.0 for value in values], dtype=np.float64)
            terms[name] = Terms(numerator=numbers * enters, denominator=enters)
        for name, ratio in self.ratios.items():
            pairs = np.array([ratio(row) for row in rows], dtype=np.float64).reshape(-1, 2)
            terms[name] = Terms(numerator=pairs[:, 0] * counted, denominator=pairs[:, 1] * counted)
        return terms

    def counts(self, rows: Sequence[Row]) -> dict[str, int]:
        """Expressions that were scored, and what was left out.

        Args:
            rows: of all processes, in the split's order.
        """
        counted = [row for row in rows if not row.further]
        return {
            "expressions": len(counted),
            "without_target": sum(not row.has_target for row in counted),
            "further_phrases": len(rows) - len(counted),
            "ignored_pixels": sum(row.ignored for row in counted),
        }


def cumulative(row: ExpressionRow) -> tuple[int, int]:
    """What cIoU sums: intersection and union."""
    return row.intersection, row.union


def plain_rows(answered: Answered) -> list[ExpressionRow]:
    """The expressions of an answer at the picture's own resolution."""
    sample = answered.sample
    pairs = {pair.label: pair for pair in answered.pairs}
    ignored = 0 if sample.ignore is None else int(np.count_nonzero(sample.ignore))
    rows = []
    for label in scored_labels(sample) or ("",):
        intersection, union, area = _areas(pairs.get(label), sample, answered.decoded, label)
        rows.append(
            ExpressionRow(
                position=answered.position,
                image_id=sample.image_id or sample.id,
                has_target=names_target(sample, label),
                intersection=intersection,
                union=union,
                predicted_area=area,
                ignored=ignored,
            )
        )
    return rows


def framed_rows(answered: Answered, frame: Frame) -> list[ExpressionRow]:
    """The expressions of an answer after both masks were resampled to a protocol's frame."""
    sample = answered.sample
    sampling = frame(sample.size)
    ignore = None if sample.ignore is None else sampling.sample(sample.ignore)
    rows = []
    for label in scored_labels(sample) or ("",):
        truth = sampling.sample(truth_of(sample, label))
        predicted = sampling.sample(answered_mask(sample, answered.decoded, label))
        if ignore is not None:
            truth, predicted = truth & ~ignore, predicted & ~ignore
        area = sampling.area(predicted)
        intersection = sampling.area(truth & predicted)
        rows.append(
            ExpressionRow(
                position=answered.position,
                image_id=sample.image_id or sample.id,
                has_target=names_target(sample, label),
                intersection=intersection,
                union=sampling.area(truth) + area - intersection,
                predicted_area=area,
                ignored=0 if ignore is None else sampling.area(ignore),
            )
        )
    return rows


def further_row(answered: Answered) -> ExpressionRow | None:
    """A row that only counts a further phrase; None where the answer is to be scored."""
    sample = answered.sample
    if FURTHER_PHRASE not in sample.tags:
        return None
    return ExpressionRow(
        position=answered.position,
        image_id=sample.image_id or sample.id,
        has_target=bool(sample.targets),
        intersection=0,
        union=0,
        predicted_area=0,
        further=True,
    )


def names_target(sample: Sample, label: str) -> bool:
    """Whether the truth has a target of a label, with pixels or without."""
    return any(target.label == label for target in sample.targets)


def _areas(
    pair: PairScore | None, sample: Sample, decoded: Decoded, label: str
) -> tuple[int, int, int]:
    """Intersection, union and predicted area."""
    if pair is not None:
        return pair.intersection, pair.union, pair.predicted_area
    # ``native`` has no such pair: every true pixel is ignored, so the truth is empty here.
    predicted = answered_mask(sample, decoded, label)
    if sample.ignore is not None:
        predicted &= ~sample.ignore
    area = int(np.count_nonzero(predicted))
    return 0, area, area
