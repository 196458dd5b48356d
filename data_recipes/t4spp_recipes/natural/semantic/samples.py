"""One sample of a picture with a class-id mask, made when it is indexed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from t4spp.errors import RecipeError
from t4spp.types import UNKNOWN_TRUTH, BoolMask, Image, Sample, Target
from t4spp_recipes.natural.class_lists import ClassList
from t4spp_recipes.natural.mask_index import MaskRecord
from t4spp_recipes.natural.pictures import MissingPicture, PictureFile
from t4spp_recipes.natural.semantic.maps import PADDING, PLAIN, MapReader, PictureWindow, cut

PromptKind = Literal["open", "partial", "conditioned"]


class InstanceSplitter(Protocol):
    """Parts a class's pixels into instances; picklable."""

    def __call__(self, record: MaskRecord, mask: BoolMask) -> Sequence[BoolMask]:
        """The instances of bool[H, W] ``mask``, each bool[H, W], none empty."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one sample is made of.

    Attributes:
        record: the picture and its mask, or a window of them.
        id: the sample's.
        kind: the family of templates.
        names: the classes asked for; ``()``: every class of the dataset.
    """

    record: MaskRecord
    id: str
    kind: PromptKind
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SampleMaker:
    """Turns entries into samples; picklable.

    Attributes:
        classes: of the dataset.
        min_pixels: a class with fewer in a picture is no target there.
        images: the folders that pictures should be in, for the error where one is missing.
        reader: makes class ids of a file.
        instances: None: a class is one target.
    """

    classes: ClassList
    min_pixels: int
    images: tuple[Path, ...] = ()
    reader: MapReader = PLAIN
    instances: InstanceSplitter | None = None

    def __call__(self, entry: Entry) -> Sample:
        """The sample of an entry; reads its mask.

        Raises:
            RecipeError: the mask cannot be read, or is not what was indexed.
        """
        record = entry.record
        class_map = self.reader(record.mask)
        if class_map.shape != (record.whole or record.size):
            height, width = record.whole or record.size
            raise RecipeError(
                f"the mask {record.mask} changed while it was in use: it was "
                f"{height} x {width} pixels. Start again."
            )
        if record.window is not None:
            class_map = cut(class_map, record.window)
        names = entry.names or self.classes.names
        targets: list[Target] = []
        for name in names:
            ids = self.classes.ids[name]
            if num_pixels(record, ids) >= self.min_pixels:
                mask = class_map == ids[0] if len(ids) == 1 else np.isin(class_map, ids)
                parts = (mask,) if self.instances is None else self.instances(record, mask)
                targets += [Target(label=name, mask=part) for part in parts]
        void = [number for number in record.counts if number in (*self.classes.void, PADDING)]
        return Sample(
            id=entry.id,
            size=record.size,
            prompt="|".join(names),
            targets=tuple(targets),
            load_image=self.picture(record),
            labels=tuple(names),
            kind=entry.kind,
            ignore=np.isin(class_map, void) if void else None,
            image_id=record.name,
        )

    def picture(self, record: MaskRecord) -> Callable[[], Image] | None:
        """What reads the picture; None without a folder of pictures."""
        if record.picture is not None:
            size = record.whole or record.size
            file = PictureFile(path=record.picture, size=size, masks=str(record.mask))
            if record.window is None:
                return file
            return PictureWindow(file=file, window=record.window)
        if not self.images:
            return None
        return MissingPicture(name=f"{record.stem} (.jpg, .png, ...)", folder=self.images[0])


@dataclass(frozen=True, kw_only=True)
class UnlabelledMaker:
    """Makes a sample of a picture whose truth nobody gives out; every class is asked for."""

    names: tuple[str, ...]

    def __call__(self, picture: Path) -> Sample:
        """The sample of a picture; nothing of it is scored.

        Raises:
            RecipeError: the file is missing or no picture.
        """
        from t4spp.pictures import picture_size

        size = picture_size(picture)
        return Sample(
            id=picture.stem,
            size=size,
            prompt="|".join(self.names),
            targets=(),
            load_image=PictureFile(path=picture, size=size, masks=str(picture)),
            labels=self.names,
            kind="conditioned",
            ignore=np.ones(size, dtype=np.bool_),
            image_id=picture.stem,
            tags=(UNKNOWN_TRUTH,),
        )


def num_pixels(record: MaskRecord, ids: Sequence[int]) -> int:
    """Pixels of a mask that hold one of ``ids``."""
    return sum(record.counts.get(number, 0) for number in ids)
