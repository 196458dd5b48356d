"""Registers the recipes for georeferenced data; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.remote_sensing.configs import GeoTiffConfig
from t4spp_recipes.remote_sensing.sources import GEOTIFF_SOURCES

if TYPE_CHECKING:
    from t4spp_recipes.remote_sensing.geotiff import GeoTiff

REQUIRES = ("rasterio", "shapely", "pyogrio", "pyproj")


def _build_geotiff(config: GeoTiffConfig) -> GeoTiff:
    from t4spp_recipes.remote_sensing.geotiff import GeoTiff

    return GeoTiff(config)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """The recipe ``geotiff``."""
    return [
        Component(
            name="geotiff",
            config=GeoTiffConfig,
            build=_build_geotiff,
            summary="GeoTIFF scenes with vectors or class rasters: buildings of Banepa, or yours",
            requires=REQUIRES,
            sources=GEOTIFF_SOURCES,
        ),
    ]
