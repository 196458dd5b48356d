"""What ``span-brick`` expects: rows like those above, or the outline moved on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from t4spp.schemes.expecting import HISTORY, expected_row
from t4spp.schemes.expecting_boxes import header_ahead, located_ahead
from t4spp.schemes.span_tokens import TOKEN, Spans, same_token, written_row
from t4spp.types import BACKGROUND


def spans_ahead(
    text: str,
    labels: Sequence[str] | None,
    shape: tuple[int, int],
    *,
    repeats: bool,
    located: bool,
) -> Iterator[str]:
    """How a span-brick descriptor goes on; see :meth:`t4spp.schemes.base.Scheme.expect`.

    Args:
        text: what is written.
        labels: of the prompt.
        shape: rows and columns.
        repeats: whether equal rows are written as a repeat.
        located: whether coordinates are tokens.
    """
    num_rows, columns = shape
    head, tokens = _last_tokens(text)
    rows = _rows_of(tokens, num_rows)
    if rows is None:
        return
    if not tokens:
        header = located_ahead(head, labels) if located else header_ahead(head, labels, "")
        if header is None:
            return
        yield header
        if (head + header).endswith(BACKGROUND):
            return
    last = tokens[-1][0] if tokens else ""
    if last in ("row", "and") and rows[-1]:
        rows[-1], more = _rest_of_row(rows, columns)
        if more:
            yield more
    repeated = last == "same"
    if len(rows) >= num_rows:
        yield ""
    while len(rows) < num_rows:
        row = _next_row(rows, columns)
        if rows and row == rows[-1] and repeats and not repeated:
            yield same_token(1)
            repeated = True
        else:
            if repeated and row == rows[-1]:
                row = _moved_row(rows, columns)
            yield written_row(row)
            repeated = False
        rows.append(row)


def _last_tokens(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text of the last region before its rows, and the tokens of these as (kind, number)."""
    tokens: list[tuple[str, str]] = []
    end = len(text)
    start = 0
    for found in reversed(list(TOKEN.finditer(text))):
        if found.end() != end or found[1] == "loc":
            start = 0 if found[1] == "loc" else found.end()
            break
        end = found.start()
        tokens.append((found[1], found[2]))
    head = text[start:end]
    if start == 0:
        others = [found.end() for found in TOKEN.finditer(head) if found[1] != "loc"]
        head = head[others[-1] if others else 0 :]
    return head, tokens[::-1]


def _rows_of(tokens: Sequence[tuple[str, str]], num_rows: int) -> list[Spans] | None:
    """The rows that tokens say; None where they are not well-formed."""
    rows: list[Spans] = []
    for kind, number in tokens:
        first, dash, last = number.partition("-")
        if kind == "same":
            if not rows or not number.isdigit() or int(number) > num_rows - len(rows):
                return None
            rows += [rows[-1]] * int(number)
            continue
        if bool(number) != bool(dash) or (kind == "and" and (not rows or not number)):
            return None
        if kind == "row":
            rows.append(())
        if number:
            rows[-1] = (*rows[-1], (int(first), int(last)))
    return rows if len(rows) <= num_rows else None


def _rest_of_row(rows: Sequence[Spans], columns: int) -> tuple[Spans, str]:
    """The last row with the spans that the rows above let expect right of it, and their text."""
    row = rows[-1]
    more = tuple(span for span in _next_row(rows[:-1], columns) if span[0] > row[-1][1] + 1)
    return row + more, "".join(f"<|and{first}-{last}|>" for first, last in more)


def _next_row(rows: Sequence[Spans], columns: int) -> Spans:
    """The row below some, its boundaries moved on as they have been moving."""
    if not rows:
        return ()
    known = [_runs(spans, columns) for spans in rows[-HISTORY:]]
    if any(sum(length for _, length in runs) != columns for runs in known):
        return rows[-1]
    return _spans(expected_row(known))


def _moved_row(rows: Sequence[Spans], columns: int) -> Spans:
    """A row that differs from the last one: it moves as the one before it did."""
    above = rows[-1]
    before = next((row for row in reversed(rows) if row != above), None)
    if before is None or len(before) != len(above):
        return above
    moved = []
    for (first, last), (old_first, old_last) in zip(above, before, strict=True):
        start = min(max(2 * first - old_first, 0), columns - 1)
        moved.append((start, min(max(2 * last - old_last, start), columns - 1)))
    apart = all(one[1] + 1 < other[0] for one, other in pairwise(moved))
    return tuple(moved) if apart else above


def _runs(spans: Spans, columns: int) -> list[tuple[int, int]]:
    """Runs (value, length) of a row; they do not fill it where spans are not in order."""
    runs: list[tuple[int, int]] = []
    at = 0
    for first, last in spans:
        if first < at or last < first:
            return []
        if first > at:
            runs.append((0, first - at))
        runs.append((1, last + 1 - first))
        at = last + 1
    if at < columns:
        runs.append((0, columns - at))
    return runs


def _spans(runs: Sequence[tuple[int, int]]) -> Spans:
    """The spans of runs (value, length)."""
    found = []
    at = 0
    for value, length in runs:
        if value:
            found.append((at, at + length - 1))
        at += length
    return tuple(found)
