"""ADE20K with 150 classes (A-150): ``ade20k-150``.

ADEChallengeData2016: 20,210 training and 2,000 validation photographs. Void rule: 0 is not scored.
Paper: Zhou et al., Scene Parsing through ADE20K Dataset, 2017. Docs: docs/datasets-semantic.md.
"""

from __future__ import annotations

from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.semantic.layout import (
    ALL,
    Layout,
    SplitFolders,
    first_with,
    nothing_found,
)
from t4spp_recipes.natural.semantic.params import Ade20kConfig
from t4spp_recipes.natural.semantic.published import published_classes, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.semantic.sources import ADE20K_SOURCES

PUBLISHED = {"train": 20210, "val": 2000}
ADVICE = (
    "ADEChallengeData2016.zip is at http://sceneparsing.csail.mit.edu (pictures: non-commercial "
    "research and education)."
)


class Ade20k(SemanticRecipe):
    """Segment scenes by the 150 classes of the scene parsing challenge."""

    sources: ClassVar[tuple[Source, ...]] = ADE20K_SOURCES

    def __init__(self, config: Ade20kConfig) -> None:
        """Find the folders.

        Raises:
            RecipeError: the masks are not there.
        """
        super().__init__(_layout(config), config)


def _layout(config: Ade20kConfig) -> Layout:
    root = require_folder(config.root, "ade20k-150: root", ADVICE)
    base = first_with(root, ("ADEChallengeData2016", "sampleData"), ("annotations",))
    parts = {"train": "training", "val": "validation"}
    if not any((base / "annotations" / name).is_dir() for name in parts.values()):
        parts = {ALL: ""}
    splits = {
        split: (SplitFolders(images=base / "images" / name, masks=base / "annotations" / name),)
        for split, name in parts.items()
        if (base / "annotations" / name).is_dir() and (base / "images" / name).is_dir()
    }
    if not splits:
        wanted = ("images/training with annotations/training", "the same with validation")
        raise nothing_found("ade20k-150", root, wanted, ADVICE)
    return Layout(
        name="ade20k-150",
        splits=splits,
        classes=make_class_list(
            renamed(published_classes(__package__, "ade20k-150"), config.rename, "ade20k-150"),
            void=(0,),
            background=(),
            where="the classes of ade20k-150",
        ),
        published=PUBLISHED if config.counts else {},
        advice=ADVICE,
    )
