"""A measured frontier on disk: JSON, tables, plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t4spp.report.frontier_plot import plot_contour, plot_iou

HEADER = ("scheme", "tokens", "p95", "mean IoU", "contour px", "contour %", "lost", "front")
"""Columns of the table."""
BY_TITLES = {
    "area": "area in pixels",
    "share": "share of the picture",
    "compactness": "thinness",
    "parts": "connected parts",
}


def write_frontier(result: Mapping[str, Any], folder: Path) -> None:
    """Write ``frontier.json``, ``frontier.md``, the plots, and one by break-down in ``by/``.

    Args:
        result: as ``frontier.json`` holds it; see docs/frontier.md.
        folder: made where it is not there; files of an earlier frontier are replaced.
    """
    (folder / "by").mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / "frontier.json").write_text(text + "\n", encoding="utf-8")
    (folder / "frontier.md").write_text(markdown(result), encoding="utf-8")
    recipes = result["recipes"]
    panels = {
        f"{title} ({one['num_targets']} targets)": one["points"] for title, one in recipes.items()
    }
    name = str(result["name"])
    plot_iou(panels, name, [folder / "frontier.png", folder / "frontier.svg"])
    plot_contour(panels, name, [folder / "contour.png", folder / "contour.svg"])
    for title, one in recipes.items():
        for by, heading in BY_TITLES.items():
            binned = _binned(one["points"], by)
            if len(binned) > 1:
                path = folder / "by" / f"{_slug(title)}-{by}.png"
                plot_iou(binned, f"{title}, by {heading}", [path])


def _binned(points: Sequence[Mapping[str, Any]], by: str) -> dict[str, list[dict[str, Any]]]:
    """The points of each bin, by the bin's name and number of targets."""
    names = list(points[0]["by"].get(by, ()))
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        own = [
            {"line": point["line"], "value": point["value"], **point["by"][by][name]}
            for point in points
        ]
        found[f"{name} ({own[0]['num_targets']} targets)"] = own
    return found


def table_rows(points: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row a point, under :data:`HEADER`."""
    return [
        [
            _point_name(point),
            _number(point["mean_tokens"], ".1f"),
            _number(point["p95_tokens"], ".0f"),
            f"{point['mean_iou']:.3f}",
            f"{point['contour_px']:.2f}",
            f"{100 * point['contour_share']:.2f}",
            f"{100 * point['lost']:.1f} %",
            "*" if point["front"] else "",
        ]
        for point in points
    ]


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of a frontier: all targets, then mean IoU by what the targets are like."""
    lines = [f"# {result['name']}", ""]
    for title, one in result["recipes"].items():
        lines += [f"## {title}", ""]
        lines += [
            f"{one['num_targets']} targets of {one['num_samples']} samples (`{one['recipe']}`, "
            f"split `{one['split']}`), each alone; {one['num_empty']} without a pixel left out. "
            "Stars: no other point has as few tokens and as high a mean IoU.",
            "",
        ]
        lines += _table(HEADER, table_rows(one["points"]))
        for by, heading in BY_TITLES.items():
            bins = one["points"][0]["by"].get(by, {})
            if len(bins) < 2:
                continue
            header = ["scheme", *(f"{name} ({bins[name]['num_targets']})" for name in bins)]
            rows = [
                [
                    _point_name(point),
                    *(
                        f"{found['mean_iou']:.3f} at {_number(found['mean_tokens'], '.0f')}"
                        for found in point["by"][by].values()
                    ),
                ]
                for point in one["points"]
                if point["front"]
            ]
            lines += [f"Mean IoU at tokens of the starred, by {heading} (number of targets):", ""]
            lines += _table(header, rows)
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    found = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*found, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _point_name(point: Mapping[str, Any]) -> str:
    return f"{point['line']} {point['value']}".strip()


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "recipe"
