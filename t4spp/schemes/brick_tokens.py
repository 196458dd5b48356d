"""Reading brick tokens from untrusted text: which belong to which region, and to which row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from t4spp.schemes.box_wise import HEADER, STEPS, Steps
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.rows import Run, bounded
from t4spp.types import BACKGROUND

ROW = "<|row|>"
FIRST_COORDINATE = "<|loc0|>"
"""The ids that a tokenizer gives the coordinates follow each other, as a scheme lists them."""
TOKEN = re.compile(r"<\|(loc|bg|fg|row)((?:0|[1-9][0-9]{0,5})?)\|>")
"""A brick token: its kind and its number, which a row mark has none of."""

_MARK: Run = (0, 0)


@dataclass(kw_only=True)
class Draft:
    """A region while its tokens come in."""

    label: str
    locs: list[int] = field(default_factory=list)
    bricks: list[Run] = field(default_factory=list)
    """(value, length); length 0 is a row mark, -1 something unreadable."""
    num_cells: int = 0
    num_marks: int = 0


class BrickReader:
    """Sorts the tokens of one block into regions."""

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
        self.shape = shape
        self.row_marks = row_marks
        self.tokens = tokens
        self.notes = notes

    def drafts(self, text: str) -> Iterator[Draft]:
        """The regions of a block in their order, boxes and rows not yet checked."""
        parts = TOKEN.split(text)
        if len(parts) == 1:
            self._read_plain(text)
            return
        draft: Draft | None = None
        before = parts[0]
        for kind, digits, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            words = strip_blanks(before) if before else ""
            before = after
            if self._opens(draft, words, kind):
                if draft is not None:
                    yield draft
                draft = self._start(words)
            elif words and draft is not None:
                self._stray(draft, words)
            if draft is None:
                self.notes.add("orphan-token", f"<|{kind}{digits}|> before any label is left out")
            elif kind == "loc":
                self._take_coordinate(draft, digits)
            elif kind == "row":
                self._take_mark(draft, digits)
            else:
                self._take_brick(draft, kind, digits)
        rest = strip_blanks(before)
        if rest and draft is not None and not self._complete(draft):
            self._stray(draft, rest)
        elif rest:
            self.notes.add("unfinished-region", f"{shorten(rest)} at the end has no box: left out")
        if draft is not None:
            yield draft

    def box(self, draft: Draft) -> Steps | None:
        """A region's box; None, and a problem, where it has none."""
        name = shorten(draft.label)
        if not draft.label:
            self.notes.add("missing-label", "a region without a label is left out")
            return None
        if len(draft.locs) < 4:
            self.notes.add("bad-box", f"{name} has {len(draft.locs)} of 4 coordinates: left out")
            return None
        if len(draft.locs) > 4:
            self.notes.add("bad-box", f"{name} has {len(draft.locs)} coordinates: 4 count")
        steps = [min(step, STEPS - 1) for step in draft.locs[:4]]
        if steps != draft.locs[:4]:
            self.notes.add("bad-box", f"{name} has coordinates beyond {STEPS - 1}: clipped")
        return steps[0], steps[1], steps[2], steps[3]

    def rows(self, draft: Draft) -> list[Sequence[Run]]:
        """A region's bricks row by row."""
        if self.row_marks:
            return self._marked_rows(draft.bricks)
        return filled_rows(draft.bricks, self.shape)

    def _read_plain(self, text: str) -> None:
        """A block without a single token."""
        words = strip_blanks(text)
        if words == BACKGROUND:
            self.notes.read_something = True
        elif words:
            self.notes.add("unreadable", f"{shorten(words)} is no descriptor")
        else:
            self.notes.add("empty", "there is no descriptor")

    def _complete(self, draft: Draft) -> bool:
        """Whether a region has all its rows."""
        if self.row_marks:
            return draft.num_marks >= self.shape[0]
        return draft.num_cells >= self.shape[0] * self.shape[1]

    def _opens(self, draft: Draft | None, words: str, kind: str) -> bool:
        """Whether this token, with the words before it, begins another region."""
        if draft is None:
            return bool(words) or kind == "loc"
        if kind == "loc":
            return bool(words) or (bool(draft.bricks) and self._complete(draft))
        return bool(words) and (self._complete(draft) or HEADER.fullmatch(words) is not None)

    def _start(self, words: str) -> Draft:
        header = HEADER.fullmatch(words)
        if header is None:
            return Draft(label=words)
        if self.tokens:
            self.notes.add("other-coordinates", "a box in digits where tokens are the format")
        label, *numbers = header.groups()
        return Draft(label=strip_blanks(label), locs=[bounded(number) for number in numbers])

    def _stray(self, draft: Draft, words: str) -> None:
        """Text where a brick should be: an unreadable brick."""
        self.notes.add("stray-text", f"{shorten(words)} between bricks is left out")
        if draft.bricks:
            draft.bricks.append((0, -1))

    def _take_coordinate(self, draft: Draft, digits: str) -> None:
        if not digits or draft.bricks:
            self.notes.add("bad-token", f"<|loc{digits}|> out of place is left out")
            return
        if not self.tokens:
            self.notes.add("other-coordinates", "a box in tokens where digits are the format")
        draft.locs.append(int(digits))

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
