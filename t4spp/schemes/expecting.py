"""How rows of runs go on, guessed from the row above: what drafting writes ahead.

Values are whatever a scheme marks cells with: labels, or 0 and 1. A wrong guess costs a little time
and changes no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVar

V = TypeVar("V", bound=Hashable)


def rest_of_row(
    above: Sequence[tuple[V, int]], column: int, before: V | None, others: Sequence[V]
) -> list[tuple[V, int]]:
    """The runs from ``column`` on: boundaries stay where the row above has them.

    Where the run before ended elsewhere than above, the next boundary is taken up again where it
    stands above, which is how the outline of most objects goes.

    Args:
        above: the runs (value, length) of the row above, which sum to the columns.
        column: cells of this row that are known.
        before: value of the run that ends there; the next differs. None at a row's start.
        others: values that a run may have which the row above does not know, likeliest first.
    """
    found: list[tuple[V, int]] = []
    columns = sum(length for _, length in above)
    while column < columns:
        value = next_value(above, column, before, others)
        if value is None:
            break
        length = run_length(above, column, value)
        found.append((value, length))
        column += length
        before = value
    return found


def next_value(
    above: Sequence[tuple[V, int]], column: int, before: V | None, others: Sequence[V]
) -> V | None:
    """The value of the run that begins at ``column``; None where nothing but ``before`` is known."""
    end = 0
    for value, length in above:
        end += length
        if end > column and value != before:
            return value
    return next((value for value in others if value != before), None)


def run_length(above: Sequence[tuple[V, int]], column: int, value: V) -> int:
    """How many cells a run of ``value`` that begins at ``column`` takes.

    To the end of the run above that covers the column, or of the one behind it, where that has the
    value; else one, as new things begin small.
    """
    start = 0
    looked_at = 0
    for found, length in above:
        end = start + length
        if end > column:
            if found == value:
                return end - column
            looked_at += 1
            if looked_at == 2:
                break
        start = end
    return 1


def fitting_length(
    spell: Callable[[int], str], tail: str, wanted: int, most: int, *, digits_follow: bool
) -> int | None:
    """The length nearest to ``wanted`` whose spelling begins with ``tail``; None where none does.

    Args:
        spell: a run's text by its length, which stands last.
        tail: what of it is written already.
        wanted: the likeliest length.
        most: the greatest possible one.
        digits_follow: whether a number at the end of ``tail`` may go on.
    """
    whole = not digits_follow and tail[-1:].isdigit()
    for length in sorted(range(1, most + 1), key=lambda n: abs(n - wanted)):
        spelt = spell(length)
        if spelt == tail if whole else spelt.startswith(tail):
            return length
    return None


def row_ahead(
    above: Sequence[tuple[V, int]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    *,
    digits_follow: bool = True,
) -> tuple[str, list[tuple[V, int]]] | None:
    """How a row goes on: the text behind ``tail``, and all runs of the row.

    Args:
        above: the row above.
        runs: this row's complete runs.
        tail: what is written of the next one, with what parts it from the run before.
        others: values that the row above does not know, likeliest first.
        spell: a run's text, with what stands before it; told whether the run is its row's first.
        digits_follow: whether a number at the end of ``tail`` may go on.

    Returns:
        None where no run begins with ``tail``. The runs do not fill the row where ``others`` gave
        out.
    """
    columns = sum(length for _, length in above)
    column = sum(length for _, length in runs)
    whole = list(runs)
    text = ""
    if column < columns and tail:
        run = _begun(above, runs, tail, others, spell, digits_follow=digits_follow)
        if run is None:
            return None
        text = spell(*run, not runs)[len(tail) :]
        whole.append(run)
        column += run[1]
    for run in rest_of_row(above, column, whole[-1][0] if whole else None, others):
        text += spell(*run, not whole)
        whole.append(run)
    return text, whole


def _begun(
    above: Sequence[tuple[V, int]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    *,
    digits_follow: bool,
) -> tuple[V, int] | None:
    """The likeliest run behind ``runs`` whose spelling begins with ``tail``."""
    column = sum(length for _, length in runs)
    left = sum(length for _, length in above) - column
    before = runs[-1][0] if runs else None
    likely = next_value(above, column, before, others)
    for value in dict.fromkeys([likely, *(value for value, _ in above), *others]):
        if value is None or value == before:
            continue
        length = fitting_length(
            partial(_spelt, spell, value, not runs),
            tail,
            run_length(above, column, value),
            left,
            digits_follow=digits_follow,
        )
        if length is not None:
            return value, length
    return None


def _spelt(spell: Callable[[V, int, bool], str], value: V, first: bool, length: int) -> str:
    return spell(value, length, first)


def rows_ahead(
    above: Sequence[tuple[V, int]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    num_left: int,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    end: str = "",
    *,
    digits_follow: bool = True,
) -> Iterator[str]:
    """How the rest of the rows goes on: the row that is being written, then its like.

    Args:
        above: as for :func:`row_ahead`, like ``runs``, ``tail``, ``others``, ``spell`` and
            ``digits_follow``.
        runs: this row's complete runs.
        tail: what is written of the next run.
        num_left: rows that are not complete, this one counted.
        others: values that the row above does not know.
        spell: a run's text.
        end: stands behind each row.

    Yields:
        Text, a row each.
    """
    found = row_ahead(above, runs, tail, others, spell, digits_follow=digits_follow)
    if found is None:
        return
    text, whole = found
    if sum(length for _, length in whole) < sum(length for _, length in above):
        yield text
        return
    yield text + end
    again = "".join(spell(*run, place == 0) for place, run in enumerate(whole)) + end
    for _ in range(num_left - 1):
        yield again


def cells_ahead(
    cells: Sequence[V],
    shape: tuple[int, int],
    blank: V,
    others: Sequence[V],
    *,
    differs: bool = False,
) -> list[V]:
    """The cells that follow the first ones of a grid, row-major: each as the one above it.

    Args:
        cells: those that are known, fewer than the grid has.
        shape: (R, C).
        blank: what the row above the first is taken to hold.
        others: values that the row above does not know.
        differs: whether the next cell differs from the last.
    """
    num_rows, columns = shape
    row, column = divmod(len(cells), columns)
    over = cells[(row - 1) * columns : row * columns] if row else [blank] * columns
    before = cells[-1] if differs and cells else None
    rest = rest_of_row(runs_of(over), column, before, others)
    line = [*cells[row * columns :], *(value for value, length in rest for _ in range(length))]
    return line[column:] + line * ((num_rows - row - 1) if len(line) == columns else 0)


def runs_of(cells: Iterable[V]) -> list[tuple[V, int]]:
    """Maximal runs (value, length) of cells."""
    return [(value, sum(1 for _ in group)) for value, group in groupby(cells)]
