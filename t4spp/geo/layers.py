"""Objects of a scene as vector layers: a GeoPackage in the scene's CRS, and GeoJSON in degrees.

Both are written while objects come, some thousand at a time. Areas are measured on the ellipsoid,
of the outlines as they are written. GeoJSON is longitude and latitude of WGS 84 (RFC 7946), outer
rings counter-clockwise, seven decimals, polygons cut at 180 degrees.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from t4spp.errors import GeoError
from t4spp.geo.antimeridian import in_degrees
from t4spp.geo.crs import LONGITUDE_LATITUDE, area_m2, name_of, reproject_points
from t4spp.geo.scenes import Scene
from t4spp.geo.stitching import SceneObject
from t4spp.geo.tracing import areal, simplified

LAYER = "objects"
"""Name of the layer in the GeoPackage."""
BATCH = 2000
"""Objects that are held before they are written."""
DEGREES = 1e-7
"""Steps of GeoJSON's coordinates: about a centimetre."""
FIELDS = ("object", "label", "area_m2", "windows", "score", "pixels")
"""Columns of both layers: number, phrase, square metres, windows that wrote it, mean blended
occupancy 0.5..1, pixels of the scene before the outline was simplified."""


def check_placeable(scene: Scene) -> None:
    """Refuse a scene no part of which has a longitude and latitude, which GeoJSON needs.

    Parts may have none: the corners of a whole-disk scene lie beside the earth.

    Raises:
        GeoError: its CRS is tied to no place on the earth, or the scene lies outside its area.
    """
    height, width = scene.size
    shares = (0.5, 0.25, 0.75, 0.0, 1.0)
    reason: GeoError | None = None
    for down in shares:
        for across in shares:
            pixel = np.array([[across * width, down * height]], dtype=np.float64)
            try:
                reproject_points(scene.to_map(pixel), scene.crs, LONGITUDE_LATITUDE)
            except GeoError as error:
                reason = reason or error
            else:
                return
    raise GeoError(
        f"{scene.path} cannot be placed on the earth: its CRS, {name_of(scene.crs)}, leads to no "
        "longitudes and latitudes, in which objects.geojson is written. Write the right CRS into "
        "the scene, for example by gdal_edit.py -a_srs EPSG:n."
    ) from reason


@dataclass(frozen=True, kw_only=True, eq=False)
class Feature:
    """An object as it is written.

    Attributes:
        number: in the layers, from 1.
        label: its phrase's.
        area: square metres on the ground.
        num_windows: windows that wrote it.
        score: mean blended occupancy, 0.5..1.
        num_pixels: of the scene, before the outline was simplified.
        outline: shapely, in the scene's pixels, (column, row).
    """

    number: int
    label: str
    area: float
    num_windows: int
    score: float
    num_pixels: int
    outline: Any

    @property
    def properties(self) -> dict[str, Any]:
        """By the layers' columns."""
        return {
            "object": self.number,
            "label": self.label,
            "area_m2": round(self.area, 3),
            "windows": self.num_windows,
            "score": round(self.score, 4),
            "pixels": self.num_pixels,
        }


class ObjectLayers:
    """Takes finished objects and writes them.

    Attributes:
        counters: ``objects_too_small``, under the least area.
        num_objects: written, by label.
        areas: square metres written, by label.
    """

    def __init__(
        self,
        folder: Path,
        scene: Scene,
        labels: Sequence[str],
        *,
        simplify: float = 1.0,
        least_area: float = 0.0,
    ) -> None:
        """Begin ``objects.gpkg`` and ``objects.geojson`` in a folder.

        Args:
            folder: for files that are not finished.
            scene: its CRS and transform.
            labels: the phrases' labels.
            simplify: how far outlines may leave the pixels' edges, in pixels; 0 follows them.
            least_area: square metres; smaller objects are left out and counted.
        """
        self.scene = scene
        self.counters: Counter[str] = Counter()
        self.num_objects = dict.fromkeys(labels, 0)
        self.areas = dict.fromkeys(labels, 0.0)
        self.package = folder / "objects.gpkg"
        self.geojson = folder / "objects.geojson"
        for path in (self.package, self.geojson):
            path.unlink(missing_ok=True)
        self._simplify = simplify
        self._least_area = least_area
        self._waiting: list[Feature] = []
        self._number = 0
        self._stream: IO[str] | None = self.geojson.open("w", encoding="utf-8")
        self._stream.write('{"type": "FeatureCollection", "features": [')
        self._first = True

    def __enter__(self) -> ObjectLayers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the GeoJSON; only ``finish`` completes it."""
        self._close()

    def add(self, objects: Sequence[SceneObject]) -> list[Feature]:
        """Take finished objects.

        Returns:
            Those that are large enough, as they will be written.

        Raises:
            GeoError: a layer cannot be written.
            OSError: likewise.
        """
        outlines = simplified([found.outline for found in objects], self._simplify)
        areas = area_m2(self._on_map(outlines), self.scene.crs)
        kept = []
        for found, outline, area in zip(objects, outlines, areas, strict=True):
            if area < self._least_area:
                self.counters["objects_too_small"] += 1
                continue
            self._number += 1
            self.num_objects[found.label] += 1
            self.areas[found.label] += float(area)
            kept.append(
                Feature(
                    number=self._number,
                    label=found.label,
                    area=float(area),
                    num_windows=found.num_windows,
                    score=found.score,
                    num_pixels=found.num_pixels,
                    outline=outline,
                )
            )
        self._waiting += kept
        if len(self._waiting) >= BATCH:
            self._write()
        return kept

    def finish(self) -> None:
        """Complete both files.

        Raises:
            GeoError: a layer cannot be written.
            OSError: likewise.
        """
        if self._waiting or not self.package.exists():
            self._write()
        assert self._stream is not None
        self._stream.write("]}\n")
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _on_map(self, outlines: Any) -> Any:
        """From the scene's pixels to its CRS; a transform with little precision may bend."""
        import shapely

        moved = shapely.transform(outlines, self.scene.to_map)
        for index in np.flatnonzero(~shapely.is_valid(moved)):
            repaired = areal(moved[index])
            if repaired is not None:
                moved[index] = repaired
        return moved

    def _write(self) -> None:
        features, self._waiting = self._waiting, []
        outlines = np.array([feature.outline for feature in features], dtype=object)
        moved = self._on_map(outlines)
        self._write_package(features, moved)
        self._write_geojson(features, moved)

    def _write_package(self, features: Sequence[Feature], moved: Any) -> None:
        import pyogrio
        import shapely
        from pyogrio.errors import DataLayerError, DataSourceError

        rows = [feature.properties for feature in features]
        kinds = (np.int64, object, np.float64, np.int64, np.float64, np.int64)
        columns = [
            np.array([row[name] for row in rows], dtype=kind)
            for name, kind in zip(FIELDS, kinds, strict=True)
        ]
        whole = [g if g.geom_type == "MultiPolygon" else shapely.multipolygons([g]) for g in moved]
        try:
            pyogrio.raw.write(
                self.package,
                geometry=shapely.to_wkb(np.array(whole, dtype=object)),
                field_data=columns,
                fields=list(FIELDS),
                layer=LAYER,
                driver="GPKG",
                geometry_type="MultiPolygon",
                crs=self.scene.crs,
                append=self.package.exists(),
            )
        except (DataSourceError, DataLayerError, RuntimeError) as error:
            raise GeoError(
                f"{self.package} cannot be written: {error}. Is there space left on the disk?"
            ) from error

    def _write_geojson(self, features: Sequence[Feature], moved: Any) -> None:
        import shapely

        assert self._stream is not None
        if not features:
            return
        degrees = in_degrees(moved, self.scene.crs)
        rounded = shapely.set_precision(degrees, DEGREES)
        for index in np.flatnonzero(shapely.is_empty(rounded)):  # smaller than a centimetre
            rounded[index] = degrees[index]
        outlines = shapely.to_geojson(shapely.orient_polygons(rounded))
        for feature, outline in zip(features, outlines, strict=True):
            properties = json.dumps(feature.properties, ensure_ascii=False)
            self._stream.write(
                ("\n" if self._first else ",\n")
                + f'{{"type": "Feature", "id": {feature.number}, "properties": {properties}, '
                + f'"geometry": {outline}}}'
            )
            self._first = False
