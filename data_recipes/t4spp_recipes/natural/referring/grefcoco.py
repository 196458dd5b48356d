"""gRefCOCO: ``grefcoco``. Expressions that mean one object, several or none, on RefCOCO's pictures.

The released file has 259,859 expressions (the paper's 278,232 less those kept for a challenge).
Splits: train, val, testA, testB. Paper: Liu et al., GRES, CVPR 2023.
Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from t4spp.components import Source
from t4spp_recipes.natural.coco_annotations import Instance
from t4spp_recipes.natural.referring.configs import GRefCocoConfig
from t4spp_recipes.natural.referring.refer_recipe import ReferRecipe
from t4spp_recipes.natural.referring.refer_records import Phrase, Ref
from t4spp_recipes.natural.referring.sources import GREFCOCO_SOURCES


class GRefCoco(ReferRecipe):
    """Segment every object that an expression refers to; there may be none."""

    name: ClassVar[str] = "grefcoco"
    dataset: ClassVar[str] = "grefcoco"
    sources: ClassVar[tuple[Source, ...]] = GREFCOCO_SOURCES

    def __init__(self, config: GRefCocoConfig) -> None:
        """Read refs and annotations.

        Raises:
            RecipeError: a file is missing, damaged or hostile.
        """
        super().__init__(config, "unc", config.compat)

    def refs_names(self) -> tuple[str, ...]:
        """The JSON as released, or the pickle that the API reads as well."""
        return ("grefs(unc).json", "grefs(unc).p")

    def text_of(self, phrase: Phrase, split: str) -> str:
        """The expression; ReLA reads the raw one, where there is one."""
        if self.compat == "rela" and phrase.raw is not None:
            return phrase.raw
        if self.compat is not None:
            return phrase.sent
        return super().text_of(phrase, split)

    def cancelling(self, split: str) -> bool:
        """Never: the loaders of this dataset clamp the sum of polygons."""
        return False

    def targets(self, ref: Ref, counters: Counter[str]) -> tuple[Instance, ...] | None:
        """The annotations that a ref means, () for none; None where one cannot be used.

        ReLA leaves crowd regions out. Text4Seg does not read run-length codes: it adds the mask of
        the polygons read before once more, which within one expression changes nothing, so that
        such an annotation is missing from the truth.
        """
        found = super().targets(ref, counters)
        if found is None or self.compat is None:
            return found
        kept = tuple(
            item
            for item in found
            if not (item.crowd if self.compat == "rela" else item.rle is not None)
        )
        counters["targets_dropped_by_compat"] += len(found) - len(kept)
        return kept

    def tags(self, instances: Sequence[Instance]) -> tuple[str, ...]:
        """``no-target``, ``single-target`` or ``multi-target``."""
        return (("no", "single", "multi")[min(len(instances), 2)] + "-target",)
