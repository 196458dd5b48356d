"""What ``t4spp predict`` writes for a picture and a prompt: mask, overlay, description."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t4spp.errors import ConfigError, RecipeError, RunError
from t4spp.pictures import PICTURE_SUFFIXES, read_picture
from t4spp.training.atomic import write_text
from t4spp.types import BoolMask, Box

if TYPE_CHECKING:
    from t4spp.api import Segmentation

MAX_LABELS = 255
"""Labels that an indexed picture can tell apart, beside the background."""
_SLUG = re.compile(r"[^\w]+")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture and one prompt.

    Attributes:
        picture: the file.
        prompt: what to find.
        mask: the PNG to write; overlay and description lie beside it.
    """

    picture: Path
    prompt: str
    mask: Path

    @property
    def overlay(self) -> Path:
        """``NAME.overlay.png``."""
        return self.mask.with_name(f"{self.mask.stem}.overlay.png")

    @property
    def description(self) -> Path:
        """``NAME.json``."""
        return self.mask.with_suffix(".json")

    @property
    def outputs(self) -> tuple[Path, Path, Path]:
        """All three files."""
        return self.mask, self.overlay, self.description


def plan_jobs(picture: Path, prompts: Sequence[str], output: Path) -> list[Job]:
    """Every picture with every prompt, and where each is written.

    One picture and one prompt write ``output`` itself, which must end in ``.png``; otherwise it is
    a folder, and files are named after the picture, and after the prompt where there are several.

    Raises:
        RecipeError: the picture or folder is missing, or holds no picture.
        ConfigError: ``output`` is of the wrong kind, or two outputs would have one name.
    """
    if not picture.exists():
        raise RecipeError(f"{picture} does not exist. Name a picture, or a folder of pictures.")
    if picture.is_file() and len(prompts) == 1:
        if output.is_dir() or output.suffix.lower() != ".png":
            raise ConfigError(
                f"-o {output}: one picture with one prompt is written to a PNG file; name one, for "
                f"example {output / 'mask.png' if output.is_dir() else output.with_suffix('.png')}"
            )
        return [Job(picture=picture, prompt=prompts[0], mask=output)]
    if output.is_file() or output.suffix.lower() == ".png":
        raise ConfigError(
            f"-o {output}: several pictures or prompts are written into a folder; name one"
        )
    pictures = [picture]
    if picture.is_dir():
        pictures = sorted(p for p in picture.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if not pictures:
            raise RecipeError(
                f"{picture} holds no picture; recognised: {', '.join(PICTURE_SUFFIXES)}"
            )
    stems = _unique([path.stem for path in pictures], [path.name for path in pictures])
    width = len(str(len(prompts)))
    jobs = []
    for stem, path in zip(stems, pictures, strict=True):
        for number, prompt in enumerate(prompts, start=1):
            name = stem
            if len(prompts) > 1:
                name = f"{stem}.{number:0{width}}-{_slug(prompt)}"
            jobs.append(Job(picture=path, prompt=prompt, mask=output / f"{name}.png"))
    return jobs


def check_outputs(jobs: Sequence[Job], *, overwrite: bool) -> None:
    """Refuse to replace files, a picture above all.

    Raises:
        RunError: an output exists and ``overwrite`` is not set.
        ConfigError: an output is one of the pictures.
    """
    pictures = {job.picture.resolve() for job in jobs}
    for job in jobs:
        for path in job.outputs:
            if path.resolve() in pictures:
                raise ConfigError(f"-o: {path} is a picture to segment. Choose another output.")
    existing = [path for job in jobs for path in job.outputs if path.exists()]
    if existing and not overwrite:
        others = len(existing) - 1
        raise RunError(
            f"{existing[0]} exists{f', and so do {others} others' if others else ''}. Give "
            "--overwrite to replace what is there, or choose another -o."
        )


def write_outputs(job: Job, segmentation: Segmentation) -> dict[str, Any]:
    """Write mask, overlay and description; returns the description.

    Raises:
        ConfigError: more labels than an indexed picture has colours.
        RunError: a file cannot be written.
    """
    from t4spp.report.overlay import draw_overlay

    labels = segmentation.labels
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{len(labels)} labels; an indexed picture tells {MAX_LABELS} apart")
    masks = {label: segmentation.union(label) for label in labels}
    overlay = draw_overlay(read_picture(job.picture), list(masks.items()))
    record = describe(job, segmentation, masks)
    try:
        job.mask.parent.mkdir(parents=True, exist_ok=True)
        _save_mask(job.mask, masks, segmentation.size)
        _save(job.overlay, overlay)
        write_text(job.description, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(f"{job.mask} cannot be written: {error.strerror or error}.") from error
    return record


def describe(job: Job, segmentation: Segmentation, masks: dict[str, BoolMask]) -> dict[str, Any]:
    """The content of the JSON file. Boxes are half-open pixels."""
    several = len(masks) > 1
    parts = {}
    for number, (label, mask) in enumerate(masks.items(), start=1):
        box = Box.of_mask(mask)
        parts[label] = {
            "value": number if several else 255,
            "area": int(np.count_nonzero(mask)),
            "box": None
            if box is None
            else {"y0": box.y0, "x0": box.x0, "y1": box.y1, "x1": box.x1},
            "num_regions": sum(region.label == label for region in segmentation.regions),
        }
    return {
        "image": str(job.picture),
        "prompt": segmentation.prompt,
        "mask": str(job.mask),
        "overlay": str(job.overlay),
        "size": list(segmentation.size),
        "labels": parts,
        "status": segmentation.status,
        "problems": [
            {
                "code": problem.code,
                "message": problem.message,
                "row": problem.row,
                "column": problem.column,
            }
            for problem in segmentation.problems
        ],
        "text": segmentation.text,
        "others": list(segmentation.others),
        "num_tokens": segmentation.num_tokens,
        "num_passes": segmentation.num_passes,
        "seconds": segmentation.seconds,
    }


def _save_mask(path: Path, masks: dict[str, BoolMask], size: tuple[int, int]) -> None:
    """One label: 0 and 255. Several: an indexed PNG, 0 the background, n the n-th label."""
    from PIL import Image as PILImage

    from t4spp.report.overlay import label_colours

    if len(masks) == 1:
        (mask,) = masks.values()
        _save(path, np.where(mask, 255, 0).astype(np.uint8))
        return
    indices = np.zeros(size, dtype=np.uint8)
    for number, mask in reversed(list(enumerate(masks.values(), start=1))):
        indices[mask] = number  # where labels overlap, the first one stays
    colours = label_colours(masks)
    picture = PILImage.fromarray(indices, mode="P")
    picture.putpalette([0, 0, 0, *(channel for label in masks for channel in colours[label])])
    _save(path, picture)


def _save(path: Path, picture: Any) -> None:
    """Write a PNG completely or not at all."""
    from PIL import Image as PILImage

    if isinstance(picture, np.ndarray):
        picture = PILImage.fromarray(picture)
    partial = path.with_name(f"{path.name}.writing")
    try:
        picture.save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _unique(stems: Sequence[str], names: Sequence[str]) -> list[str]:
    """The stems, or the whole names of files whose stem another one has too."""
    return [
        stem if stems.count(stem) == 1 else name.replace(".", "_")
        for stem, name in zip(stems, names, strict=True)
    ]


def _slug(prompt: str) -> str:
    return _SLUG.sub("-", prompt.lower()).strip("-")[:40] or "prompt"
