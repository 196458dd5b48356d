"""Between masks and outlines: tracing rings around a mask, and filling rings.

Coordinates are (y, x) in pixels, float64, (0, 0) the picture's upper left corner; the centre of the
pixel in row r and column c is (r + 0.5, c + 0.5). A ring is float64[N, 2], closed without repeating
its first vertex. A part is one outer ring and its holes, ``[outer, hole, ...]``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box

Ring = npt.NDArray[np.float64]
Part = list[Ring]


def trace(mask: BoolMask, box: Box) -> list[Part]:
    """The parts of a mask, by marching squares between the pixels' centres.

    Every ring runs half a pixel from the centres on both of its sides, so that filling the parts
    again gives the mask exactly. Pixels that touch at a corner are one part.

    Args:
        mask: bool[H, W].
        box: the tightest around its pixels.
    """
    from contourpy import FillType, contour_generator

    levels = np.zeros((box.height + 2, box.width + 2), dtype=np.float64)
    levels[1:-1, 1:-1] = mask[box.slices]
    generator = contour_generator(z=levels, name="serial", fill_type=FillType.OuterOffset)
    # below a half, so that two pixels that touch at a corner, whose middle is a half, are joined;
    # the vertices are then put back to the middle between the centres
    found_areas: Any = generator.filled(0.4, 2.0)
    points, offsets = found_areas
    corner = np.array([box.y0 - 0.5, box.x0 - 0.5])
    parts: list[Part] = []
    for found, ends in zip(points, offsets, strict=True):
        # contourpy says (x, y), and each ring's first vertex again at its end
        spans = zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        halves = np.rint(found[:, ::-1] * 2) / 2 + corner
        parts.append([halves[start : end - 1] for start, end in spans])
    return parts


def signed_area(ring: Ring) -> float:
    """Square pixels inside a ring; positive where it runs clockwise on the picture."""
    y, x = ring[:, 0], ring[:, 1]
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def fill(parts: Sequence[Part], size: tuple[int, int]) -> BoolMask:
    """The pixels of a region, bool[H, W].

    A pixel is inside a ring where a ray from its centre crosses the ring an odd number of times
    (even-odd, to a fifth of a pixel as COCO's tools round), and inside a part where it is inside
    its outer ring and inside none of its holes. Where that leaves no pixel at all, the region is
    the pixels that hold the vertices of its outer rings, so that nothing vanishes between centres.

    Args:
        parts: rings of at least three vertices, which may cross themselves and each other.
        size: (H, W) in pixels.
    """
    mask = centres_inside(parts, size)
    if not mask.any():
        for y, x in vertices_of(parts):
            mask[min(int(y), size[0] - 1), min(int(x), size[1] - 1)] = True
    return mask


def centres_inside(parts: Sequence[Part], size: tuple[int, int]) -> BoolMask:
    """The pixels whose centres are inside the parts, bool[H, W]; maybe none."""
    mask = np.zeros(size, dtype=np.bool_)
    for outer, *holes in parts:
        window, inside = _inside(outer, size)
        for hole in holes:
            hollow, pixels = _inside(hole, size)
            shared = _shared(window, hollow)
            if shared is not None:
                inside[_within(shared, window)] &= ~pixels[_within(shared, hollow)]
        mask[window.slices] |= inside
    return mask


def vertices_of(parts: Sequence[Part]) -> Iterator[tuple[float, float]]:
    """The vertices of all outer rings."""
    for outer, *_ in parts:
        yield from outer.tolist()


def _inside(ring: Ring, size: tuple[int, int]) -> tuple[Box, BoolMask]:
    """A window of the picture around a ring, and which of its pixels are inside the ring."""
    from pycocotools import mask as coco

    low, high = ring.min(axis=0), ring.max(axis=0)
    y0, x0 = (min(int(v), n - 1) for v, n in zip(low.tolist(), size, strict=True))
    y1, x1 = (min(math.ceil(v) + 1, n) for v, n in zip(high.tolist(), size, strict=True))
    window = Box(y0=y0, x0=x0, y1=y1, x1=x1)
    flat = (ring[:, ::-1] - (x0, y0)).ravel().tolist()
    (coded,) = coco.frPyObjects([flat], window.height, window.width)
    return window, coco.decode(coded).astype(np.bool_)


def _shared(one: Box, other: Box) -> Box | None:
    y0, y1 = max(one.y0, other.y0), min(one.y1, other.y1)
    x0, x1 = max(one.x0, other.x0), min(one.x1, other.x1)
    return Box(y0=y0, x0=x0, y1=y1, x1=x1) if y0 < y1 and x0 < x1 else None


def _within(box: Box, origin: Box) -> tuple[slice, slice]:
    rows = slice(box.y0 - origin.y0, box.y1 - origin.y0)
    return rows, slice(box.x0 - origin.x0, box.x1 - origin.x0)
