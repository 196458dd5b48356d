"""Pictures in the formats that people bring, written by hand where PIL writes none."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 0x0112


def write_png(path: Path, pixels: np.ndarray, extra: bytes = b"") -> Path:
    """A PNG of uint8 or uint16 [H, W, channels], 16 bits big-endian as the format wants.

    ``extra``: chunks to put before the pixels.
    """
    height, width, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2" if depth == 16 else np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(raw))
        + png_chunk(b"IEND", b"")
    )
    return path


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_bomb(path: Path) -> Path:
    """A PNG of a few bytes whose header asks for 30000 x 30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"0"))
    )
    return path


def write_turned(path: Path, stored: np.ndarray, orientation: int) -> Path:
    """A file whose EXIF orientation says how to turn ``stored``; without loss but for JPEG.

    A TIFF called ``packed`` is compressed, which PIL reads by another way.
    """
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    options = {".webp": {"lossless": True}, ".tif": {}}.get(path.suffix, {})
    if path.stem == "packed":
        options = {"compression": "tiff_lzw"}
    Image.fromarray(stored).save(path, exif=exif, **options)
    return path


def write_odd_pictures(folder: Path) -> list[Path]:
    """One picture of each format that must be read; 32 x 48 where the format does not matter."""
    colours = np.zeros((32, 48, 3), dtype=np.uint8)
    colours[:, :24] = (250, 10, 20)
    colours[8:24, 30:40] = (10, 20, 250)
    plain = Image.fromarray(colours)
    alpha = np.full((32, 48, 1), 255, dtype=np.uint8)
    alpha[:, 40:] = 0
    deep = colours.astype(np.uint16) * 257
    plain.convert("CMYK").save(folder / "cmyk.jpg")
    plain.convert("P").save(folder / "palette.png", transparency=0)
    plain.convert("1").save(folder / "bits.png")
    plain.convert("LA").save(folder / "grey-alpha.png")
    write_png(folder / "alpha.png", np.concatenate([colours, alpha], axis=2))
    write_png(folder / "deep-grey.png", deep[..., :1])
    write_png(folder / "deep-rgb.png", deep)
    write_turned(folder / "turned.jpg", colours, 6)
    Image.fromarray(deep[..., 0]).save(folder / "deep-tiff.tif")
    Image.fromarray(np.full((1, 4000, 3), 90, dtype=np.uint8)).save(folder / "thin.png")
    Image.fromarray(np.full((4000, 1, 3), 90, dtype=np.uint8)).save(folder / "tall.png")
    return sorted(folder.iterdir())
