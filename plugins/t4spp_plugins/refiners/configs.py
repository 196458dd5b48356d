"""Parameters of the refiners. Light: imported when plugins are listed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class NoneConfig(BaseModel):
    """``none`` has no parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KeepParams(BaseModel):
    """When a region keeps its coarse mask, or a part of it. docs/refiners.md has the measurements.

    A region that says no cell (``Region.cell``) is never too fine, and has no reach.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reach: Annotated[float, Field(gt=0.0)] | None = 0.5
    """How far from the coarse mask's edge it may be changed, in cells of the descriptor's grid;
    further away the coarse mask stands. None: anywhere."""
    min_agreement: Share = 0.95
    """A refined mask is dropped where its IoU with the coarse one is below this; pixels within
    ``reach`` of the coarse mask's edge count as agreeing."""


class PromptParams(KeepParams):
    """Parameters of refiners that ask a SAM."""

    num_points: Annotated[int, Field(ge=0, le=1000)] = 10
    """Points drawn inside the coarse mask, and as many outside."""
    passes: Annotated[int, Field(ge=1, le=20)] = 3
    """Calls of the decoder; after the first, its own logits are the mask prompt."""
    boxes: bool = True
    """Whether the box that a box-wise scheme wrote is a prompt, too."""
    certainty: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.999
    """Occupancies are held within this before they become logits: 0.999 is 6.9."""
    min_score: Annotated[float, Field(ge=0.0)] = 0.8
    """A refined mask is dropped where SAM's own estimate of its IoU is below this."""
    min_cell: Annotated[float, Field(ge=0.0)] = 3.0
    """Regions written in cells smaller than this keep their mask; in pixels of SAM's logits, which
    are a 256th of the picture's longer side."""
    regions_per_call: Annotated[int, Field(ge=1, le=4096)] = 16
    """Regions of one picture that one call of the decoder takes: the memory it needs."""
    seed: int = 0
    """Of the points, together with the picture's content and the region."""


KEEP_CHOICES: dict[str, tuple[float | None, ...]] = {
    "reach": (0.5, 1.0, None),
    "min_agreement": (0.95, 0.9, 0.8, 0.0),
    "min_score": (0.8, 0.9, 0.7, 0.0),
    "min_cell": (3.0, 2.0, 4.0, 5.0),
}
"""What `t4spp bench refine` tries: with each of these, SAM is asked the same. Defaults first."""


GUIDED_CHOICES: dict[str, tuple[float | None, ...]] = {
    "radius": (0.5, 0.25, 1.0),
    "reach": (0.5, 1.0, None),
    "min_agreement": (0.95, 0.9, 0.8, 0.0),
}
"""What `t4spp bench refine` tries for ``guided-filter``. Defaults first."""


class GuidedFilterConfig(KeepParams):
    """Parameters of ``guided-filter``."""

    radius: Annotated[float, Field(gt=0.0)] = 0.5
    """Half the window's sides, in cells of the descriptor's grid."""
    smoothness: Annotated[float, Field(gt=0.0)] = 0.001
    """Variance of colours (0..1) below which a window counts as flat; the paper's epsilon."""
    default_cell: Annotated[float, Field(gt=0.0)] = 8.0
    """Pixels that a cell of a region that names none is taken to have."""


class SamConfig(PromptParams):
    """Parameters of ``sam``."""

    weights: str = "mobilesam"
    """A checkpoint of SAM (ViT-B, L or H) or MobileSAM, or a name of `t4spp weights list`."""
    cache_features: bool = False
    """Keep the encoded pictures on disk, 2 MB each. In memory, a few are kept in any case, and a
    backbone that encodes with the same weights shares them."""


class HfSamConfig(PromptParams):
    """Parameters of ``hf-sam``."""

    checkpoint: str = "facebook/sam-vit-base"
    """A folder that transformers saved, or a name on its hub: SAM, SAM-HQ or SAM 2."""
