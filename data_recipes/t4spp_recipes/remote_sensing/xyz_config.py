"""Parameters of ``xyz-tiles``. Imported by the registration: light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from t4spp_recipes.remote_sensing.configs import Paths, WindowsConfig
from t4spp_recipes.remote_sensing.xyz_names import MAX_ZOOM, check_pattern

Zoom = Annotated[int, Field(ge=0, le=MAX_ZOOM)]


class XyzTilesConfig(WindowsConfig):
    """Parameters of ``xyz-tiles``, and all that recipes of scenes share."""

    tiles: Path
    """Folder of labelled tiles, sub-folders included."""
    labels: Paths
    """Vectors (GeoPackage, GeoJSON, Shapefile): files, a folder, or patterns with ``*``."""
    layer: str | None = None
    """Layer of the vector files, where they have several."""
    unlabelled: Path | None = None
    """Folder of tiles that no labels belong to: the split ``predict``."""
    pattern: str | None = None
    """How tiles are named under their folder, without the suffix: ``{z}/{x}/{y}``, with ``*`` for
    whatever may stand there. None: that, or names that end in ``-x-y-z``."""
    scheme: Literal["xyz", "tms"] = "xyz"
    """Whether rows count from the north (slippy maps) or from the south (TMS)."""
    zooms: tuple[Zoom, ...] | None = None
    """Zoom levels to take. None: all."""

    @field_validator("pattern")
    @classmethod
    def _names_a_tile(cls, value: str | None) -> str | None:
        return None if value is None else check_pattern(value)

    @field_validator("zooms")
    @classmethod
    def _some_zoom(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value == ():
            raise ValueError("it names no zoom level; leave it out to take all")
        return value
