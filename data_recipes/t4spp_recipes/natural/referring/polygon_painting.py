"""Paints polygons as the datasets' own scripts do, pixel for pixel.

ReasonSeg's masks are what OpenCV's ``polylines`` and ``fillPoly`` make of its polygons, PhraseCut's
what PIL's ``ImageDraw.polygon`` makes of them. OpenCV is no dependency of this project: its rule is
written here as 4.8 has it, which LISA pins (8-connected outline, left to right; inside by the
even-odd rule on slopes of 16 fractional bits). docs/datasets-referring.md tells how it compares.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask

_SHIFT = 16
_ONE = 1 << _SHIFT
_Point = tuple[int, int]


def fill_as_opencv(points: npt.ArrayLike, size: tuple[int, int]) -> BoolMask:
    """bool[H, W] of a closed polygon with its outline, as OpenCV paints it.

    Args:
        points: float or int [N, 2] of (x, y) in pixels; fractions are cut off, towards zero.
        size: (H, W).
    """
    corners = [(int(x), int(y)) for x, y in np.asarray(points, dtype=np.float64).reshape(-1, 2)]
    mask = np.zeros(size, dtype=np.bool_)
    crossings: list[npt.NDArray[np.int64]] = []
    for first, second in zip(corners[-1:] + corners[:-1], corners, strict=True):
        _draw_line(mask, first, second)
        if first[1] != second[1]:
            crossings.append(_crossings(first, second, size))
    if crossings:
        _fill_between(mask, np.concatenate(crossings))
    return mask


def fill_as_pil(polygons: Iterable[npt.NDArray[np.int32]], size: tuple[int, int]) -> BoolMask:
    """bool[H, W] of polygons with their outlines, united, as PIL paints them.

    Args:
        polygons: int32[N, 2] of (x, y) in pixels. One of two points is a line.
        size: (H, W).
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        draw.polygon([(int(x), int(y)) for x, y in polygon.tolist()], outline=1, fill=1)
    return np.asarray(canvas, dtype=np.bool_)


def _quotient(numerator: int, denominator: int) -> int:
    """Division towards zero, as C's."""
    result = abs(numerator) // abs(denominator)
    return result if (numerator < 0) == (denominator < 0) else -result


def _clip_line(first: _Point, second: _Point, size: tuple[int, int]) -> tuple[_Point, _Point, bool]:
    """The part of a line in the picture (Cohen and Sutherland), and whether there is one."""
    right, bottom = size[1] - 1, size[0] - 1
    (x1, y1), (x2, y2) = first, second

    def outside(x: int, y: int) -> tuple[int, int]:
        return (x > right) - (x < 0), (y > bottom) - (y < 0)

    (h1, v1), (h2, v2) = outside(x1, y1), outside(x2, y2)
    if not (h1 or v1 or h2 or v2):
        return first, second, True
    if (h1 and h1 == h2) or (v1 and v1 == v2):
        return first, second, False
    if v1:
        edge = 0 if v1 < 0 else bottom
        x1, y1 = x1 + _quotient((edge - y1) * (x2 - x1), y2 - y1), edge
        h1 = outside(x1, y1)[0]
    if v2:
        edge = 0 if v2 < 0 else bottom
        x2, y2 = x2 + _quotient((edge - y2) * (x2 - x1), y2 - y1), edge
        h2 = outside(x2, y2)[0]
    if h1 and h1 == h2:
        return (x1, y1), (x2, y2), False
    if h1:
        edge = 0 if h1 < 0 else right
        x1, y1 = edge, y1 + _quotient((edge - x1) * (y2 - y1), x2 - x1)
    if h2:
        edge = 0 if h2 < 0 else right
        x2, y2 = edge, y2 + _quotient((edge - x2) * (y2 - y1), x2 - x1)
    return (x1, y1), (x2, y2), True


def _draw_line(mask: BoolMask, first: _Point, second: _Point) -> None:
    """Bresenham's line in the picture, from its left end."""
    height, width = mask.shape
    first, second, visible = _clip_line(first, second, (height, width))
    if not visible:
        return
    (x1, y1), (x2, y2) = sorted((first, second), key=lambda point: point[0])
    if first[0] == second[0]:
        (x1, y1), (x2, y2) = first, second
    dx, dy = x2 - x1, y2 - y1
    long, short = max(dx, abs(dy)), min(dx, abs(dy))
    steps = np.arange(long + 1, dtype=np.int64)
    # The side step comes where the error falls below zero: it starts at long - 2 short, and each
    # step takes 2 short from it.
    aside = (2 * short * steps + long - 1) // (2 * long) if long else steps
    down = 1 if dy >= 0 else -1
    if long == dx:
        mask[y1 + down * aside, x1 + steps] = True
    else:
        mask[y1 + down * steps, x1 + aside] = True


def _crossings(first: _Point, second: _Point, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """int64[rows, 2]: (row, x in 1/65536 pixel) of an edge that is not level."""
    height, width = size
    ends = [(x << _SHIFT, y) for x, y in (first, second)]
    if all(0 <= x < width and 0 <= y < height for x, y in (first, second)):
        ends = [(x + _ONE // 2, y) for x, y in ends]
    else:
        clipped = _clip_line(first, second, size)[:2]
        if clipped[0][1] != clipped[1][1]:
            ends = [(x << _SHIFT, y) for x, y in clipped]
    (xa, ya), (xb, yb) = ends
    slope = _quotient(xb - xa, yb - ya)
    upper = (xa, ya) if first[1] < second[1] else (xb, yb)
    top, end = sorted((first[1], second[1]))
    rows = np.arange(max(top, 0), min(end, height), dtype=np.int64)
    return np.stack([rows, upper[0] + (rows - upper[1]) * slope], axis=1)


def _fill_between(mask: BoolMask, crossings: npt.NDArray[np.int64]) -> None:
    """Fill from each odd to the next even crossing of a row."""
    height, width = mask.shape
    crossings = crossings[np.lexsort((crossings[:, 1], crossings[:, 0]))]
    pairs = crossings.reshape(-1, 4)  # every row of a closed polygon has an even number
    rows, left, right = pairs[:, 0], pairs[:, 1] >> _SHIFT, pairs[:, 3] >> _SHIFT
    seen = (left < width) & (right >= 0)
    change = np.zeros((height, width + 1), dtype=np.int32)
    np.add.at(change, (rows[seen], np.maximum(left[seen], 0)), 1)
    np.add.at(change, (rows[seen], np.minimum(right[seen], width - 1) + 1), -1)
    mask |= np.cumsum(change, axis=1)[:, :width] > 0
