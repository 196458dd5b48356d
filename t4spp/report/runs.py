"""A run's folder as a report sees it: config, scores, answers and events, missing parts named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.components import Recipe, Refiner
from t4spp.config import RunConfig, load_config
from t4spp.data.mixture import build_recipe
from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError, T4sppError
from t4spp.evaluation.baseline_files import baselines_path, read_baselines
from t4spp.evaluation.experiment import read_metrics
from t4spp.evaluation.predictions import (
    PredictionMeta,
    check_scheme,
    predictions_path,
    read_meta,
    read_predictions,
    scores_path,
)
from t4spp.plugins import Catalogue
from t4spp.tracking import EVENTS_NAME, Events, read_events
from t4spp.training.binding import leaves
from t4spp.types import Sample

if TYPE_CHECKING:
    from t4spp.schemes.base import Scheme


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One scored (sample, label).

    Attributes:
        id: the sample's id.
        label: the label; empty for a no-target prompt that names none.
        iou: 0..1; 1 where truth and answer are both empty.
        status: of the answer.
        has_target: whether the truth has a pixel of the label.
        tags: of the sample.
        image_id: its picture; empty where the file does not say.
    """

    id: str
    label: str
    iou: float
    status: str
    has_target: bool
    tags: tuple[str, ...] = ()
    image_id: str = ""


@dataclass(kw_only=True)
class RunView:
    """What a run's folder holds.

    Attributes:
        folder: the run's folder.
        config: the resolved config.
        config_text: the same as it stands on disk.
        split: the split whose answers are shown.
        metrics: the content of ``metrics.json``; empty before an evaluation.
        meta: what made the predictions; None without predictions.
        predictions: the answers, in the split's order.
        scores: one row a (sample, label); empty before an evaluation.
        events: what was logged.
        missing: what the folder lacks, one sentence each with what to do.
        title: what headings call the run; empty: its name.
        baselines: ``{baseline: protocols}`` of ``t4spp baselines``; empty without them.
    """

    folder: Path
    config: RunConfig
    config_text: str
    split: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    meta: PredictionMeta | None = None
    predictions: Sequence[Prediction] = ()
    scores: Sequence[ScoreRow] = ()
    events: Events = field(default_factory=lambda: Events(events=()))
    missing: list[str] = field(default_factory=list)
    title: str = ""
    baselines: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The run's name, for headings."""
        return self.title or self.config.name


def open_run(folder: Path, catalogue: Catalogue, split: str | None = None) -> RunView:
    """Read a run's folder. A part that is not there yet is noted, a damaged one is an error.

    Args:
        folder: what ``t4spp train``, ``run`` or ``evaluate`` wrote.
        catalogue: the plugins that the config is checked against.
        split: whose predictions to show; by default the config's ``data.eval_split``, and where
            it has no predictions the only split that has.

    Raises:
        RunError: the folder is no run, or a file in it is damaged.
        ConfigError: its config is not valid with the installed plugins.
    """
    config_file = folder / "config.yaml"
    if not config_file.is_file():
        raise RunError(
            f"{folder} is no run: it has no config.yaml. Name a folder that `t4spp run` or "
            "`t4spp train` wrote."
        )
    config = load_config(config_file, (), catalogue)
    found = sorted(
        path.stem
        for path in (folder / "predictions").glob("*.jsonl")
        if not path.stem.endswith((".scores", ".sums"))
    )
    if split is None:
        wanted = config.data.eval_split
        split = found[0] if wanted not in found and len(found) == 1 else wanted
    elif split not in found:
        raise RunError(
            f"{folder} has no predictions of the split {split!r}; it has: "
            f"{', '.join(found) or 'none'}. Make them with: t4spp evaluate {folder} --split {split}"
        )
    view = RunView(
        folder=folder,
        config=config,
        config_text=config_file.read_text(encoding="utf-8"),
        split=split,
    )
    _read_answers(view)
    metrics_file = folder / "metrics.json"
    if split != config.data.eval_split:
        metrics_file = folder / "predictions" / f"{split}.metrics.json"
    if metrics_file.is_file():
        view.metrics = read_metrics(metrics_file)
    elif view.predictions:
        view.missing.append(
            f"No scores yet ({metrics_file.name}). Make them with: t4spp evaluate {folder}"
        )
    baselines_file = baselines_path(predictions_path(folder, split))
    if baselines_file.is_file():
        view.baselines = read_baselines(baselines_file)
    if (folder / EVENTS_NAME).is_file():
        view.events = read_events(folder / EVENTS_NAME)
        if view.events.num_torn:
            view.missing.append(
                f"{view.events.num_torn} line(s) of {EVENTS_NAME} were cut off by an interruption "
                "and are left out."
            )
    else:
        view.missing.append(f"Nothing was logged ({EVENTS_NAME}), so there are no curves.")
    return view


def _read_answers(view: RunView) -> None:
    path = predictions_path(view.folder, view.split)
    if not path.is_file():
        view.missing.append(
            f"No answers for the split {view.split!r} (predictions/{view.split}.jsonl), so there "
            f"is no gallery. Make them with: t4spp evaluate {view.folder}"
        )
        return
    view.meta = read_meta(path)
    view.predictions = read_predictions(path)
    if len(view.predictions) < view.meta.num_samples:
        view.missing.append(
            f"{len(view.predictions)} of {view.meta.num_samples} prompts are answered: generation "
            "was interrupted."
        )
    scores = scores_path(path)
    if scores.is_file():
        view.scores = tuple(_read_scores(scores))
    elif view.predictions:
        view.missing.append(
            f"The answers are not scored one by one ({scores.name}), so the gallery shows the "
            "first ones instead of the best and the worst."
        )


def _read_scores(path: Path) -> Iterator[ScoreRow]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
                yield ScoreRow(
                    id=row["id"],
                    label=row["label"],
                    iou=float(row["iou"]),
                    status=row["status"],
                    has_target=bool(row["has_target"]),
                    tags=tuple(row.get("tags", ())),
                    image_id=row.get("image_id", ""),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path}, line {number}: not a score ({type(error).__name__}: {error}). Write "
                    "the scores again with: t4spp evaluate"
                ) from error


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What turns a run's answers into pictures: scheme, refiner and the split's samples."""

    scheme: Scheme
    refiner: Refiner | None
    samples: Sequence[Sample]
    refiner_fault: str = ""


def open_stage(view: RunView, catalogue: Catalogue) -> Stage:
    """Build the run's scheme, refiner and recipe.

    A refiner that cannot be built (its weights are elsewhere) is left out and named in
    ``refiner_fault``: coarse masks are better than no page.

    Raises:
        T4sppError: the scheme or the recipe cannot be built, or other than the scheme's answers
            lie in the folder.
    """
    config = view.config
    scheme: Scheme = catalogue.build(
        "scheme", config.scheme.name, config.scheme.params, where="scheme.params"
    )
    if view.meta is not None:
        check_scheme(view.meta, scheme.fingerprint(), predictions_path(view.folder, view.split))
    recipe: Recipe = build_recipe(config.data, catalogue)
    refiner: Refiner | None = None
    fault = ""
    if config.refiner.name != "none":
        try:
            refiner = catalogue.build(
                "refiner", config.refiner.name, config.refiner.params, where="refiner.params"
            )
        except T4sppError as error:
            fault = f"The refiner {config.refiner.name!r} cannot be built here: {error}"
    return Stage(
        scheme=scheme, refiner=refiner, samples=recipe.samples(view.split), refiner_fault=fault
    )


def find_samples(view: RunView, samples: Sequence[Sample], ids: set[str]) -> dict[str, Sample]:
    """The samples of some ids that still ask what was answered.

    An answer's line number is nearly always its sample's index; the rest is searched for. A
    sample that asks another prompt now (the recipe has changed) is left out: its truth is not
    the truth of that answer.
    """
    found: dict[str, Sample] = {}
    asked: dict[str, str] = {}
    for position, prediction in enumerate(view.predictions):
        if prediction.id in ids:
            asked[prediction.id] = prediction.prompt
            if position < len(samples) and samples[position].id == prediction.id:
                found[prediction.id] = samples[position]
    if len(found) < len(ids):
        for position in range(len(samples)):
            sample = samples[position]
            if sample.id in ids and sample.id not in found:
                found[sample.id] = sample
                if len(found) == len(ids):
                    break
    return {key: sample for key, sample in found.items() if asked.get(key) == sample.prompt}


def note_on_lost(ids: Sequence[str]) -> list[str]:
    """One sentence about answers whose samples :func:`find_samples` did not find; none for none."""
    if not ids:
        return []
    return [
        f"{len(ids)} answer(s) cannot be pictured, the first to {ids[0]!r}: the recipe has changed "
        "since, it no longer has the sample or asks it something else. Restore it, or answer "
        "again with: t4spp evaluate RUN --generate --overwrite"
    ]


def config_differences(views: Sequence[RunView]) -> list[tuple[str, tuple[str, ...]]]:
    """(key path, value in each run) of every config value that is not the same in all runs."""
    flat = [dict(leaves(view.config.model_dump(mode="json"))) for view in views]
    keys = dict.fromkeys(key for values in flat for key in values)
    rows = []
    for key in keys:
        values = tuple(
            json.dumps(values[key], ensure_ascii=False) if key in values else "-" for values in flat
        )
        if len(set(values)) > 1:
            rows.append((key, values))
    return rows


def check_same_samples(views: Sequence[RunView]) -> str:
    """Why the runs' samples cannot be set side by side; empty when they can."""
    first = views[0]
    for other in views[1:]:
        if other.split != first.split:
            return f"{first.label} was scored on {first.split!r}, {other.label} on {other.split!r}"
        if other.config.data.recipes != first.config.data.recipes:
            return f"{first.label} and {other.label} have different recipes"
    return ""
