"""COCO panoptic segmentation: ``coco-panoptic``.

Annotations: a JSON that lists the segments of each picture, and a PNG a picture whose colour is the
segment's number, red + 256 green + 65536 blue; 0 is unlabelled. Things are segments one by one,
stuff is one segment a category.
Void rule: unlabelled pixels are not scored, nor are crowd segments (``crowd``) in samples of their
category. Docs: docs/recipes.md. Paper: Kirillov et al., Panoptic Segmentation, 2019.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.types import BoolMask, Image, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.coco_annotations import Id, read_json
from t4spp_recipes.natural.panoptic_config import PANOPTIC_SOURCES, CocoPanopticConfig
from t4spp_recipes.natural.pictures import (
    MissingPicture,
    PictureFile,
    PictureFolder,
    require_folder,
)
from t4spp_recipes.natural.semantic.maps import ClassMap, read_packed_colours
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split

ALL = "all"
_ADVICE = "COCO's panoptic annotations are at https://cocodataset.org/#panoptic-2018 (CC BY 4.0)."


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One segment of the JSON.

    Attributes:
        id: red + 256 green + 65536 blue of its pixels.
        category: its name.
        crowd: whether it holds many objects of a thing.
        area: its pixels, as the JSON says.
    """

    id: int
    category: str
    crowd: bool
    area: int | None

    @property
    def packed(self) -> int:
        """Its colour as red << 16 | green << 8 | blue."""
        return (self.id & 0xFF) << 16 | (self.id & 0xFF00) | self.id >> 16


@dataclass(frozen=True, kw_only=True)
class _Picture:
    id: Id
    name: str
    size: tuple[int, int]
    mask: Path
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    id: str
    picture: _Picture
    labels: tuple[str, ...]
    segments: tuple[Segment, ...]
    crowds: tuple[Segment, ...]


class _SampleMaker:
    """Turns entries into samples; picklable."""

    def __init__(self, pictures: PictureFolder | None, every: bool) -> None:
        self.pictures = pictures
        self.every = every

    def __call__(self, entry: _Entry) -> Sample:
        colours = read_segments(entry.picture)
        targets = tuple(
            Target(label=segment.category, mask=colours == segment.packed)
            for segment in entry.segments
        )
        ignore: BoolMask = colours == 0
        for crowd in entry.crowds:
            ignore |= colours == crowd.packed
        return Sample(
            id=entry.id,
            size=entry.picture.size,
            prompt="|".join(entry.labels),
            targets=targets,
            load_image=self.picture(entry.picture),
            labels=entry.labels,
            kind="conditioned" if self.every else "partial",
            ignore=ignore if ignore.any() else None,
            image_id=str(entry.picture.id),
        )

    def picture(self, picture: _Picture) -> Callable[[], Image] | None:
        """What reads the picture; None without a folder of pictures."""
        if self.pictures is None:
            return None
        path = self.pictures.find(picture.name)
        if path is None:
            return MissingPicture(name=picture.name, folder=self.pictures.root)
        return PictureFile(path=path, size=picture.size, masks=str(picture.mask))


def read_segments(picture: _Picture) -> ClassMap:
    """int32[H, W] of packed colours; see :attr:`Segment.packed`.

    Raises:
        RecipeError: the PNG is missing, damaged, without colours, or of another size.
    """
    colours = read_packed_colours(picture.mask)
    if colours.shape != picture.size:
        raise RecipeError(
            f"{picture.mask} is {colours.shape[0]} x {colours.shape[1]} pixels (height x width), "
            f"the JSON says {picture.size[0]} x {picture.size[1]}. Fetch the PNGs that belong to "
            "the JSON."
        )
    return colours


class CocoPanoptic(Recipe):
    """Segment a category, a segment, or everything, of pictures with panoptic masks."""

    sources: ClassVar[tuple[Source, ...]] = PANOPTIC_SOURCES

    def __init__(self, config: CocoPanopticConfig) -> None:
        """Read the JSON (neither PNGs nor pictures).

        Raises:
            RecipeError: a file or folder is missing, or the JSON is malformed.
        """
        self.config = config
        self._counters: Counter[str] = Counter()
        masks = require_folder(config.masks, "coco-panoptic: 'masks'", _ADVICE)
        self._pictures = tuple(_read(config.annotations.expanduser(), masks, self._counters))
        folder = config.images
        self._folder = (
            None
            if folder is None
            else PictureFolder(require_folder(folder, "coco-panoptic: 'images'", _ADVICE))
        )
        every = config.prompts == "segment-all"
        self._make = _SampleMaker(self._folder, every)
        entries = [entry for picture in self._pictures for entry in self._entries(picture)]
        self._samples = LazySamples(entries, self._make)

    @property
    def splits(self) -> tuple[str, ...]:
        """``all``: a file is a split."""
        return (ALL,)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples, in the JSON's order of pictures.

        Raises:
            RecipeError: unknown split.
        """
        if split != ALL:
            raise unknown_split("coco-panoptic", split, self.splits)
        return self._samples

    def counters(self) -> Mapping[str, int]:
        """What was left out or ignored."""
        return dict(+self._counters)

    def verify(self) -> list[str]:
        """Count every segment's pixels in the PNGs, and decode the pictures that are given."""
        messages: list[str] = []
        for picture in with_progress(self._pictures, "reading masks", "picture"):
            try:
                messages += _differences(picture)
                load = self._make.picture(picture)
                if load is not None:
                    load()
            except RecipeError as error:
                messages.append(str(error))
        return messages

    def _entries(self, picture: _Picture) -> Iterator[_Entry]:
        kept = [item for item in picture.segments if not item.crowd or self.config.crowd == "keep"]
        crowds = [item for item in picture.segments if item.crowd]
        if crowds:
            verb = {"ignore": "ignored", "skip": "skipped", "keep": "kept"}[self.config.crowd]
            self._counters[f"crowd_{verb}"] += len(crowds)
        if self.config.crowd != "ignore":
            crowds = []
        categories = tuple(dict.fromkeys(item.category for item in kept))

        def of(chosen: Sequence[Segment], name: str, labels: tuple[str, ...]) -> _Entry:
            return _Entry(
                id=name,
                picture=picture,
                labels=labels,
                segments=tuple(chosen),
                crowds=tuple(item for item in crowds if item.category in labels),
            )

        if self.config.prompts == "segment-all":
            yield of(kept, str(picture.id), categories)
        elif self.config.prompts == "per-segment":
            for item in kept:
                yield of([item], f"{picture.id}-{item.id}", (item.category,))
        else:
            for category in categories:
                chosen = [item for item in kept if item.category == category]
                yield of(chosen, f"{picture.id}-{category}", (category,))


def _differences(picture: _Picture) -> list[str]:
    numbers, pixels = np.unique(read_segments(picture), return_counts=True)
    found = dict(zip(numbers.tolist(), pixels.tolist(), strict=True))
    found.pop(0, None)
    messages = []
    for segment in picture.segments:
        number = found.pop(segment.packed, 0)
        if number != (segment.area if segment.area is not None else number) or not number:
            messages.append(
                f"{picture.mask}: the segment {segment.id} ({segment.category}) has {number} "
                f"pixels, the JSON says {segment.area}. Fetch JSON and PNGs of one release."
            )
    if found:
        messages.append(
            f"{picture.mask}: {len(found)} colours ({sum(found.values())} pixels) are no segment "
            "of the JSON. Fetch JSON and PNGs of one release."
        )
    return messages


def _read(path: Path, masks: Path, counters: Counter[str]) -> Iterator[_Picture]:
    content = read_json(path, "the annotation file")
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        raise RecipeError(
            f"{path}: expected an object with the lists images, annotations and categories. "
            f"{_ADVICE}"
        )
    try:
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
        images = {item["id"]: item for item in content["images"]}
        for record in content["annotations"]:
            image = images.get(record["image_id"])
            if image is None:
                counters["annotations_without_image"] += 1
                continue
            yield _Picture(
                id=image["id"],
                name=str(image["file_name"]),
                size=(int(image["height"]), int(image["width"])),
                mask=masks / str(record["file_name"]),
                segments=tuple(_segment(item, names) for item in record["segments_info"]),
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"{path} is no panoptic JSON: {type(error).__name__} {error}. An annotation has "
            "image_id, file_name and segments_info; an instances file has none of the latter, and "
            "belongs to coco-instances."
        ) from error


def _segment(item: Any, names: Mapping[Any, str]) -> Segment:
    area = item.get("area")
    return Segment(
        id=int(item["id"]),
        category=names[item["category_id"]],
        crowd=bool(item.get("iscrowd", 0)),
        area=None if area is None else int(area),
    )
