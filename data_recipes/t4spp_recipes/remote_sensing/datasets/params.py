"""Parameters of the remote-sensing datasets. Imported by the registration: pydantic only."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp_recipes.natural.semantic.params import DatasetParams


class LoveDaConfig(DatasetParams):
    """Parameters of ``loveda``."""

    scene: Literal["all", "urban", "rural"] = "all"
    """Which of the two domains."""
    background: Literal["class", "others"] = "class"
    """``class``: id 1 is the class ``background``, one of the seven that published figures average
    over. ``others``: it is scored, but no prompt asks for it."""


class IsaidConfig(DatasetParams):
    """Parameters of ``isaid``."""

    targets: Literal["semantic", "instances"] = "semantic"
    """A class's pixels are one target, or each of its instances is one."""
    window: int | None = Field(default=896, ge=16)
    """Side of the square windows that pictures are cut into, in pixels; null: whole pictures, also
    for data that another program has cut."""
    overlap: int = Field(default=384, ge=0)
    """Pixels that neighbouring windows share."""
    background: Literal["class", "others"] = "others"
    """``others``: what bears none of the 15 classes is scored, but no prompt asks for it.
    ``class``: it is the class ``background``, as in mmsegmentation's figures over 16."""
    compat: Literal["mmseg", "devkit"] | None = None
    """Whose published preparation to follow, faults included: docs/datasets-remote-sensing.md.
    ``devkit`` cuts by 800 with an overlap of 200 unless window or overlap say otherwise."""

    @model_validator(mode="after")
    def _windows_advance(self) -> IsaidConfig:
        if self.window is not None and self.overlap >= self.window:
            raise ValueError(f"overlap: must be below window, {self.window}")
        return self

    @property
    def cut(self) -> tuple[int, int] | None:
        """(window, overlap); None: whole pictures."""
        if self.compat == "devkit" and not {"window", "overlap"} & self.model_fields_set:
            return 800, 200
        return None if self.window is None else (self.window, self.overlap)


class PhraseParams(BaseModel):
    """Parameters that datasets of phrases about overhead pictures share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: Path
    """The folder that the dataset's download makes, or the one above it."""
    counts: bool = True
    """Whether ``data check`` compares the number of samples with the published one; false for a
    part of the dataset."""
    label: str | None = None
    """What the answer calls the region; null: the phrase itself, cut to 128 characters."""


class RrsisDConfig(PhraseParams):
    """Parameters of ``rrsis-d``."""

    text: Literal["raw", "sent"] = "raw"
    """The expression as it was written, which published loaders read, or as cleaned."""
    compat: Literal["rmsin", "segearth"] | None = None
    """Whose published loader to follow, faults included: docs/datasets-remote-sensing.md."""


class RefSegRsConfig(PhraseParams):
    """Parameters of ``refsegrs``."""

    compat: Literal["lavt", "segearth"] | None = None
    """Whose published threshold of masks to follow: above 50 (LAVT's descendants), or 255 alone
    (SegEarth-R1). None: 128 and above, the nearer to white."""


class RisBenchConfig(PhraseParams):
    """Parameters of ``risbench``."""


class EarthReasonConfig(PhraseParams):
    """Parameters of ``earthreason``."""

    label: str | None = "target"
    """What the answer calls the region; null: the question itself, cut to 128 characters."""
    questions: Literal["all", "first"] = "all"
    """Every question is a sample, all but the first tagged ``further-phrase``; or the first one."""
    compat: Literal["segearth"] | None = None
    """``segearth``: pictures, labels and questions are paired by their positions in sorted lists,
    as its loader does; where a file is missing, all behind it are mispaired."""
