"""The shapes of RefShapes as signed distance functions, antialiased without supersampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""float32[h, w]."""


def _box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0), dtype=np.float32)


def _polygon(x: Field, y: Field, vertices: npt.NDArray[np.float64]) -> Field:
    """Signed distance to a simple polygon, vertices float64[n, 2] as (x, y)."""
    squared = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
        squared = np.minimum(squared, (px - ex * along) ** 2 + (py - ey * along) ** 2)
        if ey != 0:
            crosses = (ay > y) != (by > y)
            inside ^= crosses & (x < ex * (y - ay) / ey + ax)
    distance = np.sqrt(squared)
    return np.asarray(np.where(inside, -distance, distance), dtype=np.float32)


def _regular(count: int, radii: tuple[float, ...], turn: float) -> npt.NDArray[np.float64]:
    angles = turn + 2 * np.pi * np.arange(count) / count
    radius = np.resize(np.asarray(radii), count)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


_STAR = _regular(10, (1.0, 0.45), -np.pi / 2)
_DIAMOND = np.array([[0, -1], [0.75, 0], [0, 1], [-0.75, 0]], dtype=np.float64)
_TRIANGLE = np.array([[0, -0.95], [0.95, 0.85], [-0.95, 0.85]], dtype=np.float64)
_DOTS = np.array([[-0.62, -0.62], [0.62, -0.62], [-0.62, 0.62], [0.62, 0.62]])
_DOT_RADIUS = 0.36

SHAPES: dict[str, Callable[[Field, Field, float], Field]] = {
    "circle": lambda x, y, r: np.asarray(np.hypot(x, y) - r, dtype=np.float32),
    "square": lambda x, y, r: _box(x, y, 0.88 * r, 0.88 * r),
    "triangle": lambda x, y, r: _polygon(x, y, _TRIANGLE * r),
    "diamond": lambda x, y, r: _polygon(x, y, _DIAMOND * r),
    "star": lambda x, y, r: _polygon(x, y, _STAR * r),
    "cross": lambda x, y, r: np.minimum(
        _box(x, y, 0.95 * r, 0.32 * r), _box(x, y, 0.32 * r, 0.95 * r)
    ),
    "ring": lambda x, y, r: np.asarray(np.abs(np.hypot(x, y) - 0.74 * r) - 0.26 * r, np.float32),
    "frame": lambda x, y, r: np.maximum(
        _box(x, y, 0.9 * r, 0.9 * r), -_box(x, y, 0.48 * r, 0.48 * r)
    ),
    "bar": lambda x, y, r: _box(x, y, r, 0.16 * r),
    "dots": lambda x, y, r: np.asarray(
        np.min([np.hypot(x - cx * r, y - cy * r) for cx, cy in _DOTS], axis=0) - _DOT_RADIUS * r,
        dtype=np.float32,
    ),
}
"""Name -> signed distance in pixels (negative inside) at (x, y) from the centre, outer radius r.

``ring`` and ``frame`` have a hole, ``bar`` is thin, ``dots`` has four parts."""

_AREAS: dict[str, float] = {}


def unit_area(shape: str) -> float:
    """Area of ``shape`` at outer radius 1, measured once on a fine raster."""
    if shape not in _AREAS:
        axis = np.linspace(-1.2, 1.2, 481, dtype=np.float32)
        x, y = np.meshgrid(axis, axis)
        _AREAS[shape] = float((SHAPES[shape](x, y, 1.0) < 0).mean() * 2.4 * 2.4)
    return _AREAS[shape]


def coverage(
    shape: str, centre: tuple[float, float], radius: float, angle: float, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], tuple[slice, slice]]:
    """Antialiased coverage of one object.

    Args:
        shape: a key of ``SHAPES``.
        centre: (y, x) in pixels; pixel (0, 0) covers 0..1.
        radius: outer radius in pixels.
        angle: rotation in radians, counter-clockwise as seen.
        size: (H, W) of the picture.

    Returns:
        float32[h, w] in 0..1 and the window of the picture that it covers.
    """
    reach = 1.45 * radius + 1.5
    y0, y1 = max(int(centre[0] - reach), 0), min(int(centre[0] + reach) + 1, size[0])
    x0, x1 = max(int(centre[1] - reach), 0), min(int(centre[1] + reach) + 1, size[1])
    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32) + np.float32(0.5)
    y, x = y - np.float32(centre[0]), x - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    distance = SHAPES[shape](cos * x - sin * y, sin * x + cos * y, radius)
    return np.clip(0.5 - distance, 0, 1), (slice(y0, y1), slice(x0, x1))
