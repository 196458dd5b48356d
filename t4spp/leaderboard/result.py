"""``leaderboard.json``: cells, standings, differences, orderings; see docs/leaderboard.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from t4spp.errors import RunError
from t4spp.evaluation.predictions import predictions_path
from t4spp.evaluation.sums import ProtocolSums, read_sums, sums_path
from t4spp.leaderboard.cells import CellState
from t4spp.leaderboard.config import BUDGET_TITLES, Budget, LeaderboardConfig, OrderingConfig
from t4spp.leaderboard.standings import Drawn, Draws, described, difference, finite, verdict
from t4spp.leaderboard.truths import Truths

SCHEMA = 1
"""Version of ``leaderboard.json``."""
UNITS: Mapping[Budget, str] = {"steps": "steps", "tokens": "target tokens"}
COSTS = (
    "steps",
    "target_tokens",
    "training_seconds",
    "loss",
    "tokens",
    "seconds",
    "well_formed",
    "repaired",
    "invalid",
)
"""Of a cell, and as means over seeds of a standing."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What is known under one budget.

    Attributes:
        drawn: scores over all samples, by scheme; those without a finished run left out.
        draws: what draws more of them.
    """

    drawn: dict[str, Drawn]
    draws: Draws


def build_result(
    config: LeaderboardConfig,
    source: str,
    overrides: Sequence[str],
    states: Sequence[CellState],
    folder: Path,
    truths: Truths,
) -> dict[str, Any]:
    """Everything the page shows, from what the cells' folders hold.

    Args:
        config: the leaderboard's.
        source: its file, as it was named.
        overrides: ``--set`` values that it was read with.
        states: of every cell.
        folder: the leaderboard's.
        truths: of the scored samples, for break-downs and orderings.

    Raises:
        RunError: a run's files are damaged, or one is missing.
        ConfigError: the metric is not to be had.
    """
    budgets = config.budgets.amounts()
    columns = {budget: _column(config, budget, states, folder) for budget in budgets}
    cells = [_cell(state, config) for state in states]
    split = states[0].cell.config.data.eval_split
    return {
        "schema": SCHEMA,
        "name": config.name,
        "config": source,
        "set": list(overrides),
        "protocol": config.protocol,
        "metric": config.metric,
        "split": split,
        "num_samples": max((len(column.draws.ids) for column in columns.values()), default=0),
        "seeds": list(config.seeds),
        "resamples": config.resamples,
        "budgets": {
            budget: {"title": BUDGET_TITLES[budget], "amount": amount, "unit": UNITS[budget]}
            for budget, amount in budgets.items()
        },
        "schemes": {
            title: {"name": entry.name, "params": dict(entry.params)}
            for title, entry in config.schemes.items()
        },
        "cells": cells,
        "standings": {
            budget: _standings(config, column, [c for c in cells if c["budget"] == budget], truths)
            for budget, column in columns.items()
        },
        "pairs": {budget: _pairs(config, column) for budget, column in columns.items()},
        "orderings": [
            _ordering(title, ordering, budget, column, truths)
            for title, ordering in config.orderings.items()
            for budget, column in columns.items()
        ],
        "notes": _notes(config, cells, columns, truths),
    }


def _column(
    config: LeaderboardConfig, budget: Budget, states: Sequence[CellState], folder: Path
) -> Column:
    runs: dict[str, list[ProtocolSums]] = {}
    for state in states:
        cell = state.cell
        if cell.budget == budget and state.status == "done":
            path = predictions_path(folder / cell.place, cell.config.data.eval_split)
            if not sums_path(path).is_file():
                raise RunError(
                    f"{sums_path(path)} is missing, and the leaderboard compares what each sample "
                    f"adds to the scores. Write it again with: t4spp evaluate {folder / cell.place}"
                )
            sums = read_sums(sums_path(path)).get(config.protocol)
            if sums is not None:
                runs.setdefault(cell.scheme, []).append(sums)
    draws = Draws(runs, protocol=config.protocol, metric=config.metric, resamples=config.resamples)
    return Column(drawn={title: draws.of(title) for title in runs}, draws=draws)


def _cell(state: CellState, config: LeaderboardConfig) -> dict[str, Any]:
    """A cell's own numbers; None where it is not done."""
    cell = state.cell
    metrics: Mapping[str, Any] = state.metrics or {}
    score = metrics.get("protocols", {}).get(config.protocol, {}).get(config.metric, {})
    answers = metrics.get("answers", {})
    shares = answers.get("shares", {})
    return {
        "scheme": cell.scheme,
        "budget": cell.budget,
        "seed": cell.seed,
        "folder": cell.place,
        "status": state.status,
        "error": state.error,
        "log": cell.log,
        "score": score.get("value"),
        "low": score.get("low"),
        "high": score.get("high"),
        **(state.training or dict.fromkeys(("steps", "target_tokens", "training_seconds", "loss"))),
        "tokens": answers.get("tokens", {}).get("mean"),
        "seconds": answers.get("seconds", {}).get("mean"),
        "well_formed": shares.get("ok"),
        "repaired": shares.get("repaired"),
        "invalid": shares.get("invalid"),
    }


def _standings(
    config: LeaderboardConfig, column: Column, cells: Sequence[Mapping[str, Any]], truths: Truths
) -> list[dict[str, Any]]:
    """The schemes, the best score first; those without one last, in the config's order."""
    values = {title: finite(drawn.value) for title, drawn in column.drawn.items()}
    ordered = sorted(
        config.schemes,
        key=lambda title: (values.get(title) is None, -(values.get(title) or 0.0)),
    )
    rows: list[dict[str, Any]] = []
    for title in ordered:
        drawn = column.drawn.get(title)
        done = [cell for cell in cells if cell["scheme"] == title and cell["status"] == "done"]
        scored = values.get(title) is not None
        rows.append(
            {
                "scheme": title,
                "rank": len(rows) + 1 if scored else None,
                "num_seeds": len(done),
                "score": dict.fromkeys(("value", "low", "high"))
                if drawn is None
                else described(drawn),
                "by_seed": [] if drawn is None else [finite(value) for value in drawn.by_seed],
                **{name: _mean([cell[name] for cell in done]) for name in COSTS},
                "bins": {} if drawn is None else _bins(title, column.draws, truths, config),
            }
        )
    return rows


def _bins(
    title: str, draws: Draws, truths: Truths, config: LeaderboardConfig
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for by in config.breakdowns:
        for name, ids in truths.bins.get(by, {}).items():
            drawn = draws.of(title, ids)
            if drawn.num_samples:
                entry = {**described(drawn), "num_samples": drawn.num_samples}
                found.setdefault(by, {})[name] = entry
    return found


def _pairs(config: LeaderboardConfig, column: Column) -> list[dict[str, Any]]:
    """Differences of all pairs of schemes that have a score, first minus second."""
    present = [title for title in config.schemes if title in column.drawn]
    return [
        {
            "first": first,
            "second": second,
            **difference(column.drawn[first], column.drawn[second]),
        }
        for first, second in combinations(present, 2)
    ]


def _ordering(
    title: str, ordering: OrderingConfig, budget: Budget, column: Column, truths: Truths
) -> dict[str, Any]:
    where = ordering.where
    found: dict[str, Any] = {"difference": None, "low": None, "high": None, "outside": None}
    seeds = [len(column.draws.runs.get(name, ())) for name in (ordering.above, ordering.below)]
    kept: frozenset[str] | None = None
    if where is not None:
        bins = truths.bins.get(where.by, {})
        kept = frozenset().union(*(bins.get(name, frozenset()) for name in where.bins))
    num_samples = 0
    if all(seeds):
        above, below = (column.draws.of(name, kept) for name in (ordering.above, ordering.below))
        num_samples = above.num_samples
        if num_samples:
            found = difference(above, below)
    return {
        "title": title,
        "source": ordering.source,
        "budget": budget,
        "above": ordering.above,
        "below": ordering.below,
        "where": None if where is None else {"by": where.by, "bins": list(where.bins)},
        **found,
        "num_samples": num_samples,
        "num_seeds": seeds,
        "verdict": verdict(found),
    }


def _notes(
    config: LeaderboardConfig,
    cells: Sequence[Mapping[str, Any]],
    columns: Mapping[Budget, Column],
    truths: Truths,
) -> list[str]:
    notes = []
    few = sorted({len(runs) for column in columns.values() for runs in column.draws.runs.values()})
    if few and few[0] == 1:
        notes.append(
            "Some schemes have one finished seed: their intervals draw pictures only, and do not "
            "say what another training would give."
        )
    if len(few) > 1:
        notes.append("Schemes have different numbers of finished seeds.")
    for budget, column in columns.items():
        if column.draws.num_left_out:
            notes.append(
                f"{BUDGET_TITLES[budget]}: {column.draws.num_left_out} samples were answered by "
                "some runs only and are left out."
            )
    for by, number in truths.num_mixed.items():
        notes.append(
            f"{number} samples have labels in several bins of {by} and are in none of them."
        )
    return notes


def _mean(values: Sequence[Any]) -> float | None:
    present = [float(value) for value in values if value is not None]
    return fmean(present) if present else None
