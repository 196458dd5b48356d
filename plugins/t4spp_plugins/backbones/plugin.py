"""Registers the backbones that come with t4spp."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.oracle_config import OracleConfig


def _build_oracle(config: BaseModel) -> Any:
    from t4spp_plugins.backbones.oracle import Oracle

    assert isinstance(config, OracleConfig)
    return Oracle(config)


def _build_nano(config: BaseModel) -> Any:
    from t4spp_plugins.backbones.nano.backbone import NanoBackbone

    assert isinstance(config, NanoConfig)
    return NanoBackbone(config)


@hookimpl
def t4spp_backbones() -> list[Component]:
    """The backbones of this distribution."""
    return [
        Component(
            name="nano",
            config=NanoConfig,
            build=_build_nano,
            summary="a few million parameters, LLaVA architecture, weights included",
        ),
        Component(
            name="oracle",
            config=OracleConfig,
            build=_build_oracle,
            summary="answers from the truth, with settable corruption; no model",
        ),
    ]
