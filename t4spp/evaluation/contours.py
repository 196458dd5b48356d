"""Distances between the contours of two masks, in pixels.

A contour is the mask's border pixels: those with a background neighbour above, below, left or
right (the mask without its erosion by the 4-neighbour cross). Beyond the picture is background, so
that a mask that fills the picture has a contour. Holes have contours too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box

PERCENTILE = 95.0
"""Of ``hd95``."""


@dataclass(frozen=True, kw_only=True)
class ContourDistances:
    """How far two contours lie apart, in pixels; every value is finite.

    ``directed(A, B)`` are the Euclidean distances from each pixel of the contour A to the nearest
    pixel of the contour B.

    Attributes:
        ahd: average Hausdorff distance: the mean of the two directed means. Neither side weighs
            more for having the longer contour.
        hd95: the larger of the two directed 95th percentiles (linear interpolation).
        hd: Hausdorff distance: the larger of the two directed maxima.
    """

    ahd: float
    hd95: float
    hd: float


def contour(mask: BoolMask) -> BoolMask:
    """The border pixels of a mask, bool[H, W]; see the module."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inside)


def diagonal(size: tuple[int, int]) -> float:
    """The diagonal of a picture of (H, W) pixels, in pixels."""
    return math.hypot(*size)


def contour_distances(first: BoolMask, second: BoolMask) -> ContourDistances:
    """How far the contours of two masks lie apart; symmetric.

    Where both masks are empty, every distance is 0. Where one is, every distance is the picture's
    diagonal, more than two contours of the picture can have.

    Args:
        first: bool[H, W].
        second: bool[H, W].
    """
    boxes = [Box.of_mask(mask) for mask in (first, second)]
    present = [box for box in boxes if box is not None]
    if len(present) < 2:
        far = diagonal(first.shape) if present else 0.0
        return ContourDistances(ahd=far, hd95=far, hd=far)
    # Nothing outside the box around both matters: background is as far as it is near.
    window = (
        slice(min(box.y0 for box in present), max(box.y1 for box in present)),
        slice(min(box.x0 for box in present), max(box.x1 for box in present)),
    )
    borders = contour(first[window]), contour(second[window])
    there, back = _directed(borders[0], borders[1]), _directed(borders[1], borders[0])
    return ContourDistances(
        ahd=(float(there.mean()) + float(back.mean())) / 2,
        hd95=max(float(np.percentile(there, PERCENTILE)), float(np.percentile(back, PERCENTILE))),
        hd=max(float(there.max()), float(back.max())),
    )


def _directed(source: BoolMask, target: BoolMask) -> npt.NDArray[np.float64]:
    """Distances from each pixel of one contour to the nearest of another, float64[N]."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~target), dtype=np.float64)[source]
