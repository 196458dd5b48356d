"""The same samples under every scheme of a leaderboard."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from t4spp.errors import T4sppError
from t4spp.evaluation.predictions import check_scheme, predictions_path
from t4spp.plugins import Catalogue
from t4spp.report.compare import picture_groups
from t4spp.report.compared import ComparedCard, ComparedGroup
from t4spp.report.gallery import sample_scores
from t4spp.report.leaderboard_words import Json, standings_of, title_of
from t4spp.report.runs import RunView, open_run

logger = logging.getLogger(__name__)

MAX_MEGABYTES = 11.0
"""What the pictures of a leaderboard may weigh; cards beyond it are left out and counted."""


@dataclass(kw_only=True)
class BudgetSamples:
    """Pictures under one budget: a run a scheme.

    Attributes:
        title: the budget's.
        seeds: (scheme, seed) of the runs that are pictured.
        groups: samples under headings.
        notes: why something is not pictured.
        left_out: cards that did not fit.
    """

    title: str
    seeds: list[tuple[str, str]] = field(default_factory=list)
    groups: list[ComparedGroup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: int = 0


def budget_samples(
    result: Json, folder: Path, catalogue: Catalogue, per_group: int, max_megabytes: float
) -> list[BudgetSamples]:
    """Picture samples under the first finished seed of each scheme, budget by budget.

    Args:
        result: the content of ``leaderboard.json``.
        folder: the leaderboard's folder.
        catalogue: the plugins.
        per_group: samples in each group; 0 for none.
        max_megabytes: of all budgets together.

    Returns:
        An entry a budget. What cannot be opened is noted there, never raised.
    """
    if per_group <= 0:
        return []
    found = []
    opened = []
    for key, budget in result["budgets"].items():
        one = BudgetSamples(title=title_of(budget))
        found.append(one)
        views = _open_views(result, key, folder, catalogue, one)
        if views:
            opened.append((one, views))
    for position, (one, views) in enumerate(opened):
        chosen = choose_samples(views, per_group)
        if not chosen:
            one.notes.append("No sample was scored in every run, so none are pictured.")
            continue
        try:
            groups = picture_groups(views, chosen, catalogue, one.notes)
        except T4sppError as error:
            one.notes.append(f"No pictures: {error}")
            continue
        share = max_megabytes / (len(opened) - position)
        one.groups, one.left_out, used = within(groups, share * 1e6)
        max_megabytes -= used / 1e6
    return found


def _open_views(
    result: Json, key: str, folder: Path, catalogue: Catalogue, one: BudgetSamples
) -> list[RunView]:
    """The first finished run of each scheme that can be read, in the standings' order."""
    views = []
    for entry in standings_of(result, key):
        title = str(entry["scheme"])
        done = [
            cell
            for cell in result["cells"]
            if (cell["scheme"], cell["budget"], cell["status"]) == (entry["scheme"], key, "done")
        ]
        for cell in done[:1]:
            try:
                view = _open_view(folder / str(cell["folder"]), str(result["split"]), catalogue)
            except T4sppError as error:
                one.notes.append(f"{title}, seed {cell['seed']}, is not pictured: {error}")
                continue
            view.title = title
            views.append(view)
            one.seeds.append((title, str(cell["seed"])))
    return views


def _open_view(folder: Path, split: str, catalogue: Catalogue) -> RunView:
    """A run whose answers were written by the scheme that its config names.

    Raises:
        T4sppError: it is not, or the folder is no run or damaged.
    """
    view = open_run(folder, catalogue, split)
    scheme = view.config.scheme
    if view.meta is not None:
        built = catalogue.build("scheme", scheme.name, scheme.params, where="scheme.params")
        check_scheme(view.meta, built.fingerprint(), predictions_path(folder, view.split))
    return view


def choose_samples(views: Sequence[RunView], per_group: int) -> list[tuple[str, str, list[str]]]:
    """(title, note, ids) of the samples on which the runs differ most, and are right or wrong.

    Only samples with a target that every run was asked and scored on. No sample appears twice,
    and no picture twice in a group while there are others; ties go to the split's order.
    """
    tables = [sample_scores(view.scores) for view in views]
    asked = set.intersection(*({(p.id, p.prompt) for p in view.predictions} for view in views))
    common = [
        prediction.id
        for prediction in views[0].predictions
        if (prediction.id, prediction.prompt) in asked
        and all(prediction.id in table for table in tables)
    ]
    scores = {key: [table[key] for table in tables] for key in common}
    pictures = {row.id: row.image_id or row.id for row in views[0].scores}
    several = len(views) > 1
    highest = "highest score of the worst scheme" if several else "highest score"
    lowest = "lowest score of the best scheme" if several else "lowest score"
    ways = [
        ("All right", highest, lambda key: -min(scores[key])),
        ("All wrong", lowest, lambda key: max(scores[key])),
    ]
    if several:
        differ = "largest gap between the best and the worst scheme"
        ways.insert(
            0, ("Where they differ most", differ, lambda key: min(scores[key]) - max(scores[key]))
        )
    shown: set[str] = set()
    chosen = []
    for title, note, worth in ways:
        ranked = [key for key in sorted(common, key=worth) if key not in shown]
        first: dict[str, str] = {}
        for key in ranked:
            first.setdefault(pictures[key], key)
        fresh = set(first.values())
        again = [key for key in ranked if key not in fresh]
        ids = [*first.values(), *again][:per_group]
        shown.update(ids)
        if ids:
            chosen.append((title, note, ids))
    return chosen


def within(
    groups: Sequence[ComparedGroup], num_bytes: float
) -> tuple[list[ComparedGroup], int, int]:
    """What of the groups fits, taken in turns, so that each keeps its first cards.

    Returns:
        The groups that keep a card, how many cards were left out, and the bytes that the rest adds.
    """
    kept: list[list[ComparedCard]] = [[] for _ in groups]
    used = left_out = 0
    for turn in range(max((len(group.cards) for group in groups), default=0)):
        for place, group in enumerate(groups):
            if turn < len(group.cards):
                size = _size(group.cards[turn])
                if used + size > num_bytes:
                    left_out += 1
                    continue
                used += size
                kept[place].append(group.cards[turn])
    if left_out:
        logger.info("leaderboard: %d samples left out to keep the page small", left_out)
    shown = [
        ComparedGroup(title=group.title, note=group.note, cards=tuple(cards))
        for group, cards in zip(groups, kept, strict=True)
        if cards
    ]
    return shown, left_out, used


def _size(card: ComparedCard) -> int:
    """About what a card adds to the page, in bytes."""
    pictures = sum(len(panel.uri) for panel in card.panels)
    return pictures + sum(len(a.panel.uri) + len(a.text) + 600 for a in card.answers) + 1500
