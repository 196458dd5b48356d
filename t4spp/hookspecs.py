"""The hooks that a plugin may implement. Each returns lazy descriptions, never instances."""

from __future__ import annotations

import pluggy

from t4spp.components import Component
from t4spp.manifest import WeightsEntry

hookspec = pluggy.HookspecMarker("t4spp")
hookimpl = pluggy.HookimplMarker("t4spp")


@hookspec
def t4spp_schemes() -> list[Component]:  # type: ignore[empty-body]
    """Offer descriptor schemes; ``build`` returns a :class:`t4spp.schemes.base.Scheme`."""


@hookspec
def t4spp_backbones() -> list[Component]:  # type: ignore[empty-body]
    """Offer multimodal models; ``build`` returns a :class:`t4spp.components.Backbone`."""


@hookspec
def t4spp_refiners() -> list[Component]:  # type: ignore[empty-body]
    """Offer mask refiners; ``build`` returns a :class:`t4spp.components.Refiner`."""


@hookspec
def t4spp_recipes() -> list[Component]:  # type: ignore[empty-body]
    """Offer datasets; ``build`` returns a :class:`t4spp.components.Recipe`."""


@hookspec
def t4spp_trackers() -> list[Component]:  # type: ignore[empty-body]
    """Offer experiment trackers; ``build`` returns a :class:`t4spp.components.Tracker`."""


@hookspec
def t4spp_weights() -> list[WeightsEntry]:  # type: ignore[empty-body]
    """Offer pretrained weights; :func:`t4spp.weights.fetch` brings them to the cache."""
