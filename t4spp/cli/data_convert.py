"""``t4spp data convert``: a split as COCO JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from t4spp.cli.data_stats import split_of
from t4spp.cli.options import print_json
from t4spp.cli.progress import with_progress
from t4spp.errors import ConfigError, RunError

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.types import Sample


def convert(args: argparse.Namespace, recipe: Recipe) -> int:
    """Write the file, say what is in it."""
    if args.output is None or args.output.suffix.lower() != ".json":
        raise ConfigError(f"data convert: -o FILE.json is needed, not {args.output}")
    if not args.output.parent.is_dir():
        raise RunError(f"cannot write {args.output}: its folder does not exist; make it")
    from t4spp.evaluation.coco_file import write_coco

    split, samples = split_of(args, recipe)
    read = (samples[index] for index in range(len(samples)))
    counters = write_coco(
        with_progress(read, len(samples), f"convert {split}"),
        args.output,
        description=f"{args.recipe}, split {split}, as t4spp reads it",
        sources=recipe.sources,
        save_picture=None if args.pictures is None else _saver(args.pictures),
    )
    if args.json:
        print_json(
            {
                "recipe": args.recipe,
                "split": split,
                "num_samples": len(samples),
                "output": str(args.output),
                "pictures": None if args.pictures is None else str(args.pictures),
                "counters": dict(counters),
            }
        )
        return 0
    print(", ".join(f"{name} {number}" for name, number in counters.items()))
    print(args.output)
    return 0


def _saver(folder: Path) -> Callable[[str, Sample], object]:
    """Writes pictures into a folder as PNG, which loses nothing."""
    from PIL import Image

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"--pictures {folder} cannot be made a folder: {error.strerror or error}. Name another."
        ) from error
    return lambda name, sample: Image.fromarray(sample.image).save(folder / name)
