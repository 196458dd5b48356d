"""Segment pictures, or a georeferenced scene, with a finished run.

One picture and one prompt write OUT.png (the mask, 0 or 255; with several labels an indexed
picture), OUT.overlay.png and OUT.json. A folder of pictures, or a file of prompts (one a line),
write the same three for each pair into the folder OUT. A GeoTIFF of any size with a folder OUT is
segmented window by window, by all phrases in one pass: a Cloud-Optimised GeoTIFF, a GeoPackage,
GeoJSON, a quick-look PNG and a map page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from t4spp.cli import predict_scene
from t4spp.cli.following import tell_features
from t4spp.cli.options import add_set_argument, catalogue_of, print_json
from t4spp.cli.progress import progress_bar
from t4spp.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, prompts, the run and the output."""
    parser.add_argument(
        "picture", metavar="PICTURE|FOLDER|SCENE", help="a picture, a folder of them, or a GeoTIFF"
    )
    parser.add_argument(
        "prompt", nargs="*", help="what to find; or a text file with one prompt a line"
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="a finished run's folder")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="OUT.png, or a folder for several"
    )
    parser.add_argument(
        "--prompts", metavar="FILE", help="a text file with one prompt a line, instead of a prompt"
    )
    parser.add_argument(
        "--label",
        metavar="A,B,C",
        help="classes to tell apart; the prompt may then be left out. Of a scene: the name that "
        "the model writes for each phrase, where it is not the phrase",
    )
    parser.add_argument(
        "--live", action="store_true", help="show masks on the terminal while they are written"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    add_set_argument(parser)
    predict_scene.add_arguments(parser.add_argument_group("a scene's options"))


def run(args: argparse.Namespace) -> int:
    """Plan everything and refuse what is wrong, then load the run and segment."""
    if predict_scene.is_scene(Path(args.picture), Path(args.output)):
        return predict_scene.run(args, _prompts(args, bool(args.label)), _labels(args.label))
    predict_scene.refuse_options(args)
    from t4spp.api import Segmenter, labels_asked
    from t4spp.cli.live import LiveView
    from t4spp.evaluation.experiment import open_experiment
    from t4spp.pictures import read_picture
    from t4spp.prediction_files import check_outputs, plan_jobs, write_outputs

    # Whatever can be wrong is found before the run's weights are loaded, which takes long.
    experiment = open_experiment(Path(args.run), catalogue_of(args), args.set)
    labels = _labels(args.label)
    jobs = plan_jobs(Path(args.picture), _prompts(args, bool(labels)), Path(args.output))
    check_outputs(jobs, overwrite=args.overwrite)
    for prompt in dict.fromkeys(job.prompt for job in jobs):
        labels_asked(experiment.scheme, prompt, labels)
    for picture in dict.fromkeys(job.picture for job in jobs):
        read_picture(picture)
    segmenter = Segmenter(experiment, experiment.trained_backbone(Path(args.run)))
    written: list[dict[str, Any]] = []
    with progress_bar(len(jobs), "segment", hidden=args.live) as progress:
        for job in jobs:
            watch = None
            if args.live:
                asked = labels_asked(experiment.scheme, job.prompt, labels)
                screen = sys.stderr if args.json else sys.stdout
                watch = LiveView(screen, experiment.scheme, read_picture(job.picture), asked)
                watch.title(f"{job.picture}: {job.prompt or ', '.join(asked)}")
            segmentation = segmenter.segment(job.picture, job.prompt, labels, watch=watch)
            written.append(write_outputs(job, segmentation))
            progress(1)
    tell_features()
    if args.json:
        print_json({"run": args.run, "predictions": written})
    else:
        for record in written:
            parts = record["labels"].items()
            areas = ", ".join(f"{name} {part['area']} px" for name, part in parts)
            print(f"{record['mask']}: {record['status']}, {areas}")
    return 0


def _labels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    labels = tuple(part.strip() for part in text.split(","))
    if "" in labels:
        raise ConfigError(f"--label {text}: expected names parted by commas, none of them empty")
    return labels


def _prompts(args: argparse.Namespace, has_labels: bool) -> list[str]:
    """The prompts: the argument, or a file's lines."""
    file = args.prompts
    given = [prompt.strip() for prompt in args.prompt]
    if file is not None and given:
        raise ConfigError("give a prompt or --prompts FILE, not both")
    if file is None and len(given) == 1 and given[0] and Path(given[0]).is_file():
        file = given[0]
    if file is None:
        if not any(given) and not has_labels:
            raise ConfigError("no prompt. Say what to find, or name classes with --label a,b,c")
        if len(given) > 1 and "" in given:
            raise ConfigError("one of the prompts is empty. Say what to find, or leave it out.")
        return list(dict.fromkeys(given)) or [""]
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file of prompts {file} cannot be read: {error}") from error
    prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not prompts:
        raise ConfigError(f"the file of prompts {file} holds none; write one prompt a line")
    return prompts
