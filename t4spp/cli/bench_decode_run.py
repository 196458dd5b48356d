"""The part of ``t4spp bench decode`` that lets a model answer, in each way."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import catalogue_of, print_json, print_table
from t4spp.cli.progress import progress_bar
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.evaluation.decode_bench import Cost


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The run or config, how many of its prompts, and how many together."""
    parser.add_argument(
        "target", nargs="?", metavar="RUN|CONFIG", help="a run's folder, or a config file"
    )
    parser.add_argument("--split", help="the recipe's split; default data.eval_split")
    parser.add_argument("--samples", type=int, metavar="N", help="answer the first N prompts (16)")
    parser.add_argument(
        "--batch-size",
        action="append",
        type=int,
        metavar="N",
        help="prompts together (1 and 8); may be repeated",
    )


def run_on_model(args: argparse.Namespace) -> int:
    """Answer in every way, print what each cost."""
    from t4spp.config import load_config
    from t4spp.decoding.asking import loaded
    from t4spp.evaluation.decode_bench import WAYS, DecodeBench
    from t4spp.evaluation.experiment import Experiment, open_experiment

    sizes = args.batch_size or [1, 8]
    wanted = 16 if args.samples is None else args.samples
    if wanted < 1 or min(sizes) < 1:
        raise ConfigError(f"--samples {wanted}, --batch-size {min(sizes)}: expected at least 1")
    catalogue = catalogue_of(args)
    target = Path(args.target)
    if target.is_file():
        config = load_config(target, args.set, catalogue)
        experiment = Experiment(config=config, catalogue=catalogue)
        backbone = experiment.untrained_backbone
    else:
        experiment = open_experiment(target, catalogue, args.set)
        backbone = experiment.trained_backbone(target)
    found = experiment.samples(args.split or experiment.config.data.eval_split)
    samples = [found[number] for number in range(min(wanted, len(found)))]
    bench = DecodeBench(
        backbone, experiment.scheme, experiment.builder(backbone), samples, experiment.settings()
    )
    rounds = sum(len(samples) for size in sizes for way in WAYS if way.fits(size))
    with progress_bar(rounds, "bench decode") as progress:
        costs = list(bench.costs(sizes, told=progress))
    model, _ = loaded(backbone)
    machine = _machine(model)
    if args.json:
        print_json(
            {
                "target": str(target),
                "scheme": experiment.scheme.fingerprint(),
                "backbone": backbone.fingerprint(),
                "num_samples": len(samples),
                "machine": machine,
                "ways": [cost.as_dict() for cost in costs],
            }
        )
    else:
        print(", ".join(f"{name}: {value}" for name, value in machine.items()))
        print_table(_HEADINGS, [_line(cost, costs) for cost in costs])
    return 0


_HEADINGS = [
    "way",
    "batch",
    "tokens",
    "passes",
    "tokens a pass",
    "s a mask",
    "s decoding",
    "of generate",
    "masks a s",
    "grammar",
    "well-formed",
    "equal",
]


def _line(cost: Cost, costs: list[Cost]) -> list[str]:
    from t4spp.evaluation.decode_bench import HELD

    base = next(
        (c.decode_seconds for c in costs if (c.way, c.batch_size) == (HELD, cost.batch_size)), None
    )
    return [
        cost.way + (f" ({cost.left} left to generate)" if cost.left else ""),
        str(cost.batch_size),
        f"{cost.tokens:.1f}",
        f"{cost.passes:.1f}",
        f"{cost.tokens_per_pass:.2f}",
        f"{cost.seconds:.3f}",
        f"{cost.decode_seconds:.3f}",
        "-" if not base else f"{cost.decode_seconds / base:.2f}",
        f"{cost.masks_per_second:.2f}",
        "-" if cost.grammar is None else f"{cost.grammar:.1%}",
        f"{cost.well_formed:.0%}",
        "-" if cost.equal is None else f"{cost.equal:.0%}",
    ]


def _machine(model: Any) -> dict[str, str]:
    """What the figures were measured on."""
    import torch

    device = model.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": named,
        "threads": str(torch.get_num_threads()),
        "cores": str(os.cpu_count()),
        "precision": str(model.dtype).removeprefix("torch."),
        "torch": torch.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
