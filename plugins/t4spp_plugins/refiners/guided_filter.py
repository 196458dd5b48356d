"""The classical refiner: the coarse occupancy, smoothed along the picture's edges.

He, Sun, Tang, "Guided Image Filtering", TPAMI 2013: inside every window the output is a linear
function of the picture's colours (eq. 14 to 16, the picture in colour as the guide). It needs no
weights. docs/refiners.md compares it with GrabCut and the random walker.

Legend: ``H, W`` pixels of a part of the picture, ``*`` any shape.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from t4spp.components import Refiner
from t4spp.types import Box, Decoded, Image, Region, SoftMask
from t4spp_plugins.refiners.configs import GUIDED_CHOICES, GuidedFilterConfig
from t4spp_plugins.refiners.keeping import Blend, Outcome, blend, occupancy

Array = npt.NDArray[np.float64]

PIXELS_AT_ONCE = 2**19
"""Pixels that are filtered together: the memory it needs, some 200 bytes each."""

Settled = tuple[Outcome, Region]


class GuidedFilterRefiner(Refiner):
    """Lets mask edges follow the picture's, within a window of about a cell."""

    def __init__(self, params: GuidedFilterConfig) -> None:
        """Keep the parameters."""
        self.params = params
        self._counts: Counter[Outcome] = Counter()

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        """See :class:`Refiner`; labels, boxes, cells and the order of regions are kept."""
        settled = [_settled(image, region, [self.params])[0] for region in decoded.regions]
        self._counts.update(outcome for outcome, _ in settled)
        return dataclasses.replace(decoded, regions=tuple(region for _, region in settled))

    def refine_under(self, image: Image, decoded: Decoded, configs: Sequence[Any]) -> list[Decoded]:
        """See :class:`Refiner`."""
        found = [_settled(image, region, configs) for region in decoded.regions]
        return [
            dataclasses.replace(decoded, regions=tuple(own[number][1] for own in found))
            for number in range(len(configs))
        ]

    def choices(self) -> Mapping[str, Sequence[Any]]:
        """The window and the thresholds of keeping."""
        return GUIDED_CHOICES

    def counters(self) -> Mapping[str, int]:
        """How many regions were refined, and how many kept their coarse mask for which reason."""
        return {outcome: self._counts[outcome] for outcome in sorted(self._counts)}


def _settled(image: Image, region: Region, configs: Sequence[GuidedFilterConfig]) -> list[Settled]:
    """What becomes of a region under every config; what they share is computed once."""
    if not region.mask.any():
        return [("kept_empty", region) for _ in configs]
    filtered: dict[tuple[tuple[int, int], float], SoftMask] = {}
    blends: dict[tuple[tuple[int, int], float, float | None], Blend] = {}
    settled: list[Settled] = []
    for config in configs:
        cell = region.cell or (config.default_cell, config.default_cell)
        radius = int(config.radius * cell[0]), int(config.radius * cell[1])
        if radius == (0, 0):
            settled.append(("kept_fine", region))
            continue
        key = radius, config.smoothness
        if key not in filtered:
            filtered[key] = guided_occupancy(image, region, radius, config.smoothness)
        if (*key, config.reach) not in blends:
            blends[*key, config.reach] = blend(region, filtered[key], config.reach)
        settled.append(_decided(region, blends[*key, config.reach], config))
    return settled


def _decided(region: Region, found: Blend, config: GuidedFilterConfig) -> Settled:
    if found.agreement < config.min_agreement:
        return "kept_disagreeing", region
    if not found.mask.any():
        return "kept_empty", region
    return "refined", dataclasses.replace(region, mask=found.mask, soft=found.soft)


def guided_occupancy(
    image: Image, region: Region, radius: tuple[int, int], smoothness: float
) -> SoftMask:
    """A region's occupancy, filtered with the picture as the guide.

    Args:
        image: uint8[H, W, 3].
        region: its mask is not empty.
        radius: rows and columns of a window above and left of its middle.
        smoothness: the paper's epsilon, for colours in 0..1: what varies less is smoothed.

    Returns:
        float32[H, W] in 0..1; beyond two windows from the mask, what it was.
    """
    soft = occupancy(region)
    box = Box.of_mask(region.mask)
    assert box is not None, "a region without a pixel has no edge to follow"
    result: SoftMask = soft.copy()
    height, width = soft.shape
    top, bottom = max(0, box.y0 - 2 * radius[0]), min(height, box.y1 + 2 * radius[0])
    columns = slice(max(0, box.x0 - 2 * radius[1]), min(width, box.x1 + 2 * radius[1]))
    rows = max(1, PIXELS_AT_ONCE // (columns.stop - columns.start))
    for start in range(top, bottom, rows):
        stop = min(bottom, start + rows)
        # Two windows more on each side, so that bands join without a seam.
        outer = slice(max(top, start - 2 * radius[0]), min(bottom, stop + 2 * radius[0]))
        colours = image[outer, columns].astype(np.float64) / 255
        filtered = guided_filter(colours, soft[outer, columns], radius, smoothness)
        inner = filtered[start - outer.start : stop - outer.start]
        result[start:stop, columns] = np.clip(inner, 0.0, 1.0)
    return result


def guided_filter(
    guide: Array, values: npt.NDArray[Any], radius: tuple[int, int], smoothness: float
) -> Array:
    """The guided filter, float64[H, W].

    Args:
        guide: colours float64[H, W, 3] in 0..1.
        values: to be filtered, float[H, W].
        radius: rows and columns of a window above and left of its middle.
        smoothness: the paper's epsilon.
    """
    window = (2 * radius[0] + 1, 2 * radius[1] + 1)

    def mean(array: npt.NDArray[Any]) -> Array:
        """Over the window, for each channel."""
        size = (*window, *(1,) * (array.ndim - 2))
        found: Array = uniform_filter(array, size, mode="nearest")
        return found

    values = values.astype(np.float64)
    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values[..., None]) - mean_guide * mean_values[..., None]
    products = mean(guide[..., :, None] * guide[..., None, :])
    variance = products - mean_guide[..., :, None] * mean_guide[..., None, :]
    slope = np.linalg.solve(variance + smoothness * np.eye(3), covariance[..., None])[..., 0]
    offset = mean_values - (slope * mean_guide).sum(axis=-1)
    filtered: Array = (mean(slope) * guide).sum(axis=-1) + mean(offset)
    return filtered
