"""The best score that schemes can reach on a dataset, and what they cost, without a model."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli import ceiling_frontier
from t4spp.cli.following import print_counters
from t4spp.cli.options import (
    add_recipe_arguments,
    add_scheme_argument,
    catalogue_of,
    print_json,
    print_table,
    recipe_of,
    schemes_of,
)
from t4spp.errors import BackboneError, ConfigError, nearest
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.config import ComponentConfig
    from t4spp.evaluation.ceiling import CountTokens, SchemeCeiling
    from t4spp.schemes.base import Scheme
    from t4spp.types import Sample


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, schemes, tokenizer, split, limit, and those of ``--frontier``."""
    add_recipe_arguments(parser, required=False)
    add_scheme_argument(parser)
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="a folder with a tokenizer that transformers reads; without it, the default "
        "backbone's",
    )
    add_split_arguments(parser)
    parser.add_argument(
        "--min-share",
        type=float,
        metavar="SHARE",
        help="leave out targets that cover less of their picture: 0.01 for 1 %%",
    )
    ceiling_frontier.add_arguments(parser)


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """``--split`` and ``--limit``; read them with :func:`samples_of`."""
    parser.add_argument("--split", help="a split of the recipe; without it, its first one")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take the first N samples of the split only"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.frontier is not None:
        return ceiling_frontier.run(args)
    ceiling_frontier.refuse_alone(args)
    missing = [f"--{name}" for name in ("recipe", "scheme") if not getattr(args, name)]
    if missing:
        raise ConfigError(
            f"ceiling: {' and '.join(missing)} missing. Name a recipe and at least one scheme, or "
            "take --frontier, which has schemes of its own."
        )
    from t4spp.cli.progress import with_progress
    from t4spp.evaluation.ceiling import Candidate, measure_ceiling

    catalogue = catalogue_of(args)
    chosen = schemes_of(args)
    min_share = min_share_of(args)
    candidates = []
    for component in chosen:
        scheme = catalogue.build("scheme", component.name, component.params, "scheme.params")
        count = token_counter(scheme, args.tokenizer, catalogue)
        candidates.append(
            Candidate(
                name=component.name, params=component.params, scheme=scheme, count_tokens=count
            )
        )
    samples = samples_of(args, catalogue)
    read = (samples[index] for index in range(len(samples)))
    ceiling = measure_ceiling(with_progress(read, len(samples), "ceiling"), candidates, min_share)
    words = f"{ceiling.num_in_words} of them ask for words, not masks"
    if not ceiling.num_targets:
        what = f"target from {min_share:.6g} of its picture on" if min_share else "target"
        raise ConfigError(
            f"recipe {args.recipe!r}: the {len(samples)} samples that were read hold no {what}"
            f"{f', and {words}' if ceiling.num_in_words else ''}. Choose another --split, or a "
            f"larger --limit{', or a smaller --min-share' if min_share else ''}."
        )
    if ceiling.num_in_words:
        print(f"of {len(samples)} samples {words}; they are left out", file=sys.stderr)
    if ceiling.num_empty:
        print(f"{ceiling.num_empty} targets without a pixel are left out", file=sys.stderr)
    if ceiling.num_small:
        print(f"{ceiling.num_small} targets below --min-share are left out", file=sys.stderr)
    for found in ceiling.schemes:
        if found.refused:
            print(
                f"{found.name}: {found.refused} targets could not be written, they score 0",
                file=sys.stderr,
            )
    if args.json:
        print_json(
            {
                "recipe": args.recipe,
                "num_targets": ceiling.num_targets,
                **({"min_share": min_share, "num_small": ceiling.num_small} if min_share else {}),
                "schemes": [_as_json(found) for found in ceiling.schemes],
            }
        )
    else:
        which = f" from {100 * min_share:.6g} % of their picture on" if min_share else ""
        print(f"{args.recipe}: {ceiling.num_targets} targets{which}, each alone")
        print_table(
            ["scheme", "mean IoU", "tokens", "p95", "lost", "encode us", "decode us"],
            [_as_row(found) for found in ceiling.schemes],
        )
    return 0


def samples_of(
    args: argparse.Namespace, catalogue: Catalogue, preferred: str | None = None
) -> Sequence[Sample]:
    """The samples that ``--recipe``, ``--param``, ``--split`` and ``--limit`` name.

    Args:
        args: of the command.
        catalogue: where the recipe is found.
        preferred: the split without ``--split``, where the recipe has it; else its first one.

    Raises:
        ConfigError: unknown split, or a limit that is not positive.
    """
    component = recipe_of(args)
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: expected at least 1")
    return split_of(component, args.split, args.limit, catalogue, preferred)[1]


def min_share_of(args: argparse.Namespace) -> float:
    """``--min-share``, 0 without it.

    Raises:
        ConfigError: it is no share.
    """
    share: float | None = args.min_share
    if share is None:
        return 0.0
    if not 0 <= share < 1:
        raise ConfigError(
            f"--min-share {share}: expected a share of the picture, from 0 to below 1; 0.01 is 1 %"
        )
    return share


def split_of(
    component: ComponentConfig,
    split: str | None,
    limit: int | None,
    catalogue: Catalogue,
    preferred: str | None = None,
    where: str = "recipe.params",
) -> tuple[str, Sequence[Sample]]:
    """A split's name, and its first ``limit`` samples; see :func:`samples_of`."""
    from t4spp.data.head import head

    recipe = catalogue.build("recipe", component.name, component.params, where)
    if split is None:
        split = preferred if preferred in recipe.splits else recipe.splits[0]
    assert split is not None
    if split not in recipe.splits:
        asked = "--split" if where == "recipe.params" else f"{where.removesuffix('params')}split:"
        raise ConfigError(
            f"{asked} {split}: recipe {component.name!r} has {', '.join(recipe.splits)}."
            f"{nearest(split, recipe.splits)}"
        )
    samples: Sequence[Sample] = recipe.samples(split)
    print_counters(component.name, recipe)
    return split, head(samples, limit)


def token_counter(scheme: Scheme, folder: Path | None, catalogue: Catalogue) -> CountTokens:
    """Counts a bare descriptor's tokens by :func:`learnt_tokenizer`."""
    from t4spp.schemes.tokens import count_tokens

    tokenizer = learnt_tokenizer(scheme, folder, catalogue)
    return lambda text: count_tokens(tokenizer, text)


def learnt_tokenizer(scheme: Scheme, folder: Path | None, catalogue: Catalogue) -> Any:
    """A tokenizer that has learnt a scheme's tokens.

    Args:
        scheme: whose tokens are learnt.
        folder: a tokenizer's folder; None takes the default backbone's.
        catalogue: where the backbone is found.

    Raises:
        ConfigError: the folder holds no tokenizer.
        PluginError: the plugins offer no single default backbone.
        BackboneError: the default backbone has none.
    """
    if folder is not None:
        tokenizer = _tokenizer_in(folder)
        from tokenizers import AddedToken

        tokenizer.add_tokens(
            [AddedToken(token, special=True, normalized=False) for token in scheme.special_tokens]
        )
        return tokenizer
    default = catalogue.default("backbone").name
    backbone = catalogue.build("backbone", default, {})
    if hasattr(backbone, "load_tokenizer"):
        return backbone.load_tokenizer(scheme.special_tokens)
    backbone.load(scheme.special_tokens)
    if backbone.tokenizer is None:
        raise BackboneError(f"backbone {default!r} has no tokenizer. Name one: --tokenizer DIR")
    return backbone.tokenizer


def _tokenizer_in(folder: Path) -> Any:
    if not folder.is_dir():
        raise ConfigError(
            f"--tokenizer {folder}: there is no such folder. Name one with a tokenizer.json, or "
            "leave the option out for the default backbone's."
        )
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--tokenizer {folder}: no tokenizer that transformers can read ({reason}). "
            "The folder must hold what save_pretrained wrote: tokenizer.json and its config."
        ) from error


def _as_json(found: SchemeCeiling) -> dict[str, Any]:
    values: Mapping[str, Any] = asdict(found)
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
        if key != "refused"
    }


def _as_row(found: SchemeCeiling) -> list[str]:
    params = ",".join(f"{key}={value}" for key, value in found.params.items())
    return [
        f"{found.name}:{params}" if params else found.name,
        f"{found.mean_iou:.3f}",
        f"{found.mean_tokens:.1f}",
        f"{found.p95_tokens:.0f}",
        f"{100 * found.lost:.1f} %",
        f"{found.encode_us:.0f}",
        f"{found.decode_us:.0f}",
    ]
