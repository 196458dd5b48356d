"""How fast a scene passes through when the model costs nothing, and what memory that takes.

A scene is generated whose content repeats with the stride, so that every window shows the same:
the stand-in for a model has its one answer ready. The yardstick reads the same windows with plain
rasterio and writes one mask for each.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from t4spp.geo.cog import BLOCK, MaskFile
from t4spp.geo.layers import ObjectLayers
from t4spp.geo.overview import Overview
from t4spp.geo.pictures import PictureView, SceneReader
from t4spp.geo.predicting import stitch_scene
from t4spp.geo.scenes import read_options, read_scene
from t4spp.geo.stitching import SceneObject, Stitcher, Strip
from t4spp.geo.windows import WindowGrid, WindowView, plan_windows
from t4spp.types import BoolMask, Box, Region

logger = logging.getLogger(__name__)

LABEL = "building"
_MARGIN = 2
"""Pixels between the things of one stretch of ground and the next."""

Progress = Callable[[int], object]
"""Told how many windows have just been done."""
Begin = Callable[[int, str], AbstractContextManager[Progress]]
"""Given a number of windows and a title."""


def _unseen(total: int, title: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done: None)


@dataclass(frozen=True, kw_only=True)
class SceneBench:
    """What was measured.

    Attributes:
        scene: (H, W) in pixels.
        num_windows: of the grid.
        num_objects: in the written layer.
        seconds: of reading, blending and writing everything.
        yardstick_seconds: of reading and writing the same windows with plain rasterio.
        peak_rss_mb: most resident memory of the process meanwhile, MB; None where the system
            does not say.
        stage_seconds: of the windows, and of finishing the mask and the layers.
    """

    scene: tuple[int, int]
    num_windows: int
    num_objects: int
    seconds: float
    yardstick_seconds: float
    peak_rss_mb: float | None
    stage_seconds: dict[str, float]

    @property
    def ratio(self) -> float:
        """Scene pixels a second over the yardstick's."""
        return self.yardstick_seconds / self.seconds


def ground(stride: int) -> tuple[BoolMask, ...]:
    """One stretch of ground, bool[stride, stride] a thing; they do not touch.

    They fill about a quarter of every second cell of 96 pixels: two in 192 x 192 pixels, as dense
    as the buildings of a suburb at half a metre a pixel.
    """
    across = max(stride // 96, 1)
    cell = stride // across
    found: list[BoolMask] = []
    for number in range(0, across * across, 2 if across > 1 else 1):
        row, column = divmod(number, across)
        mask = np.zeros((stride, stride), dtype=np.bool_)
        y, x = row * cell + _MARGIN, column * cell + _MARGIN
        height, width = cell // 2 + number % 3, cell // 2 + (number * 5) % 7
        mask[y : y + height, x : x + width] = True
        if len(found) % 2:
            mask[y + height // 2 : y + height, x + width // 2 : x + width] = False  # L-shaped
        found.append(mask)
    return tuple(found)


def write_scene(path: Path, size: tuple[int, int], stride: int, compress: str) -> None:
    """A GeoTIFF of three bands, uint8, tiled, that repeats every ``stride`` pixels.

    Args:
        path: of the file.
        size: (H, W) in pixels.
        stride: after which the content repeats.
        compress: as GDAL calls it: ``deflate``, ``none``, ...
    """
    import rasterio
    from rasterio.transform import Affine

    height, width = size
    rng = np.random.default_rng(0)
    tile = rng.integers(60, 110, (3, stride, stride), dtype=np.uint8)
    for mask in ground(stride):
        tile[:, mask] += np.uint8(100)
    rows = np.tile(tile, (1, 1, -(-width // stride)))[:, :, :width]
    with (
        rasterio.Env(GDAL_CACHEMAX=64),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=3,
            dtype="uint8",
            crs="EPSG:32633",
            transform=Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0),
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            compress=compress,
            bigtiff="IF_SAFER",
            **({"zlevel": 1} if compress.lower() == "deflate" else {}),
        ) as dataset,
    ):
        for top in range(0, height, BLOCK):
            count = min(BLOCK, height - top)
            part = rows[:, (np.arange(top, top + count) % stride)]
            dataset.write(part, window=((top, top + count), (0, width)))


def ready_answer(window: int, stride: int) -> list[Region]:
    """What every window shows: whole things and those that its border cuts."""
    repeats = -(-window // stride)
    found: list[Region] = []
    for mask in ground(stride):
        for row in range(repeats):
            for column in range(repeats):
                whole = np.zeros((repeats * stride, repeats * stride), dtype=np.bool_)
                y, x = row * stride, column * stride
                whole[y : y + stride, x : x + stride] = mask
                shown = np.ascontiguousarray(whole[:window, :window])
                if shown.any():
                    soft = np.where(shown, np.float32(0.9), np.float32(0.0)).astype(np.float32)
                    found.append(Region(label=LABEL, mask=shown, soft=soft, box=Box.of_mask(shown)))
    return found


def bench_scene(
    folder: Path,
    size: tuple[int, int],
    window: int,
    stride: int,
    *,
    compress: str = "deflate",
    progress: Begin = _unseen,
) -> SceneBench:
    """Measure both, the yardstick first, so that the scene lies in the system's cache for both.

    Args:
        folder: an empty one, for the scene and what is written.
        size: (H, W) of the scene.
        window: side of a window, pixels.
        stride: from one window to the next, pixels.
        compress: of the scene.
        progress: given the number of windows and a title, makes a context whose value is told of
            windows done.
    """
    path = folder / "scene.tif"
    write_scene(path, size, stride, compress)
    scene = read_scene(path)
    grid = plan_windows(scene, WindowView(size=window, stride=stride))
    regions = ready_answer(window, stride)
    with progress(len(grid), "plain rasterio") as told:
        yardstick = _read_and_write(path, folder / "plain.tif", grid, regions[0].mask, told)
    (folder / "plain.tif").unlink()
    _forget_peak()
    began = time.perf_counter()
    overview = Overview(scene.size)
    with (
        progress(len(grid), "t4spp") as told,
        MaskFile(folder, scene, [LABEL]) as masks,
        ObjectLayers(folder, scene, [LABEL]) as layers,
    ):
        stitcher = Stitcher(scene.size, [LABEL], _Sink(masks, layers))
        stitch_scene(
            SceneReader(scene, PictureView()),
            grid,
            lambda pictures: [regions] * len(pictures),
            stitcher,
            watch=overview.add,
            progress=told,
        )
        stitched = time.perf_counter()
        masks.finish(folder / "mask.tif")
        written = time.perf_counter()
        layers.finish()
    ended = time.perf_counter()
    return SceneBench(
        scene=scene.size,
        num_windows=len(grid),
        num_objects=layers.num_objects[LABEL],
        seconds=ended - began,
        yardstick_seconds=yardstick,
        peak_rss_mb=_peak_mb(),
        stage_seconds={
            "windows": stitched - began,
            "mask": written - stitched,
            "layers": ended - written,
        },
    )


@dataclass(frozen=True, eq=False)
class _Sink:
    masks: MaskFile
    layers: ObjectLayers

    def rows(self, strip: Strip) -> None:
        self.masks.rows(strip)

    def objects(self, objects: Sequence[SceneObject]) -> None:
        self.layers.add(objects)


def _read_and_write(
    source: Path, path: Path, grid: WindowGrid, mask: BoolMask, progress: Progress
) -> float:
    """Seconds of plain rasterio: every window is read, and a mask of it written."""
    import rasterio

    began = time.perf_counter()
    answer = mask.astype(np.uint8)
    height, width = grid.scene.size
    with (
        rasterio.Env(**read_options()),
        rasterio.open(source) as scene,
        rasterio.open(path, "w", **_mask_profile(scene)) as masks,
    ):
        for window in grid:
            box = window.box
            y1, x1 = min(box.y1, height), min(box.x1, width)
            place = ((box.y0, y1), (box.x0, x1))
            scene.read(window=place)
            masks.write(answer[: y1 - box.y0, : x1 - box.x0], 1, window=place)
            progress(1)
    return time.perf_counter() - began


def _mask_profile(scene: Any) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": scene.height,
        "width": scene.width,
        "count": 1,
        "dtype": "uint8",
        "crs": scene.crs,
        "transform": scene.transform,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
    }


def _forget_peak() -> None:
    """Let the process's peak count from now, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        logger.info("the peak of resident memory counts from the process's start")


def _peak_mb() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
