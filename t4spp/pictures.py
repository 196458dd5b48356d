"""Reading a person's picture: upright, RGB, complete, or a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from t4spp.errors import ConfigError, RecipeError
from t4spp.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILPicture

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Suffixes that count as pictures in a folder."""


def as_image(picture: str | Path | PILPicture | Image) -> Image:
    """uint8[H, W, 3], RGB, of a path, a PIL picture or an array.

    Files and PIL pictures are turned upright as their EXIF orientation says; alpha is dropped;
    16-bit greys keep their upper eight bits.

    Raises:
        RecipeError: the file is missing, truncated or no picture.
        ConfigError: an array that is not uint8[H, W, 3] or uint8[H, W], or is empty.
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture)
    if isinstance(picture, str | Path):
        return read_upright(Path(picture))
    return _upright(picture)


def read_upright(path: Path) -> Image:
    """uint8[H, W, 3], RGB, of a file, turned as its EXIF orientation says.

    Raises:
        RecipeError: the file is missing, truncated or no picture.
    """
    from PIL import Image as PILImage

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RecipeError(f"the picture {path} {what}. Name a picture file.")
    try:
        with PILImage.open(path) as picture:
            return _upright(picture)
    except (OSError, SyntaxError, ValueError, EOFError, PILImage.DecompressionBombError) as error:
        raise RecipeError(
            f"{path} cannot be read as a picture: {error}. It may be truncated: fetch or save it "
            "again."
        ) from error


def _upright(picture: PILPicture) -> Image:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I;16") or turned.mode == "I":
        grey = np.clip(np.asarray(turned).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(turned.convert("RGB"), dtype=np.uint8).copy()


def _checked(array: Image) -> Image:
    shape, kind = tuple(array.shape), array.dtype
    grey = array.ndim == 2
    if kind != np.uint8 or not (grey or (array.ndim == 3 and shape[2] == 3)) or not array.size:
        raise ConfigError(
            f"a picture must be uint8[H, W, 3] (RGB, 0..255) or uint8[H, W], received "
            f"{kind}{list(shape)}. Convert it first, for example by PIL's convert('RGB')."
        )
    return np.repeat(array[..., None], 3, axis=2) if grey else array
