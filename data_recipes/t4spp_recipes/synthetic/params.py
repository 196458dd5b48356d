"""Parameters of RefShapes: what a scene may hold. Light, so that listing plugins stays fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SHAPE_NAMES = (
    "circle",
    "square",
    "triangle",
    "diamond",
    "star",
    "cross",
    "ring",
    "frame",
    "bar",
    "dots",
)

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 44, 44),
    "green": (46, 168, 66),
    "blue": (52, 84, 222),
    "yellow": (236, 214, 48),
    "purple": (150, 58, 186),
    "cyan": (64, 204, 212),
    "orange": (242, 138, 36),
    "white": (240, 240, 240),
}

UNSEEN_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "star"),
        ("green", "ring"),
        ("blue", "triangle"),
        ("yellow", "cross"),
        ("purple", "square"),
        ("white", "circle"),
    }
)
"""Colour-shape pairs that no training scene holds."""


class Difficulty(BaseModel):
    """What a scene may hold. The defaults are the preset ``standard``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(128, ge=32, le=1024)
    """Height and width of the picture in pixels."""
    objects: tuple[int, int] = (2, 6)
    """Least and most objects a scene; fewer stand where no more fit."""
    area: tuple[float, float] = (0.003, 0.20)
    """Least and greatest area of an object as a share of the picture; the side length, the
    square root of the area, is uniform between them."""
    hidden: float = Field(0.25, ge=0, lt=1)
    """Greatest share of an object that others may hide."""
    rotation: float = Field(10.0, ge=0, le=180)
    """Greatest rotation in degrees; bars turn freely by multiples of 45 besides."""
    repeat: float = Field(0.5, ge=0, le=1)
    """Chance that an object takes the colour or the shape of an earlier one, so that one word
    does not tell them apart."""
    shapes: tuple[str, ...] = SHAPE_NAMES
    """Shapes in use."""
    colours: tuple[str, ...] = tuple(COLOURS)
    """Colours in use."""
    texture: float = Field(1.0, ge=0, le=3)
    """Strength of the ground's texture; 0 is a plain ground."""

    @model_validator(mode="after")
    def _consistent(self) -> Difficulty:
        low, high = self.objects
        if not 1 <= low <= high <= 12:
            raise ValueError(f"objects: {self.objects} must be (least, most) within 1..12")
        if not 0 < self.area[0] <= self.area[1] <= 0.5:
            raise ValueError(f"area: {self.area} must be (least, greatest) within 0..0.5")
        for kind, chosen, known in (
            ("shapes", self.shapes, SHAPE_NAMES),
            ("colours", self.colours, tuple(COLOURS)),
        ):
            if not chosen or (unknown := sorted(set(chosen) - set(known))):
                raise ValueError(f"{kind}: {unknown or 'none given'}; valid: {', '.join(known)}")
        if all((colour, shape) in UNSEEN_PAIRS for colour in self.colours for shape in self.shapes):
            raise ValueError(
                f"colours {self.colours} and shapes {self.shapes} make only pairs that training "
                "scenes leave out (UNSEEN_PAIRS); add a colour or a shape"
            )
        return self


PRESETS: dict[str, Difficulty] = {
    "standard": Difficulty(),
    "easy": Difficulty(objects=(1, 3), area=(0.02, 0.2), hidden=0.0, rotation=0.0, texture=0.3),
    "hard": Difficulty(size=256, objects=(5, 12), area=(0.001, 0.15), hidden=0.5, rotation=45.0),
}


SPLITS = {"train": 0, "val": 1, "test": 2}
"""Split -> its share of the seed. Only ``train`` leaves the unseen pairs out."""


class RefShapesParams(BaseModel):
    """Parameters of the recipe ``refshapes``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["standard", "easy", "hard"] = "standard"
    """Difficulty by name. ``standard`` is fixed: every published score of t4spp means it."""
    difficulty: Difficulty | None = None
    """Own difficulty in place of the preset's."""
    seed: int = Field(0, ge=0)
    """Seed of scenes and phrases."""
    num_scenes: dict[str, Annotated[int, Field(ge=0)]] = {"train": 20_000, "val": 250, "test": 500}
    """Scenes a split; they cost nothing until they are read."""
    prompts_per_scene: int = Field(4, ge=1, le=16)
    """Phrases about each scene; consecutive samples share a picture."""
    no_target: float = Field(0.10, ge=0, le=1)
    """Share of phrases that nothing in the scene matches."""
    prompt_blind: bool = False
    """Hide the phrases: every prompt and label is the same word, the targets stay. What a model
    scores that cannot know what is asked; the baseline below any other score."""

    @property
    def scene_difficulty(self) -> Difficulty:
        """The difficulty in force."""
        return self.difficulty or PRESETS[self.preset]


class MaskShapesParams(BaseModel):
    """Parameters of the recipe ``mask-shapes``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, ge=0)
    """Seed of the masks."""
    size: int = Field(128, ge=16, le=2048)
    """Height and width of the canvas in pixels."""
    extent: tuple[float, float] = (0.1, 0.9)
    """Least and greatest side of an object's own frame as a share of the canvas; log-uniform."""
    cut: float = Field(0.5, ge=0, lt=1)
    """Greatest share of an object's frame that lies beyond the canvas, along each axis; of half of
    the objects, the others lie inside."""
    num_masks: dict[Literal["train", "val", "test"], Annotated[int, Field(ge=0)]] = {
        "train": 40_000,
        "val": 1_000,
        "test": 1_000,
    }
    """Masks a split, one to a sample; they cost nothing until they are read."""

    @model_validator(mode="after")
    def _extent_in_order(self) -> MaskShapesParams:
        low, high = self.extent
        if not 0 < low <= high <= 1:
            raise ValueError(f"extent: {self.extent} must be (least, greatest) within 0..1")
        return self
