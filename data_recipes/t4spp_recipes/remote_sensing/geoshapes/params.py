"""Parameters of generated scenes. Light, so that listing recipes stays fast."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp.geo.windows import WindowView
from t4spp_recipes.remote_sensing.configs import WindowsConfig

MAX_SCENE_PIXELS = 2**30
"""Pixels of one generated scene, 32,768 x 32,768."""


class GeoScenesConfig(BaseModel):
    """What generated scenes are like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num: int = Field(default=4, ge=1, le=1000)
    """Scenes; they lie in one row, from west to east, without touching."""
    size: tuple[int, int] = (1024, 1024)
    """Height and width of a scene, pixels."""
    pixel: float = Field(default=0.5, ge=0.05, le=10.0)
    """Metres a pixel."""
    seed: int = Field(default=0, ge=0)
    """What the scenes hold follows from it."""
    crs: Literal["EPSG:32633", "EPSG:32733", "EPSG:3035"] = "EPSG:32633"
    """A projected CRS in metres: UTM zone 33 north or south, or Europe's equal-area one."""
    orientation: Literal["north-up", "south-up", "rotated"] = "north-up"
    """Of the pixel grid: rows to the south, rows to the north, or turned by 20 degrees."""
    dtype: Literal["uint8", "uint16"] = "uint8"
    """Of the pixels; uint16 as of a sensor with 12 bits."""
    bands: Literal[3, 4] = 3
    """Red, green, blue, and near infrared."""
    gaps: bool = False
    """Whether a corner of each scene holds no data (value 0)."""

    @model_validator(mode="after")
    def _has_a_size(self) -> GeoScenesConfig:
        height, width = self.size
        if min(height, width) < 64 or height * width > MAX_SCENE_PIXELS:
            raise ValueError(
                f"size: {height} x {width} pixels; each side needs 64, both together at most "
                f"{MAX_SCENE_PIXELS}"
            )
        return self


class GeoShapesConfig(WindowsConfig):
    """Parameters of ``geoshapes``: what is generated, and all that recipes of scenes share."""

    scenes: GeoScenesConfig = Field(default_factory=GeoScenesConfig)
    """The generated scenes."""
    label_property: str | None = "class"
    """Column that says what a polygon is: ``class`` (building, field, road, water), or an
    attribute, as ``roof:material``."""
    windows: WindowView = Field(default_factory=lambda: WindowView(size=256))
    """Size, stride and ground resolution."""
