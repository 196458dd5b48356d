"""The pixels of a generated scene, part by part, so that a scene of any size can be written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.types import Box
from t4spp_recipes.remote_sensing.geoshapes.layout import Feature, Layout

PART = 512
"""Side of the parts that a scene is painted in, pixels; noise is drawn part by part."""
KNOT = 96
"""Pixels between the knots of the ground's patches of light and dark."""
SHADOW_M = 1.5
"""Metres that a building's shadow is cast, right and down."""

COLOURS: dict[str, tuple[int, int, int, int]] = {
    "ground": (112, 118, 84, 150),
    "tree": (52, 82, 46, 190),
    "wheat": (206, 184, 112, 130),
    "maize": (84, 128, 62, 205),
    "meadow": (128, 160, 84, 210),
    "fallow": (142, 110, 80, 90),
    "clay_tiles": (178, 82, 58, 95),
    "tin": (148, 166, 186, 120),
    "concrete": (204, 200, 190, 140),
    "thatch": (160, 128, 76, 110),
    "asphalt": (92, 92, 98, 60),
    "gravel": (188, 172, 148, 100),
    "water": (48, 82, 112, 15),
}
"""Red, green, blue and near infrared."""
FURROWS = frozenset({"wheat", "maize", "fallow"})

Values = npt.NDArray[np.float32]


class Painter:
    """Paints a layout; the same layout and seed give the same pixels, whatever the order."""

    def __init__(
        self, layout: Layout, pixel: float, seed: tuple[int, ...], num_bands: int = 3
    ) -> None:
        """Index the layout.

        Args:
            layout: of the scene.
            pixel: metres a pixel.
            seed: entropy.
            num_bands: 3, or 4 with near infrared.
        """
        import shapely

        self.layout = layout
        self.pixel = pixel
        self.seed = seed
        self.num_bands = num_bands
        self._things = shapely.STRtree([feature.polygon for feature in layout.features])
        self._trees = shapely.STRtree(layout.trees)
        knots = tuple(side // KNOT + 3 for side in layout.size)
        self._knots = np.random.default_rng([*seed, 1]).normal(0, 1, knots).astype(np.float32)

    def parts(self) -> list[Box]:
        """The parts of the scene, row by row."""
        height, width = self.layout.size
        return [
            Box(y0=y, x0=x, y1=min(y + PART, height), x1=min(x + PART, width))
            for y in range(0, height, PART)
            for x in range(0, width, PART)
        ]

    def paint(self, part: Box) -> npt.NDArray[np.uint8]:
        """uint8[B, H, W] of one of :meth:`parts`."""
        import shapely

        rng = np.random.default_rng([*self.seed, 2, part.y0 // PART, part.x0 // PART])
        reach = SHADOW_M / self.pixel + 1
        frame = shapely.box(part.x0 - reach, part.y0 - reach, part.x1 + reach, part.y1 + reach)
        things = [self.layout.features[index] for index in sorted(self._things.query(frame))]
        trees = [self.layout.trees[index] for index in sorted(self._trees.query(frame))]
        size = (part.height, part.width)
        light = 9 * self._patches(part) + rng.normal(0, 4, size).astype(np.float32)
        pixels = self._colour("ground")[:, None, None] + np.float32(1.4) * light
        pixels = _laid(pixels, self._colour("tree"), _burn(trees, part) > 0, light)
        shadows = [
            shapely.transform(feature.polygon, lambda points: points + SHADOW_M / self.pixel)
            for feature in things
            if feature.label == "building"
        ]
        pixels = np.where(_burn(shadows, part) > 0, pixels * np.float32(0.6), pixels)
        number = _burn([feature.polygon for feature in things], part)
        if things:
            table, furrows = self._tables(things)
            texture = light * 0.6 + self._furrows(part, furrows[number])
            pixels = _laid(pixels, table[:, number], number > 0, texture)
            shaded = _burn([f.shade for f in things if f.shade is not None], part) > 0
            pixels = np.where(shaded & (number > 0), pixels * np.float32(0.78), pixels)
        return np.clip(np.rint(pixels), 1, 255).astype(np.uint8)

    def _colour(self, look: str) -> Values:
        return np.array(COLOURS[look][: self.num_bands], dtype=np.float32)

    def _tables(self, things: Sequence[Feature]) -> tuple[Values, Values]:
        """Colours float32[B, N + 1] and (cos, sin, strength) of furrows float32[N + 1, 3]."""
        colours = np.zeros((self.num_bands, len(things) + 1), dtype=np.float32)
        furrows = np.zeros((len(things) + 1, 3), dtype=np.float32)
        for number, feature in enumerate(things, start=1):
            left, top = feature.polygon.bounds[:2]
            own = np.random.default_rng([*self.seed, 3, int(left) + 4096, int(top) + 4096])
            strong = 1.0 if feature.label in ("building", "field") else 0.4
            tint = strong * (own.normal(0, 4, self.num_bands) + own.normal(0, 6))
            colours[:, number] = self._colour(feature.look) + tint
            strength = 8.0 if feature.look in FURROWS else 0.0
            furrows[number] = (math.cos(feature.angle), math.sin(feature.angle), strength)
        return colours, furrows

    def _furrows(self, part: Box, furrows: Values) -> Values:
        rows = np.arange(part.y0, part.y1, dtype=np.float32)[:, None] * self.pixel
        columns = np.arange(part.x0, part.x1, dtype=np.float32)[None] * self.pixel
        across = columns * furrows[..., 1] - rows * furrows[..., 0]
        wave = np.sin(across * np.float32(2 * math.pi / 3.2))
        return np.asarray(wave * furrows[..., 2], dtype=np.float32)

    def _patches(self, part: Box) -> Values:
        """Bilinear noise float32[H, W] of unit variance, the same whatever part is asked for."""
        y = np.arange(part.y0, part.y1, dtype=np.float32) / KNOT
        x = np.arange(part.x0, part.x1, dtype=np.float32) / KNOT
        rows, columns = y.astype(np.intp), x.astype(np.intp)
        down, across = (y - rows)[:, None], (x - columns)[None]
        upper = self._knots[rows] * (1 - down) + self._knots[rows + 1] * down
        return np.asarray(
            upper[:, columns] * (1 - across) + upper[:, columns + 1] * across, dtype=np.float32
        )


def _laid(pixels: Values, colour: Values, where: npt.NDArray[np.bool_], texture: Values) -> Values:
    paint = (colour[:, None, None] if colour.ndim == 1 else colour) + texture
    return np.asarray(np.where(where, paint, pixels), dtype=np.float32)


def _burn(polygons: Sequence[Any], part: Box) -> npt.NDArray[np.int32]:
    """int32[H, W]: the number of the polygon around each pixel's centre, from 1; 0 for none."""
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    if not polygons:
        return np.zeros((part.height, part.width), dtype=np.int32)
    burnt = rasterize(
        [(polygon, number) for number, polygon in enumerate(polygons, start=1)],
        out_shape=(part.height, part.width),
        transform=Affine.translation(part.x0, part.y0),
        dtype="int32",
    )
    return np.asarray(burnt, dtype=np.int32)
