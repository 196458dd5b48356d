"""``t4spp data preview``: some samples on one page, as the model will see them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from t4spp.cli.options import print_json, schemes_of
from t4spp.cli.progress import with_progress
from t4spp.errors import ConfigError, RunError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.data.conversation import Conversation
    from t4spp.types import Sample


def preview(args: argparse.Namespace, catalogue: Catalogue, recipe: Recipe) -> int:
    """Draw, write, say where."""
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

    notes = [" ".join(args.param)] if args.param else []
    asked: Callable[[Sample], tuple[Conversation | None, str]] | None = None
    count: Callable[[str], int] | None = None
    if scheme is not None:
        from t4spp.cli.ceiling import token_counter
        from t4spp.data.conversations import ConversationBuilder

        count = token_counter(scheme, args.tokenizer, catalogue)
        tokenizer = args.tokenizer or catalogue.default("backbone").name
        builder = ConversationBuilder(scheme, args.templates, args.seed)

        def converse(sample: Sample) -> tuple[Conversation | None, str]:
            built = builder.build(sample, training=True)
            return built, "; ".join(reason for _, reason in builder.drain_unwritable())

        asked = converse
        notes.append(f"scheme: {args.scheme[0]} ({scheme.fingerprint()})")
        notes.append(
            f"tokens by the tokenizer of {tokenizer}, which has learnt "
            f"the scheme's {len(scheme.special_tokens)} tokens; wording: {args.templates}, seed "
            f"{args.seed}, as in the first epoch"
        )
    # Spread over the split, so that neighbours which share a picture do not fill the sheet.
    num = min(args.num, len(samples))
    chosen = [index * len(samples) // num for index in range(num)]
    drawn = (
        make_tile(samples[index], scheme, pixels=not args.no_pictures, asked=asked, count=count)
        for index in chosen
    )
    tiles = list(with_progress(drawn, num, "drawing"))
    title = f"{args.recipe}, {split}: {num} of {len(samples)} samples"
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
    except OSError as error:
        raise RunError(
            f"cannot write {args.output}: {error.strerror or error}. Choose another place with -o."
        ) from error
    if args.json:
        print_json(
            {
                "output": str(args.output),
                "split": split,
                "num_samples": len(samples),
                "shown": [tile.id for tile in tiles],
                "samples": [
                    {
                        "id": tile.id,
                        "question": tile.question,
                        "answer": tile.answer,
                        "tokens": dict(tile.tokens),
                        "fault": tile.fault or None,
                    }
                    for tile in tiles
                ],
            }
        )
    else:
        print(args.output)
    return 0
