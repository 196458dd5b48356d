"""How hf-vlm is offered to configs: as a whole, or one family of another distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from t4spp.components import Component, ReferenceModel
from t4spp_plugins.backbones.hf_vlm.config import HfVlmConfig, LoadingConfig
from t4spp_plugins.backbones.hf_vlm.profile import Profile


def hf_vlm_component() -> Component:
    """The backbone ``hf-vlm``, with every family that ships."""

    def build(config: BaseModel) -> Any:
        from t4spp_plugins.backbones.hf_vlm.backbone import HfVlmBackbone

        assert isinstance(config, HfVlmConfig)
        return HfVlmBackbone(config)

    return Component(
        name="hf-vlm",
        config=HfVlmConfig,
        build=build,
        summary="Qwen-VL, InternVL, LLaVA, DeepSeek-VL, SmolVLM, PaliGemma, Gemma by transformers",
        references=_references,
    )


def _references() -> Sequence[ReferenceModel]:
    from t4spp_plugins.backbones.hf_vlm.sizes import references

    return references()


def family_component(profile: Profile) -> Component:
    """A backbone of one family, which a plugin offers from its own ``t4spp_backbones`` hook.

    Args:
        profile: whose name a config's ``backbone.name`` gives.
    """

    def build(config: BaseModel) -> Any:
        from t4spp_plugins.backbones.hf_vlm.backbone import HfVlmBackbone

        assert isinstance(config, LoadingConfig)
        return HfVlmBackbone(config, profile)

    return Component(
        name=profile.name,
        config=LoadingConfig,
        build=build,
        summary=f"{profile.checkpoint} and others of its kind, by transformers",
        requires=profile.requires,
    )
