"""Which files are meant: folders, patterns, lists, STAC metadata; and the scenes' headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from t4spp.errors import RecipeError
from t4spp.geo.pictures import PictureView
from t4spp.geo.scenes import Scene, read_scene
from t4spp.geo.stac import is_stac, read_stac
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.configs import Paths

SCENE_SUFFIXES = (".tif", ".tiff", ".vrt")
VECTOR_SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb")


def find_files(given: Paths, suffixes: Sequence[str], what: str) -> list[Path]:
    """The files of folders (not of their sub-folders), of patterns, and files, in that order.

    Those of one folder or pattern are sorted; a file that is named twice counts once.

    Raises:
        RecipeError: one of ``given`` holds no such file.
    """
    found: dict[Path, None] = {}
    for item in given if isinstance(given, tuple) else (given,):
        found.update(dict.fromkeys(_files_of(item.expanduser(), suffixes, what)))
    if not found:
        raise RecipeError(f"{what}: the list is empty. Name folders, files or patterns.")
    return list(found)


def _files_of(given: Path, suffixes: Sequence[str], what: str) -> list[Path]:
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
        raise RecipeError(f"{what}: {given} does not exist. Name a folder, a file or a pattern.")
    if not found:
        raise RecipeError(
            f"{what}: {given} holds no {' or '.join(suffixes)} file. Is it the right folder, and "
            "is it unpacked?"
        )
    return found


def find_scenes(
    given: Paths, what: str, stac_asset: str | None = None
) -> tuple[list[Path], Counter[str]]:
    """Paths of scenes, those that STAC metadata name among them, and what was left out.

    Raises:
        RecipeError: a folder or pattern holds none.
        GeoError: STAC metadata are damaged or lead nowhere.
    """
    counters: Counter[str] = Counter()
    paths: dict[Path, None] = {}
    for path in find_files(given, SCENE_SUFFIXES, what):
        if path.suffix.lower() in (".json", ".geojson") and is_stac(path):
            found = read_stac(path, stac_asset)
            counters.update(found.counters)
            paths.update(dict.fromkeys(found.paths))
        else:
            paths[path] = None
    return list(paths), counters


def read_scenes(paths: Sequence[Path], view: PictureView) -> tuple[Scene, ...]:
    """Headers, each scene with a name of its own: the file's stem, with its folder if need be.

    Raises:
        GeoError: a file cannot be read, has no georeference, or lacks a band of ``view``.
    """
    stems = Counter(path.stem for path in paths)
    names = Counter(_long_name(path) for path in paths)
    scenes = []
    for number, path in enumerate(with_progress(paths, "reading headers", "scene")):
        scene = read_scene(path)
        view.bands_of(scene)
        name = path.stem
        if stems[name] > 1:
            name = _long_name(path)
            if names[name] > 1:
                name = f"{name}-{number}"
        scenes.append(replace(scene, name=name))
    return tuple(scenes)


def _long_name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"
