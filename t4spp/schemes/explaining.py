"""Pieces of the prompts that explain a descriptor to a model that was never trained on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from t4spp.types import BACKGROUND, BoolMask, Target

EXAMPLE_LABEL = "dog"
"""What the worked example shows where the prompt names no label."""
EXAMPLE_SIZE = (80, 80)
"""(H, W) of its picture, in pixels."""

Encode = Callable[[Sequence[Target], tuple[int, int]], str]
"""A scheme's ``encode``."""


def worked_example(encode: Encode, labels: Sequence[str] | None) -> str:
    """Two sentences: what a made-up picture shows, and how that is written.

    Args:
        encode: of the scheme that is explained, perhaps on a smaller grid.
        labels: of the prompt; the first is the example's.

    Raises:
        SchemeError: the label cannot be written.
    """
    named = [label for label in labels or () if label != BACKGROUND]
    label = named[0] if named else EXAMPLE_LABEL
    written = encode([Target(label=label, mask=example_mask())], EXAMPLE_SIZE)
    return (
        f'In a picture whose right half shows "{label}", all but the upper left quarter of that '
        f"half, the text is:\n{written.rstrip()}"
    )


def example_mask() -> BoolMask:
    """The right half without its upper left quarter, bool[H, W]."""
    height, width = EXAMPLE_SIZE
    mask = np.zeros(EXAMPLE_SIZE, dtype=np.bool_)
    mask[:, width // 2 :] = True
    mask[: height // 2, width // 2 : width * 3 // 4] = False
    return mask


def small_grid(shape: tuple[int, int], most: int = 4) -> tuple[int, int]:
    """A grid of at most ``most`` rows and columns, for an example that stays short."""
    return min(shape[0], most), min(shape[1], most)


def grid_note(shape: tuple[int, int], shown: tuple[int, int]) -> str:
    """How the example begins, which may have another grid than the answer."""
    if shape == shown:
        return "An example."
    return (
        f"An example, on a grid of {shown[0]} rows and {shown[1]} columns instead of "
        f"{shape[0]} and {shape[1]}."
    )
