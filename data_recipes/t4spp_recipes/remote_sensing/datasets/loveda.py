"""LoveDA: ``loveda``.

5,987 aerial pictures of 1024 x 1024 pixels at 0.3 m, of Nanjing, Changzhou and Wuhan, urban and
rural; seven land-cover classes. No-data rule: 0 is not scored. The truth of ``test`` is not given
out. Paper: Wang et al., LoveDA, 2021. Docs: docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp.pictures import PICTURE_SUFFIXES
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.semantic.layout import (
    ALL,
    Layout,
    SplitFolders,
    first_with,
    nothing_found,
)
from t4spp_recipes.natural.semantic.published import published_classes, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.remote_sensing.datasets.params import LoveDaConfig
from t4spp_recipes.remote_sensing.datasets.sources import LOVEDA_SOURCES

PUBLISHED = {
    "urban": {"train": 1156, "val": 677, "test": 820},
    "rural": {"train": 1366, "val": 992, "test": 976},
}
"""Pictures by domain and split: 2,522, 1,669 and 1,796 together."""
_DOMAINS = {"all": ("Urban", "Rural"), "urban": ("Urban",), "rural": ("Rural",)}
_SPLITS = {"train": "Train", "val": "Val", "test": "Test"}
_BACKGROUND = 1


class LoveDa(SemanticRecipe):
    """Segment land cover in aerial pictures."""

    sources: ClassVar[tuple[Source, ...]] = LOVEDA_SOURCES

    def __init__(self, config: LoveDaConfig) -> None:
        """Find the folders.

        Raises:
            RecipeError: there is no mask.
        """
        super().__init__(_layout(config), config)


def _layout(config: LoveDaConfig) -> Layout:
    advice = "\n" + where_to_get(LOVEDA_SOURCES)
    root = require_folder(config.root, "loveda: root", advice)
    base = first_with(root, ("LoveDA", "loveDA"), ("Train", "Val", "Test", "ann_dir"))
    splits, unlabelled = _as_distributed(base, config)
    if not splits and config.scene == "all":
        splits, unlabelled = _as_converted(base)
    if not splits:
        wanted = (
            "{Train,Val}/{Urban,Rural}/{images_png,masks_png}",
            "or img_dir/{train,val} with ann_dir/{train,val}, as mmsegmentation converts it",
        )
        raise nothing_found("loveda", root, wanted, advice)
    numbers = [PUBLISHED[name.lower()] for name in _DOMAINS[config.scene]]
    published = {split: sum(number[split] for number in numbers) for split in _SPLITS}
    return Layout(
        name="loveda",
        splits=splits,
        classes=make_class_list(
            renamed(published_classes(__package__, "loveda"), config.rename, "loveda"),
            void=(0,),
            background=(_BACKGROUND,) if config.background == "others" else (),
            where="the classes of loveda",
        ),
        unlabelled=unlabelled,
        published=published if config.counts else {},
        advice=advice,
    )


_Found = tuple[dict[str, tuple[SplitFolders, ...]], dict[str, tuple[Path, ...]]]


def _as_distributed(base: Path, config: LoveDaConfig) -> _Found:
    splits: dict[str, tuple[SplitFolders, ...]] = {}
    unlabelled: dict[str, tuple[Path, ...]] = {}
    for split, folder in _SPLITS.items():
        domains = [
            base / folder / name
            for name in _DOMAINS[config.scene]
            if (base / folder / name / "images_png").is_dir()
        ]
        labelled = [path for path in domains if (path / "masks_png").is_dir()]
        if labelled:
            splits[split] = tuple(
                SplitFolders(images=path / "images_png", masks=path / "masks_png")
                for path in labelled
            )
        elif domains:
            unlabelled[split] = _pictures([path / "images_png" for path in domains])
    return splits, unlabelled


def _as_converted(base: Path) -> _Found:
    """What mmsegmentation converts it to; or the same without sub-folders, as one split."""
    masks, images = base / "ann_dir", base / "img_dir"
    splits: dict[str, tuple[SplitFolders, ...]] = {
        split: (SplitFolders(images=images / split, masks=masks / split),)
        for split in ("train", "val")
        if (masks / split).is_dir() and (images / split).is_dir()
    }
    if not splits and masks.is_dir() and any(masks.glob("*.png")):
        splits = {ALL: (SplitFolders(images=images, masks=masks),)}
    unlabelled = {"test": _pictures([images / "test"])} if (images / "test").is_dir() else {}
    return splits, unlabelled


def _pictures(folders: list[Path]) -> tuple[Path, ...]:
    return tuple(
        sorted(
            path
            for folder in folders
            for path in folder.iterdir()
            if path.suffix.lower() in PICTURE_SUFFIXES
        )
    )
