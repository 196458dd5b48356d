"""The referring and reasoning recipes as the plugin registers them; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp_recipes.natural.referring.configs import (
    GRefCocoConfig,
    PhraseCutConfig,
    ReasonSegConfig,
    RefClefConfig,
    RefCocoConfig,
    RefCocogConfig,
    RefCocoPlusConfig,
)
from t4spp_recipes.natural.referring.sources import (
    GREFCOCO_SOURCES,
    PHRASECUT_SOURCES,
    REASONSEG_SOURCES,
    REFCLEF_SOURCES,
    REFCOCO_PLUS_SOURCES,
    REFCOCO_SOURCES,
    REFCOCOG_SOURCES,
)

if TYPE_CHECKING:
    from t4spp_recipes.natural.referring.grefcoco import GRefCoco
    from t4spp_recipes.natural.referring.phrasecut import PhraseCut
    from t4spp_recipes.natural.referring.reasonseg import ReasonSeg
    from t4spp_recipes.natural.referring.refclef import RefClef
    from t4spp_recipes.natural.referring.refcoco import RefCoco
    from t4spp_recipes.natural.referring.refcoco_plus import RefCocoPlus
    from t4spp_recipes.natural.referring.refcocog import RefCocog


def _build_refclef(config: RefClefConfig) -> RefClef:
    from t4spp_recipes.natural.referring.refclef import RefClef

    return RefClef(config)


def _build_refcoco(config: RefCocoConfig) -> RefCoco:
    from t4spp_recipes.natural.referring.refcoco import RefCoco

    return RefCoco(config)


def _build_refcoco_plus(config: RefCocoPlusConfig) -> RefCocoPlus:
    from t4spp_recipes.natural.referring.refcoco_plus import RefCocoPlus

    return RefCocoPlus(config)


def _build_refcocog(config: RefCocogConfig) -> RefCocog:
    from t4spp_recipes.natural.referring.refcocog import RefCocog

    return RefCocog(config)


def _build_grefcoco(config: GRefCocoConfig) -> GRefCoco:
    from t4spp_recipes.natural.referring.grefcoco import GRefCoco

    return GRefCoco(config)


def _build_reasonseg(config: ReasonSegConfig) -> ReasonSeg:
    from t4spp_recipes.natural.referring.reasonseg import ReasonSeg

    return ReasonSeg(config)


def _build_phrasecut(config: PhraseCutConfig) -> PhraseCut:
    from t4spp_recipes.natural.referring.phrasecut import PhraseCut

    return PhraseCut(config)


REFERRING_COMPONENTS = (
    Component(
        name="refclef",
        config=RefClefConfig,
        build=_build_refclef,
        summary="refCLEF (ReferIt): expressions about SAIAPR TC-12's pictures",
        requires=("pycocotools",),
        sources=REFCLEF_SOURCES,
    ),
    Component(
        name="refcoco",
        config=RefCocoConfig,
        build=_build_refcoco,
        summary="RefCOCO: expressions of a game, on COCO's pictures",
        requires=("pycocotools",),
        sources=REFCOCO_SOURCES,
    ),
    Component(
        name="refcoco-plus",
        config=RefCocoPlusConfig,
        build=_build_refcoco_plus,
        summary="RefCOCO+: RefCOCO's game without words of location",
        requires=("pycocotools",),
        sources=REFCOCO_PLUS_SOURCES,
    ),
    Component(
        name="refcocog",
        config=RefCocogConfig,
        build=_build_refcocog,
        summary="RefCOCOg: longer expressions, on COCO's pictures; umd's or google's split",
        requires=("pycocotools",),
        sources=REFCOCOG_SOURCES,
    ),
    Component(
        name="grefcoco",
        config=GRefCocoConfig,
        build=_build_grefcoco,
        summary="gRefCOCO: expressions that mean one object, several or none",
        requires=("pycocotools",),
        sources=GREFCOCO_SOURCES,
    ),
    Component(
        name="reasonseg",
        config=ReasonSegConfig,
        build=_build_reasonseg,
        summary="ReasonSeg: questions that take reasoning",
        requires=("PIL",),
        sources=REASONSEG_SOURCES,
    ),
    Component(
        name="phrasecut",
        config=PhraseCutConfig,
        build=_build_phrasecut,
        summary="PhraseCut: phrases of names, attributes and relations on Visual Genome's pictures",
        requires=("PIL",),
        sources=PHRASECUT_SOURCES,
    ),
)
"""Registered by ``natural/plugin.py``."""
