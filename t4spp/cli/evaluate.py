"""Score a run: from its predictions where they are, generating them first where they are not.

Rescoring needs no model: only the truth, the predictions and the refiner. A config file instead of
a run's folder starts a run without training, with the backbone as it is. Predictions of other
systems are scored by --predictions.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.evaluate_elsewhere import add_elsewhere_arguments, is_elsewhere, run_elsewhere
from t4spp.cli.following import (
    claim,
    follow,
    print_counters,
    tell_features,
    tell_recipe,
    tell_scores,
)
from t4spp.cli.options import add_set_argument, catalogue_of, print_json, print_table
from t4spp.cli.progress import progress_bar
from t4spp.errors import RunError

if TYPE_CHECKING:
    from t4spp.evaluation.experiment import Experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run or config, the split, the protocols, and what to generate."""
    parser.add_argument(
        "target", metavar="RUN|CONFIG", nargs="?", help="a run's folder, or a config file"
    )
    add_set_argument(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="the run's folder, for a config; default runs/NAME"
    )
    parser.add_argument("--split", help="the recipe's split; default data.eval_split")
    parser.add_argument(
        "--protocol",
        action="append",
        metavar="NAME",
        help="native, lisa, grefcoco, rec, ...; may be repeated; default evaluation.protocols",
    )
    parser.add_argument(
        "--generate", action="store_true", help="let the model answer, even if it has before"
    )
    parser.add_argument("--resume", action="store_true", help="go on with interrupted predictions")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions")
    add_elsewhere_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Generate where needed, score, print."""
    from t4spp.evaluation.predictions import predictions_path
    from t4spp.evaluation.protocols.catalogue import check_protocols
    from t4spp.evaluation.run import metrics_path
    from t4spp.training.processes import leave_processes

    if args.resume and args.overwrite:
        raise RunError("--resume and --overwrite contradict each other: choose one.")
    if is_elsewhere(args):
        return run_elsewhere(args)
    if args.target is None:
        raise RunError(
            "nothing to score: name a run's folder or a config file, or another system's "
            "predictions by --predictions PATH --format NAME."
        )
    experiment, folder = _open(args)
    split = args.split or experiment.config.data.eval_split
    check_protocols(args.protocol or experiment.config.evaluation.protocols)
    begins = Path(args.target).is_file()
    if begins:
        metrics = _begin(experiment, folder, split, args)
    else:
        path = predictions_path(folder, split)
        metrics = generate_and_score(
            experiment,
            folder,
            split,
            generate=args.generate or args.resume or args.overwrite or not path.is_file(),
            resume=args.resume,
            overwrite=args.overwrite,
            protocols=args.protocol,
        )
    if os.environ.get("RANK", "0") == "0":
        if not begins:
            print_counters(experiment.config.data.title, experiment.recipe)
            tell_features()
        if args.json:
            print_json(metrics)
        else:
            print_scores(metrics)
            print(f"\nscores: {metrics_path(experiment, folder, split)}")
    leave_processes()
    return 0


def _begin(
    experiment: Experiment, folder: Path, split: str, args: argparse.Namespace
) -> dict[str, Any]:
    """Make the folder of a config its run's, answer and score; its trackers follow."""
    from t4spp.decoding.processes import Crew
    from t4spp.tracking import Trackers

    config = experiment.config
    experiment.check(split)
    trackers = Trackers.of_config(config.tracking, experiment.catalogue)
    crew = Crew.current()
    claim(experiment, folder, resume=args.resume, overwrite=args.overwrite)
    with follow(trackers, config, folder, resumed=args.resume, is_main=crew.is_main):
        if crew.is_main:
            tell_recipe(trackers, experiment)
        metrics = generate_and_score(
            experiment, folder, split, generate=True, resume=args.resume, protocols=args.protocol
        )
        if crew.is_main:
            tell_scores(trackers, experiment, folder, split, metrics)
    return metrics


def generate_and_score(
    experiment: Experiment,
    folder: Path,
    split: str,
    *,
    generate: bool,
    resume: bool = False,
    overwrite: bool = False,
    protocols: list[str] | None = None,
) -> dict[str, Any]:
    """Generate (on request) and score a split, with progress bars."""
    from t4spp.evaluation.run import evaluate_split, generate_split

    number = len(experiment.samples(split))
    if generate:
        with progress_bar(number, f"answer {split}") as progress:
            generate_split(
                experiment, folder, split, resume=resume, overwrite=overwrite, progress=progress
            )
    with progress_bar(number, f"score {split}") as progress:
        return evaluate_split(experiment, folder, split, protocols=protocols, progress=progress)


def print_scores(metrics: dict[str, Any]) -> None:
    """The scores as a table, and how the answers were read."""
    rows = [
        [protocol, name, _number(score["value"]), _interval(score)]
        for protocol, scores in metrics["protocols"].items()
        for name, score in scores.items()
    ]
    print_table(["protocol", "metric", "value", "95 % interval"], rows)
    _print_breakdowns(metrics)
    answers = metrics["answers"]
    for tag, scores in answers["tags"].items():
        shown = [
            f"{name} {_number(scores[name]['value'])}"
            for name in ("mean_iou", "n_acc")
            if scores[name]["value"] is not None
        ]
        print(f"{tag} ({scores['num_samples']} prompts): {', '.join(shown)}")
    print(
        f"\n{metrics['num_samples']} prompts on {metrics['num_images']} pictures, "
        f"{metrics['num_targets']} targets, {metrics['num_no_target']} without a target; answers "
        f"ok {answers['ok']}, repaired {answers['repaired']}, invalid {answers['invalid']}"
    )
    for code, count in answers["problems"].items():
        print(f"  {code}: {count['occurrences']} in {count['answers']} answers")
    if metrics["refiner_counters"]:
        counted = (f"{name} {count}" for name, count in metrics["refiner_counters"].items())
        print(f"regions after {metrics['refiner']['name']}: {', '.join(counted)}")
    print(
        f"tokens {_number(answers['tokens']['mean'], 1)} an answer "
        f"(95th percentile {_number(answers['tokens']['p95'], 0)}), passes "
        f"{_number(answers['passes']['mean'], 1)} ({_number(answers['tokens_per_pass'], 1)} "
        f"tokens a pass), seconds {_number(answers['seconds']['mean'])}"
    )
    if answers["engines"].get("generate"):
        print(
            f"{answers['engines']['generate']} answers were left to the model's own generate, a "
            "token a pass: see the log for the reason"
        )


def _print_breakdowns(metrics: dict[str, Any]) -> None:
    """``native`` by what the truth is like, where more than one bin has pairs."""
    from t4spp.report.tables import METRIC_NAMES, breakdown_tables

    tables = [table for table in breakdown_tables(metrics) if len(table[2]) > 1]
    keys = list(dict.fromkeys(key for _, own, _ in tables for key in own))
    if not tables:
        return
    rows = []
    for title, _, bins in tables:
        for index, row in enumerate(bins):
            cells = [row.metrics.get(key) for key in keys]
            told = [
                "-"
                if cell is None
                else f"{cell.value} ({cell.interval})"
                if cell.interval
                else cell.value
                for cell in cells
            ]
            rows.append(["" if index else title, row.name, str(row.num_pairs), *told])
    print()
    names = [METRIC_NAMES.get(key, key) for key in keys]
    print_table(["native by", "", "pairs", *names], rows)
    print()


def _open(args: argparse.Namespace) -> tuple[Any, Path]:
    """The experiment and its folder, from a run's folder or from a config file."""
    from t4spp.config import load_config
    from t4spp.evaluation.experiment import Experiment, open_experiment

    catalogue = catalogue_of(args)
    target = Path(args.target)
    if target.is_dir() or not target.exists():
        if args.output is not None and target.is_dir():
            raise RunError(
                f"-o {args.output}: {target} is a run already and is scored in place. Leave -o out."
            )
        return open_experiment(target, catalogue, args.set), target
    config = load_config(target, args.set, catalogue)
    if config.training.mode != "none":
        raise RunError(
            f"{target} trains (training.mode: {config.training.mode}), and evaluate does not. Use "
            "`t4spp run`, or --set training.mode=none to score the backbone as it is."
        )
    folder = Path(args.output) if args.output else Path("runs") / config.name
    return Experiment(config=config, catalogue=catalogue), folder


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(score: dict[str, float | None]) -> str:
    if score["low"] is None or score["high"] is None:
        return "-"
    return f"{score['low']:.3f} to {score['high']:.3f}"
