"""Image-wise schemes: one label for each cell of a grid over the whole picture (Text4Seg).

Legend: ``H, W`` pixels of the picture, ``R, C`` grid rows and columns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from t4spp.errors import SchemeError
from t4spp.schemes.base import Scheme
from t4spp.schemes.explaining import grid_note, small_grid, worked_example
from t4spp.schemes.grid import (
    GridParams,
    cell_size,
    check_canvas,
    coverage,
    sample,
    spread,
    visible_mask,
)
from t4spp.schemes.labels import admitted_labels, check_label, label_fault
from t4spp.schemes.parsing import Notes, blocks, shorten
from t4spp.schemes.rows import Cells
from t4spp.types import BACKGROUND, BoolMask, Decoded, Region, Target

REGION_PIXELS = 2**27
"""Pixels that all regions of one answer may have together where any label is admitted."""
MIN_REGIONS = 32
"""Regions that are made in any case."""

_BAD = -1
_UNKNOWN = -2


class ImageParams(GridParams):
    """Parameters of the image-wise schemes."""

    max_regions: Annotated[int, Field(ge=1, le=65536, strict=True)] | None = None
    """Distinct labels that ``encode`` writes at most; None: any number."""


class Names:
    """The labels of one answer by the numbers that cells hold; 0 is ``others``."""

    def __init__(self, notes: Notes, max_chars: int) -> None:
        """Start with ``others`` alone."""
        self.notes = notes
        self.max_chars = max_chars
        self.labels = [BACKGROUND]
        self._numbers = {BACKGROUND: 0}

    def number(self, label: str, row: int, column: int) -> int:
        """The number of an untrusted label, 0 with a problem where it is not admitted."""
        number = self._numbers.get(label)
        if number is None:
            number = self._resolve(label)
            self._numbers[label] = number
        if number >= 0:
            return number
        if number == _UNKNOWN:
            message = f"{shorten(label)} is not asked for: background"
            self.notes.add("unknown-label", message, row, column)
        else:
            fault = label_fault(label, (), self.max_chars)
            message = f"the label {shorten(label)} counts as background: {fault}"
            self.notes.add("bad-label", message, row, column)
        return 0

    def _resolve(self, label: str) -> int:
        if label_fault(label, (), self.max_chars) is not None:
            return _BAD
        if not self.notes.admits(label):
            return _UNKNOWN
        self.labels.append(label)
        return len(self.labels) - 1


class ImageWise(Scheme):
    """What the image-wise schemes share: everything but how the cells are spelt."""

    params: ImageParams

    def __init__(self, params: ImageParams) -> None:
        """Keep the parameters."""
        super().__init__(params)
        self.params = params
        self.shape = params.shape

    @abstractmethod
    def _spell(self, names: Sequence[str], cells: Cells) -> str:
        """Cells int32[R, C], numbers into ``names``, as text."""

    @abstractmethod
    def _read(self, text: str, names: Names, notes: Notes) -> Cells | None:
        """One block as int32[R, C]; None when nothing could be read."""

    def encode(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> str:
        """The bare descriptor; all cells ``others`` when there is nothing to write."""
        return self._spell(*self._grid(targets, size, ignore))

    def quantize(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> tuple[Region, ...]:
        """What the grid keeps, one region a label, in the order in which the grid shows them."""
        names, cells = self._grid(targets, size, ignore)
        shown = dict.fromkeys(cells.ravel().tolist())
        return tuple(
            self._region(names[number], cells == number, size) for number in shown if number
        )

    def decode(
        self,
        text: str,
        size: tuple[int, int],
        labels: Sequence[str] | None = None,
    ) -> Decoded:
        """Read a bare descriptor or a whole answer. Never raises."""
        notes = Notes(labels)
        names = Names(notes, self.params.max_label_chars)
        grids: list[Cells] = []
        for block in blocks(text, notes):
            cells = self._read(block, names, notes)
            if cells is None:
                notes.add("unreadable", f"{shorten(block.strip())} is no descriptor")
                continue
            notes.read_something = True
            grids.append(cells)
        most = len(names.labels)
        if labels is None:
            most = max(MIN_REGIONS, REGION_PIXELS // (size[0] * size[1]))
        regions: list[Region] = []
        for number in dict.fromkeys(n for grid in grids for n in grid.ravel().tolist() if n):
            if len(regions) == most:
                notes.add("too-many-regions", f"only the first {most} labels are made regions")
                break
            found = np.zeros(self.shape, dtype=np.bool_)
            for grid in grids:
                found |= grid == number
            regions.append(self._region(names.labels[number], found, size))
        return notes.decoded(regions)

    def _region(self, label: str, cells: BoolMask, size: tuple[int, int]) -> Region:
        mask, soft = spread(cells, size, self.params.upsample)
        return Region(label=label, mask=mask, soft=soft, cell=cell_size(size, self.shape))

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """The grid, how its cells are written, and an example; see :class:`Scheme`."""
        rows, columns = self.shape
        shown = small_grid(self.shape)
        smaller = type(self)(self.params.model_copy(update={"grid": shown}))
        return (
            f"The picture is divided into a grid of {rows} rows and {columns} columns of cells of "
            f'equal size. Each cell bears the label of what covers it, or "{BACKGROUND}" where '
            f"nothing that was asked for does. {self._explained()}\n"
            f"{grid_note(self.shape, shown)} {worked_example(smaller.encode, labels)}"
        )

    @abstractmethod
    def _explained(self) -> str:
        """How the cells are written, in plain English."""

    def _admitted(self, labels: Sequence[str] | None) -> tuple[str, ...] | None:
        """The prompt's labels, checked; None for free labels."""
        if labels is None:
            return None
        return admitted_labels(labels, (), self.params.max_label_chars)

    def _grid(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
    ) -> tuple[list[str], Cells]:
        """Names (``others`` first) and cells int32[R, C]."""
        ignore = check_canvas(size, ignore)
        numbers: dict[str, int] = {BACKGROUND: 0}
        merged: list[BoolMask] = []
        seen: list[tuple[int, BoolMask]] = []
        for target in targets:
            check_label(target.label, (), self.params.max_label_chars)
            mask = visible_mask(target.label, target.mask, size, ignore)
            if not mask.any():
                continue
            number = numbers.setdefault(target.label, len(numbers))
            if number > len(merged):
                merged.append(mask)
            else:
                merged[number - 1] = merged[number - 1] | mask
            seen.append((number, mask))
        limit = self.params.max_regions
        if limit is not None and len(merged) > limit:
            raise SchemeError(
                f"{len(merged)} labels do not fit max_regions={limit}. "
                "Raise max_regions, or ask for fewer."
            )
        cells = self._assign(merged)
        if ignore is not None and ignore.any():
            cells[coverage(ignore, self.shape) * 2 > ignore.size] = 0
        if self.params.keep_small:
            keep_small(cells, seen)
        return list(numbers), cells

    def _assign(self, masks: Sequence[BoolMask]) -> Cells:
        """Which label each cell bears, by the number ``1 + index`` of its merged mask."""
        if not masks:
            return np.zeros(self.shape, dtype=np.int32)
        if self.params.downsample == "majority":
            return self._by_area(masks)
        hits = np.stack([sample(mask, self.shape) for mask in masks])
        cells = np.where(hits.any(axis=0), hits.argmax(axis=0) + 1, 0).astype(np.int32)
        contested = hits.sum(axis=0) > 1
        if contested.any():
            area = np.stack([coverage(mask, self.shape) for mask in masks])
            cells[contested] = np.where(hits, area, -1.0).argmax(axis=0)[contested] + 1
        return cells

    def _by_area(self, masks: Sequence[BoolMask]) -> Cells:
        """A cell that is covered by more than half goes to the label that covers most of it."""
        if len(masks) == 1:
            return (coverage(masks[0], self.shape) * 2 > masks[0].size).astype(np.int32)
        union = np.logical_or.reduce(masks)
        area = np.stack([coverage(mask, self.shape) for mask in masks])
        covered = coverage(union, self.shape) * 2 > union.size
        return np.where(covered, area.argmax(axis=0) + 1, 0).astype(np.int32)


def keep_small(cells: Cells, targets: Sequence[tuple[int, BoolMask]]) -> None:
    """Let each target that no cell keeps claim the cell it covers most, in place.

    A target is kept when a cell of its label holds a part of it. A claim passes over a cell that
    is another target's only one.

    Args:
        cells: int32[R, C], numbers of labels, 0 for background.
        targets: number and mask bool[H, W] of each target, in their order.
    """
    shape = (cells.shape[0], cells.shape[1])
    areas = [coverage(mask, shape) for _, mask in targets]
    for (number, _), area in zip(targets, areas, strict=True):
        if ((cells == number) & (area > 0)).any():
            continue
        order = np.argsort(-area, axis=None, kind="stable")
        for place in order[: int((area > 0).sum())].tolist():
            holder = cells.flat[place]
            erases = any(
                other == holder
                and other_area.flat[place] > 0
                and int(((cells == holder) & (other_area > 0)).sum()) == 1
                for (other, _), other_area in zip(targets, areas, strict=True)
            )
            if holder == 0 or not erases:
                cells.flat[place] = number
                break
