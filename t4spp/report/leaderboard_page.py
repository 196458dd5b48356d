"""The page of a leaderboard: who leads, what it costs, which differences are more than chance.

The numbers are those of ``leaderboard.json``; the pictures come from the cells' own runs. Cells
that failed or have not run yet are told, and cost the page nothing.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from t4spp.config import ComponentConfig
from t4spp.plugins import Catalogue
from t4spp.report.curves import Chart
from t4spp.report.html import (
    PER_GROUP,
    REPORT_NAME,
    environment,
    now,
    software_versions,
    write_page,
)
from t4spp.report.leaderboard_markdown import leaderboard_markdown
from t4spp.report.leaderboard_pairs import pair_matrices
from t4spp.report.leaderboard_rows import (
    COST_HEADINGS,
    bin_tables,
    cost_rows,
    costs_of,
    ordering_rows,
    ordering_sentence,
    standing_rows,
    strip_ends,
)
from t4spp.report.leaderboard_samples import MAX_MEGABYTES, budget_samples
from t4spp.report.leaderboard_words import (
    Json,
    amount_of,
    change_sentence,
    findings,
    interval_text,
    metric_name,
    score_of,
    standings_of,
    title_of,
)
from t4spp.report.scatter import Point, scatter_chart
from t4spp.report.study import STYLES
from t4spp.report.tables import component_text, finite, number, percent

__all__ = ["leaderboard_markdown", "write_leaderboard_page"]

logger = logging.getLogger(__name__)

MAX_ERROR = 4000
"""Characters of a failed cell's last lines that the page shows: the last ones."""


def write_leaderboard_page(
    result: Mapping[str, Any],
    folder: Path,
    catalogue: Catalogue,
    output: Path,
    *,
    per_group: int = PER_GROUP,
    max_megabytes: float = MAX_MEGABYTES,
) -> None:
    """Write a leaderboard as one page.

    Args:
        result: the content of ``leaderboard.json``.
        folder: the leaderboard's folder, below which the cells' runs lie.
        catalogue: the plugins, which decode the answers that are pictured.
        output: the page.
        per_group: samples in each group of pictures; 0 for none.
        max_megabytes: the most that the pictures may add; what does not fit is counted.

    Raises:
        RunError: the page cannot be written. Runs that cannot be opened cost their pictures, and
            are named on the page.
    """
    samples = budget_samples(result, folder, catalogue, per_group, max_megabytes)
    cells = [_cell(result, cell, folder, output.parent) for cell in result["cells"]]
    low, high = strip_ends(result)
    page = (
        environment()
        .get_template("leaderboard.html")
        .render(
            title=str(result["name"]),
            result=result,
            metric=metric_name(result),
            facts=_facts(result),
            findings=findings(result),
            change=change_sentence(result),
            notes=list(result.get("notes", ())),
            budgets=[(title_of(b), amount_of(b)) for b in result["budgets"].values()],
            components=_components(result, catalogue),
            standings=standing_rows(result),
            strip_ends=(number(low, 1) if low else "0", f"{high:g}"),
            cost_headings=COST_HEADINGS,
            costs=cost_rows(result),
            charts=_charts(result),
            wide_charts=len(result["schemes"]) > 6,
            matrices=pair_matrices(result),
            orderings=ordering_rows(result),
            ordering_sentence=ordering_sentence(result),
            bins=bin_tables(result),
            samples=samples,
            has_samples=any(one.groups for one in samples),
            failed=[cell for cell in cells if cell.status == "failed"],
            waiting=_waiting(result),
            command=_command(result, folder),
            cells=cells,
            versions=software_versions(),
            written=now(),
        )
    )
    write_page(output, page)


def _facts(result: Json) -> list[tuple[str, str]]:
    """What the masthead tells."""
    states = [cell["status"] for cell in result["cells"]]
    seeds = [str(seed) for seed in result["seeds"]]
    facts = [
        ("Metric", metric_name(result)),
        ("Protocol", str(result["protocol"])),
        ("Split", str(result["split"])),
        ("Prompts", number(result.get("num_samples"))),
        ("Seeds" if len(seeds) != 1 else "Seed", ", ".join(seeds) or "–"),
        *((title_of(budget), amount_of(budget)) for budget in result["budgets"].values()),
        ("Runs done", f"{states.count('done')} of {len(states)}"),
    ]
    if states.count("failed"):
        facts.append(("Failed", str(states.count("failed"))))
    return facts


def _components(result: Json, catalogue: Catalogue) -> dict[str, str]:
    """Of each title, the scheme as the command line writes it, where that says more."""
    found = {}
    for title, content in result["schemes"].items():
        component = ComponentConfig(name=content["name"], params=content.get("params") or {})
        text = component_text(catalogue, "scheme", component)
        found[title] = "" if title.startswith(text) else text
    return found


def _charts(result: Json) -> list[Chart]:
    """Score against tokens, a chart a budget in which something finished."""
    names = list(dict.fromkeys(content["name"] for content in result["schemes"].values()))
    several = 1 < len(names) <= len(STYLES)
    styles = {name: STYLES[place] if several else STYLES[0] for place, name in enumerate(names)}
    charts = []
    for key, budget in result["budgets"].items():
        points = [
            Point(
                name=str(entry["scheme"]),
                x=tokens,
                y=value,
                low=finite(score_of(entry).get("low")),
                high=finite(score_of(entry).get("high")),
                style=styles[result["schemes"][entry["scheme"]]["name"]],
            )
            for entry in standings_of(result, key)
            if (tokens := finite(entry.get("tokens"))) is not None
            and (value := finite(score_of(entry).get("value"))) is not None
        ]
        title = f"{title_of(budget)}: {amount_of(budget)}"
        svg = scatter_chart(
            points, title=title, x_label="tokens an answer", y_label=metric_name(result)
        )
        if svg:
            charts.append(Chart(title=title, svg=svg, legend=()))
    return charts


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One run of the leaderboard; ``report`` and ``log`` are links, empty where no file is."""

    scheme: str
    budget: str
    seed: str
    status: str
    score: str
    interval: str
    costs: tuple[str, ...]
    loss: str
    repaired: str
    invalid: str
    folder: str
    report: str
    log: str
    log_name: str
    error: str


def _cell(result: Json, cell: Json, folder: Path, base: Path) -> CellRow:
    own = str(cell["folder"])
    log = str(cell.get("log") or "")
    return CellRow(
        scheme=str(cell["scheme"]),
        budget=title_of(result["budgets"].get(cell["budget"], {"title": cell["budget"]})),
        seed=str(cell["seed"]),
        status=str(cell["status"]),
        score=number(finite(cell.get("score"))),
        interval=interval_text(cell),
        costs=costs_of(cell),
        loss=number(finite(cell.get("loss"))),
        repaired=percent(finite(cell.get("repaired"))),
        invalid=percent(finite(cell.get("invalid"))),
        folder=own,
        report=_link(folder / own / REPORT_NAME, base),
        log=_link(folder / log, base) if log else "",
        log_name=log,
        error=str(cell.get("error") or "")[-MAX_ERROR:],
    )


def _link(path: Path, base: Path) -> str:
    """A link from a page in ``base`` to a file; empty where there is none."""
    if not path.is_file():
        return ""
    try:
        relative = os.path.relpath(path.resolve(), base.resolve())
    except ValueError:  # on another drive
        return ""
    return quote(Path(relative).as_posix())


def _waiting(result: Json) -> list[tuple[str, str, str]]:
    """(scheme, budget, seeds) of the cells that are neither done nor failed."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in result["cells"]:
        if cell["status"] not in ("done", "failed"):
            found.setdefault((cell["scheme"], cell["budget"]), []).append(str(cell["seed"]))
    return [
        (scheme, title_of(result["budgets"].get(key, {"title": key})), ", ".join(seeds))
        for (scheme, key), seeds in found.items()
    ]


def _command(result: Json, folder: Path) -> str:
    """What goes on with the cells that are not done."""
    command = ["t4spp", "leaderboard", str(result.get("config") or "CONFIG")]
    if folder != Path("runs") / str(result["name"]):
        command += ["-o", str(folder)]
    for override in result.get("set", ()):
        command += ["--set", str(override)]
    return shlex.join(command)
