"""Samples of referring expressions: what one is made of, and how its masks are painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t4spp.types import BoolMask, Image, Sample, Target
from t4spp_recipes.natural.coco_annotations import ImageRecord, Instance
from t4spp_recipes.natural.pictures import MissingPicture, PictureFile, PictureFolder


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ReferEntry:
    """What one sample is made of; masks stay polygons until the sample is indexed.

    Attributes:
        id: of the sample.
        image: of the picture.
        prompt: the whole expression.
        label: what the targets are called.
        instances: one a target.
        cancelling: reproduce a published fault: pixels in two parts of one annotation are outside.
        tags: break-down keys.
    """

    id: str
    image: ImageRecord
    prompt: str
    label: str
    instances: tuple[Instance, ...]
    cancelling: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReferSampleMaker:
    """Turns entries into samples; picklable.

    Attributes:
        where: the annotation file, for errors.
        pictures: where pictures are looked for; None: their folder is not there.
        expected: where that folder should be.
        advice: what to do about a picture that is missing.
    """

    where: str
    pictures: PictureFolder | None
    expected: Path
    advice: str

    def __call__(self, entry: ReferEntry) -> Sample:
        """The sample of an entry, its masks painted now."""
        return Sample(
            id=entry.id,
            size=entry.image.size,
            prompt=entry.prompt,
            targets=tuple(
                Target(label=entry.label, mask=self.mask(instance, entry))
                for instance in entry.instances
            ),
            load_image=self.picture(entry.image),
            labels=(entry.label,),
            kind="partial",
            image_id=str(entry.image.id),
            tags=entry.tags,
        )

    def mask(self, instance: Instance, entry: ReferEntry) -> BoolMask:
        """bool[H, W] of one target."""
        if not entry.cancelling:
            return instance.mask(entry.image.size, self.where)
        # LISA's and Text4Seg's validation sums the parts, keeps the sum in eight bits, and scores
        # against the pixels that are 1.
        summed = instance.layers(entry.image.size, self.where).sum(axis=2).astype(np.uint8)
        return np.asarray(summed == 1, dtype=np.bool_)

    def picture(self, image: ImageRecord) -> Callable[[], Image]:
        """What reads the picture, or raises where it is not there."""
        path = None if self.pictures is None else self.pictures.find(image.name)
        if path is None:
            folder = self.expected if self.pictures is None else self.pictures.root
            return MissingPicture(name=image.name, folder=folder, advice=self.advice)
        return PictureFile(path=path, size=image.size, masks=self.where)
