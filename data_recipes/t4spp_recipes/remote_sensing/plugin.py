"""Registers the recipes for georeferenced data; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.remote_sensing.configs import GeoTiffConfig
from t4spp_recipes.remote_sensing.datasets.components import DATASET_COMPONENTS
from t4spp_recipes.remote_sensing.geoshapes.params import GeoShapesConfig
from t4spp_recipes.remote_sensing.sources import GEOSHAPES_SOURCES, GEOTIFF_SOURCES, XYZ_SOURCES
from t4spp_recipes.remote_sensing.xyz_config import XyzTilesConfig

if TYPE_CHECKING:
    from t4spp_recipes.remote_sensing.geoshapes.recipe import GeoShapes
    from t4spp_recipes.remote_sensing.geotiff import GeoTiff
    from t4spp_recipes.remote_sensing.xyz_tiles import XyzTiles

REQUIRES = ("rasterio", "shapely", "pyogrio", "pyproj")


def _build_geotiff(config: GeoTiffConfig) -> GeoTiff:
    from t4spp_recipes.remote_sensing.geotiff import GeoTiff

    return GeoTiff(config)


def _build_xyz_tiles(config: XyzTilesConfig) -> XyzTiles:
    from t4spp_recipes.remote_sensing.xyz_tiles import XyzTiles

    return XyzTiles(config)


def _build_geoshapes(config: GeoShapesConfig) -> GeoShapes:
    from t4spp_recipes.remote_sensing.geoshapes.recipe import GeoShapes

    return GeoShapes(config)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """Recipes of any georeferenced data, generated scenes, and datasets known by name."""
    return [
        Component(
            name="geotiff",
            config=GeoTiffConfig,
            build=_build_geotiff,
            summary="GeoTIFF scenes with vectors or class rasters: buildings of Banepa, or yours",
            requires=REQUIRES,
            sources=GEOTIFF_SOURCES,
        ),
        Component(
            name="xyz-tiles",
            config=XyzTilesConfig,
            build=_build_xyz_tiles,
            summary="folders of slippy-map tiles (PNG, JPEG) with vectors as labels",
            requires=REQUIRES,
            sources=XYZ_SOURCES,
        ),
        Component(
            name="geoshapes",
            config=GeoShapesConfig,
            build=_build_geoshapes,
            summary="generated scenes of roads, fields, buildings, water: GeoTIFF and GeoPackage",
            requires=REQUIRES,
            sources=GEOSHAPES_SOURCES,
        ),
        *DATASET_COMPONENTS,
    ]
