"""Registers the synthetic recipes."""

from __future__ import annotations

from typing import Any

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.synthetic.params import RefShapesParams


def _refshapes(params: RefShapesParams) -> Any:
    from t4spp_recipes.synthetic.refshapes import RefShapes

    return RefShapes(params)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """The recipe ``refshapes``."""
    return [
        Component(
            name="refshapes",
            config=RefShapesParams,
            build=_refshapes,
            summary="synthetic referring segmentation, generated on the fly, seeded",
        )
    ]
