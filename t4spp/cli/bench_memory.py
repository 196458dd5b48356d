"""Memory that LoRA training needs, by model and precision, computed from their architectures.

No weights are needed. Add what the device's libraries take for themselves, half a gigabyte to one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.options import catalogue_of, print_json, print_table
from t4spp.cli.progress import progress_bar
from t4spp.components import ReferenceModel
from t4spp.errors import ConfigError, nearest
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.training.memory import MemoryNeed

_NUMBERS = {
    "rank": (64, 1, "rank of LoRA"),
    "new-tokens": (1032, 0, "tokens whose rows are trained, as many as next-brick has"),
    "length": (1024, 2, "tokens of a sequence, image tokens counted"),
    "answer": (128, 1, "tokens of its answer"),
    "sequences": (1, 1, "sequences in a forward pass (training.micro_batch_size)"),
}
"""Option: default, least value, help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, and what they are trained on."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME",
        help="one of the architectures that backbones know, the start of its name suffices; may "
        "be repeated; default all",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a config.json of transformers, instead of those"
    )
    parser.add_argument(
        "--targets",
        metavar="REGEX",
        help="linear layers that LoRA adapts in the model of --config; default those of a known "
        "architecture of its model_type, else all",
    )
    for name, (default, _, text) in _NUMBERS.items():
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{text}; default {default}"
        )


def run(args: argparse.Namespace) -> int:
    """Compute and print."""
    for name, (_, least, _) in _NUMBERS.items():
        value = getattr(args, name.replace("-", "_"))
        if value < least:
            raise ConfigError(f"--{name} {value}: expected at least {least}")
    if args.answer >= args.length:
        raise ConfigError(f"--answer {args.answer}: expected less than --length {args.length}")
    models = chosen_models(catalogue_of(args), args.model, args.config, args.targets)
    from t4spp.training.memory import Workload, memory_needs

    work = Workload(
        rank=args.rank,
        new_tokens=args.new_tokens,
        length=args.length,
        answer=args.answer,
        sequences=args.sequences,
    )
    needs: list[MemoryNeed] = []
    with progress_bar(len(models), "bench memory") as advance:
        for model in models:
            needs += memory_needs(model, work)
            advance(1)
    if args.json:
        rows = [
            {**asdict(n), "total": n.total, "total_checkpointed": n.total_checkpointed}
            for n in needs
        ]
        print_json({"workload": asdict(work), "rows": rows})
        return 0
    print(
        f"LoRA of rank {work.rank}, {work.new_tokens} new tokens, {work.sequences} x "
        f"{work.length} tokens, {work.answer} of them answer; GiB"
    )
    head = ["model", "parameters", "trained", "base in", "weights", "states", "activations"]
    print_table([*head, "total", "checkpointed"], [_row(need) for need in needs])
    return 0


def chosen_models(
    catalogue: Catalogue, names: list[str], config: str | None, targets: str | None
) -> list[ReferenceModel]:
    """What the options name.

    Raises:
        ConfigError: an unknown name, or a file that is no config.
    """
    known = [
        model
        for entry in catalogue.components.get("backbone", {}).values()
        if entry.component.references is not None
        for model in entry.component.references()
    ]
    if config is not None:
        if names:
            raise ConfigError("--model and --config exclude each other: give one of them")
        return [_described(Path(config), targets, known)]
    if targets is not None:
        raise ConfigError("--targets goes with --config: known architectures have their own")
    if not known:
        raise ConfigError(
            "no installed backbone names architectures. Give a config.json with --config FILE."
        )
    found: list[ReferenceModel] = []
    for name in names:
        fitting = [m for m in known if m.name.lower().startswith(name.lower())]
        if not fitting:
            listed = [model.name for model in known]
            raise ConfigError(
                f"--model {name}: unknown; valid: {', '.join(listed)}.{nearest(name, listed)}"
            )
        found += [model for model in fitting if model not in found]
    return found or known


def _described(path: Path, targets: str | None, known: list[ReferenceModel]) -> ReferenceModel:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path}: no JSON file that can be read ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigError(f"--config {path}: it names no model_type; give a model's config.json")
    alike = [m for m in known if m.config["model_type"] == config["model_type"]]
    if targets is not None:
        return ReferenceModel(name=str(path), config=config, lora_targets=targets)
    if alike:
        return ReferenceModel(
            name=str(path),
            config=config,
            lora_targets=alike[0].lora_targets,
            trained_whole=alike[0].trained_whole,
        )
    return ReferenceModel(name=str(path), config=config)


def _row(need: MemoryNeed) -> list[str]:
    sizes = (need.weights, need.states, need.activations, need.total, need.total_checkpointed)
    return [
        need.name,
        f"{need.parameters / 1e9:.2f} B",
        f"{need.trained / 1e6:.0f} M",
        need.precision,
        *(f"{size / 2**30:.1f}" for size in sizes),
    ]
