"""What is known to be in a scene: for backbones that answer from it, and to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from t4spp.errors import GeoError
from t4spp.geo.crs import area_m2
from t4spp.geo.rasterising import SceneShapes, mask_of, mask_within, rasterising
from t4spp.geo.scenes import Scene, stamp_of
from t4spp.geo.stitching import Strip
from t4spp.geo.vectors import read_layer
from t4spp.geo.windows import Window
from t4spp.types import BoolMask, Box, Target

SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")
"""What else belongs to a ``.shp``."""


def truth_stamp(path: Path) -> dict[str, list[int]]:
    """By name, the bytes and time of change in nanoseconds of a layer's files.

    Raises:
        GeoError: there is no such file.
    """
    files = [path]
    if path.suffix.lower() == ".shp":
        beside = [path.with_suffix(suffix) for suffix in SHAPEFILE]
        files += [one for one in beside if one.is_file()]
    return {one.name: list(stamp_of(one)) for one in files}


@dataclass(kw_only=True)
class Agreement:
    """How a phrase's mask of the whole scene agrees with the truth, each pixel once.

    Attributes:
        intersection: pixels that are inside in both.
        union: pixels that are inside in either.
        predicted: pixels of the mask.
        true: pixels of the truth where the scene has data.
        true_anywhere: pixels of the truth in the scene.
        true_area: square metres of the true polygons inside the scene, overlaps once.
    """

    intersection: int = 0
    union: int = 0
    predicted: int = 0
    true: int = 0
    true_anywhere: int = 0
    true_area: float = 0.0

    @property
    def iou(self) -> float | None:
        """Intersection over union; None where both are empty."""
        return self.intersection / self.union if self.union else None


class Truth:
    """The true polygons of a scene, by label.

    Attributes:
        agreements: by label; grows with the strips that :meth:`compare` is given.
    """

    def __init__(
        self, path: Path, scene: Scene, labels: Sequence[str], column: str | None = None
    ) -> None:
        """Read a vector layer.

        Args:
            path: of the layer.
            scene: onto whose grid the polygons are laid.
            labels: that are asked for.
            column: property whose value is the polygon's label; None: every polygon is of every
                label.

        Raises:
            GeoError: the layer cannot be read, does not meet the scene, or has no such column or
                label.
        """
        layer = read_layer(path)
        self._scene = scene
        self._shapes: dict[str, SceneShapes] = {}
        self.agreements: dict[str, Agreement] = {}
        values = [None if column is None else row.get(column) for row in layer.properties]
        if column is not None and not any(column in row for row in layer.properties):
            names = sorted({name for row in layer.properties for name in row})
            raise GeoError(f"{path} has no column {column!r}. Its columns: {', '.join(names)}.")
        for label in labels:
            chosen = np.array([column is None or str(v) == label for v in values], dtype=np.bool_)
            if not chosen.any():
                known = ", ".join(sorted({str(value) for value in values}))
                raise GeoError(
                    f"{path}: no polygon is a {label!r}. Values of {column!r}: {known:.300}."
                )
            shapes = SceneShapes(layer.geometries[chosen], layer.crs, scene)
            self._shapes[label] = shapes
            self.agreements[label] = Agreement(true_area=_area_within(shapes, scene))
        if not any(len(shapes.shapes) for shapes in self._shapes.values()):
            raise GeoError(
                f"{path}: none of its {len(layer.geometries)} polygons lies in {scene.path}. Check "
                "both coordinate reference systems."
            )

    def targets(self, window: Window, label: str) -> tuple[Target, ...]:
        """What a window shows of a label, bool[h, w] of the window's picture each."""
        shapes = self._shapes[label]
        found = []
        with rasterising():
            for number in shapes.reaching(window.box):
                part = mask_within(shapes.shapes[number], window.box, window.out_size)
                if part is not None:
                    mask = np.zeros(window.out_size, dtype=np.bool_)
                    mask[part[0].slices] = part[1]
                    found.append(Target(label=label, mask=mask))
        return tuple(found)

    def masks(self, strip: Strip, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        """The truth of a strip, bool[P, R, W]."""
        rows, width = strip.valid.shape
        box = Box(y0=strip.top, x0=0, y1=strip.top + rows, x1=width)
        found: list[BoolMask] = []
        for label in labels:
            shapes = self._shapes[label]
            found.append(mask_of(shapes.shapes[shapes.reaching(box)], box))
        return np.stack(found)

    def compare(self, strip: Strip, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Count how a strip agrees; returns its truth where there are data, bool[P, R, W]."""
        truth = self.masks(strip, labels)
        for label, mask, true in zip(labels, strip.masks, truth, strict=True):
            found = self.agreements[label]
            found.true_anywhere += int(np.count_nonzero(true))
            true &= strip.valid
            found.intersection += int(np.count_nonzero(mask & true))
            found.union += int(np.count_nonzero(mask | true))
            found.predicted += int(np.count_nonzero(mask))
            found.true += int(np.count_nonzero(true))
        return truth

    def report(self, areas: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
        """By label: IoU of the scene, and areas in square metres, where it has data.

        Args:
            areas: of the written objects, by label.
        """
        report: dict[str, dict[str, float | None]] = {}
        for label, found in self.agreements.items():
            # what lies where the scene has no data cannot be found
            seen = found.true / found.true_anywhere if found.true_anywhere else 0.0
            true_area = found.true_area * seen
            error = areas[label] / true_area - 1 if true_area else None
            report[label] = {
                "iou": found.iou,
                "area_m2": areas[label],
                "true_area_m2": true_area,
                "area_error": error,
            }
        return report


def _area_within(shapes: SceneShapes, scene: Scene) -> float:
    """Square metres of what lies in the scene; overlaps count once."""
    import shapely

    if not len(shapes.shapes):
        return 0.0
    height, width = scene.size
    whole = shapely.union_all(shapely.intersection(shapes.shapes, shapely.box(0, 0, width, height)))
    moved = shapely.transform(np.array([whole], dtype=object), scene.to_map)
    return float(area_m2(moved, scene.crs)[0])
