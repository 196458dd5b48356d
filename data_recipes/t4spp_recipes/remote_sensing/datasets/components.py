"""The published remote-sensing datasets' descriptions; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp_recipes.remote_sensing.datasets import sources
from t4spp_recipes.remote_sensing.datasets.params import (
    EarthReasonConfig,
    IsaidConfig,
    LoveDaConfig,
    RefSegRsConfig,
    RisBenchConfig,
    RrsisDConfig,
)

if TYPE_CHECKING:
    from t4spp_recipes.remote_sensing.datasets.earthreason import EarthReason
    from t4spp_recipes.remote_sensing.datasets.isaid import Isaid
    from t4spp_recipes.remote_sensing.datasets.loveda import LoveDa
    from t4spp_recipes.remote_sensing.datasets.refsegrs import RefSegRs
    from t4spp_recipes.remote_sensing.datasets.risbench import RisBench
    from t4spp_recipes.remote_sensing.datasets.rrsis_d import RrsisD


def _build_loveda(config: LoveDaConfig) -> LoveDa:
    from t4spp_recipes.remote_sensing.datasets.loveda import LoveDa

    return LoveDa(config)


def _build_isaid(config: IsaidConfig) -> Isaid:
    from t4spp_recipes.remote_sensing.datasets.isaid import Isaid

    return Isaid(config)


def _build_rrsis_d(config: RrsisDConfig) -> RrsisD:
    from t4spp_recipes.remote_sensing.datasets.rrsis_d import RrsisD

    return RrsisD(config)


def _build_refsegrs(config: RefSegRsConfig) -> RefSegRs:
    from t4spp_recipes.remote_sensing.datasets.refsegrs import RefSegRs

    return RefSegRs(config)


def _build_risbench(config: RisBenchConfig) -> RisBench:
    from t4spp_recipes.remote_sensing.datasets.risbench import RisBench

    return RisBench(config)


def _build_earthreason(config: EarthReasonConfig) -> EarthReason:
    from t4spp_recipes.remote_sensing.datasets.earthreason import EarthReason

    return EarthReason(config)


DATASET_COMPONENTS = (
    Component(
        name="loveda",
        config=LoveDaConfig,
        build=_build_loveda,
        summary="LoveDA: land cover in aerial pictures, urban and rural, seven classes",
        requires=("PIL",),
        sources=sources.LOVEDA_SOURCES,
    ),
    Component(
        name="isaid",
        config=IsaidConfig,
        build=_build_isaid,
        summary="iSAID: DOTA's aerial pictures by windows, 15 classes, semantic or instances",
        requires=("PIL",),
        sources=sources.ISAID_SOURCES,
    ),
    Component(
        name="rrsis-d",
        config=RrsisDConfig,
        build=_build_rrsis_d,
        summary="RRSIS-D: phrases about objects in DIOR's overhead pictures",
        requires=("PIL", "pycocotools"),
        sources=sources.RRSIS_D_SOURCES,
    ),
    Component(
        name="refsegrs",
        config=RefSegRsConfig,
        build=_build_refsegrs,
        summary="RefSegRS: phrases about SkyScapes' aerial pictures",
        requires=("PIL",),
        sources=sources.REFSEGRS_SOURCES,
    ),
    Component(
        name="risbench",
        config=RisBenchConfig,
        build=_build_risbench,
        summary="RISBench: phrases about overhead pictures of DOTA-v2 and DIOR",
        requires=("PIL",),
        sources=sources.RISBENCH_SOURCES,
    ),
    Component(
        name="earthreason",
        config=EarthReasonConfig,
        build=_build_earthreason,
        summary="EarthReason: questions that take reasoning about overhead pictures",
        requires=("PIL",),
        sources=sources.EARTHREASON_SOURCES,
    ),
)
