"""Pieces of llguidance's Lark that the schemes' grammars share."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from t4spp.errors import SchemeError
from t4spp.types import BACKGROUND

MAX_ALTERNATIVES = 20_000
"""Written-out alternatives above which a rule that is wanted but not needed is left out."""

MAX_EXACT_SUM = 1024
"""Cells that one exact sum may run over; llguidance's compiler overflows not far beyond."""

MAX_ROW = 160
"""Cells that a written-out row may have, for the same reason."""

_BREAKS = r"\n\r\x0b\x0c\x1c-\x1e\x85\x{2028}\x{2029}"
_BLANKS = r" \t\x1f\xa0\x{1680}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"


def quote(text: str) -> str:
    """A literal string."""
    return json.dumps(text)


def label_terminal(
    labels: Sequence[str] | None, max_chars: int, background: bool, name: str = "LABEL"
) -> str:
    """The definition of a terminal that is one label.

    Args:
        labels: the labels to choose from, checked; None admits every label that can be written.
        max_chars: the longest free label.
        background: whether ``others`` is among them.
        name: the terminal's name.
    """
    if labels is not None:
        names = [*labels, BACKGROUND] if background else list(labels)
        return f"{name}: " + " | ".join(quote(label) for label in names)
    solid = f"[^{_BREAKS}{_BLANKS}|]"
    inner = f"[^{_BREAKS}|]"
    shape = solid if max_chars == 1 else f"{solid}({inner}{{0,{max_chars - 2}}}{solid})?"
    parts = [f"/{shape}/", r"~/(.|\n)*( \*|<seg>|<\/seg>)(.|\n)*/"]
    if not background:
        parts.append(f"~/{re.escape(BACKGROUND)}/")
    return f"{name}: " + " & ".join(parts)


def check_row(columns: int) -> None:
    """Refuse to write out a row that llguidance could not compile.

    Raises:
        SchemeError: the grid has more columns than :data:`MAX_ROW`.
    """
    if columns > MAX_ROW:
        raise SchemeError(
            f"a row of {columns} cells has no grammar: {MAX_ROW} is the most that is written out. "
            "Take a grid of fewer columns where decoding is to be constrained."
        )


def brick_rules(
    columns: int, inner: Sequence[Sequence[str]], last: Sequence[Sequence[str]]
) -> list[str]:
    """Rules of a row of alternating runs that sum to ``columns``; the row's rule is ``row``.

    Args:
        columns: cells of a row.
        inner: how a run of length n that others follow is spelt, at ``[value][n]``.
        last: the same for a row's last run.
    """
    check_row(columns)
    lines = [f"row: off{columns} | on{columns}"]
    for left in range(columns, 0, -1):
        for value, (name, other) in enumerate((("off", "on"), ("on", "off"))):
            runs = [f"{inner[value][n]} {other}{left - n}" for n in range(left - 1, 0, -1)]
            lines.append(f"{name}{left}: " + " | ".join([last[value][left], *runs]))
    return lines


def row_rules(labels: Sequence[str] | None, columns: int, max_chars: int) -> list[str]:
    """Rules of one R-RLE row that sums to ``columns``; a run is one terminal.

    Neighbouring runs differ in label where labels are given and the rules that say so have at
    most :data:`MAX_ALTERNATIVES` alternatives.
    """
    check_row(columns)
    if labels is not None:
        num = len(labels) + 1
        if num * columns * (columns + 1) // 2 + num * num * columns <= MAX_ALTERNATIVES:
            return _differing_rules([*labels, BACKGROUND], columns)
    lines = [label_terminal(labels, max_chars, background=True)]
    lines += [f'RUN{n}: LABEL " *{n}"' for n in range(1, columns + 1)]
    lines.append(f"row: left{columns}")
    for left in range(columns, 0, -1):
        runs = [f'RUN{n} "| " left{left - n}' for n in range(left - 1, 0, -1)]
        lines.append(f"left{left}: " + " | ".join([f"RUN{left}", *runs]))
    return lines


def _differing_rules(names: Sequence[str], columns: int) -> list[str]:
    """A row as a walk over (cells left, label of the run before)."""
    lines = [
        f"RUN{n}L{index}: {quote(f'{name} *{n}')}"
        for index, name in enumerate(names)
        for n in range(1, columns + 1)
    ]
    every = range(len(names))
    lines.append("row: " + " | ".join(f"from{columns}l{index}" for index in every))
    alone = len(names) == 1
    for left in range(columns, 0, -1):
        for index in every:
            shorter = [] if alone else range(left - 1, 0, -1)
            runs = [f'RUN{n}L{index} "| " after{left - n}l{index}' for n in shorter]
            lines.append(f"from{left}l{index}: " + " | ".join([f"RUN{left}L{index}", *runs]))
            if left < columns and not alone:
                others = [f"from{left}l{other}" for other in every if other != index]
                lines.append(f"after{left}l{index}: " + " | ".join(others))
    return lines


def exact_sum_rules(total: int) -> list[str]:
    """Rules of ``HEAD number`` runs, joined by ``"| "``, whose numbers sum to ``total``.

    The numbers are written digit by digit, so that the rules grow with ``total``, not with its
    square. Large numbers come first: the compiler follows a rule's alternatives in their order,
    and what is left after a large number is soon told, so that it never descends far.
    """
    lines = [f"start: left{total}", *(f'DIGIT{digit}: "{digit}"' for digit in range(10))]
    wanted: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()

    def digits(count: int, left: int, first: bool) -> str:
        """The alternatives of ``count`` more digits of a number of at most ``left``."""
        unit = 10 ** (count - 1)
        found = []
        for digit in range(min(9, left // unit), -1 if not first else 0, -1):
            rest = left - digit * unit
            if count == 1:
                follow = f" next{rest}" if rest else ""
            else:
                follow = f" more{count - 1}n{rest}"
                if (count - 1, rest) not in seen:
                    seen.add((count - 1, rest))
                    wanted.append((count - 1, rest))
            found.append(f"DIGIT{digit}{follow}")
        return " | ".join(found)

    for left in range(total, 0, -1):
        counts = range(len(str(left)), 0, -1)
        lines.append(f"left{left}: HEAD number{left}")
        lines.append(f"number{left}: " + " | ".join(digits(n, left, True) for n in counts))
        if left < total:
            lines.append(f'next{left}: "| " left{left}')
    while wanted:
        count, left = wanted.pop()
        lines.append(f"more{count}n{left}: " + digits(count, left, False))
    return lines


def lines_of(*lines: str) -> str:
    """A grammar of its lines."""
    return "\n".join(lines) + "\n"
