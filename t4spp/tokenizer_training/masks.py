"""The masks of recipes as a tokenizer is trained on them: cut to their boxes, or whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.components import Recipe
from t4spp.errors import ConfigError, nearest
from t4spp.mask_tokenizer.shape import Layout
from t4spp.plugins import Catalogue
from t4spp.schemes.mask_fields import field_of
from t4spp.tokenizer_training.config import TokenizerConfig
from t4spp.types import BoolMask, Box, Sample

Fields = npt.NDArray[np.uint8]
"""uint8[M, T, T]: how much of each cell lies inside, 0..255."""
Advance = Callable[[int], object]
"""Told how many masks have just been read."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Masks of one split of one dataset.

    Attributes:
        samples: of the split.
        limit: masks at most; None: all.
        name: of the recipe and the split, for messages.
    """

    samples: Sequence[Sample]
    limit: int | None
    name: str


@dataclass(kw_only=True)
class MaskCounts:
    """What was met on the way.

    Attributes:
        num_masks: taken.
        num_empty: targets without a pixel, which are left out.
    """

    num_masks: int = 0
    num_empty: int = 0


def parts_of(config: TokenizerConfig, catalogue: Catalogue) -> tuple[list[Part], list[Part]]:
    """What is trained on, and what is held out.

    Raises:
        ConfigError: unknown recipe, parameter or split.
        RecipeError: files are missing.
    """
    train: list[Part] = []
    held_out: list[Part] = []
    for index, source in enumerate(config.data):
        where = f"data.{index}"
        component = source.recipe
        recipe: Recipe = catalogue.build(
            "recipe", component.name, component.params, f"{where}.recipe.params"
        )
        for split, key, limit, taken in (
            (source.train_split, "train_split", source.max_train_masks, train),
            (source.eval_split, "eval_split", source.max_eval_masks, held_out),
        ):
            if split is None:
                continue
            if split not in recipe.splits:
                raise ConfigError(
                    f"{where}.{key}: recipe {component.name!r} has no split {split!r}; valid: "
                    f"{', '.join(recipe.splits)}.{nearest(split, recipe.splits)}"
                )
            name = f"{component.name} {split}"
            taken.append(Part(samples=recipe.samples(split), limit=limit, name=name))
        if source.train_split == source.eval_split:
            raise ConfigError(
                f"{where}: train_split and eval_split are both {source.train_split!r}, so that "
                "scores would be of masks that were learnt. Name another eval_split, or null."
            )
    if not held_out:
        raise ConfigError(
            "data: no part has an eval_split, so that nothing could be scored. Name one."
        )
    return train, held_out


def masks_of(part: Part, layout: Layout, counts: MaskCounts) -> Iterator[BoolMask]:
    """The masks of a split: cut to their bounding boxes, or as large as their pictures.

    Args:
        part: of a dataset.
        layout: what the tokenizer's field shows.
        counts: is kept.
    """
    taken = 0
    for index in range(len(part.samples)):
        for target in part.samples[index].targets:
            if part.limit is not None and taken >= part.limit:
                return
            box = Box.of_mask(target.mask)
            if box is None:
                counts.num_empty += 1
                continue
            taken += 1
            counts.num_masks += 1
            yield target.mask[box.slices] if layout == "box" else target.mask


def read_fields(
    parts: Sequence[Part], layout: Layout, side: int, counts: MaskCounts, advance: Advance
) -> Fields:
    """Every mask as a field of side x side cells.

    Raises:
        ConfigError: there is no mask at all.
    """
    fields = []
    for part in parts:
        for mask in masks_of(part, layout, counts):
            fields.append(np.rint(255 * field_of(mask, side)).astype(np.uint8))
            advance(1)
    if not fields:
        raise ConfigError(
            f"data: {', '.join(part.name for part in parts)}: no target with a pixel, so that "
            "there is nothing to learn from. Choose another split or recipe."
        )
    return np.stack(fields)


def expected_masks(parts: Sequence[Part]) -> int:
    """A guess at how many masks there are: one a sample."""
    return sum(
        len(part.samples) if part.limit is None else min(len(part.samples), part.limit)
        for part in parts
    )
