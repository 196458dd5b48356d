"""RISBench: ``risbench``.

52,472 phrases about overhead pictures of DOTA-v2 and DIOR, 512 x 512 pixels at 0.1 to 30 m, 26
classes; each phrase has a mask of its picture's name. No-data rule: none. Paper: Dong et al.,
Cross-Modal Bidirectional Interaction Model for Referring Remote Sensing Image Segmentation, 2024.
Docs: docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.semantic.layout import Published, first_with, nothing_found
from t4spp_recipes.remote_sensing.datasets.params import RisBenchConfig
from t4spp_recipes.remote_sensing.datasets.phrase_lists import SPLITS, entries_of_lists, list_of
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import PhraseRecipe
from t4spp_recipes.remote_sensing.datasets.sources import RISBENCH_SOURCES

PUBLISHED: dict[str, Published] = {"train": 26300, "val": 10013, "test": (16159, 16158)}
"""The paper's three numbers, of which test is 16,158, are one short of its total of 52,472."""


class RisBench(PhraseRecipe):
    """Segment what a phrase means in an overhead picture."""

    sources: ClassVar[tuple[Source, ...]] = RISBENCH_SOURCES

    def __init__(self, config: RisBenchConfig) -> None:
        """Read the lists.

        Raises:
            RecipeError: there is no list, or one cannot be read.
        """
        advice = "\n" + where_to_get(RISBENCH_SOURCES)
        root = require_folder(config.root, "risbench: root", advice)
        lists = [list_of(Path(), split).name for split in SPLITS]
        base = first_with(root, ("RISBench_dataset", "RISBench/RISBench_dataset"), lists)
        counters: Counter[str] = Counter()
        splits = entries_of_lists(
            base,
            lambda name: (base / "img_rgb" / name, base / "mask" / name),
            config.label,
            counters,
        )
        if not splits:
            raise nothing_found("risbench", root, (*lists, "img_rgb", "mask"), advice)
        super().__init__(
            "risbench",
            splits,
            rule="not-black",
            counters=counters,
            published=PUBLISHED if config.counts else {},
            what="samples",
            advice=advice,
        )
