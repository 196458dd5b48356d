"""Folders of pictures and class-id masks: ``semantic-folder``.

Presets: CamVid (480 x 360, 11 classes, void 11; Brostow et al. 2009), ADE20K (150 classes, void 0;
Zhou et al. 2017), Pascal VOC (20 classes and background, void 255; Everingham et al. 2010).
Void rule: void pixels are the samples' ``ignore``. Docs: docs/recipes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.pictures import PICTURE_SUFFIXES
from t4spp.types import Image, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.class_lists import ClassList
from t4spp_recipes.natural.configs import SemanticFolderConfig
from t4spp_recipes.natural.folder_layouts import ALL, SplitFolders, find_layout
from t4spp_recipes.natural.mask_index import MaskRecord, index_masks, pair_faults
from t4spp_recipes.natural.pictures import (
    MissingPicture,
    PictureFile,
    read_class_map,
)
from t4spp_recipes.natural.sources import SEMANTIC_SOURCES
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import absent_pairs, unknown_split, val_keys

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one sample is made of. ``name``: the class asked for; None: every class."""

    record: MaskRecord
    id: str
    name: str | None


@dataclass(frozen=True, kw_only=True)
class _SampleMaker:
    """Turns entries into samples; picklable."""

    classes: ClassList
    min_pixels: int
    kind: str
    images: Path | None

    def __call__(self, entry: _Entry) -> Sample:
        record = entry.record
        class_map = read_class_map(record.mask)
        if class_map.shape != record.size:
            raise RecipeError(
                f"the mask {record.mask} changed while it was in use: it was "
                f"{record.size[0]} x {record.size[1]} pixels. Start again."
            )
        names = self.classes.names if entry.name is None else (entry.name,)
        targets = []
        for name in names:
            ids = self.classes.ids[name]
            if num_pixels(record, ids) >= self.min_pixels:
                mask = class_map == ids[0] if len(ids) == 1 else np.isin(class_map, ids)
                targets.append(Target(label=name, mask=mask))
        void = [number for number in record.counts if number in self.classes.void]
        return Sample(
            id=entry.id,
            size=record.size,
            prompt="|".join(names),
            targets=tuple(targets),
            load_image=self.picture(record),
            labels=tuple(names),
            kind="open"
            if entry.name is None and self.kind == "open"
            else ("conditioned" if entry.name is None else "partial"),
            ignore=np.isin(class_map, void) if void else None,
            image_id=record.stem,
        )

    def picture(self, record: MaskRecord) -> Callable[[], Image] | None:
        """What reads the picture; None without a folder of pictures."""
        if record.picture is not None:
            return PictureFile(path=record.picture, size=record.size, masks=str(record.mask))
        if self.images is None:
            return None
        return MissingPicture(name=f"{record.stem} (.jpg, .png, ...)", folder=self.images)


def num_pixels(record: MaskRecord, ids: Sequence[int]) -> int:
    """Pixels of a mask that hold one of ``ids``."""
    return sum(record.counts.get(number, 0) for number in ids)


class SemanticFolder(Recipe):
    """Segment a class, or every class, of pictures with class-id masks."""

    sources: ClassVar[tuple[Source, ...]] = SEMANTIC_SOURCES

    def __init__(self, config: SemanticFolderConfig) -> None:
        """Find the folders; masks are scanned when a split is first opened.

        Raises:
            RecipeError: a folder or the class list is missing.
        """
        self.config = config
        self._layout = find_layout(config)
        if config.val_share and tuple(self._layout.splits) != (ALL,):
            raise RecipeError(
                "semantic-folder: val_share splits one folder, but the data have the splits "
                f"{', '.join(self._layout.splits)} already. Set val_share to 0."
            )
        self._records: dict[str, tuple[MaskRecord, ...]] = {}
        self._splits: dict[str, tuple[LazySamples[_Entry], Counter[str]]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that prompts use."""
        return self._layout.classes.names

    @property
    def splits(self) -> tuple[str, ...]:
        """The data's own splits; or ``all``, and with ``val_share`` its parts train and val."""
        found = tuple(self._layout.splits)
        return (*found, "train", "val") if self.config.val_share else found

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, by the masks' names; scans the masks at first.

        Raises:
            RecipeError: unknown split; a mask is damaged, of another size than its picture, or
                holds a class id beyond the list.
        """
        if split not in self.splits:
            raise unknown_split("semantic-folder", split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out, over the splits opened so far (``all`` and its parts count once)."""
        parts: Counter[str] = Counter()
        whole: Counter[str] = Counter()
        for name, (_, counted) in self._splits.items():
            if name == ALL:
                whole = counted
            elif name != "trainval":
                parts.update(counted)
            else:
                whole = whole | counted
        return dict(parts | whole)

    def verify(self) -> list[str]:
        """Read every mask and decode every picture, of every split."""
        messages: list[str] = []
        for split, folders in self._layout.splits.items():
            try:
                records = self._scan(split)
            except RecipeError as error:
                messages += self._faults(split) or [str(error)]
                continue
            make = self._maker(folders)
            for record in with_progress(records, f"reading {split}", "picture"):
                load = make.picture(record)
                try:
                    self._layout.classes.check(record.counts, record.mask)
                    if load is not None:
                        load()
                except RecipeError as error:
                    messages.append(str(error))
        return list(dict.fromkeys(messages))

    def _maker(self, folders: SplitFolders) -> _SampleMaker:
        return _SampleMaker(
            classes=self._layout.classes,
            min_pixels=self.config.min_pixels,
            kind=self.config.segment_all_kind,
            images=folders.images,
        )

    def _faults(self, split: str) -> list[str]:
        """What is wrong with the files of a split, one by one; [] where the list itself is."""
        try:
            pairs = list(_pairs(self._layout.splits[split], split))
        except RecipeError:
            return []
        return pair_faults(pairs)

    def _scan(self, name: str) -> tuple[MaskRecord, ...]:
        if name not in self._records:
            pairs = list(_pairs(self._layout.splits[name], name))
            self._records[name] = index_masks(pairs, self.config.cache_dir)
        return self._records[name]

    def _build(self, split: str) -> tuple[LazySamples[_Entry], Counter[str]]:
        source = split if split in self._layout.splits else ALL
        folders = self._layout.splits[source]
        records: Sequence[MaskRecord] = self._scan(source)
        counters: Counter[str] = Counter()
        if source != split:
            stems = [record.stem for record in records]
            held_out = val_keys(stems, self.config.val_share, self.config.seed)
            records = [item for item in records if (item.stem in held_out) == (split == "val")]
        elif folders.stems is None and folders.images is not None:
            with_mask = {record.stem for record in records}
            counters["pictures_without_mask"] = len(_by_stem(folders.images).keys() - with_mask)
        for record in records:
            self._layout.classes.check(record.counts, record.mask)
            counters["masks_without_picture"] += (
                record.picture is None and folders.images is not None
            )
            for ids in self._layout.classes.ids.values():
                counters["classes_below_min_pixels"] += (
                    0 < num_pixels(record, ids) < self.config.min_pixels
                )
        if self.config.prompts == "segment-all":
            entries = [_Entry(record=item, id=item.stem, name=None) for item in records]
        else:
            entries = self._class_entries(records, counters)
        return LazySamples(entries, self._maker(folders)), +counters

    def _class_entries(self, records: Sequence[MaskRecord], counters: Counter[str]) -> list[_Entry]:
        ids = self._layout.classes.ids
        present = {
            record.stem: [
                name for name in ids if num_pixels(record, ids[name]) >= self.config.min_pixels
            ]
            for record in records
        }
        used = dict.fromkeys(name for names in present.values() for name in names)
        candidates = {
            record.stem: [name for name in used if num_pixels(record, ids[name]) == 0]
            for record in records
        }
        absent, lacking = absent_pairs(
            candidates,
            sum(map(len, present.values())),
            self.config.no_target_share,
            self.config.seed,
        )
        counters["no_target_prompts"] = sum(map(len, absent.values()))
        counters["no_target_prompts_lacking"] = lacking
        entries: list[_Entry] = []
        for item in records:
            for name in present[item.stem]:
                entries.append(_Entry(record=item, id=f"{item.stem}-{name}", name=name))
            for name in absent.get(item.stem, ()):
                entries.append(_Entry(record=item, id=f"{item.stem}-no-{name}", name=name))
        return entries


def _by_stem(folder: Path) -> dict[str, Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
    files.sort(key=lambda path: PICTURE_SUFFIXES.index(path.suffix.lower()), reverse=True)
    return {path.stem: path for path in files}


def _pairs(folders: SplitFolders, split: str) -> Iterator[tuple[Path, Path | None]]:
    """(mask, picture or None) of a split."""
    masks = {
        path.stem: path
        for path in sorted(folders.masks.iterdir())
        if path.suffix.lower() in MASK_SUFFIXES
    }
    if not masks:
        raise RecipeError(
            f"semantic-folder: {folders.masks} holds no masks ({', '.join(MASK_SUFFIXES)}). "
            "Is it the right folder, and is it unpacked?"
        )
    pictures = {} if folders.images is None else _by_stem(folders.images)
    for stem in masks if folders.stems is None else folders.stems:
        if stem not in masks:
            raise RecipeError(
                f"semantic-folder: the split {split!r} lists {stem!r}, but {folders.masks} has no "
                "mask of that name. Fetch the dataset again, or mend the list."
            )
        yield masks[stem], pictures.get(stem)
