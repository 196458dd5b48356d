"""Train a mask tokenizer, the learned code that the scheme vq-mask writes."""

from __future__ import annotations

import argparse
from pathlib import Path

from t4spp.cli import add_kinds
from t4spp.cli.options import add_config_arguments, catalogue_of, print_json

PER_CENT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``train`` and its options."""
    kinds = add_kinds(parser)
    train = kinds.add_parser(
        "train", help="train on the masks of recipes; an interrupted training goes on"
    )
    add_config_arguments(train)
    train.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="the training's folder"
    )
    train.add_argument(
        "--overwrite", action="store_true", help="remove what the folder holds and start anew"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and say what it came to."""
    from t4spp.cli.progress import progress_bar
    from t4spp.tokenizer_training.config import load_tokenizer_config
    from t4spp.tokenizer_training.running import run_tokenizer_training

    config = load_tokenizer_config(args.config, args.set)
    done = run_tokenizer_training(
        config, catalogue_of(args), args.output, progress_bar, overwrite=args.overwrite
    )
    found = done.reconstruction
    if args.json:
        print_json(
            {
                "folder": str(done.folder),
                "sha256": done.identity,
                "num_masks": done.num_masks,
                "num_empty": done.num_empty,
                "num_weights": done.num_weights,
                "resumed_from": done.resumed_from,
                "held_out": found.as_json(),
            }
        )
        return 0
    print(f"{done.folder}: {config.name}, {done.num_weights} weights, {done.identity[:16]}")
    print(f"trained on {done.num_masks} masks; {done.num_empty} targets had no pixel")
    print(
        f"{found.num_masks} held-out masks: mean IoU {found.iou:.4f} (5th percentile "
        f"{found.iou_p05:.3f}), contours {found.contour_distance:.2f} px apart "
        f"({PER_CENT * found.contour_share:.2f} % of the diagonal)"
    )
    print(
        f"{PER_CENT * found.codes_used:.1f} % of the {config.shape.codebook} codes occur, "
        f"perplexity {found.perplexity:.0f}"
    )
    if len(found.prefixes) > 1:
        shown = ", ".join(f"{n}: {iou:.3f}" for n, iou in found.prefixes.items())
        print(f"mean IoU by number of codes: {shown}")
    return 0
