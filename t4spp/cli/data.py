"""Look at datasets: list the recipes, check files, preview and count samples, convert, write.

`list` needs nothing; `check` counts a recipe's samples and reads its files; `preview` draws some
samples into one page or picture, with the conversation that a model would see; `stats` measures
sizes, lengths and labels; `convert` writes a split as COCO JSON; `write` puts the files that a
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
)
from t4spp.cli.progress import with_progress
from t4spp.errors import ConfigError, GeoError, RecipeError, RunError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.types import Sample

ACTIONS = ("list", "check", "preview", "stats", "convert", "write")
MAX_SHOWN = 20
"""Complaints that are printed; ``--json`` has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and its options."""
    parser.add_argument("action", choices=ACTIONS, help="what to do; see above")
    add_recipe_arguments(parser, required=False)
    add_scheme_argument(parser)
    parser.add_argument(
        "--split", metavar="NAME", help="one split only; preview, stats, convert: the first"
    )
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
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="preview, stats: a folder with a tokenizer for transformers; without it, nano's",
    )
    parser.add_argument(
        "--templates",
        choices=("varied", "fixed"),
        default="varied",
        help="preview, stats: wording of questions and answers, as data.templates; default varied",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="preview, stats: of the wording; default 0"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="stats, convert: the first N samples only"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="convert: write the pictures, too, as PNG, into a folder, made if it is not there",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="preview: a .html page or a .png picture; stats: a .html page; convert: a .json file; "
        "write: a folder, made if it is not there",
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
    if args.action == "preview":
        from t4spp.cli.data_preview import preview

        return preview(args, catalogue, recipe)
    if args.action == "stats":
        from t4spp.cli.data_stats import stats

        return stats(args, catalogue, recipe)
    from t4spp.cli.data_convert import convert

    return convert(args, recipe)


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
