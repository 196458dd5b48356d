"""Measure what parts of t4spp cost and gain.

Each kind of measurement is a module of its own, with its own options.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

KINDS: dict[str, str] = {
    "codec": "how fast schemes encode and decode",
    "refine": "what refiners gain over coarse masks, and what they cost",
    "memory": "how much memory LoRA training needs",
    "decode": "how many forward passes answers take",
    "evaluate": "how fast answers on disk are scored, and what memory that takes",
    "scene": "how fast scenes pass through, and what memory that takes",
}
"""Every kind, a module ``bench_<kind>`` of this package each, in the order of the help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command a kind."""
    from t4spp.cli import add_kinds

    kinds = add_kinds(parser)
    for kind, summary in KINDS.items():
        module = _module(kind)
        module.add_arguments(kinds.add_parser(kind, help=summary, description=module.__doc__))


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    return int(_module(args.kind).run(args))


def _module(kind: str) -> Any:
    return importlib.import_module(f"t4spp.cli.bench_{kind}")
