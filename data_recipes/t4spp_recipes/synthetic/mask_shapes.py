"""MaskShapes: varied masks without pictures, generated on the fly, deterministic by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.types import BoolMask, Sample, Target
from t4spp_recipes.splits import unknown_split
from t4spp_recipes.synthetic.params import SPLITS, MaskShapesParams
from t4spp_recipes.synthetic.silhouettes import silhouette

LABEL = "shape"
"""Of every target, and every prompt."""


class MaskShapes(Recipe):
    """Silhouettes of many kinds, one to a sample: what a mask tokenizer is trained on.

    Lobes, boxes, polygons, ragged fields, figures on two and four legs, strokes, stacks and rings;
    turned, stretched, bent, joined, cut by what stands before them and by the picture's border.
    Sides of objects are log-uniform, so that most are small and coarsely drawn, as they are in
    photographs. There are no pictures.
    """

    sources = (
        Source(url="generated", licence="CC0-1.0", note="made on the fly; nothing to download"),
    )

    def __init__(self, params: MaskShapesParams) -> None:
        """Keep the parameters; nothing is generated yet."""
        self.params = params

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``val`` and ``test``."""
        return tuple(SPLITS)

    def samples(self, split: str) -> Sequence[Sample]:
        """The split's samples, made when they are indexed."""
        if split not in SPLITS:
            raise unknown_split("mask-shapes", split, tuple(SPLITS))
        return MaskShapesSplit(self.params, split)


class MaskShapesSplit(Sequence[Sample]):
    """The samples of one split."""

    def __init__(self, params: MaskShapesParams, split: str) -> None:
        """Generate nothing yet."""
        self.params = params
        self.split = split

    def __len__(self) -> int:
        """Masks of the split."""
        counts = self.params.num_masks.items()
        return next((count for split, count in counts if split == self.split), 0)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """One sample, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"mask-shapes {self.split}: {index} of {len(self)} samples")
        number = index % len(self)
        size = self.params.size
        name = f"{self.split}-{number:06d}"
        return Sample(
            id=name,
            size=(size, size),
            prompt=LABEL,
            targets=(Target(label=LABEL, mask=self._mask(number)),),
            labels=(LABEL,),
            image_id=name,
        )

    def _mask(self, number: int) -> BoolMask:
        """One object somewhere on the canvas, bool[size, size]."""
        params = self.params
        rng = np.random.default_rng((params.seed, SPLITS[self.split], number))
        low, high = params.extent
        side = math.exp(rng.uniform(math.log(low), math.log(high))) * params.size
        slim = math.exp(rng.normal(0, 0.18))
        height, width = max(3, round(side * slim)), max(3, round(side / slim))
        shape = silhouette(rng, height, width)
        mask = np.zeros((params.size, params.size), dtype=np.bool_)
        while not mask.any():
            cut = params.cut if rng.random() < 0.5 else 0.0
            top = _place(rng, height, params.size, cut)
            left = _place(rng, width, params.size, cut)
            y0, y1 = max(top, 0), min(top + height, params.size)
            x0, x1 = max(left, 0), min(left + width, params.size)
            mask[y0:y1, x0:x1] = shape[y0 - top : y1 - top, x0 - left : x1 - left]
        return mask


def _place(rng: np.random.Generator, length: int, size: int, cut: float) -> int:
    """Where an object begins, of which at most the share ``cut`` lies beyond the canvas."""
    beyond = round(length * cut)
    return int(rng.integers(-beyond, max(size - length + beyond, -beyond) + 1))
