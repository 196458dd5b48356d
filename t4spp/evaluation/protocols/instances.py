"""The ``instances`` protocol: COCO's AP and AR, and precision and recall of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric

from t4spp.evaluation.averages import CountRatio
from t4spp.evaluation.bootstrap import Interval, Terms
from t4spp.evaluation.coco_intervals import MOST_DETECTIONS as MOST_RESAMPLED
from t4spp.evaluation.coco_intervals import resampled_scores
from t4spp.evaluation.coco_matching import (
    KINDS,
    MOST_DETECTIONS,
    CocoObject,
    Kind,
    Matches,
    match_objects,
    object_ious,
    pair_up,
)
from t4spp.evaluation.coco_scores import POOLED, SUMMARY, CocoScores, write_records
from t4spp.evaluation.pairs import scored_labels
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.types import BACKGROUND

FOUND_FROM = 0.5
"""IoU from which on a pair of objects counts as found in ``precision``, ``recall`` and ``f1``."""


@dataclass(frozen=True, kw_only=True)
class InstanceRow:
    """One (sample, label).

    Attributes:
        position: of the sample in its split.
        image_id: its picture.
        label: the label; empty where a prompt names none and has no target.
        matches: by kind; a kind that the detections do not have is absent.
        num_found: one-to-one pairs of IoU 0.5 and more, crowds left out.
        num_detected: detections, those left out that lie in a crowd.
        num_true: true objects, crowds left out.
        num_detections: detections, all.
        num_empty: regions and targets without a pixel, which are left out.
    """

    position: int
    image_id: str
    label: str
    matches: Mapping[Kind, Matches]
    num_found: int
    num_detected: int
    num_true: int
    num_detections: int
    num_empty: int = 0


def instance_row(
    position: int,
    image_id: str,
    label: str,
    truths: Sequence[CocoObject],
    detections: Sequence[CocoObject],
    *,
    kinds: Sequence[Kind] = KINDS,
    num_empty: int = 0,
) -> InstanceRow:
    """Match the detections of one (picture, label) with its truth.

    Args:
        position: of the picture in its split.
        image_id: the picture.
        label: the label.
        truths: its true objects and crowds.
        detections: in the order in which equal scores count.
        kinds: what is compared; ``segm`` needs codes of all masks.
        num_empty: regions and targets that were left out.
    """
    ious = {kind: object_ious(detections, truths, kind) for kind in kinds}
    found, detected = _count(truths, ious[kinds[0]])
    return InstanceRow(
        position=position,
        image_id=image_id,
        label=label,
        matches={kind: match_objects(detections, truths, ious[kind], kind) for kind in kinds},
        num_found=found,
        num_detected=detected,
        num_true=sum(not truth.crowd for truth in truths),
        num_detections=len(detections),
        num_empty=num_empty,
    )


def _count(truths: Sequence[CocoObject], ious: npt.NDArray[np.float64]) -> tuple[int, int]:
    """(pairs found, detections that count): what no truth has and a crowd has counts nowhere."""
    crowd = np.array([truth.crowd for truth in truths], dtype=np.bool_)
    things, crowds = ious[:, ~crowd], ious[:, crowd]
    found = int(np.count_nonzero(pair_up(things) >= FOUND_FROM))
    free = (things < FOUND_FROM).all(axis=1) & (crowds >= FOUND_FROM).any(axis=1)
    return found, len(ious) - int(np.count_nonzero(free))


class InstancesProtocol(EvaluationProtocol[InstanceRow]):
    """Each region of an answer is a detection of its label, each target a true object.

    The twelve values of COCO's code for masks (``segm_``) and for boxes (``bbox_``), computed by
    pycocotools; the same AP over all labels as one (``phrase_ap``); and one-to-one precision,
    recall and F1 at IoU 0.5. See docs/protocols/instances.md.
    """

    name = "instances"
    summary = "COCO's AP and AR of masks and boxes; precision and recall of objects"

    def __init__(self, kinds: Sequence[Kind] = KINDS) -> None:
        """Make the metrics, of the kinds that are compared."""
        self.kinds = tuple(kinds)
        self._coco: dict[Kind, CocoScores] = {kind: CocoScores() for kind in self.kinds}
        self._ratios: dict[str, CountRatio] = {
            name: CountRatio() for name in ("precision", "recall", "f1")
        }
        self.metrics: dict[str, Metric] = {
            **{f"{kind}_ap": metric for kind, metric in self._coco.items()},
            **self._ratios,
        }

    def measure(self, answered: Answered) -> Sequence[InstanceRow]:
        """A row a label that was asked for, is true or was answered; ``ignore`` is a crowd."""
        sample = answered.sample
        regions = [item for item in answered.decoded.regions if item.label != BACKGROUND]
        asked = scored_labels(sample) or ("",)
        labels = dict.fromkeys([*asked, *(region.label for region in regions if any(asked))])
        ignored = sample.ignore is not None and bool(sample.ignore.any())
        rows = []
        for label in labels:
            masks = [item.mask for item in regions if item.label == label or not label]
            targets = [item.mask for item in sample.targets if item.label == label]
            truths = [CocoObject.of_mask(mask) for mask in targets if mask.any()]
            if ignored and sample.ignore is not None:
                truths.append(CocoObject.of_mask(sample.ignore, crowd=True))
            empty = sum(not mask.any() for mask in (*masks, *targets))
            rows.append(
                instance_row(
                    answered.position,
                    sample.image_id or sample.id,
                    label,
                    truths,
                    [CocoObject.of_mask(mask) for mask in masks if mask.any()],
                    num_empty=empty,
                )
            )
        return rows

    def update(self, rows: Sequence[InstanceRow], device: torch.device | None = None) -> None:
        """Add rows to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        for kind, coco in self._coco.items():
            coco.update(
                write_records(
                    (row.position, row.label, row.matches[kind])
                    for row in rows
                    if kind in row.matches
                )
            )
        for name, (above, below) in _ratios(rows).items():
            self._ratios[name].update(torch.from_numpy(above), torch.from_numpy(below))

    def compute(self) -> dict[str, float]:
        """The scores over all processes; NaN where nothing counts. All processes must call it."""
        scores: dict[str, float] = {}
        for kind, coco in self._coco.items():
            values = coco.compute().tolist()
            scores.update(
                (f"{kind}_{name}", value)
                for name, value in zip((*SUMMARY, *POOLED), values, strict=True)
            )
        scores.update((name, float(metric.compute())) for name, metric in self._ratios.items())
        return scores

    def terms(self, rows: Sequence[InstanceRow]) -> dict[str, Terms]:
        """Precision, recall and F1 as ratios of sums over rows; AP is none."""
        return {
            name: Terms(numerator=above.astype(np.float64), denominator=below.astype(np.float64))
            for name, (above, below) in _ratios(rows).items()
        }

    def intervals(
        self, rows: Sequence[InstanceRow], *, resamples: int, seed: int
    ) -> Mapping[str, Interval]:
        """A 95 % interval of AP, AP50, AP75, AR100, ``phrase_ap``, precision, recall and F1.

        AP is accumulated anew over pictures drawn with replacement; AP by area and AR of fewer
        detections have no interval, nor has any AP of more than 50,000 detections.

        Args:
            rows: of all processes, in the split's order.
            resamples: of the bootstrap; 0: none.
            seed: of the bootstrap.
        """
        found = dict(super().intervals(rows, resamples=resamples, seed=seed))
        for kind in self.kinds:
            chosen = sorted(
                (row for row in rows if kind in row.matches),
                key=lambda row: (row.position, row.label),
            )
            number = sum(row.matches[kind].num_detections for row in chosen)
            if chosen and resamples and number <= MOST_RESAMPLED:
                intervals = resampled_scores(
                    [row.image_id for row in chosen],
                    [row.label for row in chosen],
                    [row.matches[kind] for row in chosen],
                    resamples=resamples,
                    seed=seed,
                )
                found.update((f"{kind}_{name}", value) for name, value in intervals.items())
        return found

    def counts(self, rows: Sequence[InstanceRow]) -> Mapping[str, Any]:
        """Objects, and what counts in no score.

        Args:
            rows: of all processes, in the split's order.
        """
        true: Counter[str] = Counter()
        detected: Counter[str] = Counter()
        for row in rows:
            true[row.label] += row.num_true
            detected[row.label] += row.num_detections
        without = [label for label in detected if not true[label]]
        return {
            "true_objects": sum(true.values()),
            "detections": sum(detected.values()),
            "labels": len(true),
            "labels_without_truth": len(without),
            "detections_of_labels_without_truth": sum(detected[label] for label in without),
            "detections_in_crowds": sum(row.num_detections - row.num_detected for row in rows),
            "detections_beyond_the_100_best": sum(
                max(0, row.num_detections - MOST_DETECTIONS) for row in rows
            ),
            "empty_masks_left_out": sum(row.num_empty for row in rows),
        }


def _ratios(
    rows: Sequence[InstanceRow],
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Each ratio's numerator and denominator, int64[N]."""
    found = np.array([row.num_found for row in rows], dtype=np.int64)
    detected = np.array([row.num_detected for row in rows], dtype=np.int64)
    true = np.array([row.num_true for row in rows], dtype=np.int64)
    return {
        "precision": (found, detected),
        "recall": (found, true),
        "f1": (2 * found, detected + true),
    }
