"""Parameters of the backbone ``hf-vlm``. Light: imported when plugins are listed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

PartName = Literal["vision", "connector", "language"]
"""The parts of a model: the picture's encoder, what joins it to the text, the language model."""


class LoadingConfig(BaseModel):
    """What every family understands about a checkpoint, and how it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str | None = Field(None, min_length=1)
    """A folder in transformers' format, or a hub name; None: the family's default."""
    revision: str | None = None
    """Branch, tag or commit of a hub name; None: the main branch."""
    min_pixels: int | None = Field(None, gt=0)
    """A smaller picture is enlarged to so many pixels, where the family keeps a picture's shape;
    None: what the checkpoint says."""
    max_pixels: int | None = Field(None, gt=0)
    """A larger picture is shrunk to so many pixels, likewise."""
    max_tiles: int | None = Field(None, gt=0)
    """The most tiles that a large picture is cut into, where the family cuts; 1 cuts none; None:
    what the checkpoint says."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights in memory; ``auto``: as they are stored."""
    quantization: Literal["none", "8bit", "4bit"] = "none"
    """Of the linear layers, by bitsandbytes; needs a GPU."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """How attention is computed; ``auto`` leaves it to transformers."""
    freeze: tuple[PartName, ...] = ("vision",)
    """Parts that are not trained: LoRA adapts none of their layers, full training leaves their
    weights alone."""
    gradient_checkpointing: bool = False
    """Compute activations anew in the backward pass: less memory, about a third slower."""
    seed: int = 0
    """Of new tokens' rows."""


class HfVlmConfig(LoadingConfig):
    """Parameters of the backbone ``hf-vlm``."""

    family: str = "auto"
    """The profile to use; ``auto``: the one for the model type that the checkpoint names."""

    @field_validator("family")
    @classmethod
    def _is_known(cls, name: str) -> str:
        from t4spp.errors import nearest
        from t4spp_plugins.backbones.hf_vlm.families import families

        known = ["auto", *families()]
        if name not in known:
            raise ValueError(f"no such family; valid: {', '.join(known)}.{nearest(name, known)}")
        return name

    @model_validator(mode="after")
    def _names_what_to_load(self) -> Self:
        if self.family == "auto" and self.checkpoint is None:
            raise ValueError(
                "hf-vlm: name a checkpoint (a folder or a hub name) in checkpoint, or a family in "
                "family, whose default checkpoint is then taken"
            )
        return self
