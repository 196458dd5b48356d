"""The tables of a leaderboard as rows of text: standings, costs, orderings, break-downs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t4spp.evaluation.bins import TITLES
from t4spp.report.leaderboard_words import (
    Json,
    clock,
    differences,
    interval_text,
    scheme_order,
    score_of,
    standings_of,
    title_of,
    whole,
)
from t4spp.report.tables import duration, finite, number, percent, signed

VERDICT_STYLES = {"holds": "ok", "reversed": "invalid"}
"""CSS classes of an ordering's verdict; others are neither good nor bad."""
_ENDS = ("low", "difference", "high")


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A score drawn on a line: places in percent of its width; ``zero`` is where 0 lies."""

    zero: float
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A scheme's standing under one budget.

    Attributes:
        budget: the budget's title.
        rank: ``1``, or a dash where no run finished.
        score: the mean over seeds.
        interval: its 95 % interval; empty where there is none.
        seeds: how many of the seeds finished; empty where all did.
        level: whether the difference to the first lies inside its interval.
        change: ``up 2``, ``down 1``, ``same``, against the first budget; empty where unknown.
        strip: the picture; None without a score.
    """

    budget: str
    rank: str
    score: str
    interval: str
    seeds: str
    level: bool
    change: str
    strip: Strip | None


@dataclass(frozen=True, kw_only=True)
class StandingRow:
    """A scheme with a place under every budget."""

    scheme: str
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """What a scheme costs: one tuple of texts a budget, under :data:`COST_HEADINGS`."""

    scheme: str
    costs: tuple[tuple[str, ...], ...]


COST_HEADINGS = (
    "Tokens",
    "Time",
    "Well-formed",
    "Steps",
    "Target tokens",
    "Training",
)
"""Of an answer: tokens, time, share well-formed; of the training: steps, target tokens, time."""


@dataclass(frozen=True, kw_only=True)
class OrderingRow:
    """An ordering that a paper reports, and what it is here.

    ``bar`` is (low, value, high) in percent of a width whose middle is no difference; all rows
    share one scale.
    """

    title: str
    source: str
    budget: str
    what: str
    where: str
    difference: str
    interval: str
    seeds: str
    verdict: str
    style: str
    bar: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class BinTable:
    """The metric by what the truth is like; a cell is (value, interval, best of its column)."""

    title: str
    budget: str
    bins: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[tuple[str, str, bool], ...]], ...]


def strip_ends(result: Json) -> tuple[float, float]:
    """The ends of the line on which all scores are drawn: zero and a round number beyond all."""
    values = [0.0]
    for key in result["budgets"]:
        for entry in standings_of(result, key):
            score = score_of(entry)
            drawn = [*entry.get("by_seed", ()), *(score.get(k) for k in ("value", "low", "high"))]
            values += [value for value in map(finite, drawn) if value is not None]
    low, high = min(values), max(values)
    if high <= low:
        return low, low + 1.0
    step = 10.0 ** math.floor(math.log10(high - low))
    if (high - low) / step < 5:
        step /= 5 if (high - low) / step < 2 else 2
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def standing_rows(result: Json) -> list[StandingRow]:
    """A row a scheme, in the order of the first budget in which something finished."""
    keys = list(result["budgets"])
    tables = {key: {e["scheme"]: e for e in standings_of(result, key)} for key in keys}
    ends = strip_ends(result)
    places: dict[str, list[Place]] = {title: [] for title in scheme_order(result)}
    for key in keys:
        pairs = differences(result, key)
        first = standings_of(result, key)[0]["scheme"] if tables[key] else ""
        for title, row in places.items():
            entry = tables[key].get(title, {})
            before = tables[keys[0]].get(title, {}).get("rank") if key != keys[0] else None
            level = pairs.get((first, title), {}).get("outside") is False
            row.append(_place(result, key, entry, before, ends, level))
    return [StandingRow(scheme=title, places=tuple(row)) for title, row in places.items()]


def _place(
    result: Json, key: str, entry: Json, before: Any, ends: tuple[float, float], level: bool
) -> Place:
    score, rank = score_of(entry), entry.get("rank")
    value = finite(score.get("value"))
    change = ""
    if before is not None and rank is not None:
        step = int(before) - int(rank)
        change = f"up {step}" if step > 0 else f"down {-step}" if step < 0 else "same"
    num_seeds, asked = entry.get("num_seeds") or 0, len(result["seeds"])
    return Place(
        budget=title_of(result["budgets"][key]),
        rank="–" if rank is None else str(rank),
        score=number(value),
        interval=interval_text(score),
        seeds=f"{num_seeds} of {asked} seeds" if value is not None and num_seeds < asked else "",
        level=level,
        change=change,
        strip=None if value is None else _strip(value, score, entry.get("by_seed", ()), ends),
    )


def _strip(value: float, score: Json, seeds: Sequence[Any], ends: tuple[float, float]) -> Strip:
    def place(at: float | None) -> float:
        return 100 * ((value if at is None else at) - ends[0]) / (ends[1] - ends[0])

    return Strip(
        zero=place(0.0),
        value=place(value),
        low=place(finite(score.get("low"))),
        high=place(finite(score.get("high"))),
        seeds=tuple(place(seed) for seed in map(finite, seeds) if seed is not None),
    )


def cost_rows(result: Json) -> list[CostRow]:
    """A row a scheme, in the standings' order."""
    tables = [{e["scheme"]: e for e in standings_of(result, key)} for key in result["budgets"]]
    return [
        CostRow(scheme=title, costs=tuple(costs_of(table.get(title, {})) for table in tables))
        for title in scheme_order(result)
    ]


def costs_of(entry: Json) -> tuple[str, ...]:
    """An entry's (or a cell's) costs as texts under :data:`COST_HEADINGS`."""
    tokens = finite(entry.get("tokens"))
    return (
        number(tokens),
        duration(finite(entry.get("seconds"))),
        percent(finite(entry.get("well_formed"))),
        whole(entry.get("steps")),
        whole(entry.get("target_tokens")),
        clock(entry.get("training_seconds")),
    )


def ordering_rows(result: Json) -> list[OrderingRow]:
    """The orderings asked for, in the config's order."""
    rows = []
    ends = [finite(e.get(k)) for e in result.get("orderings", ()) for k in _ENDS]
    reach = max((abs(end) for end in ends if end is not None), default=0.0) * 1.05 or 1.0
    for entry in result.get("orderings", ()):
        where = entry.get("where") or {}
        by = str(where.get("by", ""))
        difference = finite(entry.get("difference"))
        seeds = entry.get("num_seeds") or ()
        verdict = str(entry.get("verdict", "not measured"))
        rows.append(
            OrderingRow(
                title=str(entry.get("title", "")),
                source=str(entry.get("source") or ""),
                budget=str(result["budgets"].get(entry.get("budget"), {}).get("title", "–")),
                what=f"{entry.get('above')} above {entry.get('below')}",
                where=f"{TITLES.get(by, by)}: {', '.join(where.get('bins', ()))}" if by else "",
                difference="–" if difference is None else signed(difference),
                interval=interval_text(entry, signed),
                seeds=" and ".join(str(count) for count in seeds) or "–",
                verdict=verdict,
                style=VERDICT_STYLES.get(verdict, "open"),
                bar=_ordering_bar(entry, reach),
            )
        )
    return rows


def _ordering_bar(entry: Json, reach: float) -> tuple[float, float, float] | None:
    low, value, high = (finite(entry.get(key)) for key in _ENDS)
    if low is None or value is None or high is None:
        return None
    return 50 * (1 + low / reach), 50 * (1 + value / reach), 50 * (1 + high / reach)


def ordering_sentence(result: Json) -> str:
    """How many orderings hold; empty without one."""
    rows = ordering_rows(result)
    told = []
    for verdict, of_one, of_many in (
        ("holds", "holds", "hold"),
        ("reversed", "is reversed", "are reversed"),
        ("inside the interval", "lies inside the interval", "lie inside the interval"),
        ("not measured", "is not measured", "are not measured"),
    ):
        count = sum(row.verdict == verdict for row in rows)
        if count:
            told.append(f"{count} {of_one if count == 1 else of_many}")
    return f"Of {len(rows)} comparisons: {', '.join(told)}." if rows else ""


def bin_tables(result: Json) -> list[BinTable]:
    """A table a break-down and budget; bins in the file's order."""
    tables = []
    entries = {key: standings_of(result, key) for key in result["budgets"]}
    kinds = dict.fromkeys(by for each in entries.values() for e in each for by in e.get("bins", {}))
    for by in kinds:
        for key, budget in result["budgets"].items():
            rows = [(str(e["scheme"]), e.get("bins", {}).get(by, {})) for e in entries[key]]
            names = dict.fromkeys(name for _, bins in rows for name in bins)
            if names:
                tables.append(_bin_table(TITLES.get(by, by), title_of(budget), list(names), rows))
    return tables


def _bin_table(
    title: str, budget: str, names: Sequence[str], rows: Sequence[tuple[str, Json]]
) -> BinTable:
    columns = []
    best = {}
    for name in names:
        found = [bins[name] for _, bins in rows if name in bins]
        counts = {int(one["num_samples"]) for one in found if one.get("num_samples") is not None}
        told = f"{min(counts):,} sample{'' if counts == {1} else 's'}" if counts else ""
        columns.append((name, f"{min(counts):,} to {told}" if len(counts) > 1 else told))
        values = [value for one in found if (value := finite(one.get("value"))) is not None]
        best[name] = max(values, default=None) if len(values) > 1 else None
    return BinTable(
        title=title,
        budget=budget,
        bins=tuple(columns),
        rows=tuple(
            (
                scheme,
                tuple(
                    (
                        number(finite(bins.get(name, {}).get("value"))),
                        interval_text(bins.get(name, {})),
                        best[name] is not None
                        and finite(bins.get(name, {}).get("value")) == best[name],
                    )
                    for name in names
                ),
            )
            for scheme, bins in rows
        ),
    )
