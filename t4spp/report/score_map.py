"""Where a run fails: its windows on the map, coloured by their score, as inline SVG.

North is up, as the scenes' CRS has it. Scenes that lie far apart are drawn side by side instead, so
that windows stay large enough to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from t4spp.report.curves import Chart
from t4spp.report.window_rows import WindowRow

WIDTH, MAX_HEIGHT = 640, 640
MARGIN = 8
GAP = 10
MAX_MAPS = 6
"""Labels that get a map of their own; those with the most windows."""
MAX_WINDOWS = 4000
"""Windows on one map; beyond it a map is left out, the vector layer has them all."""
SPARSE = 0.1
"""Share of the common extent that windows must cover to be drawn as they lie."""
RAMP = (
    (0.0, (123, 30, 60)),
    (0.25, (214, 96, 60)),
    (0.5, (244, 190, 100)),
    (0.75, (120, 180, 170)),
    (1.0, (16, 96, 130)),
)
"""Colours by IoU, dark at both ends and told apart with the common colour deficiencies."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """Windows drawn together, their corners in units of the map from the panel's corner."""

    name: str
    width: float
    height: float
    shapes: tuple[tuple[WindowRow, tuple[tuple[float, float], ...]], ...]


def score_maps(rows: Sequence[WindowRow]) -> tuple[Chart, ...]:
    """A map a label, those with most windows first; none without a scored window."""
    labels: dict[str, list[WindowRow]] = {}
    for row in rows:
        if row.iou is not None:
            labels.setdefault(row.label, []).append(row)
    ranked = sorted(labels, key=lambda label: -len(labels[label]))[:MAX_MAPS]
    return tuple(
        Chart(title=label, svg=map_of(labels[label], label))
        for label in ranked
        if len(labels[label]) <= MAX_WINDOWS
    )


def map_of(rows: Sequence[WindowRow], label: str) -> str:
    """An ``<svg>`` element of one label's windows, each with its scene, id and score in words."""
    panels = _panels(rows)
    columns = 1 if len(panels) == 1 else min(len(panels), math.ceil(math.sqrt(len(panels))))
    cell_width = (WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns
    parts = []
    top = float(MARGIN)
    for start in range(0, len(panels), columns):
        line = panels[start : start + columns]
        scales = [min(cell_width / p.width, MAX_HEIGHT / p.height) for p in line]
        for number, (panel, scale) in enumerate(zip(line, scales, strict=True)):
            left = MARGIN + number * (cell_width + GAP)
            left += (cell_width - panel.width * scale) / 2
            parts.extend(_drawn(panel, left, top, scale))
        top += max(p.height * s for p, s in zip(line, scales, strict=True)) + GAP
    mean = sum(row.iou or 0.0 for row in rows) / len(rows)
    spoken = f"{label}: IoU of {len(rows)} windows on the map, mean {mean:.3f}"
    legend_top = top + 4
    height = legend_top + 34
    return "".join(
        [
            f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
            f'aria-label="{escape(spoken, quote=True)}">',
            *parts,
            *_legend(legend_top),
            "</svg>",
        ]
    )


def colour(iou: float) -> str:
    """#rrggbb of a score in 0..1."""
    value = min(max(iou, 0.0), 1.0)
    for (low, first), (high, second) in pairwise(RAMP):
        if value <= high:
            share = (value - low) / (high - low)
            mixed = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
            return "#{:02x}{:02x}{:02x}".format(*mixed)
    raise AssertionError("the ramp ends at 1")


def _panels(rows: Sequence[WindowRow]) -> list[_Panel]:
    """One panel of everything, or one a scene where all of it together would be mostly empty."""
    by_crs: dict[str, list[WindowRow]] = {}
    for row in rows:
        by_crs.setdefault(row.crs, []).append(row)
    if len(by_crs) == 1:
        left, bottom, right, top = _extent(rows)
        covered = sum(row.outline.area for row in rows)
        if covered >= SPARSE * (right - left) * (top - bottom):
            return [_panel("", rows)]
    by_scene: dict[tuple[str, str], list[WindowRow]] = {}
    for row in rows:
        by_scene.setdefault((row.crs, row.scene), []).append(row)
    return [_panel(scene, own) for (_, scene), own in by_scene.items()]


def _panel(name: str, rows: Sequence[WindowRow]) -> _Panel:
    left, bottom, right, top = _extent(rows)
    squeeze = _squeeze(rows[0].crs, (bottom + top) / 2)
    shapes = tuple(
        (
            row,
            tuple(
                ((x - left) * squeeze, top - y) for x, y in list(row.outline.exterior.coords)[:-1]
            ),
        )
        for row in rows
    )
    return _Panel(name=name, width=(right - left) * squeeze, height=top - bottom, shapes=shapes)


def _extent(rows: Sequence[WindowRow]) -> tuple[float, float, float, float]:
    bounds: list[Any] = [row.outline.bounds for row in rows]
    return (
        min(b[0] for b in bounds),
        min(b[1] for b in bounds),
        max(b[2] for b in bounds),
        max(b[3] for b in bounds),
    )


def _squeeze(crs: str, latitude: float) -> float:
    """What a unit of x is in units of y: less than 1 for degrees away from the equator."""
    from t4spp.geo.crs import is_geographic

    return max(math.cos(math.radians(latitude)), 0.01) if is_geographic(crs) else 1.0


def _drawn(panel: _Panel, left: float, top: float, scale: float) -> list[str]:
    parts = []
    for row, points in panel.shapes:
        path = " ".join(f"{left + x * scale:.1f},{top + y * scale:.1f}" for x, y in points)
        iou = row.iou or 0.0
        said = f"{row.scene}, {row.id}: IoU {iou:.3f}"
        if row.missed is not None and row.invented is not None:
            said += f", missed {100 * row.missed:.1f} %, invented {100 * row.invented:.1f} %"
        parts.append(
            f'<polygon class="window" points="{path}" fill="{colour(iou)}">'
            f"<title>{escape(said)}</title></polygon>"
        )
    return parts


def _legend(top: float) -> list[str]:
    """The colours and what they mean."""
    steps, width, left = 40, 240.0, float(MARGIN)
    step = width / steps
    parts = [
        f'<rect x="{left + index * step:.1f}" y="{top:.1f}" width="{step + 0.4:.1f}" height="10" '
        f'fill="{colour((index + 0.5) / steps)}"/>'
        for index in range(steps)
    ]
    for value in (0.0, 0.5, 1.0):
        parts.append(
            f'<text class="tick" x="{left + value * width:.1f}" y="{top + 24:.1f}" '
            f'text-anchor="{("start", "middle", "end")[round(2 * value)]}">{value:g}</text>'
        )
    parts.append(
        f'<text class="tick" x="{left + width + 12:.1f}" y="{top + 9:.1f}">IoU of a window</text>'
    )
    return parts
