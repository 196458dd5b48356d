"""What a window of a tile shows: targets by label, and pixels that are not scored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from t4spp.types import UNKNOWN_TRUTH, BoolMask, Box, Image, Sample, Target
from t4spp_recipes.remote_sensing.configs import GeoPolygonsConfig
from t4spp_recipes.remote_sensing.polygons import Rasteriser
from t4spp_recipes.remote_sensing.tiles import Tile, read_valid, read_window


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one sample is made of. ``label``: the one asked for; None: every label."""

    tile: Tile
    box: Box
    id: str
    image_id: str
    label: str | None


@dataclass(frozen=True, kw_only=True)
class WindowPicture:
    """Reads a window's pixels when called."""

    tile: Tile
    box: Box
    stretch: tuple[float, float]

    def __call__(self) -> Image:
        """uint8[H, W, 3].

        Raises:
            RecipeError: the file cannot be read.
        """
        return read_window(self.tile, self.box, self.stretch)


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What the polygons say about a window.

    Attributes:
        targets: masks bool[H, W] by label, without empty ones; of ``instances`` one a polygon.
        ignore: bool[H, W], polygons that are neither target nor background; None when none.
        counters: how many polygons were put there, by reason.
        polygons: indices of the polygons that have a pixel in the window.
    """

    targets: dict[str, tuple[BoolMask, ...]]
    ignore: BoolMask | None
    counters: Counter[str]
    polygons: frozenset[int]


def find_truth(tile: Tile, box: Box, rasteriser: Rasteriser, config: GeoPolygonsConfig) -> Truth:
    """Sort a window's polygons into targets by label and pixels that are not scored."""
    counters: Counter[str] = Counter()
    by_label: dict[str, list[BoolMask]] = {}
    left_out: list[BoolMask] = []
    seen = set()
    for footprint in rasteriser.footprints(tile):
        mask = footprint.within(box)
        if mask is None:
            continue
        seen.add(footprint.index)
        if footprint.label is None:
            left_out.append(mask)
        elif np.count_nonzero(mask) < config.min_area:
            counters["polygons_below_min_area"] += 1
            left_out.append(mask)
        else:
            by_label.setdefault(footprint.label, []).append(mask)
    targets: dict[str, tuple[BoolMask, ...]] = {}
    for label, masks in by_label.items():
        if config.targets == "semantic":
            targets[label] = (np.logical_or.reduce(masks),)
            continue
        kept = _largest(masks, config.max_instances)
        counters["instances_beyond_max"] += len(masks) - len(kept)
        left_out += [mask for index, mask in enumerate(masks) if index not in kept]
        targets[label] = tuple(mask for index, mask in enumerate(masks) if index in kept)
    ignore = None
    if left_out:
        ignore = np.logical_or.reduce(left_out)
        for mask in (mask for masks in targets.values() for mask in masks):
            ignore = ignore & ~mask
    return Truth(
        targets=targets,
        ignore=ignore if ignore is not None and ignore.any() else None,
        counters=+counters,
        polygons=frozenset(seen),
    )


def _largest(masks: list[BoolMask], num: int | None) -> frozenset[int]:
    """Indices of the ``num`` largest masks, of equal ones the earlier."""
    ranked = sorted(range(len(masks)), key=lambda index: -int(np.count_nonzero(masks[index])))
    return frozenset(ranked[:num])


class SampleMaker:
    """Turns entries into samples; picklable."""

    def __init__(
        self,
        config: GeoPolygonsConfig,
        labels: tuple[str, ...],
        rasteriser: Rasteriser | None,
    ) -> None:
        """Remember how to make them.

        Args:
            config: the recipe's parameters.
            labels: every label, in the order of prompts.
            rasteriser: of the polygons; None where nobody knows what the tiles show.
        """
        self.config = config
        self.labels = labels
        self.rasteriser = rasteriser

    def __call__(self, entry: Entry) -> Sample:
        """The sample of a window and a label, or of a window and every label."""
        names = self.labels if entry.label is None else (entry.label,)
        size = (entry.box.height, entry.box.width)
        if self.rasteriser is None:
            targets: tuple[Target, ...] = ()
            ignore: BoolMask | None = np.ones(size, dtype=np.bool_)
        else:
            truth = find_truth(entry.tile, entry.box, self.rasteriser, self.config)
            targets = tuple(
                Target(label=name, mask=mask)
                for name in names
                for mask in truth.targets.get(name, ())
            )
            ignore = truth.ignore
            if entry.tile.has_gaps and not (valid := read_valid(entry.tile, entry.box)).all():
                ignore = ~valid if ignore is None else ignore | ~valid
        return Sample(
            id=entry.id,
            size=size,
            prompt="|".join(names),
            targets=targets,
            load_image=WindowPicture(tile=entry.tile, box=entry.box, stretch=self.config.stretch),
            labels=names,
            kind="conditioned" if entry.label is None else "partial",
            ignore=ignore,
            image_id=entry.image_id,
            tags=() if self.rasteriser is not None else (UNKNOWN_TRUTH,),
            geo=entry.tile.geo(entry.box),
        )
