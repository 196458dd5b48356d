"""The numbers of a report as rows of text: scores, answers, break-downs, comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from t4spp.config import ComponentConfig
from t4spp.errors import PluginError
from t4spp.evaluation.bins import TITLES
from t4spp.plugins import Catalogue
from t4spp.report.runs import RunView
from t4spp.tracking import flatten

METRIC_NAMES: dict[str, str] = {
    "mean_iou": "mean IoU",
    "ciou": "cIoU",
    "acc@0.5": "Acc@0.5",
    "n_acc": "N-acc",
    "iou": "IoU",
    "f1": "F1",
    "area_error_abs": "area error, absolute",
    "pair_iou": "IoU of pairs",
    "pair_area_error": "area error of pairs",
}
"""How a page writes a metric's key; others are written as they are."""

PROTOCOL_HELP: dict[tuple[str, str], str] = {
    ("scene", "mean_iou"): "mean over scenes and labels that are there",
    ("scene", "precision"): "share of the answered pixels that are true",
    ("scene", "recall"): "share of the true pixels that are answered",
    ("objects", "precision"): "share of the answered objects that are there",
    ("objects", "recall"): "share of the objects that are found",
}
"""What a metric is in one protocol, where another one has it too."""
RESAMPLED = {"scene": "scenes", "objects": "scenes"}
"""What the bootstrap of a protocol draws, where that is not images."""

METRIC_HELP: dict[str, str] = {
    "mean_iou": "mean of the prompts' IoU (gIoU in referring papers)",
    "ciou": "sum of intersections over sum of unions",
    "acc@0.5": "share of prompts whose mask's box overlaps the true box by more than half",
    "n_acc": "share of no-target prompts whose answer says that nothing is there",
    "exact_match": "share of questions answered as a reference, both normalised",
    "vqa_accuracy": "min(agreeing / 3, 1), over subsets that leave one reference out",
    "vqa_accuracy_official": "the same, raw where all references are alike",
    "word_f1": "overlap of words with the best reference",
    "yes_no_accuracy": "of questions whose references are yes or no",
    "yes_no_precision": "share of answers yes that are right",
    "yes_no_recall": "share of true yes that are found",
    "yes_no_f1": "of yes",
    "yes_ratio": "share of answers yes",
    "iou": "all scenes' pixels, each counted once",
    "f1": "of objects, matched one to one",
    "area_error": "predicted minus true area, over true area",
    "area_error_abs": "its size in each scene, weighed by true area",
    "pair_iou": "mean IoU of matched objects",
    "pair_area_error": "mean size of the area error of matched objects",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score with its interval; ``bar`` is (value, low, high) in percent for scores in 0..1."""

    key: str
    name: str
    help: str
    value: str
    interval: str
    bar: tuple[float, float, float] | None


def number(value: Any, digits: int = 3) -> str:
    """A number for reading: ``0.812``, ``51.3``, ``1,024``; a dash where there is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def signed(value: float) -> str:
    """A difference for reading: ``+0.012``, ``-0.300``; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    return "0.000" if abs(value) < 0.0005 else f"{value:+.3f}"


def percent(value: float | None) -> str:
    """A share as percent: ``98.4 %``."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f} %"


def duration(seconds: float | None) -> str:
    """A time for reading: ``0.75 ms``, ``1.32 s``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s"


def finite(value: Any) -> float | None:
    """A number as float; None for everything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def metric(key: str, content: Any, protocol: str = "") -> Metric:
    """One entry of ``metrics.json``: ``{"value", "low", "high"}`` or a bare number."""
    if isinstance(content, Mapping):
        value, low, high = (finite(content.get(part)) for part in ("value", "low", "high"))
    else:
        value, low, high = finite(content), None, None
    bar = None
    if value is not None and 0 <= value <= 1:
        ends = (value if low is None else low, value if high is None else high)
        bar = (100 * value, 100 * ends[0], 100 * ends[1])
    interval = f"{number(low)} to {number(high)}" if low is not None and high is not None else ""
    return Metric(
        key=key,
        name=METRIC_NAMES.get(key, key.replace("_", " ")),
        help=PROTOCOL_HELP.get((protocol, key), METRIC_HELP.get(key, "")),
        value=number(value),
        interval=interval,
        bar=bar,
    )


def protocol_tables(metrics: Mapping[str, Any]) -> list[tuple[str, list[Metric]]]:
    """(protocol, its metrics) in the file's order."""
    return [
        (name, [metric(key, content, name) for key, content in scores.items()])
        for name, scores in metrics.get("protocols", {}).items()
        if isinstance(scores, Mapping)
    ]


@dataclass(frozen=True, kw_only=True)
class AnswerSummary:
    """How the answers of a run were read, and what they cost; None where unknown.

    Attributes:
        num_answers: how many there are.
        statuses: (status, answers, share); empty before an evaluation.
        problems: (code, answers with it, occurrences), most frequent first.
        mean_tokens: an answer.
        p95_tokens: 95th percentile.
        mean_passes: forward passes an answer.
        tokens_per_pass: tokens over passes, sums.
        seconds: an answer.
    """

    num_answers: int
    statuses: tuple[tuple[str, int, float], ...]
    problems: tuple[tuple[str, int, int], ...]
    mean_tokens: float | None
    p95_tokens: float | None
    mean_passes: float | None
    tokens_per_pass: float | None
    seconds: float | None

    @property
    def share_ok(self) -> float | None:
        """The share of answers that needed no repair."""
        return next((share for name, _, share in self.statuses if name == "ok"), None)


def answer_summary(view: RunView) -> AnswerSummary:
    """What ``metrics.json`` says of the answers; the costs alone before an evaluation."""
    answers = view.metrics.get("answers", {})
    number_of = int(answers.get("num_answers", len(view.predictions)))
    tokens = sorted(p.num_tokens for p in view.predictions if p.num_tokens is not None)
    count = len(view.predictions)
    return AnswerSummary(
        num_answers=number_of,
        statuses=tuple(
            (name, answers[name], answers[name] / number_of)
            for name in ("ok", "repaired", "invalid")
            if name in answers and number_of
        ),
        problems=tuple(
            (code, entry["answers"], entry["occurrences"])
            for code, entry in answers.get("problems", {}).items()
        ),
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        p95_tokens=float(tokens[math.ceil(0.95 * len(tokens)) - 1]) if tokens else None,
        mean_passes=sum(p.num_passes for p in view.predictions) / count if count else None,
        tokens_per_pass=_tokens_per_pass(view),
        seconds=sum(p.seconds for p in view.predictions) / count if count else None,
    )


def _tokens_per_pass(view: RunView) -> float | None:
    counted = [p for p in view.predictions if p.num_tokens is not None and p.num_passes]
    passes = sum(p.num_passes for p in counted)
    return sum(p.num_tokens or 0 for p in counted) / passes if passes else None


@dataclass(frozen=True, kw_only=True)
class TagRow:
    """Scores of the samples that bear one tag."""

    tag: str
    num_samples: int
    mean_iou: Metric
    n_acc: Metric
    share_ok: float | None


def tag_rows(metrics: Mapping[str, Any]) -> list[TagRow]:
    """One row a tag, in the file's order; empty when no sample bears a tag."""
    return [
        TagRow(
            tag=tag,
            num_samples=scores["num_samples"],
            mean_iou=metric("mean_iou", scores.get("mean_iou")),
            n_acc=metric("n_acc", scores.get("n_acc")),
            share_ok=scores["ok"] / scores["num_samples"] if scores["num_samples"] else None,
        )
        for tag, scores in metrics.get("answers", {}).get("tags", {}).items()
    ]


@dataclass(frozen=True, kw_only=True)
class BreakdownRow:
    """A bin of a break-down; ``metrics`` are those that count something in it, by key."""

    name: str
    num_pairs: int
    metrics: Mapping[str, Metric]


def breakdown_tables(
    metrics: Mapping[str, Any],
) -> list[tuple[str, list[str], list[BreakdownRow]]]:
    """(title, the metrics' keys, rows) of every break-down of ``metrics.json``, in its order."""
    tables = []
    for by, bins in metrics.get("breakdowns", {}).items():
        rows = [
            BreakdownRow(
                name=name,
                num_pairs=content["num_pairs"],
                metrics={
                    key: metric(key, score)
                    for key, score in content.items()
                    if isinstance(score, Mapping) and score.get("value") is not None
                },
            )
            for name, content in bins.items()
        ]
        keys = list(dict.fromkeys(key for row in rows for key in row.metrics))
        tables.append((TITLES.get(by, by), keys, rows))
    return tables


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the comparison's table."""

    name: str
    folder: str
    scheme: str
    backbone: str
    refiner: str
    metrics: tuple[Metric | None, ...]
    summary: AnswerSummary


def component_text(catalogue: Catalogue, kind: str, component: ComponentConfig) -> str:
    """A component as the command line writes it, defaults left out: ``next-brick:grid=24``."""
    try:
        fields = catalogue.get(kind, component.name).config.model_fields
    except PluginError:
        fields = {}
    shown = []
    for key, value in component.params.items():
        if key not in fields or fields[key].is_required():
            shown.append(f"{key}={_shown(value)}")
            continue
        default = fields[key].get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = default.model_dump(mode="json")
        if _shown(default) != _shown(value):
            shown.append(f"{key}={_shown(_changed(value, default))}")
    return f"{component.name}:{','.join(shown)}" if shown else component.name


def _changed(value: Any, default: Any) -> Any:
    """Of nested mappings, what is not the default."""
    if not isinstance(value, Mapping) or not isinstance(default, Mapping):
        return value
    return {
        key: _changed(inner, default.get(key))
        for key, inner in value.items()
        if key not in default or _shown(inner) != _shown(default[key])
    }


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, sort_keys=True)


BRIEF = (
    ("native", "mean_iou"),
    ("native", "n_acc"),
    ("scene", "iou"),
    ("scene", "area_error"),
    ("objects", "precision"),
    ("objects", "recall"),
    ("objects", "f1"),
)
"""The scores of a comparison of runs on scenes; the runs' own pages have all."""


def score_columns(protocols: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(protocol, metric) that a comparison shows: all, or where there are scenes the brief ones."""
    found = dict.fromkeys(
        (protocol, key)
        for content in protocols
        for protocol, scores in content.items()
        for key in scores
    )
    if any(protocol == "scene" for protocol, _ in found):
        return [column for column in found if column in BRIEF]
    return list(found)


def column_headings(columns: Sequence[tuple[str, str]]) -> list[str]:
    """``protocol metric``, shortened where there is one protocol."""
    single = len({protocol for protocol, _ in columns}) == 1
    names = [METRIC_NAMES.get(key, key.replace("_", " ")) for _, key in columns]
    return [
        name if single else f"{protocol} {name}"
        for (protocol, _), name in zip(columns, names, strict=True)
    ]


def comparison(views: Sequence[RunView], catalogue: Catalogue) -> tuple[list[str], list[RunRow]]:
    """The metrics' headings and a row a run."""
    columns = score_columns(view.metrics.get("protocols", {}) for view in views)
    headings = column_headings(columns)
    rows = []
    for view in views:
        protocols = view.metrics.get("protocols", {})
        config = view.config
        rows.append(
            RunRow(
                name=view.label,
                folder=view.folder.name,
                scheme=component_text(catalogue, "scheme", config.scheme),
                backbone=config.backbone.name,
                refiner=config.refiner.name,
                metrics=tuple(
                    metric(key, protocols[protocol][key])
                    if key in protocols.get(protocol, {})
                    else None
                    for protocol, key in columns
                ),
                summary=answer_summary(view),
            )
        )
    return headings, rows


def run_json(view: RunView, page: str) -> dict[str, Any]:
    """A run for ``t4spp report --json``."""
    summary = answer_summary(view)
    return {
        "name": view.label,
        "folder": str(view.folder),
        "split": view.split,
        "scheme": {"name": view.config.scheme.name, "params": dict(view.config.scheme.params)},
        "scores": {
            key: value if math.isfinite(value) else None
            for key, value in flatten({"protocols": view.metrics.get("protocols", {})}).items()
        },
        "num_answers": summary.num_answers,
        "answers": {name: count for name, count, _ in summary.statuses},
        "mean_tokens": summary.mean_tokens,
        "seconds": summary.seconds,
        "missing": list(view.missing),
        "report": page,
    }
