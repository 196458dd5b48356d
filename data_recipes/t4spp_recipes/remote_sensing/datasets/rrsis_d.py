"""RRSIS-D: ``rrsis-d``.

17,402 phrases about pictures of DIOR, 800 x 800 pixels at 0.5 to 30 m, 20 categories; each phrase
means one object, whose mask is a run-length code. No-data rule: none. Paper: Liu et al., Rotated
Multi-Scale Interaction Network for Referring Remote Sensing Image Segmentation, 2024. Docs:
docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.types import FURTHER_PHRASE, BoolMask, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.coco_annotations import Id, ImageRecord, Instance, read_coco
from t4spp_recipes.natural.pictures import PictureFile, require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.referring.refer_records import Ref, belongs, read_refs, splits_of
from t4spp_recipes.natural.semantic.layout import count_faults, first_with
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.datasets.params import RrsisDConfig
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import writable
from t4spp_recipes.remote_sensing.datasets.sources import RRSIS_D_SOURCES
from t4spp_recipes.splits import unknown_split

PUBLISHED = {"train": 12181, "val": 1740, "test": 3481}
_REFS = "refs(unc).p"
_PICTURES = "images/rrsisd/JPEGImages"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """One phrase about one object."""

    id: str
    image: ImageRecord
    shown: ImageRecord
    instance: Instance
    phrase: str
    label: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _SampleMaker:
    """Turns entries into samples; picklable.

    ``once_only``: pixels that several codes of one mask cover are outside, as where their sum is
    compared with 1.
    """

    pictures: Path
    where: str
    once_only: bool

    def __call__(self, entry: _Entry) -> Sample:
        """The sample of an entry; decodes its mask.

        Raises:
            RecipeError: the run-length code is damaged.
        """
        mask = self.mask(entry)
        size = entry.image.size
        return Sample(
            id=entry.id,
            size=size,
            prompt=entry.phrase,
            targets=(Target(label=entry.label, mask=mask),) if mask.any() else (),
            load_image=PictureFile(
                path=self.pictures / entry.shown.name, size=size, masks=self.where
            ),
            labels=(entry.label,),
            kind="partial",
            image_id=str(entry.shown.id),
            tags=entry.tags,
        )

    def mask(self, entry: _Entry) -> BoolMask:
        """bool[H, W] of the object."""
        if not self.once_only:
            return entry.instance.mask(entry.image.size, self.where)
        layers = entry.instance.layers(entry.image.size, self.where)
        once: BoolMask = layers.sum(axis=2) == 1
        return once


class RrsisD(Recipe):
    """Segment the object that a phrase means in an overhead picture."""

    sources: ClassVar[tuple[Source, ...]] = RRSIS_D_SOURCES

    def __init__(self, config: RrsisDConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged, hostile or contradicts itself.
        """
        self.config = config
        self._advice = "\n" + where_to_get(RRSIS_D_SOURCES)
        root = require_folder(config.root, "rrsis-d: root", self._advice)
        below = ("RRSIS-D", "rs_ref_seg/RRSIS-D", "refer/data")
        base = first_with(root, below, (f"rrsisd/{_REFS}", "rrsisd/instances.json"))
        refs, instances = base / "rrsisd" / _REFS, base / "rrsisd" / "instances.json"
        missing = [
            name
            for name, there in (
                (f"rrsisd/{_REFS}", refs.is_file()),
                ("rrsisd/instances.json", instances.is_file()),
                (f"{_PICTURES} (pictures)", (base / _PICTURES).is_dir()),
            )
            if not there
        ]
        if not refs.is_file() or not instances.is_file():
            raise RecipeError(f"rrsis-d: {root} lacks {', '.join(missing)}.{self._advice}")
        self._where = str(instances)
        self._file = read_coco(instances)
        self._refs = read_refs(refs)
        self._maker = _SampleMaker(
            pictures=base / _PICTURES, where=self._where, once_only=config.compat is not None
        )
        self._counters: Counter[str] = Counter(self._file.counters)
        self._entries = {split: self._of_split(split) for split in splits_of(self._refs)}

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that the refs name: train, val and test."""
        return tuple(self._entries)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, in the order of the refs.

        Raises:
            RecipeError: unknown split.
        """
        if split not in self._entries:
            raise unknown_split("rrsis-d", split, self.splits)
        return LazySamples(self._entries[split], self._maker)

    def counters(self) -> Mapping[str, int]:
        """What reading left out or changed, over all splits."""
        return dict(+self._counters)

    def verify(self) -> list[str]:
        """Decode every mask and picture; compare the number of phrases with the published one."""
        messages: list[str] = []
        for split, entries in self._entries.items():
            for entry in with_progress(entries, f"reading {split}", "phrase"):
                try:
                    _ = self._maker(entry).image
                except RecipeError as error:
                    messages.append(str(error))
        found = {split: len(entries) for split, entries in self._entries.items()}
        published = PUBLISHED if self.config.counts else {}
        messages += count_faults("rrsis-d", found, published, "phrases", self._advice)
        return list(dict.fromkeys(messages))

    def _of_split(self, split: str) -> tuple[_Entry, ...]:
        by_id = {item.id: item for group in self._file.instances.values() for item in group}
        entries: list[_Entry] = []
        for ref in self._refs:
            if not belongs(ref, split):
                continue
            instance = next((by_id[key] for key in ref.annotation_ids if key in by_id), None)
            image = self._file.images.get(ref.image_id)
            shown = self._shown(ref, image)
            if instance is None or image is None or shown is None:
                self._counters["phrases_without_annotation"] += len(ref.phrases)
                continue
            for number, phrase in enumerate(ref.phrases):
                text = phrase.sent
                if self.config.text == "raw" and phrase.raw is not None:
                    text = phrase.raw
                prompt, label = writable(text, self.config.label, self._counters)
                entries.append(
                    _Entry(
                        id=f"{ref.id}-{phrase.id}",
                        image=image,
                        shown=shown,
                        instance=instance,
                        phrase=prompt,
                        label=label,
                        tags=(FURTHER_PHRASE,) if number else (),
                    )
                )
        return tuple(entries)

    def _shown(self, ref: Ref, image: ImageRecord | None) -> ImageRecord | None:
        """The picture; under ``segearth`` that whose id is the ref's, as its loader takes it."""
        if self.config.compat != "segearth":
            return image
        key: Id = ref.id
        return self._file.images.get(key)
