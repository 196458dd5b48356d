"""What refiners gain over the masks that a perfect model's descriptors decode to.

Every object of the pictures is written by each scheme, decoded, and refined by each refiner.
Thresholds are also chosen by the other pictures, one left out at a time. Without --recipe, the
photographs with instance masks of a folder are taken: of COCO, Pascal VOC and Penn-Fudan.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t4spp.cli.options import (
    add_scheme_argument,
    catalogue_of,
    parse_component,
    print_json,
    print_table,
    schemes_of,
)
from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue

if TYPE_CHECKING:
    from t4spp.config import ComponentConfig
    from t4spp.evaluation.refine_bench import Entrant, Picture
    from t4spp.evaluation.refine_timing import RefineTiming
    from t4spp.schemes.base import Scheme
    from t4spp.types import Sample

DEFAULT_SCHEMES = ("image-rrle:grid=16", "next-brick:grid=16")
DEFAULT_REFINERS = ("sam",)
PHOTOGRAPHS_VARIABLE = "T4SPP_TEST_DATA"
DEFAULT_PHOTOGRAPHS = Path("..") / "shared" / "data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, schemes, refiners, and what to print."""
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="a dataset with pictures and masks, its first split; may be repeated",
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        metavar="DIR",
        help="without --recipe: the folder of coco, voc_labelme and so on (default "
        f"{PHOTOGRAPHS_VARIABLE}, else {DEFAULT_PHOTOGRAPHS})",
    )
    add_scheme_argument(parser)
    parser.add_argument(
        "--refiner",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help=f"a refiner (default {', '.join(DEFAULT_REFINERS)}); may be repeated",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take the first N samples of each recipe only"
    )
    parser.add_argument(
        "--leave-one-out",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="choose the thresholds for each picture by the others, too (default yes)",
    )
    parser.add_argument(
        "--timing",
        action="store_true",
        help="also time ten regions of one picture beside one, the picture's encoding counted",
    )
    parser.add_argument("--resamples", type=int, default=1000, help="for the intervals (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (0)")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from t4spp.cli.progress import progress_bar
    from t4spp.evaluation.refine_bench import measure_refiners

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: expected at least 1")
    if args.resamples < 0:
        raise ConfigError(f"--resamples {args.resamples}: expected at least 0")
    catalogue = catalogue_of(args)
    schemes = _schemes(args, catalogue)
    datasets = _datasets(args, catalogue)
    entrants = _entrants(args, catalogue)
    total = sum(len(samples) for _, samples in datasets)
    with progress_bar(total, "bench refine") as progress:
        found = measure_refiners(
            _pictures(datasets),
            schemes,
            entrants,
            resamples=args.resamples,
            seed=args.seed,
            progress=progress,
        )
    if not found.num_pictures:
        raise ConfigError("no sample that was read holds a target. Name another --recipe.")
    for scheme, refused in found.refused.items():
        if refused:
            print(f"{scheme}: {refused} objects cannot be written, they score 0", file=sys.stderr)
    timings = _timings(entrants, _pictures(datasets), schemes) if args.timing else []
    if args.json:
        extra = {"timing": [timing.as_json() for timing in timings]} if args.timing else {}
        print_json({"rows": found.rows, **extra})
        return 0
    print(f"{found.num_pictures} pictures; intervals are of resampled pictures, 95 %")
    print_table(
        ["scheme", "refiner", "objects", "n", "coarse IoU", "refined IoU", "gain", "interval"],
        [_as_row(row) for row in found.rows],
    )
    for name, choices in found.chosen.items():
        print(f"\n{name}: thresholds chosen with one picture left out, and on all")
        for picture, params in choices.items():
            said = ", ".join(f"{key}={_yaml(value)}" for key, value in params.items())
            print(f"  {picture or 'all pictures'}: {said}")
    for timing in timings:
        print(
            f"\n{timing.refiner}: {timing.num_many} regions {timing.many_seconds:.2f} s, one "
            f"{timing.one_seconds:.2f} s, ratio {timing.ratio:.2f}"
        )
    return 0


def _schemes(args: argparse.Namespace, catalogue: Catalogue) -> dict[str, Scheme]:
    chosen = schemes_of(args) or [parse_component(text, "--scheme") for text in DEFAULT_SCHEMES]
    return {
        _title(component): catalogue.build(
            "scheme", component.name, component.params, "scheme.params"
        )
        for component in chosen
    }


def _datasets(args: argparse.Namespace, catalogue: Catalogue) -> list[tuple[str, Sequence[Sample]]]:
    """Each recipe's samples, with a name for its pictures."""
    from t4spp.data.head import head

    if args.recipe and args.photographs is not None:
        raise ConfigError("--recipe and --photographs exclude each other: give one of them")
    chosen = [parse_component(text, "--recipe") for text in args.recipe]
    found = []
    for number, component in enumerate(chosen or photographs(args.photographs)):
        recipe = catalogue.build("recipe", component.name, component.params, "recipe.params")
        samples = head(recipe.samples(recipe.splits[0]), args.limit)
        found.append((f"{number}:" if len(chosen) != 1 else "", samples))
    return found


def photographs(folder: Path | None) -> list[ComponentConfig]:
    """The recipes that read the photographs with instance masks of a folder.

    Raises:
        RecipeError: the folder does not exist or lacks one of them.
    """
    from t4spp.config import ComponentConfig

    named = os.environ.get(PHOTOGRAPHS_VARIABLE)
    root = folder or (Path(named) if named else DEFAULT_PHOTOGRAPHS)
    coco = root / "coco" / "coco_val100"
    voc = root / "voc_labelme" / "instance_segmentation" / "data_dataset_voc"
    fudan = root / "coco" / "torchvision_pennfudan"
    for needed in (coco, voc, fudan):
        if not needed.is_dir():
            raise RecipeError(
                f"bench refine: there is no {needed}. Name the folder of the photographs by "
                f"--photographs or {PHOTOGRAPHS_VARIABLE}, or any datasets by --recipe."
            )
    return [
        ComponentConfig(
            name="coco-instances",
            params={
                "annotations": str(coco / "instances_val2014_100.json"),
                "images": str(coco),
                "missing_pictures": "skip",
                "crowd": "skip",
            },
        ),
        ComponentConfig(
            name="instance-folder",
            params={
                "images": str(voc / "JPEGImages"),
                "masks": str(voc / "SegmentationObject"),
                "void": [255],
            },
        ),
        ComponentConfig(
            name="instance-folder",
            params={"images": str(fudan), "masks": str(fudan), "mask_suffix": "_mask"},
        ),
    ]


def _entrants(args: argparse.Namespace, catalogue: Catalogue) -> list[Entrant]:
    from t4spp.evaluation.refine_bench import Entrant

    found = {}
    for text in args.refiner or DEFAULT_REFINERS:
        component = parse_component(text, "--refiner")
        refiner = catalogue.build("refiner", component.name, component.params, "refiner.params")
        choices: Mapping[str, Sequence[Any]] = refiner.choices() if args.leave_one_out else {}
        tried = [
            dict(zip(choices, values, strict=True))
            for values in itertools.product(*choices.values())
        ]
        configs = [
            catalogue.validate("refiner", component.name, {**component.params, **changed})
            for changed in ({}, *(tried if choices else ()))
        ]
        name = _title(component)
        found[name] = Entrant(name=name, refiner=refiner, configs=tuple(configs))
    return list(found.values())


def _pictures(datasets: Sequence[tuple[str, Sequence[Sample]]]) -> Iterator[Picture]:
    from t4spp.evaluation.refine_bench import pictures_of

    for prefix, samples in datasets:
        yield from pictures_of((samples[number] for number in range(len(samples))), prefix)


def _timings(
    entrants: Sequence[Entrant], pictures: Iterator[Picture], schemes: Mapping[str, Scheme]
) -> list[RefineTiming]:
    from t4spp.evaluation.refine_timing import time_refiner

    picture = max(pictures, key=lambda found: len(found.truths))
    scheme = next(iter(schemes.values()))
    return [time_refiner(entrant.name, entrant.refiner, picture, scheme) for entrant in entrants]


def _title(component: ComponentConfig) -> str:
    """The component as it is written on the command line."""
    params = ",".join(f"{key}={_yaml(value)}" for key, value in component.params.items())
    return f"{component.name}:{params}" if params else component.name


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _as_row(row: Mapping[str, Any]) -> list[str]:
    return [
        row["scheme"],
        row["refiner"],
        row["objects"],
        str(row["n"]),
        _number(row["coarse_iou"]),
        _number(row["refined_iou"]),
        _number(row["gain"], "+.3f"),
        f"{_number(row['gain_low'], '+.3f')} to {_number(row['gain_high'], '+.3f')}",
    ]


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
