"""Registers the recipes for georeferenced data; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.remote_sensing.configs import GeoPolygonsConfig
from t4spp_recipes.remote_sensing.sources import POLYGON_SOURCES

if TYPE_CHECKING:
    from t4spp_recipes.remote_sensing.geo_polygons import GeoPolygons


def _build_geo_polygons(config: GeoPolygonsConfig) -> GeoPolygons:
    from t4spp_recipes.remote_sensing.geo_polygons import GeoPolygons

    return GeoPolygons(config)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """The recipe ``geo-polygons``."""
    return [
        Component(
            name="geo-polygons",
            config=GeoPolygonsConfig,
            build=_build_geo_polygons,
            summary="GeoTIFF tiles and GeoJSON polygons: buildings of Banepa, or your own",
            requires=("rasterio", "shapely"),
            sources=POLYGON_SOURCES,
        ),
    ]
