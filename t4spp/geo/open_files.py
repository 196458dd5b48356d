"""Raster files that stay open in a process: few, bounded, never shared across a fork."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.scenes import Scene, check_unchanged, gdal_errors, read_options
from t4spp.types import BoolMask, Box

MAX_OPEN = 32
"""Files that stay open in a process."""


class _Handles:
    """Open files of this process, the one used longest ago closed first."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: OrderedDict[tuple[Path, tuple[int, int]], Any] = OrderedDict()
        self._pid = os.getpid()

    def get(self, scene: Scene) -> Any:
        """The dataset of a scene; opened here if need be."""
        import rasterio

        if self._pid != os.getpid():  # handles must not be shared across a fork: one file offset
            self._open, self._pid = OrderedDict(), os.getpid()
        key = (scene.path, scene.stamp)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        check_unchanged(scene)
        self._open[key] = rasterio.open(scene.path)
        while len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return self._open[key]

    def read(self, scene: Scene, bands: tuple[int, ...], box: Box) -> Any:
        """([B, h, w], channels beside each other; masks uint8[B, h, w] or None) of a box inside."""
        import rasterio

        window = box.slices
        with self._lock, gdal_errors(scene.path), rasterio.Env(**read_options()):
            dataset = self.get(scene)
            try:
                kind = np.result_type(*(dataset.dtypes[band - 1] for band in bands))
                # laid out as a picture is, so that none has to be turned round afterwards
                pixels = np.moveaxis(np.empty((box.height, box.width, len(bands)), kind), 2, 0)
                dataset.read(list(bands), window=window, out=pixels)
                masks = None
                if scene.has_gaps and scene.alpha not in bands:
                    masks = dataset.read_masks(list(bands), window=window)
            except (rasterio.errors.RasterioError, OSError):
                check_unchanged(scene)  # the better reason, if it is one
                raise
        check_unchanged(scene)
        return pixels, masks

    def close(self, scene: Scene) -> None:
        with self._lock:
            dataset = self._open.pop((scene.path, scene.stamp), None)
            if dataset is not None and self._pid == os.getpid():
                dataset.close()

    @property
    def paths(self) -> list[Path]:
        return [path for path, _ in self._open] if self._pid == os.getpid() else []


_handles = _Handles()
if hasattr(os, "register_at_fork"):  # another thread may hold the lock while a process forks
    os.register_at_fork(after_in_child=lambda: setattr(_handles, "_lock", threading.RLock()))


def open_paths() -> list[Path]:
    """Files that this process holds open, the one used longest ago first."""
    return _handles.paths


def close_scene(scene: Scene) -> None:
    """Close this process's handle of a scene; the next read opens it again."""
    _handles.close(scene)


def read_bands(
    scene: Scene, bands: tuple[int, ...], box: Box
) -> tuple[npt.NDArray[Any], BoolMask | None]:
    """Raw values [B, h, w] and valid bool[h, w] (None: all valid) of a box inside the scene.

    Valid is what the file's no-data value, alpha or mask says of any of the bands, and a number
    (neither NaN nor infinite) in all of them.

    Raises:
        GeoError: the file cannot be read, or has changed since its header was read.
    """
    pixels, masks = _handles.read(scene, bands, box)
    if not scene.has_gaps:
        return pixels, None
    if masks is not None:
        valid = (masks > 0).any(axis=0)
    elif scene.nodata is None:
        valid = np.ones(pixels.shape[1:], dtype=np.bool_)
    else:  # what the file calls alpha was asked for as a band: it masks nothing
        valid = (pixels != scene.nodata).any(axis=0)
    if pixels.dtype.kind == "f":
        valid &= np.isfinite(pixels).all(axis=0)
    return pixels, valid
