"""Choosing between a coarse mask and a refined one, pixel by pixel and region by region.

The descriptor's grid says where a mask is certain: further than about half a cell from its edge.
There the coarse mask stands, and a refined mask that contradicts it there found something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box, Region, SoftMask

Outcome = Literal["refined", "kept_empty", "kept_fine", "kept_unsure", "kept_disagreeing"]
"""What became of a region: refined; or coarse, because its mask or the refined one is empty, its
cells are finer than the refiner's, the refiner is unsure, or the masks disagree."""


def occupancy(region: Region) -> SoftMask:
    """What the region says of every pixel, float32[H, W] in 0..1."""
    return region.mask.astype(np.float32) if region.soft is None else region.soft


@dataclass(frozen=True, kw_only=True, eq=False)
class Blend:
    """A refined mask near the coarse one's edge, and the coarse one elsewhere.

    Attributes:
        mask: bool[H, W].
        soft: float32[H, W] in 0..1.
        agreement: of the whole refined mask with the coarse one, 0..1: their IoU, where pixels
            near the coarse mask's edge count as agreeing.
    """

    mask: BoolMask
    soft: SoftMask
    agreement: float


def blend(region: Region, probability: SoftMask, reach: float | None) -> Blend:
    """Let a refiner decide near the coarse mask's edge.

    Args:
        region: coarse, its mask not empty.
        probability: the refiner's, float32[H, W] in 0..1; the object where it is above 0.5.
        reach: how far from the edge, in cells. With None, or a region without a cell, the whole
            refined mask is taken and no pixel counts as near.
    """
    coarse = region.mask
    refined = probability > 0.5
    free = edge_zone(region, reach)
    strays = np.count_nonzero((refined ^ coarse) & ~free)
    agreement = 1.0 - float(strays / np.count_nonzero(refined | coarse))
    if reach is not None and region.cell is not None:
        refined = np.where(free, refined, coarse)
        probability = np.where(free, probability, occupancy(region))
    return Blend(mask=refined, soft=probability, agreement=agreement)


def edge_zone(region: Region, reach: float | None) -> BoolMask:
    """Pixels no further than ``reach`` cells from one of the other side, bool[H, W].

    Nothing where the region has no cell or ``reach`` is None.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    zone = np.zeros(region.mask.shape, dtype=np.bool_)
    box = Box.of_mask(region.mask)
    if reach is None or region.cell is None or box is None:
        return zone
    steps = [int(reach * length) for length in region.cell]
    near = (
        slice(max(0, box.y0 - steps[0]), box.y1 + steps[0]),
        slice(max(0, box.x0 - steps[1]), box.x1 + steps[1]),
    )
    part: npt.NDArray[np.uint8] = region.mask[near].astype(np.uint8)
    high, low = part, part
    for axis, step in enumerate(steps):
        high = maximum_filter1d(high, 2 * step + 1, axis=axis, mode="nearest")
        low = minimum_filter1d(low, 2 * step + 1, axis=axis, mode="nearest")
    zone[near] = high != low
    return zone
