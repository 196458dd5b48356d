"""RefCOCO: ``refcoco``. Expressions from a two-player game about COCO's train2014 pictures.

142,210 expressions, 50,000 objects, 19,994 pictures. Splits: unc (train, val, testA: people, testB:
other objects) or google (train, val, test). Papers: Kazemzadeh et al., ReferItGame, EMNLP 2014; Yu
et al., Modeling Context in Referring Expressions, ECCV 2016. Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.referring.configs import RefCocoConfig
from t4spp_recipes.natural.referring.refer_recipe import ReferRecipe
from t4spp_recipes.natural.referring.sources import REFCOCO_SOURCES


class RefCoco(ReferRecipe):
    """Segment the object that an expression refers to."""

    name: ClassVar[str] = "refcoco"
    dataset: ClassVar[str] = "refcoco"
    sources: ClassVar[tuple[Source, ...]] = REFCOCO_SOURCES

    def __init__(self, config: RefCocoConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        super().__init__(config, config.split_by, config.compat)
