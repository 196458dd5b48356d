"""How much longer many regions of a picture take to refine than one; its encoding counts, too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from t4spp.components import Refiner
from t4spp.evaluation.refine_bench import Picture, oracle_regions
from t4spp.schemes.base import Scheme
from t4spp.types import Decoded, Image, Region

NUM_MANY = 10
"""Regions that are timed beside one."""


@dataclass(frozen=True, kw_only=True)
class RefineTiming:
    """Wall seconds of one refiner on one picture that it has not seen, the fastest of the repeats.

    Attributes:
        refiner: as it was asked for.
        num_many: regions of ``many_seconds``.
        one_seconds: of one region.
        many_seconds: of many.
    """

    refiner: str
    num_many: int
    one_seconds: float
    many_seconds: float

    @property
    def ratio(self) -> float:
        """How many times longer many take."""
        return self.many_seconds / self.one_seconds

    def as_json(self) -> dict[str, Any]:
        """The fields and the ratio."""
        return {**asdict(self), "ratio": self.ratio}


def time_refiner(
    name: str, refiner: Refiner, picture: Picture, scheme: Scheme, repeats: int = 3
) -> RefineTiming:
    """Time ten regions of a picture beside one, in turn.

    Before every call one pixel of the picture is changed by one step, so that nothing known of the
    picture can be taken from a cache. Regions repeat where the picture has fewer than ten.

    Args:
        name: what to call the refiner.
        refiner: warmed up by one call before the clock starts.
        picture: with objects that ``scheme`` can write.
        scheme: writes the coarse masks.
        repeats: the fastest counts.
    """
    found = oracle_regions(picture, scheme)
    many = [found[number % len(found)] for number in range(NUM_MANY)]
    image = picture.load().copy()
    shape = image.shape
    seconds: dict[int, list[float]] = {1: [], NUM_MANY: []}
    _seconds(refiner, image, many[:1])
    for number in range(repeats):
        for count, taken in seconds.items():
            at = np.unravel_index((2 * number + (count == 1)) % image.size, shape)
            image[at] ^= 1
            taken.append(_seconds(refiner, image, many[:count]))
    return RefineTiming(
        refiner=name,
        num_many=NUM_MANY,
        one_seconds=min(seconds[1]),
        many_seconds=min(seconds[NUM_MANY]),
    )


def _seconds(refiner: Refiner, image: Image, regions: Sequence[Region]) -> float:
    started = time.perf_counter()
    refiner.refine(image, Decoded(regions=tuple(regions), status="ok"))
    return time.perf_counter() - started
