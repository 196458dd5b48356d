"""Folders of pictures and instance-id masks: ``instance-folder``.

For example Pascal VOC's SegmentationObject (void 255; Everingham et al. 2010) and Penn-Fudan
(pedestrians; Wang et al. 2007). Void rule: void pixels are the samples' ``ignore``.
Docs: docs/recipes.md.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.pictures import PICTURE_SUFFIXES
from t4spp.types import Image, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.configs import InstanceFolderConfig
from t4spp_recipes.natural.mask_index import MaskRecord, index_masks
from t4spp_recipes.natural.pictures import (
    MissingPicture,
    PictureFile,
    read_class_map,
    require_folder,
)
from t4spp_recipes.natural.sources import INSTANCE_SOURCES
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split, val_keys

ALL = "all"
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one sample is made of. ``instance``: the id asked for; None: every instance."""

    record: MaskRecord
    id: str
    instance: int | None


@dataclass(frozen=True, kw_only=True)
class _SampleMaker:
    """Turns entries into samples; picklable."""

    config: InstanceFolderConfig

    def __call__(self, entry: _Entry) -> Sample:
        record, config = entry.record, self.config
        ids = read_class_map(record.mask)
        if ids.shape != record.size:
            raise RecipeError(
                f"the mask {record.mask} changed while it was in use: it was "
                f"{record.size[0]} x {record.size[1]} pixels. Start again."
            )
        wanted = instances_of(record, config) if entry.instance is None else [entry.instance]
        void = [number for number in config.void if number in record.counts]
        return Sample(
            id=entry.id,
            size=record.size,
            prompt=config.label,
            targets=tuple(Target(label=config.label, mask=ids == number) for number in wanted),
            load_image=self.picture(record),
            labels=(config.label,),
            kind="partial",
            ignore=np.isin(ids, void) if void else None,
            image_id=record.stem,
        )

    def picture(self, record: MaskRecord) -> Callable[[], Image] | None:
        """What reads the picture; None without a folder of pictures."""
        if record.picture is not None:
            return PictureFile(path=record.picture, size=record.size, masks=str(record.mask))
        if self.config.images is None:
            return None
        return MissingPicture(name=f"{record.stem} (.jpg, .png, ...)", folder=self.config.images)


def instances_of(record: MaskRecord, config: InstanceFolderConfig) -> list[int]:
    """The ids in a mask that are instances of enough pixels, in their order."""
    return [
        number
        for number, pixels in sorted(record.counts.items())
        if number not in (*config.background, *config.void) and pixels >= config.min_pixels
    ]


class InstanceFolder(Recipe):
    """Segment one instance, or all of a picture's, of pictures with instance-id masks."""

    sources: ClassVar[tuple[Source, ...]] = INSTANCE_SOURCES

    def __init__(self, config: InstanceFolderConfig) -> None:
        """Find the folders; masks are scanned when a split is first opened.

        Raises:
            RecipeError: a folder is missing.
        """
        self.config = config
        advice = "instance-folder needs a folder of masks whose pixels are instance ids."
        self._masks = require_folder(config.masks, "instance-folder: masks", advice)
        self._images = None
        if config.images is not None:
            advice = "Name the pictures' folder, or leave images out where no pixels are needed."
            self._images = require_folder(config.images, "instance-folder: images", advice)
        self._records: tuple[MaskRecord, ...] | None = None
        self._samples: dict[str, LazySamples[_Entry]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``all``, and with ``val_share`` its parts train and val."""
        return (ALL, "train", "val") if self.config.val_share else (ALL,)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, by the masks' names; scans the masks at first.

        Raises:
            RecipeError: unknown split; a mask is damaged or of another size than its picture.
        """
        if split not in self.splits:
            raise unknown_split("instance-folder", split, self.splits)
        if split not in self._samples:
            records = self._scan()
            if split != ALL:
                stems = [record.stem for record in records]
                held_out = val_keys(stems, self.config.val_share, self.config.seed)
                records = tuple(r for r in records if (r.stem in held_out) == (split == "val"))
            entries = [entry for record in records for entry in self._entries(record)]
            self._samples[split] = LazySamples(entries, _SampleMaker(config=self.config))
        return self._samples[split]

    def counters(self) -> Mapping[str, int]:
        """What was left out of the masks that were scanned."""
        counted: Counter[str] = Counter()
        records = self._records or ()
        for record in records:
            left = sum(1 for number in record.counts if number not in self._not_instances)
            counted["instances_below_min_pixels"] += left - len(instances_of(record, self.config))
            counted["masks_without_picture"] += record.picture is None and self._images is not None
        if records and self._images is not None:
            found = {record.picture for record in records}
            spare = [p for p in _files(self._images, PICTURE_SUFFIXES) if p not in found]
            masks = {record.mask for record in records}
            counted["pictures_without_mask"] = sum(path not in masks for path in spare)
        return dict(+counted)

    def verify(self) -> list[str]:
        """Read every mask and decode every picture."""
        try:
            records = self._scan()
        except RecipeError as error:
            return [str(error)]
        make = _SampleMaker(config=self.config)
        messages = []
        for record in with_progress(records, "reading all", "picture"):
            load = make.picture(record)
            try:
                if load is not None:
                    load()
            except RecipeError as error:
                messages.append(str(error))
        return messages

    @property
    def _not_instances(self) -> tuple[int, ...]:
        return (*self.config.background, *self.config.void)

    def _entries(self, record: MaskRecord) -> list[_Entry]:
        numbers = instances_of(record, self.config)
        if self.config.prompts == "together":
            return [_Entry(record=record, id=record.stem, instance=None)] if numbers else []
        return [
            _Entry(record=record, id=f"{record.stem}-{number}", instance=number)
            for number in numbers
        ]

    def _scan(self) -> tuple[MaskRecord, ...]:
        if self._records is None:
            suffix = self.config.mask_suffix
            self._records = tuple(
                dataclasses.replace(record, stem=record.stem.removesuffix(suffix))
                for record in index_masks(self._pairs(), self.config.cache_dir)
            )
        return self._records

    def _pairs(self) -> list[tuple[Path, Path | None]]:
        """(mask, picture or None), by name."""
        suffix = self.config.mask_suffix
        masks = [path for path in _files(self._masks, MASK_SUFFIXES) if path.stem.endswith(suffix)]
        if not masks:
            raise RecipeError(
                f"instance-folder: {self._masks} holds no masks (*{suffix}"
                f"{{{', '.join(MASK_SUFFIXES)}}}). Is it the right folder, and is it unpacked?"
            )
        pictures: dict[str, Path] = {}
        if self._images is not None:
            files = _files(self._images, PICTURE_SUFFIXES)
            files.sort(key=lambda path: PICTURE_SUFFIXES.index(path.suffix.lower()), reverse=True)
            pictures = {path.stem: path for path in files}
        return [(mask, pictures.get(mask.stem.removesuffix(suffix))) for mask in masks]


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
