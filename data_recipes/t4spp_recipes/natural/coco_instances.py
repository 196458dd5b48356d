"""COCO instances: ``coco-instances``.

Annotations: COCO's JSON (polygons, run-length codes, crowd regions), also LVIS's. Pictures: any
folder that holds them under either COCO naming; none is needed for what needs no pixels.
Void rule: crowd regions are not scored (``crowd``). Docs: docs/recipes.md.
Paper: Lin et al., Microsoft COCO: Common Objects in Context, 2014.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.types import BoolMask, Image, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.coco_annotations import CocoFile, Id, ImageRecord, Instance, read_coco
from t4spp_recipes.natural.configs import CocoInstancesConfig
from t4spp_recipes.natural.expressions import Expression, read_expressions
from t4spp_recipes.natural.pictures import (
    MissingPicture,
    PictureFile,
    PictureFolder,
    require_folder,
)
from t4spp_recipes.natural.sources import COCO_SOURCES
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import absent_pairs, unknown_split, val_keys

ALL = "all"
_SPLIT_IN_NAME = re.compile(r"(?<![a-z])(train|val|test)(?![a-z])", re.IGNORECASE)
_ADVICE = (
    "Give the folder of COCO pictures (https://cocodataset.org/#download; annotations CC BY 4.0, "
    "pictures under their Flickr licences), or leave 'images' out where no pixels are needed."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """What one sample is made of; masks stay polygons until the sample is indexed."""

    id: str
    image: ImageRecord
    label: str
    instances: tuple[Instance, ...]
    crowds: tuple[Instance, ...]
    tags: tuple[str, ...] = ()


class _SampleMaker:
    """Turns entries into samples; picklable."""

    def __init__(self, where: str, pictures: PictureFolder | None) -> None:
        self.where = where
        self.pictures = pictures

    def __call__(self, entry: _Entry) -> Sample:
        size = entry.image.size
        targets = tuple(
            Target(label=entry.label, mask=instance.mask(size, self.where))
            for instance in entry.instances
        )
        return Sample(
            id=entry.id,
            size=size,
            prompt=entry.label,
            targets=targets,
            load_image=self.picture(entry.image),
            labels=(entry.label,),
            kind="partial",
            ignore=self._ignore(entry, targets),
            image_id=str(entry.image.id),
            tags=entry.tags,
        )

    def picture(self, image: ImageRecord) -> Callable[[], Image] | None:
        """What reads the picture; None without a folder of pictures."""
        if self.pictures is None:
            return None
        path = self.pictures.find(image.name)
        if path is None:
            return MissingPicture(
                name=image.name,
                folder=self.pictures.root,
                advice=", or set missing_pictures=skip to leave out, and count, such images",
            )
        return PictureFile(path=path, size=image.size, masks=self.where)

    def _ignore(self, entry: _Entry, targets: Sequence[Target]) -> BoolMask | None:
        """The crowd's pixels, without those that belong to a target for certain."""
        if not entry.crowds:
            return None
        ignore = np.zeros(entry.image.size, dtype=np.bool_)
        for crowd in entry.crowds:
            ignore |= crowd.mask(entry.image.size, self.where)
        for target in targets:
            ignore &= ~target.mask
        return ignore if ignore.any() else None


class CocoInstances(Recipe):
    """Segment an instance, a category's instances, or what an expression refers to."""

    sources: ClassVar[tuple[Source, ...]] = COCO_SOURCES

    def __init__(self, config: CocoInstancesConfig) -> None:
        """Read the annotation files (not the pictures).

        Raises:
            RecipeError: a file or folder is missing or malformed.
        """
        self.config = config
        given = config.annotations
        paths = given if isinstance(given, dict) else {ALL: given}
        self._files = {name: read_coco(path) for name, path in paths.items()}
        self._pictures = {name: self._picture_folder(name) for name in self._files}
        self._expressions: tuple[Expression, ...] = ()
        self._expression_counters: Counter[str] = Counter()
        if config.expressions is not None:
            from t4spp.schemes.labels import sanitise_label

            self._expressions, self._expression_counters = read_expressions(
                config.expressions.expanduser(), self._files[ALL], sanitise_label
            )
        self._splits: dict[str, tuple[LazySamples[_Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``all`` and, where they are known, parts of it; or the names in ``annotations``.

        Parts: train and val of ``val_share``; else the expressions' own splits; else the one split
        that the annotation file's name states (``instances_val2014.json``: val).
        """
        if isinstance(self.config.annotations, dict):
            return tuple(self.config.annotations)
        if self.config.val_share:
            return (ALL, "train", "val")
        if stated := self._stated_splits():
            return (ALL, *(name for name in stated if name != ALL))
        named = set(_SPLIT_IN_NAME.findall(self.config.annotations.name.lower()))
        return (ALL, *named) if len(named) == 1 else (ALL,)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, in the annotation file's order of images.

        Raises:
            RecipeError: unknown split.
        """
        if split not in self.splits:
            raise unknown_split("coco-instances", split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out, ignored or changed, over the files and the splits opened so far.

        Of splits that overlap (``all`` and its parts), the largest count stands.
        """
        total: Counter[str] = Counter()
        for file in self._files.values():
            total.update(file.counters)
        total.update(self._expression_counters)
        parts: Counter[str] = Counter()
        for name, (_, counted) in self._splits.items():
            if name != ALL:
                parts.update(counted)
        whole = self._splits.get(ALL, (None, Counter()))[1]
        return dict(total + (parts | whole))

    def verify(self) -> list[str]:
        """Decode every mask and, where a folder is given, every picture."""
        messages: list[str] = []
        for name, file in self._files.items():
            make = _SampleMaker(str(file.path), self._pictures[name])
            images = tuple(file.images.values())
            for image in with_progress(images, f"reading {name}", "picture"):
                for instance in file.instances.get(image.id, ()):
                    messages += _complaint(partial(instance.mask, image.size, make.where))
                load = make.picture(image)
                if load is not None:
                    messages += _complaint(load)
        return messages

    def _stated_splits(self) -> tuple[str, ...]:
        """The splits that the expressions' file names, in its order."""
        return tuple(dict.fromkeys(item.split for item in self._expressions if item.split))

    def _picture_folder(self, split: str) -> PictureFolder | None:
        images = self.config.images
        if isinstance(images, dict):
            if split not in images:
                raise RecipeError(
                    f"coco-instances: 'images' names the splits {', '.join(images)}, but "
                    f"'annotations' has {split!r}. Give both the same names, or one folder for all."
                )
            images = images[split]
        if images is None:
            return None
        return PictureFolder(require_folder(images, "coco-instances: 'images'", _ADVICE))

    def _build(self, split: str) -> tuple[LazySamples[_Entry], Counter[str]]:
        source = split if split in self._files else ALL
        file, pictures = self._files[source], self._pictures[source]
        make = _SampleMaker(str(file.path), pictures)
        counters: Counter[str] = Counter()
        chosen = self._image_ids(split, file)
        if self.config.missing_pictures == "skip" and pictures is not None:
            present = [key for key in chosen if pictures.find(file.images[key].name) is not None]
            counters["images_without_picture"] = len(chosen) - len(present)
            chosen = present
            if not chosen:
                raise RecipeError(
                    f"coco-instances: none of the {counters['images_without_picture']} pictures "
                    f"of {file.path} is under {pictures.root}. {_ADVICE}"
                )
        if self._expressions:
            entries = self._expression_entries(split, file, chosen, counters)
        else:
            entries = self._category_entries(file, chosen, counters)
        return LazySamples(entries, make), +counters

    def _image_ids(self, split: str, file: CocoFile) -> list[Id]:
        keys = list(file.images)
        if not self.config.val_share or split in self._files:
            return keys
        held_out = val_keys(keys, self.config.val_share, self.config.seed)
        return [key for key in keys if (key in held_out) == (split == "val")]

    def _parted(
        self, instances: Sequence[Instance], counters: Counter[str]
    ) -> tuple[list[Instance], list[Instance]]:
        """(targets, crowd regions to ignore) by the rule ``crowd``."""
        if self.config.crowd == "keep":
            counters["crowd_kept"] += sum(item.crowd for item in instances)
            return list(instances), []
        things = [item for item in instances if not item.crowd]
        crowds = [item for item in instances if item.crowd]
        name = "crowd_skipped" if self.config.crowd == "skip" else "crowd_ignored"
        counters[name] += len(crowds)
        return things, crowds if self.config.crowd == "ignore" else []

    def _category_entries(
        self, file: CocoFile, chosen: Sequence[Id], counters: Counter[str]
    ) -> list[_Entry]:
        grouped: dict[Id, list[_Entry]] = {}
        candidates: dict[Id, list[str]] = {}
        used = dict.fromkeys(
            item.category for key in chosen for item in file.instances.get(key, ())
        )
        for key in chosen:
            image, instances = file.images[key], file.instances.get(key, ())
            things, crowds = self._parted(instances, counters)
            grouped[key] = list(self._image_entries(image, things, crowds))
            shown = {item.category for item in instances}
            pool = used if image.negatives is None else image.negatives
            candidates[key] = [name for name in pool if name not in shown]
        share = self.config.no_target_share
        if share:
            present = sum(map(len, grouped.values()))
            absent, lacking = absent_pairs(candidates, present, share, self.config.seed)
            counters["no_target_prompts_lacking"] = lacking
            for key, names in absent.items():
                counters["no_target_prompts"] += len(names)
                grouped[key] += [
                    _Entry(
                        id=f"{key}-no-{name}",
                        image=file.images[key],
                        label=name,
                        instances=(),
                        crowds=(),
                    )
                    for name in names
                ]
        return [entry for entries in grouped.values() for entry in entries]

    def _image_entries(
        self, image: ImageRecord, things: Sequence[Instance], crowds: Sequence[Instance]
    ) -> list[_Entry]:
        def crowd_of(category: str) -> tuple[Instance, ...]:
            return tuple(item for item in crowds if item.category == category)

        if self.config.prompts == "per-instance":
            return [
                _Entry(
                    id=f"{image.id}-{item.id}",
                    image=image,
                    label=item.category,
                    instances=(item,),
                    crowds=crowd_of(item.category),
                )
                for item in things
            ]
        return [
            _Entry(
                id=f"{image.id}-{category}",
                image=image,
                label=category,
                instances=tuple(item for item in things if item.category == category),
                crowds=crowd_of(category),
            )
            for category in dict.fromkeys(item.category for item in things)
        ]

    def _expression_entries(
        self, split: str, file: CocoFile, chosen: Sequence[Id], counters: Counter[str]
    ) -> list[_Entry]:
        by_image: dict[Id, list[Expression]] = {key: [] for key in chosen}
        stated = not self.config.val_share and split != ALL and split in self._stated_splits()
        for item in self._expressions:
            if item.image_id in by_image and (not stated or item.split == split):
                by_image[item.image_id].append(item)
        entries: list[_Entry] = []
        for key, group in by_image.items():
            for item in group:
                things, crowds = self._parted(item.instances, counters)
                if item.instances and not things:
                    counters["expressions_of_crowds_only"] += 1
                    continue
                counters["no_target_prompts"] += not item.instances
                entries.append(
                    _Entry(
                        id=item.id,
                        image=file.images[key],
                        label=item.text,
                        instances=tuple(things),
                        crowds=tuple(crowds),
                        tags=item.tags,
                    )
                )
        return entries


def _complaint(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except RecipeError as error:
        return [str(error)]
    return []
