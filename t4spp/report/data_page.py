"""The page of ``t4spp data stats``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t4spp.data.statistics import LARGE, SMALL, Statistics
from t4spp.report.bars import histogram
from t4spp.report.curves import Chart, Series, line_chart
from t4spp.report.html import environment, now, software_versions, write_page
from t4spp.report.study import STYLES
from t4spp.report.tables import number, percent

SHOWN_LABELS = 40


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A horizontal bar: a name, how many, how long in percent."""

    name: str
    count: int
    length: float


def write_data_page(
    found: Statistics,
    output: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    tokenizer: str = "",
) -> None:
    """Write what a dataset is like as one page.

    Args:
        found: the measurements.
        output: the page.
        title: the recipe and split.
        notes: parameters, counters.
        tokenizer: that counted tokens.

    Raises:
        RunError: the page cannot be written.
    """
    told = found.to_json()
    page = (
        environment()
        .get_template("stats.html")
        .render(
            title=title,
            plain=_plain,
            notes=list(notes),
            told=told,
            tiles=_tiles(told),
            charts=_charts(found),
            token_charts=_token_charts(found),
            tokenizer=tokenizer,
            labels=bars(found.labels),
            more_labels=max(0, len(found.labels) - SHOWN_LABELS),
            absent=bars(found.absent),
            kinds=bars(found.kinds),
            tags=bars(found.tags),
            sizes=bars(Counter({f"{h} x {w}": n for (h, w), n in found.sizes.items()}), 12),
            versions=software_versions(),
            written=now(),
        )
    )
    write_page(output, page)


def _plain(value: float) -> str:
    """A number for reading; whole ones without a point."""
    return number(int(value) if float(value).is_integer() else value)


def bars(counts: Mapping[str, int], most: int = SHOWN_LABELS) -> list[Bar]:
    """The most frequent names; lengths are shares of the highest count."""
    ranked = Counter(counts).most_common(most)
    highest = max((count for _, count in ranked), default=1)
    return [Bar(name=name, count=count, length=100 * count / highest) for name, count in ranked]


def _tiles(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, note) of the page's head."""
    a_sample, share = told["targets_a_sample"], told["target_share"]
    tiles = [
        ("samples", number(told["num_samples"]), f"on {number(told['num_images'])} pictures"),
        ("targets", number(told["num_targets"]), f"{number(told['num_labels'])} labels"),
    ]
    if a_sample is not None:
        note = f"at most {a_sample['max']:.0f}"
        tiles.append(("targets a sample", number(a_sample["mean"]), note))
        note = f"{number(told['without_target'])} samples"
        tiles.append(("without a target", percent(told["no_target_share"]), note))
    if share is not None:
        low, median, high = (f"{100 * share[key]:.2g} %" for key in ("p5", "median", "p95"))
        tiles.append(("median share of the picture", median, f"90 % between {low} and {high}"))
    return tiles


def _charts(found: Statistics) -> list[Chart]:
    made = [
        (
            "Object sizes",
            histogram(
                found.areas,
                title="object sizes",
                x_label="pixels of a target (COCO's bounds are dashed)",
                logarithmic=True,
                marks=((SMALL, "32²"), (LARGE, "96²")),
            ),
        ),
        (
            "Share of the picture",
            histogram(
                [100 * share for share in found.shares],
                title="share of the picture",
                x_label="percent of the picture that a target covers",
                logarithmic=True,
            ),
        ),
        (
            "Targets a sample",
            histogram(found.targets, title="targets a sample", x_label="targets of a sample"),
        ),
        (
            "Length of prompts",
            histogram(found.words, title="length of prompts", x_label="words of a prompt"),
        ),
    ]
    return [Chart(title=title, svg=svg) for title, svg in made if svg]


def _token_charts(found: Statistics) -> list[Chart]:
    """How many answers fit a number of tokens, all schemes in one chart; then a histogram each."""
    lines = []
    for index, (name, own) in enumerate(found.lengths.items()):
        if not len(own.answers):
            continue
        tokens, counts = np.unique(np.asarray(own.answers), return_counts=True)
        shares = np.cumsum(counts) / counts.sum()
        points = [(float(tokens[0]), 0.0), *zip(tokens.tolist(), shares.tolist(), strict=True)]
        lines.append(Series(name=name, points=tuple(points), style=STYLES[index % len(STYLES)]))
    if not lines:
        return []
    svg = line_chart(
        lines,
        title="answers that fit",
        x_label="tokens of a whole answer",
        y_label="share of answers",
        y_range=(0.0, 1.0),
    )
    legend = tuple((line.name, line.style) for line in lines)
    charts = [Chart(title="Answers that fit a number of tokens", svg=svg, legend=legend)]
    for name, own in found.lengths.items():
        svg = histogram(own.answers, title=f"answers of {name}", x_label="tokens of a whole answer")
        if svg:
            charts.append(Chart(title=name, svg=svg))
    return charts
