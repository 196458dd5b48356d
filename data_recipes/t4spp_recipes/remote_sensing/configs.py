"""Parameters of the recipes for georeferenced data. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Band = Annotated[int, Field(ge=1)]
Percentile = Annotated[float, Field(ge=0.0, le=100.0)]


class GeoPolygonsConfig(BaseModel):
    """Parameters of ``geo-polygons``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path | None = None
    """The dataset's folder, for a ``preset``."""
    preset: Literal["banepa"] | None = None
    """A layout that the recipe knows."""
    images: Path | None = None
    """Labelled tiles: a folder of GeoTIFFs, one file, or a pattern with ``*``; without a preset."""
    labels: Path | None = None
    """Polygons: a GeoJSON file, a folder of them, or a pattern with ``*``; without a preset."""
    unlabelled: Path | None = None
    """Tiles that no polygons belong to, as in ``images``: the split ``predict``."""
    label: str = "building"
    """What every polygon is called, without ``label_property``."""
    label_property: str | None = None
    """Property of the polygons that says what they are, for example ``roof:material``."""
    rename: dict[str, str] = Field(default_factory=dict)
    """Labels by value of ``label_property``; other values stay as they are."""
    values: tuple[str, ...] | None = None
    """Labels (after ``rename``) that count; a polygon with another one is as one without any."""
    other: str | None = None
    """Label of polygons without a label. None: their pixels are not scored; counted either way."""
    targets: Literal["semantic", "instances"] = "semantic"
    """One target a label, the union of its polygons; or one target a polygon."""
    prompts: Literal["by-label", "segment-all"] = "by-label"
    """One sample a (window, label); or one a window, that asks for every label."""
    max_instances: int | None = Field(default=None, ge=1)
    """Largest number of targets a window and label (instances): the largest are kept, the pixels
    of the others are not scored. None: all are kept."""
    min_area: int = Field(default=1, ge=1)
    """A polygon with fewer pixels than this in a window is no target there; they are not scored."""
    all_touched: bool = False
    """Whether a pixel belongs to a polygon that touches it, not only to one around its centre."""
    window: int | None = Field(default=None, ge=16)
    """Side of the square windows that tiles are cut into, pixels. None: whole tiles."""
    stride: int | None = Field(default=None, ge=1)
    """Pixels from one window to the next; less than ``window`` overlaps. None: ``window``."""
    empty: Literal["keep", "skip"] = "keep"
    """Windows that show no polygon: samples without a target, or left out and counted."""
    val_share: float | None = Field(default=None, ge=0.0, lt=1.0)
    """Share of the tiles that is ``val``, a strip at ``val_side``. None: the preset's, or 0."""
    val_side: Literal["east", "west", "north", "south"] = "east"
    """On which side of the area the strip of ``val`` lies."""
    gap: int = Field(default=0, ge=0)
    """Train windows nearer than this to the strip of ``val`` are left out, pixels."""
    bands: tuple[Band, ...] | None = None
    """Bands that are red, green and blue, from 1; one band is grey. None: the first three, or
    the first one of tiles with less than three."""
    stretch: tuple[Percentile, Percentile] = (2.0, 98.0)
    """Percentiles of a tile's valid pixels, a band, that become 0 and 255; unused for uint8."""

    @model_validator(mode="after")
    def _fits_together(self) -> GeoPolygonsConfig:
        if self.preset is not None:
            if self.root is None:
                raise ValueError(f"root: the preset {self.preset} needs the dataset's folder")
            if self.images is not None or self.labels is not None or self.unlabelled is not None:
                raise ValueError(
                    "images, labels, unlabelled: a preset finds them under root; leave them out"
                )
        else:
            if self.root is not None:
                raise ValueError("preset: root needs one, banepa")
            if self.images is None or self.labels is None:
                raise ValueError("images, labels: both are needed without a preset")
        if self.label_property is None and (self.rename or self.values or self.other):
            raise ValueError("label_property: rename, values and other sort what it says")
        if self.stride is not None and (self.window is None or self.stride > self.window):
            raise ValueError("stride: it must not be larger than window, or pixels would be lost")
        if self.max_instances is not None and self.targets != "instances":
            raise ValueError("max_instances: it bounds targets: instances; leave it out")
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ValueError("bands: name one band (grey) or three (red, green, blue)")
        if self.stretch[0] >= self.stretch[1]:
            raise ValueError("stretch: the lower percentile must be below the upper one")
        return self
