"""The semantic datasets' descriptions, for the registration; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp_recipes.natural.semantic.params import (
    Ade20kConfig,
    CocoStuffConfig,
    PascalContextConfig,
    PascalVocConfig,
)
from t4spp_recipes.natural.semantic.sources import (
    ADE20K_SOURCES,
    COCO_STUFF_SOURCES,
    CONTEXT_SOURCES,
    VOC_SOURCES,
)

if TYPE_CHECKING:
    from t4spp_recipes.natural.semantic.ade20k import Ade20k
    from t4spp_recipes.natural.semantic.coco_stuff import CocoStuff
    from t4spp_recipes.natural.semantic.pascal_context import PascalContext
    from t4spp_recipes.natural.semantic.pascal_voc import PascalVoc


def _build_coco_stuff(config: CocoStuffConfig) -> CocoStuff:
    from t4spp_recipes.natural.semantic.coco_stuff import CocoStuff

    return CocoStuff(config)


def _build_ade20k(config: Ade20kConfig) -> Ade20k:
    from t4spp_recipes.natural.semantic.ade20k import Ade20k

    return Ade20k(config)


def _build_pascal_voc(config: PascalVocConfig) -> PascalVoc:
    from t4spp_recipes.natural.semantic.pascal_voc import PascalVoc

    return PascalVoc(config)


def _build_pascal_context(config: PascalContextConfig) -> PascalContext:
    from t4spp_recipes.natural.semantic.pascal_context import PascalContext

    return PascalContext(config)


SEMANTIC_COMPONENTS = (
    Component(
        name="coco-stuff",
        config=CocoStuffConfig,
        build=_build_coco_stuff,
        summary="COCO-Stuff, 164k or 10k: photographs, 171 things and stuff",
        requires=("PIL", "scipy"),
        sources=COCO_STUFF_SOURCES,
    ),
    Component(
        name="ade20k-150",
        config=Ade20kConfig,
        build=_build_ade20k,
        summary="ADE20K, the 150 classes of the scene parsing challenge (A-150)",
        requires=("PIL",),
        sources=ADE20K_SOURCES,
    ),
    Component(
        name="pascal-voc",
        config=PascalVocConfig,
        build=_build_pascal_voc,
        summary="Pascal VOC 2012, 20 classes (PAS-20), also with SBD's masks",
        requires=("PIL",),
        sources=VOC_SOURCES,
    ),
    Component(
        name="pascal-context",
        config=PascalContextConfig,
        build=_build_pascal_context,
        summary="PASCAL Context, 59 classes (PC-59): label maps (.mat) or PNGs",
        requires=("PIL", "scipy"),
        sources=CONTEXT_SOURCES,
    ),
)
