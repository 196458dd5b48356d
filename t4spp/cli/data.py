"""List the dataset recipes, check a dataset on disk, preview its samples, or write generated files.

`list` needs nothing; `check` counts a recipe's samples and reads its files; `preview` draws some
samples into one page or picture, with what a scheme would write; `write` puts the files that a
recipe generates into a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.options import (
    add_recipe_arguments,
    add_scheme_argument,
    catalogue_of,
    print_json,
    recipe_of,
    schemes_of,
)
from t4spp.cli.progress import with_progress
from t4spp.errors import ConfigError, GeoError, RecipeError, RunError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.types import Sample

MAX_SHOWN = 20
"""Complaints that are printed; ``--json`` has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list``, ``check`` or ``preview`` and their options."""
    parser.add_argument(
        "action", choices=("list", "check", "preview", "write"), help="what to do; see above"
    )
    add_recipe_arguments(parser, required=False)
    add_scheme_argument(parser)
    parser.add_argument("--split", metavar="NAME", help="one split only; preview: the first")
    parser.add_argument(
        "--quick", action="store_true", help="check: count samples, read neither masks nor pictures"
    )
    parser.add_argument(
        "-n", "--num", type=int, default=12, metavar="N", help="preview: samples to show (12)"
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="preview: masks on plain grey, no pixels needed"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="preview: a .html page or a .png picture; write: a folder, made if it is not there",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    catalogue = catalogue_of(args)
    if args.action == "list":
        return _list(args, catalogue)
    if args.recipe is None:
        raise ConfigError(
            f"data {args.action}: --recipe NAME is missing; valid: "
            f"{', '.join(catalogue.names('recipe'))}"
        )
    chosen = recipe_of(args)
    recipe = catalogue.build("recipe", chosen.name, chosen.params, "--param")
    if args.action == "check":
        return _check(args, chosen.name, recipe)
    if args.action == "write":
        return _write(args, chosen.name, recipe)
    return _preview(args, catalogue, recipe)


def _list(args: argparse.Namespace, catalogue: Catalogue) -> int:
    entries = [entry for kind, entry in catalogue.entries() if kind == "recipe"]
    if args.recipe is not None:
        entries = [e for e in entries if e.component is catalogue.get("recipe", args.recipe)]
    if args.json:
        print_json(
            {
                "recipes": [
                    {
                        "name": entry.component.name,
                        "summary": entry.component.summary,
                        "distribution": entry.distribution,
                        "params": list(entry.component.config.model_fields),
                        "sources": [asdict(source) for source in entry.component.sources],
                    }
                    for entry in entries
                ]
            }
        )
        return 0
    for entry in entries:
        component = entry.component
        print(f"{component.name}  ({entry.distribution})\n  {component.summary}")
        print(f"  parameters: {', '.join(component.config.model_fields) or 'none'}")
        for source in component.sources:
            note = f"{source.note}: " if source.note else ""
            print(f"  source: {note}{source.url}\n    licence: {source.licence}")
            if source.sha256:
                print(f"    sha256: {source.sha256}")
    return 0


def _check(args: argparse.Namespace, name: str, recipe: Recipe) -> int:
    splits = [args.split] if args.split else list(recipe.splits)
    problems = [] if args.quick else recipe.verify()
    counted: dict[str, dict[str, int]] = {}
    for split in splits:
        try:
            counted[split] = _counts(recipe.samples(split), split, args.quick)
        except (RecipeError, GeoError) as error:
            # Damage that keeps a split from being counted is one problem among the others.
            if not problems or split not in recipe.splits:
                raise
            if str(error) not in problems:
                problems.append(str(error))
    counters = dict(recipe.counters())
    if args.json:
        print_json(
            {
                "recipe": name,
                "ok": not problems,
                "splits": counted,
                "counters": counters,
                "problems": problems,
            }
        )
    else:
        for split, values in counted.items():
            told = ", ".join(f"{key.removeprefix('num_')} {value}" for key, value in values.items())
            print(f"{split}: {told}")
        for key, value in counters.items():
            print(f"counted: {key} {value}")
        for message in problems[:MAX_SHOWN]:
            print(f"problem: {message}", file=sys.stderr)
        if len(problems) > MAX_SHOWN:
            print(
                f"... and {len(problems) - MAX_SHOWN} problems more; --json has all of them",
                file=sys.stderr,
            )
        if not args.quick:
            print(f"{len(problems)} problems" if problems else "ok: every file could be read")
    return 2 if problems else 0


def _counts(samples: Sequence[Sample], split: str, quick: bool) -> dict[str, int]:
    if quick:
        return {"num_samples": len(samples)}
    images: set[str] = set()
    targets = empty = in_words = ignored = 0
    read = (samples[index] for index in range(len(samples)))
    for sample in with_progress(read, len(samples), split):
        images.add(sample.image_id)
        targets += len(sample.targets)
        in_words += sample.kind == "dialogue"
        empty += not sample.targets and sample.kind != "dialogue"
        ignored += sample.ignore is not None
    return {
        "num_samples": len(samples),
        "num_images": len(images),
        "num_targets": targets,
        "num_without_target": empty,
        "num_in_words": in_words,
        "num_with_ignored_pixels": ignored,
    }


def _write(args: argparse.Namespace, name: str, recipe: Recipe) -> int:
    if args.output is None:
        raise ConfigError("data write: -o FOLDER is missing; the files go there")
    is_new = not args.output.exists()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"data write: {args.output} cannot be made a folder: {error.strerror or error}. Name "
            "another one."
        ) from error
    try:
        written = recipe.write(args.output)
    except (RecipeError, GeoError):
        if is_new:
            with suppress(OSError):  # not empty: what is complete in it stays
                args.output.rmdir()
        raise
    if args.json:
        print_json({"recipe": name, "files": [str(path) for path in written]})
    else:
        for path in written:
            print(path)
    return 0


def _preview(args: argparse.Namespace, catalogue: Catalogue, recipe: Recipe) -> int:
    if args.output is None or args.output.suffix.lower() not in (".html", ".png"):
        raise ConfigError(f"data preview: -o FILE.html or -o FILE.png is needed, not {args.output}")
    if args.num < 1:
        raise ConfigError(f"data preview: -n must be at least 1, not {args.num}")
    described = schemes_of(args)
    if len(described) > 1:
        raise ConfigError("data preview: one --scheme at most; make a preview of each")
    scheme = (
        catalogue.build("scheme", described[0].name, described[0].params, "--scheme")
        if described
        else None
    )
    split = args.split or recipe.splits[0]
    samples = recipe.samples(split)
    if not len(samples):
        raise ConfigError(f"data preview: the split {split!r} of {args.recipe} has no samples")
    from t4spp.report.contact_sheet import make_tile, sheet_html, sheet_png

    # Spread over the split, so that neighbours which share a picture do not fill the sheet.
    num = min(args.num, len(samples))
    chosen = [index * len(samples) // num for index in range(num)]
    drawn = (make_tile(samples[index], scheme, pixels=not args.no_pictures) for index in chosen)
    tiles = list(with_progress(drawn, num, "drawing"))
    title = f"{args.recipe}, {split}: {num} of {len(samples)} samples"
    notes = [" ".join(args.param)] if args.param else []
    if scheme is not None:
        notes.append(f"scheme: {args.scheme[0]} ({scheme.fingerprint()})")
    counters = recipe.counters()
    if counters:
        notes.append("counted: " + ", ".join(f"{key} {value}" for key, value in counters.items()))
    try:
        if args.output.suffix.lower() == ".html":
            args.output.write_text(sheet_html(tiles, title, notes), encoding="utf-8")
        else:
            from PIL import Image

            Image.fromarray(sheet_png(tiles, title, notes)).save(args.output)
    except FileNotFoundError as error:
        raise RunError(f"cannot write {args.output}: its folder does not exist; make it") from error
    if args.json:
        print_json(
            {
                "output": str(args.output),
                "split": split,
                "num_samples": len(samples),
                "shown": [tile.id for tile in tiles],
            }
        )
    else:
        print(args.output)
    return 0
