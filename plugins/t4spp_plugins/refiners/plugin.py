"""Registers the refiners that come with t4spp."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from t4spp.components import Component
from t4spp.hookspecs import hookimpl


class NoneConfig(BaseModel):
    """``none`` has no parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _build_none(config: NoneConfig) -> Any:
    from t4spp_plugins.refiners.none import NoRefiner

    return NoRefiner()


@hookimpl
def t4spp_refiners() -> list[Component]:
    """The refiners of this distribution."""
    return [
        Component(
            name="none",
            config=NoneConfig,
            build=_build_none,
            summary="keeps the masks as they were decoded",
        )
    ]
