"""Qwen2-VL: pictures keep their shape, 28 x 28 pixels a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import Part, Profile, parts


@dataclass(frozen=True, kw_only=True)
class QwenProfile(Profile):
    """Pictures keep their shape; their number of pixels lies between two bounds.

    Height and width are rounded to multiples of a token's side (patch times merge size).
    """

    sizing: ClassVar[tuple[str, ...]] = ("min_pixels", "max_pixels")

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Bound the pixels; ``shortest_edge`` and ``longest_edge`` are Qwen's names of that."""
        images = processor.image_processor
        least, most = images.size["shortest_edge"], images.size["longest_edge"]
        if params.max_pixels is not None:
            least, most = min(least, params.max_pixels), params.max_pixels
        if params.min_pixels is not None:
            least, most = params.min_pixels, max(most, params.min_pixels)
        images.size = type(images.size)(shortest_edge=least, longest_edge=most)

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """One for every ``merge_size`` x ``merge_size`` patches of the resized picture."""
        images = processor.image_processor
        return int(images.get_number_of_image_patches(*size, {})) // int(images.merge_size) ** 2


PROFILE = QwenProfile(
    name="qwen2-vl",
    model_types=("qwen2_vl",),
    checkpoint="Qwen/Qwen2-VL-2B-Instruct",
    box_format="<|box_start|>(x0,y0),(x1,y1)<|box_end|>, 0..1000 of the width and the height",
    parts=parts(
        vision=Part(
            prefix=r"model\.visual\.(?!merger\.)",
            layers=r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])",
        ),
        connector=Part(prefix=r"model\.visual\.merger\.", layers=r"mlp\.[02]"),
    ),
)
