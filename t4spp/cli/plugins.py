"""List what the installed plugins offer, and which of them are broken."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from t4spp.cli.options import catalogue_of, print_json, print_table
from t4spp.plugins import KINDS, Catalogue, Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kind``."""
    parser.add_argument("--kind", choices=KINDS, help="list one kind only")


def run(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    catalogue = catalogue_of(args)
    chosen = [(kind, entry) for kind, entry in catalogue.entries() if args.kind in (None, kind)]
    if args.json:
        print_json(
            {"components": [_described(*item) for item in chosen], "broken": broken(catalogue)}
        )
        return 0
    rows = [
        [kind, entry.component.name, entry.distribution, entry.component.summary]
        for kind, entry in chosen
    ]
    print_table(["kind", "name", "from", "summary"], rows)
    for plugin in catalogue.broken:
        print(f"broken: {plugin.name} of {plugin.distribution}: {plugin.reason}", file=sys.stderr)
    return 0


def broken(catalogue: Catalogue) -> list[dict[str, str]]:
    """The broken plugins, for JSON."""
    return [
        {"name": plugin.name, "distribution": plugin.distribution, "reason": plugin.reason}
        for plugin in catalogue.broken
    ]


def _described(kind: str, entry: Entry) -> dict[str, Any]:
    component = entry.component
    return {
        "kind": kind,
        "name": component.name,
        "summary": component.summary,
        "distribution": entry.distribution,
        "version": entry.version,
        "plugin": entry.plugin,
        "params": sorted(component.config.model_fields),
        "requires": list(component.requires),
    }
