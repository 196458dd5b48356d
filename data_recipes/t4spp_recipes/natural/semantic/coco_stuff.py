"""COCO-Stuff: ``coco-stuff``.

118,287 training and 5,000 validation photographs (164k), or 9,000 and 1,000 for testing (10k); 171
classes (80 things, 91 stuff), about 640 x 480. Void rule: 255 (10k: 0) is not scored. Paper:
Caesar et al., COCO-Stuff, 2018. Docs: docs/datasets-semantic.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.semantic.layout import (
    Layout,
    SplitFolders,
    first_with,
    listed_stems,
    nothing_found,
)
from t4spp_recipes.natural.semantic.matlab_maps import MatlabMaps
from t4spp_recipes.natural.semantic.params import CocoStuffConfig
from t4spp_recipes.natural.semantic.published import published_classes, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.semantic.sources import COCO_STUFF_SOURCES

PUBLISHED = {"train": 118287, "val": 5000}
PUBLISHED_10K = {"train": 9000, "test": 1000}
ADVICE = (
    "stuffthingmaps_trainval2017.zip is at https://github.com/nightrome/cocostuff (CC BY 4.0), "
    "train2017.zip and val2017.zip at https://cocodataset.org/#download (pictures under their "
    "Flickr licences)."
)
ADVICE_10K = (
    "cocostuff-10k-v1.1.zip is at https://github.com/nightrome/cocostuff10k (annotations as "
    "COCO-Stuff's, CC BY 4.0; pictures under their Flickr licences)."
)
_MASKS = (
    "annotations",
    "stuffthingmaps_trainval2017",
    "stuffthingmaps",
    "cocostuff/annotations",
    "",
)
_IMAGES = ("images", "", "coco")
_TRAIN_IDS = "_labelTrainIds"
"""Ends the stems of masks that mmsegmentation's converter has renumbered without gaps, 0 to 170."""


class CocoStuff(SemanticRecipe):
    """Segment things and stuff of COCO's photographs."""

    sources: ClassVar[tuple[Source, ...]] = COCO_STUFF_SOURCES

    def __init__(self, config: CocoStuffConfig) -> None:
        """Find the folders.

        Raises:
            RecipeError: the masks are not there.
        """
        super().__init__(
            _layout_10k(config) if config.variant == "10k" else _layout(config), config
        )


def _layout(config: CocoStuffConfig) -> Layout:
    root = require_folder(config.root, "coco-stuff: root", ADVICE)
    splits: dict[str, tuple[SplitFolders, ...]] = {}
    renumbered = False
    for split, year in (("train", "train2017"), ("val", "val2017")):
        folders = (root / name / year for name in _MASKS)
        masks = next((folder for folder in folders if _has_masks(folder)), None)
        if masks is None:
            continue
        images = next(
            (root / name / year for name in _IMAGES if (root / name / year).is_dir()), None
        )
        suffix = "" if _has_original(masks) else _TRAIN_IDS
        renumbered = renumbered or bool(suffix)
        splits[split] = (
            SplitFolders(
                images=images or root / "images" / year,
                masks=masks,
                suffix=suffix,
                mask_suffixes=(".png",),
                picture_suffixes=(".jpg", ".jpeg"),
                not_masks=() if suffix else (_TRAIN_IDS,),
            ),
        )
    if not splits:
        wanted = ("annotations/{train2017,val2017} with masks", "images/{train2017,val2017}")
        raise nothing_found("coco-stuff", root, wanted, ADVICE)
    names = published_classes(__package__, "coco-stuff")
    if renumbered:
        names = dict(enumerate(names.values()))
    return Layout(
        name="coco-stuff",
        splits=splits,
        classes=make_class_list(
            renamed(names, config.rename, "coco-stuff"),
            void=(255,),
            background=(),
            where="the classes of coco-stuff",
        ),
        published=PUBLISHED if config.counts else {},
        advice=ADVICE,
    )


def _layout_10k(config: CocoStuffConfig) -> Layout:
    """The first release: annotations/*.mat with labels 1 to 182, and 0 for what has none."""
    root = require_folder(config.root, "coco-stuff: root", ADVICE_10K)
    base = first_with(root, ("cocostuff-10k-v1.1", "coco_stuff10k"), ("imageLists",))
    splits: dict[str, tuple[SplitFolders, ...]] = {
        split: (
            SplitFolders(
                images=base / "images",
                masks=base / "annotations",
                stems=listed_stems(base / "imageLists" / f"{split}.txt"),
                mask_suffixes=(".mat",),
            ),
        )
        for split in PUBLISHED_10K
        if (base / "imageLists" / f"{split}.txt").is_file() and (base / "annotations").is_dir()
    }
    if not splits:
        wanted = ("annotations with .mat files", "images", "imageLists/{train,test}.txt")
        raise nothing_found("coco-stuff", root, wanted, ADVICE_10K)
    names = published_classes(__package__, "coco-stuff")
    return Layout(
        name="coco-stuff",
        splits=splits,
        classes=make_class_list(
            renamed(
                {number + 1: name for number, name in names.items()}, config.rename, "coco-stuff"
            ),
            void=(0,),
            background=(),
            where="the classes of coco-stuff",
        ),
        reader=MatlabMaps(variable="S"),
        published=PUBLISHED_10K if config.counts else {},
        advice=ADVICE_10K,
    )


def _has_masks(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() == ".png" for path in folder.iterdir())


def _has_original(masks: Path) -> bool:
    """Whether a folder has masks with the published ids; the converter writes beside them."""
    return any(
        path.suffix.lower() == ".png" and not path.stem.endswith(_TRAIN_IDS)
        for path in masks.iterdir()
    )
