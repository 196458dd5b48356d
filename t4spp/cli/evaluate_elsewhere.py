"""Score predictions that another system wrote: ``t4spp evaluate --predictions``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t4spp.cli.options import (
    add_recipe_arguments,
    catalogue_of,
    parse_params,
    print_json,
    print_table,
    recipe_of,
)
from t4spp.cli.progress import progress_bar
from t4spp.errors import ConfigError, RunError, nearest

FORMATS: Mapping[str, str] = {
    "coco-results": "a JSON list of detections (image_id, category_id, score, segmentation, bbox)",
    "masklets": "a JSON list of masklets (video_id, category_id, score, segmentations, bboxes)",
    "mask-png": "a folder of PNG masks named by sample, or of class ids named by picture",
}
_WITH_TRUTH = {"coco-results": "instances", "masklets": "masklets"}
"""Formats that need ``--truth``, and the protocol that scores each."""
_COUNTED = {
    "coco-results": ("pairs of picture and category", "pictures"),
    "masklets": ("phrases", "videos"),
    "mask-png": ("prompts", "pictures"),
}
_OURS = ("generate", "resume")
_MOST_PHRASES = 40
"""Phrases that are printed; all of them are in ``--json`` and ``-o``."""


def add_elsewhere_arguments(parser: argparse.ArgumentParser) -> None:
    """What names predictions from elsewhere and their truth."""
    group = parser.add_argument_group(
        "predictions of other systems", "instead of RUN|CONFIG; -o then names a JSON file"
    )
    group.add_argument("--predictions", metavar="PATH", help="what the other system wrote")
    listed = "; ".join(f"{name}: {what}" for name, what in FORMATS.items())
    group.add_argument("--format", metavar="NAME", help=listed)
    group.add_argument(
        "--truth", metavar="FILE", help="the annotation file, for coco-results and masklets"
    )
    add_recipe_arguments(group, required=False)


def is_elsewhere(args: argparse.Namespace) -> bool:
    """Whether any argument is about predictions from elsewhere."""
    return any((args.predictions is not None, args.format, args.truth, args.recipe, args.param))


def run_elsewhere(args: argparse.Namespace) -> int:
    """Check the arguments, score, print."""
    _check(args)
    output = _output(args)
    protocols, evaluation, seed = _settings(args)
    path = Path(args.predictions)
    wanted = {"resamples": evaluation.bootstrap, "seed": seed, "bar": progress_bar}
    if args.format == "mask-png":
        metrics = _score_masks(args, path, protocols, evaluation, wanted)
    else:
        from t4spp.evaluation.elsewhere.scoring import score_coco, score_masklets

        score = score_coco if args.format == "coco-results" else score_masklets
        metrics = score(path, Path(args.truth), **wanted)
    if output is not None:
        from t4spp.training.atomic import write_text

        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(output, text)
    if args.json:
        print_json(metrics)
    else:
        print_elsewhere(metrics)
        if output is not None:
            print(f"\nscores: {output}")
    return 0


def print_elsewhere(metrics: Mapping[str, Any]) -> None:
    """The scores as a table, the phrases of masklets, and what was counted."""
    rows = [
        [protocol, name, _number(score["value"]), _interval(score)]
        for protocol, scores in metrics["protocols"].items()
        for name, score in scores.items()
    ]
    print_table(["protocol", "metric", "value", "95 % interval"], rows)
    for protocol, counts in metrics["protocol_counts"].items():
        said = [f"{name} {value}" for name, value in counts.items() if isinstance(value, int)]
        print(f"\n{protocol}: {', '.join(said)}")
    if metrics.get("phrases"):
        _print_phrases(metrics["phrases"])
    counted = metrics["prediction_counters"]
    one, many = _COUNTED[metrics["predictions"]["format"]]
    print(f"\n{metrics['num_samples']} {one} on {metrics['num_images']} {many}")
    for name, number in counted.items():
        print(f"  {name}: {number}")


def _print_phrases(phrases: list[dict[str, Any]]) -> None:
    keys = [key for key in phrases[0] if key.endswith("_50")]
    rows = [
        [phrase["image_id"], phrase["label"], *(f"{phrase[key]:g}" for key in keys)]
        for phrase in phrases[:_MOST_PHRASES]
    ]
    print()
    print_table(["video", "phrase", *keys], rows)
    if len(phrases) > _MOST_PHRASES:
        print(f"... and {len(phrases) - _MOST_PHRASES} more: --json or -o FILE has all of them")


def _score_masks(
    args: argparse.Namespace, path: Path, protocols: list[str], evaluation: Any, wanted: Any
) -> dict[str, Any]:
    from t4spp.evaluation.elsewhere.scoring import score_masks

    catalogue = catalogue_of(args)
    named = recipe_of(args)
    recipe = catalogue.build("recipe", named.name, named.params, "--param")
    split = args.split or _only(recipe.splits, named.name)
    samples = recipe.samples(split)
    if not len(samples):
        raise RunError(f"the split {split!r} of the recipe {named.name!r} is empty.")
    metrics = score_masks(
        path,
        recipe,
        samples,
        catalogue.build("refiner", "none", {}, "refiner.params"),
        protocols=protocols,
        workers=evaluation.workers,
        **wanted,
    )
    return {"split": split, "recipe": named.model_dump(mode="json"), **metrics}


def _only(splits: tuple[str, ...], recipe: str) -> str:
    if len(splits) == 1:
        return splits[0]
    raise RunError(
        f"the recipe {recipe!r} has the splits {', '.join(splits)}: name the one that was "
        "predicted by --split."
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other.

    Raises:
        RunError: naming one of them and what to do.
    """
    if args.predictions is None:
        given = next(name for name in ("format", "truth", "recipe", "param") if getattr(args, name))
        raise RunError(
            f"--{given} is about predictions of other systems: name them by --predictions, or "
            f"leave --{given} out to score a run."
        )
    if args.target is not None:
        raise RunError(
            f"{args.target} and --predictions contradict each other: a run's predictions are its "
            "own. Leave one of them out."
        )
    for name in _OURS:
        if getattr(args, name):
            raise RunError(
                f"--{name} lets a model answer, and --predictions are answers already. Leave "
                f"--{name} out."
            )
    if args.overwrite and args.output is None:
        raise RunError("--overwrite replaces the file of -o, and -o is not given.")
    if args.format not in FORMATS:
        received = "is missing" if args.format is None else f"{args.format!r} is unknown"
        raise RunError(
            f"--format {received}; valid: {', '.join(FORMATS)}."
            f"{nearest(args.format or '', FORMATS)}"
        )
    needs, refuses = (
        (("truth",), ("recipe", "param", "split"))
        if args.format in _WITH_TRUTH
        else (("recipe",), ("truth",))
    )
    for name in needs:
        if not getattr(args, name):
            raise RunError(f"--format {args.format} needs --{name}.")
    for name in refuses:
        if getattr(args, name):
            raise RunError(
                f"--format {args.format} takes its truth from --{needs[0]}; leave --{name} out."
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("--predictions are scored by one process: start t4spp without a launcher.")


def _output(args: argparse.Namespace) -> Path | None:
    """The file for the scores; its folder is made.

    Raises:
        RunError: it exists, is a folder or an input, or has no place.
    """
    if args.output is None:
        return None
    output = Path(args.output)
    if output.is_dir():
        raise RunError(f"-o {output} is a folder; with --predictions it names a JSON file.")
    if output.exists() and not args.overwrite:
        raise RunError(f"-o {output} exists. Replace it by --overwrite, or name another file.")
    inputs = [Path(name).resolve() for name in (args.predictions, args.truth) if name]
    if output.resolve() in inputs:
        raise RunError(
            f"-o {output} is what --predictions or --truth reads, which would be lost. Name "
            "another file."
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"-o {output}: {output.parent} cannot be made a folder: {error.strerror or error}. "
            "Name another file."
        ) from error
    return output


def _settings(args: argparse.Namespace) -> tuple[list[str], Any, int]:
    """The protocols, the config's ``evaluation`` and the seed, from ``--protocol`` and ``--set``.

    Raises:
        ConfigError: a protocol or value is unknown, or ``--set`` names another part of a config.
        RunError: the protocol does not fit the format.
    """
    from t4spp.config import EvaluationConfig
    from t4spp.evaluation.protocols.catalogue import PROTOCOLS, check_protocols
    from t4spp.validation import validate

    values = parse_params(args.set, "--set")
    seed = values.pop("seed", 0)
    section = values.pop("evaluation", {})
    if (
        values
        or not isinstance(section, dict)
        or isinstance(seed, bool)
        or not isinstance(seed, int)
        or not 0 <= seed < 2**32
    ):
        raise ConfigError(
            f"--set {' '.join(args.set)}: predictions from elsewhere have no config; only seed and "
            "evaluation.* can be set, for example evaluation.bootstrap=0; a seed is a whole "
            "number from 0 to 4294967295."
        )
    default = _WITH_TRUTH.get(args.format, "native")
    asked = args.protocol or section.get("protocols") or [default]
    names = list(check_protocols(asked if isinstance(asked, list) else [str(asked)]))
    checked = validate(EvaluationConfig, {**section, "protocols": names}, ("evaluation",))
    if isinstance(checked, list):
        raise ConfigError("; ".join(fault.text() for fault in checked))
    if args.format in _WITH_TRUTH and names != [default]:
        raise RunError(
            f"--format {args.format} is scored by --protocol {default} alone, not by "
            f"{', '.join(names)}: the others need a recipe's samples (--format mask-png)."
        )
    for name in names:
        if PROTOCOLS[name].dialogue:
            raise RunError(f"--protocol {name} looks at answers in words; masks have none.")
    return names, checked, seed


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(score: Mapping[str, float | None]) -> str:
    if score["low"] is None or score["high"] is None:
        return "-"
    return f"{score['low']:.3f} to {score['high']:.3f}"
