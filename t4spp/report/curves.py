"""Line charts as inline SVG: no script, no font file, readable on light and dark grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 12, 40
HUGE = 1e30
"""Values beyond it, like those that are not finite, are no points of a chart."""
MAX_POINTS = 500
"""Points a line keeps; more are averaged in groups of neighbours."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line: (x, y) points by rising x; ``style`` is a CSS class (``line-a``, ``faint``, ...)."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: str = "line-a"
    dots: bool = False


def smoothed(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """A centred moving mean over a twentieth of the points; narrower at both ends."""
    reach = max(1, len(points) // 40)
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    result = []
    for index, (x, _) in enumerate(points):
        side = min(reach, index, len(points) - 1 - index)
        first, last = index - side, index + side + 1
        result.append((x, (sums[last] - sums[first]) / (last - first)))
    return tuple(result)


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """At most ``MAX_POINTS`` points: means of groups of neighbours, the last point kept."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return tuple(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple(
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    )


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in ``low..high``, about ``count`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 5, 10) if factor * power >= raw), raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in ``low..high``; some powers alone when the range is long."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    exponents = range(first, last + 1, max(1, (last - first) // 6))
    values = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def tick_text(value: float) -> str:
    """A short number: ``2k``, ``0.05``, ``2e-4``."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if abs(value) < 0.001:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.6g}"


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str = "step",
    y_label: str = "",
    y_range: tuple[float, float] | None = None,
) -> str:
    """An ``<svg>`` element; empty text when no line has a finite point.

    The y axis is logarithmic when all values are positive and span more than a factor of 30.
    """
    lines = [
        Series(
            name=line.name,
            points=thinned([p for p in line.points if all(abs(value) < HUGE for value in p)]),
            style=line.style,
            dots=line.dots,
        )
        for line in series
    ]
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    ys = [y for line in lines for _, y in line.points]
    xs = [x for line in lines for x, _ in line.points]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = y_range or (min(ys), max(ys))
    logarithmic = y_range is None and y_low > 0 and y_high / y_low > 30
    if y_range is None and not logarithmic:
        margin = 0.05 * (y_high - y_low) or 0.05 * abs(y_high) or 1.0
        bottom = 0.0 if y_low >= 0 and y_low < 0.6 * y_high else y_low - margin
        y_low, y_high = bottom, y_high + margin
    if x_high == x_low:
        x_low, x_high = x_low - 1, x_high + 1

    def place_x(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def place_y(y: float) -> float:
        if logarithmic:
            share = (math.log(y) - math.log(y_low)) / (math.log(y_high) - math.log(y_low))
        else:
            share = (y - y_low) / (y_high - y_low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_spoken(title, lines), quote=True)}">'
    ]
    for value in log_ticks(y_low, y_high) if logarithmic else ticks(y_low, y_high):
        y = place_y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick_text(value)}</text>"
        )
    for value in ticks(x_low, x_high, 6):
        x = place_x(value)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{tick_text(value)}</text>"
        )
    base = HEIGHT - BOTTOM
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
        f'<text class="axis-label" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        f"{escape(x_label)}</text>"
    )
    if y_label:
        parts.append(
            f'<text class="axis-label" transform="translate(13 {(TOP + base) / 2:.0f}) '
            f'rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
        )
    for line in lines:
        where = [(place_x(x), place_y(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
        if len(where) > 1:
            parts.append(f'<polyline class="line {escape(line.style)}" points="{path}"/>')
        if line.dots or len(where) == 1:
            parts.extend(
                f'<circle class="dot {escape(line.style)}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
                for x, y in where
            )
    parts.append("</svg>")
    return "".join(parts)


def _spoken(title: str, lines: Sequence[Series]) -> str:
    """The chart in words, for those who do not see it."""
    told = [
        f"{line.name} from {line.points[0][1]:.4g} at {line.points[0][0]:g} "
        f"to {line.points[-1][1]:.4g} at {line.points[-1][0]:g}"
        for line in lines
        if line.style != "faint"
    ]
    return f"{title}: {'; '.join(told)}"


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart with its caption and the legend's (name, CSS class) pairs."""

    title: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()


def _points(events: Sequence[dict[str, Any]], key: str) -> tuple[tuple[float, float], ...]:
    return tuple(
        (event["step"], event[key])
        for event in events
        if isinstance(event.get(key), int | float) and not isinstance(event.get(key), bool)
    )


def training_charts(
    train: Sequence[dict[str, Any]], evals: Sequence[dict[str, Any]]
) -> tuple[Chart, ...]:
    """Loss, learning rate and the scores during training, as far as the events hold them."""
    charts = []
    loss = _points(train, "loss")
    if loss:
        lines = [Series(name="each log", points=loss, style="faint")]
        if len(loss) >= 30:
            lines.append(Series(name="smoothed", points=smoothed(loss)))
        else:
            lines = [Series(name="loss", points=loss)]
        legend = tuple((line.name, line.style) for line in lines) if len(lines) > 1 else ()
        svg = line_chart(lines, title="Training loss", y_label="loss per answer token")
        charts.append(Chart(title="Training loss", svg=svg, legend=legend))
    rate = _points(train, "lr") or _points(train, "learning_rate")
    if rate:
        svg = line_chart([Series(name="learning rate", points=rate)], title="Learning rate")
        charts.append(Chart(title="Learning rate", svg=svg))
    names = sorted(
        {
            key
            for event in evals
            for key in event
            if key.endswith(("mean_iou", "ciou")) and not key.startswith("answers/")
        }
    )
    scores = [
        Series(name=name, points=_points(evals, name), style=f"line-{'abcdef'[i % 6]}", dots=True)
        for i, name in enumerate(names[:6])
    ]
    if any(len(line.points) > 1 for line in scores):
        svg = line_chart(scores, title="Scores while training", y_range=(0.0, 1.0))
        legend = tuple((line.name, line.style) for line in scores)
        charts.append(Chart(title="Scores while training", svg=svg, legend=legend))
    return tuple(chart for chart in charts if chart.svg)
