"""Finite scalar quantisation: each number is rounded to one of a few levels; digits make a code.

F. Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (arXiv 2309.15505). There is no
codebook to learn, so that no entry can die; a code is the mixed-radix number of its digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]


def radices(levels: Sequence[int]) -> Codes:
    """What one step of each digit adds to a code; the first digit counts least. int64[D]."""
    return np.cumprod([1, *levels[:-1]]).astype(np.int64)


def digits_of(features: Floats, levels: Sequence[int]) -> Codes:
    """The nearest level of each number.

    Args:
        features: float32[..., D], unbounded; tanh brings them into the levels' range.
        levels: D numbers of levels.

    Returns:
        int64[..., D], 0 up to the level's number less 1.
    """
    top = np.asarray(levels, dtype=np.float32) - 1
    return np.rint((np.tanh(features) + 1) / 2 * top).astype(np.int64)


def codes_of(features: Floats, levels: Sequence[int]) -> Codes:
    """Features float32[..., D] as codes int64[...]."""
    return np.asarray((digits_of(features, levels) * radices(levels)).sum(axis=-1))


def values_of(codes: Codes, levels: Sequence[int]) -> Floats:
    """Codes int64[...] as float32[..., D] in -1..1, what the decoder reads.

    Args:
        codes: each below the product of the levels.
        levels: D numbers of levels.
    """
    sizes = np.asarray(levels, dtype=np.int64)
    digits = codes[..., None] // radices(levels) % sizes
    return np.asarray(digits / (sizes - 1) * 2 - 1, dtype=np.float32)
