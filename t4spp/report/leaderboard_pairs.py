"""The differences between the schemes of a leaderboard: which are more than chance."""

from __future__ import annotations

from dataclasses import dataclass

from t4spp.report.leaderboard_words import (
    Json,
    differences,
    interval_text,
    standings_of,
    title_of,
)
from t4spp.report.tables import signed

CHANCE = 0.05
"""Share of 95 % intervals that leave zero out where there is no difference."""


@dataclass(frozen=True, kw_only=True)
class PairCell:
    """A difference, row minus column.

    ``kind`` is ``self``, ``unknown`` (not both measured), ``inside``, ``above`` or ``below`` (zero
    lies outside the interval); ``weight`` in 0..1 is its size against the largest.
    """

    text: str
    told: str
    kind: str
    weight: float


@dataclass(frozen=True, kw_only=True)
class PairMatrix:
    """All differences under one budget; rows and columns in the order of the standings."""

    title: str
    schemes: tuple[str, ...]
    cells: tuple[tuple[PairCell, ...], ...]
    pairs: tuple[tuple[str, str, str, str, bool], ...]
    sentence: str


def pair_matrices(result: Json) -> list[PairMatrix]:
    """A matrix a budget that has a measured pair."""
    return [
        _matrix(result, key, budget)
        for key, budget in result["budgets"].items()
        if differences(result, key)
    ]


def _matrix(result: Json, key: str, budget: Json) -> PairMatrix:
    found = differences(result, key)
    measured = {first for first, _ in found}
    order = [str(e["scheme"]) for e in standings_of(result, key) if e["scheme"] in measured]
    largest = max(abs(pair["difference"]) for pair in found.values()) or 1.0
    listed = [
        (first, second, found[first, second])
        for position, first in enumerate(order)
        for second in order[position + 1 :]
        if (first, second) in found
    ]
    outside = sum(bool(pair.get("outside")) for _, _, pair in listed)
    expected = f"{CHANCE * len(listed):.2g}"
    return PairMatrix(
        title=title_of(budget),
        schemes=tuple(order),
        cells=tuple(
            tuple(_pair_cell(row, column, found.get((row, column)), largest) for column in order)
            for row in order
        ),
        pairs=tuple(
            (
                first,
                second,
                signed(pair["difference"]),
                interval_text(pair, signed) or "–",
                bool(pair.get("outside")),
            )
            for first, second, pair in listed
        ),
        sentence=(
            f"Of {len(listed)} pair{'' if len(listed) == 1 else 's'}, {outside} "
            f"{'lies' if outside == 1 else 'lie'} outside; about {expected} would by chance "
            "alone, if all schemes were equally good."
        ),
    )


def _pair_cell(row: str, column: str, pair: Json | None, largest: float) -> PairCell:
    if row == column:
        return PairCell(text="", told="", kind="self", weight=0.0)
    if pair is None:
        told = f"{row} against {column}: not measured"
        return PairCell(text="–", told=told, kind="unknown", weight=0.0)
    value = float(pair["difference"])
    kind = "inside"
    if pair.get("outside"):
        kind = "above" if value > 0 else "below"
    text, interval = signed(value), interval_text(pair, signed) or "no interval"
    return PairCell(
        text=text,
        told=f"{row} minus {column}: {text} ({interval})",
        kind=kind,
        weight=abs(value) / largest,
    )
