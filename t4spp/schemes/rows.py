"""Rows of runs from untrusted text: each is made to fill its row, and what was wrong is listed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from t4spp.schemes.parsing import Notes

MANY = 1_000_000
"""Stands for every number of more than six digits."""

Run = tuple[int, int]
"""(value, length); value 0 is background, length -1 means that it could not be read."""

Cells = npt.NDArray[np.int32]


def bounded(digits: str) -> int:
    """ASCII digits of any number as a number that never overflows anything."""
    return int(digits) if len(digits) <= 6 else MANY


def settle_row(runs: Sequence[Run], columns: int, row: int, notes: Notes) -> list[Run]:
    """Make the runs of one row sum to ``columns``.

    A single run of unknown length takes the cells that the others leave, as background, so that
    what follows keeps its place. What does not fit is cut; what is missing is background.
    """
    known = sum(length for _, length in runs if length > 0)
    unread = sum(1 for _, length in runs if length < 0)
    gap = max(columns - known, 0) if unread == 1 else 0
    settled: list[Run] = []
    column = 0
    for value, length in runs:
        value, length = (0, gap) if length < 0 else (value, length)
        if column + length > columns:
            notes.add(
                "extra-cells",
                f"row {row} has more than {columns} cells: the rest is cut",
                row=row,
                column=columns,
            )
            settled.append((value, columns - column))
            return settled
        settled.append((value, length))
        column += length
    if column < columns:
        notes.add(
            "missing-cells",
            f"row {row} has {column} of {columns} cells: the rest is background",
            row=row,
            column=column,
        )
        settled.append((0, columns - column))
    return settled


def lay_rows(rows: Sequence[Sequence[Run]], shape: tuple[int, int], notes: Notes) -> Cells:
    """Rows of runs as int32[R, C]; a damaged row touches no other, a missing one is background."""
    num_rows, columns = shape
    values: list[int] = []
    lengths: list[int] = []
    for index, runs in enumerate(rows[:num_rows]):
        total = 0
        for _, length in runs:
            if length <= 0:
                total = -1
                break
            total += length
        exact = runs if total == columns else settle_row(runs, columns, index, notes)
        for value, length in exact:
            values.append(value)
            lengths.append(length)
    if len(rows) < num_rows:
        notes.add(
            "missing-rows",
            f"{len(rows)} of {num_rows} rows: the rest is background",
            row=len(rows),
        )
        values.append(0)
        lengths.append((num_rows - len(rows)) * columns)
    elif len(rows) > num_rows:
        notes.add("extra-rows", f"more than {num_rows} rows: the rest is cut", row=num_rows)
    return np.repeat(np.array(values, dtype=np.int32), lengths).reshape(shape)


def row_lines(lines: list[str], num_rows: int, notes: Notes) -> list[str]:
    """The lines that stand for ``num_rows`` rows; at most one more is kept.

    A blank line counts as a damaged row, unless there are more lines than rows: then blank
    lines are dropped, from the first one on, until the numbers agree.
    """
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    surplus = len(lines) - num_rows
    if surplus > 0:
        kept: list[str] = []
        for line in lines:
            if surplus > 0 and not line.strip():
                surplus -= 1
                notes.add("blank-line", "a blank line is left out", row=len(kept))
            else:
                kept.append(line)
        lines = kept
    return lines[: num_rows + 1]
