"""Files of referring expressions about COCO pictures: three JSON layouts, one result.

See docs/recipes.md for the layouts: this project's own, gRefCOCO's, and one with boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RecipeError
from t4spp_recipes.natural.coco_annotations import CocoFile, Id, Instance, read_json

MATCH_IOU = 0.5
"""An expression's box stands for the annotation that overlaps it most, at least this much."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One phrase about one picture. No instances: nothing in the picture matches it."""

    id: str
    image_id: Id
    text: str
    instances: tuple[Instance, ...]
    split: str | None
    tags: tuple[str, ...]


def read_expressions(
    path: Path, coco: CocoFile, sanitise: Callable[[str], tuple[str, bool]]
) -> tuple[tuple[Expression, ...], Counter[str]]:
    """Read a file of expressions and tie them to the annotations of ``coco``.

    Args:
        path: JSON, a list of entries or ``{"expressions": [...]}``.
        coco: the annotation file that the expressions speak about.
        sanitise: text -> (label, changed); the shared rule for free text.

    Returns:
        The expressions in the file's order, and counters of what was left out or changed.

    Raises:
        RecipeError: the file is missing, malformed, or names nothing in ``coco``.
    """
    content = read_json(path, "the expressions file")
    entries = content.get("expressions") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise RecipeError(
            f"{path}: expected a list of expressions, or an object with the list "
            f"'expressions', found a {type(content).__name__}. docs/recipes.md has the layouts."
        )
    index = _Annotations(coco)
    counters: Counter[str] = Counter()
    expressions: list[Expression] = []
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict):
            raise RecipeError(f"{where} must be an object, found {entry!r:.80}.")
        found = index.resolve(entry, where)
        if isinstance(found, str):
            counters[found] += 1
            continue
        image_id, instances = found
        for text_id, text in _texts(entry, number, where):
            if not text.strip():
                counters["expressions_empty"] += 1
                continue
            label, changed = sanitise(text)
            counters["labels_sanitised"] += int(changed)
            expressions.append(
                Expression(
                    id=f"{image_id}-{text_id}",
                    image_id=image_id,
                    text=label,
                    instances=instances,
                    split=str(entry["split"]) if entry.get("split") else None,
                    tags=tuple(map(str, entry.get("tags") or ())),
                )
            )
    if not expressions:
        raise RecipeError(
            f"{path}: none of its {len(entries)} entries speaks about a picture or annotation of "
            f"{coco.path} ({dict(counters)}). Do the two files belong together?"
        )
    repeated = [
        name for name, times in Counter(item.id for item in expressions).items() if times > 1
    ]
    if repeated:
        raise RecipeError(
            f"{path}: the id {repeated[0]!r} occurs twice (and {len(repeated) - 1} more do); "
            "give every expression its own 'id', or none."
        )
    return tuple(expressions), +counters


def _texts(entry: dict[str, Any], number: int, where: str) -> Iterator[tuple[str, str]]:
    """(id, phrase) of an entry: its one expression, or each of its sentences."""
    sentences = entry.get("sentences")
    if isinstance(sentences, list):
        for position, sentence in enumerate(sentences):
            text = sentence.get("sent") if isinstance(sentence, dict) else sentence
            if not isinstance(text, str):
                raise RecipeError(f"{where}.sentences[{position}] has no text in 'sent'.")
            own = sentence.get("sent_id") if isinstance(sentence, dict) else None
            yield (f"s{own}" if own is not None else f"{number}.{position}"), text
        return
    text = entry.get("expression", entry.get("normal_caption"))
    if not isinstance(text, str):
        raise RecipeError(
            f"{where} has no phrase: one of 'expression', 'sentences' and 'normal_caption' is "
            f"needed, it has {', '.join(map(str, entry)) or 'nothing'}."
        )
    yield str(entry.get("id", number)), text


class _Annotations:
    """Finds the annotations that an entry means."""

    def __init__(self, coco: CocoFile) -> None:
        self._coco = coco
        self._by_id = {item.id: item for group in coco.instances.values() for item in group}
        # "COCO_val2014_000000000139.jpg" and "val2017/000000000139.jpg" name one picture.
        self._by_name = {_bare_name(image.name): key for key, image in coco.images.items()}

    def resolve(self, entry: dict[str, Any], where: str) -> tuple[Id, tuple[Instance, ...]] | str:
        """(image id, instances), or the counter of why the entry is left out."""
        # RefCOCOs' annotation_id is its own key, not COCO's: its box decides.
        ids = None if "solution" in entry else _annotation_ids(entry)
        box = entry.get("box", entry.get("solution"))
        categories = entry.get("categories")
        empty = bool(entry.get("no_target")) or (
            isinstance(categories, dict) and bool(categories.get("empty_case"))
        )
        if ids is None and not box and not empty and "box" not in entry and "solution" not in entry:
            raise RecipeError(
                f"{where} says neither 'annotation_ids' (or 'ann_id'), nor a 'box', nor "
                "'no_target': true. What does it refer to?"
            )
        image_id = self._image_id(entry, ids or [])
        if image_id is None:
            return "expressions_without_image"
        if empty or (not ids and not box):
            return image_id, ()
        if ids:
            if any(number not in self._by_id for number in ids):
                return "expressions_without_annotation"
            instances = tuple(self._by_id[number] for number in ids)
            other = [item.id for item in instances if item.image_id != image_id]
            if other:
                raise RecipeError(
                    f"{where} is about image {image_id!r}, but its annotation {other[0]!r} lies "
                    f"in image {self._by_id[other[0]].image_id!r}. Mend the entry."
                )
            return image_id, instances
        best = self._by_box(image_id, box, where)
        return (image_id, (best,)) if best else "expressions_without_annotation"

    def _image_id(self, entry: dict[str, Any], ids: Iterable[Id]) -> Id | None:
        stated = entry.get("image_id")
        if stated is not None:
            return stated if stated in self._coco.images else None
        name = entry.get("image", entry.get("file_name"))
        if isinstance(name, str):
            return self._by_name.get(_bare_name(name))
        known = [self._by_id[number].image_id for number in ids if number in self._by_id]
        return known[0] if known else None

    def _by_box(self, image_id: Id, box: Any, where: str) -> Instance | None:
        if not isinstance(box, list) or len(box) != 4:
            raise RecipeError(f"{where} has the box {box!r:.80}; it must be [x0, y0, x1, y1].")
        scored = [
            (_box_iou((box[0], box[1], box[2] - box[0], box[3] - box[1]), item.box), -position)
            for position, item in enumerate(self._coco.instances.get(image_id, ()))
        ]
        if not scored or max(scored)[0] < MATCH_IOU:
            return None
        return self._coco.instances[image_id][-max(scored)[1]]


def _annotation_ids(entry: dict[str, Any]) -> list[Id] | None:
    for key in ("annotation_ids", "annotation_id", "ann_id"):
        if key in entry:
            value = entry[key]
            listed = value if isinstance(value, list) else [value]
            # gRefCOCO marks "no target" with -1 or null.
            return [number for number in listed if number is not None and number != -1]
    return None


def _bare_name(name: str) -> str:
    stem = Path(name).stem
    return stem[-12:] if stem[-12:].isdigit() and len(stem) >= 12 else stem


def _box_iou(
    first: tuple[float, float, float, float], second: tuple[float, float, float, float]
) -> float:
    """IoU of two boxes (x, y, width, height)."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / (first[2] * first[3] + second[2] * second[3] - inter)
