"""One label in one scene: windows put together, each pixel counted once, objects compared.

Windows are blended and objects joined over their borders by the same stitcher that ``t4spp
predict`` uses (:mod:`t4spp.geo.stitching`), answers and truth alike. Everything happens on the
scene's own pixels, whatever the windows' ground resolution, so that runs at several resolutions are
scored against one truth; and strip by strip, so that memory does not grow with the scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from t4spp.evaluation.spatial import ObjectScores, object_scores
from t4spp.evaluation.spatial_windows import WindowAnswer
from t4spp.geo.blending import INSIDE
from t4spp.geo.stitching import Objects, SceneObject, Stitcher, Strip
from t4spp.types import BoolMask, Box, Region

if TYPE_CHECKING:
    from t4spp.geo.scenes import Scene


@dataclass(frozen=True, kw_only=True)
class SceneScore:
    """What one label scores in one scene. Areas in pixels are the scene's own pixels.

    Attributes:
        scene: path of the scene.
        name: its stem.
        label: the label.
        crs: of the scene and of the polygons.
        num_windows: that were put together.
        counted: pixels that count.
        intersection: of them, predicted and true.
        union: predicted or true.
        predicted_area: predicted.
        true_area: true.
        pixel_m2: square metres of a pixel.
        num_tokens: written for all windows; None where nothing tokenised an answer.
        objects: who is who among ``predicted`` and ``true``.
        predicted: shapely polygons of what was answered.
        true: shapely polygons of what is there.
    """

    scene: str
    name: str
    label: str
    crs: str
    num_windows: int
    counted: int
    intersection: int
    union: int
    predicted_area: int
    true_area: int
    pixel_m2: float
    num_tokens: int | None
    objects: ObjectScores
    predicted: Sequence[Any] = field(default=(), repr=False)
    true: Sequence[Any] = field(default=(), repr=False)

    @property
    def iou(self) -> float:
        """Intersection over union of all counted pixels; 1 where both masks are empty."""
        return self.intersection / self.union if self.union else 1.0

    @property
    def area_error(self) -> float | None:
        """``(predicted - true) / true``; None where nothing is true."""
        if not self.true_area:
            return None
        return (self.predicted_area - self.true_area) / self.true_area


@dataclass(kw_only=True, eq=False)
class _Pixels:
    """Counts of pixels, added strip by strip."""

    counted: int = 0
    intersection: int = 0
    predicted: int = 0
    true: int = 0

    def add(self, predicted: BoolMask, true: BoolMask, counted: BoolMask) -> None:
        self.counted += int(np.count_nonzero(counted))
        self.intersection += int(np.count_nonzero(predicted & true))
        self.predicted += int(np.count_nonzero(predicted))
        self.true += int(np.count_nonzero(true))


class _Finished:
    """Takes what a stitcher finishes: strips until they are compared, outlines for good."""

    def __init__(self) -> None:
        self.outlines: list[Any] = []
        self._strips: list[Strip] = []

    def rows(self, strip: Strip) -> None:
        self._strips.append(strip)

    def objects(self, objects: Sequence[SceneObject]) -> None:
        self.outlines.extend(item.outline for item in objects)

    def taken(self) -> list[Strip]:
        strips, self._strips = self._strips, []
        return strips


def score_scene(
    windows: Sequence[WindowAnswer],
    *,
    outlines: Sequence[Any] | None = None,
    iou: float,
    least_area: float,
) -> SceneScore:
    """Score the windows of one scene and label.

    An object is a region that the answer wrote, joined over the windows' borders; where no window
    has two of a label, it is a connected part of the mask. The truth is read alike.

    Args:
        windows: all of them, at least one.
        outlines: the true objects, shapely polygons in the scene's CRS, as far as they are known
            better than the windows' masks say; None: the windows' masks are the truth.
        iou: from which on a predicted and a true object are one.
        least_area: of objects, square metres.

    Raises:
        GeoError: the scene is gone or damaged.
    """
    from t4spp.geo.rasterising import to_map, to_pixels
    from t4spp.geo.scenes import read_scene

    first = windows[0]
    scene = read_scene(Path(first.scene))
    known = None
    if outlines is not None:
        known = _Outlines(to_pixels(_array(outlines), scene.crs, scene))
    answered, truth = _Finished(), _Finished()
    pixels = _Pixels()
    for mine, theirs in _stitched(windows, scene, answered, truth):
        counted = mine.valid
        true = theirs.masks[0]
        if known is not None:
            true = known.drawn(mine.top, counted)
        pixels.add(mine.masks[0], true, counted)
    predicted = _on_the_map(answered.outlines, to_map, scene)
    own = truth.outlines if known is None else known.clipped()
    true_objects = _on_the_map(own, to_map, scene)
    height, width = scene.pixel_size
    tokens = [window.num_tokens for window in windows]
    return SceneScore(
        scene=first.scene,
        name=scene.name,
        label=first.label,
        crs=scene.crs,
        num_windows=len(windows),
        counted=pixels.counted,
        intersection=pixels.intersection,
        union=pixels.predicted + pixels.true - pixels.intersection,
        predicted_area=pixels.predicted,
        true_area=pixels.true,
        pixel_m2=height * width,
        num_tokens=None if None in tokens else sum(number or 0 for number in tokens),
        objects=object_scores(predicted, true_objects, scene.crs, iou=iou, least_area=least_area),
        predicted=predicted,
        true=true_objects,
    )


def _stitched(
    windows: Sequence[WindowAnswer], scene: Scene, answered: _Finished, truth: _Finished
) -> Iterator[tuple[Strip, Strip]]:
    """Finished rows of the answer and of the truth, side by side."""
    label = windows[0].label
    stitchers = [
        Stitcher(scene.size, (label,), sink, objects=objects)
        for sink, objects in (
            (answered, _objects(len(window.regions) for window in windows)),
            (truth, _objects(len(window.targets) for window in windows)),
        )
    ]
    for window in sorted(windows, key=lambda window: (window.box.y0, window.box.x0)):
        counted = window.counted()
        regions = [_region(label, packed.levels()) for packed in window.regions]
        targets = [Region(label=label, mask=target.mask()) for target in window.targets]
        stitchers[0].add(window, regions, counted)
        stitchers[1].add(window, targets, counted)
        yield from zip(answered.taken(), truth.taken(), strict=True)
    for stitcher in stitchers:
        stitcher.finish()
    yield from zip(answered.taken(), truth.taken(), strict=True)


def _objects(counts: Iterable[int]) -> Objects:
    return "regions" if max(counts, default=0) > 1 else "parts"


def _region(label: str, levels: npt.NDArray[np.uint8]) -> Region:
    soft = levels.astype(np.float32) / np.float32(255)
    return Region(label=label, mask=levels >= INSIDE, soft=soft)


class _Outlines:
    """True objects that are known as polygons, drawn strip by strip."""

    def __init__(self, shapes: npt.NDArray[np.object_]) -> None:
        """Keep shapely polygons in the scene's pixels."""
        import shapely

        self.shapes = shapes
        self._bounds = shapely.bounds(shapes).reshape(-1, 4)
        self._seen = np.zeros(len(shapes), dtype=np.bool_)
        self._ground: list[Any] = []

    def drawn(self, top: int, counted: BoolMask) -> BoolMask:
        """The counted pixels of a strip whose centre lies in one of the shapes."""
        from t4spp.geo.rasterising import mask_within, rasterising
        from t4spp.geo.tracing import trace

        drawn = np.zeros_like(counted)
        if not counted.any():
            return drawn
        self._ground.extend(trace(counted.astype(np.int32), top).get(1, ()))
        height, width = counted.shape
        strip = Box(y0=top, x0=0, y1=top + height, x1=width)
        near = (self._bounds[:, 1] < strip.y1) & (self._bounds[:, 3] > strip.y0)
        with rasterising():
            for index in np.flatnonzero(near).tolist():
                found = mask_within(self.shapes[index], strip)
                if found is not None:
                    place = found[0].slices
                    own = found[1] & counted[place]
                    self._seen[index] |= own.any()
                    drawn[place] |= own
        return drawn

    def clipped(self) -> list[Any]:
        """The parts of the shapes on ground that counts, of those that have a pixel there."""
        import shapely

        from t4spp.geo.tracing import areal

        if not self._seen.any():
            return []
        parts = shapely.intersection(
            self.shapes[self._seen], shapely.union_all(_array(self._ground))
        )
        return [kept for part in parts if (kept := areal(part)) is not None]


def _on_the_map(shapes: Sequence[Any], to_map: Any, scene: Scene) -> list[Any]:
    return list(to_map(_array(shapes), scene)) if len(shapes) else []


def _array(polygons: Sequence[Any]) -> npt.NDArray[np.object_]:
    made = np.empty(len(polygons), dtype=object)
    for index, polygon in enumerate(polygons):
        made[index] = polygon
    return made
