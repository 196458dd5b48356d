"""GeoTIFF tiles: headers, windows, pixels as uint8 RGB, and which pixels hold data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.types import BoolMask, Box, GeoRef, Image

TILE_SUFFIXES = (".tif", ".tiff")
STRETCH_SIDE = 1024
"""Pixels: percentiles of a larger tile are those of a version sampled down to this side."""

Affine = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x = a * column + b * row + c, y = d * column + e * row + f."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """What a GeoTIFF's header says.

    Attributes:
        path: the file.
        name: unique among a recipe's tiles; samples' ids begin with it.
        size: (H, W) in pixels.
        crs: ``EPSG:n`` where it has a number, else WKT.
        transform: from (column, row) to the CRS.
        nodata: value of pixels without data; None without one.
        bands: the band numbers of the picture, three or one.
        is_bytes: whether pixels are uint8, which are taken as they are.
        has_gaps: whether the file may hold pixels without data (no-data value, alpha, mask).
    """

    path: Path
    name: str
    size: tuple[int, int]
    crs: str
    transform: Affine
    nodata: float | None
    bands: tuple[int, ...]
    is_bytes: bool
    has_gaps: bool

    def geo(self, box: Box) -> GeoRef:
        """The georeference of a window."""
        x, y = self.to_map(np.array([[box.x0, box.y0]], dtype=np.float64))[0]
        a, b, _, d, e, _ = self.transform
        return GeoRef(crs=self.crs, transform=(a, b, float(x), d, e, float(y)), nodata=self.nodata)

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


def find_files(given: Path, suffixes: Sequence[str], what: str) -> list[Path]:
    """The files of a folder (not of its sub-folders), a pattern, or the one file, sorted.

    Raises:
        RecipeError: there is none.
    """
    given = given.expanduser()
    if given.is_file():
        return [given]
    if given.is_dir():
        found = sorted(path for path in given.iterdir() if path.suffix.lower() in suffixes)
    elif any(sign in str(given) for sign in "*?["):
        anchor = Path(given.anchor)
        found = sorted(
            path for path in anchor.glob(str(given.relative_to(anchor))) if path.is_file()
        )
    else:
        raise RecipeError(f"geo-polygons: {what}: {given} does not exist. Name a folder or a file.")
    if not found:
        raise RecipeError(
            f"geo-polygons: {what}: {given} holds no {' or '.join(suffixes)} file. Is it the right "
            "folder, and is it unpacked?"
        )
    return found


def read_tiles(paths: Sequence[Path], bands: tuple[int, ...] | None) -> tuple[Tile, ...]:
    """The headers of GeoTIFFs.

    Raises:
        RecipeError: a file cannot be read, has no georeference, or lacks a band.
    """
    stems = [path.stem for path in paths]
    repeated = (
        {stem for stem in stems if stems.count(stem) > 1} if len(set(stems)) < len(stems) else set()
    )
    return tuple(
        _header(
            path, f"{path.parent.name}-{path.stem}" if path.stem in repeated else path.stem, bands
        )
        for path in paths
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A rasterio dataset; what goes wrong while it is open names the file."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # an error of ours follows
            with rasterio.open(path) as dataset:
                yield dataset
    except (RasterioError, OSError) as error:
        raise RecipeError(
            f"{path} cannot be read as a GeoTIFF: {error}. Fetch or unpack the file again; it may "
            "be truncated."
        ) from error


def _header(path: Path, name: str, bands: tuple[int, ...] | None) -> Tile:
    from rasterio.enums import MaskFlags

    with _opened(path) as dataset:
        transform = dataset.transform
        if dataset.crs is None or transform.is_identity or transform.is_degenerate:
            raise RecipeError(
                f"{path} has no georeference (CRS and affine transform), so that polygons cannot "
                "be laid over it. Write one into the file, for example by gdal_translate -a_srs "
                "and -a_ullr."
            )
        chosen = bands or ((1, 2, 3) if dataset.count >= 3 else (1,))
        if max(chosen) > dataset.count:
            raise RecipeError(
                f"{path} has {dataset.count} bands, 'bands' names {list(chosen)}. Choose among 1 "
                f"to {dataset.count}."
            )
        number = dataset.crs.to_epsg()
        kinds = {dataset.dtypes[band - 1] for band in chosen}
        if any(kind.startswith("complex") for kind in kinds):
            raise RecipeError(f"{path} holds complex numbers, which are no picture. Convert it.")
        return Tile(
            path=path,
            name=name,
            size=(dataset.height, dataset.width),
            crs=dataset.crs.to_wkt() if number is None else f"EPSG:{number}",
            transform=tuple(transform)[:6],
            nodata=dataset.nodata,
            bands=chosen,
            is_bytes=kinds == {"uint8"},
            has_gaps=any(MaskFlags.all_valid not in flags for flags in dataset.mask_flag_enums)
            or any(kind.startswith("float") for kind in kinds),
        )


def cut(size: tuple[int, int], window: int | None, stride: int | None) -> list[Box]:
    """The windows of a tile, row by row; together they cover every pixel.

    The last window of a row or column ends at the tile's edge, so that all are equally large; a
    side shorter than ``window`` is one window long.
    """
    if window is None:
        return [Box(y0=0, x0=0, y1=size[0], x1=size[1])]
    step = window if stride is None else stride
    rows, columns = (_starts(length, window, step) for length in size)
    return [
        Box(y0=y, x0=x, y1=min(y + window, size[0]), x1=min(x + window, size[1]))
        for y in rows
        for x in columns
    ]


def _starts(length: int, window: int, step: int) -> list[int]:
    last = max(length - window, 0)
    return [*range(0, last, step), last]


def read_window(tile: Tile, box: Box, stretch: tuple[float, float]) -> Image:
    """uint8[H, W, 3] of a window. One band is repeated; what is not uint8 is stretched.

    Args:
        tile: the file.
        box: the window.
        stretch: percentiles of the tile's valid pixels, a band, that become 0 and 255; values
            beyond are clipped, pixels without data are 0.

    Raises:
        RecipeError: the file cannot be read.
    """
    with _opened(tile.path) as dataset:
        pixels = dataset.read(list(tile.bands), window=box.slices)
    if not tile.is_bytes:
        pixels = np.stack(
            [
                _stretched(band, limits)
                for band, limits in zip(
                    pixels, _limits(tile, stretch, _modified(tile)), strict=True
                )
            ]
        )
        pixels[:, ~read_valid(tile, box)] = 0
    image = np.moveaxis(pixels.astype(np.uint8, copy=False), 0, 2)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _stretched(band: npt.NDArray[Any], limits: tuple[float, float]) -> npt.NDArray[np.uint8]:
    low, high = limits
    scaled = (np.nan_to_num(band.astype(np.float64)) - low) * (255.0 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _modified(tile: Tile) -> int:
    try:
        return tile.path.stat().st_mtime_ns
    except OSError as error:
        raise RecipeError(f"{tile.path} cannot be read: {error.strerror or error}.") from error


@lru_cache(maxsize=256)
def _limits(
    tile: Tile, stretch: tuple[float, float], modified: int
) -> tuple[tuple[float, float], ...]:
    """What becomes 0 and 255 in each band: percentiles over the tile, not over a window."""
    height, width = tile.size
    shrink = max(1.0, max(height, width) / STRETCH_SIDE)
    shape = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    found = []
    with _opened(tile.path) as dataset:
        valid = dataset.dataset_mask(out_shape=shape) > 0
        for number in tile.bands:
            band = dataset.read(number, out_shape=shape)
            values = band[valid & np.isfinite(band)]
            low, high = np.percentile(values, stretch) if values.size else (0.0, 1.0)
            found.append((float(low), float(high)))
    return tuple(found)


def read_valid(tile: Tile, box: Box) -> BoolMask:
    """bool[H, W] of a window: where pixels hold data, in every band of the picture.

    Raises:
        RecipeError: the file cannot be read.
    """
    if not tile.has_gaps:
        return np.ones((box.height, box.width), dtype=np.bool_)
    with _opened(tile.path) as dataset:
        valid = dataset.dataset_mask(window=box.slices) > 0
        pixels = dataset.read(list(tile.bands), window=box.slices)
    return np.asarray(valid & np.isfinite(pixels).all(axis=0), dtype=np.bool_)
