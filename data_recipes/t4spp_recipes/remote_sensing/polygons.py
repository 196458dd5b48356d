"""GeoJSON polygons: read, named, and rasterised on a tile's grid."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.types import BoolMask, Box
from t4spp_recipes.remote_sensing.tiles import Tile

KEPT_BYTES = 256 * 2**20
"""Footprints in memory, a process: beyond it those of the tile unused longest are let go."""
LONGITUDE_LATITUDE = "EPSG:4326"
"""The CRS of a GeoJSON file that names none (RFC 7946, section 4)."""

Namer = Callable[[Mapping[str, Any]], str | None]
"""The label of a feature's properties; None for one without."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Polygon:
    """One feature: a shapely Polygon or MultiPolygon, in its file's CRS."""

    shape: Any
    crs: str
    label: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Footprint:
    """A polygon's pixels on a tile: the tight box around them, and bool[H, W] inside it."""

    index: int
    label: str | None
    box: Box
    mask: BoolMask

    def within(self, window: Box) -> BoolMask | None:
        """bool[H, W] of a window; None where the polygon has no pixel in it."""
        y0, x0 = max(self.box.y0, window.y0), max(self.box.x0, window.x0)
        y1, x1 = min(self.box.y1, window.y1), min(self.box.x1, window.x1)
        if y0 >= y1 or x0 >= x1:
            return None
        own = self.mask[y0 - self.box.y0 : y1 - self.box.y0, x0 - self.box.x0 : x1 - self.box.x0]
        if not own.any():
            return None
        mask = np.zeros((window.height, window.width), dtype=np.bool_)
        mask[y0 - window.y0 : y1 - window.y0, x0 - window.x0 : x1 - window.x0] = own
        return mask


def read_polygons(paths: Sequence[Path], name: Namer) -> tuple[tuple[Polygon, ...], Counter[str]]:
    """The polygons of GeoJSON files, and what was left out or mended, by reason.

    Raises:
        RecipeError: a file is missing, malformed or in an unknown CRS; or no polygon is left.
    """
    polygons: list[Polygon] = []
    counters: Counter[str] = Counter()
    for path in paths:
        content = _read_json(path)
        crs = _crs_of(content, path)
        for index, feature in enumerate(content["features"]):
            shape = _shape(feature, f"{path}: features[{index}]", counters)
            if shape is not None:
                polygons.append(
                    Polygon(shape=shape, crs=crs, label=name(feature.get("properties") or {}))
                )
    if not polygons:
        raise RecipeError(
            f"geo-polygons: {', '.join(map(str, paths))}: no polygon among the features. "
            f"Left out: {dict(counters) or 'nothing'}."
        )
    return tuple(polygons), counters


def _read_json(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "The file may be truncated; fetch it again."
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text: {error.reason}.") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}.") from error
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise RecipeError(
            f"{path} is no GeoJSON FeatureCollection: it has no list 'features'. Convert it, for "
            "example by ogr2ogr -f GeoJSON."
        )
    return content


def _crs_of(content: Mapping[str, Any], path: Path) -> str:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    member = content.get("crs")
    if member is None:
        return LONGITUDE_LATITUDE
    try:
        given = member["properties"]["name"]
        crs = CRS.from_user_input(given)
    except (CRSError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{path}: the member 'crs' is {member!r:.120}, which names no known CRS. Write "
            '{"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}, or remove it '
            "where coordinates are longitude and latitude."
        ) from error
    if given in ("urn:ogc:def:crs:OGC:1.3:CRS84", "OGC:CRS84"):
        return LONGITUDE_LATITUDE  # longitude first, as EPSG:4326 is read here anyway
    number = crs.to_epsg()
    return str(crs.to_wkt()) if number is None else f"EPSG:{number}"


def _shape(feature: Any, where: str, counters: Counter[str]) -> Any:
    import shapely
    from shapely.errors import GEOSException
    from shapely.geometry import shape

    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if geometry is None:
        counters["features_without_geometry"] += 1
        return None
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        counters["features_not_polygons"] += 1
        return None
    try:
        found = shape(geometry)
    except (GEOSException, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise RecipeError(
            f"{where}: its coordinates are no {geometry['type']}: {error}. Mend or remove it."
        ) from error
    if found.is_empty or not np.isfinite(shapely.get_coordinates(found)).all():
        counters["features_without_geometry"] += 1
        return None
    if not found.is_valid:
        counters["polygons_repaired"] += 1
        found = shapely.make_valid(found)
        parts = [part for part in shapely.get_parts(found) if part.geom_type.endswith("Polygon")]
        found = shapely.union_all(parts)
        if found.is_empty:
            counters["polygons_without_area"] += 1
            return None
    return found


class Rasteriser:
    """Lays polygons over tiles; footprints stay in memory, up to ``KEPT_BYTES``.

    It pickles without them.
    """

    def __init__(self, polygons: Sequence[Polygon], *, all_touched: bool) -> None:
        """Remember the polygons.

        Args:
            polygons: in any CRS each.
            all_touched: whether a pixel that a polygon touches belongs to it; else the one whose
                centre lies inside.
        """
        self.polygons = tuple(polygons)
        self.all_touched = all_touched
        self._trees: dict[str, tuple[Any, npt.NDArray[np.int64]]] = {}
        self._footprints: OrderedDict[Tile, tuple[Footprint, ...]] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be made again."""
        return self.__dict__ | {"_trees": {}, "_footprints": OrderedDict(), "_bytes": 0}

    def footprints(self, tile: Tile) -> tuple[Footprint, ...]:
        """The polygons that have a pixel on a tile, in the files' order."""
        if tile in self._footprints:
            self._footprints.move_to_end(tile)
            return self._footprints[tile]
        from rasterio import Env

        with Env():  # once a tile: entering it takes longer than rasterising a building
            made = [self._footprint(int(index), tile) for index in self._near(tile)]
        found = tuple(footprint for footprint in made if footprint is not None)
        self._footprints[tile] = found
        self._bytes += _num_bytes(found)
        while self._bytes > KEPT_BYTES and len(self._footprints) > 1:
            self._bytes -= _num_bytes(self._footprints.popitem(last=False)[1])
        return found

    def _near(self, tile: Tile) -> npt.NDArray[np.int64]:
        """Indices of polygons whose box meets the tile's, ascending."""
        from rasterio.warp import transform_bounds
        from shapely import box

        height, width = tile.size
        corners = tile.to_map(
            np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
        )
        bounds = (*corners.min(axis=0), *corners.max(axis=0))
        near = []
        for crs in dict.fromkeys(polygon.crs for polygon in self.polygons):
            own = bounds if crs == tile.crs else transform_bounds(tile.crs, crs, *bounds)
            tree, indices = self._tree(crs)
            near.append(indices[tree.query(box(*own))])
        return np.sort(np.concatenate(near))

    def _tree(self, crs: str) -> tuple[Any, npt.NDArray[np.int64]]:
        from shapely import STRtree

        if crs not in self._trees:
            indices = [i for i, polygon in enumerate(self.polygons) if polygon.crs == crs]
            tree = STRtree([self.polygons[i].shape for i in indices])
            self._trees[crs] = (tree, np.array(indices, dtype=np.int64))
        return self._trees[crs]

    def _footprint(self, index: int, tile: Tile) -> Footprint | None:
        import shapely
        from rasterio.features import rasterize
        from rasterio.transform import Affine
        from rasterio.warp import transform

        polygon = self.polygons[index]

        def to_pixels(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            if polygon.crs != tile.crs:
                points = np.stack(
                    transform(polygon.crs, tile.crs, points[:, 0], points[:, 1]), axis=1
                )
            return tile.to_pixels(points)

        shape = shapely.transform(polygon.shape, to_pixels)
        left, top, right, bottom = shape.bounds
        y0, x0 = max(int(np.floor(top)), 0), max(int(np.floor(left)), 0)
        y1 = min(int(np.ceil(bottom)), tile.size[0])
        x1 = min(int(np.ceil(right)), tile.size[1])
        if y0 >= y1 or x0 >= x1:
            return None
        mask = rasterize(
            [(shape, 1)],
            out_shape=(y1 - y0, x1 - x0),
            transform=Affine.translation(x0, y0),
            all_touched=self.all_touched,
            dtype="uint8",
        ).astype(np.bool_)
        tight = Box.of_mask(mask)
        if tight is None:
            return None
        box = Box(y0=y0 + tight.y0, x0=x0 + tight.x0, y1=y0 + tight.y1, x1=x0 + tight.x1)
        return Footprint(index=index, label=polygon.label, box=box, mask=mask[tight.slices].copy())


def _num_bytes(footprints: Sequence[Footprint]) -> int:
    return sum(footprint.mask.nbytes for footprint in footprints)
