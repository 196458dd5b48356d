"""Samples of windows: what is asked of each, and the pixels of it read on access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from t4spp.geo.pictures import Limits, PictureView, SceneReader
from t4spp.geo.scenes import Scene
from t4spp.geo.windows import Window, WindowGrid
from t4spp.types import UNKNOWN_TRUTH, BoolMask, Image, Sample, Target
from t4spp_recipes.remote_sensing.configs import WindowsConfig
from t4spp_recipes.remote_sensing.label_sources import Labels
from t4spp_recipes.remote_sensing.prompts import Asked, Thing


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one sample is made of.

    Attributes:
        id: the sample's.
        image_id: the window's.
        scene: number of the scene.
        window: number of the window in its scene's grid.
        asked: the prompt; its indices count the window's things.
        features: the things, by which the labels find them again.
    """

    id: str
    image_id: str
    scene: int
    window: int
    asked: Asked
    features: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class WindowPicture:
    """Reads a window's picture when called."""

    scene: Scene
    view: PictureView
    limits: Limits | None
    window: Window

    def __call__(self) -> Image:
        """uint8[H, W, 3].

        Raises:
            GeoError: the scene cannot be read, or has changed since its header was read.
        """
        reader = SceneReader(self.scene, self.view, self.limits)
        return reader.read(self.window.box, self.window.out_size)[0]


class SampleMaker:
    """Turns entries into samples; picklable."""

    def __init__(
        self,
        config: WindowsConfig,
        scenes: Sequence[Scene],
        grids: Sequence[WindowGrid],
        limits: Sequence[Limits | None],
        labels: Labels | None,
    ) -> None:
        """Remember how to make them.

        Args:
            config: the recipe's parameters.
            scenes: all of them.
            grids: their windows.
            limits: of each scene, what becomes 0 and 255; None: found out when read.
            labels: None where nobody knows what the scenes show.
        """
        self.config = config
        self.scenes = tuple(scenes)
        self.grids = tuple(grids)
        self.limits = tuple(limits)
        self.labels = labels

    def __call__(self, entry: Entry) -> Sample:
        """The sample of a window and a prompt."""
        scene = self.scenes[entry.scene]
        window = self.grids[entry.scene][entry.window]
        asked = entry.asked
        limits = self.limits[entry.scene]
        targets: tuple[Target, ...] = ()
        ignore: BoolMask | None = np.ones(window.out_size, dtype=np.bool_)
        if self.labels is not None:
            targets, ignore = self._truth(entry, scene, window)
            if scene.has_gaps or window.padded:
                reader = SceneReader(scene, self.config.picture, limits)
                valid = reader.valid(window.box, window.out_size)
                if not valid.all():
                    ignore = ~valid if ignore is None else ignore | ~valid
        return Sample(
            id=entry.id,
            size=window.out_size,
            prompt=asked.prompt,
            targets=targets,
            load_image=WindowPicture(
                scene=scene, view=self.config.picture, limits=limits, window=window
            ),
            labels=asked.labels,
            kind=asked.kind,
            ignore=ignore,
            image_id=entry.image_id,
            tags=asked.tags if self.labels is not None else (*asked.tags, UNKNOWN_TRUTH),
            geo=scene.geo(window.box, window.out_size),
        )

    def _truth(
        self, entry: Entry, scene: Scene, window: Window
    ) -> tuple[tuple[Target, ...], BoolMask | None]:
        assert self.labels is not None
        asked = entry.asked
        wanted = [entry.features[i] for i in (*asked.targets, *asked.ignored)]
        masks, unlabelled = self.labels.masks(scene, window, wanted)
        named = [
            (name, masks[entry.features[index]])
            for index, name in zip(asked.targets, asked.names, strict=True)
        ]
        if self.config.targets == "semantic":
            joined: dict[str, BoolMask] = {}
            for name, mask in named:
                joined[name] = joined[name] | mask if name in joined else mask
            named = list(joined.items())
        targets = tuple(Target(label=name, mask=mask) for name, mask in named)
        ignore = unlabelled
        for index in asked.ignored:
            mask = masks[entry.features[index]]
            ignore = mask if ignore is None else ignore | mask
        if ignore is not None:
            for target in targets:
                ignore = ignore & ~target.mask
            if not ignore.any():
                ignore = None
        return targets, ignore


def score_things(things: Sequence[Thing], config: WindowsConfig) -> tuple[list[Thing], int, int]:
    """Mark what is too small or beyond ``max_instances`` as not scored.

    Returns:
        The things, and how many were marked for either reason.
    """
    kept = [replace(thing, scored=thing.area >= config.min_area) for thing in things]
    small = sum(not thing.scored for thing in kept)
    beyond = 0
    if config.max_instances is not None:
        for label in {thing.label for thing in kept if thing.label is not None}:
            own = [i for i, thing in enumerate(kept) if thing.label == label and thing.scored]
            own.sort(key=lambda i: -kept[i].area)
            for index in own[config.max_instances :]:
                kept[index] = replace(kept[index], scored=False)
                beyond += 1
    return kept, small, beyond
