"""RefCOCOg: ``refcocog``. Longer expressions, written one by one, about COCO's train2014 pictures.

95,010 expressions, 49,822 objects, 25,799 pictures. Splits: umd (train, val, test, no picture in
two of them) or google (train and val, by objects, so that they share pictures; its test was never
released). Papers: Mao et al., CVPR 2016; Nagaraja et al., ECCV 2016 (umd).
Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp.types import Sample
from t4spp_recipes.natural.referring.configs import RefCocogConfig
from t4spp_recipes.natural.referring.refer_recipe import ReferRecipe
from t4spp_recipes.natural.referring.sources import REFCOCOG_SOURCES


class RefCocog(ReferRecipe):
    """Segment the object that an expression refers to."""

    name: ClassVar[str] = "refcocog"
    dataset: ClassVar[str] = "refcocog"
    sources: ClassVar[tuple[Source, ...]] = REFCOCOG_SOURCES

    def __init__(self, config: RefCocogConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        super().__init__(config, config.split_by, config.compat)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, in the order of the file of refs.

        Raises:
            RecipeError: unknown split; google's test, which was never released.
        """
        if split == "test" and self.split_by == "google" and split not in self.splits:
            raise RecipeError(
                "refcocog: google's split has train and val only, its test was never released. "
                "Take split_by=umd, which has one, or its val (papers call it val*)."
            )
        return super().samples(split)
