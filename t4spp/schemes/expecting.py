"""How rows of runs go on, guessed from the rows above: what decoding drafts.

Values are whatever a scheme marks cells with: labels, or 0 and 1. A wrong guess costs a little time
and changes no answer. The rules are those that held most often on outlines of real objects; see
docs/decoding.md.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, groupby, pairwise
from typing import TypeVar

from t4spp.types import BACKGROUND

V = TypeVar("V", bound=Hashable)

HISTORY = 5
"""Rows that are looked back on for how a boundary moves."""
_NEAR = 2
"""Cells by which a boundary moves from row to row and is still taken for the same."""
_EARLY = 3
"""Cells before a run's place above from where on a run there is taken for another, a new one."""


def expected_row(rows: Sequence[Sequence[tuple[V, int]]]) -> Sequence[tuple[V, int]]:
    """The row below ``rows``: the last one, its boundaries moved on as they have been moving.

    Args:
        rows: at least one; runs (value, length) that sum to the columns.
    """
    above = rows[-1]
    if len(above) == 1:
        return above
    before = [_boundaries(row) for row in rows[-HISTORY:-1]]
    ends = [end + _next_move(_moves(values, end, before)) for values, end in _boundaries(above)]
    edges = [0, *ends, sum(length for _, length in above)]
    lengths = [end - start for start, end in pairwise(edges)]
    if min(lengths) < 1:
        return above
    return [(value, length) for (value, _), length in zip(above, lengths, strict=True)]


def _boundaries(row: Sequence[tuple[V, int]]) -> list[tuple[tuple[V, V], int]]:
    """Where runs meet: the values on both sides, and the column."""
    ends = accumulate(length for _, length in row[:-1])
    meeting = zip(pairwise(row), ends, strict=True)
    return [((left, right), end) for ((left, _), (right, _)), end in meeting]


def _moves(
    values: tuple[V, V], end: int, before: Sequence[Sequence[tuple[tuple[V, V], int]]]
) -> list[int]:
    """By how many cells a boundary moved from row to row, the latest first."""
    moves: list[int] = []
    for row in reversed(before):
        near = [at for known, at in row if known == values and abs(at - end) <= _NEAR]
        if not near:
            break
        at = min(near, key=lambda at, end=end: abs(at - end))  # type: ignore[misc]
        moves.append(end - at)
        end = at
    return moves


def _next_move(moves: Sequence[int]) -> int:
    """The next move of a boundary: that of a straight line, as far as the last ones tell.

    Args:
        moves: the latest first.
    """
    if len(moves) > 1 and abs(moves[0]) > 1 and moves[0] == moves[1]:
        return moves[0]
    rests = next((place for place, move in enumerate(moves) if move), None)
    if rests is None or abs(moves[rests]) > 1:
        return 0
    again = next((place for place, move in enumerate(moves) if move and place > rests), None)
    if again is not None and moves[again] == moves[rests]:
        return moves[rests] if rests + 1 >= max(again - rests, 2) else 0
    return moves[rests] if rests == 1 else 0


def rest_of_row(
    guess: Sequence[tuple[V, int]], column: int, before: V | None, others: Sequence[V]
) -> list[tuple[V, int]]:
    """The runs from ``column`` on: boundaries where ``guess`` has them.

    Where the run before ended elsewhere, the next boundary is taken up again where it was guessed,
    which is how the outline of most objects goes.

    Args:
        guess: the whole row, as guessed from those above.
        column: cells of the row that are known.
        before: value of the run that ends there; the next differs. None at a row's start.
        others: values that a run may have which the guess does not know, likeliest first.
    """
    found: list[tuple[V, int]] = []
    columns = sum(length for _, length in guess)
    while column < columns:
        value = _next_value(guess, column, before, others)
        if value is None:
            break
        length = _run_length(guess, column, value)
        found.append((value, length))
        column += length
        before = value
    return found


def _next_value(
    guess: Sequence[tuple[V, int]], column: int, before: V | None, others: Sequence[V]
) -> V | None:
    """The value of the run that begins at ``column``; None where only ``before`` is known."""
    for (value, _), end in zip(guess, accumulate(length for _, length in guess), strict=True):
        if end > column and value != before:
            return value
    return next((value for value in others if value != before), None)


def _run_length(guess: Sequence[tuple[V, int]], column: int, value: V) -> int:
    """How many cells a run of ``value`` that begins at ``column`` takes.

    To the end of the guessed run that covers the column, or of the one behind it, where that has
    the value; else one, as new things begin small.
    """
    start = 0
    for place, (found, length) in enumerate(guess):
        end = start + length
        if end > column:
            if found == value:
                return end - column
            after, more = guess[place + 1] if place + 1 < len(guess) else (None, 0)
            return end + more - column if after == value and end - column < _EARLY else 1
        start = end
    return 1


def _likely_lengths(guess: Sequence[tuple[V, int]], column: int, value: V) -> Iterator[int]:
    """All lengths that a run from ``column`` on may have, the likeliest first; some come twice.

    About what was guessed; else up to the end of a later run of the value, what lay between having
    ended above; else the nearest.
    """
    wanted = _run_length(guess, column, value)
    left = sum(length for _, length in guess) - column
    ends = accumulate(length for _, length in guess)
    later = [end - column for (found, _), end in zip(guess, ends, strict=True) if found == value]
    for length in (wanted, wanted - 1, wanted + 1, *(n for n in later if n > wanted)):
        if 1 <= length <= left:
            yield length
    yield from nearest_first(wanted, left)


def nearest_first(wanted: int, most: int) -> list[int]:
    """1 to ``most``, what is nearest to ``wanted`` first."""
    return sorted(range(1, most + 1), key=lambda n: abs(n - wanted))


def fitting_length(
    spell: Callable[[int], str], tail: str, lengths: Iterable[int], *, digits_follow: bool
) -> int | None:
    """The first length whose spelling begins with ``tail``; None where none does.

    Args:
        spell: a run's text by its length, which stands last.
        tail: what of it is written already.
        lengths: the likeliest first.
        digits_follow: whether a number at the end of ``tail`` may go on.
    """
    whole = not digits_follow and tail[-1:].isdigit()
    for length in lengths:
        spelt = spell(length)
        if spelt == tail if whole else spelt.startswith(tail):
            return length
    return None


def row_ahead(
    guess: Sequence[tuple[V, int]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    *,
    digits_follow: bool = True,
) -> tuple[str, list[tuple[V, int]]] | None:
    """How a row goes on: the text behind ``tail``, and all runs of the row.

    Args:
        guess: the whole row, as guessed from those above.
        runs: this row's complete runs.
        tail: what is written of the next one, with what parts it from the run before.
        others: values that the guess does not know, likeliest first.
        spell: a run's text, with what stands before it; told whether the run is its row's first.
        digits_follow: whether a number at the end of ``tail`` may go on.

    Returns:
        None where no run begins with ``tail``. The runs do not fill the row where ``others`` gave
        out.
    """
    columns = sum(length for _, length in guess)
    column = sum(length for _, length in runs)
    whole = list(runs)
    text = ""
    if column < columns and tail:
        run = _begun(guess, runs, tail, others, spell, digits_follow=digits_follow)
        if run is None:
            return None
        text = spell(*run, not runs)[len(tail) :]
        whole.append(run)
        column += run[1]
    for run in rest_of_row(guess, column, whole[-1][0] if whole else None, others):
        text += spell(*run, not whole)
        whole.append(run)
    return text, whole


def _begun(
    guess: Sequence[tuple[V, int]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    *,
    digits_follow: bool,
) -> tuple[V, int] | None:
    """The likeliest run behind ``runs`` whose spelling begins with ``tail``."""
    column = sum(length for _, length in runs)
    before = runs[-1][0] if runs else None
    likely = _next_value(guess, column, before, others)
    for value in dict.fromkeys([likely, *(value for value, _ in guess), *others]):
        if value is None or value == before:
            continue
        length = fitting_length(
            partial(_spelt, spell, value, not runs),
            tail,
            _likely_lengths(guess, column, value),
            digits_follow=digits_follow,
        )
        if length is not None:
            return value, length
    return None


def _spelt(spell: Callable[[V, int, bool], str], value: V, first: bool, length: int) -> str:
    return spell(value, length, first)


def rows_ahead(
    rows: Sequence[Sequence[tuple[V, int]]],
    runs: Sequence[tuple[V, int]],
    tail: str,
    num_left: int,
    others: Sequence[V],
    spell: Callable[[V, int, bool], str],
    end: str = "",
    *,
    digits_follow: bool = True,
) -> Iterator[str]:
    """How the rest of the rows goes on, the one that is being written and those below.

    Args:
        rows: complete rows above, at least one; the last :data:`HISTORY` suffice.
        runs: as for :func:`row_ahead`, like ``tail``, ``others`` and ``spell``.
        tail: what is written of the next run.
        num_left: rows that are not complete, this one counted.
        others: values that the rows above do not know.
        spell: a run's text.
        end: stands behind each row.
        digits_follow: whether a number at the end of ``tail`` may go on.

    Yields:
        Text, a row each.
    """
    known = list(rows[-HISTORY:])
    for number in range(num_left):
        begun, written = (runs, tail) if number == 0 else ((), "")
        guess = expected_row(known)
        found = row_ahead(guess, begun, written, others, spell, digits_follow=digits_follow)
        if found is None:
            return
        text, whole = found
        if sum(length for _, length in whole) < sum(length for _, length in guess):
            yield text
            return
        yield text + end
        known = [*known[1 - HISTORY :], whole]


def cells_ahead(
    cells: Sequence[V],
    shape: tuple[int, int],
    blank: V,
    others: Sequence[V],
    *,
    differs: bool = False,
) -> list[V]:
    """The cells that follow the first ones of a grid, row-major, by the rules of rows.

    Args:
        cells: those that are known, fewer than the grid has.
        shape: (R, C).
        blank: what the row above the first is taken to hold.
        others: values that the rows above do not know.
        differs: whether the next cell differs from the last.
    """
    num_rows, columns = shape
    row, column = divmod(len(cells), columns)
    first = max(0, row - HISTORY)
    known = [runs_of(cells[r * columns : (r + 1) * columns]) for r in range(first, row)]
    known = known or [[(blank, columns)]]
    rest = rest_of_row(
        expected_row(known), column, cells[-1] if differs and cells else None, others
    )
    ahead = [value for value, length in rest for _ in range(length)]
    if column + len(ahead) < columns:
        return ahead
    known.append(runs_of([*cells[row * columns :], *ahead]))
    for _ in range(num_rows - row - 1):
        known.append(list(expected_row(known)))
        ahead += [value for value, length in known[-1] for _ in range(length)]
    return ahead


def runs_of(cells: Iterable[V]) -> list[tuple[V, int]]:
    """Maximal runs (value, length) of cells."""
    return [(value, sum(1 for _ in group)) for value, group in groupby(cells)]


def label_ahead(begun: str, labels: Sequence[str] | None) -> str | None:
    """The first of the labels, or else the background, that begins so; None where none does."""
    return next((name for name in (*(labels or ()), BACKGROUND) if name.startswith(begun)), None)
