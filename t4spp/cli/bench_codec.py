"""Encode and decode masks beside a plain loop over Python lists, and print the times."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from t4spp.cli.ceiling import add_split_arguments, samples_of
from t4spp.cli.options import (
    add_recipe_arguments,
    add_scheme_argument,
    catalogue_of,
    parse_component,
    print_json,
    print_table,
    schemes_of,
)
from t4spp.errors import ConfigError

if TYPE_CHECKING:
    from t4spp.evaluation.codec_bench import CodecSpeed

DEFAULT_RECIPE = "refshapes"
DEFAULT_SCHEMES = ("image-rrle:grid=64", "next-brick:grid=64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Recipe, schemes, how many masks of which size."""
    add_recipe_arguments(parser, required=False)
    parser.add_argument(
        "--coco", metavar="FILE", help="short for --recipe coco-instances --param annotations=FILE"
    )
    add_scheme_argument(parser)
    add_split_arguments(parser)
    parser.add_argument(
        "--side", type=int, default=64, help="masks are brought to SIDE x SIDE pixels (default 64)"
    )
    parser.add_argument("--masks", type=int, default=200, help="how many masks (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="passes, the fastest counts")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from t4spp.cli.progress import progress_bar
    from t4spp.evaluation.codec_bench import codec_speed, small_masks

    if args.coco is not None:
        if args.recipe is not None:
            raise ConfigError("--coco and --recipe exclude each other: give one of them")
        args.recipe = "coco-instances"
        args.param = [*args.param, f"annotations={args.coco}"]
    args.recipe = args.recipe or DEFAULT_RECIPE
    for option in ("side", "masks", "repeats"):
        if getattr(args, option) < 1:
            raise ConfigError(f"--{option} {getattr(args, option)}: expected at least 1")
    catalogue = catalogue_of(args)
    components = schemes_of(args) or [parse_component(text, "--scheme") for text in DEFAULT_SCHEMES]
    schemes = [
        catalogue.build("scheme", component.name, component.params, "scheme.params")
        for component in components
    ]
    samples = samples_of(args, catalogue)
    targets = small_masks((samples[n] for n in range(len(samples))), args.side, args.masks)
    if not targets:
        raise ConfigError(
            f"recipe {args.recipe!r} gave no mask that is left at {args.side} x {args.side} "
            "pixels. Choose another --split, a larger --limit or a larger --side."
        )
    speeds: list[CodecSpeed] = []
    with progress_bar(len(schemes), "bench codec") as advance:
        for component, scheme in zip(components, schemes, strict=True):
            speeds.append(
                codec_speed(component.name, component.params, scheme, targets, args.repeats)
            )
            advance(1)
    ratios = [
        ratio
        for speed in speeds
        for ratio in (speed.encode_ratio, speed.decode_ratio)
        if ratio is not None
    ]
    if args.json:
        print_json(
            {
                "recipe": args.recipe,
                "num_masks": len(targets),
                "side": args.side,
                "ratio": min(ratios) if ratios else None,
                "schemes": [asdict(speed) for speed in speeds],
            }
        )
        return 0
    print(f"{args.recipe}: {len(targets)} masks of {args.side} x {args.side}")
    print("microseconds of processor time a mask, beside a plain loop over Python lists")
    print_table(
        ["scheme", "encode", "plain", "ratio", "decode", "plain", "ratio"],
        [_as_row(speed) for speed in speeds],
    )
    if ratios:
        print(f"at least {min(ratios):.1f} times faster than a plain loop over Python lists")
    return 0


def _as_row(speed: CodecSpeed) -> list[str]:
    params = ",".join(f"{key}={value}" for key, value in speed.params.items())
    return [
        f"{speed.name}:{params}" if params else speed.name,
        *(
            "-" if value is None else f"{value:.1f}"
            for value in (
                speed.encode_us,
                speed.plain_encode_us,
                speed.encode_ratio,
                speed.decode_us,
                speed.plain_decode_us,
                speed.decode_ratio,
            )
        ),
    ]
