"""Where a picture lies in the square that SAM sees, and masks on their way there and back.

SAM's encoder sees a square of ``side`` pixels, its decoder reads and writes logits of ``low`` x
``low``: the same square, smaller. A mask prompt is laid into that square exactly as the picture is.
SAM resizes the longer side and pads below and to the right; SAM 2 stretches both sides. Text4Seg's
published code stretches masks that SAM expects padded.

Legend: ``H, W`` pixels of the picture, N regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from t4spp.types import SoftMask

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The square of one picture.

    Attributes:
        size: (H, W) of the picture.
        side: height and width of what the encoder sees.
        low: height and width of mask prompts and predicted logits.
        stretched: both sides of the picture are resized to ``side``; otherwise the longer one is,
            the other keeps its proportion, and the rest is padding.
    """

    size: tuple[int, int]
    side: int = 1024
    low: int = 256
    stretched: bool = False

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the square that the picture covers, from its upper left."""
        if self.stretched:
            return self.side, self.side
        scale = self.side / max(self.size)
        height, width = (max(1, int(length * scale + 0.5)) for length in self.size)
        return height, width

    @property
    def pixels_per_logit(self) -> float:
        """Pixels of the picture in the longer side of one of the decoder's logits."""
        return max(self.size) / self.low

    def at(self, points: FloatArray) -> FloatArray:
        """Points (x, y) of the picture, float64[..., 2], in the square.

        Both count from the upper left corner: the middle of the first pixel is (0.5, 0.5).
        """
        (height, width), (rows, columns) = self.size, self.inner
        laid: FloatArray = points * np.array([columns / width, rows / height])
        return laid

    def mask_prompt(self, soft: SoftMask, certainty: float) -> Tensor:
        """An occupancy float32[H, W] as the decoder takes it, float32[low, low] of logits.

        The inverse sigmoid (Text4Seg, section 3.3), of occupancies held within
        ``certainty``: 0.999 gives logits between -6.9 and 6.9. Padding is sure background.
        """
        rows, columns = self.inner
        whole = torch.from_numpy(np.ascontiguousarray(soft, dtype=np.float32))[None, None]
        laid = functional.interpolate(whole, (rows, columns), mode="bilinear", antialias=True)
        padded = functional.pad(laid, (0, self.side - columns, 0, self.side - rows))
        small = functional.interpolate(padded, (self.low, self.low), mode="area")[0, 0]
        # Where a logit lies half in the padding, what it has of the picture decides.
        covered = self._covered(rows)[:, None] * self._covered(columns)
        return torch.logit(small / covered.clamp(min=1e-6), eps=1 - certainty)

    def _covered(self, length: int) -> Tensor:
        """The picture's share of each logit along an axis on which it is so long, float32[low]."""
        step = self.side / self.low
        return (length / step - torch.arange(self.low)).clamp(0, 1)

    def to_picture(self, logits: Tensor) -> npt.NDArray[np.float32]:
        """Predicted logits float32[low, low] over the picture, float32[H, W]."""
        rows, columns = self.inner
        whole = logits[None, None].float().cpu()
        laid = functional.interpolate(whole, (self.side, self.side), mode="bilinear")
        inner = laid[..., :rows, :columns]
        found = functional.interpolate(inner, self.size, mode="bilinear")
        array: npt.NDArray[np.float32] = found[0, 0].numpy()
        return array
