"""Coordinate reference systems: lengths and areas on the ground, moving points, sanity checks.

Everywhere in t4spp coordinates are (x, y), that is (longitude, latitude) in a geographic CRS,
whatever order the CRS itself declares.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import GeoError

LONGITUDE_LATITUDE = "EPSG:4326"
LONGEST_EDGE_M = 1000.0
"""An edge of a polygon longer than this is divided before its area is measured on the ellipsoid."""

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top) in a CRS."""
Points = npt.NDArray[np.float64]
"""float64[N, 2] of (x, y)."""
Geometries = npt.NDArray[np.object_]
"""object[N] of shapely geometries."""


@lru_cache(maxsize=64)
def parsed(crs: str) -> Any:
    """The ``pyproj.CRS`` of ``EPSG:n``, WKT or whatever pyproj reads.

    Raises:
        GeoError: it names no CRS that is known here.
    """
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        return pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise GeoError(
            f"{crs!r:.120} names no known coordinate reference system: {error}. Write EPSG:n (for "
            "example EPSG:32633) or WKT."
        ) from error


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Any:
    import pyproj

    return pyproj.Transformer.from_crs(parsed(source), parsed(target), always_xy=True)


def same_crs(one: str, other: str) -> bool:
    """Whether coordinates mean the same in both, the axes' declared order apart."""
    return one == other or bool(parsed(one).equals(parsed(other), ignore_axis_order=True))


def reproject_points(points: Points, source: str, target: str) -> Points:
    """float64[N, 2] of (x, y) in ``source`` to (x, y) in ``target``.

    Raises:
        GeoError: a point has no coordinates in ``target``, or a CRS is unknown.
    """
    if same_crs(source, target):
        return points
    from pyproj.exceptions import ProjError

    try:
        x, y = _transformer(source, target).transform(points[:, 0], points[:, 1], errcheck=True)
    except ProjError as error:
        raise GeoError(
            f"coordinates of {name_of(source)} cannot be moved to {name_of(target)}: {error}. They "
            "lie outside the area of one of the two; check that the declared CRS is the real one."
        ) from error
    moved = np.stack([x, y], axis=1)
    if not np.isfinite(moved).all():
        raise GeoError(
            f"{int((~np.isfinite(moved)).any(axis=1).sum())} of {len(points)} points of "
            f"{name_of(source)} have no coordinates in {name_of(target)}. Check the declared CRS."
        )
    return moved


def reproject(geometries: Geometries | Sequence[Any], source: str, target: str) -> Geometries:
    """Geometries moved vertex by vertex; edges stay straight in ``target``.

    Args:
        geometries: object[N] of shapely geometries, (x, y) in ``source``.
        source: their CRS.
        target: the CRS wanted.

    Raises:
        GeoError: a vertex has no coordinates in ``target``, or a CRS is unknown.
    """
    import shapely

    array = np.asarray(geometries, dtype=object)
    if array.size == 0 or same_crs(source, target):
        return array
    moved: Geometries = shapely.transform(
        array, lambda points: reproject_points(points, source, target)
    )
    return moved


def name_of(crs: str) -> str:
    """``EPSG:n``, or the name that WKT gives itself."""
    return crs if len(crs) <= 20 else str(parsed(crs).name)


def is_geographic(crs: str) -> bool:
    """Whether coordinates are degrees."""
    return bool(parsed(crs).is_geographic)


def metres_per_unit(crs: str) -> float:
    """Length of the unit of a projected CRS's axes, metres: 0.3048 for feet.

    Raises:
        GeoError: the unit is an angle.
    """
    if is_geographic(crs):
        raise GeoError(
            f"{name_of(crs)} counts degrees, which have no fixed length. Ask for the size of a "
            "pixel where it lies, or move the data into a projected CRS."
        )
    return float(parsed(crs).axis_info[0].unit_conversion_factor)


def ground_distance(one: Points, other: Points, crs: str) -> npt.NDArray[np.float64]:
    """Metres on the ellipsoid between points, float64[N], pair by pair.

    A CRS that is tied to no place on the earth (a local grid) is measured in its own units.
    """
    geod = parsed(crs).get_geod()
    if geod is None:
        lengths = np.hypot(*(other - one).T) * metres_per_unit(crs)
        return np.asarray(lengths, dtype=np.float64)
    a, b = (_degrees(points, crs) for points in (one, other))
    _, _, metres = geod.inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
    return np.asarray(metres, dtype=np.float64)


def _degrees(points: Points, crs: str) -> Points:
    """Longitude and latitude on the CRS's own ellipsoid."""
    import pyproj

    own = parsed(crs)
    if own.is_geographic:
        return points
    to_degrees = pyproj.Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    return np.stack(to_degrees.transform(points[:, 0], points[:, 1]), axis=1)


def area_m2(geometries: Geometries | Sequence[Any], crs: str) -> npt.NDArray[np.float64]:
    """Areas on the ground, float64[N], square metres; holes subtracted, 0 for what has no area.

    Measured on the CRS's ellipsoid (geodesic edges, long ones divided first), so that neither
    degrees nor a projection's scale enter. A CRS without an ellipsoid is measured as it is.

    Args:
        geometries: object[N] of shapely geometries, (x, y) in ``crs``.
        crs: their CRS.

    Raises:
        GeoError: the CRS is unknown.
    """
    import shapely

    array = np.asarray(geometries, dtype=object)
    if array.size == 0:
        return np.zeros(0, dtype=np.float64)
    geod = parsed(crs).get_geod()
    if geod is None:
        flat: npt.NDArray[np.float64] = shapely.area(array) * metres_per_unit(crs) ** 2
        return flat
    longest = LONGEST_EDGE_M / (111_320.0 if is_geographic(crs) else metres_per_unit(crs))
    divided = shapely.segmentize(array, longest)
    oriented = shapely.transform(divided, lambda points: _degrees(points, crs))
    areas = [_geodesic_area(geod, geometry) for geometry in oriented]
    return np.array(areas, dtype=np.float64)


def _geodesic_area(geod: Any, geometry: Any) -> float:
    import shapely

    total = 0.0
    for part in shapely.get_parts(geometry):
        if part.geom_type != "Polygon" or part.is_empty:
            continue
        rings = [part.exterior, *part.interiors]
        areas = []
        for ring in rings:
            points = shapely.get_coordinates(ring)
            areas.append(abs(geod.polygon_area_perimeter(points[:, 0], points[:, 1])[0]))
        total += areas[0] - sum(areas[1:])
    return total


def check_coordinates(bounds: Bounds, crs: str, where: str) -> None:
    """Refuse coordinates that cannot be of the CRS that they are declared in.

    Args:
        bounds: of the data, in ``crs``.
        crs: as declared.
        where: names the file in the message.

    Raises:
        GeoError: numbers beyond any longitude or latitude under a geographic CRS, or nothing but
            small numbers, as degrees are, under a projected one that does not reach there.
    """
    left, bottom, right, top = bounds
    if not np.isfinite(bounds).all():
        raise GeoError(f"{where}: coordinates are not finite: {bounds}. Mend the file.")
    shown = f"x {left:.6g} to {right:.6g}, y {bottom:.6g} to {top:.6g}"
    if is_geographic(crs):
        if left < -361 or right > 361 or bottom < -90.001 or top > 90.001:
            raise GeoError(
                f"{where} declares {name_of(crs)}, whose coordinates are degrees, but holds "
                f"{shown}: numbers of a projected CRS. Declare the real one, for example by "
                "ogr2ogr -a_srs EPSG:n."
            )
        return
    if max(abs(left), abs(right)) <= 360 and max(abs(bottom), abs(top)) <= 90:
        usable = _projected_area(crs)
        if usable is not None and not _meet(usable, (-360.0, -90.0, 360.0, 90.0)):
            raise GeoError(
                f"{where} declares {name_of(crs)}, which is used from x {usable[0]:.6g} to "
                f"{usable[2]:.6g} and y {usable[1]:.6g} to {usable[3]:.6g}, but holds {shown}: "
                "they look like degrees. Declare EPSG:4326, or reproject the coordinates."
            )


def _meet(one: Bounds, other: Bounds) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


@lru_cache(maxsize=64)
def _projected_area(crs: str) -> Bounds | None:
    """Where a projected CRS is meant to be used, in its own coordinates; None when not said."""
    area = parsed(crs).area_of_use
    if area is None or area.west >= area.east:
        return None
    bounds = _transformer(LONGITUDE_LATITUDE, crs).transform_bounds(
        area.west, area.south, area.east, area.north
    )
    return tuple(bounds) if np.isfinite(bounds).all() else None
