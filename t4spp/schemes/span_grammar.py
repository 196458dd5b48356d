"""Rules of llguidance's Lark for rows of spans."""

from __future__ import annotations

from t4spp.errors import SchemeError
from t4spp.schemes.grammar import MAX_ROW
from t4spp.schemes.span_tokens import EMPTY, and_token, row_token, same_token

MAX_CHOICES = 1900
"""Tokens that may stand at one place of a grammar; llguidance follows 2000 and its rules' own."""


def span_rules(shape: tuple[int, int], *, repeats: bool) -> list[str]:
    """Rules of a grid written as spans; the rule of the whole is ``grid``.

    They grow with the square of the columns, and with ``repeats`` with that of the rows.

    Args:
        shape: rows and columns.
        repeats: whether equal rows may be written as a repeat. Then no repeat follows another and
            no empty row an empty one.

    Raises:
        SchemeError: more tokens may follow a span than llguidance can follow, or more repeats must
            be written out than it can compile.
    """
    rows, columns = shape
    num_choices = columns * columns - columns + 1 + (rows - 1 if repeats else 0)
    if num_choices > MAX_CHOICES:
        fits = "at most 43 columns"
        if columns <= 43:
            fits = f"at most {rows - num_choices + MAX_CHOICES} rows, or repeats=false,"
        raise SchemeError(
            f"a grid of {rows} x {columns} has no grammar of spans: {num_choices} tokens may "
            f"follow a span, {MAX_CHOICES} is the most that llguidance can follow. Take {fits} "
            "where decoding is to be constrained."
        )
    if repeats and rows > MAX_ROW:
        raise SchemeError(
            f"repeats of {rows} rows have no grammar: {MAX_ROW} is the most that is written out. "
            "Take a grid of fewer rows or repeats=false where decoding is to be constrained."
        )
    lines = [f"row: {EMPTY} | filled", *_row_rules(columns)]
    if not repeats:
        return [f"grid: row{{{rows}}}", *lines]
    return [f"grid: any{rows}", *lines[1:], *_repeat_rules(rows)]


def _row_rules(columns: int) -> list[str]:
    """``filled``: a row of spans, each right of the one before and not beside it.

    ``right{n}`` is what may stand at column n or right of it.
    """
    last = columns - 1
    begun = [
        f"{row_token(first, end)}{_further(end, columns)}"
        for first in range(columns)
        for end in range(first, columns)
    ]
    lines = ["filled: " + " | ".join(begun)]
    for start in range(last, 1, -1):
        spans = [
            f"{and_token(start, end)}{_further(end, columns)}" for end in range(start, columns)
        ]
        if start < last:
            spans.append(f"right{start + 1}")
        lines.append(f"right{start}: " + " | ".join(spans))
    return lines


def _further(end: int, columns: int) -> str:
    return f" right{end + 2}?" if end + 2 < columns else ""


def _repeat_rules(rows: int) -> list[str]:
    """``any{n}``: n rows; ``solid{n}``: n rows, the first not empty."""
    lines = []
    for left in range(rows, 0, -1):
        lines.append(f"solid{left}: filled{_rest(left - 1, 'any')}")
        lines.append(f"any{left}: solid{left} | {EMPTY}{_rest(left - 1, 'solid')}")
        if left < rows:
            for kind in ("any", "solid"):
                repeated = [f"{same_token(times)} {kind}{left - times}" for times in range(1, left)]
                choices = [f"{kind}{left}", *repeated, same_token(left)]
                lines.append(f"rest_{kind}{left}: " + " | ".join(choices))
    return lines


def _rest(left: int, kind: str) -> str:
    """What follows a row: ``left`` more, perhaps repeats of it first."""
    return f" rest_{kind}{left}" if left else ""
