"""Train, predict, score and report as a config says: one experiment, one command.

Training is left out where training.mode is none. An interrupted run goes on with --resume: from
its latest checkpoint, or from the last prompt that was answered.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.evaluate import generate_and_score, print_scores
from t4spp.cli.options import add_config_arguments, catalogue_of, print_json
from t4spp.cli.train import add_folder_arguments, print_summary, run_folder

if TYPE_CHECKING:
    from t4spp.evaluation.experiment import Experiment
    from t4spp.tracking import Trackers
    from t4spp.training.trainer import Trainer, TrainSummary

NUM_OVERLAYS = 16
"""Pictures with masks that trackers are given after the evaluation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the run's folder, and what to do where it exists."""
    add_config_arguments(parser)
    add_folder_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do everything, print the scores and where the report lies."""
    from t4spp.config import load_config
    from t4spp.decoding.processes import Crew
    from t4spp.evaluation.experiment import Experiment
    from t4spp.evaluation.scores import check_protocols
    from t4spp.report.html import write_report
    from t4spp.training.processes import leave_processes

    catalogue = catalogue_of(args)
    config = load_config(args.config, args.set, catalogue)
    check_protocols(config.evaluation.protocols)
    experiment = Experiment(config=config, catalogue=catalogue)
    folder = run_folder(args.output, config)
    split = config.data.eval_split
    experiment.samples(split)  # a missing dataset is told before anything is trained
    trainer = _claimed(experiment, folder, resume=args.resume, overwrite=args.overwrite)
    crew = Crew.current()
    with _followed(experiment, folder, crew.is_main) as trackers:
        summary = None if trainer is None else _train(trainer, experiment, trackers)
        del trainer  # its weights and optimiser make room for generation
        metrics = generate_and_score(experiment, folder, split, generate=True, resume=args.resume)
        if trackers is not None:
            _tell(trackers, experiment, folder, split, metrics)
    report = write_report(folder, catalogue) if crew.is_main else None
    if crew.is_main:
        if args.json:
            print_json(
                {
                    "run": str(folder),
                    "report": str(report),
                    "training": None if summary is None else summary.as_dict(),
                    "metrics": metrics,
                }
            )
        else:
            if summary is not None:
                print_summary(summary)
            print_scores(metrics)
            print(f"\nrun: {folder}\nreport: {report}")
    leave_processes()
    return 0


def _claimed(
    experiment: Experiment, folder: Path, *, resume: bool, overwrite: bool
) -> Trainer | None:
    """Claim the run's folder; the trainer, where the config trains."""
    from t4spp.decoding.processes import Crew
    from t4spp.training.folders import claim_run_folder

    if experiment.config.training.mode != "none":
        from t4spp.training.trainer import Trainer

        trainer = Trainer(experiment.config, experiment.catalogue, folder, scheme=experiment.scheme)
        trainer.claim(resume=resume, overwrite=overwrite)
        return trainer
    crew = Crew.current()
    if crew.is_main:
        claim_run_folder(folder, experiment.config, resume=resume, overwrite=overwrite)
    crew.wait()
    return None


@contextmanager
def _followed(experiment: Experiment, folder: Path, is_main: bool) -> Iterator[Trackers | None]:
    """The run's trackers, on the main process."""
    from t4spp.components import TrackedRun
    from t4spp.tracking import Trackers

    if not is_main:
        yield None
        return
    config = experiment.config
    trackers = Trackers.of_config(config.tracking, experiment.catalogue)
    described: dict[str, Any] = config.model_dump(mode="json")
    with trackers.following(TrackedRun(name=config.name, folder=folder, config=described)):
        yield trackers


def _train(trainer: Trainer, experiment: Experiment, trackers: Trackers | None) -> TrainSummary:
    from t4spp.evaluation.during_training import TrainingEvaluator

    summary = trainer.train(evaluate=TrainingEvaluator(experiment), follower=trackers)
    if trackers is not None:
        name = f"{experiment.config.name}-weights"
        trackers.artifact(name, "model", summary.weights)
    return summary


def _tell(
    trackers: Trackers, experiment: Experiment, folder: Path, split: str, metrics: dict[str, Any]
) -> None:
    """Give the trackers the scores, the predictions and some pictures."""
    from t4spp.evaluation.predictions import predictions_path, read_predictions
    from t4spp.evaluation.run import decode_answer
    from t4spp.report.gallery import overlay_of

    path = predictions_path(folder, split)
    trackers.scores(split, metrics)
    trackers.predictions(path)
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
        decoded = decode_answer(
            sample, predictions[position], experiment.scheme, experiment.refiner
        )
        overlays.append(overlay_of(sample, decoded))
    trackers.overlays(trackers.step, overlays)
