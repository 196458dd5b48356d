"""Gemma 3: square pictures, 256 tokens each, which see each other both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import Part, Profile, parts


@dataclass(frozen=True, kw_only=True)
class Gemma3Profile(Profile):
    """A picture is stretched to a square."""

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """No crops beside the picture: they would make the number of tokens hard to foresee."""
        processor.image_processor.do_pan_and_scan = False

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """What the processor is set to."""
        return int(processor.image_seq_length)


PROFILE = Gemma3Profile(
    name="gemma3",
    model_types=("gemma3",),
    checkpoint="google/gemma-3-4b-it",
    end="<end_of_turn>",
    parts=parts(
        Part(
            prefix=r"model\.multi_modal_projector\.",
            layers=None,  # its projection is a bare matrix
            whole=("model.multi_modal_projector",),
        )
    ),
)
