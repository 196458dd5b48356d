"""Scatter plots as inline SVG: named points with intervals, and what the best ones spend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from t4spp.report.curves import HUGE, log_ticks, tick_text, ticks

SIZE, WIDE = (640, 360), (1080, 460)
"""Width and height of a chart, and of one with many points."""
MANY = 6
"""Points from which on names need the wide chart."""
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 16, 44
DOT = 5.0
LETTER, LINE = 7.2, 14.0
"""Width of a letter and height of a line of a point's name, in the chart's units; estimates."""
LOGARITHMIC_FROM = 5.0
"""x grows by factors where the largest is more than so many times the smallest."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A named point; ``low`` and ``high`` are the ends of its y's interval."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    style: str = "line-a"


@dataclass(frozen=True, kw_only=True)
class Level:
    """A named line across the chart: what a baseline scores."""

    name: str
    y: float


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """A rectangle of the chart that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Spot) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats (no more x, no less y), by rising x."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not kept or point.y > kept[-1].y:
            kept.append(point)
    return kept


def scatter_chart(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    levels: Sequence[Level] = (),
) -> str:
    """An ``<svg>`` element; empty text without a finite point.

    A faint line joins the points that no other one beats. Names are placed beside their points so
    that they cover neither points nor each other where there is room.
    """
    points = [p for p in points if abs(p.x) < HUGE and abs(p.y) < HUGE]
    if not points:
        return ""
    width, height = WIDE if len(points) > MANY else SIZE
    xs = [point.x for point in points]
    ys = [value for p in points for value in (p.y, p.low, p.high) if value is not None]
    ys += [level.y for level in levels]
    logarithmic = min(xs) > 0 and max(xs) / min(xs) > LOGARITHMIC_FROM
    x_low, x_high = _padded(min(xs), max(xs), logarithmic=logarithmic)
    y_low, y_high = _padded(min(ys), max(ys), logarithmic=False)
    if min(ys) >= 0:
        y_low = max(0.0, y_low)
    base = height - BOTTOM

    def place_x(x: float) -> float:
        if logarithmic:
            share = math.log(x / x_low) / math.log(x_high / x_low)
        else:
            share = (x - x_low) / (x_high - x_low)
        return LEFT + share * (width - LEFT - RIGHT)

    def place_y(y: float) -> float:
        return base - (y - y_low) / (y_high - y_low) * (base - TOP)

    told = [f"{p.name}: {p.y:.4g} at {p.x:.4g}" for p in points]
    spoken = "; ".join([*told, *(f"{level.name}: {level.y:.4g}" for level in levels)])
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(f"{title}: {spoken}", quote=True)}">'
    ]
    for value in ticks(y_low, y_high):
        y = place_y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick_text(value)}</text>"
        )
    for value in log_ticks(x_low, x_high) if logarithmic else ticks(x_low, x_high, 6):
        x = place_x(value)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>'
            f'<text class="tick" x="{x:.1f}" y="{base + 18}" text-anchor="middle">'
            f"{tick_text(value)}</text>"
        )
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{base}" y2="{base}"/>'
        f'<text class="axis-label" x="{width - RIGHT}" y="{height - 6}" text-anchor="end">'
        f"{escape(x_label)}{', log scale' if logarithmic else ''}</text>"
        f'<text class="axis-label" transform="translate(13 {(TOP + base) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for level in levels:
        y = place_y(level.y)
        parts.append(
            f'<line class="level" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    best = front(points)
    if len(best) > 1:
        path = " ".join(f"{place_x(p.x):.1f},{place_y(p.y):.1f}" for p in best)
        parts.append(f'<polyline class="line faint" points="{path}"/>')
    taken: list[_Spot] = []
    for point in points:
        x, y = place_x(point.x), place_y(point.y)
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line class="line {escape(point.style)}" x1="{x:.1f}" x2="{x:.1f}" '
                f'y1="{place_y(point.low):.1f}" y2="{place_y(point.high):.1f}"/>'
            )
        parts.append(
            f'<circle class="dot {escape(point.style)}" cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/>'
        )
        taken.append(_Spot(left=x - DOT, top=y - DOT, right=x + DOT, bottom=y + DOT))
    for point in points:
        parts.append(_name(point.name, place_x(point.x), place_y(point.y), taken, (width, height)))
    for level in levels:
        y = place_y(level.y)
        length = LETTER * len(level.name)
        free = [
            _Spot(left=left, top=y - LINE - 2, right=left + length, bottom=y - 2)
            for left in (width - RIGHT - length, LEFT + 4, (LEFT + width - length) / 2)
        ]
        spot = next((s for s in free if not any(map(s.meets, taken))), free[0])
        taken.append(spot)
        parts.append(
            f'<text class="tick" x="{spot.left:.1f}" y="{y - 5:.1f}">{escape(level.name)}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)


def _name(name: str, x: float, y: float, taken: list[_Spot], size: tuple[int, int]) -> str:
    """A point's name where it fits best; its place is taken from then on."""
    width = LETTER * len(name)
    right, bottom_line = size[0], size[1] - BOTTOM
    places = [
        (x + DOT + 4, y + 4),
        (x - DOT - 4 - width, y + 4),
        (x + DOT + 2, y - DOT - 4),
        (x - DOT - 2 - width, y - DOT - 4),
        (x + DOT + 2, y + DOT + LINE - 2),
        (x - DOT - 2 - width, y + DOT + LINE - 2),
        (x - width / 2, y - DOT - 12),
        (x - width / 2, y + DOT + LINE + 6),
        (x + DOT + 8, y - DOT - LINE - 6),
        (x - DOT - 8 - width, y - DOT - LINE - 6),
        (x + DOT + 8, y + DOT + 2 * LINE + 4),
        (x - DOT - 8 - width, y + DOT + 2 * LINE + 4),
    ]
    chosen = None
    for left, bottom in places:
        spot = _Spot(left=left, top=bottom - LINE + 2, right=left + width, bottom=bottom + 3)
        inside = spot.left >= LEFT and spot.right <= right and spot.top >= 0
        if inside and spot.bottom <= bottom_line and not any(map(spot.meets, taken)):
            chosen = spot
            break
    if chosen is None:  # no free place: to the side that has room
        left = x + DOT + 4 if x + DOT + 4 + width <= right else max(0.0, x - DOT - 4 - width)
        chosen = _Spot(left=left, top=y - LINE / 2, right=left + width, bottom=y + LINE / 2)
    taken.append(chosen)
    place = f'x="{chosen.left:.1f}" y="{chosen.bottom - 3:.1f}"'
    return f'<text class="tick" {place}>{escape(name)}</text>'


def _padded(low: float, high: float, *, logarithmic: bool) -> tuple[float, float]:
    """The axis' ends: a twelfth of the range beyond the outermost values."""
    if logarithmic:
        factor = (high / low) ** (1 / 12)
        return low / factor, high * factor
    margin = (high - low) / 12 or abs(high) / 12 or 1.0
    return low - margin, high + margin
