"""Masklets: objects over the frames of videos, as YouTube-VIS and SA-Co/VEval write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from t4spp.errors import RunError
from t4spp.evaluation.coco_matching import Kind
from t4spp.evaluation.elsewhere.coco_results import Id, Truth, sorted_pairs
from t4spp.evaluation.elsewhere.codes import box_of, read_box, read_rle, read_score
from t4spp.evaluation.elsewhere.records import GroupedRecords, Record
from t4spp.evaluation.masklets import Masklet
from t4spp.evaluation.protocols.masklets import PhraseRow, phrase_row

_NOWHERE = (0.0, 0.0, 0.0, 0.0)


def asked_pairs(truth: Truth, results: GroupedRecords) -> list[tuple[Id, Id]]:
    """Every (video, category) with a true or a predicted masklet, in order; then those without.

    The order is that of SA-Co's evaluation, which decides between equal scores.
    """
    seen: set[tuple[Id, Id]] = {
        (video, record["category_id"])
        for video, records in truth.annotations.items()
        for record in records
    }
    for key in results.keys:
        if isinstance(key, tuple):
            seen.add(key)
    return [*sorted_pairs(seen), *(pair for pair in dict.fromkeys(truth.pairs) if pair not in seen)]


def masklet_rows(
    truth: Truth, results: GroupedRecords, kinds: Sequence[Kind]
) -> Iterator[list[PhraseRow]]:
    """The row of each phrase about each video; one after another is in memory.

    Args:
        truth: the annotation file.
        results: opened.
        kinds: that the results have.

    Raises:
        RunError: a masklet is damaged, or has another size or length than its video.
    """
    for position, (video, category) in enumerate(asked_pairs(truth, results)):
        true = []
        for record in truth.annotations.get(video, ()):
            if record["category_id"] != category:
                continue
            if record.get("iscrowd"):
                truth.counters["crowd_masklets_left_out"] += 1
                continue
            true.append(_masklet(record, truth, video, kinds, record["where"], score=1.0))
        predicted = []
        for where, record in results.of((video, category)):
            score = read_score(record.get("score"), where)
            predicted.append(_masklet(record, truth, video, kinds, where, score=score))
        yield [
            phrase_row(position, str(video), truth.labels[category], true, predicted, kinds=kinds)
        ]


def _masklet(
    record: Record, truth: Truth, video: Id, kinds: Sequence[Kind], where: str, *, score: float
) -> Masklet:
    length, size = truth.lengths[video], truth.sizes[video]
    given = record.get("bboxes")
    boxes = _frames(record, "bboxes", length, where) if given else None
    shapes = None
    if "segm" in kinds or boxes is None:
        shapes = _frames(record, "segmentations", length, where)
    masks = [
        None if shape is None else read_rle(shape, size, f"{where}, frame {number}")
        for number, shape in enumerate(shapes or [None] * length)
    ]
    boxes = boxes or [None] * length
    return Masklet(
        masks=tuple(masks),
        boxes=tuple(
            read_box(box, f"{where}, frame {number}")
            if box is not None
            else (_NOWHERE if mask is None or given else box_of(mask))
            for number, (box, mask) in enumerate(zip(boxes, masks, strict=True))
        ),
        score=score,
    )


def _frames(record: Record, key: str, length: int, where: str) -> list[Any]:
    value = record.get(key)
    if not isinstance(value, list) or len(value) != length:
        found = f"{len(value)}" if isinstance(value, list) else f"{value!r:.60}"
        raise RunError(
            f"{where}: {key} must be a list of {length} frames, as its video; found {found}."
        )
    return value
