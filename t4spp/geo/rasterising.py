"""Polygons on the pixel grid of a scene, or of a window resampled from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.crs import Geometries, reproject
from t4spp.geo.scenes import Scene
from t4spp.types import BoolMask, Box


def to_pixels(geometries: Geometries, crs: str, scene: Scene) -> Geometries:
    """Geometries of a CRS in the scene's pixels, (column, row), corners at whole numbers.

    Vertices are moved into the scene's CRS, then by its inverse transform, which may be rotated
    or south-up; edges stay straight.

    Raises:
        GeoError: a vertex has no coordinates in the scene's CRS.
    """
    import shapely

    moved: Geometries = shapely.transform(reproject(geometries, crs, scene.crs), scene.to_pixels)
    return moved


def to_map(shapes: Geometries, scene: Scene) -> Geometries:
    """Geometries in the scene's pixels, (column, row), in the scene's CRS."""
    import shapely

    moved: Geometries = shapely.transform(np.asarray(shapes, dtype=object), scene.to_map)
    return moved


@contextmanager
def rasterising() -> Iterator[None]:
    """Enter GDAL once for many masks: entering takes longer than rasterising a building."""
    from rasterio import Env
    from rasterio.errors import NotGeoreferencedWarning

    with Env(), warnings.catch_warnings():
        # rasterio warns of the identity, which is what the scene's own first pixels have here
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def mask_within(
    shape: Any, box: Box, out_size: tuple[int, int] | None = None, *, all_touched: bool = False
) -> tuple[Box, BoolMask] | None:
    """The pixels of one shape in a window, without the empty ones around them.

    Args:
        shape: polygon in the scene's pixels, (column, row).
        box: the window in the scene's pixels.
        out_size: (H, W) of the window's picture; None: the box's own.
        all_touched: whether a pixel that the shape touches belongs to it; else the one whose
            centre lies inside.

    Returns:
        The tight box in the picture's pixels and bool[h, w] inside it; None when it has none.
    """
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    height, width = (box.height, box.width) if out_size is None else out_size
    down, across = height / box.height, width / box.width
    left, top, right, bottom = shape.bounds
    x0 = max(int(np.floor((left - box.x0) * across)), 0)
    y0 = max(int(np.floor((top - box.y0) * down)), 0)
    x1 = min(int(np.ceil((right - box.x0) * across)), width)
    y1 = min(int(np.ceil((bottom - box.y0) * down)), height)
    if y0 >= y1 or x0 >= x1:
        return None
    place = Affine(1 / across, 0.0, box.x0 + x0 / across, 0.0, 1 / down, box.y0 + y0 / down)
    burnt = rasterize(
        [(shape, 1)],
        out_shape=(y1 - y0, x1 - x0),
        transform=place,
        all_touched=all_touched,
        dtype="uint8",
    ).astype(np.bool_)
    tight = Box.of_mask(burnt)
    if tight is None:
        return None
    own = Box(y0=y0 + tight.y0, x0=x0 + tight.x0, y1=y0 + tight.y1, x1=x0 + tight.x1)
    return own, burnt[tight.slices].copy()


def mask_of(
    shapes: Iterable[Any],
    box: Box,
    out_size: tuple[int, int] | None = None,
    *,
    all_touched: bool = False,
) -> BoolMask:
    """bool[H, W] of a window: the union of shapes in the scene's pixels."""
    mask = np.zeros((box.height, box.width) if out_size is None else out_size, dtype=np.bool_)
    with rasterising():
        for shape in shapes:
            found = mask_within(shape, box, out_size, all_touched=all_touched)
            if found is not None:
                mask[found[0].slices] |= found[1]
    return mask


class SceneShapes:
    """The shapes of a scene, in its pixels, found by window.

    Attributes:
        shapes: object[N] of polygons in the scene's pixels, those that meet the scene.
        indices: int64[N], their numbers in what was given.
    """

    def __init__(self, geometries: Geometries, crs: str, scene: Scene) -> None:
        """Move geometries of ``crs`` onto the scene's grid and keep those that meet it."""
        import shapely

        near = near_scene(geometries, crs, scene)
        shapes = to_pixels(geometries[near], crs, scene)
        height, width = scene.size
        meets = shapely.intersects(shapes, shapely.box(0, 0, width, height))
        self.shapes: Geometries = shapes[meets]
        self.indices: npt.NDArray[np.int64] = near[meets]
        self._tree: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the tree, which is made again."""
        return self.__dict__ | {"_tree": None}

    def reaching(self, box: Box) -> npt.NDArray[np.int64]:
        """Rows of ``shapes`` whose bounds meet a window, ascending."""
        import shapely

        if self._tree is None:
            self._tree = shapely.STRtree(self.shapes)
        found = self._tree.query(shapely.box(box.x0, box.y0, box.x1, box.y1))
        return np.sort(np.asarray(found, dtype=np.int64))


def near_scene(geometries: Geometries, crs: str, scene: Scene) -> npt.NDArray[np.int64]:
    """Numbers of the geometries whose bounds meet the scene's, ascending.

    The scene's outline is taken into the geometries' CRS (its edges divided, since they bend), so
    that only what is near needs moving.
    """
    import shapely

    if geometries.size == 0:
        return np.zeros(0, dtype=np.int64)
    outline = shapely.Polygon(scene.outline())
    divided = shapely.segmentize(outline, max(outline.length / 64, 1e-12))
    own = reproject(np.array([divided], dtype=object), scene.crs, crs)[0].bounds
    margin_x, margin_y = 0.01 * (own[2] - own[0]), 0.01 * (own[3] - own[1])
    low = (own[0] - margin_x, own[1] - margin_y)
    high = (own[2] + margin_x, own[3] + margin_y)
    bounds = shapely.bounds(geometries)
    meets = (
        (bounds[:, 0] <= high[0])
        & (bounds[:, 2] >= low[0])
        & (bounds[:, 1] <= high[1])
        & (bounds[:, 3] >= low[1])
    )
    return np.flatnonzero(meets).astype(np.int64)
