"""SmolVLM: square tiles and a thumbnail, 64 tokens each."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, ClassVar

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import Part, Profile, parts


@dataclass(frozen=True, kw_only=True)
class SmolVlmProfile(Profile):
    """A picture is stretched to whole tiles, its longer side to as many as are allowed."""

    sizing: ClassVar[tuple[str, ...]] = ("max_tiles",)

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Bound the longer side so that a square has at most so many tiles."""
        if params.max_tiles is None:
            return
        images = processor.image_processor
        images.do_image_splitting = params.max_tiles > 1
        if images.do_image_splitting:
            side = isqrt(params.max_tiles) * int(images.max_image_size["longest_edge"])
            images.size = type(images.size)(longest_edge=side)

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """``image_seq_len`` a tile, the thumbnail among them."""
        tiles = processor.image_processor.get_number_of_image_patches(*size, {})
        count = tiles[0] if isinstance(tiles, tuple) else tiles
        return max(int(count), 1) * int(processor.image_seq_len)


PROFILE = SmolVlmProfile(
    name="smolvlm",
    model_types=("smolvlm", "idefics3"),
    checkpoint="HuggingFaceTB/SmolVLM2-256M-Video-Instruct",
    end="<end_of_utterance>",
    requires=("num2words",),
    parts=parts(
        Part(prefix=r"model\.connector\.", layers=r"modality_projection\.proj"),
        tower="vision_model",
        language="text_model",
    ),
)
