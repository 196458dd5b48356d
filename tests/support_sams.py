"""What the tests of refiners share: a SAM that does as it is told, and regions to refine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from t4spp.types import Box, Decoded, Image, Region
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.prompting import Prompts, SamModel

Answer = Callable[[Prompts], Tensor]


class ToldSam(SamModel):
    """Answers every prompt by ``answer``, or by the mask prompt itself; remembers what it saw."""

    def __init__(self, answer: Answer | None = None, score: float = 0.95) -> None:
        self.answer = answer or (lambda prompts: prompts.masks[:, 0])
        self.score = score
        self.encoded = 0
        self.calls: list[Prompts] = []

    def frame(self, size: tuple[int, int]) -> Frame:
        return Frame(size=size)

    def encode(self, image: Image) -> tuple[Tensor, ...]:
        self.encoded += 1
        return ()

    def decode(self, encoded: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, Tensor]:
        self.calls.append(prompts)
        return self.answer(prompts), torch.full((len(prompts.kinds),), self.score)


def picture(size: tuple[int, int] = (120, 160), seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def square(
    top: int,
    left: int,
    side: int,
    *,
    size: tuple[int, int] = (120, 160),
    cell: tuple[float, float] | None = (10.0, 10.0),
    box: Box | None = None,
    label: str = "x",
) -> Region:
    mask = np.zeros(size, dtype=np.bool_)
    mask[top : top + side, left : left + side] = True
    return Region(label=label, mask=mask, soft=mask.astype(np.float32), box=box, cell=cell)


def decoded(*regions: Region) -> Decoded:
    return Decoded(regions=regions, status="ok")
