"""Reading brick tokens from untrusted text: which belong to which region, and to which row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from t4spp.schemes.parsing import Notes, shorten
from t4spp.schemes.region_tokens import FIRST_COORDINATE, RegionDraft, RegionReader
from t4spp.schemes.rows import Run

__all__ = ["FIRST_COORDINATE", "ROW", "TOKEN", "BrickReader", "Draft"]

ROW = "<|row|>"
TOKEN = re.compile(r"<\|(loc|bg|fg|row)((?:0|[1-9][0-9]{0,5})?)\|>")
"""A brick token: its kind and its number, which a row mark has none of."""

_MARK: Run = (0, 0)


@dataclass(kw_only=True)
class Draft(RegionDraft):
    """A region while its tokens come in."""

    bricks: list[Run] = field(default_factory=list)
    """(value, length); length 0 is a row mark, -1 something unreadable."""
    num_cells: int = 0
    num_marks: int = 0


class BrickReader(RegionReader[Draft]):
    """Sorts the bricks of one block into regions."""

    token = TOKEN

    def __init__(
        self, shape: tuple[int, int], *, row_marks: bool, tokens: bool, notes: Notes
    ) -> None:
        """Keep what the format says.

        Args:
            shape: rows and columns of a region's grid.
            row_marks: whether every row starts with a mark.
            tokens: whether boxes are written as tokens; else in digits.
            notes: takes the problems.
        """
        super().__init__(tokens=tokens, notes=notes)
        self.shape = shape
        self.row_marks = row_marks

    def rows(self, draft: Draft) -> list[Sequence[Run]]:
        """A region's bricks row by row."""
        if self.row_marks:
            return self._marked_rows(draft.bricks)
        return filled_rows(draft.bricks, self.shape)

    def _new(self, label: str, locs: list[int]) -> Draft:
        return Draft(label=label, locs=locs)

    def _begun(self, draft: Draft) -> bool:
        return bool(draft.bricks)

    def _complete(self, draft: Draft) -> bool:
        """Whether a region has all its rows."""
        if self.row_marks:
            return draft.num_marks >= self.shape[0]
        return draft.num_cells >= self.shape[0] * self.shape[1]

    def _take(self, draft: Draft, kind: str, number: str) -> None:
        if kind == "row":
            self._take_mark(draft, number)
        else:
            self._take_brick(draft, kind, number)

    def _stray(self, draft: Draft, words: str) -> None:
        """Text where a brick should be: an unreadable brick."""
        self.notes.add("stray-text", f"{shorten(words)} between bricks is left out")
        if draft.bricks:
            draft.bricks.append((0, -1))

    def _take_mark(self, draft: Draft, digits: str) -> None:
        if digits or not self.row_marks:
            self.notes.add("bad-token", f"<|row{digits}|> is not part of this format: left out")
            return
        draft.bricks.append(_MARK)
        draft.num_marks += 1

    def _take_brick(self, draft: Draft, kind: str, digits: str) -> None:
        length = int(digits or 0)
        if length == 0:
            self.notes.add("bad-token", f"<|{kind}{digits}|> covers no cell")
            return
        draft.bricks.append((1 if kind == "fg" else 0, length))
        draft.num_cells += length

    def _marked_rows(self, bricks: Sequence[Run]) -> list[Sequence[Run]]:
        """Bricks row by row, at the marks; a lost mark is guessed where a row is full."""
        rows: list[list[Run]] = []
        for brick in bricks:
            if brick == _MARK:
                rows.append([])
            elif rows:
                rows[-1].append(brick)
            else:
                self.notes.add("missing-row-mark", f"the first row has no {ROW}", row=0)
                rows.append([brick])
        if len(rows) >= self.shape[0]:
            return list(rows)
        found: list[Sequence[Run]] = []
        for row in rows:
            pieces = _full_pieces(row, self.shape[1])
            if len(pieces) > 1 and len(rows) + len(pieces) - 1 <= self.shape[0]:
                self.notes.add("missing-row-mark", f"{ROW} is missing", row=len(found) + 1)
                found.extend(pieces)
            else:
                found.append(row)
        return found


def _full_pieces(runs: Sequence[Run], columns: int) -> list[Sequence[Run]]:
    """A row cut where its runs fill ``columns`` exactly."""
    pieces: list[Sequence[Run]] = []
    start = filled = 0
    for index, (_, length) in enumerate(runs):
        filled += length
        if filled == columns:
            pieces.append(runs[start : index + 1])
            start, filled = index + 1, 0
    return [*pieces, runs[start:]] if start < len(runs) else pieces


def filled_rows(bricks: Sequence[Run], shape: tuple[int, int]) -> list[Sequence[Run]]:
    """Bricks without marks row by row: a row ends where it is full.

    Where a row does not come out, the rows behind it are counted from the end; if they do and
    exactly one row is left between, that one alone is damaged. Else each row is cut where it is
    full and reading goes on with the next brick.
    """
    num_rows, columns = shape
    rows: list[Sequence[Run]] = []
    start = filled = 0
    damaged = False
    for index, (_, length) in enumerate(bricks):
        if len(rows) == num_rows:
            break
        if length < 0 or filled + length > columns:
            damaged = True
            break
        filled += length
        if filled == columns:
            rows.append(bricks[start : index + 1])
            start, filled = index + 1, 0
    if not damaged:
        return [*rows, bricks[start:]] if start < len(bricks) else rows
    tail = _rows_from_end(bricks, start, columns, num_rows - len(rows) - 1)
    if len(rows) + 1 + len(tail) == num_rows:
        end = len(bricks) - sum(len(row) for row in tail)
        return [*rows, bricks[start:end], *tail]
    return [*rows, *_cut_rows(bricks[start:], columns)]


def _rows_from_end(
    bricks: Sequence[Run], start: int, columns: int, wanted: int
) -> list[Sequence[Run]]:
    """The last ``wanted`` rows at most, as far as they come out exactly."""
    rows: list[Sequence[Run]] = []
    end = len(bricks)
    filled = 0
    for index in range(len(bricks) - 1, start - 1, -1):
        length = bricks[index][1]
        if len(rows) == wanted or length < 0 or filled + length > columns:
            break
        filled += length
        if filled == columns:
            rows.append(bricks[index:end])
            end, filled = index, 0
    return rows[::-1]


def _cut_rows(bricks: Sequence[Run], columns: int) -> list[Sequence[Run]]:
    """Bricks row by row, each brick that passes a row's end belonging to that row alone."""
    rows: list[Sequence[Run]] = []
    start = filled = 0
    for index, (_, length) in enumerate(bricks):
        filled += max(length, 0)
        if filled >= columns:
            rows.append(bricks[start : index + 1])
            start, filled = index + 1, 0
    return [*rows, bricks[start:]] if start < len(bricks) else rows
