"""Georeferenced rasters: what a file's header says, checked before any pixel is trusted."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import GeoError
from t4spp.geo.crs import ground_distance, is_geographic, metres_per_unit, parsed
from t4spp.types import Box, GeoRef

Affine = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f."""

SCALE_TOLERANCE = 0.01
"""A projected CRS whose scale is off by less than this counts as metric: UTM and national grids
do, Web Mercator away from the equator does not."""
CHECKED_BLOCKS = 4096
"""Blocks of a TIFF whose places are checked against the file's size; of more, evenly spread."""
LEAST_BLOCK_BYTES = 4
"""What a TIFF's directory spends on a block at the very least."""
MOST_PIXELS_A_BYTE = 1_000_000
"""A TIFF that promises more pixels a byte is refused: sparse files with blocks of 2048 x 2048
promise a quarter of it, compressed ones a thousandth."""
CACHE_MB = 128
"""Decoded blocks that GDAL keeps in memory, unless the variable GDAL_CACHEMAX says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the header of a georeferenced raster says; cheap, picklable and hashable.

    Attributes:
        path: the file.
        name: of the scene; the file's stem, unless whoever lists scenes renames it.
        size: (H, W) in pixels.
        crs: ``EPSG:n`` where it has a number, else WKT.
        transform: from (column, row), corners of pixels at whole numbers, to (x, y) in ``crs``.
        nodata: value of pixels without data; None without one.
        num_bands: bands in the file.
        dtypes: of each band, as numpy calls them.
        has_gaps: whether pixels without data are possible (no-data value, alpha, mask, floats).
        stamp: the file's bytes and time of change in nanoseconds, when the header was read.
        alpha: number of the band that is alpha, from 1; None without one.
    """

    path: Path
    name: str
    size: tuple[int, int]
    crs: str
    transform: Affine
    nodata: float | None
    num_bands: int
    dtypes: tuple[str, ...]
    has_gaps: bool
    stamp: tuple[int, int]
    alpha: int | None = None

    def to_map(self, pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """float64[N, 2] of (column, row), corners at whole numbers, to (x, y) of the CRS."""
        a, b, c, d, e, f = self.transform
        columns, rows = pixels[:, 0], pixels[:, 1]
        return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)

    def to_pixels(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """float64[N, 2] of (x, y) in the CRS to (column, row)."""
        a, b, c, d, e, f = self.transform
        scale = a * e - b * d
        x, y = points[:, 0] - c, points[:, 1] - f
        return np.stack([(e * x - b * y) / scale, (a * y - d * x) / scale], axis=1)

    def geo(self, box: Box, out_size: tuple[int, int] | None = None) -> GeoRef:
        """The georeference of a window.

        Args:
            box: the window in the scene's pixels; it may reach beyond the scene.
            out_size: (H, W) that it is resampled to; None: as it is.
        """
        height, width = (box.height, box.width) if out_size is None else out_size
        down, across = box.height / height, box.width / width
        x, y = self.to_map(np.array([[box.x0, box.y0]], dtype=np.float64))[0]
        a, b, _, d, e, _ = self.transform
        return GeoRef(
            crs=self.crs,
            transform=(a * across, b * down, float(x), d * across, e * down, float(y)),
            nodata=self.nodata,
            scene=str(self.path),
            box=box,
        )

    @property
    def whole(self) -> Box:
        """The box of the whole scene."""
        return Box(y0=0, x0=0, y1=self.size[0], x1=self.size[1])

    def outline(self, box: Box | None = None) -> npt.NDArray[np.float64]:
        """float64[4, 2]: the corners of a window (None: of the scene), (x, y) in the CRS."""
        box = self.whole if box is None else box
        corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
        return self.to_map(np.array(corners, dtype=np.float64))

    @property
    def pixel_size(self) -> tuple[float, float]:
        """(height, width) of a pixel in metres on the ground, at the scene's centre.

        In a projected CRS whose scale is right within 1 % (UTM, national grids) that is the pixel
        in the CRS's unit; else it is measured on the ellipsoid (degrees, Web Mercator).
        """
        row, column = self.size[0] / 2, self.size[1] / 2
        ends = [(column, row - 0.5), (column, row + 0.5), (column - 0.5, row), (column + 0.5, row)]
        points = self.to_map(np.array(ends, dtype=np.float64))
        starts, stops = points[[0, 2]], points[[1, 3]]
        ground = ground_distance(starts, stops, self.crs)
        if not is_geographic(self.crs):
            own = np.hypot(*(stops - starts).T) * metres_per_unit(self.crs)
            if not np.isfinite(ground).all() or np.allclose(own, ground, rtol=SCALE_TOLERANCE):
                ground = own
        return float(ground[0]), float(ground[1])


def read_options() -> dict[str, Any]:
    """GDAL's options while rasters are read: damaged data are an error, the cache is small.

    Whole PNG files are read row by row: at once, GDAL reads what a truncated one lacks as zeros.
    """
    options: dict[str, Any] = {
        "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
        "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    }
    if "GDAL_CACHEMAX" not in os.environ:
        options["GDAL_CACHEMAX"] = CACHE_MB
    return options


@contextmanager
def gdal_errors(path: Path) -> Iterator[None]:
    """Turn what rasterio raises inside into a :class:`GeoError` that names the file."""
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error of ours follows
            yield
    except (RasterioError, CPLE_BaseError, OSError) as error:
        reason = str(error.__cause__ or error).rstrip(". ")
        raise GeoError(
            f"{path} cannot be read as a raster: {reason}. Fetch or unpack the file again; it may "
            "be truncated, or no raster at all."
        ) from error


def stamp_of(path: Path) -> tuple[int, int]:
    """A file's bytes and time of change in nanoseconds.

    Raises:
        GeoError: there is no such file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise GeoError(
            f"{path} cannot be read: {error.strerror or error}. Check the path."
        ) from error
    return stat.st_size, stat.st_mtime_ns


def check_unchanged(scene: Scene) -> None:
    """Refuse a scene that was rewritten since its header was read.

    Raises:
        GeoError: size or time of change differ, or the file is gone.
    """
    now = stamp_of(scene.path)
    if now != scene.stamp:
        raise GeoError(
            f"{scene.path} has changed since it was indexed: {scene.stamp[0]} bytes then, {now[0]} "
            "now, or another time of change. Start again, and keep scenes as they are meanwhile."
        )


def read_scene(path: Path) -> Scene:
    """Read and check a header; no pixels.

    Raises:
        GeoError: the file is missing, no raster or truncated; it has no CRS, or no affine
            transform that can be inverted; it holds complex numbers; its header promises more
            pixels than the file can hold.
    """
    import rasterio
    from rasterio.enums import ColorInterp, MaskFlags

    path = Path(path).expanduser()
    stamp = stamp_of(path)
    with gdal_errors(path), rasterio.Env(**read_options()), rasterio.open(path) as dataset:
        if dataset.count == 0:
            raise GeoError(
                f"{path} holds no bands of its own but {len(dataset.subdatasets)} subdatasets. "
                "Convert the one wanted, for example by gdal_translate."
            )
        _check_georeference(path, dataset)
        if any(kind.startswith("complex") for kind in dataset.dtypes):
            raise GeoError(
                f"{path} holds complex numbers ({dataset.dtypes[0]}), which are no picture. "
                "Convert it, for example to amplitudes."
            )
        if dataset.driver == "GTiff":
            _check_blocks(path, dataset, stamp[0])
        number = dataset.crs.to_epsg()
        alpha = [i + 1 for i, kind in enumerate(dataset.colorinterp) if kind == ColorInterp.alpha]
        scene = Scene(
            path=path,
            name=path.stem,
            size=(dataset.height, dataset.width),
            crs=dataset.crs.to_wkt() if number is None else f"EPSG:{number}",
            transform=tuple(dataset.transform)[:6],
            nodata=dataset.nodata,
            num_bands=dataset.count,
            dtypes=tuple(str(kind) for kind in dataset.dtypes),
            has_gaps=any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums)
            or any(kind.startswith("float") for kind in dataset.dtypes),
            stamp=stamp,
            alpha=alpha[0] if alpha else None,
        )
    parsed(scene.crs)  # rasterio and pyproj bring databases of their own
    return scene


def _check_georeference(path: Path, dataset: Any) -> None:
    transform = dataset.transform
    if dataset.crs is None:
        raise GeoError(
            f"{path} has no CRS, so that nobody can say where it lies. Write the right one into "
            "it, for example by gdal_edit.py -a_srs EPSG:n."
        )
    if transform.is_identity:
        points = "has ground control points only" if dataset.gcps[0] else "has no affine transform"
        raise GeoError(
            f"{path} {points}, so that nothing can be laid over it. Write one, for example by "
            "gdal_translate -a_ullr, or gdalwarp where there are control points."
        )
    if transform.is_degenerate or not all(math.isfinite(value) for value in transform[:6]):
        raise GeoError(
            f"{path} has the affine transform {tuple(transform)[:6]}, which cannot be inverted: "
            "all pixels lie on one line. Write the right one, for example by gdal_edit.py."
        )


def _check_blocks(path: Path, dataset: Any, num_bytes: int) -> None:
    """Refuse a TIFF whose blocks would lie beyond the file's end."""
    planar = dataset.count if str(dataset.interleaving).lower().endswith("band") else 1
    height, width = dataset.block_shapes[0]
    rows, columns = -(-dataset.height // height), -(-dataset.width // width)
    blocks = rows * columns * planar
    promised = dataset.height * dataset.width
    if blocks * LEAST_BLOCK_BYTES > num_bytes or promised > num_bytes * MOST_PIXELS_A_BYTE:
        raise GeoError(
            f"{path} promises {dataset.height} x {dataset.width} pixels in {blocks} blocks, more "
            f"than its {num_bytes} bytes can hold. The header is damaged, or the file truncated; "
            "fetch it again."
        )
    chosen = np.unique(
        np.linspace(0, rows * columns - 1, min(rows * columns, CHECKED_BLOCKS)).astype(np.int64)
    )
    for band in (1, dataset.count) if planar > 1 else (1,):
        for index in chosen.tolist():
            place = f"{index % columns}_{index // columns}"
            offset = dataset.get_tag_item(f"BLOCK_OFFSET_{place}", dm="TIFF", bidx=band)
            if offset is None:  # a hole in a sparse file
                continue
            size = dataset.get_tag_item(f"BLOCK_SIZE_{place}", dm="TIFF", bidx=band)
            if int(offset) + int(size or 0) > num_bytes:
                raise GeoError(
                    f"{path} is truncated: its {dataset.height} x {dataset.width} pixels reach to "
                    f"byte {int(offset) + int(size or 0)} at least, the file ends at {num_bytes}. "
                    "Fetch it again."
                )
