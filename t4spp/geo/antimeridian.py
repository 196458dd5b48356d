"""Longitudes and latitudes across the 180th meridian: polygons are cut there (RFC 7946, 3.1.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.crs import LONGITUDE_LATITUDE, Geometries, reproject
from t4spp.geo.tracing import areal

_PIECES = 32
"""Stretches of a wide outline's side; so many are enough to tell a jump from a long edge."""


def in_degrees(geometries: Geometries | Sequence[Any], crs: str) -> Geometries:
    """Polygons in longitude -180..180 and latitude; those across the 180th meridian are cut there.

    What contains a pole is not mended.

    Args:
        geometries: object[N] of shapely polygons and multipolygons, (x, y) in ``crs``.
        crs: their CRS.

    Returns:
        object[N]; where something was cut, a MultiPolygon.

    Raises:
        GeoError: a vertex has no longitude and latitude, or the CRS is unknown.
    """
    import shapely

    own = np.asarray(geometries, dtype=object)
    moved = np.array(reproject(own, crs, LONGITUDE_LATITUDE), dtype=object)
    if moved.size == 0:
        return moved
    west, _, east, _ = shapely.bounds(moved).T
    for index in np.flatnonzero((east - west > 180) | (west < -180) | (east > 180)):
        polygon = moved[index]
        if east[index] - west[index] > 180 and _jumps(own[index], crs):
            polygon = shapely.transform(polygon, _eastwards)
        moved[index] = _cut(polygon)
    return moved


def _jumps(polygon: Any, crs: str) -> bool:
    """Whether an outline leaps from one end of the longitudes to the other.

    A wide polygon's edges may be as long; they are told apart by points on the way.
    """
    import shapely

    left, bottom, right, top = polygon.bounds
    divided = shapely.segmentize(polygon, max(right - left, top - bottom) / _PIECES)
    (degrees,) = reproject([divided], crs, LONGITUDE_LATITUDE)
    for part in shapely.get_parts(degrees):
        for ring in (part.exterior, *part.interiors):
            if (np.abs(np.diff(shapely.get_coordinates(ring)[:, 0])) > 180).any():
                return True
    return False


def _eastwards(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y = points.T
    return np.stack([np.where(x < 0, x + 360, x), y], axis=1)


def _cut(polygon: Any) -> Any:
    """What lies beyond -180..180, moved there turn by turn."""
    import shapely

    whole = areal(polygon)
    if whole is None:
        return polygon
    west, south, east, north = whole.bounds
    pieces = []
    for turn in range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1):
        start = 360.0 * turn - 180
        piece = areal(shapely.intersection(whole, shapely.box(start, south, start + 360, north)))
        if piece is not None:
            shifted = shapely.transform(piece, lambda p, turn=turn: p - np.array([360.0 * turn, 0]))
            pieces += list(shapely.get_parts(shifted))
    if len(pieces) == 1:
        return pieces[0]
    return shapely.multipolygons(pieces) if pieces else polygon
