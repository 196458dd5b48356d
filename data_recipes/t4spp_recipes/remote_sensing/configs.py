"""Parameters of the recipes for georeferenced data. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp.geo.pictures import PictureView
from t4spp.geo.view import SceneView
from t4spp.geo.windows import WindowView
from t4spp_recipes.remote_sensing.prompt_config import PromptsConfig

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Metres = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Paths = Path | tuple[Path, ...]
"""A folder, a file, a pattern with ``*``, or a list of them."""


class SplitConfig(BaseModel):
    """Which ground trains and which is held out. Windows that would show both are left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["blocks", "side"] = "blocks"
    """``blocks``: squares of ground, chosen by seed. ``side``: one strip of whole scenes at
    ``side`` of the area."""
    val_share: Share = 0.0
    """Share of the windowed ground that is ``val``; 0 without."""
    test_share: Share = 0.0
    """Likewise ``test``; blocks only."""
    block_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Side of the blocks on the ground, metres. None: an eighth of the area's longer side, or two
    windows where that is more."""
    side: Literal["east", "west", "north", "south"] = "east"
    """Where the strip lies."""
    gap_m: Metres = 0.0
    """Train windows nearer than this to held-out ground are left out, metres."""

    @model_validator(mode="after")
    def _fits_together(self) -> SplitConfig:
        if self.val_share + self.test_share >= 1.0:
            raise ValueError("val_share, test_share: nothing would be left to train")
        if self.by == "side" and (self.test_share or self.block_m is not None):
            raise ValueError("by: side has one strip, val; test_share and block_m need by: blocks")
        return self

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, ``all`` apart; none where nothing is held out."""
        shares = {"val": self.val_share, "test": self.test_share}
        held = tuple(name for name, share in shares.items() if share)
        return ("train", *held) if held else ()


class WindowsConfig(BaseModel):
    """What all recipes of scenes share: pictures, windows, targets, prompts, splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: PictureView = Field(default_factory=PictureView)
    """Bands and scaling."""
    windows: WindowView = Field(default_factory=WindowView)
    """Size, stride and ground resolution. Without a size: whole scenes."""
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
    targets: Literal["instances", "semantic"] = "instances"
    """One target a polygon (of class maps: a connected part); or one a class, their union."""
    prompts: PromptsConfig = Field(default_factory=PromptsConfig)
    """By class, attribute, relation; and prompts for what is absent."""
    max_instances: int | None = Field(default=None, ge=1)
    """Largest number of targets a window and class (instances): the largest are kept, the pixels
    of the others are not scored. None: all are kept."""
    min_area: int = Field(default=1, ge=1)
    """What has fewer pixels than this in a window is no target there; they are not scored."""
    all_touched: bool = False
    """Whether a pixel belongs to a polygon that touches it, not only to one around its centre."""
    empty_share: Share | None = None
    """Share of windows that show nothing, at most, among those that train (``train``, and ``all``);
    ``val`` and ``test`` keep theirs. None: all are kept."""
    split: SplitConfig = Field(default_factory=SplitConfig)
    """Which ground is held out."""
    seed: int = 0
    """Of blocks, empty windows and prompts."""
    cache_dir: Path | None = None
    """Where the index of windows is kept. None: ``$T4SPP_CACHE``, or the user's cache folder."""

    def scene_view(self) -> SceneView:
        """How scenes become pictures; known without the data."""
        objects: Literal["regions", "parts"] = "regions" if self.targets == "instances" else "parts"
        return SceneView(picture=self.picture, windows=self.windows, objects=objects)

    @model_validator(mode="after")
    def _targets_fit(self) -> WindowsConfig:
        if self.label_property is None and (self.rename or self.values or self.other):
            raise ValueError("label_property: rename, values and other sort what it says")
        if self.max_instances is not None and self.targets != "instances":
            raise ValueError("max_instances: it bounds targets: instances; leave it out")
        return self


class GeoTiffConfig(WindowsConfig):
    """Parameters of ``geotiff``."""

    root: Path | None = None
    """The dataset's folder, for a ``preset``."""
    preset: Literal["banepa"] | None = None
    """A layout that the recipe knows."""
    scenes: Paths | None = None
    """Labelled scenes: a folder of GeoTIFFs, files, patterns with ``*``, or STAC items,
    collections or catalogues (``.json``); without a preset."""
    labels: Paths | None = None
    """Vectors (GeoPackage, GeoJSON, Shapefile), or with ``classes`` rasters of classes: a folder,
    files, or patterns; without a preset."""
    unlabelled: Paths | None = None
    """Scenes that no labels belong to, as in ``scenes``: the split ``predict``."""
    stac_asset: str | None = None
    """Key of the asset that is the scene, where a STAC item has several."""
    layer: str | None = None
    """Layer of the vector files, where they have several."""
    classes: dict[int, str] | None = None
    """Class by value, where ``labels`` are rasters."""
    background: tuple[int, ...] = (0,)
    """Values of rasters that are none of the classes, for certain. All other values, and what is
    without data, are unlabelled: not scored."""
    label_suffix: str = ""
    """What a label raster's stem has beyond its scene's; one raster may serve all scenes."""

    @model_validator(mode="after")
    def _sources_fit(self) -> GeoTiffConfig:
        if self.preset is not None:
            if self.root is None:
                raise ValueError(f"root: the preset {self.preset} needs the dataset's folder")
            if self.scenes is not None or self.labels is not None or self.unlabelled is not None:
                raise ValueError(
                    "scenes, labels, unlabelled: a preset finds them under root; leave them out"
                )
        elif self.root is not None:
            raise ValueError("preset: root needs one, banepa")
        elif self.scenes is None or self.labels is None:
            raise ValueError("scenes, labels: both are needed without a preset")
        if self.classes is not None:
            if not self.classes:
                raise ValueError("classes: it names no class")
            both = sorted(set(self.classes) & set(self.background))
            if both:
                raise ValueError(f"background: {both} are classes; a value cannot be both")
            if self.layer is not None or self.label_property is not None:
                raise ValueError(
                    "layer, label_property: they belong to vectors, classes to rasters"
                )
        elif self.label_suffix:
            raise ValueError("label_suffix: it pairs rasters, which need classes")
        return self
