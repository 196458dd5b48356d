"""iSAID: ``isaid``.

2,806 aerial pictures of DOTA v1.0, 800 to 13,000 pixels a side; 15 classes, 655,451 instances.
Read are the masks as distributed: ``*_instance_color_RGB.png``, a colour a class, and for instances
``*_instance_id_RGB.png``, a colour an instance. No-data rule: what lies beyond a picture, and every
colour that is no class's, is not scored. The truth of ``test`` is not given out. Paper: Waqas Zamir
et al., iSAID, 2019. Docs: docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp.types import BoolMask
from t4spp_recipes.natural.class_lists import make_class_list
from t4spp_recipes.natural.mask_index import MaskRecord
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.semantic.layout import (
    Layout,
    SplitFolders,
    count_faults,
    first_with,
    nothing_found,
)
from t4spp_recipes.natural.semantic.maps import (
    PADDING,
    UNKNOWN_COLOUR,
    ColourMaps,
    cut,
    read_packed_colours,
)
from t4spp_recipes.natural.semantic.published import published_classes, published_list, renamed
from t4spp_recipes.natural.semantic.recipe import SemanticRecipe
from t4spp_recipes.natural.semantic.tiling import Tiling
from t4spp_recipes.remote_sensing.datasets.params import IsaidConfig
from t4spp_recipes.remote_sensing.datasets.sources import ISAID_SOURCES

PUBLISHED = {"train": 1411, "val": 458, "test": 937}
PUBLISHED_WINDOWS = {"train": 33978, "val": 11644}
"""Of 896 x 896 with an overlap of 384, mmsegmentation's preparation."""
LEFT_OUT_BY_DEVKIT = ("P1527", "P1530")
_CLASS, _INSTANCE = "_instance_color_RGB", "_instance_id_RGB"


class Isaid(SemanticRecipe):
    """Segment vehicles, buildings of a kind and fields in aerial pictures."""

    sources: ClassVar[tuple[Source, ...]] = ISAID_SOURCES

    def __init__(self, config: IsaidConfig) -> None:
        """Find the files.

        Raises:
            RecipeError: there is no mask.
        """
        self.config = config
        super().__init__(_layout(config), config)

    def verify(self) -> list[str]:
        """As every semantic recipe; besides, windows are counted and masks of instances sought."""
        messages = super().verify()
        instances = self.layout.instances
        for split in self.layout.splits:
            for record in self._records.get(split, ()):
                if isinstance(instances, IdColours) and record.stem not in instances.files:
                    messages.append(str(instances.missing(record)))
        if self.config.counts and self.config.cut == (896, 384) and self.config.compat != "devkit":
            found = {
                split: len(self._records[split]) if split in self._records else None
                for split in PUBLISHED_WINDOWS
            }
            messages += count_faults(
                "isaid", found, PUBLISHED_WINDOWS, "windows", self.layout.advice
            )
        return list(dict.fromkeys(messages))


@dataclass(frozen=True, kw_only=True)
class IdColours:
    """Parts a class by the colours of ``*_instance_id_RGB.png``; black counts as one of them.

    Attributes:
        files: those masks, by the picture's stem.
    """

    files: Mapping[str, Path]

    def __call__(self, record: MaskRecord, mask: BoolMask) -> Sequence[BoolMask]:
        """The instances of a class in a picture or a window of it, in the order of their colours.

        Raises:
            RecipeError: the mask of instances is missing, damaged or of another size.
        """
        if record.stem not in self.files:
            raise self.missing(record)
        colours = read_packed_colours(self.files[record.stem])
        if colours.shape != (record.whole or record.size):
            raise RecipeError(
                f"{self.files[record.stem]} is {colours.shape[0]} x {colours.shape[1]} pixels, "
                f"but {record.mask} is another size. Fetch both again."
            )
        if record.window is not None:
            colours = cut(colours, record.window)
        return [mask & (colours == number) for number in np.unique(colours[mask])]

    def missing(self, record: MaskRecord) -> RecipeError:
        """The error for a picture whose mask of instances is not there."""
        return RecipeError(
            f"isaid: the picture {record.stem} has no {record.stem}{_INSTANCE}.png, which targets="
            "instances needs. It belongs to Instance_masks of the download."
        )


def _layout(config: IsaidConfig) -> Layout:
    advice = "\n" + where_to_get(ISAID_SOURCES)
    root = require_folder(config.root, "isaid: root", advice)
    base = first_with(root, ("iSAID", "iSAID_patches"), ("train", "val"))
    splits: dict[str, tuple[SplitFolders, ...]] = {}
    files: dict[str, Path] = {}
    for split in ("train", "val"):
        folder = base / split
        masks = sorted(folder.rglob(f"*{_CLASS}.png")) if folder.is_dir() else []
        if not masks:
            continue
        stems = [path.stem.removesuffix(_CLASS) for path in masks]
        left_out = LEFT_OUT_BY_DEVKIT if config.compat == "devkit" else ()
        splits[split] = (
            SplitFolders(
                images=folder,
                masks=folder,
                stems=tuple(stem for stem in stems if stem not in left_out) if left_out else None,
                suffix=_CLASS,
                mask_suffixes=(".png",),
                picture_suffixes=(".png",),
                not_pictures=(_CLASS, _INSTANCE),
                deep=True,
            ),
        )
        if config.targets == "instances":
            for path in folder.rglob(f"*{_INSTANCE}.png"):
                files[path.stem.removesuffix(_INSTANCE)] = path
    if not splits:
        wanted = (
            "train/images/P0000.png and its like",
            f"train/Semantic_masks/P0000{_CLASS}.png, or beside the pictures",
            f"train/Instance_masks/P0000{_INSTANCE}.png, or beside the pictures",
            "val likewise",
        )
        raise nothing_found("isaid", root, wanted, advice)
    tests = tuple(sorted((base / "test").rglob("*.png"))) if (base / "test").is_dir() else ()
    names = renamed(published_classes(__package__, "isaid"), config.rename, "isaid")
    if config.background == "class":
        names = {0: "background", **names}
    palette = published_list(__package__, "isaid")["palette"]
    lenient = config.compat == "mmseg"  # its converter takes other colours for background
    return Layout(
        name="isaid",
        splits=splits,
        classes=make_class_list(
            names,
            void=(PADDING, UNKNOWN_COLOUR),
            background=() if config.background == "class" else (0,),
            where="the classes of isaid",
        ),
        reader=ColourMaps(
            palette=tuple((red, green, blue) for red, green, blue in palette),
            name="isaid-lenient" if lenient else "isaid",
            unknown=0 if lenient else UNKNOWN_COLOUR,
        ),
        tiling=None
        if config.cut is None
        else Tiling(size=config.cut[0], overlap=config.cut[1], compat=config.compat),
        instances=IdColours(files=files) if config.targets == "instances" else None,
        unlabelled={"test": tests} if tests else {},
        counted_ids={"pixels_of_unknown_colour": (UNKNOWN_COLOUR,)},
        published=PUBLISHED if config.counts else {},
        advice=advice,
    )
