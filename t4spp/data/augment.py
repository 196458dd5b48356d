"""Training pictures and their masks, changed together: mirrored, cropped, recoloured."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageEnhance

from t4spp.config import AugmentConfig
from t4spp.seeds import seed_from
from t4spp.types import BoolMask, Image, Sample, Target

Picture = TypeVar("Picture", Image, BoolMask)

_SIDES = re.compile(r"left|right", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to one picture.

    Attributes:
        window: (y0, x0, y1, x1) in pixels, half-open.
        mirror: whether left and right are swapped, after the crop.
        factors: of brightness, contrast and saturation; 1 leaves them.
    """

    window: tuple[int, int, int, int]
    mirror: bool
    factors: tuple[float, float, float]


class Augmenter:
    """Draws a change for every sample and epoch, from the seed and the sample's id alone."""

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        """Keep what decides the draws."""
        self.config, self.seed = config, seed

    def draw(self, sample: Sample, epoch: int) -> Change:
        """What this epoch does to the sample's picture.

        A crop that would leave nothing of any target is not taken, and a sample that speaks of
        left or right is not mirrored.
        """
        change = self._draw(sample, epoch)
        if not _keeps_something(sample, change):
            change = replace(change, window=(0, 0, *sample.size))
        return change

    def _draw(self, sample: Sample, epoch: int) -> Change:
        config = self.config
        rng = np.random.default_rng(seed_from(self.seed, "augment", sample.id, epoch))
        scale = np.sqrt(rng.uniform(config.min_crop, 1.0))
        height, width = (max(1, round(side * scale)) for side in sample.size)
        y0 = int(rng.integers(sample.size[0] - height + 1))
        x0 = int(rng.integers(sample.size[1] - width + 1))
        mirror = bool(rng.random() < config.mirror)
        low, high = 1 - config.colour, 1 + config.colour
        brightness, contrast, saturation = (float(f) for f in rng.uniform(low, high, size=3))
        return Change(
            window=(y0, x0, y0 + height, x0 + width),
            mirror=mirror and not _speaks_of_sides(sample),
            factors=(brightness, contrast, saturation),
        )


def apply(change: Change, sample: Sample) -> Sample:
    """The changed sample; its picture is read only when it is asked for.

    A target that lies outside the crop is no longer one.
    """
    y0, x0, y1, x1 = change.window
    targets = tuple(
        Target(label=target.label, mask=_cut(target.mask, change)) for target in sample.targets
    )
    load = sample.load_image

    def load_image() -> Image:
        return _recolour(_cut(sample.image, change), change.factors)

    return replace(
        sample,
        size=(y1 - y0, x1 - x0),
        targets=tuple(target for target in targets if target.mask.any()),
        load_image=None if load is None else load_image,
        ignore=None if sample.ignore is None else _cut(sample.ignore, change),
        geo=None,
    )


def suits(change: Change, sample: Sample) -> bool:
    """Whether a change that was drawn for another prompt about the picture does for this one."""
    return _keeps_something(sample, change) and not (change.mirror and _speaks_of_sides(sample))


def _speaks_of_sides(sample: Sample) -> bool:
    return any(map(_SIDES.search, (sample.prompt, *sample.labels)))


def _keeps_something(sample: Sample, change: Change) -> bool:
    shown = [target.mask for target in sample.targets if target.mask.any()]
    y0, x0, y1, x1 = change.window
    return not shown or any(mask[y0:y1, x0:x1].any() for mask in shown)


def _cut(picture: Picture, change: Change) -> Picture:
    y0, x0, y1, x1 = change.window
    cut = picture[y0:y1, x0:x1]
    return np.ascontiguousarray(cut[:, ::-1] if change.mirror else cut)


def _recolour(image: Image, factors: tuple[float, float, float]) -> Image:
    if factors == (1.0, 1.0, 1.0):
        return image
    picture = PillowImage.fromarray(image)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for kind, factor in zip(kinds, factors, strict=True):
        picture = kind(picture).enhance(factor)
    return np.asarray(picture)
