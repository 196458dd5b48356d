"""Which classes occur in which mask: scanned once, kept in a cache outside the dataset."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t4spp.errors import RecipeError
from t4spp.pictures import picture_size
from t4spp.types import Box
from t4spp_recipes.natural.pictures import PictureFile, read_picture
from t4spp_recipes.natural.semantic.maps import PLAIN, MapReader, cut
from t4spp_recipes.natural.semantic.tiling import Tiling
from t4spp_recipes.progress import with_progress

_log = logging.getLogger(__name__)
_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class MaskRecord:
    """A mask on disk, its picture, and what it holds.

    Attributes:
        stem: the files' common stem.
        mask: the class-id image.
        picture: None where there is none.
        size: (H, W) of both, or of the window.
        counts: pixels by class id; ``PADDING`` (-1) is what lies beyond the mask in a window.
        window: in the mask's pixels, it may reach beyond them; None: the whole.
        whole: (H, W) of the files where there is a window.
    """

    stem: str
    mask: Path
    picture: Path | None
    size: tuple[int, int]
    counts: dict[int, int]
    window: Box | None = None
    whole: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The stem; of a window with its rows and columns, as ``P0003_0_896_512_1408``."""
        if self.window is None:
            return self.stem
        box = self.window
        return f"{self.stem}_{box.y0}_{box.y1}_{box.x0}_{box.x1}"


def default_cache_dir() -> Path:
    """``$T4SPP_CACHE``, else ``t4spp`` in the user's cache folder."""
    own = os.environ.get("T4SPP_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "t4spp"


def index_masks(
    pairs: Sequence[tuple[Path, Path | None]],
    cache_dir: Path | None,
    *,
    suffix: str = "",
    reader: MapReader = PLAIN,
    tiling: Tiling | None = None,
) -> tuple[MaskRecord, ...]:
    """Read every mask once, or the cached result of having done so.

    The cache is keyed by the files' names, sizes and times of change; it is written atomically
    and never into the dataset. A cache that cannot be written costs time only, and is logged.

    Args:
        pairs: (mask, picture or None), in the order of the records.
        cache_dir: None: :func:`default_cache_dir`.
        suffix: what a mask's stem has beyond its picture's.
        reader: makes class ids of a file.
        tiling: one record a window instead of one a mask.

    Raises:
        RecipeError: a mask cannot be read, or has another size than its picture.
    """
    how = reader.name + (f" {tiling.fingerprint()}" if tiling else "")
    key = _fingerprint(pairs, "" if how == PLAIN.name else how)
    path = (cache_dir or default_cache_dir()).expanduser() / f"mask-index-{key}.json"
    found = _read_cache(path, len(pairs))
    if found is None:
        found = [
            _scan(mask, picture, reader, tiling)
            for mask, picture in with_progress(pairs, "indexing masks", "mask")
        ]
        _write_cache(path, found)
    return tuple(
        record
        for (mask, picture), scanned in zip(pairs, found, strict=True)
        for record in _records(mask, picture, scanned, suffix, tiling)
    )


def _records(
    mask: Path, picture: Path | None, scanned: _Scanned, suffix: str, tiling: Tiling | None
) -> list[MaskRecord]:
    height, width, counted = scanned
    stem = mask.stem.removesuffix(suffix)
    whole = (height, width)
    boxes: Sequence[Box | None] = (None,) if tiling is None else tiling.boxes(whole)
    return [
        MaskRecord(
            stem=stem,
            mask=mask,
            picture=picture,
            size=whole if box is None else (box.height, box.width),
            counts={int(number): pixels for number, pixels in counts.items()},
            window=box,
            whole=None if box is None else whole,
        )
        for box, counts in zip(boxes, counted, strict=True)
    ]


def pair_faults(pairs: Sequence[tuple[Path, Path | None]], reader: MapReader = PLAIN) -> list[str]:
    """What is wrong with masks and pictures, one message each; all of them are read."""
    messages: list[str] = []
    for mask, picture in with_progress(pairs, "reading", "mask"):
        try:
            _scan(mask, picture, reader, None)
        except RecipeError as error:
            messages.append(str(error))
        try:
            if picture is not None:
                read_picture(picture)
        except RecipeError as error:
            messages.append(str(error))
    return messages


_Scanned = tuple[int, int, list[dict[str, int]]]
"""Height, width, and the pixels by class id of every window (of the whole, where there is none)."""


def _scan(
    mask: Path, picture: Path | None, reader: MapReader = PLAIN, tiling: Tiling | None = None
) -> _Scanned:
    class_map = reader(mask)
    height, width = class_map.shape
    if picture is not None:
        file = PictureFile(path=picture, size=(height, width), masks=str(mask))
        file.check_size(picture_size(picture))
    boxes: Sequence[Box | None] = (None,) if tiling is None else tiling.boxes((height, width))
    counted = []
    for box in boxes:
        part = class_map if box is None else cut(class_map, box)
        numbers, pixels = np.unique(part, return_counts=True)
        counted.append(
            {str(int(number)): int(num) for number, num in zip(numbers, pixels, strict=True)}
        )
    return height, width, counted


def _fingerprint(pairs: Sequence[tuple[Path, Path | None]], how: str) -> str:
    digest = hashlib.sha256(f"{_VERSION}\n{how}".encode())
    for pair in pairs:
        for path in pair:
            if path is None:
                digest.update(b"-\n")
                continue
            stat = path.stat()
            digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _read_cache(path: Path, num_masks: int) -> list[_Scanned] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("the index %s cannot be read (%s); scanning the masks again", path, error)
        return None
    if not isinstance(content, list) or len(content) != num_masks:
        return None
    return [(int(height), int(width), counts) for height, width, counts in content]


def _write_cache(path: Path, found: list[_Scanned]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.stem, suffix=".part", delete=False, encoding="utf-8"
        ) as part:
            json.dump(found, part)
        Path(part.name).replace(path)
    except OSError as error:
        _log.warning("the index of masks is not kept: %s (%s)", path, error)
