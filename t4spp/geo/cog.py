"""The mask of a scene as a Cloud-Optimised GeoTIFF, written row by row.

Finished rows are appended to a plain file of bytes; at the end GDAL makes tiles, overviews and
compression of it in one go. So nothing is held but the rows at hand, and a disk that fills is
noticed when the row is written.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from t4spp.errors import GeoError
from t4spp.geo.scenes import Scene
from t4spp.geo.stitching import Strip

NODATA = 255
"""What pixels hold where the scene has no data; 0 is outside, 1 inside."""
BLOCK = 512
"""Side of the tiles of the GeoTIFF, pixels."""


class MaskFile:
    """Takes the rows of a scene and makes a GeoTIFF of them, one band a phrase.

    Attributes:
        num_pixels: pixels inside, by label.
        num_valid: pixels of the scene with data.
    """

    def __init__(self, folder: Path, scene: Scene, labels: Sequence[str]) -> None:
        """Begin in a folder for files that are not finished.

        Args:
            folder: holds ``mask.raw`` and ``mask.vrt`` until ``finish``.
            scene: its size, CRS and transform.
            labels: name the bands.
        """
        self.scene = scene
        self.labels = tuple(labels)
        self.num_pixels = dict.fromkeys(self.labels, 0)
        self.num_valid = 0
        self._raw = folder / "mask.raw"
        self._num_rows = 0
        self._stream: IO[bytes] | None = self._raw.open("wb")

    def __enter__(self) -> MaskFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file of rows."""
        self._close()

    def rows(self, strip: Strip) -> None:
        """Append finished rows.

        Raises:
            OSError: they cannot be written.
        """
        if self._stream is None or strip.top != self._num_rows:
            raise ValueError(f"rows from {strip.top} on do not follow row {self._num_rows}")
        values = strip.masks.view(np.uint8)  # [P, R, W] of 0 and 1
        if not strip.valid.all():
            values = np.where(strip.valid, values, np.uint8(NODATA))
        for label, mask in zip(self.labels, strip.masks, strict=True):
            self.num_pixels[label] += int(np.count_nonzero(mask))
        self.num_valid += int(np.count_nonzero(strip.valid))
        # row by row, and in each row band by band
        lines: npt.NDArray[np.uint8] = np.ascontiguousarray(values.transpose(1, 0, 2))
        lines.tofile(self._stream)
        self._num_rows += strip.masks.shape[1]

    def finish(self, path: Path) -> None:
        """Write the GeoTIFF and remove what it was made of.

        Args:
            path: of the GeoTIFF; it is there completely or not at all.

        Raises:
            GeoError: GDAL cannot write it.
            ValueError: rows are missing.
        """
        if self._num_rows != self.scene.size[0]:
            raise ValueError(f"{self._num_rows} rows of {self.scene.size[0]} were written")
        self._close()
        layout = self._raw.with_suffix(".vrt")
        layout.write_text(self._layout(), encoding="utf-8")
        write_cog(layout, path)
        layout.unlink()
        self._raw.unlink()

    def _close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _layout(self) -> str:
        """GDAL's description of the plain bytes."""
        height, width = self.scene.size
        a, b, c, d, e, f = self.scene.transform
        line = width * len(self.labels)
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{number + 1}" subClass="VRTRawRasterBand">'
            f"<Description>{escape(label)}</Description><NoDataValue>{NODATA}</NoDataValue>"
            f'<SourceFilename relativeToVRT="1">{self._raw.name}</SourceFilename>'
            f"<ImageOffset>{number * width}</ImageOffset><PixelOffset>1</PixelOffset>"
            f"<LineOffset>{line}</LineOffset></VRTRasterBand>"
            for number, label in enumerate(self.labels)
        )
        return (
            f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">'
            f"<SRS>{escape(_wkt(self.scene.crs))}</SRS>"
            f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>"
            f"{bands}</VRTDataset>"
        )


def write_cog(source: Path, path: Path) -> None:
    """Copy a raster that GDAL reads into a Cloud-Optimised GeoTIFF.

    Overviews take the nearest pixel, so that they hold the same values as the raster.

    Raises:
        GeoError: it cannot be read or written; nothing is left at ``path``.
    """
    import rasterio
    import rasterio.shutil
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    partial = path.with_name(f"{path.name}.writing")
    try:
        with rasterio.Env(GDAL_CACHEMAX=64):
            rasterio.shutil.copy(
                source,
                partial,
                driver="COG",
                blocksize=BLOCK,
                compress="DEFLATE",
                overview_resampling="NEAREST",
                bigtiff="IF_SAFER",
                num_threads="ALL_CPUS",
            )
            with rasterio.open(partial) as written:  # a file cut short has no last block
                last = ((written.height - 1, written.height), (written.width - 1, written.width))
                written.read(window=last)
        partial.replace(path)
    except (RasterioError, CPLE_BaseError, OSError) as error:
        free = shutil.disk_usage(path.parent).free / 1e6
        raise GeoError(
            f"{path} cannot be written: {error}. {free:.0f} MB are free there; a mask needs about "
            "a byte a pixel and phrase while it is made. Free some space and try again."
        ) from error
    finally:
        for leftover in path.parent.glob(f"{partial.name}*"):
            leftover.unlink()


def _wkt(crs: str) -> str:
    from rasterio.crs import CRS

    return str(CRS.from_user_input(crs).to_wkt())
