"""What a true mask is like: its size, its parts, how thin it is; break-downs of scores rest on it.

All is measured inside the mask's box, so that a small object on a large picture costs little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from t4spp.types import BoolMask, Box

_QUAD_LENGTHS = np.zeros(16)
"""Length of contour by the bits of 2 x 2 pixels: a straight step is 1, a cut corner 1/sqrt 2, two
corners that meet in a point twice that."""
_QUAD_LENGTHS[[0b0011, 0b0101, 0b1010, 0b1100]] = 1.0
_QUAD_LENGTHS[[0b0001, 0b0010, 0b0100, 0b1000]] = math.sqrt(0.5)
_QUAD_LENGTHS[[0b1110, 0b1101, 0b1011, 0b0111]] = math.sqrt(0.5)
_QUAD_LENGTHS[[0b0110, 0b1001]] = 2 * math.sqrt(0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A true mask, the union of a sample's targets of one label.

    Attributes:
        area: its pixels.
        share: of the picture's pixels, 0..1.
        num_instances: targets that it unites, those without a scored pixel left out.
        num_parts: its connected parts; pixels that touch at a corner are connected.
        compactness: of its largest part, see :func:`compactness`; 1 a disc, near 0 a thread.
    """

    area: int
    share: float
    num_instances: int
    num_parts: int
    compactness: float


def shape_of(mask: BoolMask, box: Box, num_instances: int) -> Shape:
    """Measure a mask that has a pixel.

    Args:
        mask: bool[H, W].
        box: around its pixels.
        num_instances: targets that it unites.
    """
    from scipy import ndimage

    inside = mask[box.slices]
    area = int(np.count_nonzero(inside))
    labels, num_parts = ndimage.label(inside, structure=np.ones((3, 3), dtype=np.int8))
    largest = inside
    if num_parts > 1:
        areas = np.bincount(labels.ravel(), minlength=num_parts + 1)[1:]
        largest = labels == 1 + int(areas.argmax())
    return Shape(
        area=area,
        share=area / mask.size,
        num_instances=num_instances,
        num_parts=int(num_parts),
        compactness=compactness(largest),
    )


def contour_length(mask: BoolMask) -> float:
    """Length in pixels of the contour of bool[h, w], holes' contours included; 0 where it is empty.

    Counted from 2 x 2 patterns of pixels (Gray, "Local Properties of Binary Images in Two
    Dimensions", IEEE Transactions on Computers C-20(5), 1971), with the lengths that Duda gives
    them (in Pratt, "Digital Image Processing", section 18.2; Gray's own count a corner as a whole
    step): it is the length of the contour at one half. A large disc's comes out 5 % too long. What
    is outside the array is background.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.uint8)
    padded[1:-1, 1:-1] = mask
    pairs = padded[:, :-1] | padded[:, 1:] << 1
    quads = pairs[:-1] | pairs[1:] << 2
    return float(np.bincount(quads.ravel(), minlength=16) @ _QUAD_LENGTHS)


def compactness(mask: BoolMask) -> float:
    """``4 pi area / contour^2`` of bool[h, w] with a pixel, at most 1.

    The isoperimetric quotient (Polsby and Popper 1991, with :func:`contour_length`): 0.9 for a
    disc of pixels, 0.79 for a square, about ``pi w / L`` for a stripe of width w and length L.
    """
    return min(1.0, 4 * math.pi * int(np.count_nonzero(mask)) / contour_length(mask) ** 2)
