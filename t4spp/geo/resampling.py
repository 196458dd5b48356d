"""Masked resampling of bands: area average where pixels get larger, bilinear where smaller.

Both are linear along rows and along columns, so that one pair of sparse matrices does it. Pixels
without data count for nothing; a pixel of the result that has less than half of its weight in
pixels with data has none itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask

LEAST_WEIGHT = 0.5


def working_type(dtype: npt.DTypeLike) -> type[np.float32] | type[np.float64]:
    """The floating-point type that holds every value of a band's type, or nearly."""
    kind = np.dtype(dtype)
    return np.float32 if kind.itemsize <= 2 or kind == np.float32 else np.float64


@lru_cache(maxsize=64)
def axis_weights(length: int, out: int) -> Any:
    """Sparse float32[out, length]: what each pixel of the result takes from each of the source.

    Rows sum to 1. Shrinking takes the share of the result's pixel that a source pixel covers;
    growing interpolates between the centres of the two nearest.
    """
    from scipy.sparse import csr_matrix

    scale = length / out
    if scale >= 1.0:
        edges = np.linspace(0.0, length, out + 1)
        rows, columns, weights = [], [], []
        for index in range(out):
            low, high = edges[index], edges[index + 1]
            first, last = int(np.floor(low)), min(int(np.ceil(high)), length)
            cells = np.arange(first, last)
            covered = np.minimum(cells + 1, high) - np.maximum(cells, low)
            rows.append(np.full(cells.size, index))
            columns.append(cells)
            weights.append(covered / covered.sum())
        parts = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
    else:
        centres = np.clip((np.arange(out) + 0.5) * scale - 0.5, 0.0, length - 1.0)
        low_cell = np.floor(centres).astype(np.int64)
        share = centres - low_cell
        high_cell = np.minimum(low_cell + 1, length - 1)
        rows_both = np.concatenate([np.arange(out)] * 2)
        parts = (
            np.concatenate([1.0 - share, share]),
            (rows_both, np.concatenate([low_cell, high_cell])),
        )
    return csr_matrix(parts, shape=(out, length), dtype=np.float32)


class Resampler:
    """Takes a window's rows from top to bottom in parts, so that the source need not fit at once.

    Args:
        num_bands: bands.
        size: (H, W) of the source.
        out_size: (H, W) of the result.
        dtype: that is worked in, float32 or float64.
    """

    def __init__(
        self,
        num_bands: int,
        size: tuple[int, int],
        out_size: tuple[int, int],
        dtype: type[np.float32] | type[np.float64] = np.float32,
    ) -> None:
        self._down = axis_weights(size[0], out_size[0])
        self._across = axis_weights(size[1], out_size[1]).T.tocsr()
        self._values: npt.NDArray[Any] = np.zeros((num_bands, *out_size), dtype=dtype)
        self._weights = np.zeros(out_size, dtype=np.float32)

    def add(self, y0: int, x0: int, bands: npt.NDArray[Any], valid: BoolMask) -> None:
        """Take a part of the source.

        Args:
            y0: its first row.
            x0: its first column.
            bands: [B, h, w] of numbers; what they are where not valid does not matter.
            valid: bool[h, w].
        """
        down = self._down[:, y0 : y0 + valid.shape[0]]
        across = self._across[x0 : x0 + valid.shape[1]]
        whole = bool(valid.all())
        for values, band in zip(self._values, bands, strict=True):
            source = band.astype(values.dtype)
            if not whole:
                source[~valid] = 0
            values += (down @ source) @ across
        self._weights += (down @ valid.astype(np.float32)) @ across

    def result(self) -> tuple[npt.NDArray[np.floating[Any]], BoolMask]:
        """[B, H, W] of the working type, and valid bool[H, W]; 0 where not valid."""
        valid = self._weights >= LEAST_WEIGHT - 1e-4
        values = self._values / np.where(valid, self._weights, 1.0)
        values[:, ~valid] = 0
        return values, valid
