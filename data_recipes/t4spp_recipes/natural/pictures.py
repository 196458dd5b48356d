"""Reading pictures and class maps from disk, with errors that name the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from t4spp import pictures
from t4spp.errors import RecipeError
from t4spp.pictures import PICTURE_SUFFIXES
from t4spp.types import Image

_COCO_NUMBER = re.compile(r"(\d{12})$")


def require_folder(path: Path, what: str, advice: str) -> Path:
    """``path``, expanded, if it is a folder.

    Raises:
        RecipeError: it is not; names the path, the reason and ``advice``.
    """
    path = path.expanduser()
    if path.is_dir():
        return path
    reason = "it is a file, not a folder" if path.exists() else "it does not exist"
    raise RecipeError(f"{what}: {path} cannot be used, {reason}. {advice}")


@lru_cache(maxsize=2)
def _cached_picture(path: Path, modified: int) -> Image:
    return pictures.read_picture(path, upright=False)


@lru_cache(maxsize=2)
def _cached_class_map(path: Path, modified: int) -> npt.NDArray[np.int32]:
    values, mode = pictures.read_values(path)
    if mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise RecipeError(
            f"the mask {path} has colour mode {mode}, not one class id a pixel. Masks must be "
            "greyscale or palette (indexed) images; convert the colours to class ids first."
        )
    class_map = values.astype(np.int32)
    class_map.setflags(write=False)
    return class_map


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise RecipeError(
            f"{path} cannot be read as a picture: {error.strerror or error}. Fetch or unpack the "
            "file again."
        ) from error


def read_picture(path: Path) -> Image:
    """uint8[H, W, 3], RGB, as stored, by the rule of :mod:`t4spp.pictures`; a fresh array.

    The last two pictures stay decoded, since consecutive samples share one.

    Raises:
        RecipeError: the file is missing, truncated or no picture.
    """
    return _cached_picture(path, _modified(path)).copy()


def read_class_map(path: Path) -> npt.NDArray[np.int32]:
    """int32[H, W] of class ids, read-only: grey values, or a palette image's indices.

    Raises:
        RecipeError: the file is missing, truncated, or has colours instead of ids.
    """
    return _cached_class_map(path, _modified(path))


@dataclass(frozen=True, kw_only=True)
class PictureFile:
    """Reads one picture when called; checks that it fits its masks.

    Attributes:
        path: the file.
        size: (H, W) that the masks have.
        masks: what says so, for the error's text (a mask's path, an annotation file).
    """

    path: Path
    size: tuple[int, int]
    masks: str

    def __call__(self) -> Image:
        """uint8[H, W, 3].

        Raises:
            RecipeError: the file cannot be read, or is of another size than its masks.
        """
        image = read_picture(self.path)
        self.check_size((image.shape[0], image.shape[1]))
        return image

    def check_size(self, found: tuple[int, int]) -> None:
        """Compare the picture's (H, W) with its masks'.

        Raises:
            RecipeError: they differ.
        """
        if found != self.size:
            if found == self.size[::-1] and pictures.is_turned(self.path):
                raise RecipeError(
                    f"{self.path} is stored as {found[0]} x {found[1]} pixels (height x width) "
                    f"with an EXIF orientation that turns it, and its masks in {self.masks} were "
                    f"drawn on the turned picture, {self.size[0]} x {self.size[1]}. A dataset's "
                    "pictures are read as stored: save this one upright, without the orientation."
                )
            raise RecipeError(
                f"{self.path} is {found[0]} x {found[1]} pixels (height x width), but its masks "
                f"in {self.masks} are {self.size[0]} x {self.size[1]}. A picture and its masks "
                "must have one size; fetch the originals, or resize both alike."
            )


@dataclass(frozen=True, kw_only=True)
class MissingPicture:
    """Stands for a picture that is not on disk: raises when pixels are asked for."""

    name: str
    folder: Path
    advice: str = ""

    def __call__(self) -> Image:
        """Never returns.

        Raises:
            RecipeError: always; names the picture and the folder.
        """
        raise RecipeError(
            f"the picture {self.name} was not found under {self.folder}. Its masks are known, so "
            f"that commands without pixels still work (ceiling). Complete the folder{self.advice}."
        )


class PictureFolder:
    """Finds pictures by name under a folder, under either COCO naming, in any sub-folder.

    ``COCO_val2014_000000000139.jpg`` and ``000000000139.jpg`` name one picture: failing the exact
    name, twelve digits at the end of a stem decide. Shallow files come before deep ones, JPEG
    before others. The folder is listed once, on first use.
    """

    def __init__(self, root: Path) -> None:
        """Remember ``root``, which must be a folder."""
        self.root = root
        self._by_name: dict[str, Path] | None = None
        self._by_number: dict[str, Path] = {}

    def find(self, name: str) -> Path | None:
        """The file for a name such as ``val2017/000000000139.jpg``; None if there is none."""
        direct = self.root / name
        if direct.is_file():
            return direct
        if self._by_name is None:
            self._by_name = self._list()
        pure = Path(name)
        found = self._by_name.get(pure.name)
        number = _COCO_NUMBER.search(pure.stem)
        if found is None and number is not None:
            found = self._by_number.get(number.group(1))
        return found

    def _list(self) -> dict[str, Path]:
        files = [
            (len(path.parts), PICTURE_SUFFIXES.index(path.suffix.lower()), path)
            for path in self.root.rglob("*")
            if path.suffix.lower() in PICTURE_SUFFIXES
        ]
        by_name: dict[str, Path] = {}
        for _, _, path in sorted(files):
            by_name.setdefault(path.name, path)
            number = _COCO_NUMBER.search(path.stem)
            if number is not None:
                self._by_number.setdefault(number.group(1), path)
        return by_name
