"""Folders of pictures and class-id masks: ``semantic-folder``.

Presets: CamVid (480 x 360, 11 classes, void 11; Brostow et al. 2009), ADE20K (150 classes, void 0;
Zhou et al. 2017), Pascal VOC (20 classes and background, void 255; Everingham et al. 2010).
Void rule: void pixels are the samples' ``ignore``. Docs: docs/recipes.md.
"""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.configs import SemanticFolderConfig
from t4spp_recipes.natural.folder_layouts import find_layout
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.sources import SEMANTIC_SOURCES


class SemanticFolder(SemanticRecipe):
    """Segment a class, or every class, of pictures with class-id masks."""

    sources: ClassVar[tuple[Source, ...]] = SEMANTIC_SOURCES

    def __init__(self, config: SemanticFolderConfig) -> None:
        """Find the folders; masks are scanned when a split is first opened.

        Raises:
            RecipeError: a folder or the class list is missing.
        """
        super().__init__(find_layout(config), config, val_share=config.val_share)
        self.config = config
