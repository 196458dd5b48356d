"""Generated scenes on disk: one GeoTIFF and one GeoPackage each, written once."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError, is_disk_full
from t4spp.types import Box
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.geoshapes.layout import Feature, make_layout
from t4spp_recipes.remote_sensing.geoshapes.painting import PART, Painter
from t4spp_recipes.remote_sensing.geoshapes.params import GeoScenesConfig

VERSION = 1
"""Of what a seed gives; a change of layout or painting raises it, so that caches are left."""
ORIGIN = {"EPSG:32633": (500_000.0, 5_400_000.0), "EPSG:32733": (500_000.0, 7_200_000.0)}
"""Where the first scene's upper left corner lies; of other CRSs ``ORIGIN_ELSEWHERE``."""
ORIGIN_ELSEWHERE = (4_600_000.0, 3_000_000.0)
APART_M = 256.0
"""Metres between scenes."""
TURN_DEGREES = 20.0
LAYER = "things"
COLUMNS = ("class", "roof:material", "roof:shape", "crop", "surface", "water")
DATE = "2024-01-01T00:00:00Z"
"""What the GeoPackage says of when it was made, so that its bytes do not change."""


def ready_scenes(config: GeoScenesConfig, cache_dir: Path) -> tuple[Path, ...]:
    """The scenes of ``config`` in the cache, written now where they are not there yet.

    Each GeoTIFF has its GeoPackage beside it, of the same stem. The folder appears when it is
    complete, whoever else writes it at the same time.

    Raises:
        RecipeError: the cache cannot be written.
    """
    folder = cache_dir / f"geoshapes-{fingerprint(config)}"
    names = [f"{scene_name(number)}.tif" for number in range(config.num)]
    if not folder.is_dir():
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix="geoshapes-", suffix=".part", dir=cache_dir))
        except OSError as error:
            raise _cannot_write(cache_dir, error) from error
        try:
            write_scenes(config, part)
            part.chmod(0o755)
            part.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another process was faster, with the same bytes
                raise _cannot_write(folder, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise RecipeError(
            f"geoshapes: {folder} lacks {missing[0]}, so somebody changed it. Remove the folder; "
            "it is generated again."
        )
    return tuple(folder / name for name in names)


def write_scenes(config: GeoScenesConfig, folder: Path) -> tuple[Path, ...]:
    """Write the scenes of ``config`` into an existing folder: ``geoshapes-00.tif``, ``.gpkg``, ...

    Raises:
        RecipeError: a file is there already, or the folder cannot be written; the scene that was
            begun is removed.
    """
    paths = [folder / f"{scene_name(number)}.tif" for number in range(config.num)]
    for own in [*paths, *(path.with_suffix(".gpkg") for path in paths)]:
        if own.exists():
            raise RecipeError(f"geoshapes: {own} exists and is left alone. Name an empty folder.")
    written: list[Path] = []
    for number, path in enumerate(with_progress(paths, "generating", "scene")):
        try:
            _write_scene(config, number, path)
        except Exception as error:
            for begun in (path, path.with_suffix(".gpkg")):
                begun.unlink(missing_ok=True)
            if isinstance(error, OSError) or is_disk_full(error):
                raise _cannot_write(folder, error) from error
            raise
        written.append(path)
    return tuple(written)


def fingerprint(config: GeoScenesConfig) -> str:
    """Of everything that decides the files' content."""
    text = f"{VERSION}\n{config.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scene_name(number: int) -> str:
    """The stem of a scene's files."""
    return f"geoshapes-{number:02d}"


def transform_of(config: GeoScenesConfig, number: int) -> tuple[float, ...]:
    """The affine transform (a, b, c, d, e, f) of a scene."""
    height, width = (side * config.pixel for side in config.size)
    x, y = ORIGIN.get(config.crs, ORIGIN_ELSEWHERE)
    turn = math.radians(TURN_DEGREES) if config.orientation == "rotated" else 0.0
    step = width * math.cos(turn) + height * math.sin(turn) + APART_M
    x += number * step
    cos, sin = config.pixel * math.cos(turn), config.pixel * math.sin(turn)
    if config.orientation == "south-up":
        return (cos, 0.0, x, 0.0, config.pixel, y - height)
    return (cos, sin, x, sin, -cos, y)


def _write_scene(config: GeoScenesConfig, number: int, path: Path) -> None:
    import rasterio
    from rasterio.transform import Affine

    seed = (config.seed, number)
    layout = make_layout(config.size, config.pixel, seed)
    painter = Painter(layout, config.pixel, seed, config.bands)
    place = transform_of(config, number)
    tiled = min(config.size) >= PART
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=config.size[0],
        width=config.size[1],
        count=config.bands,
        dtype=config.dtype,
        crs=config.crs,
        transform=Affine(*place),
        nodata=0 if config.gaps else None,
        photometric="RGB",
        interleave="pixel",
        compress="deflate",
        zlevel=1,
        bigtiff="if_safer",
        **({"tiled": True, "blockxsize": PART, "blockysize": PART} if tiled else {}),
    ) as target:
        for part in painter.parts():
            pixels = _as_sensed(painter.paint(part), config, part)
            target.write(pixels, window=part.slices)
    _write_layer(layout.features, config, place, path.with_suffix(".gpkg"))


def _as_sensed(
    pixels: npt.NDArray[np.uint8], config: GeoScenesConfig, part: Box
) -> npt.NDArray[Any]:
    """Pixels of the wanted type, [B, H, W], 0 where the scene holds no data."""
    sensed: npt.NDArray[Any] = pixels
    if config.dtype == "uint16":
        sensed = pixels.astype(np.uint16) * 14 + 180
    if config.gaps:
        rows = np.arange(part.y0, part.y1)[:, None] / config.size[0]
        columns = np.arange(part.x0, part.x1)[None] / config.size[1]
        sensed = np.where(rows + columns < 0.3, 0, sensed).astype(sensed.dtype)
    return sensed


def _write_layer(
    features: Sequence[Feature], config: GeoScenesConfig, place: tuple[float, ...], path: Path
) -> None:
    import pyogrio
    import shapely

    a, b, c, d, e, f = place

    def to_map(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        columns, rows = points[:, 0], points[:, 1]
        return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)

    geometries = shapely.transform(np.array([item.polygon for item in features], object), to_map)
    columns = [np.array([item.label for item in features], dtype=object)]
    columns += [
        np.array([item.properties.get(name) for item in features], dtype=object)
        for name in COLUMNS[1:]
    ]
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": DATE})
    try:
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(geometries),
            field_data=columns,
            fields=list(COLUMNS),
            geometry_type="Polygon",
            crs=config.crs,
            layer=LAYER,
            driver="GPKG",
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _cannot_write(folder: Path, error: BaseException) -> RecipeError:
    return RecipeError(
        f"geoshapes: scenes cannot be written into {folder}: {error}. Make room, or name another "
        "folder (cache_dir, or the variable T4SPP_CACHE)."
    )
