"""What refCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO share: refs about annotated pictures.

Layout, splits, counts and quirks: docs/datasets-referring.md. Void rule: none, every pixel is
scored.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.schemes.labels import sanitise_label
from t4spp.types import Sample
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.coco_annotations import CocoFile, Id, Instance, read_coco
from t4spp_recipes.natural.pictures import PictureFolder
from t4spp_recipes.natural.referring.configs import ReferParams
from t4spp_recipes.natural.referring.published_counts import Counts, count_complaints
from t4spp_recipes.natural.referring.refer_layout import COCO_FOLDERS, find_refer, where_to_get
from t4spp_recipes.natural.referring.refer_records import (
    Phrase,
    Ref,
    belongs,
    read_refs,
    splits_of,
)
from t4spp_recipes.natural.referring.refer_samples import ReferEntry, ReferSampleMaker
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split

MAX_PROMPT_CHARS = 10_000
"""An expression is made writable in whole; only the label is cut to what a scheme writes."""


class ReferRecipe(Recipe):
    """Segment what an expression refers to."""

    name: ClassVar[str]
    dataset: ClassVar[str]
    """The folder's name as distributed."""
    sources: ClassVar[tuple[Source, ...]]
    picture_folders: ClassVar[tuple[str, ...]] = COCO_FOLDERS

    def __init__(self, config: ReferParams, split_by: str, compat: str | None) -> None:
        """Read the refs and the annotations that they name, not the pictures.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        self.config = config
        self.split_by = split_by
        self.compat = compat
        self._files = find_refer(
            self.name,
            config.root,
            self.dataset,
            self.refs_names(),
            self.picture_folders,
            config.images,
            self.sources,
        )
        self._refs = read_refs(self._files.refs)
        wanted = {number for ref in self._refs for number in ref.annotation_ids}
        self._coco: CocoFile = read_coco(self._files.instances, only=wanted)
        self._instances: dict[Id, Instance] = {
            item.id: item for group in self._coco.instances.values() for item in group
        }
        folder = self._files.images
        self._maker = ReferSampleMaker(
            where=str(self._files.instances),
            pictures=None if folder is None else PictureFolder(folder),
            expected=self._files.images_expected,
            advice=f".\n{where_to_get(self.sources)}\n  or set missing_pictures=skip to leave out, "
            "and count, what has no picture",
        )
        self._splits: dict[str, tuple[LazySamples[ReferEntry], Counter[str]]] = {}

    def refs_names(self) -> tuple[str, ...]:
        """The names that the file of refs may have."""
        return (f"refs({self.split_by}).p", f"refs({self.split_by}).json")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the file of refs names."""
        return splits_of(self._refs)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, in the order of the file of refs.

        Raises:
            RecipeError: unknown split.
        """
        if split not in self.splits:
            raise unknown_split(self.name, split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out or changed, over the splits opened so far.

        refCLEF's refs of several test parts count once a part.
        """
        total: Counter[str] = Counter()
        for _, counted in self._splits.values():
            total.update(counted)
        return dict(total)

    def found(self) -> dict[str, Counts]:
        """Refs, expressions and pictures of each split, as the file of refs has them."""
        result = {}
        for split in self.splits:
            refs = [ref for ref in self._refs if belongs(ref, split)]
            result[split] = Counts(
                refs=len(refs),
                expressions=sum(len(ref.phrases) for ref in refs),
                pictures=len({ref.image_id for ref in refs}),
            )
        return result

    def verify(self) -> list[str]:
        """Compare counts with the published ones, paint every mask and decode every picture."""
        messages = []
        if self.config.counts:
            key = (self.dataset, self.split_by)
            messages += count_complaints(self.name, key, self.found(), str(self._files.refs))
        messages += self._missing_records()
        if self._maker.pictures is None:
            messages.append(
                f"{self.name}: the folder of pictures {self._files.images_expected} is not there."
                f"\n{where_to_get(self.sources)}"
            )
        wanted = dict.fromkeys(ref.image_id for ref in self._refs)
        chosen = [self._coco.images[key] for key in wanted if key in self._coco.images]
        for image in with_progress(chosen, "reading", "picture"):
            for instance in self._coco.instances.get(image.id, ()):
                try:
                    instance.mask(image.size, self._maker.where)
                except RecipeError as error:
                    messages.append(str(error))
            if self._maker.pictures is not None:
                try:
                    self._maker.picture(image)()
                except RecipeError as error:
                    messages.append(str(error))
        return messages

    def _missing_records(self) -> list[str]:
        """Refs that name pictures or annotations which the annotation file does not have at all."""
        known = set(self._instances) | set(self._coco.left_out)
        lost = sum(
            ref.image_id not in self._coco.images
            or any(number not in known for number in ref.annotation_ids)
            for ref in self._refs
        )
        if not lost:
            return []
        return [
            f"{self.name}: {lost} of {len(self._refs)} refs of {self._files.refs} name a picture "
            f"or an annotation that {self._files.instances} lacks. Do the two belong together? "
            "Fetch both again."
        ]

    # Making entries

    def _build(self, split: str) -> tuple[LazySamples[ReferEntry], Counter[str]]:
        counters: Counter[str] = Counter()
        pictures = self._maker.pictures
        skipping = self.config.missing_pictures == "skip"
        present: dict[Id, bool] = {}
        used: Counter[str] = Counter()
        entries: list[ReferEntry] = []
        for ref in self._refs:
            if not belongs(ref, split):
                continue
            image = self._coco.images.get(ref.image_id)
            if image is None:
                counters["expressions_without_image"] += len(ref.phrases)
                continue
            if skipping:
                if image.id not in present:
                    present[image.id] = (
                        pictures is not None and pictures.find(image.name) is not None
                    )
                    counters["images_without_picture"] += not present[image.id]
                if not present[image.id]:
                    counters["expressions_without_picture"] += len(ref.phrases)
                    continue
            instances = self.targets(ref, counters)
            if instances is None:
                counters["expressions_without_annotation"] += len(ref.phrases)
                continue
            counters["no_target_prompts"] += 0 if instances else len(ref.phrases)
            for phrase in self._chosen(ref, counters):
                text = self.text_of(phrase, split)
                if not text.strip() and self.compat is None:
                    counters["expressions_empty"] += 1
                    continue
                prompt, changed = sanitise_label(text, MAX_PROMPT_CHARS)
                label, _ = sanitise_label(text)
                counters["labels_sanitised"] += changed
                counters["labels_cut"] += label != prompt
                identity = f"{image.id}-{ref.id}-{phrase.id}"
                used[identity] += 1
                if used[identity] > 1:
                    counters["ids_repeated"] += 1
                    identity = f"{identity}-{used[identity]}"
                entries.append(
                    ReferEntry(
                        id=identity,
                        image=image,
                        prompt=prompt,
                        label=label,
                        instances=instances,
                        cancelling=self.cancelling(split),
                        tags=self.tags(instances),
                    )
                )
        if not entries:
            raise RecipeError(
                f"{self.name}: the split {split!r} of {self._files.refs} has no expression that "
                f"can be used ({dict(+counters)}). Do the dataset's files belong together?"
            )
        return LazySamples(entries, self._maker), +counters

    def _chosen(self, ref: Ref, counters: Counter[str]) -> Sequence[Phrase]:
        if self.config.expressions == "all" or not ref.phrases:
            return ref.phrases
        # By seed and ref alone, so that every process draws the same.
        generator = random.Random(f"{self.config.seed}:{self.dataset}:{ref.id}")
        counters["expressions_not_drawn"] += len(ref.phrases) - 1
        return (generator.choice(ref.phrases),)

    # What the datasets, and the loaders that they are compatible with, differ in

    def text_of(self, phrase: Phrase, split: str) -> str:
        """The expression as the sample asks it.

        Raises:
            RecipeError: the dataset has no raw text.
        """
        if self.config.text == "raw":
            if phrase.raw is None:
                raise RecipeError(
                    f"{self.name}: sentence {phrase.id} of {self._files.refs} has no 'raw' text. "
                    "Set text=sent."
                )
            text = phrase.raw
        else:
            text = phrase.sent
        if self.compat == "lisa":
            return text.strip().lower()
        if self.compat == "text4seg" and split != "train":
            return text.strip().lower().replace(",", "")
        return text

    def cancelling(self, split: str) -> bool:
        """Whether pixels in two parts of one annotation count as outside."""
        return self.compat in ("text4seg", "lisa") and split != "train"

    def targets(self, ref: Ref, counters: Counter[str]) -> tuple[Instance, ...] | None:
        """The annotations that a ref means; None where one cannot be used."""
        # Named twice, an annotation is one target.
        numbers = tuple(dict.fromkeys(ref.annotation_ids))
        counters["annotations_repeated"] += len(ref.annotation_ids) - len(numbers)
        found = [self._instances.get(number) for number in numbers]
        if all(item is not None for item in found):
            return tuple(item for item in found if item is not None)
        # The published loaders score such an expression against an empty mask.
        lost = [number for number in numbers if number not in self._instances]
        reason = "annotations_without_segmentation"
        if self.compat and all(self._coco.left_out.get(number) == reason for number in lost):
            return tuple(item for item in found if item is not None)
        return None

    def tags(self, instances: Sequence[Instance]) -> tuple[str, ...]:
        """Break-down keys of a sample."""
        return ()
