"""The windows of a scene: where they lie, computed one by one, so that a grid of any size is free.

A window is a box of scene pixels and the size of the picture that it becomes. With a target
ground resolution the two differ, and boxes are rounded to whole scene pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from t4spp.errors import GeoError
from t4spp.geo.scenes import Scene
from t4spp.types import Box

MAX_PICTURE_PIXELS = 2**26
"""Pixels of one window's picture, 8192 x 8192: beyond it a scene must be cut."""


MAX_SCENE_PIXELS = 2**26
"""Pixels of the scene under one window, 8192 x 8192; what reaches beyond the scene counts too."""


class WindowView(BaseModel):
    """Size, stride and ground resolution of windows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int | None = Field(default=None, ge=16)
    """Side of a window's picture, pixels. None, and no ``size_m``: whole scenes."""
    size_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Side of a window on the ground, metres, instead of ``size``."""
    stride: int | None = Field(default=None, ge=1)
    """Pixels of the picture from one window to the next; None: windows do not overlap."""
    stride_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Metres from one window to the next, instead of ``stride``."""
    resolution: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Metres a pixel of the picture, resampled on read. None: the scene's own pixels."""
    edge: Literal["pad", "shift"] = "pad"
    """Windows that reach over the scene's edge: filled with pixels without data, and counted; or
    moved back, so that they overlap the one before more than asked for."""

    @model_validator(mode="after")
    def _fits_together(self) -> WindowView:
        if self.size is not None and self.size_m is not None:
            raise ValueError("size, size_m: name the side in pixels or in metres, not in both")
        if self.stride is not None and self.stride_m is not None:
            raise ValueError("stride, stride_m: name it in pixels or in metres, not in both")
        cut = self.size is not None or self.size_m is not None
        if not cut and (self.stride is not None or self.stride_m is not None):
            raise ValueError("stride: it needs size or size_m; whole scenes have one window")
        for stride, size in ((self.stride, self.size), (self.stride_m, self.size_m)):
            if stride is not None and size is not None and stride > size:
                raise ValueError(f"stride: {stride} is more than size {size}: pixels would be lost")
        return self


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window.

    Attributes:
        box: in the scene's pixels; it reaches beyond the scene where it is padded.
        out_size: (H, W) of its picture.
        row: in the grid, from 0 at the top.
        column: in the grid, from 0 at the left.
        padded: whether part of it lies outside the scene.
    """

    box: Box
    out_size: tuple[int, int]
    row: int
    column: int
    padded: bool


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Windows along one axis, in the scene's pixels."""

    length: int
    side: int
    step: float
    shifts: bool

    @property
    def count(self) -> int:
        if self.length <= self.side:
            return 1
        return math.ceil((self.length - self.side - 0.5) / self.step) + 1

    @property
    def num_padded(self) -> int:
        """Windows that reach over the end: the last one or none."""
        return int(self.start(self.count - 1) + self.side > self.length)

    def start(self, index: int) -> int:
        start = math.floor(index * self.step + 0.5)
        return min(start, max(self.length - self.side, 0)) if self.shifts else start

    def starts(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """:meth:`start` of many."""
        found: npt.NDArray[np.int64] = np.floor(indices * self.step + 0.5).astype(np.int64)
        if self.shifts:
            np.minimum(found, max(self.length - self.side, 0), out=found)
        return found

    def reaching(self, low: int, high: int) -> range:
        """Indices of the windows that hold a pixel of low..high."""
        first = max(math.floor((low - self.side) / self.step) - 1, 0)
        last = min(math.ceil(high / self.step) + 1, self.count)
        while first < last and self.start(first) + self.side <= low:
            first += 1
        if self.shifts and self.start(self.count - 1) < high:
            last = max(last, self.count)
        while last > first and self.start(last - 1) >= high:
            last -= 1
        return range(first, last)


class WindowGrid(Sequence[Window]):
    """The windows of a scene, row by row; nothing but four numbers is kept."""

    def __init__(self, scene: Scene, rows: _Axis, columns: _Axis, out_size: tuple[int, int]):
        self.scene = scene
        self.out_size = out_size
        self._rows = rows
        self._columns = columns

    @property
    def rows(self) -> int:
        """Rows of windows."""
        return self._rows.count

    @property
    def columns(self) -> int:
        """Windows in a row."""
        return self._columns.count

    @property
    def num_padded(self) -> int:
        """Windows that reach beyond the scene."""
        inside = (self.rows - self._rows.num_padded) * (self.columns - self._columns.num_padded)
        return len(self) - inside

    @property
    def box_size(self) -> tuple[int, int]:
        """(H, W) of a window in the scene's pixels."""
        return self._rows.side, self._columns.side

    def __len__(self) -> int:
        """Number of windows."""
        return self.rows * self.columns

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...

    def __getitem__(self, index: int | slice) -> Window | list[Window]:
        """A window, by its number in reading order."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.at(*divmod(index % len(self), self.columns))

    def at(self, row: int, column: int) -> Window:
        """The window in a row and column of the grid."""
        y0, x0 = self._rows.start(row), self._columns.start(column)
        box = Box(y0=y0, x0=x0, y1=y0 + self._rows.side, x1=x0 + self._columns.side)
        height, width = self.scene.size
        return Window(
            box=box,
            out_size=self.out_size,
            row=row,
            column=column,
            padded=box.y1 > height or box.x1 > width,
        )

    def boxes(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64[N, 4] of (y0, x0, y1, x1): the boxes of windows by their numbers."""
        rows, columns = np.divmod(numbers, self.columns)
        y0, x0 = self._rows.starts(rows), self._columns.starts(columns)
        return np.stack([y0, x0, y0 + self._rows.side, x0 + self._columns.side], axis=1)

    def reaching(self, box: Box) -> Iterator[int]:
        """Numbers of the windows that share a pixel with ``box``, ascending."""
        columns = self._columns.reaching(box.x0, box.x1)
        for row in self._rows.reaching(box.y0, box.y1):
            for column in columns:
                yield row * self.columns + column


def plan_windows(scene: Scene, view: WindowView) -> WindowGrid:
    """The windows of a scene; together they cover every pixel.

    Raises:
        GeoError: a window is larger than the scene and may not be padded, the stride is longer
            than the window, so that pixels would be lost, a window's picture would have more
            than ``MAX_PICTURE_PIXELS``, or a window would cover more than ``MAX_SCENE_PIXELS``.
    """
    height, width = scene.size
    if view.resolution is None and view.size_m is None and view.stride_m is None:
        metres = (1.0, 1.0)  # of a pixel: not needed, and a CRS may not say it
    else:
        metres = scene.pixel_size
    shrink = tuple(1.0 if view.resolution is None else view.resolution / side for side in metres)
    if view.size is not None:
        out_size = (view.size, view.size)
        sides = tuple(_round(view.size * factor) for factor in shrink)
    elif view.size_m is not None:
        sides = tuple(_round(view.size_m / side) for side in metres)
        out_size = (_round(sides[0] / shrink[0]), _round(sides[1] / shrink[1]))
    else:
        sides = (height, width)
        out_size = (_round(height / shrink[0]), _round(width / shrink[1]))
    if view.stride is not None:
        steps = tuple(view.stride * factor for factor in shrink)
    elif view.stride_m is not None:
        steps = tuple(view.stride_m / side for side in metres)
    else:
        steps = tuple(float(side) for side in sides)
    _check(scene, view, sides, steps, out_size)
    shifts = view.edge == "shift"
    rows, columns = (
        # a step rounded up past its window would leave a pixel out now and then
        _Axis(length=length, side=side, step=min(max(step, 1.0), side), shifts=shifts)
        for length, side, step in zip((height, width), sides, steps, strict=True)
    )
    return WindowGrid(scene, rows, columns, out_size)


def _round(value: float) -> int:
    return max(math.floor(min(value, 2.0**53) + 0.5), 1)  # infinity has no floor


def _check(
    scene: Scene,
    view: WindowView,
    sides: tuple[int, ...],
    steps: tuple[float, ...],
    out_size: tuple[int, int],
) -> None:
    if out_size[0] * out_size[1] > MAX_PICTURE_PIXELS:
        raise GeoError(
            f"{scene.path}: a window's picture would have {out_size[0]} x {out_size[1]} pixels, "
            f"the limit is {MAX_PICTURE_PIXELS}. Cut the scene into windows (size, size_m), or ask "
            "for a coarser resolution."
        )
    if sides[0] * sides[1] > MAX_SCENE_PIXELS:
        raise GeoError(_too_wide(scene, view, sides))
    if any(step > side + 0.5 for step, side in zip(steps, sides, strict=True)):
        raise GeoError(
            f"{scene.path}: windows of {sides[0]} x {sides[1]} pixels every {steps[0]:.6g} x "
            f"{steps[1]:.6g} would leave pixels out. Make stride at most the size."
        )
    if view.edge == "shift" and (sides[0] > scene.size[0] or sides[1] > scene.size[1]):
        raise GeoError(
            f"{scene.path} has {scene.size[0]} x {scene.size[1]} pixels, a window {sides[0]} x "
            f"{sides[1]}, which edge: shift cannot place. Choose smaller windows, or edge: pad."
        )


def _too_wide(scene: Scene, view: WindowView, sides: tuple[int, ...]) -> str:
    """What to say of windows that cover more of the scene than the limit."""
    shrink = math.sqrt(MAX_SCENE_PIXELS / (sides[0] * sides[1]))
    asked, valid = [], ""
    if view.resolution is not None:
        asked.append(f"resolution {view.resolution:g}")
    if view.size is not None:
        asked.insert(0, f"size {view.size}")
        if view.resolution is not None:
            valid = f" a resolution up to about {view.resolution * shrink:.3g} metres, or"
    elif view.size_m is not None:
        asked.insert(0, f"size_m {view.size_m:g}")
        valid = f" a size_m up to about {view.size_m * shrink:.3g} metres, or"
    return (
        f"{scene.path} ({scene.size[0]} x {scene.size[1]} pixels): a window of "
        f"{', '.join(asked) or 'the whole scene'} would cover {sides[0]} x {sides[1]} pixels of "
        f"the scene, the limit is {MAX_SCENE_PIXELS}. Choose{valid} smaller windows "
        "(size, size_m)."
    )
