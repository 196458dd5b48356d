"""Registers the refiners that come with t4spp."""

from __future__ import annotations

from typing import Any

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_plugins.refiners.configs import (
    GuidedFilterConfig,
    HfSamConfig,
    NoneConfig,
    SamConfig,
)


def _build_none(config: NoneConfig) -> Any:
    from t4spp_plugins.refiners.none import NoRefiner

    return NoRefiner()


def _build_guided_filter(config: GuidedFilterConfig) -> Any:
    from t4spp_plugins.refiners.guided_filter import GuidedFilterRefiner

    return GuidedFilterRefiner(config)


def _build_sam(config: SamConfig) -> Any:
    from t4spp_plugins.refiners.segment_anything_model import build_sam_refiner

    return build_sam_refiner(config)


def _build_hf_sam(config: HfSamConfig) -> Any:
    from t4spp_plugins.refiners.hf_sam import build_hf_sam_refiner

    return build_hf_sam_refiner(config)


@hookimpl
def t4spp_refiners() -> list[Component]:
    """The refiners of this distribution."""
    return [
        Component(
            name="none",
            config=NoneConfig,
            build=_build_none,
            summary="keeps the masks as they were decoded",
        ),
        Component(
            name="guided-filter",
            config=GuidedFilterConfig,
            build=_build_guided_filter,
            summary="lets mask edges follow the picture's; classical, needs no weights",
            requires=("scipy",),
        ),
        Component(
            name="sam",
            config=SamConfig,
            build=_build_sam,
            summary="SAM (ViT-B, L, H) or MobileSAM, by the segment-anything package",
            requires=("segment_anything", "timm", "torchvision"),
        ),
        Component(
            name="hf-sam",
            config=HfSamConfig,
            build=_build_hf_sam,
            summary="SAM, SAM-HQ or SAM 2, by transformers",
            requires=("transformers",),
        ),
    ]
