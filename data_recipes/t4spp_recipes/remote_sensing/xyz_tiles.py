"""Folders of slippy-map tiles with vector labels: ``xyz-tiles``.

Which ground a tile shows follows from its name (zoom, column, row), in EPSG:3857. Known data:
tiles of OpenAerialMap with buildings of OpenStreetMap. No-data rule: transparent pixels are not
scored. Docs: docs/recipes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp.geo.scenes import Scene, gdal_errors, stamp_of
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.scene_lists import VECTOR_SUFFIXES, find_files
from t4spp_recipes.remote_sensing.scene_windows import SceneWindows
from t4spp_recipes.remote_sensing.sources import XYZ_SOURCES
from t4spp_recipes.remote_sensing.vector_labels import VectorLabels
from t4spp_recipes.remote_sensing.xyz_config import XyzTilesConfig
from t4spp_recipes.remote_sensing.xyz_names import WEB_MERCATOR, TileFile, find_tiles


class XyzTiles(SceneWindows):
    """Segment what vectors outline in slippy-map tiles; each tile is a scene."""

    sources: ClassVar[tuple[Source, ...]] = XYZ_SOURCES

    def __init__(self, config: XyzTilesConfig) -> None:
        """Read the tiles' headers and the vectors, no pixels.

        Raises:
            GeoError: a tile or vector file is damaged.
            RecipeError: files are missing or are no tiles, or no label lies on any tile.
        """
        counters: Counter[str] = Counter()
        scenes = _read(config.tiles, "tiles", config, counters)
        unlabelled: tuple[Scene, ...] = ()
        if config.unlabelled is not None:
            unlabelled = _read(config.unlabelled, "unlabelled", config, counters)
        files = find_files(config.labels, VECTOR_SUFFIXES, "xyz-tiles: labels")
        labels = VectorLabels(files, config, counters, config.layer)
        without = sum(not labels.meets(scene) for scene in scenes)
        if without == len(scenes):
            left, bottom, right, top = scenes[0].outline()[[3, 1]].reshape(-1)
            raise RecipeError(
                f"xyz-tiles: no label overlaps any of the {len(scenes)} tiles. The first, "
                f"{scenes[0].path}, covers x {left:.6g} to {right:.6g}, y {bottom:.6g} to "
                f"{top:.6g} in {WEB_MERCATOR}; the labels lie at {labels.bounds()}. Check pattern "
                "(the order of z, x and y), scheme (tms counts rows from the south), and the "
                "labels' CRS."
            )
        counters["tiles_without_polygons"] = without
        super().__init__(
            "xyz-tiles", config, scenes, labels, unlabelled=unlabelled, counters=counters
        )


def _read(
    folder: Path, what: str, config: XyzTilesConfig, counters: Counter[str]
) -> tuple[Scene, ...]:
    tiles, counted = find_tiles(
        folder,
        f"xyz-tiles: {what}",
        pattern=config.pattern,
        scheme=config.scheme,
        zooms=config.zooms,
    )
    counters.update(counted)
    return read_tiles(tiles, config)


def read_tiles(tiles: Sequence[TileFile], config: XyzTilesConfig) -> tuple[Scene, ...]:
    """Tiles as scenes, each named ``z-x-y``.

    Raises:
        GeoError: a file cannot be read, or lacks a band of the config's picture.
        RecipeError: a tile has a palette, whose indices are no picture.
    """
    scenes = []
    for tile in with_progress(tiles, "reading headers", "tile"):
        scene = _header(tile)
        config.picture.bands_of(scene)
        scenes.append(scene)
    return tuple(scenes)


def _header(tile: TileFile) -> Scene:
    import rasterio
    from rasterio.enums import ColorInterp, MaskFlags

    stamp = stamp_of(tile.path)
    with gdal_errors(tile.path), rasterio.open(tile.path) as dataset:
        kinds = list(dataset.colorinterp)
        if ColorInterp.palette in kinds:
            raise RecipeError(
                f"{tile.path} has a palette, whose indices are no picture. Convert such tiles, for "
                "example by gdal_translate -expand rgb -of PNG."
            )
        left, bottom, right, top = tile.bounds
        return Scene(
            path=tile.path,
            name=tile.name,
            size=(dataset.height, dataset.width),
            crs=WEB_MERCATOR,
            transform=(
                (right - left) / dataset.width,
                0.0,
                left,
                0.0,
                (bottom - top) / dataset.height,
                top,
            ),
            nodata=dataset.nodata,
            num_bands=dataset.count,
            dtypes=tuple(str(kind) for kind in dataset.dtypes),
            has_gaps=any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums),
            stamp=stamp,
            alpha=kinds.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in kinds else None,
        )
