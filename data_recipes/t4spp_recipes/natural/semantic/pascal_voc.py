"""Pascal VOC 2012 (PAS-20): ``pascal-voc``.

1,464 training and 1,449 validation photographs, 20 classes; 10,582 training photographs with the
masks of SBD. Void rule: the contours, 255, are not scored; see ``background`` for id 0. Paper:
Everingham et al., The Pascal Visual Object Classes Challenge, 2015; Hariharan et al., Semantic
Contours from Inverse Detectors, 2011. Docs: docs/datasets-semantic.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.semantic.layout import (
    ALL,
    Layout,
    SplitFolders,
    first_with,
    listed_stems,
    nothing_found,
)
from t4spp_recipes.natural.semantic.params import PascalVocConfig
from t4spp_recipes.natural.semantic.published import published_classes, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.semantic.sources import VOC_SOURCES

PUBLISHED = {"train": 1464, "val": 1449, "trainval": 2913, "trainaug": 10582}
ADVICE = (
    "VOCtrainval_11-May-2012.tar is at http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (pictures "
    "under Flickr's terms)."
)
_LISTS = {
    "train": ("train.txt",),
    "val": ("val.txt",),
    "trainval": ("trainval.txt",),
    "trainaug": ("trainaug.txt", "train_aug.txt"),
}


class PascalVoc(SemanticRecipe):
    """Segment the 20 classes of Pascal VOC."""

    sources: ClassVar[tuple[Source, ...]] = VOC_SOURCES

    def __init__(self, config: PascalVocConfig) -> None:
        """Find the folders.

        Raises:
            RecipeError: the masks are not there, or a list of a split cannot be read.
        """
        super().__init__(_layout(config), config)


def _layout(config: PascalVocConfig) -> Layout:
    root = require_folder(config.root, "pascal-voc: root", ADVICE)
    below = ("VOC2012", "VOCdevkit/VOC2012", "PAS20", "data_dataset_voc")
    base = first_with(root, below, ("SegmentationClass",))
    if not (base / "SegmentationClass").is_dir():
        wanted = (
            "JPEGImages",
            "SegmentationClass",
            "ImageSets/Segmentation/{train,val,trainval}.txt",
        )
        raise nothing_found("pascal-voc", root, wanted, ADVICE)
    splits = _splits(base)
    unscored = config.background == "void" or (
        config.background == "auto" and config.prompts == "segment-all"
    )
    void, background = ((0, 255), ()) if unscored else ((255,), (0,))
    if config.compat == "text4seg":
        void, background = (0,), (255,)
    published = {
        split: number
        for split, number in PUBLISHED.items()
        if split in ("train", "val") or split in splits
    }
    return Layout(
        name="pascal-voc",
        splits=splits,
        classes=make_class_list(
            renamed(published_classes(__package__, "pascal-voc"), config.rename, "pascal-voc"),
            void=void,
            background=background,
            where="the classes of pascal-voc",
        ),
        unions=("trainval", "trainaug"),
        published=published if config.counts else {},
        advice=ADVICE,
    )


def _splits(base: Path) -> dict[str, tuple[SplitFolders, ...]]:
    splits: dict[str, tuple[SplitFolders, ...]] = {}
    for split, names in _LISTS.items():
        masks = base / "SegmentationClass"
        if split == "trainaug":
            masks = base / "SegmentationClassAug"
        listing = next(
            (
                folder / name
                for folder in (base / "ImageSets" / "Segmentation", base)
                for name in names
                if (folder / name).is_file()
            ),
            None,
        )
        if listing is not None and masks.is_dir():
            splits[split] = (
                SplitFolders(images=base / "JPEGImages", masks=masks, stems=listed_stems(listing)),
            )
    whole = SplitFolders(images=base / "JPEGImages", masks=base / "SegmentationClass")
    return splits or {ALL: (whole,)}
