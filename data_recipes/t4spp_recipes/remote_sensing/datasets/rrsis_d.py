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
from t4spp_recipes.natural.coco_annotations import Id, Instance
from t4spp_recipes.natural.pictures import PictureFile, require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.referring.refer_records import Ref, belongs, read_refs, splits_of
from t4spp_recipes.natural.semantic.layout import count_faults, first_with
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.datasets.params import RrsisDConfig
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import writable
from t4spp_recipes.remote_sensing.datasets.rrsis_d_instances import read_instances
from t4spp_recipes.remote_sensing.datasets.sources import RRSIS_D_SOURCES
from t4spp_recipes.splits import unknown_split

PUBLISHED = {"train": 12181, "val": 1740, "test": 3481}
_REFS = "refs(unc).p"
_PICTURES = "images/rrsisd/JPEGImages"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """One phrase about one object."""

    id: str
    picture: str
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
        size = (mask.shape[0], mask.shape[1])
        return Sample(
            id=entry.id,
            size=size,
            prompt=entry.phrase,
            targets=(Target(label=entry.label, mask=mask),) if mask.any() else (),
            load_image=PictureFile(path=self.pictures / entry.picture, size=size, masks=self.where),
            labels=(entry.label,),
            kind="partial",
            image_id=Path(entry.picture).stem,
            tags=entry.tags,
        )

    def mask(self, entry: _Entry) -> BoolMask:
        """bool[H, W] of the object."""
        assert entry.instance.rle is not None  # the reader's own rule
        height, width = entry.instance.rle["size"]
        if not self.once_only:
            return entry.instance.mask((height, width), self.where)
        layers = entry.instance.layers((height, width), self.where)
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
        below = ("rrsisd", "RRSIS-D/rrsisd", "rs_ref_seg/RRSIS-D/rrsisd", "refer/data/rrsisd")
        base = first_with(root, below, (_REFS, "instances.json"))
        refs, instances = base / _REFS, base / "instances.json"
        pictures = next((path for path in _picture_folders(base) if path.is_dir()), None)
        missing = [
            name
            for name, there in (
                (f"rrsisd/{_REFS}", refs.is_file()),
                ("rrsisd/instances.json", instances.is_file()),
                (f"{_PICTURES} (pictures)", pictures is not None),
            )
            if not there
        ]
        if not refs.is_file() or not instances.is_file():
            raise RecipeError(f"rrsis-d: {root} lacks {', '.join(missing)}.{self._advice}")
        self._file = read_instances(instances)
        self._refs = read_refs(refs)
        self._maker = _SampleMaker(
            pictures=pictures or base.parent / _PICTURES,
            where=str(instances),
            once_only=config.compat is not None,
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
        pictures = self._maker.pictures
        if not pictures.is_dir():
            messages.append(
                f"rrsis-d: the folder of pictures {pictures} is not there.{self._advice}"
            )
        for split, entries in self._entries.items():
            for entry in with_progress(entries, f"reading {split}", "phrase"):
                try:
                    sample = self._maker(entry)
                    if pictures.is_dir():
                        _ = sample.image
                except RecipeError as error:
                    messages.append(str(error))
        found = {split: len(entries) for split, entries in self._entries.items()}
        published = PUBLISHED if self.config.counts else {}
        messages += count_faults("rrsis-d", found, published, "phrases", self._advice)
        return list(dict.fromkeys(messages))

    def _of_split(self, split: str) -> tuple[_Entry, ...]:
        entries: list[_Entry] = []
        used: Counter[str] = Counter()
        for ref in self._refs:
            if not belongs(ref, split):
                continue
            known = self._file.instances
            instance = next((known[key] for key in ref.annotation_ids if key in known), None)
            picture = self._file.names.get(self._picture_id(ref))
            if instance is None or picture is None:
                self._counters["phrases_without_annotation"] += len(ref.phrases)
                continue
            asked = False
            for phrase in ref.phrases:
                text = phrase.sent
                if self.config.text == "raw" and phrase.raw is not None:
                    text = phrase.raw
                if not text.strip() and self.config.compat is None:
                    self._counters["phrases_empty"] += 1
                    continue
                identity = f"{ref.id}-{phrase.id}"
                used[identity] += 1
                if used[identity] > 1:
                    self._counters["ids_repeated"] += 1
                    identity = f"{identity}-{used[identity]}"
                further, asked = asked, True
                prompt, label = writable(text, self.config.label, self._counters)
                entries.append(
                    _Entry(
                        id=identity,
                        picture=picture,
                        instance=instance,
                        phrase=prompt,
                        label=label,
                        tags=(FURTHER_PHRASE,) if further else (),
                    )
                )
        return tuple(entries)

    def _picture_id(self, ref: Ref) -> Id:
        """The picture's id; under ``segearth`` the ref's own, as its loader takes it."""
        return ref.id if self.config.compat == "segearth" else ref.image_id


def _picture_folders(base: Path) -> tuple[Path, ...]:
    """Where the pictures may lie, ``base`` being the folder of the refs."""
    return base.parent / _PICTURES, base / _PICTURES, base / "JPEGImages"
