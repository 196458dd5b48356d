"""RRSIS-D's ``instances.json``: nearly COCO's.

An annotation's category stands under ``categories_id``, its box is (x0, y0, x1, y1), its
segmentation a list of run-length codes, and a picture may lack its size; so COCO's reader would
refuse the file. What counts here is the picture's name and the codes, which state the size.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RecipeError
from t4spp_recipes.natural.coco_annotations import Id, Instance, read_json


@dataclass(frozen=True, kw_only=True)
class RrsisDFile:
    """The file in memory.

    Attributes:
        names: pictures' file names by id.
        instances: annotations by id; each has a run-length code.
        counters: annotations left out, by reason.
    """

    names: dict[Id, str]
    instances: dict[Id, Instance]
    counters: Counter[str]


def read_instances(path: Path) -> RrsisDFile:
    """Read and check the file.

    Raises:
        RecipeError: it is missing, malformed, or an id occurs twice.
    """
    content = read_json(path, "the annotation file")
    parts = {key: content.get(key) if isinstance(content, dict) else None for key in _PARTS}
    for part, value in parts.items():
        if not isinstance(value, list):
            raise RecipeError(
                f"{path}: {part!r} must be a list, found a {type(value).__name__}. Is it RRSIS-D's "
                "instances.json?"
            )
    names: dict[Id, str] = {}
    for number, record in enumerate(parts["images"] or ()):
        where = f"{path}: images[{number}]"
        names[_new_id(record, names, where)] = _named(record, "file_name", str, where)
    instances: dict[Id, Instance] = {}
    counters: Counter[str] = Counter()
    for number, record in enumerate(parts["annotations"] or ()):
        where = f"{path}: annotations[{number}]"
        key = _new_id(record, instances, where)
        codes = record.get("segmentation")
        if isinstance(codes, dict):
            codes = [codes]
        if not isinstance(codes, list) or not codes or not all(map(_is_code, codes)):
            counters["annotations_without_code"] += 1
            continue
        instances[key] = Instance(
            id=key,
            image_id=_named(record, "image_id", (int, str), where),
            category="",
            crowd=False,
            rle=codes[0],
            more_rles=tuple(codes[1:]),
        )
    return RrsisDFile(names=names, instances=instances, counters=counters)


_PARTS = ("images", "annotations")


def _is_code(code: Any) -> bool:
    return (
        isinstance(code, dict)
        and isinstance(code.get("counts"), list | str)
        and isinstance(code.get("size"), list)
        and len(code["size"]) == 2
        and all(isinstance(side, int) and side > 0 for side in code["size"])
    )


def _named(record: Any, key: str, kind: Any, where: str) -> Any:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecipeError(f"{where}.{key} is missing or of the wrong kind: {value!r:.80}.")
    return value


def _new_id(record: Any, seen: Any, where: str) -> Id:
    key: Id = _named(record, "id", (int, str), where)
    if key in seen:
        raise RecipeError(f"{where}.id {key!r} occurs twice; ids must be unique.")
    return key
