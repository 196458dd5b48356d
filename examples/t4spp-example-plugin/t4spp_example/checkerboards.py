"""``checkerboards``: charts of two greys whose dark squares are asked for.

Resolution: ``size`` x ``size`` pixels, grey, three equal channels. Class: ``dark squares``. No
pixel is ignored. The pattern and its greys follow from seed, split and position alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, overload

import numpy as np

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError, nearest
from t4spp.types import BoolMask, Image, Sample, Target
from t4spp_example.plugin import CheckerboardsParams

SPLITS = ("train", "val")
LABEL = "dark squares"


class Checkerboards(Recipe):
    """Charts, drawn when they are asked for."""

    sources: ClassVar[tuple[Source, ...]] = (
        Source(url="generated", licence="Apache-2.0", note="drawn by this package"),
    )

    def __init__(self, params: CheckerboardsParams) -> None:
        """Keep the parameters."""
        self.params = params

    @property
    def splits(self) -> tuple[str, ...]:
        """``train`` and ``val``."""
        return SPLITS

    def samples(self, split: str) -> Sequence[Sample]:
        """The charts of a split.

        Raises:
            RecipeError: there is no such split.
        """
        if split not in SPLITS:
            raise RecipeError(
                f"checkerboards has no split {split!r}; valid: {', '.join(SPLITS)}."
                f"{nearest(split, SPLITS)}"
            )
        return Charts(self.params, split)


class Charts(Sequence[Sample]):
    """The charts of one split; each is drawn anew whenever it is indexed."""

    def __init__(self, params: CheckerboardsParams, split: str) -> None:
        """Keep what the charts follow from."""
        self.params = params
        self.split = split

    def __len__(self) -> int:
        """How many there are."""
        return self.params.num_samples

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """One chart, or a list of them."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"chart {index} of {len(self)}")
        return self._draw(index % len(self))

    def _draw(self, index: int) -> Sample:
        params = self.params
        side = params.squares[index % len(params.squares)]
        random = np.random.default_rng([params.seed, SPLITS.index(self.split), index])
        start_y, start_x = random.integers(0, 2 * side, size=2)
        dark, light = int(random.integers(0, 96)), int(random.integers(160, 256))
        rows = (np.arange(params.size) + start_y) // side
        columns = (np.arange(params.size) + start_x) // side
        mask: BoolMask = (rows[:, None] + columns[None, :]) % 2 == 0

        def load_image() -> Image:
            grey = np.where(mask, dark, light).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)

        return Sample(
            id=f"{self.split}-{index:05d}",
            size=(params.size, params.size),
            prompt=LABEL,
            targets=(Target(label=LABEL, mask=mask),) if mask.any() else (),
            load_image=load_image,
            labels=(LABEL,),
            image_id=f"{self.split}-{index:05d}",
            tags=(f"square-{side}",),
        )
