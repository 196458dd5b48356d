"""Two runs in a paired comparison: which samples match, the test, and what changed most."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from t4spp.errors import RunError
from t4spp.evaluation.comparing import Difference, ProtocolComparison, compare_sums
from t4spp.evaluation.predictions import predictions_path, scores_path
from t4spp.evaluation.protocols.base import ABOVE, BELOW
from t4spp.evaluation.sums import ProtocolSums, read_sums, sums_path
from t4spp.plugins import Catalogue
from t4spp.report.runs import RunView, check_same_samples, config_differences, open_run
from t4spp.report.study import tell_apart

NATIVE = "native"
_SCORES = ("mean_iou", "n_acc")
"""What a sample's own score is made of: its IoU, or whether its silence is right."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One sample's score under both runs: its labels' mean IoU, or 1 for rightly saying nothing."""

    id: str
    prompt: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """The second run's score minus the first's."""
        return self.second - self.first


@dataclass(frozen=True, kw_only=True)
class Untested:
    """A score that no sums of samples' parts give: both runs' own, over all that each answered."""

    protocol: str
    metric: str
    first: float
    second: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs over the samples that both answered.

    Attributes:
        views: the runs.
        matched: samples that are compared.
        only_first: samples that only the first run answered.
        only_second: likewise.
        other_prompt: samples that the runs were asked in other words; left out.
        other_truth: samples whose truth has changed between the two evaluations; left out.
        protocols: differences of every protocol that both have.
        untested: scores without a test.
        changes: one a sample that ``native`` scores, by falling difference.
        notes: what is missing, one sentence each.
    """

    views: tuple[RunView, RunView]
    matched: int
    only_first: int
    only_second: int
    other_prompt: int
    other_truth: int
    protocols: tuple[ProtocolComparison, ...]
    untested: tuple[Untested, ...]
    changes: tuple[Change, ...]
    notes: list[str] = field(default_factory=list)

    def gained(self, number: int) -> list[Change]:
        """The samples that the second run scores most above the first."""
        return [change for change in self.changes if change.difference > 0][:number]

    def lost(self, number: int) -> list[Change]:
        """The samples that it scores most below, the worst first."""
        return [change for change in self.changes[::-1] if change.difference < 0][:number]

    def to_json(self, most: int, report: str | None) -> dict[str, Any]:
        """For ``t4spp compare --json``."""
        better = sum(change.difference > 0 for change in self.changes)
        worse = sum(change.difference < 0 for change in self.changes)
        return {
            "runs": [
                {"name": view.label, "folder": str(view.folder), "scheme": view.config.scheme.name}
                for view in self.views
            ],
            "split": self.views[0].split,
            "samples": {
                "matched": self.matched,
                "only_first": self.only_first,
                "only_second": self.only_second,
                "other_prompt": self.other_prompt,
                "other_truth": self.other_truth,
            },
            "protocols": {
                one.protocol: {
                    "num_samples": one.num_samples,
                    "num_images": one.num_images,
                    "metrics": {each.metric: _difference_json(each) for each in one.differences},
                }
                for one in self.protocols
            },
            "untested": [
                {
                    "protocol": one.protocol,
                    "metric": one.metric,
                    "first": _finite(one.first),
                    "second": _finite(one.second),
                    "difference": _finite(one.second - one.first),
                }
                for one in self.untested
            ],
            "changes": {
                "better": better,
                "worse": worse,
                "equal": len(self.changes) - better - worse,
                "gained": [_change_json(change) for change in self.gained(most)],
                "lost": [_change_json(change) for change in self.lost(most)],
            },
            "notes": self.notes,
            "report": report,
        }


def compare_runs(
    folders: tuple[Path, Path],
    catalogue: Catalogue,
    *,
    split: str | None = None,
    resamples: int,
    shuffles: int,
    seed: int = 0,
) -> Comparison:
    """Compare two runs by what their evaluations left on disk; no model and no dataset is needed.

    Args:
        folders: of the runs.
        catalogue: the plugins that their configs are checked against.
        split: by default the first config's ``data.eval_split``.
        resamples: of the paired bootstrap.
        shuffles: of the test.
        seed: of both.

    Raises:
        RunError: a folder is no run, is not scored or damaged, or the runs saw other samples.
    """
    first = open_run(folders[0], catalogue, split)
    views = (first, open_run(folders[1], catalogue, split or first.split))
    tell_apart(views)
    obstacle = check_same_samples(views)
    if obstacle:
        raise RunError(
            f"these runs cannot be compared sample by sample: {obstacle}{_differing(views)}. "
            "Answer one split of one recipe with both (t4spp evaluate RUN --split NAME), or set "
            "their scores side by side: t4spp report RUN RUN"
        )
    notes = _one_sided(views)
    sums = [_sums_of(view, notes) for view in views]
    prompts = [{p.id: p.prompt for p in view.predictions} for view in views]
    common = prompts[0].keys() & prompts[1].keys()
    same = {key for key in common if prompts[0][key] == prompts[1][key]}
    other_truth = _with_other_truth(sums, same)
    kept = frozenset(same - other_truth)
    if not kept:
        raise RunError(
            f"{views[0].folder} and {views[1].folder} have no sample in common: "
            f"{len(prompts[0])} and {len(prompts[1])} answers, {len(common)} with one id, "
            f"{len(same)} of these asked alike, {len(other_truth)} with another truth since."
        )
    compared = tuple(
        compare_sums(sums[0], sums[1], kept, resamples=resamples, shuffles=shuffles, seed=seed)
    )
    return Comparison(
        views=views,
        matched=len(kept),
        only_first=len(prompts[0].keys() - common),
        only_second=len(prompts[1].keys() - common),
        other_prompt=len(common) - len(same),
        other_truth=len(other_truth),
        protocols=compared,
        untested=tuple(_untested(views, compared)),
        changes=_changes(sums, kept, prompts[0]),
        notes=notes,
    )


def _sums_of(view: RunView, notes: list[str]) -> Mapping[str, ProtocolSums]:
    """What the run's samples add to its scores; from older files what these tell, with a note."""
    predictions = predictions_path(view.folder, view.split)
    path = sums_path(predictions)
    if path.is_file():
        found = read_sums(path)
        _check_native(found, path)
        return found
    scores = scores_path(predictions)
    again = f"t4spp evaluate {view.folder} --split {view.split}"
    if not scores.is_file():
        raise RunError(
            f"{view.folder} is not scored on the split {view.split!r}: {scores.name} is missing. "
            f"Score it: {again}"
        )
    notes.append(
        f"{view.label} was scored before t4spp kept what each sample adds to every score, so that "
        f"only mean IoU, cIoU and N-acc of the protocol native are compared. Score it again: "
        f"{again}"
    )
    return {NATIVE: _older_sums(scores, again)}


def _check_native(sums: Mapping[str, ProtocolSums], path: Path) -> None:
    native = sums.get(NATIVE)
    wanted = [f"{name}{side}" for name in _SCORES for side in (ABOVE, BELOW)]
    if native is not None and not set(wanted) <= set(native.columns):
        raise RunError(
            f"{path} is damaged: the columns of {NATIVE} are {', '.join(native.columns)}; expected "
            f"among them: {', '.join(wanted)}. Write it again with: t4spp evaluate RUN"
        )


def _one_sided(views: tuple[RunView, RunView]) -> list[str]:
    """Which protocols only one of the runs was scored by."""
    names = [view.metrics.get("protocols", {}) for view in views]
    return [
        f"Only {view.label} was scored by {', '.join(only)}, which cannot be compared."
        for view, own, other in zip(views, names, names[::-1], strict=True)
        if (only := [name for name in own if name not in other])
    ]


def _older_sums(path: Path, again: str) -> ProtocolSums:
    """``native`` from the pairs' lines, which tell neither boxes nor other protocols."""
    names = tuple(
        f"{name}{side}" for name in ("mean_iou", "ciou", "n_acc") for side in (ABOVE, BELOW)
    )
    rows: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    pictures: dict[str, str] = {}
    with path.open(encoding="utf-8") as stream:
        for line_number, line in enumerate(stream, start=1):
            try:
                pair = json.loads(line)
                key, there = str(pair["id"]), float(bool(pair["has_target"]))
                silent = float(pair["union"] == 0 and pair["status"] != "invalid")
                parts = [
                    there * float(pair["iou"]),
                    there,
                    there * float(pair["intersection"]),
                    there * float(pair["union"]),
                    (1 - there) * silent,
                    1 - there,
                ]
                pictures[key] = str(pair.get("image_id") or key)
            except (ValueError, KeyError, TypeError) as error:
                raise RunError(
                    f"{path}, line {line_number}: not a score of this t4spp "
                    f"({type(error).__name__}: {error}). Score the run again: {again}"
                ) from error
            rows[key] = rows.get(key, np.zeros(len(names))) + np.array(parts)
    if not rows:
        raise RunError(f"{path} has no scores. Score the run again: {again}")
    return ProtocolSums(
        columns=names,
        ids=tuple(rows),
        image_ids=tuple(pictures[key] for key in rows),
        values=np.stack(list(rows.values())),
    )


def _with_other_truth(sums: Sequence[Mapping[str, ProtocolSums]], ids: set[str]) -> set[str]:
    """Samples of which the two evaluations counted other targets, or labels without any."""
    counts: list[dict[str, tuple[float, ...]]] = []
    for own in sums:
        native = own.get(NATIVE)
        if native is None:
            return set()
        places = [native.columns.index(f"{name}{BELOW}") for name in _SCORES]
        counted = native.values[:, places].tolist()
        counts.append({key: tuple(row) for key, row in zip(native.ids, counted, strict=True)})
    return {key for key in ids if counts[0].get(key) != counts[1].get(key)}


def _changes(
    sums: Sequence[Mapping[str, ProtocolSums]], kept: frozenset[str], prompts: Mapping[str, str]
) -> tuple[Change, ...]:
    scores: list[dict[str, float]] = []
    for own in sums:
        native = own.get(NATIVE)
        if native is None:
            return ()
        above, below = (
            native.values[:, [native.columns.index(f"{name}{side}") for name in _SCORES]].sum(
                axis=1
            )
            for side in (ABOVE, BELOW)
        )
        scores.append(
            {
                key: over / under
                for key, over, under in zip(native.ids, above.tolist(), below.tolist(), strict=True)
                if under > 0
            }
        )
    changes = [
        Change(id=key, prompt=prompts[key], first=score, second=scores[1][key])
        for key, score in scores[0].items()
        if key in kept and key in scores[1]
    ]
    return tuple(sorted(changes, key=lambda change: -change.difference))


def _untested(
    views: tuple[RunView, RunView], compared: Sequence[ProtocolComparison]
) -> list[Untested]:
    """Scores of both ``metrics.json`` that the comparison does not have."""
    tested = {(one.protocol, each.metric) for one in compared for each in one.differences}
    tables = [view.metrics.get("protocols", {}) for view in views]
    found = []
    for protocol, scores in tables[0].items():
        for metric, score in scores.items():
            other = tables[1].get(protocol, {}).get(metric)
            if (protocol, metric) in tested or other is None:
                continue
            values = [one.get("value") for one in (score, other)]
            if None not in values:
                found.append(
                    Untested(protocol=protocol, metric=metric, first=values[0], second=values[1])
                )
    return found


def _differing(views: tuple[RunView, RunView]) -> str:
    """Which parameters of the recipes differ, for the refusal."""
    if views[0].split != views[1].split:
        return ""
    told = [
        f"{key} is {values[0]} and {values[1]}"
        for key, values in config_differences(views)
        if key.startswith("data.recipe.")
    ]
    more = f", and {len(told) - 3} more" if len(told) > 3 else ""
    return f" ({'; '.join(told[:3])}{more})" if told else ""


def _difference_json(each: Difference) -> dict[str, float | None]:
    return {
        "first": _finite(each.first),
        "second": _finite(each.second),
        "difference": _finite(each.difference),
        "low": _finite(each.interval.low),
        "high": _finite(each.interval.high),
        "p_value": _finite(each.p_value),
    }


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "id": change.id,
        "prompt": change.prompt,
        "first": change.first,
        "second": change.second,
        "difference": change.difference,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
