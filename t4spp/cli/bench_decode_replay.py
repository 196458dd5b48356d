"""The part of ``t4spp bench decode`` that replays true answers, without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.ceiling import learnt_tokenizer, samples_of
from t4spp.cli.options import (
    add_recipe_arguments,
    add_scheme_argument,
    catalogue_of,
    print_json,
    print_table,
    schemes_of,
)
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.evaluation.replay import SchemeReplay
    from t4spp.types import Sample


def add_replay_arguments(parser: argparse._ActionsContainer) -> None:
    """Recipe, schemes, tokenizer and how far to draft."""
    parser.add_argument(
        "--replay",
        action="store_true",
        help="replay a recipe's true answers, by each --scheme; no RUN or CONFIG then",
    )
    add_recipe_arguments(parser, required=False)
    add_scheme_argument(parser)
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take the first N samples of the split only"
    )
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="DIR",
        help="a folder with a tokenizer that transformers reads, which learns each "
        "scheme's tokens; without it, the default backbone's",
    )
    parser.add_argument(
        "--max-draft",
        type=int,
        metavar="N",
        help="tokens that a pass drafts at most; without it, as many as there are guesses",
    )


def run_replay(args: argparse.Namespace) -> int:
    """Replay by each scheme, print what the answers took."""
    from t4spp.evaluation.replay import Replayed, replay

    if args.recipe is None:
        raise ConfigError(
            "bench decode --replay: name a recipe whose answers to replay: --recipe NAME"
        )
    chosen = schemes_of(args)
    if not chosen:
        raise ConfigError(
            "bench decode --replay: name a scheme, for example --scheme image-rrle:grid=32"
        )
    if args.max_draft is not None and args.max_draft < 0:
        raise ConfigError(f"--max-draft {args.max_draft}: expected at least 0")
    catalogue = catalogue_of(args)
    entrants = []
    for component in chosen:
        scheme = catalogue.build("scheme", component.name, component.params, "scheme.params")
        entrants.append(
            Replayed(
                name=component.name,
                params=component.params,
                scheme=scheme,
                tokenizer=learnt_tokenizer(scheme, args.tokenizer, catalogue),
            )
        )
    samples = samples_of(args, catalogue, preferred="val")
    found = replay(_shown(samples), entrants, max_draft=args.max_draft)
    _tell(found)
    if args.json:
        print_json({"schemes": [_as_json(result) for result in found]})
        return 0
    print(f"{args.recipe}: {len(samples)} true answers replayed; tokens over passes, sums")
    print_table(
        ["scheme", "tokens", "passes", "tokens a pass", "drafted"],
        [_as_row(result) for result in found],
    )
    return 0


def _shown(samples: Sequence[Sample]) -> Iterator[Sample]:
    from t4spp.cli.progress import with_progress

    return with_progress((samples[n] for n in range(len(samples))), len(samples), "bench decode")


def _tell(found: Sequence[SchemeReplay]) -> None:
    """What did not go as it should, on standard error.

    Raises:
        ConfigError: a scheme can write none of the answers.
    """
    for result in found:
        for what, reasons in (
            ("cannot be written and count nowhere", result.unwritable),
            ("are not in the grammar and count one token a pass", result.refused),
        ):
            if reasons:
                reason, most = max(reasons.items(), key=lambda item: item[1])
                print(
                    f"{result.name}: {sum(reasons.values())} answers {what}; {most} because: "
                    f"{reason}",
                    file=sys.stderr,
                )
        if not result.num_answers:
            raise ConfigError(
                f"{result.name} can write none of the answers. Choose another recipe, --split or "
                "scheme."
            )


def _as_json(result: SchemeReplay) -> Mapping[str, Any]:
    return {
        "name": result.name,
        "params": dict(result.params),
        "mean_tokens": result.mean_tokens,
        "mean_passes": result.mean_passes,
        "tokens_per_pass": result.tokens_per_pass,
        "mean_drafted": result.mean_drafted,
    }


def _as_row(result: SchemeReplay) -> list[str]:
    params = ",".join(f"{key}={value}" for key, value in result.params.items())
    return [
        f"{result.name}:{params}" if params else result.name,
        f"{result.mean_tokens:.1f}",
        f"{result.mean_passes:.1f}",
        f"{result.tokens_per_pass:.2f}",
        f"{result.mean_drafted:.0f}",
    ]
