"""Training pictures and their masks, changed together: cropped, mirrored, turned, recoloured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageEnhance

from t4spp.config import AugmentConfig
from t4spp.data.sides import can_be_swapped, speaks_of_sides, swap_sides
from t4spp.seeds import seed_from
from t4spp.types import BoolMask, Image, Sample, Target

Picture = TypeVar("Picture", Image, BoolMask)

_DIRECTIONS = re.compile(
    r"left|right|top|bottom|above|below|beneath|under|upper|lower|\bup\b|\bdown\b|north|south"
    r"|east|west|horizontal|vertical|upright",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to one picture.

    Attributes:
        window: (y0, x0, y1, x1) in pixels, half-open.
        mirror: whether left and right are swapped, after the crop; in words, too.
        swaps: whether prompts that say left or right bear a mirror.
        factors: of brightness, contrast and saturation; 1 leaves them.
        quarters: turns by 90 degrees against the clock, after the mirror.
    """

    window: tuple[int, int, int, int]
    mirror: bool
    factors: tuple[float, float, float]
    quarters: int = 0
    swaps: bool = False


class Augmenter:
    """Draws a change for every sample and epoch, from the seed and the sample's id alone."""

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        """Keep what decides the draws."""
        self.config, self.seed = config, seed

    def draw(self, sample: Sample, epoch: int) -> Change:
        """What this epoch does to the sample's picture.

        A crop that would leave nothing of any target is not taken, nor one of a picture that
        questions in words are about; a sample that speaks of left or right is not mirrored unless
        its words can be swapped, and one that speaks of any direction is not turned.
        """
        change = self._draw(sample, epoch)
        if not _keeps_enough(sample, change):
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
        turned, quarters = bool(rng.random() < config.turn), int(rng.integers(1, 4))
        return Change(
            window=(y0, x0, y0 + height, x0 + width),
            mirror=mirror and _bears_mirror(sample, swaps=config.sides == "swap"),
            factors=(brightness, contrast, saturation),
            quarters=quarters if turned and not _names_direction(sample) else 0,
            swaps=config.sides == "swap",
        )


def apply(change: Change, sample: Sample) -> Sample:
    """The changed sample; its picture is read only when it is asked for.

    A target that lies outside the crop is no longer one. In a mirrored one left and right are
    swapped in prompt and labels; there are none unless ``change.swaps``.
    """
    words = swap_sides if change.mirror and change.swaps else str
    y0, x0, y1, x1 = change.window
    height, width = (y1 - y0, x1 - x0) if change.quarters % 2 == 0 else (x1 - x0, y1 - y0)
    targets = tuple(
        Target(label=words(target.label), mask=_cut(target.mask, change))
        for target in sample.targets
    )
    load = sample.load_image

    def load_image() -> Image:
        return _recolour(_cut(sample.image, change), change.factors)

    return replace(
        sample,
        size=(height, width),
        prompt=sample.prompt if sample.kind == "dialogue" else words(sample.prompt),
        labels=tuple(map(words, sample.labels)),
        targets=tuple(target for target in targets if target.mask.any()),
        load_image=None if load is None else load_image,
        ignore=None if sample.ignore is None else _cut(sample.ignore, change),
        geo=None,
    )


def suits(change: Change, sample: Sample) -> bool:
    """Whether a change that was drawn for another prompt about the picture does for this one."""
    if change.mirror and not _bears_mirror(sample, swaps=change.swaps):
        return False
    if change.quarters and _names_direction(sample):
        return False
    return _keeps_enough(sample, change)


def _texts(sample: Sample) -> Iterator[str]:
    """All that is said about the picture."""
    yield from (sample.prompt, *sample.labels, *sample.answers)
    for target in sample.targets:
        yield target.label
    for turn in sample.context:
        yield from turn


def _bears_mirror(sample: Sample, *, swaps: bool) -> bool:
    """Whether a mirrored picture does not belie the words; those of a dialogue are not swapped."""
    if swaps and sample.kind != "dialogue":
        return all(map(can_be_swapped, _texts(sample)))
    return not any(map(speaks_of_sides, _texts(sample)))


def _names_direction(sample: Sample) -> bool:
    return any(map(_DIRECTIONS.search, _texts(sample)))


def _keeps_enough(sample: Sample, change: Change) -> bool:
    """Whether a crop leaves something of a target; for questions in words, whether it is none."""
    if sample.kind == "dialogue":
        return change.window == (0, 0, *sample.size)
    shown = [target.mask for target in sample.targets if target.mask.any()]
    y0, x0, y1, x1 = change.window
    return not shown or any(mask[y0:y1, x0:x1].any() for mask in shown)


def _cut(picture: Picture, change: Change) -> Picture:
    y0, x0, y1, x1 = change.window
    cut = picture[y0:y1, x0:x1]
    cut = cut[:, ::-1] if change.mirror else cut
    return np.ascontiguousarray(np.rot90(cut, change.quarters))


def _recolour(image: Image, factors: tuple[float, float, float]) -> Image:
    if factors == (1.0, 1.0, 1.0):
        return image
    picture = PillowImage.fromarray(image)
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for kind, factor in zip(kinds, factors, strict=True):
        picture = kind(picture).enhance(factor)
    return np.asarray(picture)
