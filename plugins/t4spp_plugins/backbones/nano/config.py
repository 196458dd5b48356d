"""Parameters of the backbone ``nano``. Light: imported when plugins are listed."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class NanoConfig(BaseModel):
    """Parameters of the backbone ``nano``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path | None = None
    """Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json``; None: the
    weights that ship with t4spp, trained on generated scenes only."""
    from_scratch: bool = False
    """Start from seeded random weights of the same architecture; the tokenizer is kept."""
    fresh_mask_tokens: bool = False
    """Start the scheme's tokens, coordinates apart, from seeded rows even where the weights know
    them, so that no scheme's own tokens begin ahead of another's."""
    seed: int = 0
    """Seed of random weights and of new tokens' rows."""
    look: float = Field(0.0, ge=0)
    """Weight of a loss, while answers are trained, that teaches which image tokens show what is
    asked for: it counts as so many tokens of each answer. Answers are written without it."""
