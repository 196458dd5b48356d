"""PaliGemma 2: one square picture, a prefix that is read both ways, a suffix that is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t4spp_plugins.backbones.hf_vlm.profile import Part, Profile, Turn, parts


@dataclass(frozen=True, kw_only=True)
class PaliGemmaProfile(Profile):
    """No chat: the processor writes the picture, the question and a newline."""

    def num_image_tokens(self, processor: Any, size: tuple[int, int]) -> int:
        """What the processor is set to: 256, 1024 or 4096, by the checkpoint's resolution."""
        return int(processor.image_seq_length)

    def prompt(self, processor: Any, turns: Sequence[Turn]) -> str:
        """The picture and the question."""
        (turn,) = turns
        return f"{processor.image_token}{turn.question}"

    def opening(self, processor: Any) -> tuple[str, str]:
        """The newline that the processor puts behind the question; nothing follows it."""
        return "\n", ""


PROFILE = PaliGemmaProfile(
    name="paligemma2",
    model_types=("paligemma",),
    checkpoint="google/paligemma2-3b-mix-224",
    box_format="<locY0><locX0><locY1><locX1>, 0000..1023 of the height and the width",
    several_images=False,
    converses=False,
    answer_type=1,
    parts=parts(Part(prefix=r"model\.multi_modal_projector\.", layers="linear")),
)
