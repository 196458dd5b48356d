"""COCO's JSON of instances: read, checked, and turned into masks on demand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.types import BoolMask

Id = int | str
Polygons = tuple[npt.NDArray[np.float64], ...]
"""Flat x, y, x, y, ... arrays of at least 6 numbers, in pixels."""

SMALL_AREA = 16.0
"""px^2: what is smaller on paper is rasterised once while reading, to see if a pixel is left."""

MAX_OUTSIDE = 100
"""Coordinates beyond this many times the picture's longer side are damage, not geometry."""

MAX_SIDE = 100_000
"""Pictures with a longer side are damage: a mask takes the product of both in bytes."""


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One picture of an annotation file. ``negatives``: names known to be absent (LVIS)."""

    id: Id
    name: str
    size: tuple[int, int]
    negatives: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Instance:
    """One annotation: polygons or a run-length code of the whole picture.

    ``more_rles``: further codes of the same annotation (refCLEF's are lists of codes), united with
    the first.
    """

    id: Id
    image_id: Id
    category: str
    crowd: bool
    polygons: Polygons = ()
    rle: dict[str, Any] | None = None
    more_rles: tuple[dict[str, Any], ...] = ()
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def mask(self, size: tuple[int, int], where: str) -> BoolMask:
        """bool[H, W]; several polygons or codes are united, so that overlaps stay inside.

        Args:
            size: (H, W) of the picture.
            where: the annotation file, for errors.

        Raises:
            RecipeError: the run-length code is damaged or made for another size.
        """
        from pycocotools import mask as coco_mask

        if self.rle is None:
            codes = coco_mask.frPyObjects(list(self.polygons), *size)
            return np.asarray(coco_mask.decode(coco_mask.merge(codes)), dtype=np.bool_)
        codes = [self._code(rle, size, where) for rle in (self.rle, *self.more_rles)]
        return np.asarray(coco_mask.decode(coco_mask.merge(codes)), dtype=np.bool_)

    def layers(self, size: tuple[int, int], where: str) -> npt.NDArray[np.uint8]:
        """uint8[H, W, parts]: each polygon or code by itself, for who counts overlaps.

        Raises:
            RecipeError: as :meth:`mask`.
        """
        from pycocotools import mask as coco_mask

        if self.rle is None:
            codes = coco_mask.frPyObjects(list(self.polygons), *size)
        else:
            codes = [self._code(rle, size, where) for rle in (self.rle, *self.more_rles)]
        return np.asarray(coco_mask.decode(codes), dtype=np.uint8)

    def _code(self, rle: dict[str, Any], size: tuple[int, int], where: str) -> Any:
        """A compressed code for pycocotools, checked: a damaged one would write past its buffer."""
        from pycocotools import mask as coco_mask

        height, width = size
        if rle.get("size") != [height, width]:
            raise RecipeError(
                f"{where}: annotation {self.id} is run-length coded for size "
                f"{rle.get('size')} (height, width), its image is {height} x {width}. "
                "Fetch the annotations again, or drop this one."
            )
        counts = rle["counts"]
        if isinstance(counts, list):
            if any(not isinstance(run, int) or run < 0 for run in counts) or (
                sum(counts) != height * width
            ):
                raise RecipeError(
                    f"{where}: annotation {self.id} has run lengths that do not add up to its "
                    f"image's {height} x {width} pixels. Fetch the annotations again."
                )
            return coco_mask.frPyObjects(rle, height, width)
        if sum(_decode_counts(counts)) != height * width:
            raise RecipeError(
                f"{where}: annotation {self.id} has a compressed run-length code that does "
                f"not cover its image's {height} x {width} pixels. Fetch the annotations again."
            )
        return {"size": [height, width], "counts": counts.encode("ascii")}


def _decode_counts(text: str) -> list[int]:
    """Run lengths of COCO's compressed code (5 bits a character, deltas to two runs before)."""
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            if position >= len(text):
                return []
            part = ord(text[position]) - 48
            if not 0 <= part < 64:
                return []
            value |= (part & 0x1F) << shift
            more = bool(part & 0x20)
            position += 1
            shift += 5
            if not more and part & 0x10:
                value |= -1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            return []
    return runs


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoFile:
    """An annotation file in memory, without its pictures.

    Attributes:
        path: the JSON file.
        images: pictures by id, in the file's order.
        instances: annotations by image id, in the file's order; images without any are absent.
        categories: names in the file's order.
        counters: annotations left out, by reason.
        left_out: of each annotation that was left out, the reason (a counter's name).
    """

    path: Path
    images: dict[Id, ImageRecord]
    instances: dict[Id, tuple[Instance, ...]]
    categories: tuple[str, ...]
    counters: Counter[str]
    left_out: Mapping[Id, str] = field(default_factory=dict)


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Raises:
        RecipeError: it is missing or malformed; names file, line and column.
    """
    path = path.expanduser()
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RecipeError(
            f"{what} {path} is not valid JSON: {error.msg} at line {error.lineno}, column "
            f"{error.colno}. The file may be truncated; fetch it again."
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{what} {path} is not UTF-8 text: {error.reason}.") from error
    except OSError as error:
        raise RecipeError(
            f"{what} {path} cannot be read: {error.strerror or error}. COCO's annotations are at "
            "https://cocodataset.org/#download (CC BY 4.0; the pictures have their own licences)."
        ) from error


def read_coco(path: Path, only: Collection[Id] | None = None) -> CocoFile:
    """Read and check an annotation file; degenerate annotations are left out and counted.

    Args:
        path: the JSON file.
        only: ids of the annotations that are wanted; the others are passed over, and the
            categories need not be listed. None: every annotation.

    Raises:
        RecipeError: the file is missing, malformed, or contradicts itself.
    """
    path = path.expanduser()
    content = read_json(path, "the annotation file")
    if not isinstance(content, dict):
        raise RecipeError(
            f"{path}: expected an object with images, annotations and categories, found a "
            f"{type(content).__name__}. Is it a results file, not an annotation file?"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise RecipeError(
                f"{path}: the list {key!r} is missing; an instances file has images, annotations "
                f"and categories, this one has {', '.join(map(str, content)) or 'nothing'}."
            )
    names: dict[Id, str] = {}
    for index, category in enumerate(content["categories"]):
        names[_field(category, "id", (int, str), path, f"categories[{index}]")] = _field(
            category, "name", (str,), path, f"categories[{index}]"
        )
    images = _read_images(content["images"], names, path)
    instances, left_out = _read_instances(content["annotations"], images, names, path, only)
    return CocoFile(
        path=path,
        images=images,
        instances=instances,
        categories=tuple(dict.fromkeys(names.values())),
        counters=Counter(left_out.values()),
        left_out=left_out,
    )


def _field(record: Any, key: str, types: tuple[type, ...], path: Path, where: str) -> Any:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, types) or isinstance(value, bool):
        wanted = " or ".join(kind.__name__ for kind in types)
        raise RecipeError(f"{path}: {where}.{key} must be {wanted}, found {value!r:.80}.")
    return value


def _read_images(records: list[Any], names: dict[Id, str], path: Path) -> dict[Id, ImageRecord]:
    images: dict[Id, ImageRecord] = {}
    for index, record in enumerate(records):
        where = f"images[{index}]"
        identity = _field(record, "id", (int, str), path, where)
        if identity in images:
            raise RecipeError(f"{path}: {where}.id {identity!r} occurs twice; ids must be unique.")
        size = tuple(_field(record, key, (int,), path, where) for key in ("height", "width"))
        if not 0 < min(size) <= max(size) <= MAX_SIDE:
            raise RecipeError(
                f"{path}: {where} has the size {size[0]} x {size[1]} pixels; sides are 1 to "
                f"{MAX_SIDE}. Fetch the annotations again."
            )
        # LVIS has no file_name, only COCO's address of the picture.
        key = "file_name" if "file_name" in record or "coco_url" not in record else "coco_url"
        name = _field(record, key, (str,), path, where)
        negatives = record.get("neg_category_ids")
        images[identity] = ImageRecord(
            id=identity,
            name=name if key == "file_name" else name.rsplit("/", 1)[-1],
            size=(size[0], size[1]),
            negatives=None
            if negatives is None
            else tuple(names[number] for number in negatives if number in names),
        )
    return images


def _read_instances(
    records: list[Any],
    images: dict[Id, ImageRecord],
    names: dict[Id, str],
    path: Path,
    only: Collection[Id] | None,
) -> tuple[dict[Id, tuple[Instance, ...]], dict[Id, str]]:
    left_out: dict[Id, str] = {}
    grouped: dict[Id, list[Instance]] = {}
    seen: set[Id] = set()
    for index, record in enumerate(records):
        where = f"annotations[{index}]"
        identity = _field(record, "id", (int, str), path, where)
        if identity in seen:
            raise RecipeError(f"{path}: {where}.id {identity!r} occurs twice; ids must be unique.")
        seen.add(identity)
        if only is not None and identity not in only:
            continue
        image_id = _field(record, "image_id", (int, str), path, where)
        category_id = _field(record, "category_id", (int, str), path, where)
        if category_id not in names and only is None:
            raise RecipeError(
                f"{path}: {where} has category_id {category_id!r}, which is not among the "
                f"{len(names)} categories of the file."
            )
        if image_id not in images:
            left_out[identity] = "annotations_without_image"
            continue
        polygons, rles, fault = _shape(record.get("segmentation"))
        limit = MAX_OUTSIDE * max(images[image_id].size)
        if any(np.abs(polygon).max() > limit for polygon in polygons):
            fault = "annotations_malformed"  # pycocotools' memory grows with the coordinates
        instance = Instance(
            id=identity,
            image_id=image_id,
            category=names.get(category_id, str(category_id)),
            crowd=bool(record.get("iscrowd", 0)),
            polygons=polygons,
            rle=rles[0] if rles else None,
            more_rles=rles[1:],
            box=_box(record.get("bbox")),
        )
        if not fault and _is_small(instance):
            empty = not instance.mask(images[image_id].size, str(path)).any()
            fault = "annotations_with_zero_area" if empty else ""
        if fault:
            left_out[identity] = fault
            continue
        grouped.setdefault(image_id, []).append(instance)
    return {key: tuple(value) for key, value in grouped.items()}, left_out


def _box(value: Any) -> tuple[float, float, float, float]:
    """COCO's (x, y, width, height); empty where there is none."""
    if not isinstance(value, list) or len(value) != 4:
        return (0.0, 0.0, 0.0, 0.0)
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in value):
        return (0.0, 0.0, 0.0, 0.0)
    return float(value[0]), float(value[1]), float(value[2]), float(value[3])


def _shape(segmentation: Any) -> tuple[Polygons, tuple[dict[str, Any], ...], str]:
    """Polygons or RLEs, and the counter of what is wrong ("" if nothing is)."""
    codes = [segmentation] if isinstance(segmentation, dict) else segmentation
    if isinstance(codes, list) and codes and all(isinstance(code, dict) for code in codes):
        if all(isinstance(code.get("counts"), list | str) for code in codes):
            return (), tuple(codes), ""
        return (), (), "annotations_malformed"
    if not segmentation:
        return (), (), "annotations_without_segmentation"
    if not isinstance(segmentation, list):
        return (), (), "annotations_malformed"
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    try:
        arrays = [np.asarray(part, dtype=np.float64) for part in parts]
    except (TypeError, ValueError):
        return (), (), "annotations_malformed"
    if any(array.ndim != 1 or not np.isfinite(array).all() for array in arrays):
        return (), (), "annotations_malformed"
    kept = tuple(array for array in arrays if array.size >= 6 and array.size % 2 == 0)
    return kept, (), "" if kept else "annotations_with_under_6_coordinates"


def _covers_nothing(rle: dict[str, Any]) -> bool:
    counts = rle["counts"]
    runs = counts if isinstance(counts, list) else _decode_counts(counts)
    if any(not isinstance(run, int) for run in runs):
        return False  # damaged: told when it is decoded
    return sum(runs[1::2]) == 0


def _is_small(instance: Instance) -> bool:
    if instance.rle is not None:
        return all(_covers_nothing(rle) for rle in (instance.rle, *instance.more_rles))
    area = 0.0
    for polygon in instance.polygons:
        x, y = polygon[0::2], polygon[1::2]
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return area < SMALL_AREA
