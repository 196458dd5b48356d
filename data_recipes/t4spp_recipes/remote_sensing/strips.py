"""Which windows train and which are held out, by where they lie: a strip at one side of the area.

Neighbouring tiles show the same streets and the same light, and a building may lie on both. So a
random split of tiles flatters a model; here all held-out tiles lie on one side of one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.types import Box
from t4spp_recipes.remote_sensing.tiles import Tile

Side = Literal["east", "west", "north", "south"]

EDGE = 0.01
"""Pixels by which a train window may reach over the border: rounding of the transforms."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The held-out strip. Positions grow towards its side, in the units of ``crs``.

    Attributes:
        val: indices of its tiles.
        border: the position where it begins; windows of ``train`` end before it.
        crs: of the positions, the first tile's.
        side: where it lies.
        gap: pixels that ``train`` keeps away from the border.
    """

    val: frozenset[int]
    border: float
    crs: str
    side: Side
    gap: int

    def admits(self, tile: Tile, box: Box) -> bool:
        """Whether a window of a tile that is not held out lies ``gap`` pixels before the strip."""
        _, far = _extent(tile, box, self.crs, self.side)
        return far <= self.border - (self.gap - EDGE) * _pixel(tile, self.crs, self.side)


def held_out(tiles: Sequence[Tile], share: float, side: Side, gap: int) -> Strip:
    """The strip of about ``share`` of the tiles at a side of the area.

    The border lies between two columns (or rows) of tiles: tiles whose centres have one position
    stay together. Among the possible borders the one that comes nearest to ``share`` is taken, of
    two the one that holds less out.

    Raises:
        RecipeError: all tiles lie in one column (or row), so that there is no border.
    """
    crs = tiles[0].crs
    extents = [_extent(tile, _whole(tile), crs, side) for tile in tiles]
    centres = np.array([(near + far) / 2 for near, far in extents])
    order = np.argsort(centres, kind="stable")
    steps = np.diff(centres[order])
    together = min(_pixel(tile, crs, side) for tile in tiles)
    borders = [int(place) + 1 for place in np.flatnonzero(steps > together)]
    if not borders:
        across = "west to east" if side in ("east", "west") else "north to south"
        raise RecipeError(
            f"geo-polygons: the {len(tiles)} tiles lie in one line from {across}, so that "
            f"val_side={side} cannot part them. Choose another val_side, or set val_share to 0."
        )
    wanted = share * len(tiles)
    start = min(borders, key=lambda place: (abs(len(tiles) - place - wanted), -place))
    val = frozenset(int(index) for index in order[start:])
    return Strip(val=val, border=min(extents[i][0] for i in val), crs=crs, side=side, gap=gap)


def _whole(tile: Tile) -> Box:
    return Box(y0=0, x0=0, y1=tile.size[0], x1=tile.size[1])


def outline(tile: Tile, box: Box, crs: str) -> npt.NDArray[np.float64]:
    """float64[4, 2]: the corners of a window, (x, y) in ``crs``."""
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
    points = tile.to_map(np.array(corners, dtype=np.float64))
    if crs != tile.crs:
        from rasterio.warp import transform

        points = np.stack(transform(tile.crs, crs, points[:, 0], points[:, 1]), axis=1)
    return points


def _extent(tile: Tile, box: Box, crs: str, side: Side) -> tuple[float, float]:
    """(near, far) positions of a window; they grow towards ``side``."""
    values = outline(tile, box, crs)[:, 0 if side in ("east", "west") else 1]
    if side in ("west", "south"):
        values = -values
    return float(values.min()), float(values.max())


def _pixel(tile: Tile, crs: str, side: Side) -> float:
    """The length of a pixel along the axis."""
    near, far = _extent(tile, _whole(tile), crs, side)
    return (far - near) / tile.size[1 if side in ("east", "west") else 0]
