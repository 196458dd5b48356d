"""A measured frontier on disk: JSON, tables, plots."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t4spp.errors import RunError
from t4spp.report.frontier_plot import plot_contour, plot_iou

HEADER = ("scheme", "tokens", "p95", "mean IoU", "contour px", "contour %", "lost", "front")
"""Columns of the table."""
BY_TITLES = {
    "area": "area in pixels",
    "share": "share of the picture",
    "compactness": "thinness",
    "parts": "connected parts",
}


def make_folder(folder: Path) -> None:
    """Make what a frontier is written into, before hours are spent on measuring it.

    Raises:
        RunError: it cannot be made.
    """
    try:
        (folder / "by").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"-o {folder}: the frontier's folder cannot be made ({error.strerror or error}). "
            "Choose another with -o."
        ) from error


def write_frontier(result: Mapping[str, Any], folder: Path) -> None:
    """Write ``frontier.json``, ``frontier.md``, the plots, and one by break-down in ``by/``.

    Args:
        result: as ``frontier.json`` holds it; see docs/frontier.md.
        folder: made where it is not there; files of an earlier frontier are replaced.
    """
    make_folder(folder)
    for path in (folder / "by").glob("*.png"):
        if path.stem.endswith(tuple(f"-{by}" for by in BY_TITLES)):
            path.unlink()
    text = json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False)
    (folder / "frontier.json").write_text(text + "\n", encoding="utf-8")
    (folder / "frontier.md").write_text(markdown(result), encoding="utf-8")
    recipes = result["recipes"]
    panels = {
        f"{title} ({_targets(one['num_targets'])})": one["points"] for title, one in recipes.items()
    }
    name = str(result["name"])
    plot_iou(panels, name, [folder / "frontier.png", folder / "frontier.svg"])
    plot_contour(panels, name, [folder / "contour.png", folder / "contour.svg"])
    slugs: set[str] = set()
    for title, one in recipes.items():
        slug = _slug(title, slugs)
        for by, heading in BY_TITLES.items():
            binned = _binned(one["points"], by)
            if len(binned) > 1:
                path = folder / "by" / f"{slug}-{by}.png"
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
        found[f"{name} ({_targets(own[0]['num_targets'])})"] = own
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
            f"split `{one['split']}`), each alone; {one['num_empty']} without a pixel left out"
            f"{_left_out(one)}. Tokens by `{result['tokenizer']}`. "
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


def _left_out(one: Mapping[str, Any]) -> str:
    """What else was not measured of a recipe."""
    found = ""
    if one["min_share"]:
        found += f"; so are {one['num_small']} below {100 * one['min_share']:.6g} % of the picture"
    if one["num_in_words"]:
        found += f"; {one['num_in_words']} samples ask for words, not masks"
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_table_row(header), "|" + "---|" * len(header), *map(_table_row, rows), ""]


def _table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"([|\\])", r"\\\1", " ".join(c.split())) for c in cells) + " |"


def _targets(number: int) -> str:
    return f"{number} target{'s' if number != 1 else ''}"


def _point_name(point: Mapping[str, Any]) -> str:
    return f"{point['line']} {point['value']}".strip()


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _slug(title: str, taken: set[str]) -> str:
    """A file's name for a title, unlike those that others have taken."""
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "recipe"
    slug, number = plain, 2
    while slug in taken:
        slug, number = f"{plain}-{number}", number + 1
    taken.add(slug)
    return slug
