"""Polygons of vector layers as labels: moved onto a scene's grid, rasterised, cut by windows."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.geo.crs import Geometries
from t4spp.geo.rasterising import SceneShapes, mask_within, rasterising, to_map
from t4spp.geo.scenes import Scene, stamp_of
from t4spp.geo.vectors import read_layer
from t4spp.geo.windows import Window
from t4spp.schemes.labels import sanitise_label
from t4spp.types import BoolMask, Box
from t4spp_recipes.remote_sensing.configs import WindowsConfig
from t4spp_recipes.remote_sensing.label_sources import Found, Labels, check_label_names, placed

KEPT_SCENES = 64
"""Scenes whose polygons stay in memory on the scene's grid, a process."""
KEPT_BYTES = 128 * 2**20
"""Masks of polygons on the scene's grid that stay in memory, a process."""
LARGEST = 2**22
"""Pixels around a polygon: larger ones are rasterised anew in every window."""


class VectorLabels(Labels):
    """Polygons. They are moved onto a scene's grid once, and rasterised a window at a time."""

    single = True
    lasting = True

    def __init__(
        self,
        paths: Sequence[Path],
        config: WindowsConfig,
        counters: Counter[str],
        layer: str | None = None,
    ) -> None:
        """Read and name the polygons of files.

        Args:
            paths: vector files.
            config: says how polygons are named.
            counters: told of what is left out or changed.
            layer: where the files have several.

        Raises:
            GeoError: a file is damaged, has no CRS, or one that its coordinates contradict.
            RecipeError: no polygon is left, none has a label, or no file has the column
                ``label_property``.
        """
        import shapely

        check_label_names(config)
        self.all_touched = config.all_touched
        self._groups: list[tuple[Geometries, str, int]] = []  # a file's; number of the first
        self._labels: list[str | None] = []
        self._properties: list[Mapping[str, Any]] = []
        self._paths = tuple(paths)
        self._rules: dict[str, Any] = {
            "layer": layer,
            **{
                key: getattr(config, key)
                for key in ("label", "label_property", "rename", "values", "other", "all_touched")
            },
        }
        for path in paths:
            read = read_layer(path, layer)
            counters.update(read.counters)
            self._groups.append((read.geometries, read.crs, len(self._labels)))
            self._labels += [_label_of(item, config, counters) for item in read.properties]
            self._properties += read.properties
        if not self._labels:
            raise RecipeError(
                f"{', '.join(map(str, paths))}: no polygon among the features. Left out: "
                f"{dict(+counters) or 'nothing'}."
            )
        _check_column(config.label_property, self._properties, paths)
        self.classes = tuple(sorted({label for label in self._labels if label is not None}))
        if not self.classes:
            raise RecipeError(
                f"none of the {len(self._labels)} polygons has a label: label_property="
                f"{config.label_property!r}, values={config.values}. Check both, or give 'other' "
                "a name."
            )
        for geometries, _, _ in self._groups:
            shapely.prepare(geometries)
        self._on_scenes: OrderedDict[Path, list[tuple[SceneShapes, int]]] = OrderedDict()
        self._masks: OrderedDict[tuple[Path, int], tuple[Box, BoolMask] | None] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be made again."""
        remade = {"_on_scenes": OrderedDict(), "_masks": OrderedDict(), "_bytes": 0}
        return self.__dict__ | remade

    def __len__(self) -> int:
        """Number of polygons."""
        return len(self._labels)

    def properties(self, feature: int) -> Mapping[str, Any]:
        """The properties of a polygon."""
        return self._properties[feature]

    def named(self) -> Sequence[tuple[str | None, Mapping[str, Any]]]:
        """(class, properties) of every polygon."""
        return list(zip(self._labels, self._properties, strict=True))

    def fingerprint(self) -> tuple[object, ...]:
        """The files, and how their polygons are named."""
        files = tuple((str(path), *stamp_of(path)) for path in self._paths)
        return (*files, sorted(self._rules.items(), key=lambda item: item[0]))

    def outlines(self, scene: Scene, label: str) -> Sequence[Any] | None:
        """The polygons of a class on a scene; None where pixels that they touch belong to them."""
        if self.all_touched:
            return None
        return [
            outline
            for shapes, first in self._shapes(scene)
            for index, outline in zip(
                shapes.indices.tolist(), to_map(shapes.shapes, scene), strict=True
            )
            if self._labels[first + index] == label
        ]

    def count_outside(self, seen: npt.NDArray[np.int64]) -> Counter[str]:
        """``polygons_outside_scenes``."""
        return Counter(polygons_outside_scenes=len(self) - len(np.unique(seen)))

    def meets(self, scene: Scene) -> bool:
        """Whether a polygon lies on a scene."""
        return any(len(shapes.shapes) for shapes, _ in self._shapes(scene))

    def bounds(self) -> str:
        """Where the polygons of each file lie, for messages."""
        import shapely

        return "; ".join(
            f"{path.name}: x {box[0]:.6g} to {box[2]:.6g}, y {box[1]:.6g} to {box[3]:.6g} ({crs})"
            for path, (geometries, crs, _) in zip(self._paths, self._groups, strict=True)
            if (box := shapely.total_bounds(geometries)) is not None and geometries.size
        )

    def _shapes(self, scene: Scene) -> list[tuple[SceneShapes, int]]:
        """A scene's polygons on its grid, file by file, with the number of the file's first."""
        if scene.path in self._on_scenes:
            self._on_scenes.move_to_end(scene.path)
            return self._on_scenes[scene.path]
        made = [(SceneShapes(geometries, crs, scene), n) for geometries, crs, n in self._groups]
        self._on_scenes[scene.path] = made
        while len(self._on_scenes) > KEPT_SCENES:
            self._on_scenes.popitem(last=False)
        return made

    def found(self, scene: Scene, window: Window) -> tuple[list[Found], BoolMask | None]:
        """The polygons with a pixel in a window; every pixel is labelled."""
        return self._found(scene, window, None), None

    def masks(
        self, scene: Scene, window: Window, features: Sequence[int]
    ) -> tuple[dict[int, BoolMask], BoolMask | None]:
        """bool[H, W] of some polygons in a window."""
        found = self._found(scene, window, frozenset(features))
        return {item.feature: placed(item.box, item.mask, window.out_size) for item in found}, None

    def _found(self, scene: Scene, window: Window, wanted: frozenset[int] | None) -> list[Found]:
        found = []
        height, width = _inside(scene, window)
        with rasterising():
            for shapes, first in self._shapes(scene):
                for row in shapes.reaching(window.box).tolist():
                    feature = first + int(shapes.indices[row])
                    if wanted is not None and feature not in wanted:
                        continue
                    made = self._within(scene, shapes.shapes[row], feature, window)
                    cut = None if made is None else _cut(*made, height, width)
                    if cut is not None:
                        found.append(
                            Found(
                                feature=feature,
                                label=self._labels[feature],
                                box=cut[0],
                                mask=cut[1],
                            )
                        )
        return found

    def _within(
        self, scene: Scene, shape: Any, feature: int, window: Window
    ) -> tuple[Box, BoolMask] | None:
        """A polygon's pixels in a window; cut out of those in the scene where grids are one."""
        box = window.box
        left, top, right, bottom = shape.bounds
        around = Box(
            y0=max(int(np.floor(top)), 0),
            x0=max(int(np.floor(left)), 0),
            y1=min(int(np.ceil(bottom)), scene.size[0]),
            x1=min(int(np.ceil(right)), scene.size[1]),
        )
        resampled = (box.height, box.width) != window.out_size
        if resampled or around.height * around.width > LARGEST:
            return mask_within(shape, box, window.out_size, all_touched=self.all_touched)
        if around.height <= 0 or around.width <= 0:
            return None
        key = (scene.path, feature)
        if key in self._masks:
            self._masks.move_to_end(key)
        else:
            self._keep(key, around, mask_within(shape, around, all_touched=self.all_touched))
        whole = self._masks[key]
        return None if whole is None else _part(*whole, box)

    def _keep(self, key: tuple[Path, int], around: Box, made: tuple[Box, BoolMask] | None) -> None:
        """Remember a polygon's pixels in a scene's grid, and let those unused longest go."""
        if made is not None:
            tight, mask = made
            place = Box(
                y0=around.y0 + tight.y0,
                x0=around.x0 + tight.x0,
                y1=around.y0 + tight.y1,
                x1=around.x0 + tight.x1,
            )
            self._masks[key] = (place, mask)
            self._bytes += mask.nbytes
        else:
            self._masks[key] = None
        while self._bytes > KEPT_BYTES and len(self._masks) > 1:
            gone = self._masks.popitem(last=False)[1]
            self._bytes -= 0 if gone is None else gone[1].nbytes


def _part(place: Box, mask: BoolMask, window: Box) -> tuple[Box, BoolMask] | None:
    """The part of a mask in a window, in the window's pixels, without the empty ones around."""
    y0, x0 = max(place.y0, window.y0), max(place.x0, window.x0)
    y1, x1 = min(place.y1, window.y1), min(place.x1, window.x1)
    if y0 >= y1 or x0 >= x1:
        return None
    own = mask[y0 - place.y0 : y1 - place.y0, x0 - place.x0 : x1 - place.x0]
    tight = Box.of_mask(own)
    if tight is None:
        return None
    y, x = y0 - window.y0, x0 - window.x0
    return (
        Box(y0=y + tight.y0, x0=x + tight.x0, y1=y + tight.y1, x1=x + tight.x1),
        own[tight.slices],
    )


def _inside(scene: Scene, window: Window) -> tuple[int, int]:
    """Rows and columns of a window's picture whose centres lie in the scene."""
    box = window.box
    rows = (scene.size[0] - box.y0) * window.out_size[0] / box.height
    columns = (scene.size[1] - box.x0) * window.out_size[1] / box.width
    return (
        min(int(np.floor(rows + 0.5)), window.out_size[0]),
        min(int(np.floor(columns + 0.5)), window.out_size[1]),
    )


def _cut(box: Box, mask: BoolMask, height: int, width: int) -> tuple[Box, BoolMask] | None:
    """A mask without what lies beyond the scene, in padding."""
    if box.y1 <= height and box.x1 <= width:
        return box, mask
    kept = mask[: max(height - box.y0, 0), : max(width - box.x0, 0)]
    tight = Box.of_mask(kept) if kept.size else None
    if tight is None:
        return None
    own = Box(
        y0=box.y0 + tight.y0, x0=box.x0 + tight.x0, y1=box.y0 + tight.y1, x1=box.x0 + tight.x1
    )
    return own, kept[tight.slices].copy()


def _check_column(
    name: str | None, properties: Sequence[Mapping[str, Any]], paths: Sequence[Path]
) -> None:
    """Refuse a column that no file has; ``other`` would hide it."""
    if name is None or any(name in item for item in properties):
        return
    columns = sorted({column for item in properties for column in item})
    known = f"choose among {', '.join(map(repr, columns))}" if columns else "there are none at all"
    raise RecipeError(
        f"label_property: {', '.join(map(str, paths))}: no column {name!r}; {known}, or leave "
        "label_property out and name all polygons by 'label'."
    )


def _label_of(
    properties: Mapping[str, Any], config: WindowsConfig, counters: Counter[str]
) -> str | None:
    if config.label_property is None:
        return config.label
    value = properties.get(config.label_property)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value).strip()
    label: str | None = config.rename.get(text, text)
    if label:
        label, changed = sanitise_label(label)
        counters["labels_sanitised"] += changed
    if not label or (config.values is not None and label not in config.values):
        counters["polygons_without_label"] += 1
        label = config.other
    return label
