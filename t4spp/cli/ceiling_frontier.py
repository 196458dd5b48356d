"""``t4spp ceiling --frontier``: what schemes reach for what they cost, over several recipes."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import (
    add_set_argument,
    catalogue_of,
    print_json,
    print_table,
    recipe_of,
    schemes_of,
)
from t4spp.errors import ConfigError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.evaluation.ceiling import Candidate, CountTokens
    from t4spp.evaluation.frontier_config import FrontierConfig, MeasuredRecipeConfig
    from t4spp.types import Sample

SCHEMA = 1
"""Version of ``frontier.json``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--frontier``, ``--output``, ``--workers``, ``--set``."""
    group = parser.add_argument_group("frontier")
    group.add_argument(
        "--frontier",
        nargs="?",
        const="",
        metavar="CONFIG",
        help="plot accuracy against tokens: of CONFIG's recipes and schemes (YAML), or of --recipe "
        "with every --scheme, or without one with a set of the core's",
    )
    group.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="its folder; default runs/NAME"
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="its processes; default one for each core"
    )
    add_set_argument(parser)


def refuse_alone(args: argparse.Namespace) -> None:
    """Refuse options of ``--frontier`` without it.

    Raises:
        ConfigError: one is given.
    """
    for name in ("output", "workers", "set"):
        if getattr(args, name):
            raise ConfigError(f"--{name} belongs to --frontier, which is missing")


def run(args: argparse.Namespace) -> int:
    """Measure, write the folder, print the table."""
    from t4spp.cli.progress import progress_bar
    from t4spp.evaluation.frontier import measure_frontier, on_front, summaries
    from t4spp.report.frontier_files import make_folder, write_frontier

    catalogue = catalogue_of(args)
    config = _config(args, catalogue)
    workers = _workers(args.workers)
    lines, candidates = _candidates(config, args.tokenizer, catalogue)
    panels = _panels(config, catalogue)
    folder = args.output or Path("runs") / config.name
    make_folder(folder)
    found: dict[str, Any] = {}
    for title, (split, samples) in panels.items():
        recipe = config.recipes[title]
        with progress_bar(len(samples), title) as advance:
            measured = measure_frontier(
                samples,
                candidates,
                min_share=recipe.min_share,
                workers=workers,
                advance=advance,
            )
        points = [{**line, **summaries(measured, number)} for number, line in enumerate(lines)]
        for point, front in zip(points, on_front(points), strict=True):
            point["front"] = front
        found[title] = {
            **_named(recipe, split, len(samples)),
            "num_targets": len(measured.shapes),
            "num_empty": measured.num_empty,
            "num_small": measured.num_small,
            "num_in_words": measured.num_in_words,
            "points": points,
        }
    result = {
        "schema": SCHEMA,
        "name": config.name,
        "tokenizer": args.tokenizer.name if args.tokenizer else catalogue.default("backbone").name,
        "recipes": found,
    }
    write_frontier(result, folder)
    if args.json:
        print_json(result)
    else:
        _print(found)
        print(f"{folder}: frontier.json, frontier.md, frontier and contour .png and .svg, by/")
    return 0


def _config(args: argparse.Namespace, catalogue: Catalogue) -> FrontierConfig:
    """The config file, or what the options say.

    Raises:
        ConfigError: neither, both, or a fault in what they name.
    """
    from t4spp.cli.ceiling import min_share_of
    from t4spp.config_layers import Layers, merge_layers, parse_override
    from t4spp.evaluation.frontier_config import load_frontier, resolve_frontier

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: expected at least 1")
    min_share = min_share_of(args)
    if args.frontier:
        given = [name for name in ("recipe", "scheme", "param", "split") if getattr(args, name)]
        if given:
            raise ConfigError(
                f"--{given[0]} does not go with --frontier {args.frontier}, whose recipes and "
                "schemes the file says. Change them there, or with --set."
            )
        config = load_frontier(args.frontier, args.set, catalogue)
        asked = {
            **({} if args.limit is None else {"limit": args.limit}),
            **({} if args.min_share is None else {"min_share": min_share}),
        }
        recipes = {
            title: recipe.model_copy(update=asked) for title, recipe in config.recipes.items()
        }
        return config.model_copy(update={"recipes": recipes})
    if not args.recipe:
        raise ConfigError("--frontier: name a config, or a recipe: --frontier --recipe NAME")
    recipe = recipe_of(args)
    data: dict[str, Any] = {
        "recipes": {
            recipe.name: {
                "name": recipe.name,
                "params": recipe.params,
                "split": args.split,
                "limit": args.limit,
                "min_share": min_share,
            }
        }
    }
    if args.scheme:
        data["schemes"] = {
            text: {"name": one.name, "params": one.params}
            for text, one in zip(args.scheme, schemes_of(args), strict=True)
        }
    overrides = [parse_override(text) for text in args.set]
    layers: Layers = merge_layers([(data, "the command line"), *overrides], "the command line")
    return resolve_frontier(layers, catalogue)


def _workers(asked: int | None) -> int:
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if asked < 1:
        raise ConfigError(f"--workers {asked}: expected at least 1")
    return asked


def _panels(
    config: FrontierConfig, catalogue: Catalogue
) -> dict[str, tuple[str, Sequence[Sample]]]:
    """The split and the samples of each recipe, so that none fails after others were measured.

    Raises:
        ConfigError: an unknown split, or samples without a target.
    """
    from t4spp.cli.ceiling import split_of
    from t4spp.evaluation.frontier import holds_target

    found: dict[str, tuple[str, Sequence[Sample]]] = {}
    for title, recipe in config.recipes.items():
        split, samples = split_of(
            recipe, recipe.split, recipe.limit, catalogue, where=f"recipes.{title}.params"
        )
        if not holds_target(samples, recipe.min_share):
            share = recipe.min_share
            raise ConfigError(
                f"recipes.{title}: the {len(samples)} samples of split {split!r} of recipe "
                f"{recipe.name!r} hold no target{' with a pixel' if not share else ''}"
                f"{f' from {share:.6g} of its picture on' if share else ''}. Choose another split, "
                f"or a larger limit{', or a smaller min_share' if share else ''}."
            )
        found[title] = split, samples
    return found


def _candidates(
    config: FrontierConfig, tokenizer: Path | None, catalogue: Catalogue
) -> tuple[list[dict[str, Any]], list[Candidate]]:
    """What each point is called, and what measures it, in the same order."""
    from t4spp.cli.ceiling import token_counter
    from t4spp.evaluation.ceiling import Candidate

    lines: list[dict[str, Any]] = []
    candidates: list[Candidate] = []
    counters: dict[tuple[str, ...], CountTokens] = {}  # a tokenizer takes a second to learn tokens
    for title, line in config.schemes.items():
        for point in line.points():
            scheme = catalogue.build("scheme", point.name, point.params, f"schemes.{title}.params")
            if scheme.special_tokens not in counters:
                counters[scheme.special_tokens] = token_counter(scheme, tokenizer, catalogue)
            value = next((point.params[key] for key in line.vary), "")
            lines.append(
                {
                    "line": title,
                    "value": value if isinstance(value, str | int) else json.dumps(value),
                    "scheme": point.name,
                    "params": dict(point.params),
                    "fingerprint": scheme.fingerprint(),
                }
            )
            candidates.append(
                Candidate(
                    name=point.name,
                    params=point.params,
                    scheme=scheme,
                    count_tokens=counters[scheme.special_tokens],
                )
            )
    return lines, candidates


def _named(recipe: MeasuredRecipeConfig, split: str, num_samples: int) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "params": dict(recipe.params),
        "split": split,
        "min_share": recipe.min_share,
        "num_samples": num_samples,
    }


def _print(found: Mapping[str, Any]) -> None:
    from t4spp.report.frontier_files import HEADER, table_rows

    for title, one in found.items():
        rows: Sequence[Sequence[str]] = table_rows(one["points"])
        share = f" from {100 * one['min_share']:.6g} % of their picture on"
        which = f"{share if one['min_share'] else ''} of {one['recipe']}"
        print(f"{title}: {one['num_targets']} targets{which}, each alone")
        print_table(HEADER, rows)
        print()
