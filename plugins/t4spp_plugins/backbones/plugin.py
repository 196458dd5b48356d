"""Registers the backbones that come with t4spp."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_plugins.backbones.hf_vlm.component import hf_vlm_component
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.oracle_config import OracleConfig
from t4spp_plugins.backbones.smol.config import SmolParams


def _build_oracle(config: BaseModel) -> Any:
    from t4spp_plugins.backbones.oracle import Oracle

    assert isinstance(config, OracleConfig)
    return Oracle(config)


def _build_nano(config: BaseModel) -> Any:
    from t4spp_plugins.backbones.nano.backbone import NanoBackbone

    assert isinstance(config, NanoConfig)
    return NanoBackbone(config)


def _build_smol(config: BaseModel) -> Any:
    from t4spp_plugins.backbones.smol.backbone import SmolBackbone

    assert isinstance(config, SmolParams)
    return SmolBackbone(config)


@hookimpl
def t4spp_backbones() -> list[Component]:
    """The backbones of this distribution."""
    return [
        hf_vlm_component(),
        Component(
            name="nano",
            config=NanoConfig,
            build=_build_nano,
            summary="a few million parameters, LLaVA architecture, weights included",
            default=True,
        ),
        Component(
            name="oracle",
            config=OracleConfig,
            build=_build_oracle,
            summary="answers from the truth, with settable corruption; no model",
        ),
        Component(
            name="smol",
            config=SmolParams,
            build=_build_smol,
            summary="SmolLM2-135M with MobileSAM's encoder: 142 million parameters, real weights",
            requires=("timm", "gguf"),
        ),
    ]
