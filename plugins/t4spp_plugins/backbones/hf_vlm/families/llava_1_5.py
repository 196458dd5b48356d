"""LLaVA-1.5: one square picture, 576 tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import PROJECTOR, Profile, parts


@dataclass(frozen=True, kw_only=True)
class LlavaProfile(Profile):
    """A picture is stretched to a square, so that all of it is seen.

    The published settings cut the middle out of it, and what is to be segmented may lie outside.
    """

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Stretch to the size that was cut out."""
        images = processor.image_processor
        if images.do_center_crop:
            side = images.crop_size
            images.size = type(images.size)(height=side["height"], width=side["width"])
            images.do_center_crop = False

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """One a patch, and those that the encoder adds and the model keeps."""
        side, patch = processor.image_processor.size, int(processor.patch_size)
        count = (int(side["height"]) // patch) * (int(side["width"]) // patch)
        count += int(processor.num_additional_image_tokens)
        return count - 1 if processor.vision_feature_select_strategy == "default" else count


PROFILE = LlavaProfile(
    name="llava-1.5",
    model_types=("llava",),
    checkpoint="llava-hf/llava-1.5-7b-hf",
    box_format="[x0, y0, x1, y1], 0..1 of the longer side, the shorter padded on both ends",
    several_images=False,
    parts=parts(PROJECTOR),
)
