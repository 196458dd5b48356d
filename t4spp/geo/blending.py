"""Weights that let overlapping windows fade into each other, and masks on a scene's own pixels.

A window knows least at its own border, where things are cut: its weight rises linearly from each
border to the middle. Where a border is the scene's own, nothing is cut and nothing fades.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box, Region, SoftMask

Weights = npt.NDArray[np.float32]
"""float32[N] in (0, 1]: of the rows or the columns of a window."""
Levels = npt.NDArray[np.uint8]
"""uint8[H, W]: occupancy times 255; 128 and more is inside."""

INSIDE = 128
"""The lowest level of a pixel that a region's mask holds."""


def clipped(box: Box, size: tuple[int, int]) -> Box:
    """The part of a window that lies in a scene of ``size`` (H, W); may be empty."""
    return Box(
        y0=max(box.y0, 0), x0=max(box.x0, 0), y1=min(box.y1, size[0]), x1=min(box.x1, size[1])
    )


@lru_cache(maxsize=1024)
def border_weights(start: int, stop: int, length: int) -> Weights:
    """Weights of the pixels of one axis of a window that lie in the scene.

    Args:
        start: the window's first row or column; may be negative.
        stop: the one behind its last; may lie beyond the scene.
        length: the scene's number of rows or columns.

    Returns:
        float32 of the pixels ``max(start, 0) .. min(stop, length)``, in (0, 1]; read-only, since
        the windows of a row, and of a column, share them.
    """
    places = np.arange(max(start, 0), min(stop, length), dtype=np.float32) + 0.5
    near = np.full(places.shape, np.inf, dtype=np.float32) if start <= 0 else places - start
    far = np.full(places.shape, np.inf, dtype=np.float32) if stop >= length else stop - places
    weights = np.minimum(np.minimum(near, far) / ((stop - start) / 2), 1.0).astype(np.float32)
    weights.flags.writeable = False
    return weights


def levels_of(mask: BoolMask, soft: SoftMask | None) -> Levels:
    """Occupancy in 255 steps, uint8[H, W]; at least ``INSIDE`` exactly on the mask.

    ``soft`` may disagree with the mask (a refiner drew a new one): then the mask wins.

    Args:
        mask: bool[H, W].
        soft: float32[H, W] in 0..1; None counts the mask as sure.
    """
    if soft is None:
        return np.where(mask, np.uint8(255), np.uint8(0))
    scaled = soft * np.float32(255.0)
    scaled += np.float32(0.5)
    np.minimum(scaled, np.float32(255.0), out=scaled)
    levels = np.maximum(scaled, np.float32(0.0), out=scaled).astype(np.uint8)
    # A pixel of the mask has at least INSIDE, another at most one less.
    levels = np.maximum(levels, mask.view(np.uint8) * np.uint8(INSIDE), out=levels)
    ceiling = mask.view(np.uint8) * np.uint8(255 - (INSIDE - 1)) + np.uint8(INSIDE - 1)
    bounded: Levels = np.minimum(levels, ceiling, out=levels)
    return bounded


def levels_in(region: Region, box: Box, size: tuple[int, int]) -> Placed | None:
    """A region of a window on the scene's own pixels, as far as it lies in the scene.

    Args:
        region: bool[h, w], of the window's picture.
        box: the window, in the scene's pixels.
        size: (H, W) of the scene.

    Returns:
        None where the mask is empty in the scene.
    """
    tight = Box.of_mask(region.mask)
    if tight is None:
        return None
    if region.mask.shape == (box.height, box.width):
        span = _support(region, tight)
        soft = None if region.soft is None else region.soft[span.slices]
        levels = levels_of(region.mask[span.slices], soft)
        span, tight = _moved(span, box), _moved(tight, box)
        inner, inside = clipped(span, size), clipped(tight, size)
        if inside == tight:  # nothing of the mask lies beyond the scene
            return Placed(box=inner, levels=_part(levels, inner, span), tight=tight)
    else:
        picture = levels_of(region.mask, region.soft)
        inner = _reached(picture, box, size)
        span = inner
        levels = np.zeros((0, 0), dtype=np.uint8)
        if inner.height > 0 and inner.width > 0:
            levels = _resized_part(picture, box, inner)
            kept = Box.of_mask(levels > 0)
            if kept is None:
                return None
            span = inner = _moved(kept, inner)
            levels = levels[kept.slices].copy()  # a view would keep all that was resized
    if inner.height <= 0 or inner.width <= 0:
        return None
    levels = _part(levels, inner, span)
    found = Box.of_mask(levels >= INSIDE)
    return None if found is None else Placed(box=inner, levels=levels, tight=_moved(found, inner))


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """A region on the scene's pixels.

    Attributes:
        box: in the scene; holds all levels above 0.
        levels: uint8 of the box's size.
        tight: around its mask, in the scene.
    """

    box: Box
    levels: Levels
    tight: Box


def _support(region: Region, tight: Box) -> Box:
    """Where a region's levels are above 0; of one with a box, no further than box and mask."""
    if region.soft is None:
        return tight
    written = Box.of_mask(region.soft > 0) if region.box is None else region.box
    if written is None:
        return tight
    return Box(
        y0=min(tight.y0, written.y0),
        x0=min(tight.x0, written.x0),
        y1=max(tight.y1, written.y1),
        x1=max(tight.x1, written.x1),
    )


def _part(levels: Levels, inner: Box, outer: Box) -> Levels:
    return levels if inner == outer else levels[_moved(inner, outer, back=True).slices]


def _moved(box: Box, origin: Box, *, back: bool = False) -> Box:
    """A box that counts from ``origin``'s corner, counted from the scene's, or the reverse."""
    dy, dx = (-origin.y0, -origin.x0) if back else (origin.y0, origin.x0)
    return Box(y0=box.y0 + dy, x0=box.x0 + dx, y1=box.y1 + dy, x1=box.x1 + dx)


def _reached(picture: Levels, box: Box, size: tuple[int, int]) -> Box:
    """The scene's pixels that levels above 0 of a window's picture can reach; may be empty."""
    above = Box.of_mask(picture > 0)
    if above is None:
        return Box(y0=box.y0, x0=box.x0, y1=box.y0, x1=box.x0)
    y0, y1 = _reach(above.y0, above.y1, picture.shape[0], box.height)
    x0, x1 = _reach(above.x0, above.x1, picture.shape[1], box.width)
    return clipped(_moved(Box(y0=y0, x0=x0, y1=y1, x1=x1), box), size)


def _reach(start: int, stop: int, length: int, out: int) -> tuple[int, int]:
    """What pixels start..stop of an axis of ``length`` add to, on the same axis of ``out``."""
    scale = length / out
    more = max(scale, 1.0)  # how far the bilinear filter reaches
    first = math.floor((start + 0.5 - more) / scale - 0.5)
    last = math.ceil((stop - 0.5 + more) / scale - 0.5) + 1
    return max(first, 0), min(last, out)


def _resized_part(picture: Levels, box: Box, inner: Box) -> Levels:
    """The part ``inner`` of a window's levels on the scene's pixels; nothing else is made.

    As :func:`resized_levels` of the whole window and then cut, to one level.
    """
    from PIL import Image as PILImage

    part = _moved(inner, box, back=True)
    (height, width), (rows, columns) = picture.shape, (box.height, box.width)
    source = (
        part.x0 * width / columns,
        part.y0 * height / rows,
        min(part.x1 * width / columns, width),
        min(part.y1 * height / rows, height),
    )
    found = PILImage.fromarray(picture).resize(
        (part.width, part.height), PILImage.Resampling.BILINEAR, box=source
    )
    return np.array(found, dtype=np.uint8)


def resized_levels(levels: Levels, size: tuple[int, int]) -> Levels:
    """Occupancy on another grid: bilinear where it grows, averaged where it shrinks."""
    if levels.shape == size:
        return levels
    from PIL import Image as PILImage

    picture = PILImage.fromarray(levels)
    wanted = (size[1], size[0])
    return np.array(picture.resize(wanted, PILImage.Resampling.BILINEAR), dtype=np.uint8)


def mask_in(mask: BoolMask, box: Box, inner: Box) -> BoolMask:
    """A part of a window's mask on the scene's own pixels, by the nearest pixel.

    Args:
        mask: bool[h, w], of the window's picture.
        box: the window, in the scene's pixels.
        inner: the part of it that is asked for, in the scene's pixels.

    Returns:
        bool of ``inner``'s size.
    """
    part = _moved(inner, box, back=True)
    if mask.shape == (box.height, box.width):
        return mask[part.slices]
    rows = _nearest(part.y0, part.y1, mask.shape[0], box.height)
    columns = _nearest(part.x0, part.x1, mask.shape[1], box.width)
    found: BoolMask = mask[rows[:, None], columns]
    return found


def _nearest(start: int, stop: int, length: int, out: int) -> npt.NDArray[np.int64]:
    """Which of ``length`` pixels holds the middle of each of start..stop, of ``out``."""
    return (2 * np.arange(start, stop, dtype=np.int64) + 1) * length // (2 * out)
