"""``image-full``, ``image-irle`` and ``image-rrle``: Text4Seg's three ways to write the cells.

Byte-exact to the published R-RLE, I-RLE and full descriptors on any grid (arXiv 2410.09855).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t4spp.errors import SchemeError
from t4spp.schemes.expecting_images import full_ahead, irle_ahead, rrle_ahead
from t4spp.schemes.grammar import (
    MAX_EXACT_SUM,
    exact_sum_rules,
    label_terminal,
    lines_of,
    quote,
    row_rules,
)
from t4spp.schemes.grid import row_runs
from t4spp.schemes.image_wise import ImageWise, Names
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.rows import Cells, Run, bounded, lay_rows, row_lines
from t4spp.schemes.tokens import count_tokens, repeated_tokens
from t4spp.types import BACKGROUND

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class _Runs(ImageWise):
    """What the two run-length codes share."""

    def _read_run(self, text: str, names: Names, notes: Notes, row: int, column: int) -> Run:
        """One ``label *N``; length -1 where it cannot be read."""
        label, star, digits = strip_blanks(text).rpartition(" *")
        if not star or not (digits.isascii() and digits.isdigit()):
            notes.add("bad-run", f"{shorten(text)} is no run: background", row, column)
            return 0, -1
        length = bounded(digits)
        if length == 0:
            notes.add("bad-run", f"{shorten(text)} covers no cell", row, column)
        return names.number(strip_blanks(label), row, column), length

    def _read_row(
        self, text: str, names: Names, notes: Notes, row: int, limit: int, known: dict[str, Run]
    ) -> list[Run]:
        """The runs of one row, until they are more than ``limit`` cells."""
        runs: list[Run] = []
        if not text.strip():
            return runs
        total = 0
        start = 0
        while total <= limit and start <= len(text):
            end = text.find("|", start)
            end = len(text) if end < 0 else end
            part = text[start:end]
            start = end + 1
            run = known.get(part)
            if run is None:
                before = len(notes.problems)
                run = self._read_run(part, names, notes, row, total)
                if len(notes.problems) == before and len(known) < 4096:
                    known[part] = run
            runs.append(run)
            if run[1] > 0:
                total += run[1]
        return runs

    def _run_cost(self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None) -> int:
        """A bound on the tokens of one cell that is a run of its own, with what precedes it."""
        names = self._admitted(labels)
        if names is None:
            return 4 * self.params.max_label_chars + repeated_tokens(tokenizer, "\n | *1") + 1
        return max(
            repeated_tokens(tokenizer, f"{before}{name} *1")
            for name in (*names, BACKGROUND)
            for before in ("| ", "\n ")
        )


class ImageRrle(_Runs):
    """Run-length coded row by row: ``others *3| dog *1`` and a line end after each row."""

    name: ClassVar[str] = "image-rrle"
    row_mark: str | None = "\n"

    def _explained(self) -> str:
        rows, columns = self.shape
        return (
            f"Write a line for each of the {rows} rows, from top to bottom. In a line, from left "
            "to right, neighbouring cells of one label are a run, written as the label, a blank, "
            f"an asterisk and the number of cells; the numbers of a line sum to {columns}. Runs "
            'are parted by "| ", and every line but the first begins with a blank.'
        )

    def _spell(self, names: Sequence[str], cells: Cells) -> str:
        columns = self.shape[1]
        starts, lengths = row_runs(cells)
        values = cells.ravel()[starts]
        heads = [f"{name} *" for name in names]
        between = [f"| {head}" for head in heads]
        breaks = [f"\n {head}" for head in heads]
        opens = (starts % columns == 0).tolist()
        pieces = [
            f"{breaks[value] if first else between[value]}{length}"
            for value, length, first in zip(values.tolist(), lengths.tolist(), opens, strict=True)
        ]
        return "".join(pieces)[2:] + "\n"

    def _read(self, text: str, names: Names, notes: Notes) -> Cells | None:
        columns = self.shape[1]
        known: dict[str, Run] = {}
        read: dict[str, list[Run]] = {}
        rows: list[list[Run]] = []
        lines = text.rstrip(" \t\r\n").split("\n", 4 * self.shape[0])
        for row, line in enumerate(row_lines(lines, self.shape[0], notes)):
            runs = read.get(line)
            if runs is None:
                before = len(notes.problems)
                runs = self._read_row(line, names, notes, row, columns, known)
                if len(notes.problems) == before:
                    read[line] = runs
            rows.append(runs)
        if not any(length > 0 for runs in rows for _, length in runs):
            return None
        return lay_rows(rows, self.shape, notes)

    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor in llguidance's Lark; rows sum exactly.

        Neighbouring runs differ in label where labels are given and the written-out rules stay
        under :data:`t4spp.schemes.grammar.MAX_ALTERNATIVES`.
        """
        rows, columns = self.shape
        more = f' ("\\n " row){{{rows - 1}}}' if rows > 1 else ""
        return lines_of(
            f'start: row{more} "\\n"',
            *row_rules(self._admitted(labels), columns, self.params.max_label_chars),
        )

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Rows like the one above; see :class:`Scheme`."""
        return rrle_ahead(text, labels, self.shape, digits_follow=digits_follow)

    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """Every cell a run of its own."""
        rows, columns = self.shape
        return rows * columns * self._run_cost(tokenizer, labels) + rows + 1


class ImageIrle(_Runs):
    """Run-length coded over the whole image, without row breaks."""

    name: ClassVar[str] = "image-irle"

    def _explained(self) -> str:
        cells = self.shape[0] * self.shape[1]
        return (
            "Go through the cells from left to right and from top to bottom, without a break "
            "between rows. Successive cells of one label are a run, written as the label, a blank, "
            f"an asterisk and the number of cells; all numbers sum to {cells}. Runs are parted by "
            '"| ".'
        )

    def _spell(self, names: Sequence[str], cells: Cells) -> str:
        flat = cells.reshape(1, -1)
        starts, lengths = row_runs(flat)
        values = flat.ravel()[starts]
        return "| ".join(
            f"{names[value]} *{length}"
            for value, length in zip(values.tolist(), lengths.tolist(), strict=True)
        )

    def _read(self, text: str, names: Names, notes: Notes) -> Cells | None:
        total = self.shape[0] * self.shape[1]
        before = len(notes.problems)
        runs = self._read_row(strip_blanks(text), names, notes, 0, total, {})
        if not any(length > 0 for _, length in runs):
            return None
        cells = lay_rows([runs], (1, total), notes).reshape(self.shape)
        for index, problem in enumerate(notes.problems[before:], before):
            row, column = divmod(problem.column, self.shape[1])
            notes.problems[index] = replace(problem, row=row, column=column)
        return cells

    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor in llguidance's Lark; all runs sum exactly to the grid's cells.

        Raises:
            SchemeError: the grid has more cells than such a grammar can be compiled for.
        """
        names = self._admitted(labels)
        total = self.shape[0] * self.shape[1]
        if total > MAX_EXACT_SUM:
            raise SchemeError(
                f"{self.name} has no grammar on a grid of {self.shape[0]} x {self.shape[1]}: a sum "
                f"over more than {MAX_EXACT_SUM} cells is more than llguidance compiles. Take a "
                "smaller grid, or image-rrle, whose rows sum one by one."
            )
        return lines_of(
            label_terminal(names, self.params.max_label_chars, background=True),
            'HEAD: LABEL " *"',
            *exact_sum_rules(total),
        )

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Cells like those above; see :class:`Scheme`."""
        return irle_ahead(text, labels, self.shape, digits_follow=digits_follow)

    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """Every cell a run of its own."""
        rows, columns = self.shape
        return rows * columns * self._run_cost(tokenizer, labels) + 1


class ImageFull(ImageWise):
    """The label of each cell, row-major, without any coding."""

    name: ClassVar[str] = "image-full"

    def _explained(self) -> str:
        cells = self.shape[0] * self.shape[1]
        return (
            f"Write the labels of all {cells} cells from left to right and from top to bottom, "
            'parted by "| ".'
        )

    def _spell(self, names: Sequence[str], cells: Cells) -> str:
        return "| ".join([names[value] for value in cells.ravel().tolist()])

    def _read(self, text: str, names: Names, notes: Notes) -> Cells | None:
        total = self.shape[0] * self.shape[1]
        columns = self.shape[1]
        parts = text.split("|", total)
        if not strip_blanks(text.replace("|", " ")) or (len(parts) == 1 and total > 1):
            return None
        surplus = len(parts) > total
        known: dict[str, int] = {}
        numbers: list[int] = []
        for index, part in enumerate(parts[:total]):
            number = known.get(part)
            if number is None:
                before = len(notes.problems)
                number = names.number(strip_blanks(part), index // columns, index % columns)
                if len(notes.problems) == before:
                    known[part] = number
            numbers.append(number)
        if surplus:
            notes.add("extra-cells", f"more than {total} cells: the rest is cut", self.shape[0])
        if len(numbers) < total:
            row, column = divmod(len(numbers), columns)
            message = f"{len(numbers)} of {total} cells: the rest is background"
            notes.add("missing-cells", message, row, column)
            numbers.extend([0] * (total - len(numbers)))
        return np.array(numbers, dtype=np.int32).reshape(self.shape)

    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor in llguidance's Lark."""
        return self.grammar_before("", labels)

    def grammar_before(self, ending: str, labels: Sequence[str] | None = None) -> str:
        """The same with a literal behind it, one terminal with the last label."""
        names = self._admitted(labels)
        more = self.shape[0] * self.shape[1] - 1
        return lines_of(
            "start: " + (f'(LABEL "| "){{{more}}} ' if more else "") + "LAST",
            f"LAST: LABEL {quote(ending)}" if ending else "LAST: LABEL",
            label_terminal(names, self.params.max_label_chars, background=True),
        )

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Cells like those above; see :class:`Scheme`."""
        return full_ahead(text, labels, self.shape)

    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """The most expensive label in every cell."""
        names = self._admitted(labels)
        cells = self.shape[0] * self.shape[1]
        if names is None:
            return cells * (4 * self.params.max_label_chars + count_tokens(tokenizer, "| ") + 1)
        cost = max(repeated_tokens(tokenizer, f"| {name}") for name in (*names, BACKGROUND))
        return cells * cost + 1
