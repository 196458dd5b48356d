"""Train, predict, score and report as a config says: one experiment, one command.

Training is left out where training.mode is none. An interrupted run goes on with --resume: from
its latest checkpoint, or from the last prompt that was answered.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.evaluate import generate_and_score, print_scores
from t4spp.cli.following import claim, follow, tell_recipe, tell_scores
from t4spp.cli.options import add_config_arguments, catalogue_of, print_json
from t4spp.cli.train import (
    add_folder_arguments,
    print_summary,
    run_folder,
    train_followed,
    trainer_of,
)

if TYPE_CHECKING:
    from t4spp.evaluation.experiment import Experiment
    from t4spp.training.trainer import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the run's folder, and what to do where it exists."""
    add_config_arguments(parser)
    add_folder_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do everything, print the scores and where the report lies."""
    from t4spp.config import load_config
    from t4spp.decoding.processes import Crew
    from t4spp.evaluation.experiment import Experiment
    from t4spp.report.html import write_report
    from t4spp.tracking import Trackers
    from t4spp.training.processes import leave_processes

    catalogue = catalogue_of(args)
    config = load_config(args.config, args.set, catalogue)
    experiment = Experiment(config=config, catalogue=catalogue)
    folder = run_folder(args.output, config)
    split = config.data.eval_split
    trackers = Trackers.of_config(config.tracking, catalogue)
    trainer = _claimed(experiment, folder, resume=args.resume, overwrite=args.overwrite)
    crew = Crew.current()
    followed = config if trainer is None else trainer.config
    with follow(trackers, followed, folder, resumed=args.resume, is_main=crew.is_main):
        if crew.is_main:
            tell_recipe(trackers, experiment)
        summary = None if trainer is None else train_followed(trainer, experiment, trackers)
        del trainer  # its weights and optimiser make room for generation
        metrics = generate_and_score(experiment, folder, split, generate=True, resume=args.resume)
        if crew.is_main:
            tell_scores(trackers, experiment, folder, split, metrics)
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
    """Claim the run's folder, after all that can fail; the trainer, where the config trains."""
    config = experiment.config
    experiment.check(config.data.eval_split)
    if config.training.mode == "none":
        claim(experiment, folder, resume=resume, overwrite=overwrite)
        return None
    trainer = trainer_of(experiment, folder)
    trainer.claim(resume=resume, overwrite=overwrite)
    return trainer
