"""Parameters of the backbone ``oracle``. Light: imported when plugins are listed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OracleConfig(BaseModel):
    """How the truth is corrupted before it is written, and the text after. All of it is seeded."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0)
    """Of every corruption; together with the sample's id it fixes what happens to a sample."""
    drop_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the targets that are left out."""
    shift_pixels: int = Field(default=0, ge=0)
    """Masks move by this many pixels, in a direction drawn for each sample (of eight)."""
    erode_pixels: int = 0
    """Masks shrink by this many pixels (4-neighbourhood); a negative number lets them grow."""
    damage_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the answers whose descriptor is damaged."""
    damage_edits: int = Field(default=1, ge=1)
    """Edits in a damaged descriptor."""
    damage_kinds: tuple[Literal["delete", "duplicate", "replace"], ...] = Field(
        default=("delete", "duplicate", "replace"), min_length=1
    )
    """What an edit does to one character, or to one of the scheme's tokens."""
    no_answer_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the answers without a descriptor."""
    tokenizer: Path | None = None
    """Folder of a tokenizer that counts the answers' tokens; None: they are not counted."""
