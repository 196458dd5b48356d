"""``t4spp predict SCENE.tif PHRASE...``: the options of scenes, and what is printed about one."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from t4spp.errors import ConfigError

SCENE_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")
"""Files that are scenes, unless the output is a PNG."""
_OPTIONS: dict[str, Any] = {
    "window": None,
    "stride": None,
    "resolution": None,
    "objects": None,
    "simplify": 1.0,
    "least_area": 0.0,
    "truth": None,
    "truth_column": None,
    "resume": False,
}
"""The options of scenes, and what they are where nobody gives them."""


def add_arguments(parser: argparse._ActionsContainer) -> None:
    """Windows, objects, truth, resuming."""
    parser.add_argument(
        "--window", type=int, metavar="PIXELS", help="side of a window; default the recipe's"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="PIXELS",
        help="from one window to the next; default three quarters of the window",
    )
    parser.add_argument(
        "--resolution", type=float, metavar="M", help="metres a pixel; default the recipe's"
    )
    parser.add_argument(
        "--objects",
        choices=("regions", "parts"),
        help="an object is what the model wrote as one region, or a connected part of the mask; "
        "default what the run was trained to write",
    )
    parser.add_argument(
        "--simplify",
        type=float,
        default=_OPTIONS["simplify"],
        metavar="PIXELS",
        help="how far outlines may leave the pixels' edges; default 1, 0 follows them",
    )
    parser.add_argument(
        "--least-area",
        type=float,
        default=_OPTIONS["least_area"],
        metavar="M2",
        help="objects of fewer square metres are left out and counted; default 0",
    )
    parser.add_argument(
        "--truth",
        metavar="FILE",
        help="a vector layer of what is there: the mask is compared with it, and the backbone "
        "oracle answers from it",
    )
    parser.add_argument(
        "--truth-column",
        metavar="NAME",
        help="its column that holds each polygon's label; default every polygon is of every phrase",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with an interrupted prediction"
    )


def is_scene(picture: Path, output: Path) -> bool:
    """Whether a file is segmented as a scene: a GeoTIFF, and the output is no PNG."""
    return picture.suffix.lower() in SCENE_SUFFIXES and output.suffix.lower() != ".png"


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse options of scenes where there is none.

    Raises:
        ConfigError: one is given.
    """
    for name, default in _OPTIONS.items():
        if getattr(args, name) != default:
            raise ConfigError(
                f"--{name.replace('_', '-')} is for scenes: a GeoTIFF ({', '.join(SCENE_SUFFIXES)})"
                f" and an output folder. Received {args.picture} and -o {args.output}."
            )


def run(args: argparse.Namespace, prompts: Sequence[str], labels: Sequence[str] | None) -> int:
    """Refuse what is wrong, then load the run and segment the scene."""
    from rasterio.errors import NotGeoreferencedWarning

    from t4spp.cli.following import tell_features
    from t4spp.cli.options import catalogue_of, print_json
    from t4spp.cli.progress import progress_bar
    from t4spp.evaluation.experiment import open_experiment
    from t4spp.scene_prediction.predicting import SceneOptions, predict_scene

    options = SceneOptions(
        window=_at_least(args.window, 16, "--window"),
        stride=_at_least(args.stride, 1, "--stride"),
        resolution=_at_least(args.resolution, 1e-6, "--resolution"),
        objects=args.objects,
        simplify=_at_least(args.simplify, 0.0, "--simplify") or 0.0,
        least_area=_at_least(args.least_area, 0.0, "--least-area") or 0.0,
        truth=None if args.truth is None else Path(args.truth),
        truth_column=args.truth_column,
        resume=args.resume,
        overwrite=args.overwrite,
    )
    if args.live:
        raise ConfigError("--live shows one picture; a scene has many windows. Leave it out.")
    if args.truth_column is not None and args.truth is None:
        raise ConfigError("--truth-column names a column of --truth FILE; give both")
    # masks are drawn on plain pixels; filters of one thread do not last, the other reads meanwhile
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    run_folder = Path(args.run)
    experiment = open_experiment(run_folder, catalogue_of(args), args.set)
    with ExitStack() as stack:

        def begin(total: int) -> Callable[[int], object]:
            return stack.enter_context(progress_bar(total, "windows"))

        record = predict_scene(
            experiment,
            lambda: experiment.trained_backbone(run_folder),
            Path(args.picture),
            _phrases(prompts, labels),
            Path(args.output),
            options,
            identity=experiment.checkpoint_name(run_folder),
            progress=begin,
        )
    tell_features()
    if args.json:
        print_json({"run": args.run, "output": args.output, **record})
    else:
        _tell(record, args.output)
    return 0


def _phrases(prompts: Sequence[str], labels: Sequence[str] | None) -> list[Any]:
    from t4spp.scene_prediction.answering import Phrase

    names = list(labels or prompts)
    asked = names if list(prompts) == [""] else list(prompts)
    if len(names) != len(asked):
        raise ConfigError(
            f"--label names {len(names)} labels for {len(asked)} phrases; of a scene, one is "
            "needed for each phrase, in their order"
        )
    return [Phrase(prompt=p, label=name) for p, name in zip(asked, names, strict=True)]


def _at_least(value: Any, least: float, option: str) -> Any:
    if value is not None and not least <= value < float("inf"):
        raise ConfigError(f"{option} {value}: expected at least {least}")
    return value


def _tell(record: dict[str, Any], output: str) -> None:
    counters, answers = record["counters"], record["answers"]
    parts = [f"{counters['windows']} windows"]
    for name, text in (
        ("windows_padded", "padded"),
        ("windows_without_data", "without data"),
    ):
        if counters.get(name):
            parts.append(f"{counters[name]} {text}")
    if record["resumed_answers"]:
        parts.append(f"{record['resumed_answers']} answers from before")
    print(f"{', '.join(parts)}; {record['seconds']:.1f} s")
    print(
        f"answers: {answers['ok']} ok, {answers['repaired']} repaired, {answers['invalid']} invalid"
    )
    for phrase in record["phrases"]:
        line = f"{phrase['prompt']}: {phrase['objects']} objects, {phrase['area_m2']:.0f} m2"
        truth = record.get("truth", {}).get(phrase["label"])
        if truth is not None:
            iou = "-" if truth["iou"] is None else f"{truth['iou']:.4f}"
            error = truth["area_error"]
            off = "-" if error is None else f"{100 * error:+.2f} %"
            line += f"; IoU with the truth {iou}, area {off}"
        print(line)
    dropped = {
        name: counters[name]
        for name in ("objects_too_small", "objects_outvoted")
        if counters.get(name)
    }
    for name, number in dropped.items():
        print(f"{name.replace('_', ' ')}: {number}")
    print(f"{output}: mask.tif, objects.gpkg, objects.geojson, quicklook.png, map.html, scene.json")
