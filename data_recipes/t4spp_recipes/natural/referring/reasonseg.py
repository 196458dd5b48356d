"""ReasonSeg: ``reasonseg``. Questions that take reasoning to answer with a mask.

239 train, 200 val and 779 test pictures, each with one or more wordings of one question: a short
phrase or a sentence. Masks are polygons, painted as the authors' script paints them. Void rule:
shapes labelled ``ignore`` are not scored. Paper: Lai et al., LISA, CVPR 2024.
Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.pictures import is_turned, picture_size
from t4spp.schemes.labels import sanitise_label
from t4spp.types import FURTHER_PHRASE, BoolMask, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.pictures import PictureFile, require_folder
from t4spp_recipes.natural.referring.configs import ReasonSegConfig
from t4spp_recipes.natural.referring.polygon_painting import fill_as_opencv
from t4spp_recipes.natural.referring.published_counts import Counts, count_complaints
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.referring.refer_recipe import MAX_PROMPT_CHARS
from t4spp_recipes.natural.referring.sources import REASONSEG_SOURCES
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split

SPLITS = ("train", "val", "test")
TARGET, IGNORED = 1, 255
_FOLDERS = ("", "ReasonSeg", "reason_seg/ReasonSeg", "dataset/reason_seg/ReasonSeg")
_ADVICE = (
    f"Point 'root' at the folder that holds train, val and test.\n{where_to_get(REASONSEG_SOURCES)}"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Annotation:
    """One picture's JSON.

    Attributes:
        path: the JSON file.
        picture: the JPEG beside it.
        size: (H, W) of the picture.
        texts: the wordings of its question.
        is_sentence: whether they are sentences, not phrases.
        shapes: (label, float64[N, 2] of x, y) of its polygons.
        utf8: False where the file is in Windows' code page 1252.
    """

    path: Path
    picture: Path
    size: tuple[int, int]
    texts: tuple[str, ...]
    is_sentence: bool
    shapes: tuple[tuple[str, npt.NDArray[np.float64]], ...]
    utf8: bool


def read_annotation(path: Path, picture: Path) -> Annotation:
    """Read and check one JSON file.

    Raises:
        RecipeError: it, or the picture, cannot be read, or it lacks what it needs.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        text, utf8 = data.decode("utf-8"), True
    except UnicodeDecodeError:
        # Some of the files are; the authors' script falls back to the same.
        text, utf8 = data.decode("cp1252", "replace"), False
    try:
        content = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{path} is not valid JSON: {error}. Fetch it again.") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected an object, found a {type(content).__name__}.")
    texts = content.get("text")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise RecipeError(f"{path}: 'text' must be a list of texts, found {texts!r:.80}.")
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise RecipeError(f"{path}: 'shapes' must be a list, found {shapes!r:.80}.")
    return Annotation(
        path=path,
        picture=picture,
        size=picture_size(picture),
        texts=tuple(texts),
        is_sentence=bool(content.get("is_sentence")),
        shapes=tuple(_shape(shape, f"{path}: shape {n}") for n, shape in enumerate(shapes)),
        utf8=utf8,
    )


def _shape(shape: Any, where: str) -> tuple[str, npt.NDArray[np.float64]]:
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str):
        raise RecipeError(f"{where} has no label; labels are target, ignore and flag.")
    try:
        points = np.asarray(shape.get("points"), dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise RecipeError(f"{where}: points must be a list of [x, y] numbers.")
    return label, points


def paint(annotation: Annotation) -> npt.NDArray[np.uint8]:
    """uint8[H, W]: 0 outside, 1 target, 255 ignored.

    Polygons are painted by falling area, so that a smaller one lies on a larger one; of equal areas
    the earlier lies on top. Shapes labelled ``flag`` are left out, labels with ``ignore`` in them
    are ignored, all others are the target (LISA's ``utils/data_processing.py``).
    """
    painted = [
        (IGNORED if "ignore" in label.lower() else TARGET, fill_as_opencv(points, annotation.size))
        for label, points in annotation.shapes
        if label.lower() != "flag"
    ]
    areas = np.array([mask.sum() for _, mask in painted], dtype=np.int64)
    canvas = np.zeros(annotation.size, dtype=np.uint8)
    for index in np.argsort(areas, kind="stable")[::-1]:
        value, mask = painted[index]
        canvas[mask] = value
    return canvas


@lru_cache(maxsize=4)
def _painted(path: Path, picture: Path) -> npt.NDArray[np.uint8]:
    canvas = paint(read_annotation(path, picture))
    canvas.setflags(write=False)
    return canvas


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What one sample is made of; its mask is painted when it is indexed."""

    path: Path
    picture: Path
    size: tuple[int, int]
    id: str
    prompt: str
    label: str
    scores_ignored: bool
    tags: tuple[str, ...]


def _make(entry: _Entry) -> Sample:
    canvas = _painted(entry.path, entry.picture)
    target: BoolMask = canvas == TARGET
    ignore: BoolMask = canvas == IGNORED
    return Sample(
        id=entry.id,
        size=entry.size,
        prompt=entry.prompt,
        targets=(Target(label=entry.label, mask=target),) if target.any() else (),
        load_image=PictureFile(path=entry.picture, size=entry.size, masks=str(entry.path)),
        labels=(entry.label,),
        kind="partial",
        ignore=None if entry.scores_ignored or not ignore.any() else ignore,
        image_id=entry.path.stem,
        tags=entry.tags,
    )


class ReasonSeg(Recipe):
    """Segment what a question asks for."""

    sources: ClassVar[tuple[Source, ...]] = REASONSEG_SOURCES

    def __init__(self, config: ReasonSegConfig) -> None:
        """Find the folders of the splits; files are read when a split is first opened.

        Raises:
            RecipeError: none of the folders is there.
        """
        self.config = config
        root = require_folder(config.root, "reasonseg: 'root'", _ADVICE)
        base = next(
            (root / name for name in _FOLDERS if any((root / name / s).is_dir() for s in SPLITS)),
            None,
        )
        if base is None:
            raise RecipeError(
                f"reasonseg: {root} lacks train/, val/ and test/, folders of .jpg and .json "
                f"files. {_ADVICE}"
            )
        self._folders = {split: base / split for split in SPLITS if (base / split).is_dir()}
        self._pictures = None if config.images is None else config.images.expanduser()
        self._splits: dict[str, tuple[LazySamples[_Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Of train, val and test those whose folder is there."""
        return tuple(self._folders)

    def samples(self, split: str) -> Sequence[Sample]:
        """One sample a wording, by the files' names.

        Raises:
            RecipeError: unknown split, or a file is damaged.
        """
        if split not in self.splits:
            raise unknown_split("reasonseg", split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out or changed, over the splits opened so far."""
        total: Counter[str] = Counter()
        for _, counted in self._splits.values():
            total.update(counted)
        return dict(total)

    def verify(self) -> list[str]:
        """Compare counts with the published ones, paint every mask and decode every picture."""
        messages = []
        found: dict[str, Counts] = {}
        for split, folder in self._folders.items():
            paths = sorted(folder.glob("*.json"))
            found[split] = Counts(pictures=len(paths))
            for path in with_progress(paths, f"reading {split}", "picture"):
                messages += self._complaints(path)
        if self.config.counts:
            where = str(next(iter(self._folders.values())).parent)
            messages = count_complaints("reasonseg", ("reasonseg", ""), found, where) + messages
        return messages

    def _complaints(self, path: Path) -> list[str]:
        picture = self._picture(path)
        if not picture.is_file():
            return [f"reasonseg: {path} has no picture, {picture} is not there. {_ADVICE}"]
        try:
            annotation = read_annotation(path, picture)
            paint(annotation)
            PictureFile(path=picture, size=annotation.size, masks=str(path))()
        except RecipeError as error:
            return [str(error)]
        if is_turned(picture):
            return [
                f"{picture} has an EXIF orientation that turns it. Its polygons were drawn on the "
                "turned picture, pictures are read as stored: save it upright, without orientation."
            ]
        return []

    def _picture(self, path: Path) -> Path:
        folder = path.parent if self._pictures is None else self._pictures
        return folder / f"{path.stem}.jpg"

    def _build(self, split: str) -> tuple[LazySamples[_Entry], Counter[str]]:
        counters: Counter[str] = Counter()
        entries: list[_Entry] = []
        lisa = self.config.compat == "lisa"
        for path in sorted(self._folders[split].glob("*.json")):
            picture = self._picture(path)
            if not picture.is_file():
                counters["annotations_without_picture"] += 1
                continue
            annotation = read_annotation(path, picture)
            counters["annotations_not_utf8"] += not annotation.utf8
            if not any(_is_target(label) for label, _ in annotation.shapes) and not lisa:
                counters["annotations_without_target"] += 1
                continue
            texts = annotation.texts
            if lisa and split != "train":
                counters["further_phrases_left_out"] += len(texts) - 1
                texts = texts[:1]
            asked = False
            for number, text in enumerate(texts):
                if not text.strip():
                    counters["expressions_empty"] += 1
                    continue
                prompt, changed = sanitise_label(
                    self._wording(text, annotation, split), MAX_PROMPT_CHARS
                )
                counters["prompts_sanitised"] += changed
                label = self._label(prompt, counters)
                further, asked = asked and split != "train", True
                entries.append(
                    _Entry(
                        path=path,
                        picture=picture,
                        size=annotation.size,
                        id=f"{path.stem}-{number}",
                        prompt=prompt,
                        label=label,
                        scores_ignored=lisa and split == "train",
                        tags=(
                            "long-query" if annotation.is_sentence else "short-query",
                            *((FURTHER_PHRASE,) if further else ()),
                        ),
                    )
                )
        if not entries:
            raise RecipeError(
                f"reasonseg: {self._folders[split]} has no annotation that can be used "
                f"({dict(+counters)}). {_ADVICE}"
            )
        return LazySamples(entries, _make), +counters

    def _wording(self, text: str, annotation: Annotation, split: str) -> str:
        """The question; LISA writes phrases, not sentences, in small letters for training."""
        if self.config.compat == "lisa" and split == "train" and not annotation.is_sentence:
            return text.lower()
        return text

    def _label(self, prompt: str, counters: Counter[str]) -> str:
        label, changed = sanitise_label(self.config.label or prompt)
        counters["labels_cut" if self.config.label is None else "labels_sanitised"] += changed
        return label


def _is_target(label: str) -> bool:
    return label.lower() != "flag" and "ignore" not in label.lower()
