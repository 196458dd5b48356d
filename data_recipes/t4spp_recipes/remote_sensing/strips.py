"""Which windows train and which are held out, by where they lie: a strip at one side of the area.

Neighbouring scenes show the same streets and the same light, and a building may lie on both. So a
random split of scenes flatters a model; here all held-out scenes lie on one side of one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.geo.crs import reproject_points
from t4spp.geo.scenes import Scene
from t4spp.types import Box

Side = Literal["east", "west", "north", "south"]

EDGE = 0.01
"""Pixels by which a train window may reach over the border: rounding of the transforms."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The held-out strip. Positions grow towards its side, in the units of ``crs``.

    Attributes:
        val: indices of its scenes.
        border: the position where it begins; windows of ``train`` end before it.
        crs: of the positions, the first scene's.
        side: where it lies.
        gap: metres that ``train`` keeps away from the border.
    """

    val: frozenset[int]
    border: float
    crs: str
    side: Side
    gap: float

    def admits(self, scene: Scene, box: Box) -> bool:
        """Whether a window of a scene that is not held out lies ``gap`` metres before the strip."""
        _, far = _extent(scene, box, self.crs, self.side)
        pixels = self.gap / scene.pixel_size[1 if self.side in ("east", "west") else 0]
        return far <= self.border - (pixels - EDGE) * _pixel(scene, self.crs, self.side)


def held_out(scenes: Sequence[Scene], share: float, side: Side, gap: float) -> Strip:
    """The strip of about ``share`` of the scenes at a side of the area.

    The border lies between two columns (or rows) of scenes: scenes whose centres have one position
    stay together. Among the possible borders the one that comes nearest to ``share`` is taken, of
    two the one that holds less out.

    Raises:
        RecipeError: all scenes lie in one column (or row), so that there is no border.
    """
    crs = scenes[0].crs
    extents = [_extent(scene, _whole(scene), crs, side) for scene in scenes]
    centres = np.array([(near + far) / 2 for near, far in extents])
    order = np.argsort(centres, kind="stable")
    steps = np.diff(centres[order])
    together = min(_pixel(scene, crs, side) for scene in scenes)
    borders = [int(place) + 1 for place in np.flatnonzero(steps > together)]
    if not borders:
        across = "west to east" if side in ("east", "west") else "north to south"
        raise RecipeError(
            f"split: the {len(scenes)} scenes lie in one line from {across}, so that side={side} "
            "cannot part them. Choose another side, by: blocks, or set val_share to 0."
        )
    wanted = share * len(scenes)
    start = min(borders, key=lambda place: (abs(len(scenes) - place - wanted), -place))
    val = frozenset(int(index) for index in order[start:])
    return Strip(val=val, border=min(extents[i][0] for i in val), crs=crs, side=side, gap=gap)


def _whole(scene: Scene) -> Box:
    return Box(y0=0, x0=0, y1=scene.size[0], x1=scene.size[1])


def outline(scene: Scene, box: Box, crs: str) -> npt.NDArray[np.float64]:
    """float64[4, 2]: the corners of a window, (x, y) in ``crs``."""
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
    points = scene.to_map(np.array(corners, dtype=np.float64))
    if crs != scene.crs:
        points = reproject_points(points, scene.crs, crs)
    return points


def _extent(scene: Scene, box: Box, crs: str, side: Side) -> tuple[float, float]:
    """(near, far) positions of a window; they grow towards ``side``."""
    values = outline(scene, box, crs)[:, 0 if side in ("east", "west") else 1]
    if side in ("west", "south"):
        values = -values
    return float(values.min()), float(values.max())


def _pixel(scene: Scene, crs: str, side: Side) -> float:
    """The length of a pixel along the axis."""
    near, far = _extent(scene, _whole(scene), crs, side)
    return (far - near) / scene.size[1 if side in ("east", "west") else 0]
