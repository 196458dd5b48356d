"""Rasters of classes as labels: on the scene's grid or another one, dense or sparse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.geo.crs import reproject_points, same_crs
from t4spp.geo.open_files import read_bands
from t4spp.geo.scenes import Scene, read_scene
from t4spp.geo.windows import Window
from t4spp.types import BoolMask, Box
from t4spp_recipes.remote_sensing.configs import GeoTiffConfig
from t4spp_recipes.remote_sensing.label_sources import Found, Labels, check_label_names

EIGHT = np.ones((3, 3), dtype=np.bool_)
"""Pixels that touch by a corner belong together."""


class ClassMapLabels(Labels):
    """Classes by value of a raster's first band, looked up at the centre of each pixel."""

    lasting = False

    def __init__(
        self, paths: Sequence[Path], scenes: Sequence[Scene], config: GeoTiffConfig
    ) -> None:
        """Pair rasters with scenes.

        Args:
            paths: label rasters; one serves all scenes, several are found by their stems.
            scenes: the labelled scenes.
            config: the classes by value.

        Raises:
            GeoError: a raster cannot be read or has no georeference.
            RecipeError: a scene has no raster, or one that does not overlap it.
        """
        assert config.classes is not None
        check_label_names(config, config.classes)
        self.single = config.targets == "instances"
        self.classes = tuple(sorted(set(config.classes.values())))
        self._class_of = dict(config.classes)
        self._background = config.background
        rasters = [read_scene(path) for path in paths]
        by_stem = {raster.path.stem: raster for raster in rasters}
        self._raster_of: dict[Path, Scene] = {}
        for scene in scenes:
            if len(rasters) == 1:
                raster = rasters[0]
            elif (stem := scene.path.stem + config.label_suffix) in by_stem:
                raster = by_stem[stem]
            else:
                raise RecipeError(
                    f"{scene.path} has no label raster: none of the {len(rasters)} files of "
                    f"'labels' has the stem {stem!r}. Set label_suffix, or leave the scene out."
                )
            _check_overlap(scene, raster)
            self._raster_of[scene.path] = raster

    def properties(self, feature: int) -> Mapping[str, Any]:
        """Nothing: a raster says no more than the class."""
        return {}

    def named(self) -> Sequence[tuple[str | None, Mapping[str, Any]]]:
        """The classes."""
        return [(name, {}) for name in self.classes]

    def fingerprint(self) -> tuple[object, ...]:
        """The rasters, and what their values mean."""
        pairs = [
            (str(scene), str(raster.path), raster.stamp)
            for scene, raster in self._raster_of.items()
        ]
        return (pairs, sorted(self._class_of.items()), self._background, self.single)

    def found(self, scene: Scene, window: Window) -> tuple[list[Found], BoolMask | None]:
        """The classes in a window (or their connected parts), and what is unlabelled."""
        from scipy.ndimage import find_objects, label

        values, known = class_values(self._raster_of[scene.path], scene, window)
        unlabelled = ~known
        unlabelled |= ~np.isin(values, [*self._class_of, *self._background])
        found: list[Found] = []
        for name in self.classes:
            own = [value for value, title in self._class_of.items() if title == name]
            mask = np.isin(values, own) & known
            parts, num = label(mask, EIGHT) if self.single else (mask.astype(np.int32), 1)
            for number, place in enumerate(find_objects(parts, num), start=1):
                if place is None:
                    continue
                rows, columns = place
                found.append(
                    Found(
                        feature=len(found),
                        label=name,
                        box=Box(y0=rows.start, x0=columns.start, y1=rows.stop, x1=columns.stop),
                        mask=np.asarray(parts[place] == number, dtype=np.bool_),
                    )
                )
        return found, unlabelled if unlabelled.any() else None


def class_values(raster: Scene, scene: Scene, window: Window) -> tuple[npt.NDArray[Any], BoolMask]:
    """A raster's values [H, W] at the centres of a window's pixels, and where there are any.

    The raster may have another CRS, grid or resolution; the nearest cell counts. Beyond the
    raster, beyond the scene, and where it holds no data, nothing is known.

    Raises:
        GeoError: the raster cannot be read, or has changed since its header was read.
    """
    box, (height, width) = window.box, window.out_size
    rows = box.y0 + (np.arange(height) + 0.5) * (box.height / height)
    columns = box.x0 + (np.arange(width) + 0.5) * (box.width / width)
    inside = (rows < scene.size[0])[:, None] & (columns < scene.size[1])[None, :]
    if raster.transform == scene.transform and same_crs(raster.crs, scene.crs):
        y = np.broadcast_to(rows[:, None], (height, width))
        x = np.broadcast_to(columns[None, :], (height, width))
    else:
        grid = np.stack(np.meshgrid(columns, rows), axis=2).reshape(-1, 2)
        points = reproject_points(scene.to_map(grid), scene.crs, raster.crs)
        cells = raster.to_pixels(points).reshape(height, width, 2)
        x, y = cells[..., 0], cells[..., 1]
    known = inside & (y >= 0) & (x >= 0) & (y < raster.size[0]) & (x < raster.size[1])
    values = np.zeros((height, width), dtype=np.dtype(raster.dtypes[0]))
    if not known.any():
        return values, known
    whole_y, whole_x = np.floor(y[known]).astype(np.int64), np.floor(x[known]).astype(np.int64)
    part = Box(
        y0=int(whole_y.min()),
        x0=int(whole_x.min()),
        y1=int(whole_y.max()) + 1,
        x1=int(whole_x.max()) + 1,
    )
    cells_read, valid = read_bands(raster, (1,), part)
    values[known] = cells_read[0][whole_y - part.y0, whole_x - part.x0]
    if valid is not None:
        known[known] = valid[whole_y - part.y0, whole_x - part.x0]
    return values, known


def _check_overlap(scene: Scene, raster: Scene) -> None:
    import shapely

    own = shapely.Polygon(scene.outline())
    other = shapely.Polygon(reproject_points(raster.outline(), raster.crs, scene.crs))
    if not own.intersects(other):
        raise RecipeError(
            f"{raster.path} does not overlap the scene {scene.path} that it should label: x "
            f"{other.bounds[0]:.6g} to {other.bounds[2]:.6g}, y {other.bounds[1]:.6g} to "
            f"{other.bounds[3]:.6g} against x {own.bounds[0]:.6g} to {own.bounds[2]:.6g}, y "
            f"{own.bounds[1]:.6g} to {own.bounds[3]:.6g} in the scene's CRS. Check both files' CRS."
        )
