"""Histograms as inline SVG: no script, readable on light and dark grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from t4spp.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, tick_text, ticks

MOST_BARS = 40
LEAST_BARS = 8
"""Places for whole numbers, so that one alone does not fill the chart."""


def histogram(
    values: Sequence[float],
    *,
    title: str,
    x_label: str,
    logarithmic: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """An ``<svg>`` element; empty text without values.

    Few whole numbers get a bar each, everything else equal bins.

    Args:
        values: what is counted; above 0 where ``logarithmic``.
        title: for those who do not see the chart.
        x_label: what the values are.
        logarithmic: bins of equal ratio.
        marks: (value, text) of lines across the chart.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return ""
    low, high = float(numbers.min()), float(numbers.max())
    whole = not logarithmic and bool((numbers == np.floor(numbers)).all())
    if whole and high - low < MOST_BARS:
        edges = np.arange(low - 0.5, max(high, low + LEAST_BARS - 1) + 1)
    elif logarithmic and high > low:
        edges = np.geomspace(low, high, MOST_BARS + 1)
        edges[0], edges[-1] = low, high
    else:
        margin = 0.5 if high == low else 0.0
        edges = np.linspace(low - margin, high + margin, MOST_BARS + 1)
    counts, _ = np.histogram(numbers, bins=edges)
    return _drawn(edges, counts, title, x_label, logarithmic and high > low, marks)


def _drawn(
    edges: np.ndarray[tuple[int], np.dtype[np.float64]],
    counts: np.ndarray[tuple[int], np.dtype[np.intp]],
    title: str,
    x_label: str,
    logarithmic: bool,
    marks: Sequence[tuple[float, str]],
) -> str:
    def at(value: float) -> float:
        return math.log(value) if logarithmic else value

    low, high = at(float(edges[0])), at(float(edges[-1]))
    most = int(counts.max())

    def place_x(value: float) -> float:
        return LEFT + (at(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def place_y(count: float) -> float:
        return HEIGHT - BOTTOM - count / most * (HEIGHT - TOP - BOTTOM)

    base = HEIGHT - BOTTOM
    spoken = f"{title}: {int(counts.sum())} values from {edges[0]:.4g} to {edges[-1]:.4g}"
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(spoken, quote=True)}">'
    ]
    for count in ticks(0, most, 4):
        y = place_y(count)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{tick_text(count)}</text>"
        )
    for start, stop, count in zip(
        edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True
    ):
        if count:
            left, right, y = place_x(start), place_x(stop), place_y(count)
            parts.append(
                f'<rect x="{left + 0.5:.1f}" y="{y:.1f}" width="{max(right - left - 1, 0.8):.1f}" '
                f'height="{base - y:.1f}" fill="var(--a)" opacity="0.85"><title>'
                f"{start:.4g} to {stop:.4g}: {count}</title></rect>"
            )
    whole = bool(edges[0] % 1) and not logarithmic and bool((np.diff(edges) == 1).all())
    for value in _x_ticks(float(edges[0]), float(edges[-1]), logarithmic, whole):
        told = value if value.is_integer() else float(f"{value:.3g}")
        parts.append(
            f'<text class="tick" x="{place_x(value):.1f}" y="{base + 18}" text-anchor="middle">'
            f"{tick_text(told)}</text>"
        )
    for value, text in marks:
        if edges[0] < value < edges[-1]:
            x = place_x(value)
            parts.append(
                f'<line class="level" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>'
                f'<text class="tick" x="{x + 4:.1f}" y="{TOP + 10}">{escape(text)}</text>'
            )
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
        f'<text class="axis-label" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        f"{escape(x_label)}</text></svg>"
    )
    return "".join(parts)


def _x_ticks(low: float, high: float, logarithmic: bool, whole: bool) -> list[float]:
    if not logarithmic:
        shown = ticks(low, high, 6)
        return [value for value in shown if not whole or value == round(value)]
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    powers = [10.0**exponent for exponent in range(first, last + 1)]
    if len(powers) > 2:
        return powers
    return [low, *[value for value in powers if low * 2 < value < high / 2], high]
