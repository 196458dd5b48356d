"""``box-outline``: a region's outline as points of a lattice over its box, one new token each.

This project's own. What a polygon costs in two coordinates of a thousand steps, a vertex costs here
in one token, because the box has said already where and how large the region is; and vertices are
placed and counted by what they save (:mod:`t4spp.schemes.fitting_rings`). See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from t4spp.schemes.box_wise import Steps, box_pixels, box_steps
from t4spp.schemes.expecting_boxes import header_ahead, located_ahead
from t4spp.schemes.explaining import grid_note, small_grid, worked_example
from t4spp.schemes.fitting_rings import LEAST, Lattice, Points, fit_rings
from t4spp.schemes.outline_tokens import RING, TOKEN, OutlineReader, point_token
from t4spp.schemes.parsing import Notes
from t4spp.schemes.region_tokens import BoxSpelling, Coordinates
from t4spp.schemes.region_wise import RegionWise
from t4spp.types import BACKGROUND, BoolMask, Box, Region

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_LATTICE = 1900
"""Points of a lattice: each is a token, and llguidance follows no more at one place."""

Side = Annotated[int, Field(ge=2, le=MAX_LATTICE // 2, strict=True)]


class BoxOutlineParams(BaseModel):
    """Parameters of ``box-outline``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: Side | tuple[Side, Side] = 32
    """Points of the lattice: one number for each axis, or ``[rows, columns]``; the outer ones lie
    on the box's edges."""
    worth: Annotated[float, Field(gt=0, le=0.5)] = 0.002
    """Share of a region's area by which a token must lower the error to be written."""
    max_points: Annotated[int, Field(ge=4, le=1024, strict=True)] = 48
    """Vertices of a region, and marks before further rings, at most."""
    coordinates: Coordinates = "tokens"
    """How the box is written: four of 1000 new tokens, or four numbers in digits."""
    max_label_chars: Annotated[int, Field(ge=1, le=1024, strict=True)] = 128
    """The longest label that is written or admitted, in characters."""
    max_regions: Annotated[int, Field(ge=1, le=1024, strict=True)] = 16
    """Regions that one descriptor may hold."""

    @field_validator("grid")
    @classmethod
    def _points_have_tokens(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        rows, columns = value if isinstance(value, tuple) else (value, value)
        if rows * columns > MAX_LATTICE:
            raise ValueError(
                f"{rows} x {columns} points take {rows * columns} new tokens; at most "
                f"{MAX_LATTICE} are allowed"
            )
        return rows if rows == columns else (rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.grid if isinstance(self.grid, tuple) else (self.grid, self.grid)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlined:
    """One region as it stands in the text: label, box in steps, rings int64[N, 2]."""

    label: str
    steps: Steps
    rings: tuple[Points, ...]


class BoxOutline(RegionWise[Outlined]):
    """Label, four coordinates, and rings of vertices, each one token."""

    name: ClassVar[str] = "box-outline"
    writes_boxes: ClassVar[bool] = True
    params: BoxOutlineParams

    def __init__(self, params: BoxOutlineParams) -> None:
        """Keep the parameters and name the tokens."""
        super().__init__(
            params, max_regions=params.max_regions, max_label_chars=params.max_label_chars
        )
        self.params = params
        self.lattice = params.shape
        self._box = BoxSpelling(params.coordinates)
        rows, columns = params.shape
        self._point = [
            [point_token(row, column) for column in range(columns)] for row in range(rows)
        ]
        self._special_tokens = (
            *self._box.special_tokens,
            *(token for line in self._point for token in line),
            RING,
        )

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>`` to ``<|loc999|>``, ``<|at0-0|>``, ``<|at0-1|>``.., ``<|ring|>``."""
        return self._special_tokens

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """Box and vertices, how they are written, and an example; see :class:`Scheme`."""
        rows, columns = self.lattice
        shown = small_grid(self.lattice)
        smaller = type(self)(self.params.model_copy(update={"grid": shown}))
        return (
            f"Write each region by itself, at most {self.params.max_regions}, ordered by the upper "
            "edges of their bounding boxes. A box is four whole numbers from 0 to 999: its upper, "
            "left, lower and right edge, in thousandths of the picture's height and width. A "
            f"region is its label, {self._box.explained}, then its outline. Over the box lies a "
            f"grid of {rows} rows and {columns} columns of points, the outer ones on its edges, "
            "counted from 0 at the upper left. The outline is a ring of vertices, clockwise from "
            "the uppermost, each written as <|atr-c|> for the point in row r and column c. Before "
            f"a further ring, around another part or a hole, write {RING}. At most "
            f"{self.params.max_points} tokens follow a box. Where there is nothing, write "
            f'"{BACKGROUND}" alone.\n'
            f"{grid_note(self.lattice, shown)} {worked_example(smaller.encode, labels)}"
        )

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """Rings of three vertices or more."""
        params = self.params
        return [
            f"region: header ring{params.max_points}",
            *self._box.rules(names, params.max_label_chars),
            "at: " + " | ".join(token for line in self._point for token in line),
            *_ring_rules(params.max_points),
        ]

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Label and box; where vertices lie, no text tells. See :class:`Scheme`."""
        outlines = [found.end() for found in TOKEN.finditer(text) if found[1] != "loc"]
        head = text[outlines[-1] :] if outlines else text
        if outlines and not head:
            return
        header = (
            located_ahead(head, labels) if self._box.located else header_ahead(head, labels, "")
        )
        if header:
            yield header

    def _write(
        self, label: str, mask: BoolMask, box: Box, ignore: BoolMask | None = None
    ) -> Outlined | None:
        steps = box_steps(box, (mask.shape[0], mask.shape[1]))
        within = box_pixels(steps, (mask.shape[0], mask.shape[1])).slices
        rings = fit_rings(mask[within], self.lattice, self.params.worth, self.params.max_points)
        return Outlined(label=label, steps=steps, rings=tuple(rings))

    def _spell(self, written: Outlined) -> str:
        rings = (
            "".join(self._point[row][column] for row, column in ring.tolist())
            for ring in written.rings
        )
        return self._box.spell(written.label, written.steps) + RING.join(rings)

    def _read(self, text: str, notes: Notes) -> Iterator[Outlined]:
        reader = OutlineReader(
            self.lattice,
            max_points=self.params.max_points,
            tokens=self._box.located,
            notes=notes,
        )
        for draft in reader.drafts(text):
            steps = reader.box(draft)
            if steps is None:
                continue
            rings = reader.rings(draft)
            if rings:
                notes.read_something = True
                yield Outlined(label=draft.label, steps=steps, rings=tuple(rings))

    def _region(self, written: Outlined, size: tuple[int, int]) -> Region:
        """The pixels that an odd number of rings enclose; see :class:`Lattice`."""
        box = box_pixels(written.steps, size)
        rows, columns = self.lattice
        mask = np.zeros(size, dtype=np.bool_)
        inside = Lattice(self.lattice, (box.height, box.width)).fill(written.rings)
        if not inside.any():
            for row, column in np.concatenate(written.rings).tolist():
                y = min(row * box.height // (rows - 1), box.height - 1)
                inside[y, min(column * box.width // (columns - 1), box.width - 1)] = True
        mask[box.slices] = inside
        cell = box.height / (rows - 1), box.width / (columns - 1)
        return Region(label=written.label, mask=mask, box=box, cell=cell)

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        return self._box.num_tokens(tokenizer) + self.params.max_points


def _ring_rules(max_points: int) -> list[str]:
    """``ring{n}``: a ring and those behind it, n tokens at most.

    ``two{n}`` and ``one{n}`` are what is left of a ring that needs so many vertices yet,
    ``more{n}`` what may follow one that has enough.
    """
    lines = []
    for left in range(max_points, 0, -1):
        further = f"at more{left - 1}?" if left > 1 else "at"
        choices = [further]
        if left > LEAST:
            choices.append(f"{RING} ring{left - 1}")
        lines.append(f"more{left}: " + " | ".join(choices))
        lines.append(f"one{left}: {further}")
        if left >= 2:
            lines.append(f"two{left}: at one{left - 1}")
        if left >= LEAST:
            lines.append(f"ring{left}: at two{left - 1}")
    return lines
