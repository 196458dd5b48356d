"""The ``open-vocab`` protocol: mIoU over classes of prompts that list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric

from t4spp.evaluation.bootstrap import Interval, Terms, interval_of, resampled_sums
from t4spp.evaluation.class_sums import ClassMeanIoU, PublishedClassMeanIoU, class_key
from t4spp.evaluation.pairs import truth_of
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.types import BACKGROUND, Sample

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassPixels:
    """Pixels of one class in one answer, ``ignore`` left out.

    Attributes:
        label: its name.
        intersection: both true and predicted.
        true: of the class.
        predicted: as the class.
        published_predicted: of those, the ones outside class 0, see :class:`ClassRow`.
    """

    label: str
    intersection: int
    true: int
    predicted: int
    published_predicted: int

    @property
    def union(self) -> int:
        """Pixels in either mask."""
        return self.true + self.predicted - self.intersection

    @property
    def published_union(self) -> int:
        """The same over pixels outside class 0 alone."""
        return self.true + self.published_predicted - self.intersection


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One answer to a prompt that lists classes.

    Attributes:
        position: of the sample in its split.
        image_id: its picture.
        named: the classes that the prompt lists or the truth shows.
        classes: those with a pixel, true or predicted; an open prompt's answer may add others.
        unlabelled: pixels of class 0, which the published code leaves out: ``ignore``, or, where
            a sample has none, the pixels without a true class.
        missed: the other pixels for which nothing was predicted.
        ignored: pixels that count nowhere.
        left_out: the prompt lists no classes, and the row only counts it.
    """

    position: int
    image_id: str
    named: tuple[str, ...] = ()
    classes: tuple[ClassPixels, ...] = ()
    unlabelled: int = 0
    missed: int = 0
    ignored: int = 0
    left_out: bool = False


class OpenVocabularyProtocol(EvaluationProtocol[ClassRow]):
    """mIoU over the classes of a whole split, from prompts of kind ``conditioned`` and ``open``.

    Prompts that ask for some classes only (``partial``) are left out: they tell the model what to
    look for, and classes that nobody asked for could not be invented.
    """

    name = "open-vocab"
    summary = "mIoU over classes of prompts that list them: careful, and as published"

    def __init__(self) -> None:
        """Make the metrics."""
        self.metrics: dict[str, Metric] = {
            "miou": ClassMeanIoU(),
            "miou_published": PublishedClassMeanIoU(),
        }

    def measure(self, answered: Answered) -> Sequence[ClassRow]:
        """The answer's classes."""
        sample, decoded = answered.sample, answered.decoded
        image_id = sample.image_id or sample.id
        if sample.kind == "partial":
            return [ClassRow(position=answered.position, image_id=image_id, left_out=True)]
        named = _named(sample)
        counted = np.ones(sample.size, dtype=np.bool_) if sample.ignore is None else ~sample.ignore
        truths = {
            label: truth_of(sample, label) & counted
            for label in dict.fromkeys(target.label for target in sample.targets)
            if label != BACKGROUND
        }
        answers = {
            label: decoded.union(label, sample.size) & counted
            for label in dict.fromkeys(region.label for region in decoded.regions)
            if label != BACKGROUND and (not sample.labels or label in named)
        }
        scored = counted if sample.ignore is not None else _any(truths.values(), sample.size)
        nothing = np.zeros(sample.size, dtype=np.bool_)
        classes = []
        for label in dict.fromkeys([*truths, *answers]):
            truth, predicted = truths.get(label, nothing), answers.get(label, nothing)
            classes.append(
                ClassPixels(
                    label=label,
                    intersection=_count(truth & predicted),
                    true=_count(truth),
                    predicted=_count(predicted),
                    published_predicted=_count(predicted & scored),
                )
            )
        return [
            ClassRow(
                position=answered.position,
                image_id=image_id,
                named=named,
                classes=tuple(pixels for pixels in classes if pixels.union),
                unlabelled=scored.size - _count(scored),
                missed=_count(scored & ~_any(answers.values(), sample.size)),
                ignored=counted.size - _count(counted),
            )
        ]

    def update(self, rows: Sequence[ClassRow], device: torch.device | None = None) -> None:
        """Add answers to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        named = {label for row in rows for label in row.named}
        sums: dict[str, list[int]] = {label: [1, 0, 0, 0] for label in named}
        for row in rows:
            for pixels in row.classes:
                total = sums.setdefault(pixels.label, [0, 0, 0, 0])
                total[1] += pixels.intersection
                total[2] += pixels.union
                total[3] += pixels.published_union
        table = torch.tensor(
            [[class_key(label), *total] for label, total in sums.items()], dtype=torch.int64
        ).reshape(-1, 5)
        self.metrics["miou"].update(table[:, [0, 1, 2, 3]])
        self.metrics["miou_published"].update(
            table[:, [0, 1, 2, 4]],
            torch.tensor([row.unlabelled for row in rows], dtype=torch.int64),
            torch.tensor([row.missed for row in rows], dtype=torch.int64),
        )

    def terms(self, rows: Sequence[ClassRow]) -> Mapping[str, Terms]:
        """None: a mean over classes is no ratio of two sums; ``intervals`` draws it."""
        return {}

    def intervals(
        self, rows: Sequence[ClassRow], *, resamples: int, seed: int
    ) -> Mapping[str, Interval]:
        """A 95 % interval a score: each resample of pictures sums its classes anew.

        Args:
            rows: of all processes, in the split's order.
            resamples: of the bootstrap; 0: none.
            seed: of the bootstrap.
        """
        scored = [row for row in rows if not row.left_out]
        named = _all_named(scored)
        if not named or resamples <= 0:
            return {}
        image_ids = [row.image_id for row in scored]
        columns = _columns(scored, named)
        draws = resampled_sums(image_ids, columns, resamples=resamples, seed=seed)
        careful, published = _careful(draws), _published(draws)
        return {
            "miou": interval_of(careful[~np.isnan(careful)]),
            "miou_published": interval_of(published),
        }

    def summands(self, rows: Sequence[ClassRow]) -> tuple[tuple[str, ...], _Floats]:
        """Areas of each class that a list or the truth names, and of what class 0 is made of.

        Args:
            rows: of all processes, N; those that are left out add nothing.
        """
        named = _all_named([row for row in rows if not row.left_out])
        if not named:
            return (), np.zeros((len(rows), 0))
        names = [f"{label}{side}" for label in named for side in _SIDES]
        values = _columns(rows, named)
        values[[row.left_out for row in rows]] = 0
        return (*names, *_REST), values

    def of_sums(self, names: Sequence[str], sums: _Floats) -> dict[str, _Floats]:
        """Both means over classes, float64[R] each.

        Args:
            names: of the columns, as ``summands`` has them, in any order.
            sums: float64[R, C].
        """
        place = {name: index for index, name in enumerate(names)}
        labels = sorted(name.removesuffix(_SIDES[0]) for name in names if name.endswith(_SIDES[0]))
        ordered = [place[label + side] for label in labels for side in _SIDES]
        draws = sums[:, [*ordered, *(place[name] for name in _REST)]]
        return {"miou": _careful(draws), "miou_published": _published(draws)}

    def counts(self, rows: Sequence[ClassRow]) -> dict[str, Any]:
        """Classes, their IoU, and what was left out.

        Args:
            rows: of all processes, in the split's order.
        """
        scored = [row for row in rows if not row.left_out]
        sums = {label: [0, 0] for label in _all_named(scored)}
        unknown = 0
        for row in scored:
            for pixels in row.classes:
                if pixels.label not in sums:
                    unknown += 1
                    continue
                sums[pixels.label][0] += pixels.intersection
                sums[pixels.label][1] += pixels.union
        seen = {label: both / either for label, (both, either) in sums.items() if either}
        return {
            "prompts": len(scored),
            "prompts_without_class_list": len(rows) - len(scored),
            "classes": len(sums),
            "classes_without_pixels": len(sums) - len(seen),
            "unknown_labels": unknown,
            "ignored_pixels": sum(row.ignored for row in scored),
            "class_iou": seen,
        }


def _named(sample: Sample) -> tuple[str, ...]:
    labels = dict.fromkeys([*sample.labels, *(target.label for target in sample.targets)])
    labels.pop(BACKGROUND, None)
    return tuple(labels)


def _all_named(rows: Sequence[ClassRow]) -> list[str]:
    return sorted({label for row in rows for label in row.named})


def _any(masks: Iterable[npt.NDArray[np.bool_]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    union = np.zeros(size, dtype=np.bool_)
    for mask in masks:
        union |= mask
    return union


def _count(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


_SIDES = ("/intersection", "/union", "/published union")
"""How the columns of a class end."""
_REST = ("unlabelled", "missed")


def _columns(rows: Sequence[ClassRow], named: Sequence[str]) -> _Floats:
    """float64[N, 3 K + 2]: the areas of each of K classes, then what class 0 is made of."""
    places = {label: 3 * place for place, label in enumerate(named)}
    columns = np.zeros((len(rows), 3 * len(named) + 2))
    for number, row in enumerate(rows):
        for pixels in row.classes:
            at = places.get(pixels.label)
            if at is not None:
                areas = (pixels.intersection, pixels.union, pixels.published_union)
                columns[number, at : at + 3] = areas
        columns[number, -2:] = row.unlabelled, row.missed
    return columns


def _careful(draws: _Floats) -> _Floats:
    """The mIoU of each resample, float64[R]; NaN where no class has a pixel."""
    both, either = draws[:, 0:-2:3], draws[:, 1:-2:3]
    ious = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    classes = np.count_nonzero(either, axis=1).astype(np.float64)
    nothing = np.full(len(draws), np.nan)
    means: _Floats = np.divide(ious.sum(axis=1), classes, out=nothing, where=classes > 0)
    return means


def _published(draws: _Floats) -> _Floats:
    """The same as published, class 0 averaged in, float64[R]."""
    ious = draws[:, 0:-2:3] / (draws[:, 2:-2:3] + 1e-10)
    background = draws[:, -2] / (draws[:, -2] + draws[:, -1] + 1e-10)
    means: _Floats = (ious.sum(axis=1) + background) / (ious.shape[1] + 1)
    return means
