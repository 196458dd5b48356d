"""RefSegRS: ``refsegrs``.

4,420 phrases about aerial pictures of SkyScapes, 512 x 512 pixels at 0.13 m, 14 categories; each
phrase has a picture and a mask of its name. No-data rule: none. Paper: Yuan et al., RRSIS:
Referring Remote Sensing Image Segmentation, 2024. Docs: docs/datasets-remote-sensing.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.pictures import require_folder
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.semantic.layout import first_with, nothing_found
from t4spp_recipes.remote_sensing.datasets.params import RefSegRsConfig
from t4spp_recipes.remote_sensing.datasets.phrase_lists import SPLITS, entries_of_lists, list_of
from t4spp_recipes.remote_sensing.datasets.phrase_recipe import MaskRule, PhraseRecipe
from t4spp_recipes.remote_sensing.datasets.sources import REFSEGRS_SOURCES

PUBLISHED = {"train": 2172, "val": 431, "test": 1817}
_RULES: dict[str | None, MaskRule] = {
    None: "nearer-white",
    "lavt": "above-50",
    "segearth": "white-alone",
}


class RefSegRs(PhraseRecipe):
    """Segment what a phrase means in an aerial picture."""

    sources: ClassVar[tuple[Source, ...]] = REFSEGRS_SOURCES

    def __init__(self, config: RefSegRsConfig) -> None:
        """Read the lists.

        Raises:
            RecipeError: there is no list, or one cannot be read.
        """
        advice = "\n" + where_to_get(REFSEGRS_SOURCES)
        root = require_folder(config.root, "refsegrs: root", advice)
        lists = [list_of(Path(), split).name for split in SPLITS]
        base = first_with(root, ("RefSegRS", "rs_ref_seg/RefSegRS"), lists)
        counters: Counter[str] = Counter()
        splits = entries_of_lists(
            base,
            lambda name: (base / "images" / f"{name}.tif", base / "masks" / f"{name}.tif"),
            config.label,
            counters,
        )
        if not splits:
            raise nothing_found("refsegrs", root, (*lists, "images", "masks"), advice)
        super().__init__(
            "refsegrs",
            splits,
            rule=_RULES[config.compat],
            counters=counters,
            published=PUBLISHED if config.counts else {},
            what="samples",
            advice=advice,
        )
