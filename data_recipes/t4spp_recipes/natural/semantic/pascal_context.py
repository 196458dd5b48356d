"""PASCAL Context with 59 classes (PC-59): ``pascal-context``.

The photographs of VOC 2010, 4,998 for training and 5,105 for validation, fully labelled. Void
rule: see ``background``. Read are the authors' own label maps (trainval/*.mat, 459 labels) and the
PNGs that mmsegmentation's converter makes of trainval_merged.json (SegmentationClassContext, 0 to
59), which the field evaluates on. Paper: Mottaghi et al., The Role of Context, 2014. Docs:
docs/datasets-semantic.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.semantic.layout import (
    ALL,
    Layout,
    Published,
    SplitFolders,
    first_with,
    listed_stems,
    nothing_found,
)
from t4spp_recipes.natural.semantic.maps import PLAIN, MapReader
from t4spp_recipes.natural.semantic.matlab_maps import MatlabMaps
from t4spp_recipes.natural.semantic.params import PascalContextConfig
from t4spp_recipes.natural.semantic.published import published_classes, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.semantic.sources import CONTEXT_SOURCES

PUBLISHED: dict[str, Published] = {"train": 4998, "val": 5105}
PUBLISHED_PNG: dict[str, Published] = {"train": (4996, 4998), "val": (5104, 5105)}
"""Of the PNGs: the toolkit that mmsegmentation's converter asks for the pictures of
trainval_merged.json leaves three out (mmsegmentation's issue 394, PyTorch-Encoding's 155)."""
ADVICE = (
    "trainval.tar.gz (label maps) is at https://cs.stanford.edu/~roozbeh/pascal-context/ (no "
    "licence stated), the pictures and lists of VOC 2010 at "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ (Flickr's terms)."
)
_LISTS = ("ImageSets/SegmentationContext/{}.txt", "pascalcontext_{}.txt", "{}.txt")
_MAIN = "ImageSets/Main/{}.txt"


class PascalContext(SemanticRecipe):
    """Segment everything that a photograph of VOC 2010 shows, by 59 classes."""

    sources: ClassVar[tuple[Source, ...]] = CONTEXT_SOURCES

    def __init__(self, config: PascalContextConfig) -> None:
        """Find the folders.

        Raises:
            RecipeError: the masks are not there, or a list of a split cannot be read.
        """
        super().__init__(_layout(config), config)


def _layout(config: PascalContextConfig) -> Layout:
    root = require_folder(config.root, "pascal-context: root", ADVICE)
    below = ("VOC2010", "VOCdevkit/VOC2010", "PC59", "pascal_context")
    base = first_with(root, below, ("SegmentationClassContext", "trainval"))
    names = published_classes(__package__, "pascal-context")
    reader: MapReader = PLAIN
    published = PUBLISHED_PNG
    if (base / "SegmentationClassContext").is_dir():
        masks, suffixes = base / "SegmentationClassContext", (".png",)
        if config.compat == "mmseg":
            names = published_classes(__package__, "pascal-context-mmseg")
        else:
            names = {position: name for position, name in enumerate(names.values(), start=1)}
    elif (base / "trainval").is_dir():
        masks, suffixes = base / "trainval", (".mat",)
        reader = MatlabMaps(variable="LabelMap", kept=tuple(names))
        published = PUBLISHED
        if config.compat is not None:
            raise RecipeError(
                "pascal-context: compat=mmseg is about the PNGs in SegmentationClassContext; "
                f"{base} has the label maps of trainval only. Leave compat out."
            )
    else:
        wanted = (
            "trainval with .mat files, JPEGImages and ImageSets/Main/{train,val}.txt",
            "or SegmentationClassContext, JPEGImages and "
            "ImageSets/SegmentationContext/{train,val}.txt",
        )
        raise nothing_found("pascal-context", root, wanted, ADVICE)
    lists = (*_LISTS, _MAIN) if suffixes == (".mat",) else _LISTS
    splits = _splits(base, masks, suffixes, lists)
    unscored = config.background == "void" or (
        config.background == "auto" and config.prompts == "segment-all"
    )
    return Layout(
        name="pascal-context",
        splits=splits,
        classes=make_class_list(
            renamed(names, config.rename, "pascal-context"),
            void=(0,) if unscored else (),
            background=() if unscored else (0,),
            where="the classes of pascal-context",
        ),
        reader=reader,
        published=published if config.counts else {},
        advice=ADVICE,
    )


def _splits(
    base: Path, masks: Path, suffixes: tuple[str, ...], lists: tuple[str, ...]
) -> dict[str, tuple[SplitFolders, ...]]:
    images = base / "JPEGImages"
    splits: dict[str, tuple[SplitFolders, ...]] = {}
    for split in PUBLISHED:
        listing = next(
            (base / name.format(split) for name in lists if (base / name.format(split)).is_file()),
            None,
        )
        if listing is not None:
            splits[split] = (
                SplitFolders(
                    images=images,
                    masks=masks,
                    stems=listed_stems(listing),
                    mask_suffixes=suffixes,
                ),
            )
    return splits or {ALL: (SplitFolders(images=images, masks=masks, mask_suffixes=suffixes),)}
