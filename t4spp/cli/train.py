"""Train as a config says; predicting and scoring are left to `evaluate`, or do all with `run`.

Several processes: ``accelerate launch --config_file configs/base/accelerate/ddp.yaml -m t4spp
train FILE``; see docs/training.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.following import follow, tell_recipe
from t4spp.cli.options import add_config_arguments, catalogue_of, print_json

if TYPE_CHECKING:
    from t4spp.config import RunConfig
    from t4spp.evaluation.experiment import Experiment
    from t4spp.tracking import Trackers
    from t4spp.training.trainer import Trainer, TrainSummary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the run's folder, and what to do where it exists."""
    add_config_arguments(parser)
    add_folder_arguments(parser)


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """``-o DIR``, ``--resume``, ``--overwrite``."""
    parser.add_argument("-o", "--output", metavar="DIR", help="the run's folder; default runs/NAME")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--resume", action="store_true", help="go on from the run's latest checkpoint"
    )
    choice.add_argument(
        "--overwrite", action="store_true", help="remove the run that is in the folder"
    )


def run(args: argparse.Namespace) -> int:
    """Train, print the summary."""
    from t4spp.config import load_config
    from t4spp.evaluation.experiment import Experiment
    from t4spp.tracking import Trackers
    from t4spp.training.processes import leave_processes

    catalogue = catalogue_of(args)
    config = load_config(args.config, args.set, catalogue)
    folder = run_folder(args.output, config)
    experiment = Experiment(config=config, catalogue=catalogue)
    trainer = trainer_of(experiment, folder)
    if config.training.evaluate_every is not None:
        experiment.samples(config.data.eval_split)  # told before anything is trained
    trackers = Trackers.of_config(config.tracking, catalogue)
    trainer.claim(resume=args.resume, overwrite=args.overwrite)
    with follow(trackers, trainer.config, folder, resumed=args.resume, is_main=trainer.is_main):
        if trainer.is_main:
            tell_recipe(trackers, experiment)
        summary = train_followed(trainer, experiment, trackers)
    if trainer.is_main:
        if args.json:
            print_json({**summary.as_dict(), "run": str(folder)})
        else:
            print_summary(summary)
            print(f"run: {folder}")
    leave_processes()
    return 0


def run_folder(output: str | None, config: RunConfig) -> Path:
    """``-o``, or ``runs/<name>``."""
    return Path(output) if output else Path("runs") / config.name


def trainer_of(experiment: Experiment, folder: Path) -> Trainer:
    """The trainer of an experiment, which reads the dataset by the experiment's recipe."""
    from t4spp.data.head import training_samples
    from t4spp.training.trainer import Trainer

    return Trainer(
        experiment.config,
        experiment.catalogue,
        folder,
        scheme=experiment.scheme,
        samples=training_samples(experiment.recipe, experiment.config.data),
    )


def train_followed(trainer: Trainer, experiment: Experiment, trackers: Trackers) -> TrainSummary:
    """Train a claimed run, scoring as often as its config asks; its weights are an artifact."""
    from t4spp.evaluation.during_training import TrainingEvaluator

    evaluate = TrainingEvaluator(experiment)
    if not trainer.is_main:
        return trainer.train(evaluate=evaluate)
    summary = trainer.train(evaluate=evaluate, follower=trackers)
    trackers.artifact(f"{trainer.config.name}-weights", "model", summary.weights)
    return summary


def print_summary(summary: TrainSummary) -> None:
    """A few lines for people."""
    resumed = "" if summary.resumed_from is None else f" (resumed from {summary.resumed_from})"
    loss = "nothing left to do" if summary.loss is None else f"last loss {summary.loss:.4f}"
    print(f"trained {summary.steps} steps{resumed} in {summary.seconds:.1f} s: {loss}")
    print(
        f"{summary.samples} samples, {summary.answer_tokens} answer tokens; left out: "
        f"{summary.too_long} too long, {summary.unwritable} unwritable, "
        f"{summary.unpacked} companions unpacked"
    )
    share = summary.trainable_parameters / max(1, summary.total_parameters)
    print(
        f"{summary.trainable_parameters} of {summary.total_parameters} parameters trained "
        f"({share:.1%})"
    )
    print(f"checkpoint: {summary.checkpoint}")
