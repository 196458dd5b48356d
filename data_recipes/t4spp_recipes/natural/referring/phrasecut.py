"""PhraseCut: ``phrasecut``. Phrases of names, attributes and relations on Visual Genome's pictures.

345,486 phrases on 77,262 pictures; a phrase may mean several instances. Splits: train, val, miniv
(100 pictures of the validation set that the file of val leaves out), val_miniv (both) and test.
Void rule: none. Paper: Wu et al., PhraseCut, CVPR 2020. Docs: docs/datasets-referring.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.schemes.labels import sanitise_label
from t4spp.types import Image, Sample, Target
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.natural.coco_annotations import read_json
from t4spp_recipes.natural.pictures import MissingPicture, PictureFile, require_folder
from t4spp_recipes.natural.referring.configs import PhraseCutConfig
from t4spp_recipes.natural.referring.polygon_painting import fill_as_pil
from t4spp_recipes.natural.referring.published_counts import Counts, count_complaints
from t4spp_recipes.natural.referring.refer_layout import where_to_get
from t4spp_recipes.natural.referring.refer_recipe import MAX_PROMPT_CHARS
from t4spp_recipes.natural.referring.sources import PHRASECUT_SOURCES
from t4spp_recipes.progress import with_progress
from t4spp_recipes.splits import unknown_split

SPLITS = ("train", "val", "miniv", "test")
WHOLE_VALIDATION = "val_miniv"
MANY = 5
"""Instances from which on a phrase is tagged as meaning many."""
_IMAGE_LISTS = ("image_data_split.json", "image_data_split3000.json")
_FOLDERS = ("", "VGPhraseCut_v0", "data/VGPhraseCut_v0", "PhraseCutDataset/data/VGPhraseCut_v0")
_ADVICE = f"Point 'root' at VGPhraseCut_v0.\n{where_to_get(PHRASECUT_SOURCES)}"

MAX_COORDINATE = 1_000_000
"""Coordinates beyond this are damage, not geometry."""

MAX_SIDE = 50_000
"""Sides beyond this are damage: the canvas of a mask takes their product in bytes."""

_STRUCTURE = {"attributes": list, "relation_descriptions": list, "type": str}
"""What of a phrase's structure decides its tags."""

_Polygon = npt.NDArray[np.int32]
"""int32[N, 2] of x, y; fractions are cut off, as the API's script does."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Entry:
    """What one sample is made of. ``instances``: polygons of each."""

    id: str
    image_id: int
    size: tuple[int, int]
    prompt: str
    label: str
    instances: tuple[tuple[_Polygon, ...], ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _SampleMaker:
    """Turns entries into samples; picklable."""

    images: Path
    together: bool

    def __call__(self, entry: _Entry) -> Sample:
        masks = [fill_as_pil(polygons, entry.size) for polygons in entry.instances]
        if self.together and masks:
            masks = [np.logical_or.reduce(masks)]
        return Sample(
            id=entry.id,
            size=entry.size,
            prompt=entry.prompt,
            targets=tuple(Target(label=entry.label, mask=mask) for mask in masks if mask.any()),
            load_image=self.picture(entry.image_id, entry.size),
            labels=(entry.label,),
            kind="partial",
            image_id=str(entry.image_id),
            tags=entry.tags,
        )

    def picture(self, image_id: int, size: tuple[int, int]) -> Callable[[], Image]:
        """What reads the picture, or raises where it is not there."""
        path = self.images / f"{image_id}.jpg"
        if not path.is_file():
            return MissingPicture(name=path.name, folder=self.images, advice=f".\n{_ADVICE}")
        return PictureFile(path=path, size=size, masks=str(self.images.parent))


class PhraseCut(Recipe):
    """Segment every instance that a phrase describes."""

    sources: ClassVar[tuple[Source, ...]] = PHRASECUT_SOURCES

    def __init__(self, config: PhraseCutConfig) -> None:
        """Find the files and read the list of pictures; phrases are read split by split.

        Raises:
            RecipeError: the list of pictures or every file of phrases is missing.
        """
        self.config = config
        root = require_folder(config.root, "phrasecut: 'root'", _ADVICE)
        base = next(
            (
                root / name
                for name in _FOLDERS
                if any((root / name / _file(split)).is_file() for split in SPLITS)
            ),
            root,
        )
        listing = next((base / name for name in _IMAGE_LISTS if (base / name).is_file()), None)
        self._files = {s: base / _file(s) for s in SPLITS if (base / _file(s)).is_file()}
        if listing is None or not self._files:
            missing = [
                *([] if listing is not None else [" or ".join(_IMAGE_LISTS)]),
                *([] if self._files else [", ".join(map(_file, SPLITS))]),
                *([] if (base / "images").is_dir() else ["images/"]),
            ]
            raise RecipeError(f"phrasecut: {root} lacks {', '.join(missing)}. {_ADVICE}")
        self._sizes = _read_sizes(listing)
        images = base / "images" if config.images is None else config.images.expanduser()
        self._maker = _SampleMaker(images=images, together=config.targets == "together")
        self._tasks: dict[str, tuple[Mapping[str, Any], ...]] = {}
        self._splits: dict[str, tuple[LazySamples[_Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Those whose file is there; val_miniv where both of its are."""
        found = tuple(self._files)
        return (*found, WHOLE_VALIDATION) if {"val", "miniv"} <= set(found) else found

    def samples(self, split: str) -> Sequence[Sample]:
        """One sample a phrase, in the file's order.

        Raises:
            RecipeError: unknown split, or a file is damaged.
        """
        if split not in self.splits:
            raise unknown_split("phrasecut", split, self.splits)
        if split not in self._splits:
            self._splits[split] = self._build(split)
        return self._splits[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out or changed, over the splits opened so far (val_miniv counts once)."""
        parts: Counter[str] = Counter()
        for name, (_, counted) in self._splits.items():
            if name != WHOLE_VALIDATION or not {"val", "miniv"} <= set(self._splits):
                parts.update(counted)
        return dict(parts)

    def verify(self) -> list[str]:
        """Compare counts with the published ones, read every record and decode every picture."""
        messages: list[str] = []
        found: dict[str, Counts] = {}
        wanted: dict[int, None] = {}
        for split in self.splits:
            try:
                tasks = self._read(split)
                entries = list(self._entries(tasks, split, Counter()))
            except RecipeError as error:
                messages.append(str(error))
                continue
            pictures = {task["image_id"] for task in tasks}
            found[split] = Counts(expressions=len(tasks), pictures=len(pictures))
            wanted.update(dict.fromkeys(entry.image_id for entry in entries))
        if self.config.counts:
            where = str(self._maker.images.parent)
            messages = count_complaints("phrasecut", ("phrasecut", ""), found, where) + messages
        if not self._maker.images.is_dir():
            messages.append(f"phrasecut: {self._maker.images} is not there. {_ADVICE}")
            return messages
        for image_id in with_progress(tuple(wanted), "reading", "picture"):
            try:
                self._maker.picture(image_id, self._sizes[image_id])()
            except RecipeError as error:
                messages.append(str(error))
        return messages

    def _read(self, split: str) -> tuple[Mapping[str, Any], ...]:
        if split == WHOLE_VALIDATION:
            return (*self._read("val"), *self._read("miniv"))
        if split not in self._tasks:
            path = self._files[split]
            content = read_json(path, "the file of phrases")
            if not isinstance(content, list):
                raise RecipeError(f"{path}: expected a list, found a {type(content).__name__}.")
            self._tasks[split] = tuple(
                _task(record, f"{path}: task {number}") for number, record in enumerate(content)
            )
        return self._tasks[split]

    def _build(self, split: str) -> tuple[LazySamples[_Entry], Counter[str]]:
        counters: Counter[str] = Counter()
        entries = list(self._entries(self._read(split), split, counters))
        if not entries:
            raise RecipeError(
                f"phrasecut: the split {split!r} has no phrase that can be used "
                f"({dict(+counters)}). {_ADVICE}"
            )
        return LazySamples(entries, self._maker), +counters

    def _entries(
        self, tasks: Sequence[Mapping[str, Any]], split: str, counters: Counter[str]
    ) -> Sequence[_Entry]:
        entries: list[_Entry] = []
        for task in tasks:
            image_id = task["image_id"]
            size = self._sizes.get(image_id)
            if size is None:
                counters["phrases_without_image"] += 1
                continue
            instances = self._instances(task, counters)
            if not instances and self.config.compat is None:
                counters["phrases_without_polygon"] += 1
                continue
            prompt, changed = sanitise_label(task["phrase"], MAX_PROMPT_CHARS)
            label, _ = sanitise_label(task["phrase"])
            counters["labels_sanitised"] += changed
            counters["labels_cut"] += label != prompt
            entries.append(
                _Entry(
                    id=str(task["task_id"]),
                    image_id=image_id,
                    size=size,
                    prompt=prompt,
                    label=label,
                    instances=instances,
                    tags=_tags(task),
                )
            )
        return entries

    def _instances(
        self, task: Mapping[str, Any], counters: Counter[str]
    ) -> tuple[tuple[_Polygon, ...], ...]:
        """The polygons of each instance; two points are no area, but a line to the API's script."""
        least = 2 if self.config.compat == "phrasecut" else 3
        instances = []
        for polygons in task["Polygons"]:
            kept = tuple(polygon for polygon in polygons if len(polygon) >= least)
            counters[f"polygons_under_{least}_points"] += len(polygons) - len(kept)
            if kept:
                instances.append(kept)
        return tuple(instances)


def _file(split: str) -> str:
    return f"refer_{split}.json"


def _read_sizes(path: Path) -> dict[int, tuple[int, int]]:
    """(H, W) by image id."""
    content = read_json(path, "the list of pictures")
    try:
        sizes = {
            int(item["image_id"]): (int(item["height"]), int(item["width"])) for item in content
        }
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise RecipeError(
            f"{path}: each picture needs image_id, width and height ({error!r}). {_ADVICE}"
        ) from error
    for image_id, size in sizes.items():
        if not all(0 < side <= MAX_SIDE for side in size):
            raise RecipeError(
                f"{path}: picture {image_id} has the size {size[0]} x {size[1]} pixels (height x "
                f"width); sides are 1 to {MAX_SIDE}. {_ADVICE}"
            )
    return sizes


def _task(record: Any, where: str) -> Mapping[str, Any]:
    """A task's record, checked as far as it is used; polygons become tuples."""
    if not isinstance(record, dict):
        raise RecipeError(f"{where} must be an object, found a {type(record).__name__}.")
    lacking = [k for k in ("task_id", "image_id", "phrase", "Polygons") if k not in record]
    if lacking:
        raise RecipeError(
            f"{where} has no {', '.join(lacking)}. Is it refer_input_*.json, which has no truth?"
        )
    if not isinstance(record["phrase"], str) or not isinstance(record["image_id"], int):
        raise RecipeError(f"{where}: phrase must be a text and image_id a number.")
    polygons = record["Polygons"]
    if not isinstance(polygons, list) or not all(isinstance(part, list) for part in polygons):
        raise RecipeError(f"{where}: Polygons must be a list of polygons an instance.")
    structure = record.get("phrase_structure")
    structure = structure if isinstance(structure, dict) else {}
    for key, kind in _STRUCTURE.items():
        if not isinstance(structure.get(key), kind | None):
            raise RecipeError(
                f"{where}: phrase_structure.{key} must be a {kind.__name__}, found "
                f"{structure[key]!r:.80}."
            )
    return {
        "task_id": record["task_id"],
        "image_id": record["image_id"],
        "phrase": record["phrase"],
        "Polygons": tuple(
            tuple(_polygon(polygon, where) for polygon in instance) for instance in polygons
        ),
        "structure": structure,
    }


def _polygon(points: Any, where: str) -> _Polygon:
    try:
        array = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        array = np.full((1, 2), np.nan)
    if not (np.abs(array) < MAX_COORDINATE).all():
        raise RecipeError(f"{where}: a polygon must be a list of [x, y], found {points!r:.80}.")
    return array.astype(np.int32)


def _tags(task: Mapping[str, Any]) -> tuple[str, ...]:
    """The subsets of the API's evaluation that the annotation alone decides.

    ``p_att``, ``p_rel``: the phrase has attributes, relations (``p_attm``, ``p_relm``: several);
    ``p_name``, ``p_att+``, ``p_rel+``, ``p_verbose``: what tells it from other boxes; ``i_single``,
    ``i_multi``, ``i_many``: one instance, two to four, more.
    """
    structure = task["structure"]
    attributes = structure.get("attributes") or ()
    relations = structure.get("relation_descriptions") or ()
    kinds = {"name": "p_name", "attribute": "p_att+", "relation": "p_rel+", "verbose": "p_verbose"}
    num = len(task["Polygons"])
    tags = [
        ("p_att", len(attributes) > 0),
        ("p_attm", len(attributes) > 1),
        ("p_rel", len(relations) > 0),
        ("p_relm", len(relations) > 1),
        ("p_att_rel", len(attributes) > 0 and len(relations) > 0),
        (kinds.get(structure.get("type") or "", ""), structure.get("type") in kinds),
        ("i_single", num == 1),
        ("i_multi", 1 < num < MANY),
        ("i_many", num >= MANY),
    ]
    return tuple(name for name, holds in tags if holds)
