"""Samples as one JSON file in COCO's layout of instances, with what they ask for as expressions.

The layout is that of https://cocodataset.org/#format-data: masks as compressed run-length codes,
boxes as x, y, width, height. Two things are added that other readers pass over: an image's
``neg_category_ids``, as LVIS has them, and the list ``expressions``, a record a prompt that names
one thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from t4spp import __version__
from t4spp.components import Source
from t4spp.errors import RunError
from t4spp.types import BACKGROUND, BoolMask, Sample

Code = tuple[int, int, str]
"""Height, width and COCO's compressed run lengths, column by column."""
PICTURE_SUFFIX = ".png"


@dataclass(kw_only=True)
class _Picture:
    """One image record, and what it holds so far."""

    number: int
    name: str
    size: tuple[int, int]
    key: str
    annotations: dict[tuple[str, Code, int, bool], int] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    absent: dict[str, None] = field(default_factory=dict)


class CocoWriter:
    """Gathers samples into one COCO file; each (picture, label, mask) is one annotation.

    Attributes:
        counters: what was written and what was left out, by reason.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.counters: Counter[str] = Counter(
            images=0, annotations=0, crowd_annotations=0, categories=0, expressions=0
        )
        self._pictures: dict[str, _Picture] = {}
        self._names: set[str] = set()
        self._categories: dict[str, int] = {}
        self._annotations: list[dict[str, Any]] = []
        self._expressions: list[dict[str, Any]] = []

    def add(
        self, sample: Sample, save_picture: Callable[[str, Sample], object] | None = None
    ) -> None:
        """Add a sample; a dialogue has no mask and is left out, counted.

        Args:
            sample: any sample; its picture is read only by ``save_picture``.
            save_picture: given a file name and the sample, once a picture.

        Raises:
            RunError: two samples of one picture have different sizes.
        """
        if sample.kind == "dialogue":
            self.counters["dialogues_left_out"] += 1
            return
        picture = self._picture(sample, save_picture)
        labels = [label for label in sample.labels if label != BACKGROUND]
        shown = dict.fromkeys(target.label for target in sample.targets)
        for label in dict.fromkeys([*labels, *shown]):
            self._category(label)
        written: list[int] = []
        repeats: Counter[tuple[str, Code]] = Counter()
        for target in sample.targets:
            if not target.mask.any():
                self.counters["targets_without_pixel"] += 1
                continue
            code = encode(target.mask)
            repeats[target.label, code] += 1
            key = (target.label, code, repeats[target.label, code], False)
            written.append(self._annotation(picture, key))
            picture.labels.add(target.label)
        written += self._ignored(picture, sample, labels or list(shown))
        for label in labels:
            if label not in shown:
                picture.absent[label] = None
        if sample.kind == "partial" and len(labels) <= 1:
            self._express(picture, sample, written)
        else:
            self.counters["prompts_for_several_labels"] += 1

    def content(self, *, description: str, sources: Sequence[Source] = ()) -> dict[str, Any]:
        """The file's content, for ``json.dump``."""
        self.counters["categories"] = len(self._categories)
        return {
            "info": {"description": description, "contributor": f"t4spp {__version__}"},
            "licenses": [
                {"id": number, "name": source.licence, "url": source.url}
                for number, source in enumerate(sources, start=1)
            ],
            "images": [self._image(picture) for picture in self._pictures.values()],
            "categories": [
                {"id": number, "name": name} for name, number in self._categories.items()
            ],
            "annotations": self._annotations,
            "expressions": self._expressions,
        }

    def _picture(
        self, sample: Sample, save_picture: Callable[[str, Sample], object] | None
    ) -> _Picture:
        key = sample.image_id or sample.id
        picture = self._pictures.get(key)
        if picture is None:
            name = self._file_name(sample, key, own=save_picture is None)
            picture = _Picture(number=len(self._pictures) + 1, name=name, size=sample.size, key=key)
            self._pictures[key] = picture
            self.counters["images"] += 1
            if save_picture is not None:
                save_picture(name, sample)
        if picture.size != tuple(sample.size):
            raise RunError(
                f"the picture {key!r} is {picture.size[0]} x {picture.size[1]} pixels in one "
                f"sample and {sample.size[0]} x {sample.size[1]} in {sample.id!r}: COCO's layout "
                "has one size a picture. Give the recipe's windows an image_id each."
            )
        return picture

    def _file_name(self, sample: Sample, key: str, *, own: bool) -> str:
        """The picture file's own name where the sample tells it; else one made of its id."""
        path = getattr(sample.load_image, "path", None)
        if own and isinstance(path, PurePath) and path.name not in self._names:
            name = path.name
        else:
            plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in key)[:100]
            name = plain + PICTURE_SUFFIX
            number = 1
            while name in self._names:
                number += 1
                name = f"{plain}-{number}{PICTURE_SUFFIX}"
        self._names.add(name)
        return name

    def _category(self, label: str) -> int:
        return self._categories.setdefault(label, len(self._categories) + 1)

    def _annotation(self, picture: _Picture, key: tuple[str, Code, int, bool]) -> int:
        number = picture.annotations.get(key)
        if number is not None:
            return number
        label, code, _, crowd = key
        number = len(self._annotations) + 1
        picture.annotations[key] = number
        self.counters["crowd_annotations" if crowd else "annotations"] += 1
        area, box = _measured(code)
        self._annotations.append(
            {
                "id": number,
                "image_id": picture.number,
                "category_id": self._category(label),
                "segmentation": {"size": list(code[:2]), "counts": code[2]},
                "area": area,
                "bbox": box,
                "iscrowd": int(crowd),
            }
        )
        return number

    def _ignored(self, picture: _Picture, sample: Sample, labels: Sequence[str]) -> list[int]:
        """Crowd annotations of ``ignore``, one a label that the sample is scored on."""
        if sample.ignore is None or not sample.ignore.any():
            return []
        if any((target.mask & sample.ignore).any() for target in sample.targets):
            self.counters["samples_with_targets_under_ignore"] += 1
        code = encode(sample.ignore)
        return [self._annotation(picture, (label, code, 1, True)) for label in labels]

    def _express(self, picture: _Picture, sample: Sample, written: Sequence[int]) -> None:
        self.counters["expressions"] += 1
        record: dict[str, Any] = {
            "id": sample.id,
            "image_id": picture.number,
            "expression": sample.labels[0] if sample.labels else sample.prompt,
            "annotation_ids": list(written),
        }
        if not sample.targets:
            self.counters["expressions_without_target"] += 1
            record["no_target"] = True
        if sample.tags:
            record["tags"] = list(sample.tags)
        self._expressions.append(record)

    def _image(self, picture: _Picture) -> dict[str, Any]:
        record: dict[str, Any] = {
            "id": picture.number,
            "file_name": picture.name,
            "height": picture.size[0],
            "width": picture.size[1],
            "source_id": picture.key,
        }
        absent = [label for label in picture.absent if label not in picture.labels]
        if absent:
            record["neg_category_ids"] = [self._categories[label] for label in absent]
        return record


def encode(mask: BoolMask) -> Code:
    """bool[H, W] as COCO's compressed run-length code."""
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return mask.shape[0], mask.shape[1], code["counts"].decode("ascii")


def _measured(code: Code) -> tuple[int, list[float]]:
    """Area and box (x, y, width, height) of a code."""
    from pycocotools import mask as coco_mask

    written = {"size": list(code[:2]), "counts": code[2].encode("ascii")}
    return int(coco_mask.area(written)), coco_mask.toBbox(written).tolist()
