"""InternVL3 in transformers' format: square tiles and a thumbnail, 256 tokens each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import PROJECTOR, Profile, parts


@dataclass(frozen=True, kw_only=True)
class InternVlProfile(Profile):
    """A picture is stretched to the grid of tiles that fits its shape best."""

    sizing: ClassVar[tuple[str, ...]] = ("max_tiles",)

    def configure(self, processor: Any, params: LoadingConfig) -> None:
        """Bound the tiles; the thumbnail, which joins two tiles or more, is not counted."""
        if params.max_tiles is not None:
            images = processor.image_processor
            images.max_patches = params.max_tiles
            images.min_patches = min(images.min_patches, params.max_tiles)

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """``image_seq_length`` a tile, the thumbnail among them."""
        crops = {"crop_to_patches": True}  # the processor asks its image processor for this
        tiles = processor.image_processor.get_number_of_image_patches(*size, crops)
        return int(tiles) * int(processor.image_seq_length)


PROFILE = InternVlProfile(
    name="internvl3",
    model_types=("internvl",),
    checkpoint="OpenGVLab/InternVL3-1B-hf",
    box_format="<box>[[x0, y0, x1, y1]]</box>, 0..1000 of the width and the height",
    parts=parts(PROJECTOR),
)
