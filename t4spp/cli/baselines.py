"""Score answers without a model on a run's data: everything, nothing, the mean training mask.

They stand beside the run's own scores. Given a run's folder, they are kept in it, and its report
and comparisons show them; given a config file, they are printed alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from t4spp.cli.options import add_set_argument, catalogue_of, print_json, print_table
from t4spp.cli.progress import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run or config, and the split."""
    parser.add_argument("target", metavar="RUN|CONFIG", help="a run's folder, or a config file")
    add_set_argument(parser)
    parser.add_argument("--split", help="the recipe's split; default data.eval_split")


def run(args: argparse.Namespace) -> int:
    """Score the baselines, keep them in the run, print both."""
    from t4spp.config import load_config
    from t4spp.data.head import training_samples
    from t4spp.evaluation.baseline_files import baselines_path, write_baselines
    from t4spp.evaluation.baselines import score_baselines
    from t4spp.evaluation.experiment import Experiment, open_experiment
    from t4spp.evaluation.predictions import predictions_path
    from t4spp.evaluation.run import metrics_path

    catalogue = catalogue_of(args)
    target = Path(args.target)
    folder = None if target.is_file() else target
    if folder is None:
        config = load_config(target, args.set, catalogue)
        experiment = Experiment(config=config, catalogue=catalogue)
    else:
        experiment = open_experiment(folder, catalogue, args.set)
    split = args.split or experiment.config.data.eval_split
    num_train = len(training_samples(experiment.recipe, experiment.config.data))
    with (
        progress_bar(num_train, "mean mask") as learning,
        progress_bar(len(experiment.samples(split)), f"score {split}") as scoring,
    ):
        scored = score_baselines(experiment, split, learning=learning, scoring=scoring)
    own: dict[str, Any] | None = None
    path = None
    if folder is not None:
        path = baselines_path(predictions_path(folder, split))
        write_baselines(path, scored)
        metrics = metrics_path(experiment, folder, split)
        if metrics.is_file():
            own = json.loads(metrics.read_text(encoding="utf-8")).get("protocols")
    if args.json:
        print_json({**scored, "run": own, "file": None if path is None else str(path)})
        return 0
    _print(scored, own)
    if scored["num_in_words_left_out"]:
        print(f"{scored['num_in_words_left_out']} questions in words are left out", file=sys.stderr)
    if path is not None:
        print(f"\nbaselines: {path}")
    return 0


def _print(scored: dict[str, Any], own: dict[str, Any] | None) -> None:
    named = {name: entry["protocols"] for name, entry in scored["baselines"].items()}
    if own is not None:
        named = {"the run": own, **named}
    rows = list(
        dict.fromkeys(
            (protocol, metric)
            for protocols in named.values()
            for protocol, scores in protocols.items()
            for metric in scores
        )
    )
    print_table(
        ["protocol", "metric", *named],
        [
            [
                protocol,
                metric,
                *(_text(p.get(protocol, {}).get(metric, {})) for p in named.values()),
            ]
            for protocol, metric in rows
        ],
    )
    thresholds = scored["baselines"]["mean mask, best threshold"]["thresholds"]
    said = ", ".join(f"{label} {value:g}" for label, value in list(thresholds.items())[:8])
    print(f"\nbest threshold of the mean mask, a share of training's masks: {said}")


def _text(score: dict[str, float | None]) -> str:
    value = score.get("value")
    return "-" if value is None else f"{value:.3f}"
