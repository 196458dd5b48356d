"""Architectures of published checkpoints, as far as their ``config.json`` decides shapes.

Numbers as the checkpoints' authors published them; a test holds the sums of parameters to those
that they report. Light: nothing is imported from transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t4spp.components import ReferenceModel
from t4spp_plugins.backbones.hf_vlm.config import LoadingConfig
from t4spp_plugins.backbones.hf_vlm.families import family_of
from t4spp_plugins.backbones.hf_vlm.profile import Profile


def _text(
    width: int, inner: int, layers: int, heads: int, key_heads: int, rows: int, tied: bool
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": rows,
        "tie_word_embeddings": tied,
    }


_MROPE = {"rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]}}
_QWEN_0_5B = {**_text(896, 4864, 24, 14, 2, 152000, True), "model_type": "qwen2"}
_QWEN_1_5B = {**_text(1536, 8960, 28, 12, 2, 151936, True), **_MROPE}
_QWEN_3B = {**_text(2048, 11008, 36, 16, 2, 151936, True), **_MROPE}
_QWEN_7B = _text(3584, 18944, 28, 28, 4, 152064, False)
_LLAMA_7B = {**_text(4096, 11008, 32, 32, 32, 32064, False), "model_type": "llama"}
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "LLaVA-OneVision 0.5B": {
        "model_type": "llava_onevision",
        "vision_config": _SIGLIP,
        "text_config": _QWEN_0_5B,
        "tie_word_embeddings": True,
    },
    "Qwen2-VL 2B": {
        "model_type": "qwen2_vl",
        "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16},
        "text_config": _QWEN_1_5B,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-VL 3B": {
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
        },
        "text_config": _QWEN_3B,
        "tie_word_embeddings": True,
    },
    "LLaVA-1.5 7B": {
        "model_type": "llava",
        "vision_config": _CLIP,
        "text_config": _LLAMA_7B,
        "tie_word_embeddings": False,
    },
    "InternVL3 8B": {
        "model_type": "internvl",
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "attention_bias": True,
        },
        "text_config": {**_QWEN_7B, "vocab_size": 151674, "model_type": "qwen2"},
        "tie_word_embeddings": False,
    },
    "Qwen2.5-VL 7B": {
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
        },
        "text_config": {**_QWEN_7B, **_MROPE},
        "tie_word_embeddings": False,
    },
}
"""From the smallest to the largest."""


def references() -> Sequence[ReferenceModel]:
    """Each with the layers that its family adapts by default."""
    return [_reference(name, config) for name, config in CONFIGS.items()]


def _reference(name: str, config: dict[str, Any]) -> ReferenceModel:
    profile: Profile = family_of(str(config["model_type"]), name)
    trained = [part for kind, part in profile.parts.items() if kind not in LoadingConfig().freeze]
    layers = [f"{part.prefix}{part.layers}" for part in trained if part.layers is not None]
    return ReferenceModel(
        name=name,
        config=config,
        lora_targets="|".join(f"({layer})" for layer in layers),
        trained_whole=[module for part in trained for module in part.whole],
    )
