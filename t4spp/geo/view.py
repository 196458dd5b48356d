"""How scenes become pictures: one value that training and prediction share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from t4spp.geo.pictures import PictureView
from t4spp.geo.windows import WindowView


class SceneView(BaseModel):
    """Bands, scaling and windows of a recipe; ``Recipe.scene_view`` tells it to ``predict``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: PictureView = Field(default_factory=PictureView)
    """Bands and their scaling to 0..255."""
    windows: WindowView = Field(default_factory=WindowView)
    """Size, stride and ground resolution of the pictures."""
    objects: Literal["regions", "parts"] = "regions"
    """What a scene's objects are: what is written as one region, joined across windows; or, where
    one region holds all things of a class, each connected part of the mask."""
