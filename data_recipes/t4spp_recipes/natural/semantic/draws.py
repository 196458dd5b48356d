"""Which classes a prompt of ``mixed`` asks for: drawn by seed, picture and round alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from t4spp_recipes.natural.semantic.params import PromptKinds

Kind = Literal["open", "partial", "conditioned"]
ABSENT_NAMES_SHARE = 0.9
"""Share of conditioned prompts whose list names absent classes as well; the others are as partial
ones. From the script that makes Text4Seg's training data for COCO-Stuff and ADE20K."""


def draw_prompt(
    kinds: PromptKinds, shown: Sequence[str], absent: Sequence[str], key: str
) -> tuple[Kind, tuple[str, ...]]:
    """The kind and the names of one prompt, by Text4Seg's published rule.

    Partial: one to all of the shown names. Conditioned: one to all of the shown names and, nine
    times in ten, one to all of the absent ones. The names stand in a drawn order. ``others`` is
    never in a list, since it is background by name in every scheme; Text4Seg's lists have it half
    of the time.

    Args:
        kinds: weights.
        shown: names that the picture shows, at least one.
        absent: the other names of the dataset.
        key: what the draw depends on, for example ``"0:ADE_train_00000001:0"``.

    Returns:
        The kind, and the names that are asked for; ``()`` for open, which asks for all.
    """
    generator = random.Random(key)
    weights: dict[Kind, float] = {
        "open": kinds.open,
        "partial": kinds.partial,
        "conditioned": kinds.conditioned,
    }
    kind = generator.choices(list(weights), weights=list(weights.values()))[0]
    if kind == "open":
        return kind, ()
    names = generator.sample(list(shown), generator.randint(1, len(shown)))
    if kind == "conditioned" and absent and generator.random() < ABSENT_NAMES_SHARE:
        names += generator.sample(list(absent), generator.randint(1, len(absent)))
    generator.shuffle(names)
    return kind, tuple(names)
