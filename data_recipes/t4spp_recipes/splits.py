"""Splits by a seeded share of images, and seeded prompts for what a picture does not show."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from t4spp.errors import RecipeError, nearest

Key = TypeVar("Key", bound=Hashable)


def val_keys(keys: Sequence[Key], share: float, seed: int) -> frozenset[Key]:
    """The ``round(share * len(keys))`` keys that belong to ``val``.

    Keys are ranked by a hash of (seed, key): the choice depends neither on their order nor on the
    platform.
    """
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    return frozenset(ranked[: round(share * len(keys))])


def unknown_split(recipe: str, split: str, splits: Sequence[str]) -> RecipeError:
    """The error for a split that a recipe does not have."""
    return RecipeError(
        f"recipe {recipe!r} has no split {split!r}.{nearest(split, splits)} "
        f"Its splits are: {', '.join(splits)}."
    )


def absent_pairs(
    candidates: Mapping[Key, Sequence[str]], num_present: int, share: float, seed: int
) -> tuple[dict[Key, list[str]], int]:
    """Choose prompts that ask for what is not in the picture.

    Args:
        candidates: for each image, the names that it is known not to show.
        num_present: number of prompts with a target.
        share: no-target prompts over all prompts, 0 <= share < 1.
        seed: of the choice.

    Returns:
        The chosen names of each chosen image, and how many more ``share`` asks for than there
        are. Images take turns, so that the pairs spread evenly.
    """
    wanted = round(num_present * share / (1.0 - share))
    generator = random.Random(seed)
    pools = {key: generator.sample(list(names), len(names)) for key, names in candidates.items()}
    order = list(pools)
    generator.shuffle(order)
    chosen: dict[Key, list[str]] = {}
    num_chosen = 0
    while order and num_chosen < wanted:
        order = [key for key in order if pools[key]]
        for key in order[: wanted - num_chosen]:
            chosen.setdefault(key, []).append(pools[key].pop())
            num_chosen += 1
    return chosen, wanted - num_chosen
