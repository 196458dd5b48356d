"""What the image-wise schemes expect: each row like the one above, blank until something shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from t4spp.schemes.expecting import (
    HISTORY,
    cells_ahead,
    fitting_length,
    nearest_first,
    rows_ahead,
    runs_of,
)
from t4spp.types import BACKGROUND

LabelRun = tuple[str, int]

MAX_DIGITS = 6
"""Digits of a run's length; the largest grid has 65,536 cells."""


def rrle_ahead(
    text: str, labels: Sequence[str] | None, shape: tuple[int, int], *, digits_follow: bool
) -> Iterator[str]:
    """How an R-RLE descriptor goes on; see :meth:`t4spp.schemes.base.Scheme.expect`."""
    num_rows, columns = shape
    *lines, line = text.split("\n")
    *parts, tail = line.split("|")
    if len(lines) >= num_rows:
        yield ""
        return
    runs = _runs(parts)
    above = [_runs(known.split("|")) for known in lines[-HISTORY:]] or [[(BACKGROUND, columns)]]
    rows = [row for row in above if row is not None and _total(row) == columns]
    if runs is None or len(rows) < len(above):
        return
    if parts:
        tail = f"|{tail}"
    elif not lines:
        tail = f" {tail}"  # which only the first row lacks
    yield from rows_ahead(
        rows,
        runs,
        tail,
        num_rows - len(lines),
        _others(labels, (_runs(known.split("|")) for known in set(lines))),
        lambda label, length, first: f"{' ' if first else '| '}{label} *{length}",
        "\n",
        digits_follow=digits_follow,
    )


def irle_ahead(
    text: str, labels: Sequence[str] | None, shape: tuple[int, int], *, digits_follow: bool
) -> Iterator[str]:
    """How an I-RLE descriptor goes on; see :meth:`t4spp.schemes.base.Scheme.expect`."""
    *parts, tail = text.split("|")
    runs = _runs(parts)
    left = shape[0] * shape[1] - _total(runs or ())
    if runs is None or left <= 0:
        yield from ("",) if left <= 0 else ()
        return
    cells = [label for label, length in runs for _ in range(length)]
    others = _others(labels, [runs])
    lead, tail = ("| ", f"|{tail}") if parts else ("", tail)
    likely = cells_ahead(cells, shape, BACKGROUND, others, differs=True)[:1]
    for label in dict.fromkeys([*likely, *others]):
        if cells[-1:] == [label]:
            continue
        ahead = runs_of([label, *cells_ahead([*cells, label], shape, BACKGROUND, others)])
        length = fitting_length(
            partial(_spelt, lead, label),
            tail,
            nearest_first(ahead[0][1], left),
            digits_follow=digits_follow,
        )
        if length is None:
            continue
        yield _spelt(lead, label, length)[len(tail) :]
        if length < left:
            cells += [label] * length
            for run in runs_of(cells_ahead(cells, shape, BACKGROUND, others, differs=True)):
                yield f"| {run[0]} *{run[1]}"
        return


def full_ahead(text: str, labels: Sequence[str] | None, shape: tuple[int, int]) -> Iterator[str]:
    """How a descriptor of single cells goes on; see :meth:`t4spp.schemes.base.Scheme.expect`."""
    *parts, tail = text.split("|")
    cells = [part.strip(" ") for part in parts]
    if len(cells) >= shape[0] * shape[1]:
        yield ""
        return
    lead, tail = ("| ", f"|{tail}") if parts else ("", tail)
    others = _others(labels, [[(label, 1) for label in dict.fromkeys(cells)]])
    likely = cells_ahead(cells, shape, BACKGROUND, others)[:1]
    for label in dict.fromkeys([*likely, *others]):
        if f"{lead}{label}".startswith(tail):
            yield f"{lead}{label}"[len(tail) :]
            cells.append(label)
            if len(cells) < shape[0] * shape[1]:
                for cell in cells_ahead(cells, shape, BACKGROUND, others):
                    yield f"| {cell}"
            return


def _spelt(lead: str, label: str, length: int) -> str:
    return f"{lead}{label} *{length}"


def _runs(parts: Sequence[str]) -> list[LabelRun] | None:
    """``label *N`` each; None where one is not of that form."""
    runs: list[LabelRun] = []
    for part in parts:
        label, star, digits = part.rpartition(" *")
        if not star or not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_DIGITS:
            return None
        runs.append((label.strip(" "), int(digits)))
    return runs


def _total(runs: Iterable[LabelRun]) -> int:
    return sum(length for _, length in runs)


def _others(
    labels: Sequence[str] | None, seen: Iterable[Sequence[LabelRun] | None]
) -> tuple[str, ...]:
    """Background, then the prompt's labels; where it has none, those that were written."""
    if labels is None:
        labels = [label for runs in seen if runs is not None for label, _ in runs]
    return tuple(dict.fromkeys([BACKGROUND, *labels]))
