"""Between masks in pixels and the square fields that a tokenizer reads and writes."""

from __future__ import annotations

import numpy as np

from t4spp.mask_tokenizer.networks import Floats
from t4spp.schemes.grid import FloatArray, coverage, interpolate
from t4spp.types import BoolMask, SoftMask


def field_of(mask: BoolMask, side: int) -> FloatArray:
    """How much of each cell of a side x side grid a mask bool[H, W] covers, 0..1."""
    return coverage(mask, (side, side)) / mask.size


def spread_logits(logits: Floats, size: tuple[int, int]) -> tuple[BoolMask, SoftMask]:
    """Logits float32[S, S] to pixels: bool[H, W] and the occupancy float32[H, W] in 0..1.

    Logits are interpolated bilinearly between the centres of cells, and a pixel lies inside from an
    occupancy of 0.5. Where no pixel does, the one of highest occupancy is inside (the first of
    several), so that a region that was written never vanishes.
    """
    spread = interpolate(logits, size)
    soft: SoftMask = (1 / (1 + np.exp(-np.clip(spread, -60, 60)))).astype(np.float32)
    mask: BoolMask = spread >= 0
    if not mask.any():
        mask.flat[int(np.argmax(spread))] = True
    return mask, soft
