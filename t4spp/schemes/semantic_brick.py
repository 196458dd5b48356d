"""``semantic-brick``: box and bricks in words and digits, one line a row, no new token.

This project's own spelling of the published idea; see docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t4spp.schemes.box_wise import (
    HEADER,
    NUMBER,
    STEPS,
    BoxParams,
    BoxWise,
    Steps,
    Written,
)
from t4spp.schemes.expecting_boxes import semantic_ahead
from t4spp.schemes.grammar import brick_rules, label_terminal, quote
from t4spp.schemes.grid import row_runs
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.rows import Run, bounded, lay_rows, row_lines
from t4spp.schemes.tokens import count_tokens
from t4spp.types import BACKGROUND

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_WORDS = ("off", "on")


class SemanticBrick(BoxWise):
    """``label| y0 x0 y1 x1``, then a line a row: ``off3 on5 off8``."""

    name: ClassVar[str] = "semantic-brick"
    row_mark: str | None = "\n"

    def __init__(self, params: BoxParams) -> None:
        """Keep the parameters and spell every run once."""
        super().__init__(params)
        lengths = range(self.shape[1] + 1)
        self._run = [[f"{word}{n}" for n in lengths] for word in _WORDS]
        self._known: dict[str, Run] = {
            self._run[value][n]: (value, n) for value in (0, 1) for n in lengths if n
        }

    def _explained(self) -> str:
        rows, columns = self.shape
        return (
            'The first line of a region is its label, "| " and the four numbers of its box. Then '
            f"follow {rows} lines, one for each row from top to bottom: from left to right, a run "
            'of cells outside the region is written as "off" and their number, a run inside as '
            f'"on" and their number; the numbers of a line sum to {columns}.'
        )

    def _spell(self, written: Written) -> str:
        columns = self.shape[1]
        starts, lengths = row_runs(written.cells)
        values = written.cells.ravel()[starts]
        pieces = [
            f"{chr(10) if first else ' '}{self._run[value][length]}"
            for value, length, first in zip(
                values.tolist(), lengths.tolist(), (starts % columns == 0).tolist(), strict=True
            )
        ]
        head = written.label + "| " + " ".join(str(step) for step in written.steps)
        return head + "".join(pieces) + "\n"

    def _read(self, text: str, notes: Notes) -> Iterator[Written]:
        if strip_blanks(text) == BACKGROUND:
            notes.read_something = True
            return
        head: str | None = None
        lines: list[str] = []
        for line in text.split("\n"):
            if "|" in line and (
                head is None or len(lines) >= self.shape[0] or HEADER.fullmatch(strip_blanks(line))
            ):
                if head is not None:
                    yield from self._region_of(head, lines, notes)
                head, lines = line, []
            elif head is None:
                if line.strip():
                    notes.add("orphan-text", f"{shorten(line)} before any box is left out")
            elif len(lines) < 4 * self.shape[0]:
                lines.append(line)
        if head is not None:
            yield from self._region_of(head, lines, notes)

    def _region_of(self, head: str, lines: list[str], notes: Notes) -> Iterator[Written]:
        """A region of its header and the lines under it; nothing where it cannot be placed."""
        header = self._header(head, notes)
        if header is None:
            return
        notes.read_something = True
        rows = [
            self._row(line, row, notes)
            for row, line in enumerate(row_lines(lines, self.shape[0], notes))
        ]
        cells = lay_rows(rows, self.shape, notes).astype(np.bool_)
        yield Written(label=header[0], steps=header[1], cells=cells)

    @staticmethod
    def _header(line: str, notes: Notes) -> tuple[str, Steps] | None:
        found = HEADER.fullmatch(strip_blanks(line))
        if found is None:
            notes.add("bad-box", f"{shorten(line)} is no label with a box: region left out")
            return None
        label, *digits = found.groups()
        numbers = [bounded(number) for number in digits]
        steps = [min(number, STEPS - 1) for number in numbers]
        if steps != numbers:
            notes.add("bad-box", f"{shorten(line)} has coordinates beyond {STEPS - 1}: clipped")
        return strip_blanks(label), (steps[0], steps[1], steps[2], steps[3])

    def _row(self, line: str, row: int, notes: Notes) -> list[Run]:
        runs: list[Run] = []
        column = 0
        for word in line.split(maxsplit=self.shape[1] + 1):
            run = self._known.get(word)
            if run is None:
                run = self._unusual(word, row, column, notes)
            runs.append(run)
            column += max(run[1], 0)
        return runs

    @staticmethod
    def _unusual(word: str, row: int, column: int, notes: Notes) -> Run:
        """A run that no encoder writes: too long, of no cell, or unreadable."""
        for value, name in enumerate(_WORDS):
            digits = word.removeprefix(name)
            if digits != word and digits.isascii() and digits.isdigit():
                length = bounded(digits)
                if length == 0:
                    notes.add("bad-run", f"{shorten(word)} covers no cell", row, column)
                return value, length
        notes.add("bad-run", f"{shorten(word)} is no run: background", row, column)
        return 0, -1

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """Neighbouring runs of a row differ."""
        rows, columns = self.shape
        spelt = [[quote(run) + ' " "' for run in runs] for runs in self._run]
        last = [[quote(run + "\n") for run in runs] for runs in self._run]
        return [
            f'region: LABEL "| " NUMBER " " NUMBER " " NUMBER " " NUMBER "\\n" row{{{rows}}}',
            label_terminal(names, self.params.max_label_chars, background=False),
            NUMBER,
            *brick_rules(columns, spelt, last),
        ]

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Rows like the one above; see :class:`Scheme`."""
        return semantic_ahead(text, labels, self.shape, digits_follow=digits_follow)

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        rows, columns = self.shape
        box = count_tokens(tokenizer, "| 999 999 999 999\n") + 1
        row = max(
            count_tokens(tokenizer, " ".join(_WORDS[(n + first) % 2] + "1" for n in range(columns)))
            for first in (0, 1)
        )
        row = max(row, count_tokens(tokenizer, self._run[0][-1])) + 2
        return box + rows * row
