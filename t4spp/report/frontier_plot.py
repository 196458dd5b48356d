"""Plots of a frontier: error against tokens, a panel each recipe or each kind of object."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = Mapping[str, Any]
"""``line``, ``value`` (of the parameter that varies, or ""), ``mean_tokens``, ``mean_iou``,
``contour_share``."""

FLOOR = 1e-5
"""Errors below it are drawn there: the axis is logarithmic."""
MARKERS = "osD^vP*XhpdH<>8"
IOU_TICKS = (0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
TOKEN_TICKS = (5, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)


def plot_iou(panels: Mapping[str, Sequence[Point]], title: str, paths: Sequence[Path]) -> None:
    """Mean IoU, the distance from 1 logarithmic, against mean tokens.

    Args:
        panels: points by the panels' titles.
        title: of the whole.
        paths: files to write; the suffix says the format.
    """
    _plot(panels, title, paths, lambda point: 1 - float(point["mean_iou"]), _iou_axis)


def plot_contour(panels: Mapping[str, Sequence[Point]], title: str, paths: Sequence[Path]) -> None:
    """Mean contour distance as a share of the diagonal against mean tokens; see plot_iou."""
    _plot(panels, title, paths, lambda point: float(point["contour_share"]), _contour_axis)


def _iou_axis(axes: Axes) -> None:
    low, high = sorted(axes.get_ylim())
    shown = [tick for tick in IOU_TICKS if low <= 1 - tick <= high]
    axes.set_yticks([1 - tick for tick in shown], [f"{tick:g}" for tick in shown])
    axes.set_ylabel("mean IoU")


def _contour_axis(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set_ylabel("contour distance, share of the diagonal")


def _plot(
    panels: Mapping[str, Sequence[Point]],
    title: str,
    paths: Sequence[Path],
    error: Callable[[Point], float],
    label_axis: Callable[[Axes], None],
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(point["line"] for points in panels.values() for point in points))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(6.6 * columns, 4.4 * rows + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    handles: dict[str, Any] = {}
    for axes, (name, points) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, name, points, lines, error, handles)
        label_axis(axes)
    legend = figure.legend(
        handles.values(), map(_plain, handles), loc="outside lower center", ncols=4, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    for path in paths:
        figure.savefig(path, dpi=130)


def _panel(
    axes: Axes,
    name: str,
    points: Sequence[Point],
    lines: Sequence[str],
    error: Callable[[Point], float],
    handles: dict[str, Any],
) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import NullFormatter

    colours = colormaps["tab10" if len(lines) <= 10 else "tab20"]
    drawn = [point for point in points if point["mean_tokens"]]
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    front = _front([(float(p["mean_tokens"]), max(error(p), FLOOR)) for p in drawn])
    if front:
        (found,) = axes.plot(
            *zip(*front, strict=True),
            color="0.75",
            linewidth=7,
            solid_capstyle="round",
            zorder=1,
        )
        handles.setdefault("Pareto front", found)
    for number, line in enumerate(lines):
        own = [point for point in drawn if point["line"] == line]
        if not own:
            continue
        x = [point["mean_tokens"] for point in own]
        y = [max(error(point), FLOOR) for point in own]
        (found,) = axes.plot(
            x,
            y,
            color=colours(number % 20),
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linewidth=1.4,
            zorder=3,
        )
        handles.setdefault(line, found)
        for place, point in enumerate(own):
            if (x[place], y[place]) in front or place in (0, len(own) - 1):
                axes.annotate(
                    str(point["value"]),
                    (x[place], y[place]),
                    textcoords="offset points",
                    xytext=(3, 4),
                    fontsize=7,
                    color=colours(number % 20),
                    parse_math=False,
                )
    if drawn:
        tokens = [point["mean_tokens"] for point in drawn]
        axes.set_xlim(0.9 * min(tokens), 1.15 * max(tokens))
    shown = [tick for tick in TOKEN_TICKS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(shown, [str(tick) for tick in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="0.9", zorder=0)
    axes.set_xlabel("tokens a mask, mean")
    axes.set_title(name, fontsize=11, parse_math=False)


def _plain(line: str) -> str:
    """A line's title for the legend, which leaves out those that start with an underscore."""
    return f"\N{ZERO WIDTH SPACE}{line}" if line.startswith("_") else line


def _front(spots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spots that no other beats in tokens and error, from few tokens to many."""
    found: list[tuple[float, float]] = []
    for spot in sorted(spots):
        if not found or spot[1] < found[-1][1]:
            found.append(spot)
    return found
