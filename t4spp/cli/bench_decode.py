"""How many forward passes answers take, and what they cost.

A run or a config's backbone answers its prompts in several ways; or, with --replay and without a
model, the true answers of a recipe are written as a model would that is certain of them.
"""

from __future__ import annotations

import argparse

from t4spp.cli.bench_decode_replay import add_replay_arguments, run_replay
from t4spp.cli.bench_decode_run import add_run_arguments, run_on_model
from t4spp.cli.options import add_set_argument
from t4spp.errors import ConfigError

_OF_REPLAY = ("recipe", "param", "scheme", "limit", "tokenizer", "max_draft")
_OF_RUN = ("target", "set", "batch_size", "samples")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of a model's answers, then those of the replay."""
    add_run_arguments(parser)
    add_set_argument(parser)
    add_replay_arguments(parser.add_argument_group("replay, without a model"))


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    others = _OF_RUN if args.replay else _OF_REPLAY
    unused = [name for name in others if getattr(args, name) not in (None, [])]
    if unused and (args.replay or args.target is not None):
        option = "RUN|CONFIG" if unused[0] == "target" else f"--{unused[0].replace('_', '-')}"
        goes = "does not go with --replay" if args.replay else "goes with --replay only"
        raise ConfigError(f"bench decode: {option} {goes}. Leave one of them out.")
    if args.replay:
        return run_replay(args)
    if args.target is None:
        raise ConfigError(
            "bench decode: name a run's folder or a config, or replay true answers: --replay "
            "--recipe NAME --scheme NAME"
        )
    return run_on_model(args)
