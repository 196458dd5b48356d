"""Reading pictures: any colour mode becomes RGB by one rule, or a clear error. Shared by all.

The rule, for files, PIL pictures, a person's as a dataset's: grey is repeated, CMYK and the like
are converted without their ICC profile, transparency is laid over white, 16-bit values keep their
upper eight bits (divided by 256, so that black and white stay black and white), of several frames
the first counts. Only turning differs: see :func:`read_picture`.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from t4spp.errors import ConfigError, RecipeError
from t4spp.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PILPicture

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
"""Suffixes that count as pictures in a folder, the preferred ones first."""
BEHIND = (255, 255, 255)
"""The colour that transparency is laid over, RGB: what most programs show, and what scans have."""

_ORIENTATION = 0x0112
"""The EXIF tag: 1 upright, 3 upside down, 5 to 8 with sides exchanged."""
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What PIL raises on damaged files."""
_ACROSS = (5, 6, 7, 8)
"""Orientations that exchange height and width."""


def as_image(picture: str | Path | PILPicture | Image) -> Image:
    """uint8[H, W, 3], RGB, of a path, a PIL picture or an array; turned upright.

    Raises:
        RecipeError: the file is missing, truncated or no picture; or its pixels have no known
            range (floating point, more than 16 bits).
        ConfigError: an array that is not uint8[H, W, 3] or uint8[H, W], or is empty.
    """
    if isinstance(picture, np.ndarray):
        return _checked(picture)
    if isinstance(picture, str | Path):
        return read_picture(Path(picture))
    name = "the PIL picture"
    return _as_rgb(_turned(picture, _orientation(picture, name), upright=True), name)


def read_picture(path: Path, *, upright: bool = True) -> Image:
    """uint8[H, W, 3], RGB, of a file.

    Args:
        path: the file.
        upright: turn it as its EXIF orientation says, as a person sees it. A dataset's pictures
            stay as stored (False), since masks and boxes are written for the stored pixels; so
            :func:`picture_size` needs no more than the header.

    Raises:
        RecipeError: as in :func:`as_image`.
    """
    with _opened(path) as picture:
        turned = _turned(picture, _orientation(picture, str(path)), upright=upright)
        return _as_rgb(turned, str(path))


def read_values(path: Path) -> tuple[npt.NDArray[np.generic], str]:
    """The values of a file as stored, [H, W] or [H, W, channels], and PIL's name of its mode.

    Of a palette picture the indices. For masks, which are no pictures to look at.

    Raises:
        RecipeError: the file is missing, truncated or no picture.
    """
    with _opened(path) as picture:
        stored = _turned(picture, _orientation(picture, str(path)), upright=False)
        return np.array(stored), stored.mode


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) in pixels as stored, from the file's header.

    Raises:
        RecipeError: the file is missing or no picture.
    """
    with _opened(path) as picture:
        if picture.format == "TIFF" and _orientation(picture, str(path)) in _ACROSS:
            return picture.width, picture.height  # PIL states the upright size
        return picture.height, picture.width


def is_turned(path: Path) -> bool:
    """Whether a file's EXIF orientation exchanges height and width; False for what has none.

    Raises:
        RecipeError: the file is missing or no picture.
    """
    with _opened(path) as picture:
        return _orientation(picture, str(path)) in _ACROSS


@contextmanager
def _opened(path: Path) -> Iterator[PILPicture]:
    """A file opened by PIL, nothing decoded; damage that shows later names the file, too."""
    from PIL import Image as PILImage

    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RecipeError(f"the picture {path} {what}. Name a picture file.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # By a handle: by a path PIL maps plain TIFFs into memory, and those that are to be
            # turned by a quarter come out scrambled.
            with path.open("rb") as file, PILImage.open(file) as picture:
                yield picture
        except (*_UNREADABLE, PILImage.DecompressionBombError) as error:
            raise _unreadable(path, error) from error
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        logger.warning("%s: %s", path, message)  # of a file that could be read all the same


def _unreadable(path: Path, error: Exception) -> RecipeError:
    """The error for a file that PIL cannot read."""
    from PIL import Image as PILImage
    from PIL import UnidentifiedImageError

    if isinstance(error, PILImage.DecompressionBombError):
        return RecipeError(
            f"{path} cannot be read as a picture: {str(error).removesuffix('.')}. Its header asks "
            f"for more pixels than PIL decodes ({2 * (PILImage.MAX_IMAGE_PIXELS or 0)}): cut it "
            "into tiles, or scale it down. Do not trust the file if you expected a small picture."
        )
    reason = (
        "it has no format that PIL knows"
        if isinstance(error, UnidentifiedImageError)
        else str(error).removesuffix(".")
    )
    return RecipeError(
        f"{path} cannot be read as a picture: {reason}. It may be truncated: fetch, unpack or save "
        "it again."
    )


def _orientation(picture: PILPicture, name: str) -> int:
    """1 to 8, by EXIF; 1 where it says nothing, or is damaged. Ask before pixels are read."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except (*_UNREADABLE, TypeError, KeyError) as error:
        logger.warning("%s: its EXIF data are damaged (%s); it is read as stored", name, error)
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(picture: PILPicture, orientation: int, *, upright: bool) -> PILPicture:
    """A picture upright or as stored; PIL itself turns TIFFs upright when it decodes them."""
    from PIL.Image import Transpose

    turns = (
        None,
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    picture.load()
    is_upright = picture.format == "TIFF"
    if upright == is_upright:
        return picture
    # Back is the same way, but for the quarter turns.
    back = {6: 8, 8: 6}.get(orientation, orientation)
    turn = turns[(orientation if upright else back) - 1]
    return picture if turn is None else picture.transpose(turn)


def _as_rgb(picture: PILPicture, name: str) -> Image:
    mode = picture.mode
    if mode == "F":
        raise RecipeError(
            f"{name} cannot be read as a picture: its pixels are floating-point numbers, whose "
            "black and white nobody states. Save it with 8 or 16 bits a channel."
        )
    if mode == "I" or mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise RecipeError(
                f"{name} cannot be read as a picture: its pixels reach from {values.min()} to "
                f"{values.max()}, beyond 16 bits (0 to 65535). Save it with 8 or 16 bits a channel."
            )
        grey = (values >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.has_transparency_data:
        from PIL import Image as PILImage

        if mode == "La":
            picture = picture.convert("LA")  # the one mode without a way to RGBA
        behind = PILImage.new("RGBA", picture.size, (*BEHIND, 255))
        picture = PILImage.alpha_composite(behind, picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"), dtype=np.uint8).copy()


def _checked(array: Image) -> Image:
    shape, kind = tuple(array.shape), array.dtype
    grey = array.ndim == 2
    if kind != np.uint8 or not (grey or (array.ndim == 3 and shape[2] == 3)) or not array.size:
        raise ConfigError(
            f"a picture must be uint8[H, W, 3] (RGB, 0..255) or uint8[H, W], received "
            f"{kind}{list(shape)}. Convert it first, for example by PIL's convert('RGB')."
        )
    return np.repeat(array[..., None], 3, axis=2) if grey else array
