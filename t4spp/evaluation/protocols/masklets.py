"""The ``masklets`` protocol: objects over the frames of a video, phrase by phrase, as SA-Co has it.

A picture is a video of one frame, so that the protocol scores pictures as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric

from t4spp.evaluation.bootstrap import Interval, Terms, interval_of, resampled_sums
from t4spp.evaluation.coco_matching import (
    KINDS,
    CocoObject,
    Kind,
    Matches,
    match_objects,
    pair_up,
)
from t4spp.evaluation.coco_scores import POOLED, SUMMARY, CocoScores, write_records
from t4spp.evaluation.masklets import Masklet, volume_ious
from t4spp.evaluation.pairs import scored_labels
from t4spp.evaluation.phrase_scores import (
    PHRASE_SCORES,
    THRESHOLDS,
    PhraseScores,
    phrase_columns,
    phrase_scores,
)
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.types import BACKGROUND

LEAST_SCORE = 0.5
"""From which on a prediction is an answer; average precision sees the others, too."""
_AT_50, _AT_75 = 0, 5
_NAMES = ("il_mcc", *PHRASE_SCORES)
_NUM_SUMS = 4 + 5 * len(THRESHOLDS)
"""Columns of :func:`phrase_columns`."""


@dataclass(frozen=True, kw_only=True)
class PhraseRow:
    """One phrase about one video.

    Attributes:
        position: of the sample in its split.
        image_id: the video, or the picture.
        label: the phrase.
        num_true: true masklets.
        num_detected: answered masklets with a score of 0.5 and more.
        num_unsure: those below.
        found: pairs found at each of the thresholds, by kind.
        matches: for average precision, by kind.
    """

    position: int
    image_id: str
    label: str
    num_true: int
    num_detected: int
    num_unsure: int
    found: Mapping[Kind, tuple[int, ...]]
    matches: Mapping[Kind, Matches]

    def described(self, kind: Kind) -> dict[str, Any]:
        """True positives, false positives and false negatives at 0.5, 0.75 and on average."""
        found = self.found[kind]
        counted = {"50_95": sum(found) / len(found), "50": found[_AT_50], "75": found[_AT_75]}
        return {
            f"{kind}_{name}_{at}": float(value)
            for at, number in counted.items()
            for name, value in (
                ("tp", number),
                ("fp", self.num_detected - number),
                ("fn", self.num_true - number),
            )
        }


def phrase_row(
    position: int,
    image_id: str,
    label: str,
    truths: Sequence[Masklet],
    detections: Sequence[Masklet],
    *,
    kinds: Sequence[Kind] = KINDS,
) -> PhraseRow:
    """Match the answers to one phrase about one video with its truth.

    Answers that are sure enough are paired with true masklets one to one, so that the sum of
    volume IoUs is largest; a pair is found at a threshold that its IoU reaches.

    Args:
        position: of the phrase in its split.
        image_id: the video.
        label: the phrase.
        truths: the true masklets.
        detections: the answered ones, of as many frames.
        kinds: what is compared.
    """
    found: dict[Kind, tuple[int, ...]] = {}
    matches: dict[Kind, Matches] = {}
    sure = np.array([item.score >= LEAST_SCORE for item in detections], dtype=np.bool_)
    for kind in kinds:
        ious = volume_ious(detections, truths, kind)
        pairs = pair_up(ious[sure])
        found[kind] = tuple(int((pairs >= threshold).sum()) for threshold in THRESHOLDS)
        objects = [
            [CocoObject(box=(0, 0, 0, 0), area=0, score=item.score) for item in side]
            for side in (detections, truths)
        ]
        matches[kind] = match_objects(objects[0], objects[1], ious)
    return PhraseRow(
        position=position,
        image_id=image_id,
        label=label,
        num_true=len(truths),
        num_detected=int(sure.sum()),
        num_unsure=int((~sure).sum()),
        found=found,
        matches=matches,
    )


class MaskletsProtocol(EvaluationProtocol[PhraseRow]):
    """Phrases as SA-Co's evaluation scores them, by masks (``segm_``) and boxes (``bbox_``).

    Precision, recall and F1 of answers at volume IoU 0.5, 0.75 and 0.50:0.95; ``il_mcc``, whether
    the answer says rightly that something is there; cgF1, both together; and average precision.
    See docs/protocols/masklets.md.
    """

    name = "masklets"
    summary = "objects over frames, phrase by phrase: F1 at volume IoU, IL_MCC, cgF1 (SA-Co)"

    def __init__(self, kinds: Sequence[Kind] = KINDS) -> None:
        """Make the metrics, of the kinds that are compared."""
        self.kinds = tuple(kinds)
        self._phrases = {kind: PhraseScores() for kind in self.kinds}
        self._coco = {kind: CocoScores() for kind in self.kinds}
        self.metrics: dict[str, Metric] = {
            **{f"{kind}_f1": metric for kind, metric in self._phrases.items()},
            **{f"{kind}_ap": metric for kind, metric in self._coco.items()},
        }

    def measure(self, answered: Answered) -> Sequence[PhraseRow]:
        """A row a label that was asked for or is true; pixels under ``ignore`` are taken out."""
        sample = answered.sample
        kept = None if sample.ignore is None else ~sample.ignore
        rows = []
        for label in scored_labels(sample) or ("",):
            sides = []
            for items in (sample.targets, answered.decoded.regions):
                masks = [
                    item.mask if kept is None else item.mask & kept
                    for item in items
                    if item.label == label or (not label and item.label != BACKGROUND)
                ]
                sides.append(
                    [Masklet.of_object(CocoObject.of_mask(mask)) for mask in masks if mask.any()]
                )
            image_id = sample.image_id or sample.id
            rows.append(phrase_row(answered.position, image_id, label, sides[0], sides[1]))
        return rows

    def update(self, rows: Sequence[PhraseRow], device: torch.device | None = None) -> None:
        """Add phrases to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """
        if device is not None:
            for metric in self.metrics.values():
                metric.to(device)
        for kind in self.kinds:
            self._phrases[kind].update(torch.from_numpy(_counts(rows, kind)))
            self._coco[kind].update(
                write_records((row.position, row.label, row.matches[kind]) for row in rows)
            )

    def compute(self) -> dict[str, float]:
        """The scores over all processes; NaN where nothing counts. All processes must call it."""
        scores: dict[str, float] = {}
        for kind in self.kinds:
            values = self._phrases[kind].compute().tolist()
            average = self._coco[kind].compute().tolist()
            scores.update(
                (f"{kind}_{name}", value) for name, value in zip(_NAMES, values, strict=True)
            )
            scores[f"{kind}_ap"] = average[0]
            pooled = average[len(SUMMARY) :]
            scores.update(
                (f"{kind}_{name}", value) for name, value in zip(POOLED, pooled, strict=True)
            )
        return scores

    def terms(self, rows: Sequence[PhraseRow]) -> dict[str, Terms]:
        """None of the scores is a ratio of sums; see ``intervals``."""
        return {}

    def intervals(
        self, rows: Sequence[PhraseRow], *, resamples: int, seed: int
    ) -> Mapping[str, Interval]:
        """A 95 % interval a score over videos drawn with replacement; none of average precision.

        A single video has none.

        Args:
            rows: of all processes, in the split's order.
            resamples: of the bootstrap; 0: none.
            seed: of the bootstrap.
        """
        found: dict[str, Interval] = {}
        videos = [row.image_id for row in rows]
        if len(set(videos)) < 2 or not resamples:
            return found
        for kind in self.kinds:
            columns = phrase_columns(_counts(rows, kind))
            drawn = phrase_scores(resampled_sums(videos, columns, resamples=resamples, seed=seed))
            for index, name in enumerate(_NAMES):
                values = drawn[:, index]
                found[f"{kind}_{name}"] = interval_of(values[np.isfinite(values)])
        return found

    def summands(
        self, rows: Sequence[PhraseRow]
    ) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
        """What each phrase adds to the sums of counts; see :func:`phrase_columns`.

        Args:
            rows: of all processes, N.

        Returns:
            The columns' names, C; float64[N, C].
        """
        names = tuple(f"{kind}/{number}" for kind in self.kinds for number in range(_NUM_SUMS))
        columns = [phrase_columns(_counts(rows, kind)) for kind in self.kinds]
        return names, np.concatenate(columns, axis=1)

    def of_sums(
        self, names: Sequence[str], sums: npt.NDArray[np.float64]
    ) -> dict[str, npt.NDArray[np.float64]]:
        """The scores of sums over phrases; average precision has none.

        Args:
            names: the columns', C.
            sums: float64[R, C].

        Returns:
            float64[R] a score; NaN where nothing counts.
        """
        place = {name: index for index, name in enumerate(names)}
        found: dict[str, npt.NDArray[np.float64]] = {}
        for kind in self.kinds:
            if f"{kind}/0" not in place:
                continue
            own = sums[:, [place[f"{kind}/{number}"] for number in range(_NUM_SUMS)]]
            values = phrase_scores(own)
            found.update((f"{kind}_{name}", values[:, n]) for n, name in enumerate(_NAMES))
        return found

    def counts(self, rows: Sequence[PhraseRow]) -> Mapping[str, Any]:
        """Phrases without a target, and masklets.

        Args:
            rows: of all processes, in the split's order.
        """
        return {
            "phrases_without_target": sum(not row.num_true for row in rows),
            "true_masklets": sum(row.num_true for row in rows),
            "answered_masklets": sum(row.num_detected for row in rows),
            "unsure_masklets": sum(row.num_unsure for row in rows),
        }

    def phrases(self, rows: Sequence[PhraseRow]) -> list[dict[str, Any]]:
        """What every phrase scored: true and false positives and false negatives, JSON values.

        Args:
            rows: of all processes, in the split's order.
        """
        return [
            {
                "image_id": row.image_id,
                "label": row.label,
                **{key: value for kind in self.kinds for key, value in row.described(kind).items()},
            }
            for row in rows
        ]


def _counts(rows: Sequence[PhraseRow], kind: Kind) -> npt.NDArray[np.int64]:
    counted = [(row.num_true, row.num_detected, *row.found[kind]) for row in rows]
    return np.array(counted, dtype=np.int64).reshape(len(rows), 2 + len(THRESHOLDS))
