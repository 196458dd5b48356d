"""The page of a paired comparison: differences, and the samples that changed most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t4spp.evaluation.comparing import Difference, ProtocolComparison
from t4spp.plugins import Catalogue
from t4spp.report.compare import picture_groups
from t4spp.report.compared import ComparedGroup
from t4spp.report.html import environment, now, software_versions, write_page
from t4spp.report.paired_runs import Change, Comparison
from t4spp.report.runs import config_differences
from t4spp.report.tables import METRIC_HELP, METRIC_NAMES, PROTOCOL_HELP, number, signed


def write_paired_page(
    comparison: Comparison, catalogue: Catalogue, output: Path, *, most: int
) -> None:
    """Write the comparison as one page with the samples that changed most.

    Args:
        comparison: of the two runs.
        catalogue: the plugins, which decode the answers again.
        output: the page.
        most: samples in each direction.

    Raises:
        RunError: the page cannot be written, or answers are damaged.
    """
    first, second = comparison.views
    chosen = [
        (title, note, [change.id for change in changes])
        for title, note, changes in (
            (f"{second.label} gains most", f"{first.label} scores lower", comparison.gained(most)),
            (f"{second.label} loses most", f"{first.label} scores higher", comparison.lost(most)),
        )
        if changes
    ]
    groups: list[ComparedGroup] = []
    if chosen:
        groups = picture_groups(comparison.views, chosen, catalogue, comparison.notes)
    page = (
        environment()
        .get_template("paired.html")
        .render(
            title=f"{first.label} against {second.label}",
            comparison=comparison,
            first=first,
            second=second,
            tables=[_table(one) for one in comparison.protocols],
            bins=_histogram(comparison.changes),
            told=comparison.to_json(most, None),
            differences=config_differences(comparison.views),
            groups=groups,
            metric_names=METRIC_NAMES,
            versions=software_versions(),
            written=now(),
        )
    )
    write_page(output, page)


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """One line of the page's table.

    ``bar`` is (low, value, high) in percent of a width whose middle is no difference.
    """

    name: str
    help: str
    first: str
    second: str
    difference: str
    interval: str
    p_value: str
    verdict: str
    bar: tuple[float, float, float] | None


def p_text(value: float) -> str:
    """A p-value for reading: ``0.032``, ``< 0.001``; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(one: ProtocolComparison) -> tuple[ProtocolComparison, list[DifferenceRow]]:
    """A protocol and its rows; all bars share one scale."""
    ends = [
        abs(value)
        for each in one.differences
        for value in (each.difference, each.interval.low, each.interval.high)
        if math.isfinite(value) and abs(value) <= 1
    ]
    reach = max(ends, default=0.0) * 1.05 or 1.0
    return one, [_row(each, one.protocol, reach) for each in one.differences]


def _row(each: Difference, protocol: str, reach: float) -> DifferenceRow:
    low, high = each.interval.low, each.interval.high
    known = math.isfinite(low) and math.isfinite(high)
    bar = None
    if known and max(abs(low), abs(high), abs(each.difference)) <= reach:
        bar = (_place(low, reach), _place(each.difference, reach), _place(high, reach))
    verdict = ""
    if known and (low > 0 or high < 0):
        verdict = "clear"
    return DifferenceRow(
        name=METRIC_NAMES.get(each.metric, each.metric.replace("_", " ")),
        help=PROTOCOL_HELP.get((protocol, each.metric), METRIC_HELP.get(each.metric, "")),
        first=number(each.first),
        second=number(each.second),
        difference=signed(each.difference),
        interval=f"{signed(low)} to {signed(high)}" if known else "",
        p_value=p_text(each.p_value),
        verdict=verdict,
        bar=bar,
    )


def _place(value: float, reach: float) -> float:
    return 50 * (1 + value / reach)


def _histogram(changes: Sequence[Change], bins: int = 21) -> list[tuple[str, int, float]]:
    """(range, samples, height in percent) of the changes between -1 and 1."""
    if not changes:
        return []
    counts, edges = np.histogram([c.difference for c in changes], bins=bins, range=(-1.0, 1.0))
    highest = max(int(counts.max()), 1)
    return [
        (f"{low:+.2f} to {high:+.2f}", int(count), 100 * float(np.sqrt(count / highest)))
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
