"""``span-brick``: one new token for each foreground span of a row; background is never written.

This project's own. Beside ``next-brick`` it drops the runs of background, which the spans' ends
tell anyway, and writes equal rows once. See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import field_validator

from t4spp.schemes.box_wise import BoxParams, BoxWise, Written
from t4spp.schemes.expecting_spans import spans_ahead
from t4spp.schemes.parsing import Notes
from t4spp.schemes.region_tokens import BoxSpelling, Coordinates
from t4spp.schemes.span_grammar import span_rules
from t4spp.schemes.span_tokens import (
    EMPTY,
    ROW_MARK,
    SpanReader,
    and_token,
    row_token,
    same_token,
    spans_of,
    written_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_COLUMNS = 64
"""Columns of a grid: C of them take C (C + 1) tokens for spans, 4160 here."""


class SpanBrickParams(BoxParams):
    """Parameters of ``span-brick``."""

    repeats: bool = True
    """Whether rows equal to the one before are written as one token that counts them."""
    coordinates: Coordinates = "tokens"
    """How the box is written: four of 1000 new tokens, or four numbers in digits."""

    @field_validator("grid")
    @classmethod
    def _columns_have_tokens(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        columns = value[1] if isinstance(value, tuple) else value
        if columns > MAX_COLUMNS:
            raise ValueError(
                f"{columns} columns take {columns * (columns + 1)} new tokens; "
                f"at most {MAX_COLUMNS} are allowed"
            )
        return value


class SpanBrick(BoxWise):
    """Label, four coordinates, and the spans of each row, each one token."""

    name: ClassVar[str] = "span-brick"
    params: SpanBrickParams

    def __init__(self, params: SpanBrickParams) -> None:
        """Keep the parameters and name the tokens."""
        super().__init__(params)
        self.params = params
        rows, columns = self.shape
        self._box = BoxSpelling(params.coordinates)
        spans = [(first, last) for first in range(columns) for last in range(first, columns)]
        self._special_tokens = (
            *self._box.special_tokens,
            EMPTY,
            *(row_token(*span) for span in spans),
            *(and_token(*span) for span in spans if span[0] > 1),
            *(same_token(times) for times in range(1, rows) if params.repeats),
        )

    @property
    def row_mark(self) -> str | None:
        """What every row begins with; None with ``repeats``, where a row may stand for several."""
        return None if self.params.repeats else ROW_MARK

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>``.., ``<|row|>``, ``<|row0-0|>``.., ``<|and2-2|>``.., ``<|same1|>``.."""
        return self._special_tokens

    def _explained(self) -> str:
        text = (
            f"A region is its label, {self._box.explained}, then its rows from top to bottom. "
            "Columns are counted from 0. The first stretch of a row's cells inside the region, "
            "from column a to column b, is written as <|rowa-b|>, each further one of the same row "
            f"as <|anda-b|>; a row without any is {EMPTY}."
        )
        if self.params.repeats:
            text += " Where the next n rows are equal to the one just written, write <|samen|>."
        return text

    def _spell(self, written: Written) -> str:
        rows = written_rows(spans_of(written.cells), repeats=self.params.repeats)
        return self._box.spell(written.label, written.steps) + "".join(rows)

    def _read(self, text: str, notes: Notes) -> Iterator[Written]:
        reader = SpanReader(
            self.shape,
            repeats=self.params.repeats,
            tokens=self._box.located,
            notes=notes,
        )
        for draft in reader.drafts(text):
            steps = reader.box(draft)
            if steps is None:
                continue
            notes.read_something = True
            yield Written(label=draft.label, steps=steps, cells=reader.cells(draft))

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """Rules of regions.

        Spans are valid, lie right of the one before and do not touch it; rows and repeats fill the
        grid; no repeat follows another, and none an empty row that could have been one.
        """
        return [
            "region: header grid",
            *self._box.rules(names, self.params.max_label_chars),
            *span_rules(self.shape, repeats=self.params.repeats),
        ]

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Rows like the ones above; see :class:`Scheme`."""
        return spans_ahead(
            text,
            labels,
            self.shape,
            repeats=self.params.repeats,
            located=self._box.located,
        )

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        rows, columns = self.shape
        return self._box.num_tokens(tokenizer) + rows * -(-columns // 2)
