"""``next-brick``: a mask is written brick by brick, one new token each, inside its box.

The published idea (structured mask tokens, the mask as next-brick prediction) in this project's
own spelling; byte-compatibility with unpublished code is not claimed. See docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from t4spp.schemes.box_wise import NUMBER, STEPS, BoxParams, BoxWise, Written
from t4spp.schemes.brick_tokens import ROW, BrickReader
from t4spp.schemes.expecting_boxes import bricks_ahead
from t4spp.schemes.grammar import brick_rules, label_terminal
from t4spp.schemes.grid import row_runs
from t4spp.schemes.parsing import Notes
from t4spp.schemes.rows import lay_rows
from t4spp.schemes.tokens import count_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class NextBrickParams(BoxParams):
    """Parameters of ``next-brick``."""

    row_marks: bool = False
    """Whether each row starts with ``<|row|>``, so that damage stays in its row."""
    coordinates: Literal["tokens", "digits"] = "tokens"
    """How the box is written: four of 1000 new tokens, or four numbers in digits."""


class NextBrick(BoxWise):
    """Label, four coordinates and bricks, each coordinate and each brick one token."""

    name: ClassVar[str] = "next-brick"
    params: NextBrickParams

    def __init__(self, params: NextBrickParams) -> None:
        """Keep the parameters and name the tokens."""
        super().__init__(params)
        self.params = params
        lengths = range(1, self.shape[1] + 1)
        self._loc = [f"<|loc{n}|>" for n in range(STEPS)]
        self._brick = [["", *(f"<|{kind}{n}|>" for n in lengths)] for kind in ("bg", "fg")]
        located = params.coordinates == "tokens"
        self._special_tokens = (
            *(self._loc if located else ()),
            *self._brick[0][1:],
            *self._brick[1][1:],
            *((ROW,) if params.row_marks else ()),
        )

    @property
    def row_mark(self) -> str | None:
        """What stands before every row; None without ``row_marks``."""
        return ROW if self.params.row_marks else None

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>`` to ``<|loc999|>``, ``<|bg1|>``.., ``<|fg1|>``.., ``<|row|>``."""
        return self._special_tokens

    def _explained(self) -> str:
        columns = self.shape[1]
        box = (
            "its four numbers as <|loc0|> to <|loc999|>"
            if self.params.coordinates == "tokens"
            else '"| " and the four numbers of its box'
        )
        rows = f"begin with {ROW}" if self.params.row_marks else "follow each other without a mark"
        return (
            f"A region is its label, {box}, then its rows from top to bottom, which {rows}. In a "
            "row, from left to right, a run of n cells outside the region is written as <|bgn|>, a "
            f"run of n cells inside as <|fgn|>; the numbers of a row sum to {columns}."
        )

    def _spell(self, written: Written) -> str:
        columns = self.shape[1]
        cells = written.cells
        starts, lengths = row_runs(cells)
        values = cells.ravel()[starts]
        brick = self._brick
        pieces = [
            brick[value][length]
            for value, length in zip(values.tolist(), lengths.tolist(), strict=True)
        ]
        if self.params.row_marks:
            heads = (starts % columns == 0).tolist()
            pieces = [
                ROW + piece if head else piece for piece, head in zip(pieces, heads, strict=True)
            ]
        if self.params.coordinates == "tokens":
            head = written.label + "".join(self._loc[step] for step in written.steps)
        else:
            head = written.label + "| " + " ".join(str(step) for step in written.steps)
        return head + "".join(pieces)

    def _read(self, text: str, notes: Notes) -> Iterator[Written]:
        reader = BrickReader(
            self.shape,
            row_marks=self.params.row_marks,
            tokens=self.params.coordinates == "tokens",
            notes=notes,
        )
        for draft in reader.drafts(text):
            steps = reader.box(draft)
            if steps is None:
                continue
            notes.read_something = True
            cells = lay_rows(reader.rows(draft), self.shape, notes).astype(np.bool_)
            yield Written(label=draft.label, steps=steps, cells=cells)

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """Neighbouring bricks of a row differ."""
        params = self.params
        rows, columns = self.shape
        located = params.coordinates == "tokens"
        box = "loc loc loc loc" if located else '"| " NUMBER " " NUMBER " " NUMBER " " NUMBER'
        mark = ROW if params.row_marks else ""
        return [
            f"region: LABEL {box} line{{{rows}}}",
            label_terminal(names, params.max_label_chars, background=False),
            "loc: " + " | ".join(self._loc) if located else NUMBER,
            f"line: {mark} row",
            *brick_rules(columns, self._brick, self._brick),
        ]

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Rows like the one above; see :class:`Scheme`."""
        return bricks_ahead(
            text,
            labels,
            self.shape,
            self._brick,
            row_marks=self.params.row_marks,
            located=self.params.coordinates == "tokens",
        )

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        rows, columns = self.shape
        digits = self.params.coordinates == "digits"
        box = count_tokens(tokenizer, "| 999 999 999 999") + 1 if digits else 4
        return box + rows * (columns + int(self.params.row_marks))
