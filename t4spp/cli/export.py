"""Write a trained run as a plain checkpoint folder that transformers loads by itself.

An adapter is merged with the rows of its added tokens; tokenizer, processor and generation config
come along, and t4spp_export.json says which scheme the model writes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import add_set_argument, catalogue_of, print_json
from t4spp.errors import RunError

if TYPE_CHECKING:
    from t4spp.evaluation.experiment import Experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run and the folder."""
    parser.add_argument("run", metavar="RUN", help="a trained run's folder")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    add_set_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Check, load, write, and say how to load it."""
    from t4spp.evaluation.experiment import open_experiment
    from t4spp.training.export import check_target, export_model

    source, target = Path(args.run), Path(args.output)
    experiment = open_experiment(source, catalogue_of(args), args.set)
    training = experiment.config.training
    if training.mode == "none" and training.init_from is None:
        raise RunError(
            f"{source} has trained nothing (training.mode: none), so there is nothing to export. "
            "Name a run that trains."
        )
    checkpoint = experiment.checkpoint_name(source)
    check_target(target, overwrite=args.overwrite)
    backbone = experiment.trained_backbone(source)
    record = record_of(experiment, checkpoint, backbone.fingerprint())
    summary = export_model(backbone, target, record, overwrite=args.overwrite)
    if args.json:
        print_json(summary.as_dict())
        return 0
    print(
        f"{summary.folder}: {summary.model_class}, {summary.parameters:,} parameters, "
        f"{summary.bytes / 1e6:.1f} MB in {len(summary.files)} files"
    )
    for module in summary.imports:
        print(f"import {module} before loading it: it defines a part of the model")
    return 0


def record_of(experiment: Experiment, checkpoint: str, fingerprint: str) -> dict[str, Any]:
    """What somebody must know to ask the model and to read its answers."""
    config = experiment.config
    return {
        "schema": 1,
        "run": config.name,
        "checkpoint": checkpoint,
        "backbone": {"name": config.backbone.name, "fingerprint": fingerprint},
        "scheme": {
            "name": config.scheme.name,
            "params": config.scheme.params,
            "fingerprint": experiment.scheme.fingerprint(),
        },
        "prompting": config.data.prompting.model_dump(mode="json"),
    }
