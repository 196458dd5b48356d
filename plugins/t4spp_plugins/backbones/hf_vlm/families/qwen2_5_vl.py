"""Qwen2.5-VL: as Qwen2-VL, with windows in the encoder and boxes in pixels."""

from __future__ import annotations

from t4spp_plugins.backbones.hf_vlm.families.qwen2_vl import QwenProfile
from t4spp_plugins.backbones.hf_vlm.profile import Part, parts

PROFILE = QwenProfile(
    name="qwen2.5-vl",
    model_types=("qwen2_5_vl",),
    checkpoint="Qwen/Qwen2.5-VL-3B-Instruct",
    box_format="JSON with [x0, y0, x1, y1] in pixels of the resized picture",
    parts=parts(
        vision=Part(
            prefix=r"model\.visual\.(?!merger\.)",
            layers=r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.\w+_proj)",
        ),
        connector=Part(prefix=r"model\.visual\.merger\.", layers=r"mlp\.[02]"),
    ),
)
