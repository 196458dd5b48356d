"""Reading class maps: arrays of class ids, whatever file they come in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from t4spp import pictures
from t4spp.errors import RecipeError
from t4spp.types import Box, Image
from t4spp_recipes.natural.pictures import PictureFile, read_class_map

ClassMap = npt.NDArray[np.int32]
"""int32[H, W] of class ids."""
UNKNOWN_COLOUR = -2
"""The id of a pixel whose colour is not in the dataset's palette."""


class MapReader(Protocol):
    """Makes class ids of a file; picklable."""

    @property
    def name(self) -> str:
        """Tells readers apart in the key of an index."""

    def __call__(self, path: Path) -> ClassMap:
        """int32[H, W], read-only.

        Raises:
            RecipeError: the file cannot be read, or holds something else.
        """


@dataclass(frozen=True)
class PlainMaps:
    """Grey values, or a palette picture's indices."""

    name: str = "ids"

    def __call__(self, path: Path) -> ClassMap:
        """int32[H, W], read-only."""
        return read_class_map(path)


PLAIN = PlainMaps()


@dataclass(frozen=True, kw_only=True)
class ColourMaps:
    """Pictures in which every class has a colour.

    Attributes:
        palette: (red, green, blue) of the ids 0, 1, ...
        unknown: the id of every other colour.
        name: tells palettes apart.
    """

    palette: tuple[tuple[int, int, int], ...]
    name: str
    unknown: int = UNKNOWN_COLOUR

    def __call__(self, path: Path) -> ClassMap:
        """int32[H, W], read-only."""
        packed = read_packed_colours(path)
        class_map = np.full(packed.shape, self.unknown, dtype=np.int32)
        for number, (red, green, blue) in enumerate(self.palette):
            class_map[packed == (red << 16 | green << 8 | blue)] = number
        class_map.setflags(write=False)
        return class_map


def read_packed_colours(path: Path) -> ClassMap:
    """int32[H, W] of red << 16 | green << 8 | blue, read-only; the last two stay decoded.

    Raises:
        RecipeError: the file is missing, damaged, or not a picture of three 8-bit channels.
    """
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read as a mask: {error.strerror or error}. Fetch or unpack the "
            "file again."
        ) from error
    return _packed_colours(path, modified)


@lru_cache(maxsize=2)
def _packed_colours(path: Path, modified: int) -> ClassMap:
    values, mode = pictures.read_values(path)
    if mode not in ("RGB", "RGBA"):
        raise RecipeError(
            f"the mask {path} has colour mode {mode}, where a colour a class is expected (RGB). "
            "Is it a mask that another program has converted? Fetch the original again."
        )
    packed = values[..., 0].astype(np.int32)
    for channel in (1, 2):  # one at a time: a scene of 60 million pixels is 240 MB
        packed <<= 8
        packed |= values[..., channel].astype(np.int32)
    packed.setflags(write=False)
    return packed


PADDING = -1
"""The id of what lies beyond a mask in a window that reaches beyond it: never scored."""


def cut(class_map: ClassMap, box: Box) -> ClassMap:
    """The window of a class map, int32[box.height, box.width]; ``PADDING`` beyond the map."""
    part = class_map[box.slices]
    if part.shape == (box.height, box.width):
        return part
    padded = np.full((box.height, box.width), PADDING, dtype=np.int32)
    padded[: part.shape[0], : part.shape[1]] = part
    return padded


@dataclass(frozen=True, kw_only=True)
class PictureWindow:
    """Reads a window of a picture when called; black beyond the picture."""

    file: PictureFile
    window: Box

    def __call__(self) -> Image:
        """uint8[H, W, 3].

        Raises:
            RecipeError: the file cannot be read, or is of another size than its masks.
        """
        part = self.file()[self.window.slices]
        image = np.zeros((self.window.height, self.window.width, 3), dtype=np.uint8)
        image[: part.shape[0], : part.shape[1]] = part
        return image
