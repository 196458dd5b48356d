"""The engine of datasets in which a phrase about a picture has a mask file of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from t4spp import pictures
from t4spp.components import Recipe
from t4spp.errors import RecipeError
from t4spp.schemes.labels import sanitise_label
from t4spp.types import BoolMask, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.pictures import PictureFile
from t4spp_recipes.natural.semantic.layout import Published, count_faults
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split

MAX_PROMPT_CHARS = 4096
MaskRule = Literal["not-black", "nearer-white", "above-50", "white-alone"]
"""Which grey values of a mask are inside: 1 to 255, 128 to 255, 51 to 255, or 255."""
_LEAST = {"not-black": 1, "nearer-white": 128, "above-50": 51, "white-alone": 255}


@dataclass(frozen=True, kw_only=True)
class PhraseEntry:
    """One phrase about one picture.

    Attributes:
        id: the sample's.
        picture: its file.
        mask: the file of what the phrase means.
        phrase: as written, writable by any scheme.
        label: what the answer calls the region.
        tags: of the sample.
    """

    id: str
    picture: Path
    mask: Path
    phrase: str
    label: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PhraseMaker:
    """Turns entries into samples; picklable."""

    rule: MaskRule

    def __call__(self, entry: PhraseEntry) -> Sample:
        """The sample of an entry; reads its mask. A mask without any pixel inside: no target.

        Raises:
            RecipeError: the mask cannot be read.
        """
        mask = read_mask(entry.mask, self.rule)
        size = (mask.shape[0], mask.shape[1])
        return Sample(
            id=entry.id,
            size=size,
            prompt=entry.phrase,
            targets=(Target(label=entry.label, mask=mask),) if mask.any() else (),
            load_image=PictureFile(path=entry.picture, size=size, masks=str(entry.mask)),
            labels=(entry.label,),
            kind="partial",
            image_id=entry.picture.stem,
            tags=entry.tags,
        )


def read_mask(path: Path, rule: MaskRule) -> BoolMask:
    """bool[H, W] of a grey, palette or black-and-white file, or of one with three equal channels.

    Of a palette file the indices count.

    Raises:
        RecipeError: the file is missing, damaged, or has colours.
    """
    values, mode = pictures.read_values(path)
    if mode in ("RGB", "RGBA"):
        if not (values[..., :1] == values[..., :3]).all():
            raise RecipeError(
                f"the mask {path} has colours, where black and white are expected. Is it a picture?"
            )
        values = values[..., 0]
    elif mode == "1":
        values = values.astype(np.uint8) * 255
    elif mode not in ("L", "P"):
        raise RecipeError(
            f"the mask {path} has colour mode {mode}; black and white with 8 bits are expected."
        )
    inside: BoolMask = values.astype(np.uint8) >= _LEAST[rule]
    return inside


def writable(phrase: str, label: str | None, counters: Counter[str]) -> tuple[str, str]:
    """(prompt, label) of a phrase by the rule that all recipes share; counts what it changes.

    The prompt is the whole phrase, the label is cut to what a descriptor carries.
    """
    prompt, _ = sanitise_label(phrase, max_chars=MAX_PROMPT_CHARS)
    own, changed = sanitise_label(phrase if label is None else label)
    counters["labels_sanitised"] += changed
    return prompt, own


class PhraseRecipe(Recipe):
    """Segment what a phrase means, where every phrase has a mask file."""

    def __init__(
        self,
        name: str,
        splits: Mapping[str, Sequence[PhraseEntry]],
        *,
        rule: MaskRule,
        counters: Counter[str],
        published: Mapping[str, Published],
        what: str,
        advice: str,
    ) -> None:
        """Keep the entries; files are read when a sample is indexed.

        Args:
            name: the recipe's.
            splits: the entries of each split that is there.
            rule: what of a mask is inside.
            counters: what reading the lists left out or changed.
            published: how many of ``what`` each split has; empty: not compared.
            what: what is counted, in the plural: ``samples`` or ``pictures``.
            advice: where to get the dataset, and its licence.
        """
        self.name = name
        self.entries = dict(splits)
        self.rule: MaskRule = rule
        self._counters = counters
        self._published = published
        self._what = what
        self._advice = advice

    @property
    def splits(self) -> tuple[str, ...]:
        """Those whose files are there."""
        return tuple(self.entries)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, in the order of its list.

        Raises:
            RecipeError: unknown split.
        """
        if split not in self.entries:
            raise unknown_split(self.name, split, self.splits)
        return LazySamples(self.entries[split], PhraseMaker(rule=self.rule))

    def counters(self) -> Mapping[str, int]:
        """What reading left out or changed, over all splits."""
        return dict(+self._counters)

    def verify(self) -> list[str]:
        """Read every mask and picture; compare their number with the published one."""
        messages = self._missing_folders()
        make = PhraseMaker(rule=self.rule)
        for split, entries in self.entries.items():
            for entry in with_progress(entries, f"reading {split}", "phrase"):
                if not entry.mask.parent.is_dir():
                    continue  # told as a whole
                try:
                    sample = make(entry)
                    if entry.picture.parent.is_dir():
                        _ = sample.image
                except RecipeError as error:
                    messages.append(str(error))
        found = {split: self._number(split) for split in self.entries}
        messages += count_faults(self.name, found, self._published, self._what, self._advice)
        return list(dict.fromkeys(messages))

    def _missing_folders(self) -> list[str]:
        """One message for each folder of pictures or masks that is not there at all."""
        folders = dict.fromkeys(
            path.parent
            for entries in self.entries.values()
            for entry in entries
            for path in (entry.picture, entry.mask)
        )
        return [
            f"{self.name}: the folder {folder} is not there.{self._advice}"
            for folder in folders
            if not folder.is_dir()
        ]

    def _number(self, split: str) -> int:
        if self._what == "pictures":
            return len({entry.picture for entry in self.entries[split]})
        return len(self.entries[split])
