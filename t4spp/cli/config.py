"""Check a run's config, or show it resolved: every layer merged, every default written out."""

from __future__ import annotations

import argparse

from t4spp.cli.options import add_config_arguments, catalogue_of, print_json
from t4spp.config import config_hash, dump_config, load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``check`` or ``show``, the file, ``--set``."""
    parser.add_argument("action", choices=("check", "show"), help="check it, or print it resolved")
    add_config_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check the file; print the resolved config, or that all is well."""
    config = load_config(args.config, args.set, catalogue_of(args))
    digest = config_hash(config)
    if args.json:
        checked = {"file": args.config, "ok": True, "hash": digest}
        print_json(
            checked
            if args.action == "check"
            else {**checked, "config": config.model_dump(mode="json")}
        )
    elif args.action == "check":
        print(f"{args.config}: ok (hash {digest})")
    else:
        print(dump_config(config), end="")
    return 0
