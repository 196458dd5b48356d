"""Span tokens: what they are called, and reading them from untrusted text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from t4spp.schemes.box_wise import HEADER
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.region_tokens import RegionDraft, RegionReader
from t4spp.types import BoolMask

EMPTY = "<|row|>"
"""A row without a span."""
ROW_MARK = "<|row"
"""What every row that is written begins with."""

_NUMBER = "(?:0|[1-9][0-9]{0,5})"
TOKEN = re.compile(rf"<\|(loc|row|and|same)((?:{_NUMBER}(?:-{_NUMBER})?)?)\|>")
"""A token: its kind and its number or numbers."""

Span = tuple[int, int]
"""First and last cell of a row, both inside."""
Spans = tuple[Span, ...]
"""The spans of one row, from left to right."""


def row_token(first: int, last: int) -> str:
    """The first span of the next row."""
    return f"<|row{first}-{last}|>"


def and_token(first: int, last: int) -> str:
    """One more span in this row."""
    return f"<|and{first}-{last}|>"


def same_token(times: int) -> str:
    """The row before, so many times more."""
    return f"<|same{times}|>"


def spans_of(cells: BoolMask) -> list[Spans]:
    """The maximal spans of every row of bool[R, C]."""
    rows, columns = cells.shape
    edges = np.zeros((rows, columns + 2), dtype=np.int8)
    edges[:, 1:-1] = cells
    change = np.diff(edges, axis=1)
    at, first = np.nonzero(change == 1)
    last = np.nonzero(change == -1)[1] - 1
    found: list[list[Span]] = [[] for _ in range(rows)]
    for row, start, end in zip(at.tolist(), first.tolist(), last.tolist(), strict=True):
        found[row].append((start, end))
    return [tuple(spans) for spans in found]


def written_row(spans: Spans) -> str:
    """One row in tokens."""
    if not spans:
        return EMPTY
    return row_token(*spans[0]) + "".join(and_token(*span) for span in spans[1:])


def written_rows(rows: list[Spans], *, repeats: bool) -> Iterator[str]:
    """Rows in tokens, one piece each; with ``repeats``, equal rows below are one piece."""
    start = 0
    while start < len(rows):
        end = start + 1
        while repeats and end < len(rows) and rows[end] == rows[start]:
            end += 1
        yield written_row(rows[start])
        if end > start + 1:
            yield same_token(end - start - 1)
        start = end


@dataclass(kw_only=True)
class SpanDraft(RegionDraft):
    """A region while its tokens come in."""

    rows: list[list[Span]] = field(default_factory=list)
    num_surplus: int = 0
    """Rows beyond the grid's."""


class SpanReader(RegionReader[SpanDraft]):
    """Sorts the spans of one block into regions and rows."""

    token = TOKEN

    def __init__(
        self, shape: tuple[int, int], *, repeats: bool, tokens: bool, notes: Notes
    ) -> None:
        """Keep what the format says.

        Args:
            shape: rows and columns of a region's grid.
            repeats: whether equal rows are written as a repeat.
            tokens: whether boxes are written as tokens; else in digits.
            notes: takes the problems.
        """
        super().__init__(tokens=tokens, notes=notes)
        self.shape = shape
        self.repeats = repeats

    def cells(self, draft: SpanDraft) -> BoolMask:
        """A region's cells, bool[R, C]; rows that are missing are background."""
        num_rows = self.shape[0]
        cells = np.zeros(self.shape, dtype=np.bool_)
        if draft.num_surplus:
            self.notes.add(
                "extra-rows", f"more than {num_rows} rows: the rest is cut", row=num_rows
            )
        if len(draft.rows) < num_rows:
            self.notes.add(
                "missing-rows",
                f"{len(draft.rows)} of {num_rows} rows: the rest is background",
                row=len(draft.rows),
            )
        for row, spans in enumerate(draft.rows):
            for first, last in spans:
                cells[row, first : last + 1] = True
        return cells

    def _new(self, label: str, locs: list[int]) -> SpanDraft:
        return SpanDraft(label=label, locs=locs)

    def _begun(self, draft: SpanDraft) -> bool:
        return bool(draft.rows)

    def _complete(self, draft: SpanDraft) -> bool:
        return len(draft.rows) >= self.shape[0]

    def _start(self, words: str) -> SpanDraft:
        head, mark, torn = words.partition(ROW_MARK)
        if not mark or HEADER.fullmatch(strip_blanks(head)) is None:
            return super()._start(words)
        draft = super()._start(strip_blanks(head))
        self._stray(draft, mark + torn)
        return draft

    def _stray(self, draft: SpanDraft, words: str) -> None:
        """Text between tokens; where it begins as a row does, it is one that cannot be read."""
        before, *torn = words.split(ROW_MARK)
        if strip_blanks(before):
            self.notes.add("stray-text", f"{shorten(before)} between spans is left out")
        for piece in torn:
            self.notes.add(
                "bad-token",
                f"{shorten(ROW_MARK + piece)} is no row: left empty",
                row=len(draft.rows),
            )
            self._add_row(draft, [])

    def _take(self, draft: SpanDraft, kind: str, number: str) -> None:
        first, dash, last = number.partition("-")
        if kind == "same":
            self._take_repeat(draft, number)
            return
        if kind == "row":
            self._add_row(draft, [])
        elif not draft.rows:
            self.notes.add("missing-row-mark", f"the first row begins with {kind}", row=0)
            self._add_row(draft, [])
        if dash:
            self._add_span(draft, int(first), int(last))
        elif number or kind == "and":
            self.notes.add("bad-token", f"<|{kind}{number}|> names no span", len(draft.rows) - 1)

    def _take_repeat(self, draft: SpanDraft, number: str) -> None:
        times = int(number) if number.isdigit() else 0
        row = len(draft.rows)
        if not self.repeats:
            self.notes.add("bad-token", f"<|same{number}|> is not part of this format", row)
        elif not times:
            self.notes.add("bad-token", f"<|same{number}|> repeats nothing: left out", row)
        elif not row:
            self.notes.add("bad-token", f"<|same{number}|> has no row before it: left out", row)
        else:
            for _ in range(min(times, self.shape[0] - row)):
                self._add_row(draft, list(draft.rows[-1]))
            draft.num_surplus += max(0, times - (self.shape[0] - row))

    def _add_row(self, draft: SpanDraft, spans: list[Span]) -> None:
        if self._complete(draft):
            draft.num_surplus += 1
        else:
            draft.rows.append(spans)

    def _add_span(self, draft: SpanDraft, first: int, last: int) -> None:
        """One more span of the latest row; what is wrong with it is listed."""
        if draft.num_surplus:
            return
        row, columns = len(draft.rows) - 1, self.shape[1]
        if first > last:
            self.notes.add("bad-span", f"{first}-{last} ends before it begins: turned", row, last)
            first, last = last, first
        if first >= columns:
            self.notes.add("bad-span", f"{first}-{last} is right of the grid: left out", row)
            return
        if last >= columns:
            self.notes.add("bad-span", f"{first}-{last} is cut at the grid's edge", row, columns)
            last = columns - 1
        spans = draft.rows[-1]
        if spans and first <= spans[-1][1]:
            self.notes.add(
                "bad-span", f"{first}-{last} is not right of the span before it", row, first
            )
        spans.append((first, last))
