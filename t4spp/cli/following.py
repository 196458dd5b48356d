"""What commands that make a run share: claiming its folder, and its trackers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.config import RunConfig
    from t4spp.evaluation.experiment import Experiment
    from t4spp.tracking import Trackers

NUM_OVERLAYS = 16
"""Pictures with masks that trackers are given after the evaluation."""


def claim(experiment: Experiment, folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Make a folder that of a run without training; every process must call this.

    Raises:
        RunError: it holds a run, and neither is asked for; or it cannot be had.
    """
    from t4spp.decoding.processes import Crew
    from t4spp.training.folders import claim_run_folder

    crew = Crew.current()
    if crew.is_main:
        claim_run_folder(folder, experiment.config, resume=resume, overwrite=overwrite)
    crew.wait()


@contextmanager
def follow(
    trackers: Trackers, config: RunConfig, folder: Path, *, resumed: bool, is_main: bool
) -> Iterator[None]:
    """Let the run's trackers follow it, on the main process."""
    from t4spp.components import TrackedRun

    if not is_main:
        yield
        return
    described: dict[str, Any] = config.model_dump(mode="json")
    run = TrackedRun(name=config.name, folder=folder, config=described, resumed=resumed)
    with trackers.following(run):
        try:
            yield
        finally:
            tell_features(trackers)


def tell_recipe(trackers: Trackers, experiment: Experiment) -> None:
    """Say what the recipe left out or changed while it read the dataset, if anything."""
    print_counters(experiment.config.data.title, experiment.recipe)
    counters = experiment.recipe.counters()
    if counters:
        trackers.note("recipe counters", **counters)


def tell_features(trackers: Trackers | None = None) -> None:
    """Say how often features of pictures were computed and found again, if anybody asked."""
    from t4spp.features import log_counters

    counters = log_counters()
    if counters and trackers is not None:
        trackers.note("features of pictures", **counters)


def print_counters(name: str, recipe: Recipe) -> None:
    """One line to people, where there is something to say."""
    counters = recipe.counters()
    if counters:
        said = ", ".join(f"{counter} {count}" for counter, count in counters.items())
        print(f"{name}: {said}", file=sys.stderr)


def tell_scores(
    trackers: Trackers, experiment: Experiment, folder: Path, split: str, metrics: dict[str, Any]
) -> None:
    """Give the trackers the scores, the predictions and some pictures."""
    from t4spp.evaluation.pairs import read_answer
    from t4spp.evaluation.predictions import predictions_path, read_predictions
    from t4spp.report.gallery import overlay_of

    path = predictions_path(folder, split)
    trackers.scores(split, metrics)
    trackers.predictions(path)
    keep_results(trackers, experiment, folder, split)
    if not experiment.config.tracking.trackers:
        return
    samples = experiment.samples(split)
    predictions = read_predictions(path)
    overlays = []
    for position in range(0, len(samples), max(1, -(-len(samples) // NUM_OVERLAYS))):
        sample = samples[position]
        if sample.load_image is None:
            trackers.note("a prompt without a picture is not drawn", id=sample.id)
            continue
        decoded = read_answer(sample, predictions[position], experiment.scheme, experiment.refiner)[
            1
        ]
        overlays.append(overlay_of(sample, decoded))
    trackers.overlays(trackers.step, overlays)


def keep_results(trackers: Trackers, experiment: Experiment, folder: Path, split: str) -> None:
    """Let the trackers keep what an evaluation wrote: config, scores, layers and maps."""
    from t4spp.evaluation.predictions import predictions_path, scores_path
    from t4spp.evaluation.run import metrics_path
    from t4spp.evaluation.spatial_layers import layers_path
    from t4spp.report.html import write_maps
    from t4spp.training.folders import CONFIG_NAME

    path = predictions_path(folder, split)
    name = experiment.config.name
    layers = layers_path(path)
    kept = [
        (f"{name}-config", "config", folder / CONFIG_NAME),
        (f"{name}-{split}-scores", "scores", metrics_path(experiment, folder, split)),
        (f"{name}-{split}-pairs", "scores", scores_path(path)),
        (f"{name}-{split}-layers", "layers", layers),
    ]
    for title, kind, file in kept:
        if file.is_file():
            trackers.artifact(title, kind, file)
    if layers.is_file():
        trackers.artifact(
            f"{name}-{split}-map", "map", write_maps(layers, path.with_name(f"{split}.map.html"))
        )
