"""What the box-wise schemes expect: a box that fills the picture, rows like those above.

Nothing is as likely for a first row as to be empty, or for what shows in it as to be small: objects
are narrow at their top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from t4spp.schemes.brick_tokens import ROW, TOKEN
from t4spp.schemes.expecting import HISTORY, label_ahead, rows_ahead
from t4spp.types import BACKGROUND

BOX = ("0", "0", "999", "999")
"""Coordinates that are guessed; no other is as likely as the edge that cuts an object."""

BrickRun = tuple[int, int]
_MARK: BrickRun = (0, 0)
_VALUES = (1, 0)
_WORDS = ("off", "on")
_RUN = re.compile(r"(off|on)([0-9]{1,3})")


def semantic_ahead(
    text: str, labels: Sequence[str] | None, shape: tuple[int, int], *, digits_follow: bool
) -> Iterator[str]:
    """How a semantic-brick descriptor goes on; see :meth:`t4spp.schemes.base.Scheme.expect`."""
    num_rows, columns = shape
    *lines, line = text.split("\n")
    head = next((n for n in range(len(lines) - 1, -1, -1) if "|" in lines[n]), None)
    done = [] if head is None else lines[head + 1 :]
    if head is not None and len(done) >= num_rows and not line:
        yield ""
        return
    if head is None or len(done) >= num_rows or "|" in line:
        header = header_ahead(line, labels, "\n")
        if header is None:
            return
        yield header
        if (line + header).endswith(BACKGROUND):
            return
        done, line = [], ""
    *parts, tail = line.split(" ")
    runs = _words(parts)
    above = [_words(known.split(" ")) for known in done[-HISTORY:]] or [[(0, columns)]]
    rows = [row for row in above if row is not None and _total(row) == columns]
    if runs is None or len(rows) < len(above):
        return
    yield from rows_ahead(
        rows,
        runs,
        f" {tail}" if parts else tail,
        num_rows - len(done),
        _VALUES,
        lambda value, length, first: f"{'' if first else ' '}{_WORDS[value]}{length}",
        "\n",
        digits_follow=digits_follow,
    )


def bricks_ahead(
    text: str,
    labels: Sequence[str] | None,
    shape: tuple[int, int],
    bricks: Sequence[Sequence[str]],
    *,
    row_marks: bool,
    located: bool,
) -> Iterator[str]:
    """How a next-brick descriptor goes on; see :meth:`t4spp.schemes.base.Scheme.expect`.

    Args:
        text: what is written.
        labels: of the prompt.
        shape: rows and columns.
        bricks: how a run of value and length is spelt, at ``[value][length]``.
        row_marks: whether each row starts with a mark.
        located: whether coordinates are tokens.
    """
    num_rows, columns = shape
    head, runs = _last_bricks(text)
    if not runs:
        header = located_ahead(head, labels) if located else header_ahead(head, labels, "")
        if header is None:
            return
        yield header
        if (head + header).endswith(BACKGROUND):
            return
    rows: list[list[BrickRun]] = [[]]
    for run in runs:
        if _total(rows[-1]) >= columns:
            rows.append([])
        if run[1]:
            rows[-1].append(run)
    mark = ROW if row_marks else ""
    if _total(rows[-1]) >= columns:
        rows.append([])
    tail = mark if row_marks and runs[-1:] == [_MARK] else ""
    num_left = num_rows - len(rows) + 1
    if num_left > 0:
        yield from rows_ahead(
            rows[:-1][-HISTORY:] or [[(0, columns)]],
            rows[-1],
            tail,
            num_left,
            _VALUES,
            lambda value, length, first: f"{mark if first else ''}{bricks[value][length]}",
        )


def header_ahead(line: str, labels: Sequence[str] | None, end: str) -> str | None:
    """How ``label| y0 x0 y1 x1`` goes on, with ``end`` behind it; the background has no box."""
    label, bar, box = line.partition("|")
    numbers: list[str] = box.split()
    if not bar:
        found = label_ahead(label, labels)
        if found is None or found == BACKGROUND:
            return None if found is None else found[len(label) :]
        label = found
    for known in (numbers[:-1], numbers):
        guess = f"{label}| {' '.join([*known, *BOX[len(known) :]])}{end}"
        if len(known) <= len(BOX) and guess.startswith(line):
            return guess[len(line) :]
    return None


def located_ahead(head: str, labels: Sequence[str] | None) -> str | None:
    """How a label and four coordinate tokens go on; the background has none."""
    known = list(TOKEN.finditer(head))
    begun = head[known[-1].end() if known else 0 :]
    num_known = 0
    label = begun
    if known and not begun and known[-1][1] == "loc":
        num_known = len(list(takewhile(lambda found: found[1] == "loc", reversed(known))))
    else:
        found = label_ahead(begun, labels)
        if found is None or found == BACKGROUND:
            return None if found is None else found[len(begun) :]
        label = found
    return label[len(begun) :] + "".join(f"<|loc{step}|>" for step in BOX[num_known:])


def _last_bricks(text: str) -> tuple[str, list[BrickRun]]:
    """The text before the last region's bricks, and these; a mark has length 0."""
    runs: list[BrickRun] = []
    end = len(text)
    for found in reversed(list(TOKEN.finditer(text))):
        if found.end() != end or found[1] == "loc":
            break
        end = found.start()
        runs.append(_MARK if found[1] == "row" else (int(found[1] == "fg"), int(found[2] or 0)))
    return text[:end], runs[::-1]


def _words(words: Sequence[str]) -> list[BrickRun] | None:
    """Runs of words and digits; None where one cannot be read."""
    runs: list[BrickRun] = []
    for word in words:
        found = _RUN.fullmatch(word)
        if found is None:
            return None
        runs.append((_WORDS.index(found[1]), int(found[2])))
    return runs


def _total(runs: Sequence[BrickRun]) -> int:
    return sum(length for _, length in runs)
