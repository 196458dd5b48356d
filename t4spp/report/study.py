"""A study in pictures: what runs score against what they write, and the baselines below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t4spp.report.curves import Chart
from t4spp.report.runs import RunView
from t4spp.report.scatter import Level, Point, scatter_chart
from t4spp.report.tables import answer_summary, column_headings, number, score_columns

STYLES = tuple(f"line-{letter}" for letter in "abcdef")
"""CSS classes of colours; the seventh scheme takes the first one again."""


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """What a chart sets against what."""

    title: str
    protocol: str
    metric: str
    y_label: str
    x_label: str
    by_ground: bool


_AXES = (
    _Axis(
        title="Scene IoU against tokens a hectare",
        protocol="scene",
        metric="iou",
        y_label="scene IoU",
        x_label="tokens a hectare",
        by_ground=True,
    ),
    _Axis(
        title="Object F1 against tokens a hectare",
        protocol="objects",
        metric="f1",
        y_label="object F1",
        x_label="tokens a hectare",
        by_ground=True,
    ),
    _Axis(
        title="Mean IoU against tokens an answer",
        protocol="native",
        metric="mean_iou",
        y_label="mean IoU",
        x_label="tokens an answer",
        by_ground=False,
    ),
)


def tell_apart(views: Sequence[RunView]) -> None:
    """Give runs of one name titles with their folders' names."""
    names = Counter(view.config.name for view in views)
    folders = Counter(view.folder.name for view in views)
    for view in views:
        if names[view.config.name] > 1:
            folder = view.folder.name
            view.title = folder if folders[folder] == 1 else str(view.folder)


def score_charts(views: Sequence[RunView]) -> tuple[Chart, ...]:
    """Scores against tokens, a point a run, coloured by scheme; no chart without a point.

    Windows at several ground resolutions show different areas, so scores in space stand against
    tokens a hectare, and only the score of single answers against tokens an answer.
    """
    schemes = list(dict.fromkeys(view.config.scheme.name for view in views))
    styles = {name: STYLES[index % len(STYLES)] for index, name in enumerate(schemes)}
    charts = []
    for axis in _AXES:
        points = [
            point
            for view in views
            if (point := _point(view, axis, styles[view.config.scheme.name])) is not None
        ]
        svg = scatter_chart(
            points,
            title=axis.title,
            x_label=axis.x_label,
            y_label=axis.y_label,
            levels=_levels(views, axis) if points else (),
        )
        if svg:
            shown = {point.style for point in points}
            legend = tuple((name, styles[name]) for name in schemes if styles[name] in shown)
            charts.append(Chart(title=axis.title, svg=svg, legend=legend))
    return tuple(charts)


def _point(view: RunView, axis: _Axis, style: str) -> Point | None:
    score = view.metrics.get("protocols", {}).get(axis.protocol, {}).get(axis.metric)
    tokens: Any = answer_summary(view).mean_tokens
    if axis.by_ground:
        tokens = view.metrics.get("space", {}).get("tokens_per_hectare")
    if not isinstance(score, Mapping) or score.get("value") is None or tokens is None:
        return None
    return Point(
        name=view.label,
        x=float(tokens),
        y=float(score["value"]),
        low=score.get("low"),
        high=score.get("high"),
        style=style,
    )


def _levels(views: Sequence[RunView], axis: _Axis) -> tuple[Level, ...]:
    """What the baselines score, where all runs that have some agree on it to two digits."""
    found: dict[str, set[float]] = {}
    for view in views:
        for name, protocols in view.baselines.items():
            value = protocols.get(axis.protocol, {}).get(axis.metric, {}).get("value")
            if value is not None:
                found.setdefault(name, set()).add(round(float(value), 2))
    joined: dict[float, list[str]] = {}
    for name, values in found.items():
        if len(values) == 1 and max(values) > 0:  # a line at 0 would only squeeze the chart
            joined.setdefault(max(values), []).append(name)
    return tuple(Level(name=", ".join(names), y=y) for y, names in joined.items())


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """A baseline beside the run that it was measured for; values as text."""

    run: str
    baseline: str
    values: tuple[str, ...]


def baseline_table(views: Sequence[RunView]) -> tuple[list[str], list[BaselineRow]]:
    """Headings and rows: every run's own scores, then its baselines'; empty without baselines."""
    columns = score_columns(protocols for view in views for protocols in view.baselines.values())
    headings = column_headings(columns)
    rows = []
    for view in views:
        if not view.baselines:
            continue
        own = view.metrics.get("protocols", {})
        for name, protocols in {"the run": own, **view.baselines}.items():
            cells = (protocols.get(protocol, {}).get(metric, {}) for protocol, metric in columns)
            rows.append(
                BaselineRow(
                    run=view.label,
                    baseline=name,
                    values=tuple(number(cell.get("value")) for cell in cells),
                )
            )
    return headings, rows
