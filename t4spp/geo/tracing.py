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


def trace(numbers: Numbers, top: int) -> Mapping[int, list[Any]]:
    """The polygons of every number in a strip, four-connected, along the pixels' edges.

    Tracing costs by the pixel, and most of a strip is empty: things are laid side by side, each in
    its box, those of about one height together, where that makes less of it.

    Args:
        numbers: int32[R, W].
        top: the strip's first row in the scene.

    Returns:
        Shapely polygons by number; x counts columns and y rows of the scene.
    """
    import shapely
    from scipy import ndimage

    found: defaultdict[int, list[Any]] = defaultdict(list)
    spans = ndimage.find_objects(numbers)
    boxes = {number: span for number, span in enumerate(spans, start=1) if span is not None}
    with rasterising():
        for shelf in _shelves(boxes, numbers.shape[1]):
            laid, places = _laid_out(numbers, boxes, shelf) if shelf else (numbers, None)
            traced = list(_outlines(laid))
            owners = [number for number, _ in traced]
            outlines = np.array([outline for _, outline in traced], dtype=object)
            moved = np.zeros((len(owners), 2)) if places is None else places[owners]
            moved[:, 1] += top
            steps = np.repeat(moved, shapely.get_num_coordinates(outlines), axis=0)
            shapely.set_coordinates(outlines, shapely.get_coordinates(outlines) + steps)
            for number, outline in zip(owners, outlines, strict=True):
                found[number].append(outline)
    return found


def _shelves(boxes: Mapping[int, Any], width: int) -> Iterator[list[int]]:
    """Numbers that are traced together; an empty list, and nothing else, for the whole strip."""
    by_height: defaultdict[int, list[int]] = defaultdict(list)
    for number, (rows, _) in boxes.items():
        by_height[(rows.stop - rows.start).bit_length()].append(number)
    pixels = sum(
        max(boxes[n][0].stop - boxes[n][0].start for n in shelf)
        * sum(boxes[n][1].stop - boxes[n][1].start for n in shelf)
        for shelf in by_height.values()
    )
    tall = max((rows.stop for rows, _ in boxes.values()), default=0)
    if pixels < tall * width:
        yield from by_height.values()
    elif boxes:
        yield []


def _laid_out(
    numbers: Numbers, boxes: Mapping[int, Any], shelf: Sequence[int]
) -> tuple[Numbers, npt.NDArray[np.float64]]:
    """The things of a shelf side by side, and by number how far, (x, y), they must go back."""
    height = max(boxes[number][0].stop - boxes[number][0].start for number in shelf)
    width = sum(boxes[number][1].stop - boxes[number][1].start for number in shelf)
    laid = np.zeros((height, width), dtype=np.int32)
    moved = np.zeros((max(shelf) + 1, 2))
    x = 0
    for number in shelf:
        rows, columns = boxes[number]
        part = numbers[rows, columns]
        place = laid[: part.shape[0], x : x + part.shape[1]]
        np.copyto(place, part, where=part == number)
        moved[number] = (columns.start - x, rows.start)
        x += part.shape[1]
    return laid, moved


def _outlines(numbers: Numbers) -> Iterator[tuple[int, Any]]:
    """(number, shapely polygon) of every connected part, in the array's own pixels."""
    from rasterio.features import shapes
    from shapely import Polygon

    for outline, number in shapes(numbers, mask=numbers > 0, connectivity=4):
        rings = outline["coordinates"]
        yield int(number), Polygon(rings[0], rings[1:])


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
