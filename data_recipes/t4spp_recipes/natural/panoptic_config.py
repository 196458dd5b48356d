"""Parameters and registration of ``coco-panoptic``. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from t4spp.components import Component, Source

if TYPE_CHECKING:
    from t4spp_recipes.natural.coco_panoptic import CocoPanoptic

PANOPTIC_SOURCES = (
    Source(
        url="https://cocodataset.org/#panoptic-2018",
        licence="annotations CC BY 4.0; pictures under their Flickr licences",
        note="panoptic_{train,val}2017.json, the PNGs that it brings, and the 2017 pictures",
    ),
)


class CocoPanopticConfig(BaseModel):
    """Parameters of ``coco-panoptic``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    annotations: Path
    """COCO's panoptic JSON, for example ``panoptic_val2017.json``."""
    masks: Path
    """Folder of the PNGs that it names."""
    images: Path | None = None
    """Folder of the pictures, in any sub-folder. None: no pixels."""
    prompts: Literal["by-category", "per-segment", "segment-all"] = "by-category"
    """One sample a category of a picture, with all its segments; one a segment; or one a picture
    with every category."""
    crowd: Literal["ignore", "skip", "keep"] = "ignore"
    """Crowd segments: not scored in samples of their category, dropped, or targets."""


def _build(config: CocoPanopticConfig) -> CocoPanoptic:
    from t4spp_recipes.natural.coco_panoptic import CocoPanoptic

    return CocoPanoptic(config)


COCO_PANOPTIC = Component(
    name="coco-panoptic",
    config=CocoPanopticConfig,
    build=_build,
    summary="COCO panoptic JSON and PNGs: things one by one, stuff whole",
    requires=("PIL",),
    sources=PANOPTIC_SOURCES,
)
