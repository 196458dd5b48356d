"""Parameters of the backbone ``smol``. Light: imported when plugins are listed."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class SmolParams(BaseModel):
    """Parameters of the backbone ``smol``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: Path | None = None
    """Folder of a whole smol model, as `t4spp export` writes it; None: the parts below, joined
    by a connector with seeded random weights, which has to be trained."""
    tower: Path | None = None
    """MobileSAM's checkpoint; None: the weights `mobilesam`, fetched where they are absent."""
    language_model: Path | None = None
    """SmolLM2's GGUF file, or a folder with another Llama as transformers saves it; None: the
    weights `smollm2-135m`, fetched where they are absent."""
    cache_features: bool = True
    """Keep the tower's features of every picture on disk, 2 MB each, so that no epoch and no
    later run encodes a picture twice."""
    align_steps: int = Field(default=150, ge=0)
    """Steps, of 8 training pictures, that a new connector learns words for what lies under the
    image tokens, before the answers are trained; 0: none. Needs masks in the training split."""
    guide: float = Field(default=0.3, ge=0)
    """Weight, beside an answer's loss, of teaching attention heads where a brick looks in the
    picture, for schemes that write boxes and bricks as tokens; 0: none."""
    seed: int = 0
    """Seed of the connector and of new tokens' rows."""
