"""Registers the synthetic recipes."""

from __future__ import annotations

from typing import Any

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.synthetic.params import MaskShapesParams, RefShapesParams


def _refshapes(params: RefShapesParams) -> Any:
    from t4spp_recipes.synthetic.refshapes import RefShapes

    return RefShapes(params)


def _mask_shapes(params: MaskShapesParams) -> Any:
    from t4spp_recipes.synthetic.mask_shapes import MaskShapes

    return MaskShapes(params)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """The recipes ``refshapes`` and ``mask-shapes``."""
    return [
        Component(
            name="refshapes",
            config=RefShapesParams,
            build=_refshapes,
            summary="synthetic referring segmentation, generated on the fly, seeded",
        ),
        Component(
            name="mask-shapes",
            config=MaskShapesParams,
            build=_mask_shapes,
            summary="varied masks without pictures, for mask tokenizers; on the fly, seeded",
        ),
    ]
