"""Parameters that recipes of class-id masks share. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PromptKinds(BaseModel):
    """Weights of the kinds of prompts that ``mixed`` draws; only their ratio counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    open: float = Field(default=1.0, ge=0.0)
    """Segment all: the prompt names no class."""
    partial: float = Field(default=3.0, ge=0.0)
    """Segment these: some of the classes that the picture shows."""
    conditioned: float = Field(default=6.0, ge=0.0)
    """Segment by this list: some that it shows among some that it does not."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> PromptKinds:
        if not self.open + self.partial + self.conditioned:
            raise ValueError("kinds: one weight at least must be above 0")
        return self


class SemanticParams(BaseModel):
    """What a picture with a class-id mask is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: Literal["by-class", "segment-all", "mixed"] = "by-class"
    """One sample an (image, class present); or one an image with every class; or ``rounds`` an
    image, each of a kind drawn by ``kinds``."""
    segment_all_kind: Literal["conditioned", "open"] = "conditioned"
    """The family of templates of ``segment-all``: with or without the class list."""
    kinds: PromptKinds = PromptKinds()
    """Weights of the kinds of ``mixed``; the default is Text4Seg's ratio."""
    rounds: int = Field(default=1, ge=1)
    """Prompts an image, ``mixed`` only; Text4Seg's conversations have two."""
    min_pixels: int = Field(default=1, ge=1)
    """A class with fewer pixels in an image gets no prompt and no target there; counted."""
    no_target_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of samples that ask for a class that the picture does not show (by-class)."""
    seed: int = 0
    """Of ``mixed``, ``no_target_share`` and, where there is one, ``val_share``."""
    cache_dir: Path | None = None
    """Where the index of classes per mask is kept. None: ``T4SPP_CACHE``, or t4spp's folder in
    the user's cache. Never the dataset's folder."""

    @model_validator(mode="after")
    def _prompts_fit_together(self) -> SemanticParams:
        if self.prompts != "by-class" and self.no_target_share:
            what = "asks for every class" if self.prompts == "segment-all" else "names absent ones"
            raise ValueError(f"no_target_share: {self.prompts} {what} already")
        if self.prompts != "mixed":
            for name in ("kinds", "rounds"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name}: belongs to prompts: mixed")
        return self


class DatasetParams(SemanticParams):
    """Parameters of a semantic dataset that is known by name."""

    root: Path
    """The folder that the dataset's download makes, or the one above it."""
    counts: bool = True
    """Whether ``data check`` compares the number of pictures with the published one; false for
    a part of the dataset."""
    rename: dict[str, str] = {}
    """Published class names by what prompts shall say instead; two of one name are merged."""


class CocoStuffConfig(DatasetParams):
    """Parameters of ``coco-stuff``."""

    variant: Literal["164k", "10k"] = "164k"
    """``164k``: all of COCO 2017, masks as PNG. ``10k``: the first release, MATLAB files."""


class Ade20kConfig(DatasetParams):
    """Parameters of ``ade20k-150``."""


BackgroundRule = Literal["auto", "void", "scored"]


class PascalVocConfig(DatasetParams):
    """Parameters of ``pascal-voc``."""

    background: BackgroundRule = "auto"
    """What becomes of id 0: not scored (PAS-20), or scored as none of the classes (the 21-class
    benchmark). ``auto``: void with ``prompts: segment-all``, scored otherwise."""
    compat: Literal["text4seg"] | None = None
    """``text4seg``: as its published evaluation reads the masks, the contour (255) is scored as
    background and id 0 is not scored."""


class PascalContextConfig(DatasetParams):
    """Parameters of ``pascal-context``."""

    background: BackgroundRule = "auto"
    """What becomes of what bears none of the 59 classes: not scored (PC-59), or scored (PC-60).
    ``auto``: void with ``prompts: segment-all``, scored otherwise."""
    compat: Literal["mmseg"] | None = None
    """``mmseg``: class names in the order of mmsegmentation's list, which is not the order of the
    ids that its converter writes (id 2 is called bicycle, and shows bags)."""
