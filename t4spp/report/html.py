"""The page of one run.

A page is one file: styles inside, pictures as data URIs, charts as inline SVG, no script. It
opens anywhere and asks the network for nothing.
"""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp import __version__
from t4spp.errors import RunError, T4sppError
from t4spp.plugins import Catalogue
from t4spp.report.curves import training_charts
from t4spp.report.gallery import (
    Card,
    choose_groups,
    make_card,
)
from t4spp.report.questions import QuestionRow, candidates, question_rows, question_tags
from t4spp.report.runs import (
    RunView,
    ScoreRow,
    find_samples,
    note_on_lost,
    open_run,
    open_stage,
)
from t4spp.report.score_map import score_maps
from t4spp.report.study import baseline_table
from t4spp.report.tables import (
    METRIC_NAMES,
    RESAMPLED,
    answer_summary,
    breakdown_tables,
    component_text,
    duration,
    number,
    percent,
    protocol_tables,
    run_json,
    signed,
    tag_rows,
)
from t4spp.report.window_rows import WindowRow, layers_of, read_window_rows
from t4spp.training.atomic import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

logger = logging.getLogger(__name__)

REPORT_NAME = "report.html"
PER_GROUP = 4
"""Samples a group of the gallery."""
MAX_MEGABYTES = 12.0
"""What the gallery's pictures may weigh; cards beyond it are left out and counted."""
MAX_SCENES = 24
"""Scenes in the table of scores in space; of more, those with the lowest IoU."""
PACKAGES = ("torch", "torchvision", "transformers", "peft", "accelerate", "torchmetrics", "numpy")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A page that was written, and what stands in it."""

    path: Path
    runs: tuple[RunView, ...]

    def to_json(self) -> dict[str, Any]:
        """For ``t4spp report --json``."""
        return {
            "report": str(self.path),
            "runs": [run_json(view, str(self.path)) for view in self.runs],
        }


@dataclass(frozen=True, kw_only=True)
class CardGroup:
    """A heading of the gallery with its cards."""

    title: str
    note: str
    cards: tuple[Card, ...]


def write_report(
    run_folder: Path,
    catalogue: Catalogue,
    *,
    output: Path | None = None,
    split: str | None = None,
    per_group: int = PER_GROUP,
    max_megabytes: float = MAX_MEGABYTES,
) -> Path:
    """Write the page of one run from what lies in its folder; no model is needed.

    Args:
        run_folder: the run.
        catalogue: builds the scheme, the refiner and the recipe, to decode the answers again.
        output: the page; by default ``report.html`` in the run's folder.
        split: whose answers to show; by default the config's ``data.eval_split``.
        per_group: samples a group of the gallery (best, median, worst, ...).
        max_megabytes: the most that the gallery may add to the page.

    Returns:
        The page's path.

    Raises:
        RunError: the folder is no run, a file in it is damaged, or its answers were written by
            another scheme.
    """
    view = open_run(run_folder, catalogue, split)
    return report_on(
        view, catalogue, output=output, per_group=per_group, max_megabytes=max_megabytes
    ).path


def report_on(
    view: RunView,
    catalogue: Catalogue,
    *,
    output: Path | None = None,
    per_group: int = PER_GROUP,
    max_megabytes: float = MAX_MEGABYTES,
) -> Report:
    """:func:`write_report` for a run that is open already."""
    groups, left_out, questions = _gallery(view, catalogue, per_group, max_megabytes)
    summary = answer_summary(view)
    tables = protocol_tables(view.metrics)
    headline = [row for row in next((rows for _, rows in tables), []) if row.bar is not None]
    baseline_headings, baselines = baseline_table([view])
    scenes = sorted(view.metrics.get("space", {}).get("scenes", ()), key=lambda row: row["iou"])
    page = (
        environment()
        .get_template("report.html")
        .render(
            view=view,
            config=view.config,
            title=view.label,
            scheme=component_text(catalogue, "scheme", view.config.scheme),
            recipe="; ".join(
                component_text(catalogue, "recipe", part) for _, part in view.config.data.recipes
            ),
            headline=headline[:4],
            tables=tables,
            resampled=RESAMPLED,
            summary=summary,
            tags=tag_rows(view.metrics),
            breakdowns=breakdown_tables(view.metrics),
            metric_names=METRIC_NAMES,
            baseline_headings=baseline_headings,
            baselines=baselines,
            space_rows=scenes[:MAX_SCENES],
            space_more=max(0, len(scenes) - MAX_SCENES),
            space_layers=view.metrics.get("space", {}).get("layers", {}).get("file", ""),
            maps=score_maps(_window_rows(view)),
            charts=training_charts(view.events.of_kind("train"), view.events.of_kind("eval")),
            groups=groups,
            left_out=left_out,
            questions=questions,
            question_tags=question_tags(view.metrics),
            versions=software_versions(),
            written=now(),
        )
    )
    path = output or view.folder / REPORT_NAME
    write_page(path, page)
    return Report(path=path, runs=(view,))


def write_maps(layers: Path, output: Path) -> Path:
    """Write a page of its own with the maps of what windows scored.

    Args:
        layers: the GeoPackage that an evaluation wrote.
        output: the page.

    Raises:
        RunError: the layers are damaged, or the page cannot be written.
    """
    page = (
        environment()
        .get_template("maps.html")
        .render(
            title=f"Scores on the map: {layers.name.removesuffix('.layers.gpkg')}",
            maps=score_maps(read_window_rows(layers)),
            layers=layers.name,
            versions=software_versions(),
            written=now(),
        )
    )
    write_page(output, page)
    return output


def _window_rows(view: RunView) -> list[WindowRow]:
    """What each window scored; a fault is noted and costs the map, not the page."""
    try:
        return read_window_rows(layers_of(view))
    except ImportError:
        view.missing.append('No map: the layers need pip install "t4spp[geo]" to be read.')
    except RunError as error:
        view.missing.append(f"No map: {error}")
    return []


def _gallery(
    view: RunView, catalogue: Catalogue, per_group: int, max_megabytes: float
) -> tuple[list[CardGroup], int, list[QuestionRow]]:
    """The gallery's groups, how many cards did not fit, and questions in words.

    Faults are noted in ``view``.
    """
    if not view.predictions:
        return [], 0, []
    asked = candidates(view)
    in_words_only = bool(asked) and not view.scores
    groups = [] if in_words_only else choose_groups(view.scores, view.predictions, per_group)
    ids = {key for group in groups for key in group.ids}
    try:
        stage = open_stage(view, catalogue)
        samples = find_samples(view, stage.samples, ids | set(asked))
    except RunError:
        raise
    except T4sppError as error:
        view.missing.append(f"No gallery: the samples cannot be opened here. {error}")
        return [], 0, []
    if stage.refiner_fault:
        view.missing.append(f"{stage.refiner_fault} The final masks shown are the coarse ones.")
    predictions = {prediction.id: prediction for prediction in view.predictions}
    rows: dict[str, list[ScoreRow]] = {}
    for row in view.scores:
        rows.setdefault(row.id, []).append(row)
    budget = max_megabytes * 1e6
    left_out = 0
    lost: list[str] = []
    made = []
    for group in groups:
        cards: list[Card] = []
        for key in group.ids:
            if key not in samples or key not in predictions:
                lost.append(key)
                continue
            try:
                card = make_card(
                    samples[key],
                    predictions[key],
                    rows.get(key, ()),
                    stage.scheme,
                    stage.refiner,
                )
            except T4sppError as error:
                view.missing.append(f"No picture of the sample {key!r}: {error}")
                continue
            if card.num_bytes > budget:
                left_out += 1
                continue
            budget -= card.num_bytes
            cards.append(card)
        if cards:
            made.append(CardGroup(title=group.title, note=group.note, cards=tuple(cards)))
    view.missing.extend(note_on_lost(lost))
    if left_out:
        logger.info("report: %d samples left out to keep the page small", left_out)
    return made, left_out, question_rows(asked, samples, predictions)


def software_versions() -> list[tuple[str, str]]:
    """t4spp, Python and the packages that shape a run, without importing any of them."""
    found = [("t4spp", __version__), ("python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return found


def environment() -> Environment:
    """The templates, with everything escaped that they are given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = number
    made.filters["duration"] = duration
    made.filters["percent"] = percent
    made.filters["signed"] = signed
    return made


def now() -> str:
    """The time for a page's foot."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def write_page(path: Path, page: str) -> None:
    """Replace ``path`` in one step.

    Raises:
        RunError: the place cannot be written.
    """
    try:
        write_text(path, page)
    except OSError as error:
        raise RunError(
            f"cannot write the report {path}: {error.strerror}. Choose another place with -o."
        ) from error
