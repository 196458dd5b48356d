"""Scores in space over a whole split: by scene, by object, by area, with intervals over scenes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t4spp.decoding.processes import Crew
from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals
from t4spp.evaluation.spatial import ObjectCounts
from t4spp.evaluation.spatial_scenes import SceneScore, score_scene
from t4spp.evaluation.spatial_windows import WindowAnswer

HECTARE = 10_000.0
"""Square metres."""
SCENE_PROTOCOL = "scene"
OBJECTS_PROTOCOL = "objects"

Outlines = Callable[[str, str], Sequence[Any] | None]
"""The true objects of a (scene, label), shapely polygons in the scene's CRS; None: only the
windows' masks say what is true."""


@dataclass(frozen=True, kw_only=True)
class SpatialScores:
    """What a split scores in space.

    Attributes:
        scenes: one a (scene, label), in the order in which the split shows them.
        windows: every scored window and label.
    """

    scenes: tuple[SceneScore, ...]
    windows: tuple[WindowAnswer, ...]

    def protocols(
        self, *, resamples: int, seed: int
    ) -> dict[str, dict[str, dict[str, float | None]]]:
        """Scores with intervals, as ``metrics.json`` has them.

        An interval is over scenes drawn with replacement; one scene alone has none.

        Args:
            resamples: of the bootstrap.
            seed: of the bootstrap.
        """
        names = [score.scene for score in self.scenes]
        terms = {SCENE_PROTOCOL: scene_terms(self.scenes), OBJECTS_PROTOCOL: _objects(self.scenes)}
        flat = {
            f"{protocol}/{name}": term
            for protocol, own in terms.items()
            for name, term in own.items()
        }
        enough = len(set(names)) > 1
        intervals = bootstrap_intervals(
            names, flat, resamples=resamples if enough else 0, seed=seed
        )
        return {
            protocol: {
                name: {
                    "value": _finite(term.value()),
                    "low": _finite(intervals[f"{protocol}/{name}"].low),
                    "high": _finite(intervals[f"{protocol}/{name}"].high),
                }
                for name, term in own.items()
            }
            for protocol, own in terms.items()
        }

    def describe(self) -> dict[str, Any]:
        """``space`` of ``metrics.json``: counts, areas and one entry a (scene, label)."""
        hectares = sum(score.counted * score.pixel_m2 for score in self.scenes) / HECTARE
        tokens = [score.num_tokens for score in self.scenes]
        written = None if None in tokens else sum(number or 0 for number in tokens)
        counts = sum((score.objects.counts for score in self.scenes), ObjectCounts())
        return {
            "num_scenes": len({score.scene for score in self.scenes}),
            "num_windows": len({window.position for window in self.windows}),
            "hectares": hectares,
            "tokens_per_hectare": None if written is None or not hectares else written / hectares,
            "objects": {
                "predicted": counts.num_predicted,
                "true": counts.num_true,
                "matched": counts.num_matched,
                "below_least_area": counts.num_small,
            },
            "scenes": [_described(score) for score in self.scenes],
        }


def score_space(
    windows: Iterable[WindowAnswer],
    *,
    outlines: Outlines | None = None,
    iou: float,
    least_area: float,
    crew: Crew | None = None,
    progress: Callable[[int], object] | None = None,
) -> SpatialScores:
    """Score windows by scene and label; all processes must call it with all windows.

    Args:
        windows: of all processes.
        outlines: of true objects, where a recipe knows them.
        iou: from which on a predicted and a true object are one.
        least_area: of objects, square metres.
        crew: the processes, which share the scenes; None for the current ones.
        progress: told how many (scene, label) have just been scored.

    Raises:
        GeoError: a scene is gone or damaged.
    """
    crew = crew or Crew.current()
    ordered = sorted(windows, key=lambda window: window.position)
    groups: dict[tuple[str, str], list[WindowAnswer]] = {}
    for window in ordered:
        groups.setdefault((window.scene, window.label), []).append(window)
    mine = []
    for number, ((scene, label), own) in enumerate(groups.items()):
        if number % crew.size != crew.rank:
            continue
        known = None if outlines is None else outlines(scene, label)
        score = score_scene(own, outlines=known, iou=iou, least_area=least_area)
        mine.append((number, score))
        if progress is not None:
            progress(1)
    gathered = sorted(crew.gather(mine), key=lambda entry: entry[0])
    return SpatialScores(scenes=tuple(score for _, score in gathered), windows=tuple(ordered))


def scene_terms(scores: Sequence[SceneScore]) -> dict[str, Terms]:
    """The pixel scores as ratios of sums over (scene, label).

    ``iou``: intersections over unions; ``mean_iou``: mean over those with a true pixel;
    ``precision`` and ``recall`` of pixels; ``area_error``: predicted minus true area over true
    area; ``area_error_abs``: its size in each scene, weighted by true area.
    """
    area = _column(scores, lambda score: score.pixel_m2)
    intersection = _column(scores, lambda score: score.intersection) * area
    union = _column(scores, lambda score: score.union) * area
    predicted = _column(scores, lambda score: score.predicted_area) * area
    true = _column(scores, lambda score: score.true_area) * area
    ious = _column(scores, lambda score: score.iou)
    present = (true > 0).astype(np.float64)
    return {
        "iou": Terms(numerator=intersection, denominator=union),
        "mean_iou": Terms(numerator=ious * present, denominator=present),
        "precision": Terms(numerator=intersection, denominator=predicted),
        "recall": Terms(numerator=intersection, denominator=true),
        "area_error": Terms(numerator=predicted - true, denominator=true),
        "area_error_abs": Terms(numerator=np.abs(predicted - true), denominator=true),
    }


def _objects(scores: Sequence[SceneScore]) -> dict[str, Terms]:
    """Precision, recall and F1 of objects, and what the pairs share, as ratios of sums."""

    def column(value: Callable[[ObjectCounts], float]) -> Any:
        return _column(scores, lambda score: value(score.objects.counts))

    predicted = column(lambda counts: counts.num_predicted)
    true = column(lambda counts: counts.num_true)
    matched = column(lambda counts: counts.num_matched)
    return {
        "precision": Terms(numerator=matched, denominator=predicted),
        "recall": Terms(numerator=matched, denominator=true),
        "f1": Terms(numerator=2 * matched, denominator=predicted + true),
        "pair_iou": Terms(numerator=column(lambda counts: counts.iou_sum), denominator=matched),
        "pair_area_error": Terms(
            numerator=column(lambda counts: counts.area_error_sum), denominator=matched
        ),
    }


def _described(score: SceneScore) -> Mapping[str, Any]:
    counts = score.objects.counts
    return {
        "scene": score.name,
        "label": score.label,
        "windows": score.num_windows,
        "iou": score.iou,
        "predicted_m2": score.predicted_area * score.pixel_m2,
        "true_m2": score.true_area * score.pixel_m2,
        "area_error": score.area_error,
        "objects": {
            "predicted": counts.num_predicted,
            "true": counts.num_true,
            "matched": counts.num_matched,
            "f1": counts.f1,
        },
    }


def _column(scores: Sequence[SceneScore], value: Callable[[SceneScore], float]) -> Any:
    return np.array([value(score) for score in scores], dtype=np.float64)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
