"""Between pixels and grid cells: exact area coverage, PIL's nearest, bilinear upsampling.

Legend: ``H, W`` pixels, ``R, C`` grid rows and columns.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from t4spp.errors import SchemeError
from t4spp.types import BoolMask, SoftMask

Downsample = Literal["nearest", "majority"]
Upsample = Literal["nearest", "bilinear"]
Side = Annotated[int, Field(ge=1, le=256, strict=True)]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class GridParams(BaseModel):
    """What all grid schemes share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: Side | tuple[Side, Side] = 16
    """Cells: one number for a square grid, or ``[rows, columns]``; 1 to 256 each."""
    downsample: Downsample = "nearest"
    """How a cell gets its value: the pixel that PIL's nearest picks, or what covers most of it."""
    keep_small: bool = False
    """Whether a target that no cell would keep claims the cell it covers most."""
    upsample: Upsample = "nearest"
    """How cells become pixels."""
    max_label_chars: Annotated[int, Field(ge=1, le=1024, strict=True)] = 128
    """The longest label that is written or admitted, in characters."""

    @field_validator("grid")
    @classmethod
    def _square_grids_are_one_number(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(value, tuple) and value[0] == value[1]:
            return value[0]
        return value

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.grid if isinstance(self.grid, tuple) else (self.grid, self.grid)


@lru_cache(maxsize=256)
def nearest_index(source: int, wanted: int) -> IntArray:
    """Which of ``source`` samples PIL's nearest resize picks for each of ``wanted``.

    PIL adds the step up in float64 instead of multiplying; for some sizes that moves a sample
    that falls exactly between two pixels, so the sum is repeated here. int64[wanted].
    """
    step = source / wanted
    steps = np.full(wanted, step, dtype=np.float64)
    steps[0] = step * 0.5
    index = np.add.accumulate(steps).astype(np.int64)
    np.minimum(index, source - 1, out=index)
    index.setflags(write=False)
    return index


@lru_cache(maxsize=128)
def _overlap(pixels: int, cells: int) -> npt.NDArray[np.float32]:
    """Length that cell r shares with pixel i, in units of 1/cells of a pixel; float32[R, H]."""
    cell = np.arange(cells, dtype=np.int64)[:, None] * pixels
    pixel = np.arange(pixels, dtype=np.int64)[None, :] * cells
    shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
    weights: npt.NDArray[np.float32] = np.maximum(shared, 0).astype(np.float32)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=128)
def _interpolation(pixels: int, cells: int) -> FloatArray:
    """Bilinear weights (align_corners=False, clamped ends) of each cell; float64[H, R]."""
    at = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
    low = np.minimum(at.astype(np.int64), max(cells - 2, 0))
    high = np.minimum(low + 1, cells - 1)
    part = at - low
    weights = np.zeros((pixels, cells), dtype=np.float64)
    rows = np.arange(pixels)
    weights[rows, low] = 1 - part
    weights[rows, high] += part
    weights.setflags(write=False)
    return weights


def coverage(mask: BoolMask, shape: tuple[int, int]) -> FloatArray:
    """How much of each cell bool[H, W] covers, exactly: whole numbers out of ``H * W``.

    The cells divide the array evenly, also where a cell's edge cuts a pixel or where a cell is
    smaller than a pixel. float64[R, C].
    """
    height, width = mask.shape
    rows, columns = shape
    # every partial sum of the first product is a whole number <= H, so float32 is exact
    part = _overlap(height, rows) @ mask.astype(np.float32)
    return part.astype(np.float64) @ _overlap(width, columns).astype(np.float64).T


def sample(values: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """PIL's nearest resize of an array (H, W) to (R, C), in either direction."""
    rows = nearest_index(values.shape[0], shape[0])
    columns = nearest_index(values.shape[1], shape[1])
    if shape[0] > values.shape[0]:
        return values[:, columns][rows]
    return values[rows][:, columns]


def spread(cells: BoolMask, size: tuple[int, int], upsample: Upsample) -> tuple[BoolMask, SoftMask]:
    """Cells bool[R, C] to pixels: bool[H, W] and the occupancy float32[H, W] in 0..1.

    A pixel is inside from an occupancy of 0.5. Where a cell is set but no pixel reaches 0.5
    (pixels sparser than cells), the pixels of highest occupancy are inside, or the pixel under
    the first set cell, so that a region with a set cell never vanishes.
    """
    soft: SoftMask
    mask: BoolMask
    if upsample == "nearest":
        mask = sample(cells, size)
        soft = mask.astype(np.float32)
    else:
        down = _interpolation(size[0], cells.shape[0])
        across = _interpolation(size[1], cells.shape[1])
        # in float64, so that what is a half in theory rounds to a half in float32
        soft = (down @ cells.astype(np.float64) @ across.T).astype(np.float32)
        mask = soft >= 0.5
    if not mask.any() and cells.any():
        peak = soft.max()
        if peak > 0:
            return soft == peak, soft
        row, column = np.argwhere(cells)[0]
        mask[
            min(int((row + 0.5) * size[0] / cells.shape[0]), size[0] - 1),
            min(int((column + 0.5) * size[1] / cells.shape[1]), size[1] - 1),
        ] = True
    return mask, soft


def interpolate(values: npt.NDArray[Any], size: tuple[int, int]) -> FloatArray:
    """Values (R, C) at the centres of cells to float64[H, W], bilinearly; ends are clamped."""
    down = _interpolation(size[0], values.shape[0])
    across = _interpolation(size[1], values.shape[1])
    return np.asarray(down @ values.astype(np.float64) @ across.T)


def cell_size(size: tuple[int, int], shape: tuple[int, int]) -> tuple[float, float]:
    """(height, width) in pixels of one of (R, C) cells that divide (H, W) pixels evenly."""
    return size[0] / shape[0], size[1] / shape[1]


def visible_mask(
    label: str, mask: BoolMask, size: tuple[int, int], ignore: BoolMask | None
) -> BoolMask:
    """The mask without its ignored pixels.

    Raises:
        SchemeError: mask or ignore is not an array of the picture's size.
    """
    if mask.shape != tuple(size):
        raise SchemeError(
            f"the mask of {label!r} has the shape {mask.shape}, the picture is "
            f"{size[0]} x {size[1]} (rows x columns). Masks and pictures must have one size."
        )
    if mask.dtype != np.bool_:
        mask = mask.astype(np.bool_)
    return mask if ignore is None else mask & ~ignore


def check_canvas(size: tuple[int, int], ignore: BoolMask | None) -> BoolMask | None:
    """Refuse a picture without pixels or an ``ignore`` of another size; ``ignore`` as bool."""
    if len(size) != 2 or size[0] < 1 or size[1] < 1:
        raise SchemeError(f"a picture of {size} pixels has no cells; both sides must be >= 1.")
    if ignore is None:
        return None
    if ignore.shape != tuple(size):
        raise SchemeError(
            f"ignore has the shape {ignore.shape}, the picture is {size[0]} x {size[1]} "
            "(rows x columns). They must have one size."
        )
    return ignore if ignore.dtype == np.bool_ else ignore.astype(np.bool_)


def row_runs(cells: npt.NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Maximal runs of equal values that end with their row: (starts, lengths) in flat cells."""
    columns = cells.shape[1]
    flat = cells.ravel()
    change = np.empty(flat.size, dtype=np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=change[1:])
    change[::columns] = True
    starts = np.flatnonzero(change)
    lengths = np.diff(starts, append=flat.size)
    return starts, lengths
