"""RefCOCO+: ``refcoco-plus``. RefCOCO's game without words of location.

141,564 expressions, 49,856 objects, 19,992 pictures of COCO's train2014. Splits by unc: train, val,
testA (people), testB (other objects). Paper: Yu et al., Modeling Context in Referring Expressions,
ECCV 2016. Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.referring.configs import RefCocoPlusConfig
from t4spp_recipes.natural.referring.refer_recipe import ReferRecipe
from t4spp_recipes.natural.referring.sources import REFCOCO_PLUS_SOURCES


class RefCocoPlus(ReferRecipe):
    """Segment the object that an expression refers to."""

    name: ClassVar[str] = "refcoco-plus"
    dataset: ClassVar[str] = "refcoco+"
    sources: ClassVar[tuple[Source, ...]] = REFCOCO_PLUS_SOURCES

    def __init__(self, config: RefCocoPlusConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        super().__init__(config, config.split_by, config.compat)
