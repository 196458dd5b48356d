"""Registers the recipes for photographs; loads nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t4spp.components import Component
from t4spp.hookspecs import hookimpl
from t4spp_recipes.natural.configs import (
    CocoInstancesConfig,
    InstanceFolderConfig,
    SemanticFolderConfig,
)
from t4spp_recipes.natural.instruction_config import VISUAL_INSTRUCTIONS
from t4spp_recipes.natural.panoptic_config import COCO_PANOPTIC
from t4spp_recipes.natural.referring.components import REFERRING_COMPONENTS
from t4spp_recipes.natural.semantic.components import SEMANTIC_COMPONENTS
from t4spp_recipes.natural.sources import COCO_SOURCES, INSTANCE_SOURCES, SEMANTIC_SOURCES

if TYPE_CHECKING:
    from t4spp_recipes.natural.coco_instances import CocoInstances
    from t4spp_recipes.natural.instance_folder import InstanceFolder
    from t4spp_recipes.natural.semantic_folder import SemanticFolder


def _build_coco_instances(config: CocoInstancesConfig) -> CocoInstances:
    from t4spp_recipes.natural.coco_instances import CocoInstances

    return CocoInstances(config)


def _build_semantic_folder(config: SemanticFolderConfig) -> SemanticFolder:
    from t4spp_recipes.natural.semantic_folder import SemanticFolder

    return SemanticFolder(config)


def _build_instance_folder(config: InstanceFolderConfig) -> InstanceFolder:
    from t4spp_recipes.natural.instance_folder import InstanceFolder

    return InstanceFolder(config)


@hookimpl
def t4spp_recipes() -> list[Component]:
    """Recipes of any such data (folders, COCO's JSON), and datasets known by name."""
    return [
        Component(
            name="coco-instances",
            config=CocoInstancesConfig,
            build=_build_coco_instances,
            summary="COCO JSON (polygons, RLE, crowd): by instance, category or expression",
            requires=("pycocotools",),
            sources=COCO_SOURCES,
        ),
        Component(
            name="semantic-folder",
            config=SemanticFolderConfig,
            build=_build_semantic_folder,
            summary="folders of pictures and class-id masks: CamVid, ADE20K, VOC or your own",
            requires=("PIL",),
            sources=SEMANTIC_SOURCES,
        ),
        Component(
            name="instance-folder",
            config=InstanceFolderConfig,
            build=_build_instance_folder,
            summary="folders of pictures and instance-id masks: VOC, Penn-Fudan or your own",
            requires=("PIL",),
            sources=INSTANCE_SOURCES,
        ),
        COCO_PANOPTIC,
        *SEMANTIC_COMPONENTS,
        *REFERRING_COMPONENTS,
        VISUAL_INSTRUCTIONS,
    ]
