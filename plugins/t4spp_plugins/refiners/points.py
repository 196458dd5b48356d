"""Points inside and outside a coarse mask, drawn by a seed that the picture and the region make."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Region

INSIDE, OUTSIDE, NO_POINT = 1, 0, -1
"""What SAM's prompt encoder calls a point on the object, one beside it, and none."""


def draw_points(
    region: Region, *, picture: str, num_points: int, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """``num_points`` pixels of the mask and as many beside it (Text4Seg, section 3.3).

    What is drawn depends on the seed, the picture and the region alone, so that neither the order
    of regions nor of samples changes it. A side with fewer pixels than points repeats some; one
    without any, outside a region that fills the picture, gives no points.

    Args:
        region: its mask is not empty.
        picture: names the picture's content, see :func:`t4spp.features.picture_hash`.
        num_points: on each side.
        seed: of the draw.

    Returns:
        The middles of the pixels as (x, y), float64[2 * num_points, 2], and what each is,
        int64[2 * num_points].
    """
    digest = hashlib.sha256(f"{seed} {picture} {region.mask.shape} {region.box}".encode())
    digest.update(np.packbits(region.mask).data)
    rng = np.random.default_rng(int.from_bytes(digest.digest()[:16], "big"))
    places = np.zeros((2 * num_points, 2))
    kinds = np.full(2 * num_points, NO_POINT, dtype=np.int64)
    for kind, start in ((INSIDE, 0), (OUTSIDE, num_points)):
        drawn = _drawn(region.mask == bool(kind), num_points, rng)
        places[start : start + len(drawn)] = drawn
        kinds[start : start + len(drawn)] = kind
    return places, kinds


def _drawn(side: BoolMask, num: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Middles of ``num`` True pixels as (x, y); none where no pixel is True."""
    pixels = np.flatnonzero(side)
    if not pixels.size:
        return np.zeros((0, 2))
    chosen = rng.choice(pixels, num, replace=pixels.size < num)
    rows, columns = np.divmod(chosen, side.shape[1])
    return np.stack([columns, rows], axis=1) + 0.5
