"""Adds the scores in space to a run's evaluation, where its samples are windows of scenes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from t4spp.decoding.processes import Crew
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.spatial_layers import layers_path, write_layers
from t4spp.evaluation.spatial_scores import score_space
from t4spp.evaluation.spatial_windows import WindowCollector

logger = logging.getLogger(__name__)


def with_space(
    metrics: dict[str, Any],
    experiment: Experiment,
    predictions: Path,
    collector: WindowCollector,
    crew: Crew,
) -> dict[str, Any]:
    """``metrics`` with the protocols ``scene`` and ``objects``, and what they rest on as ``space``.

    Unchanged where no sample is a window of a scene. The main process writes the layers. All
    processes must call it.

    Raises:
        GeoError: a scene is gone or damaged.
        RunError: the layers cannot be written.
    """
    windows = crew.gather(collector.windows)
    unplaced = sum(crew.gather([collector.num_unplaced]))
    if not windows:
        return metrics
    config = experiment.config
    scores = score_space(
        windows,
        outlines=experiment.recipe.scene_objects,
        iou=config.evaluation.object_iou,
        least_area=config.evaluation.least_area,
        crew=crew,
    )
    described = scores.describe()
    if unplaced:
        described["samples_in_no_scene"] = unplaced
        logger.warning("%d samples lie in no scene and are scored by themselves alone", unplaced)
    path = layers_path(predictions)
    path.unlink(missing_ok=True) if crew.is_main else None
    if crew.is_main and config.evaluation.layers:
        described["layers"] = {"file": path.name, "names": write_layers(path, scores)}
    protocols = scores.protocols(resamples=config.evaluation.bootstrap, seed=config.seed)
    return {
        **metrics,
        "protocols": {**metrics["protocols"], **protocols},
        "space": described,
    }
