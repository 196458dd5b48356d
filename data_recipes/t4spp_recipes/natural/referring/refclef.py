"""refCLEF (ReferIt): ``refclef``. Expressions about SAIAPR TC-12's pictures, masks as RLE.

Splits: unc (train, val and the parts testA, testB, testC; a ref of ``testAB`` is of both) or
berkeley (train, val, test; two train pictures and one of test are not distributed). Paper:
Kazemzadeh et al., ReferItGame, EMNLP 2014. Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.referring.configs import RefClefConfig
from t4spp_recipes.natural.referring.refer_layout import CLEF_FOLDERS
from t4spp_recipes.natural.referring.refer_recipe import ReferRecipe
from t4spp_recipes.natural.referring.sources import REFCLEF_SOURCES


class RefClef(ReferRecipe):
    """Segment the object that an expression refers to."""

    name: ClassVar[str] = "refclef"
    dataset: ClassVar[str] = "refclef"
    sources: ClassVar[tuple[Source, ...]] = REFCLEF_SOURCES
    picture_folders: ClassVar[tuple[str, ...]] = CLEF_FOLDERS

    def __init__(self, config: RefClefConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        super().__init__(config, config.split_by, config.compat)
