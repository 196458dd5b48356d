"""From numbered pixels to polygons that run along their edges, strip by strip."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.rasterising import rasterising

Numbers = npt.NDArray[np.int32]
"""int32[H, W]: 0 nothing, n the n-th thing."""

_BREAK = 1024
"""Empty columns that part two stretches of a strip which are traced apart."""


def trace(numbers: Numbers, top: int) -> Mapping[int, list[Any]]:
    """The polygons of every number in a strip, four-connected, along the pixels' edges.

    Args:
        numbers: int32[R, W].
        top: the strip's first row in the scene.

    Returns:
        Shapely polygons by number; x counts columns and y rows of the scene.
    """
    from rasterio.features import shapes
    from rasterio.transform import Affine
    from shapely import Polygon

    found: defaultdict[int, list[Any]] = defaultdict(list)
    with rasterising():
        for first, last in _stretches(np.asarray(numbers.any(axis=0))):
            part = np.ascontiguousarray(numbers[:, first:last])
            place = Affine.translation(first, top)
            for outline, number in shapes(part, mask=part > 0, connectivity=4, transform=place):
                rings = outline["coordinates"]
                found[int(number)].append(Polygon(rings[0], rings[1:]))
    return found


def joined(parts: Sequence[Any]) -> Any:
    """One valid Polygon or MultiPolygon out of polygons that share edges; None of nothing."""
    import shapely

    if not parts:
        return None
    whole = parts[0] if len(parts) == 1 else shapely.union_all(np.array(parts, dtype=object))
    return areal(whole)


def areal(geometry: Any) -> Any:
    """The areal part of a geometry, made valid; None where it has none."""
    import shapely

    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry)
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        pieces = [p for p in shapely.get_parts(geometry) if p.geom_type.endswith("Polygon")]
        geometry = shapely.union_all(np.array(pieces, dtype=object)) if pieces else None
    return None if geometry is None or geometry.is_empty else geometry


def simplified(outlines: Sequence[Any], tolerance: float) -> Any:
    """Outlines with no vertex that they can do without, ``tolerance`` pixels off at most.

    0 leaves them as they are and drops the vertices on straight lines. What would vanish keeps
    its own outline. Returns object[N] of valid geometries.
    """
    import shapely

    whole = np.empty(len(outlines), dtype=object)
    whole[:] = list(outlines)
    simpler = shapely.simplify(whole, tolerance, preserve_topology=True)
    for index in np.flatnonzero(~shapely.is_valid(simpler) | shapely.is_empty(simpler)):
        repaired = areal(simpler[index])
        simpler[index] = whole[index] if repaired is None else repaired
    return simpler


def _stretches(filled: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of columns that hold something, apart by more than ``_BREAK``."""
    columns = np.flatnonzero(filled)
    if columns.size == 0:
        return
    breaks = np.flatnonzero(np.diff(columns) > _BREAK)
    starts = columns[np.concatenate([[0], breaks + 1])]
    ends = columns[np.concatenate([breaks, [columns.size - 1]])] + 1
    for first, last in zip(starts, ends, strict=True):
        yield int(first), int(last)
