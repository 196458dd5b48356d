"""Resampling masks to the frame that a protocol compares them in, by the nearest pixel.

A mask's pixel is drawn so many times in each row and column of the frame, or not at all. Areas in
the frame follow from these numbers; the frame itself is never made. Empty borders that published
code pads with add nothing to any area, so they are left away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from t4spp.types import BoolMask

_Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampling:
    """How a mask of one size is drawn in a frame.

    Attributes:
        rows: of the mask that the frame shows, int64[R], ascending.
        columns: likewise, int64[C].
        row_times: in how many of the frame's rows each of them stands, int64[R].
        column_times: likewise, int64[C].
    """

    rows: _Indices
    columns: _Indices
    row_times: _Indices
    column_times: _Indices

    def sample(self, mask: BoolMask) -> BoolMask:
        """The pixels of bool[H, W] that the frame shows, each once, bool[R, C]."""
        return mask[self.rows][:, self.columns]

    def area(self, sampled: BoolMask) -> int:
        """The frame's pixels that are True, from what ``sample`` gave, bool[R, C]."""
        return int(self.row_times @ (sampled @ self.column_times))


Frame = Callable[[tuple[int, int]], Sampling]
"""From a mask's size (H, W) to how it is drawn."""


@lru_cache(maxsize=256)
def square_of_480(size: tuple[int, int]) -> Sampling:
    """Stretched to 480 x 480 as Pillow's ``resize`` with ``NEAREST`` does it.

    RMSIN resizes the truth by torchvision's ``resize`` of a PIL image, which is this.
    """
    height, width = size
    return _sampling(_pillow_nearest(height, 480), _pillow_nearest(width, 480))


@lru_cache(maxsize=256)
def longest_side_1024(size: tuple[int, int]) -> Sampling:
    """The longest side becomes 1024, the other ``int(side * (1024 / longest))``, at least 1.

    As OpenCV's ``resize`` with ``INTER_NEAREST`` does it, before ``preprocess_mask`` of SegEarth-R1
    pads with zeros. OpenCV refuses a side of 0; here such a strip keeps one pixel.
    """
    height, width = size
    if width > height:
        new_height, new_width = int(height * (1024 / width)), 1024
    else:
        new_height, new_width = 1024, int(width * (1024 / height))
    return _sampling(
        _opencv_nearest(height, max(1, new_height)), _opencv_nearest(width, max(1, new_width))
    )


def _sampling(rows: _Indices, columns: _Indices) -> Sampling:
    shown_rows, row_times = np.unique(rows, return_counts=True)
    shown_columns, column_times = np.unique(columns, return_counts=True)
    return Sampling(
        rows=shown_rows,
        columns=shown_columns,
        row_times=row_times.astype(np.int64),
        column_times=column_times.astype(np.int64),
    )


def _pillow_nearest(length: int, new: int) -> _Indices:
    """The old index of each of the new pixels, int64[new]: a ramp, resized by Pillow."""
    ramp = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    resized = ramp.resize((new, 1), Image.Resampling.NEAREST)
    indices: _Indices = np.asarray(resized)[0].astype(np.int64)
    return indices


def _opencv_nearest(length: int, new: int) -> _Indices:
    """The old index of each of the new pixels, int64[new]: ``floor(i / (new / length))``.

    The quotient is inverted first, in float64, as OpenCV's ``resizeNN`` does it; torch's
    ``nearest``, in float32, picks another pixel for some sizes.
    """
    step = 1.0 / (new / length)
    indices: _Indices = np.floor(np.arange(new) * step).astype(np.int64)
    indices = np.minimum(indices, length - 1)
    return indices
