"""Qwen3-VL: as Qwen2-VL, 32 x 32 pixels a token, features of several depths."""

from __future__ import annotations

from t4spp_plugins.backbones.hf_vlm.families.qwen2_vl import QwenProfile
from t4spp_plugins.backbones.hf_vlm.profile import Part, parts

PROFILE = QwenProfile(
    name="qwen3-vl",
    model_types=("qwen3_vl",),
    checkpoint="Qwen/Qwen3-VL-2B-Instruct",
    box_format="JSON with [x0, y0, x1, y1], 0..1000 of the width and the height",
    parts=parts(
        vision=Part(
            prefix=r"model\.visual\.(?!merger\.|deepstack_merger_list\.)",
            layers=r"blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
        ),
        connector=Part(
            prefix=r"model\.visual\.(merger|deepstack_merger_list\.\d+)\.",
            layers=r"linear_fc[12]",
        ),
    ),
)
