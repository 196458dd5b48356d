"""LLaVA-OneVision: tiles of a padded picture, pooled where they are many, and a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import PROJECTOR, Profile, parts


@dataclass(frozen=True, kw_only=True)
class OneVisionProfile(Profile):
    """A lone picture is cut into tiles; one of several is padded to a square."""

    sizing: ClassVar[tuple[str, ...]] = ("max_tiles",)

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Leave out the resolutions of more tiles; the thumbnail is not counted."""
        if params.max_tiles is None:
            return
        images = processor.image_processor
        tile = int(images.size["height"])
        images.image_grid_pinpoints = [
            sides
            for sides in images.image_grid_pinpoints
            if sides[0] // tile * (sides[1] // tile) <= params.max_tiles
        ]

    def match(self, model: Any, processor: Any) -> None:
        """The model reads the resolutions from its config."""
        model.config.image_grid_pinpoints = processor.image_processor.image_grid_pinpoints

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """The thumbnail's, the unpadded tiles', and one a row."""
        # Written for programs that serve models; a test holds it to what the processor writes.
        counted = processor._get_num_multimodal_tokens(image_sizes=[size])
        return int(counted["num_image_tokens"][0])


PROFILE = OneVisionProfile(
    name="llava-onevision",
    model_types=("llava_onevision",),
    checkpoint="llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    parts=parts(PROJECTOR),
)
