"""Vector layers (GeoPackage, GeoJSON, Shapefile, ...): read, checked, mended, counted."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import GeoError
from t4spp.geo.crs import Geometries, check_coordinates, parsed
from t4spp.geo.scenes import stamp_of

_log = logging.getLogger(__name__)

DECLARED_BYTES = 65_536
"""How far from the ends of a GeoJSON file the member ``crs`` is looked for."""
CURVED = frozenset(
    {"CURVEPOLYGON", "MULTISURFACE", "COMPOUNDCURVE", "CIRCULARSTRING", "MULTICURVE"}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """The polygons of a layer.

    Attributes:
        path: the file.
        name: of the layer in it.
        geometries: object[N], valid shapely Polygons and MultiPolygons of two dimensions.
        properties: of each polygon; what is missing is None.
        crs: ``EPSG:n`` where it has a number, else WKT; coordinates are (x, y).
        counters: features left out or changed, by reason.
    """

    path: Path
    name: str
    geometries: Geometries
    properties: tuple[Mapping[str, Any], ...]
    crs: str
    counters: Counter[str]


def layer_names(path: Path) -> list[str]:
    """The layers of a file that have geometries.

    Raises:
        GeoError: the file is missing or no vector file.
    """
    import pyogrio
    from pyogrio.errors import DataSourceError

    stamp_of(path)
    try:
        found = pyogrio.list_layers(path)
    except DataSourceError as error:
        raise _unreadable(path, error) from error
    return [str(name) for name, kind in found if kind is not None]


def read_layer(path: Path, layer: str | None = None) -> Layer:
    """Read the polygons of a layer.

    Curved geometries become lines, self-crossing ones are repaired (``make_valid``, its polygons
    kept); features without a geometry, without an area, or that are points or lines, are left
    out. All of it is counted: ``geometries_linearised``, ``polygons_repaired``,
    ``features_without_geometry``, ``polygons_without_area``, ``features_not_polygons``.

    Args:
        path: of the file.
        layer: its name; None where the file has one layer with geometries.

    Raises:
        GeoError: the file is missing or damaged, has no such layer, or several and none is named;
            it declares no CRS, or one that its coordinates contradict.
    """
    path = Path(path).expanduser()
    name = _choose(path, layer)
    meta, wkb, columns, kinds = _read(path, name)
    if path.suffix.lower() in (".geojson", ".json"):
        _check_declared(path)
    crs = _crs_of(path, name, meta)
    counters: Counter[str] = Counter()
    counters["geometries_linearised"] = sum(kind in CURVED for kind in kinds)
    geometries, kept = _polygons(wkb, counters, path)
    if geometries.size:
        import shapely

        left, bottom, right, top = (float(value) for value in shapely.total_bounds(geometries))
        check_coordinates((left, bottom, right, top), crs, str(path))
    properties = tuple(
        {key: _plain(values[index]) for key, values in columns.items()} for index in kept
    )
    return Layer(
        path=path,
        name=name,
        geometries=geometries,
        properties=properties,
        crs=crs,
        counters=+counters,
    )


def _choose(path: Path, layer: str | None) -> str:
    names = layer_names(path)
    if layer is not None:
        if layer not in names:
            raise GeoError(
                f"{path} has no layer {layer!r} with geometries. Its layers are: "
                f"{', '.join(names) or 'none'}."
            )
        return layer
    if not names:
        raise GeoError(f"{path} has no layer with geometries. Is it the right file?")
    if len(names) > 1:
        raise GeoError(
            f"{path} has {len(names)} layers: {', '.join(names)}. Say which one holds the labels."
        )
    return names[0]


def _read(
    path: Path, name: str
) -> tuple[dict[str, Any], npt.NDArray[np.object_], dict[str, Any], list[str]]:
    """Metadata, WKB, columns and the names of the geometries' types as the file has them."""
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError

    try:
        with warnings.catch_warnings():
            # what it warns of is checked and counted below
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            meta, _, wkb, fields = pyogrio.raw.read(path, layer=name, force_2d=True)
            quoted = name.replace('"', '""')
            kinds = pyogrio.raw.read(
                path,
                sql=f'SELECT OGR_GEOMETRY AS kind FROM "{quoted}"',
                sql_dialect="OGRSQL",
                read_geometry=False,
            )[3]
    except (
        DataSourceError,
        DataLayerError,
        FeatureError,
        FieldError,
        ValueError,
        RuntimeError,
    ) as error:
        raise _unreadable(path, error) from error
    columns = dict(zip((str(field) for field in meta["fields"]), fields, strict=True))
    names = [str(kind).upper().split(" ")[0] for kind in kinds[0]] if kinds else []
    return meta, wkb, columns, names


def _unreadable(path: Path, error: Exception) -> GeoError:
    reason = str(error).split("; It might help")[0].rstrip(". ")
    return GeoError(
        f"{path} cannot be read as a vector layer: {reason}. It may be truncated, or of a format "
        "that GDAL does not know here; GeoPackage, GeoJSON and Shapefile are."
    )


def _crs_of(path: Path, name: str, meta: Mapping[str, Any]) -> str:
    declared = meta["crs"]
    if declared is None:
        raise GeoError(
            f"{path}, layer {name!r}, declares no CRS, or one that is unknown here, so that nobody "
            "can say where it lies. Write the right one, for example by ogr2ogr -a_srs EPSG:n (a "
            "Shapefile keeps it in the .prj beside it)."
        )
    crs = parsed(str(declared))
    authority = crs.to_authority()
    if authority == ("OGC", "CRS84"):
        return "EPSG:4326"  # the same degrees; longitude comes first here anyway
    number = crs.to_epsg()
    return str(crs.to_wkt()) if number is None else f"EPSG:{number}"


def _check_declared(path: Path) -> None:
    """Refuse a GeoJSON file whose member ``crs`` is unknown: GDAL would take it for EPSG:4326."""
    with path.open("rb") as file:
        head = file.read(DECLARED_BYTES)
        file.seek(max(path.stat().st_size - DECLARED_BYTES, 0))
        tail = file.read()
    found = re.search(rb'"crs"\s*:\s*', head)
    features = re.search(rb'"features"\s*:', head)
    if found is None or (features is not None and features.start() < found.start()):
        found = re.search(rb'\]\s*,\s*"crs"\s*:\s*(?=[^\[\]]*\}\s*$)', head := tail)
    if found is None:
        return
    member = head[found.end() :].decode("utf-8", errors="replace")
    if member.startswith("null"):
        return
    named = re.match(r'\{[^{}]*\{[^{}]*"name"\s*:\s*"([^"]*)"', member)
    try:
        if named is None:
            raise GeoError("no name")
        parsed(named.group(1))
    except GeoError as error:
        raise GeoError(
            f"{path}: its member 'crs' begins {member[:80]!r}, which names no known CRS. Write "
            '{"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}} with the '
            "right number, or remove it where coordinates are longitude and latitude."
        ) from error


def _polygons(
    wkb: npt.NDArray[np.object_], counters: Counter[str], path: Path
) -> tuple[Geometries, list[int]]:
    """Valid polygons and the rows that they come from."""
    import shapely

    found = shapely.from_wkb(wkb, on_invalid="fix")
    kept: list[Any] = []
    rows: list[int] = []
    for row, geometry in enumerate(found):
        mended = _mended(geometry, counters)
        if mended is not None:
            kept.append(mended)
            rows.append(row)
    geometries = np.empty(len(kept), dtype=object)
    geometries[:] = kept
    if sum(counters.values()):
        _log.info("%s: %s", path, dict(+counters))
    return geometries, rows


def _mended(geometry: Any, counters: Counter[str]) -> Any:
    """A valid polygon, or None, and why."""
    import shapely

    if geometry is None or geometry.is_empty:
        counters["features_without_geometry"] += 1
        return None
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        counters["features_without_geometry"] += 1
        return None
    if geometry.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        counters["features_not_polygons"] += 1
        return None
    is_collection = geometry.geom_type == "GeometryCollection"
    if geometry.is_valid and not is_collection:
        if geometry.area == 0:
            counters["polygons_without_area"] += 1
            return None
        return geometry
    parts = [
        part
        for part in shapely.get_parts(shapely.make_valid(geometry))
        if part.geom_type in ("Polygon", "MultiPolygon") and part.area > 0
    ]
    if not parts:
        counters["features_not_polygons" if is_collection else "polygons_without_area"] += 1
        return None
    if not geometry.is_valid:
        counters["polygons_repaired"] += 1
    return shapely.union_all(parts)


def _plain(value: Any) -> Any:
    """A column's value as Python has it; None for what is missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    return value.item() if isinstance(value, np.generic) else value
