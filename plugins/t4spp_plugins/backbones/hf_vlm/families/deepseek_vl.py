"""DeepSeek-VL: one square picture, its shape kept by padding, 576 tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from t4spp_plugins.backbones.hf_vlm.profile import Part, Profile, parts


@dataclass(frozen=True, kw_only=True)
class DeepseekProfile(Profile):
    """Every picture takes the same number of tokens."""

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """What the processor is set to."""
        return int(processor.num_image_tokens)


PROFILE = DeepseekProfile(
    name="deepseek-vl",
    model_types=("deepseek_vl",),
    checkpoint="deepseek-community/deepseek-vl-1.3b-chat",
    parts=parts(Part(prefix=r"model\.aligner\.", layers=r"linear[12]"), tower="vision_model"),
)
