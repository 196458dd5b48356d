"""Slippy-map tiles: which ground a tile shows follows from its name alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from t4spp.errors import RecipeError

WEB_MERCATOR = "EPSG:3857"
HALF_SIDE = 20037508.342789244
"""Half the side of the square that Web Mercator maps the world to: pi times 6,378,137 metres."""
TILE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
USUAL_PATTERNS = ("{z}/{x}/{y}", "*-{x}-{y}-{z}", "{x}-{y}-{z}")
"""Tried in this order where no pattern is given; without the suffix."""
MAX_ZOOM = 30

_PLACES = {"{z}": r"(?P<z>\d+)", "{x}": r"(?P<x>\d+)", "{y}": r"(?P<y>\d+)", "*": r"[^/]*"}


@dataclass(frozen=True, kw_only=True, order=True)
class TileFile:
    """A tile on disk; ``y`` counts from the north."""

    z: int
    x: int
    y: int
    path: Path

    @property
    def name(self) -> str:
        """``z-x-y``."""
        return f"{self.z}-{self.x}-{self.y}"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in EPSG:3857, metres."""
        side = 2 * HALF_SIDE / 2**self.z
        left, top = self.x * side - HALF_SIDE, HALF_SIDE - self.y * side
        return left, top - side, left + side, top


def check_pattern(pattern: str) -> str:
    """A pattern of tiles' names with ``{z}``, ``{x}`` and ``{y}`` once each.

    Raises:
        ValueError: it has not, or it names a suffix.
    """
    if sorted(re.findall(r"\{[^}]*\}", pattern)) != ["{x}", "{y}", "{z}"]:
        raise ValueError(f"pattern: {pattern!r} needs {{z}}, {{x}} and {{y}}, once each")
    if pattern.lower().endswith(TILE_SUFFIXES):
        raise ValueError(f"pattern: {pattern!r} ends in a suffix; leave it out, all are read")
    return pattern


def find_tiles(
    root: Path,
    what: str,
    *,
    pattern: str | None = None,
    scheme: Literal["xyz", "tms"] = "xyz",
    zooms: Sequence[int] | None = None,
) -> tuple[tuple[TileFile, ...], Counter[str]]:
    """The tiles under a folder, by zoom, column and row, and how many files were left out.

    Args:
        root: the folder.
        what: the parameter that names it, for messages.
        pattern: of paths under ``root`` without the suffix; None: the first of
            ``USUAL_PATTERNS`` that any file fits.
        scheme: ``xyz`` counts rows from the north, ``tms`` from the south.
        zooms: the zoom levels to take; None: all.

    Raises:
        RecipeError: the folder is missing or holds no tile; a name means no tile of its zoom; two
            files show one tile.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise RecipeError(f"{what}: {root} is no folder. Name the one that holds the tiles.")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in TILE_SUFFIXES)
    stems = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    patterns = USUAL_PATTERNS if pattern is None else (pattern,)
    for chosen in patterns:
        regex = _regex(chosen)
        found = [(path, regex.fullmatch(stem)) for path, stem in zip(files, stems, strict=True)]
        if any(match for _, match in found):
            break
    else:
        example = f", for example {stems[0]!r}" if stems else ""
        raise RecipeError(
            f"{what}: none of the {len(files)} pictures under {root} is named like a tile"
            f"{example}. Tried {' and '.join(map(repr, patterns))}; say how they are named: "
            "pattern='{z}/{x}/{y}'."
        )
    counters: Counter[str] = Counter()
    tiles: dict[tuple[int, int, int], TileFile] = {}
    for path, match in found:
        if match is None:
            counters["files_not_tiles"] += 1
            continue
        tile = _tile(path, int(match["z"]), int(match["x"]), int(match["y"]), scheme, chosen)
        if zooms is not None and tile.z not in zooms:
            counters["tiles_of_other_zooms"] += 1
            continue
        key = (tile.z, tile.x, tile.y)
        if key in tiles:
            raise RecipeError(
                f"{what}: {tiles[key].path} and {path} are both tile {tile.name}. Remove one."
            )
        tiles[key] = tile
    if not tiles:
        raise RecipeError(
            f"{what}: {counters['tiles_of_other_zooms']} tiles under {root}, none of zoom "
            f"{', '.join(map(str, zooms or ()))}. Choose other zooms."
        )
    return tuple(sorted(tiles.values())), counters


def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[zxy]\}|\*)", pattern)
    return re.compile("".join(_PLACES.get(part, re.escape(part)) for part in parts))


def _tile(path: Path, z: int, x: int, y: int, scheme: str, pattern: str) -> TileFile:
    if z > MAX_ZOOM or x >= 2**z or y >= 2**z:
        raise RecipeError(
            f"{path}: read as {pattern!r} it is zoom {z}, column {x}, row {y}, and there is no "
            f"such tile: a zoom z (up to {MAX_ZOOM}) has 2**z columns and rows. Say in which order "
            "the numbers stand: pattern='{z}/{x}/{y}'."
        )
    return TileFile(z=z, x=x, y=2**z - 1 - y if scheme == "tms" else y, path=path)
