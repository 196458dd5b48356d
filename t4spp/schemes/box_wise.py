"""Box-wise schemes: per region a label, a bounding box, and a grid of cells inside the box.

Legend: ``H, W`` pixels of the picture, ``R, C`` grid rows and columns inside the box.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from t4spp.schemes.explaining import grid_note, small_grid, worked_example
from t4spp.schemes.grid import (
    Downsample,
    GridParams,
    Upsample,
    cell_size,
    coverage,
    sample,
    spread,
)
from t4spp.schemes.region_wise import RegionWise
from t4spp.types import BACKGROUND, BoolMask, Box, Region

STEPS = 1000
"""Coordinate steps an axis."""

HEADER = re.compile(r"([^|]*)\|[ \t]*([0-9]+)[ ,]+([0-9]+)[ ,]+([0-9]+)[ ,]+([0-9]+)")
"""A label and its box in digits, as ``label| y0 x0 y1 x1``."""

NUMBER = "NUMBER: /0|[1-9][0-9]{0,2}/"
"""The grammar's terminal of one coordinate in digits."""

Steps = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in steps 0..999, the far edges inclusive."""


class BoxParams(GridParams):
    """Parameters of the box-wise schemes."""

    downsample: Downsample = "majority"
    keep_small: bool = True
    upsample: Upsample = "bilinear"
    max_regions: Annotated[int, Field(ge=1, le=1024, strict=True)] = 16
    """Regions that one descriptor may hold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """One region as it stands in the text: label, box in steps, cells bool[R, C]."""

    label: str
    steps: Steps
    cells: BoolMask


def edge_steps(near: int, far: int, size: int) -> tuple[int, int]:
    """A half-open pixel interval to steps: floor(1000 near / size), ceil(1000 far / size) - 1."""
    return STEPS * near // size, -(-STEPS * far // size) - 1


def edge_pixels(near: int, far: int, size: int) -> tuple[int, int]:
    """Steps to the half-open pixel interval inside them; at least one pixel, any order.

    Exact for what :func:`edge_steps` writes up to 1000 pixels; beyond, never smaller than what
    was written and at most ``size / 1000`` pixels wider at each edge.
    """
    near, far = min(near, far), max(near, far)
    low = -(-near * size // STEPS)
    high = (far + 1) * size // STEPS
    if high <= low:
        low = min(near * size // STEPS, size - 1)
        high = low + 1
    return low, high


def box_steps(box: Box, size: tuple[int, int]) -> Steps:
    """A pixel box as steps."""
    y0, y1 = edge_steps(box.y0, box.y1, size[0])
    x0, x1 = edge_steps(box.x0, box.x1, size[1])
    return y0, x0, y1, x1


def box_pixels(steps: Steps, size: tuple[int, int]) -> Box:
    """Steps as a pixel box of at least one pixel; swapped corners are sorted."""
    y0, y1 = edge_pixels(steps[0], steps[2], size[0])
    x0, x1 = edge_pixels(steps[1], steps[3], size[1])
    return Box(y0=y0, x0=x0, y1=y1, x1=x1)


class BoxWise(RegionWise[Written]):
    """What all box-wise schemes share: everything but how a region is spelt and read."""

    writes_boxes: ClassVar[bool] = True
    params: BoxParams

    def __init__(self, params: BoxParams) -> None:
        """Keep the parameters."""
        super().__init__(
            params, max_regions=params.max_regions, max_label_chars=params.max_label_chars
        )
        self.params = params
        self.shape = params.shape

    @abstractmethod
    def _explained(self) -> str:
        """How a region is written, in plain English."""

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """Box and grid, how they are written, and an example; see :class:`Scheme`."""
        rows, columns = self.shape
        shown = small_grid(self.shape)
        smaller = type(self)(self.params.model_copy(update={"grid": shown}))
        return (
            f"Write each region by itself, at most {self.params.max_regions}, ordered by the upper "
            "edges of their bounding boxes. A box is four whole numbers from 0 to 999: its upper, "
            "left, lower and right edge, in thousandths of the picture's height and width. The box "
            f"is divided into a grid of {rows} rows and {columns} columns of cells, each of which "
            f'lies in the region or not. {self._explained()} Where there is nothing, write "'
            f'{BACKGROUND}" alone.\n'
            f"{grid_note(self.shape, shown)} {worked_example(smaller.encode, labels)}"
        )

    def _region(self, written: Written, size: tuple[int, int]) -> Region:
        box = box_pixels(written.steps, size)
        soft = np.zeros(size, dtype=np.float32)
        mask = np.zeros(size, dtype=np.bool_)
        mask[box.slices], soft[box.slices] = spread(
            written.cells, (box.height, box.width), self.params.upsample
        )
        cell = cell_size((box.height, box.width), self.shape)
        return Region(label=written.label, mask=mask, soft=soft, box=box, cell=cell)

    def _write(
        self, label: str, mask: BoolMask, box: Box, ignore: BoolMask | None = None
    ) -> Written | None:
        steps = box_steps(box, (mask.shape[0], mask.shape[1]))
        cells = self.cells(mask, steps, ignore)
        return Written(label=label, steps=steps, cells=cells) if cells.any() else None

    def cells(self, mask: BoolMask, steps: Steps, ignore: BoolMask | None = None) -> BoolMask:
        """What the grid keeps of a mask inside any box, bool[R, C].

        Args:
            mask: bool[H, W].
            steps: the box.
            ignore: bool[H, W]; cells that it covers by more than half are empty.
        """
        within = box_pixels(steps, (mask.shape[0], mask.shape[1])).slices
        mask, ignore = mask[within], None if ignore is None else ignore[within]
        cells: BoolMask
        if self.params.downsample == "majority":
            covered = coverage(mask, self.shape)
            cells = covered * 2 > mask.size
        else:
            covered = None
            cells = sample(mask, self.shape).astype(np.bool_)
        if ignore is not None and ignore.any():
            cells &= coverage(ignore, self.shape) * 2 <= mask.size
        if self.params.keep_small and mask.any() and not cells.any():
            covered = coverage(mask, self.shape) if covered is None else covered
            cells.flat[int(np.argmax(covered))] = True
        return cells
