"""COCO results: detections with scores, against an annotation file, for ``instances``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RunError
from t4spp.evaluation.coco_matching import KINDS, CocoObject, Kind
from t4spp.evaluation.elsewhere.codes import box_of, read_box, read_score, read_shape
from t4spp.evaluation.elsewhere.records import GroupedRecords, Record, read_json
from t4spp.evaluation.protocols.instances import InstanceRow, instance_row

Id = int | str
MAX_PIXELS = 2**32 - 1
"""Of a picture: pycocotools counts runs in 32 bits."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """An annotation file.

    Attributes:
        path: the file.
        sizes: (H, W) of each picture or video, in the file's order.
        labels: the name of each category; the id stands behind names that occur twice.
        annotations: by picture or video; those of unknown ones are counted.
        pairs: (picture or video, category) that were asked for, whether or not they have a target.
        lengths: frames of each video; empty for pictures.
        counters: what was left out.
    """

    path: Path
    sizes: dict[Id, tuple[int, int]]
    labels: dict[Id, str]
    annotations: dict[Id, list[Record]]
    pairs: tuple[tuple[Id, Id], ...]
    lengths: dict[Id, int]
    counters: Counter[str]


def read_truth(path: Path, *, of: str = "image") -> Truth:
    """Read and check what an annotation file says of its pictures, or of its videos.

    Args:
        path: the file.
        of: ``image`` or ``video``.

    Raises:
        RunError: it is missing, malformed, or contradicts itself.
    """
    content = read_json(path, "the truth")
    lists = (f"{of}s", "annotations", "categories")
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in lists
    ):
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise RunError(
            f"the truth {path} must be an object with the lists {', '.join(lists)}; found "
            f"{found or 'nothing'}. --truth takes the annotation file, --predictions the results."
        )
    sizes: dict[Id, tuple[int, int]] = {}
    lengths: dict[Id, int] = {}
    for index, record in enumerate(content[lists[0]]):
        where = f"{path}: {lists[0]}[{index}]"
        identity = _unused_id(record, sizes, where)
        height, width = _whole(record, "height", where), _whole(record, "width", where)
        if height * width > MAX_PIXELS:
            raise RunError(
                f"{where}: {height} x {width} pixels (height x width) are more than "
                f"{MAX_PIXELS}, which COCO's run-length code cannot count."
            )
        sizes[identity] = (height, width)
        if of == "video":
            lengths[identity] = _whole(record, "length", where)
    names: dict[Id, str] = {}
    for index, record in enumerate(content["categories"]):
        where = f"{path}: categories[{index}]"
        identity = _unused_id(record, names, where)
        names[identity] = str(record.get("name", identity))
    counters: Counter[str] = Counter()
    annotations: dict[Id, list[Record]] = {}
    for index, record in enumerate(content["annotations"]):
        where = f"{path}: annotations[{index}]"
        owner, category = _id(record, f"{of}_id", where), _id(record, "category_id", where)
        if category not in names:
            raise RunError(f"{where}.category_id {category!r} is not among the file's categories.")
        if owner not in sizes:
            counters[f"truths_of_unknown_{of}s"] += 1
            continue
        annotations.setdefault(owner, []).append({**record, "where": where})
    if not sizes:
        raise RunError(f"the truth {path} has no {of}s, so that there is nothing to score.")
    return Truth(
        path=path,
        sizes=sizes,
        labels=_unique(names),
        annotations=annotations,
        pairs=tuple(_pairs(content, of, sizes, names, path)),
        lengths=lengths,
        counters=counters,
    )


def open_results(
    path: Path, truth: Truth, *, of: str = "image", progress: Any = None
) -> GroupedRecords:
    """Find the results of each (picture or video, category); unknown ones are counted.

    Args:
        path: the results.
        truth: its counters tell of results whose picture or category it does not have.
        of: ``image`` or ``video``.
        progress: told how many bytes have just been read.

    Raises:
        RunError: the file is malformed, or nothing in it is about the truth.
    """

    def key(record: Record, where: str) -> Hashable:
        owner, category = _id(record, f"{of}_id", where), _id(record, "category_id", where)
        if owner not in truth.sizes:
            truth.counters[f"predictions_of_unknown_{of}s"] += 1
            return None
        if category not in truth.labels:
            truth.counters["predictions_of_unknown_categories"] += 1
            return None
        return owner, category

    results = GroupedRecords(path, key, progress=progress)
    if results.length and results.keys == {None}:
        first = results.first or {}
        raise RunError(
            f"none of the {results.length} predictions in {path} is about {truth.path}: the first "
            f"has {of}_id {first.get(f'{of}_id')!r} and category_id {first.get('category_id')!r}, "
            f"the truth's ids begin with {next(iter(truth.sizes))!r} and "
            f"{next(iter(truth.labels), None)!r}. Do the two files belong together?"
        )
    return results


def kinds_of(
    results: GroupedRecords, keys: tuple[str, str] = ("segmentation", "bbox")
) -> tuple[Kind, ...]:
    """What the predictions have: masks (and their boxes), or boxes alone.

    Raises:
        RunError: the first one has neither.
    """
    if results.first is None or results.first.get(keys[0]):
        return KINDS
    if results.first.get(keys[1]) is None:
        raise RunError(
            f"{results.path}, record 1: a prediction needs {keys[0]} or {keys[1]}; it has "
            f"{', '.join(results.first)}."
        )
    return ("bbox",)


def coco_rows(
    truth: Truth, results: GroupedRecords, kinds: Sequence[Kind]
) -> Iterator[list[InstanceRow]]:
    """The rows of each picture, by id; one picture after another is in memory.

    Args:
        truth: the annotation file.
        results: opened.
        kinds: that the results have.

    Raises:
        RunError: an annotation or a prediction is damaged, or has another picture's size.
    """
    order = {category: index for index, category in enumerate(truth.labels)}
    predicted: dict[Id, list[Id]] = {}
    for key in results.keys:
        if isinstance(key, tuple):
            predicted.setdefault(key[0], []).append(key[1])
    for position, image in enumerate(sorted(truth.sizes, key=_sortable)):
        size = truth.sizes[image]
        true: dict[Id, list[CocoObject]] = {}
        for record in truth.annotations.get(image, ()):
            item = _true_object(record, size, kinds)
            if item is None:
                truth.counters["truths_without_shape"] += 1
            else:
                true.setdefault(record["category_id"], []).append(item)
        categories = {*true, *predicted.get(image, ())}
        yield [
            instance_row(
                position,
                str(image),
                truth.labels[category],
                true.get(category, []),
                [
                    _detection(record, size, kinds, where)
                    for where, record in results.of((image, category))
                ],
                kinds=kinds,
            )
            for category in sorted(categories, key=order.__getitem__)
        ]


def _true_object(record: Record, size: tuple[int, int], kinds: Sequence[Kind]) -> CocoObject | None:
    from pycocotools import mask as coco_mask

    where, shape = record["where"], record.get("segmentation")
    given = record.get("bbox")
    needs_mask = "segm" in kinds or not given
    rle = read_shape(shape, size, where) if shape and needs_mask else None
    if needs_mask and rle is None:
        return None
    box = box_of(rle) if rle is not None and not given else read_box(given, f"{where}.bbox")
    area = record.get("area")
    if area is None:
        area = float(coco_mask.area(rle)) if rle is not None else box[2] * box[3]
    crowd = bool(record.get("iscrowd", 0))
    return CocoObject(box=box, area=read_score(area, where, "area"), rle=rle, crowd=crowd)


def _detection(
    record: Record, size: tuple[int, int], kinds: Sequence[Kind], where: str
) -> CocoObject:
    """A detection. Its mask's area decides its area range; for boxes, that of a given box."""
    from pycocotools import mask as coco_mask

    score = read_score(record.get("score"), where)
    given = record.get("bbox")
    if "segm" not in kinds:
        box = read_box(given, where)
        return CocoObject(box=box, area=box[2] * box[3], score=score)
    rle = read_shape(record.get("segmentation"), size, where)
    if rle is None:
        raise RunError(f"{where}: no polygon has three corners. Leave empty predictions out.")
    box = read_box(given, where) if given else box_of(rle)
    box_area = box[2] * box[3] if given else None
    return CocoObject(
        box=box, area=float(coco_mask.area(rle)), rle=rle, score=score, box_area=box_area
    )


def _pairs(
    content: Record, of: str, sizes: dict[Id, Any], names: dict[Id, str], path: Path
) -> Iterator[tuple[Id, Id]]:
    listed = content.get(f"{of}_np_pairs", [])
    for index, record in enumerate(listed if isinstance(listed, list) else []):
        where = f"{path}: {of}_np_pairs[{index}]"
        pair = _id(record, f"{of}_id", where), _id(record, "category_id", where)
        if pair[0] not in sizes or pair[1] not in names:
            raise RunError(
                f"{where} names the {of} {pair[0]!r} and the category {pair[1]!r}, which the file "
                "does not have both."
            )
        yield pair


def _unique(names: dict[Id, str]) -> dict[Id, str]:
    times = Counter(names.values())
    return {key: name if times[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def _id(record: Any, key: str, where: str) -> Id:
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise RunError(f"{where}: {key} must be a whole number or a text, found {value!r:.60}.")
    return value


def _unused_id(record: Any, used: Container[Id], where: str) -> Id:
    identity = _id(record, "id", where)
    if identity in used:
        raise RunError(f"{where}.id {identity!r} occurs twice; ids must be unique.")
    return identity


def _whole(record: Record, key: str, where: str) -> int:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RunError(f"{where}: {key} must be a whole number from 1 on, found {value!r:.60}.")
    return value


def _sortable(identity: Id) -> tuple[bool, int, str]:
    return (isinstance(identity, str), identity if isinstance(identity, int) else 0, str(identity))


def sorted_pairs(pairs: set[tuple[Id, Id]]) -> list[tuple[Id, Id]]:
    """Pairs by picture or video, then category; numbers before texts."""
    return sorted(pairs, key=lambda pair: (_sortable(pair[0]), _sortable(pair[1])))
