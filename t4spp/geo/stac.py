"""Scenes that STAC metadata on disk name: an item, a collection of items, a catalogue.

Nothing is fetched: hrefs are paths, relative ones count from the file that holds them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from t4spp.errors import GeoError, nearest

SCENE_SUFFIXES = (".tif", ".tiff")
_NO_PICTURE = frozenset({"thumbnail", "overview", "metadata", "labels", "labels-raster", "mask"})
"""Roles of assets that are not the scene itself."""


@dataclass(frozen=True, kw_only=True)
class StacScenes:
    """The scenes that STAC files name.

    Attributes:
        paths: existing files, in the metadata's order, each once.
        num_items: items that were read.
        counters: ``stac_scenes_repeated`` and ``stac_items_without_scene``, where any.
    """

    paths: tuple[Path, ...]
    num_items: int
    counters: Mapping[str, int]


def is_stac(path: Path) -> bool:
    """Whether a file is JSON that says of itself that it is STAC; False where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return _is_stac(content)


def read_stac(path: Path, asset: str | None = None) -> StacScenes:
    """The scenes of a STAC item, item collection, collection or catalogue.

    An item's scene is the asset named ``asset``; without that name, its one GeoTIFF asset that is
    no thumbnail, overview, mask or label, of several the one with the role ``visual``, else the
    one with the role ``data``. An asset may be a folder: then all GeoTIFFs in it. Catalogues are
    followed through their links ``child`` and ``item``, each file once.

    Args:
        path: the JSON file.
        asset: key of the asset in every item.

    Raises:
        GeoError: a file is missing or no STAC; an href is remote or leads nowhere; an item's
            scene is not clear; or no scene is found at all.
    """
    found: dict[Path, None] = {}
    counters: Counter[str] = Counter()
    num_items = 0
    for item, origin in _items(path.expanduser()):
        num_items += 1
        scenes = _scenes_of(item, origin, asset)
        counters["stac_items_without_scene"] += not scenes
        for scene in scenes:
            counters["stac_scenes_repeated"] += scene in found
            found[scene] = None
    if not found:
        raise GeoError(
            f"{path} names no scene: {num_items} STAC items, none with a GeoTIFF asset. Items need "
            "an asset of type image/tiff, or an href that ends in .tif."
        )
    return StacScenes(paths=tuple(found), num_items=num_items, counters=dict(+counters))


def _items(root: Path) -> Iterator[tuple[Any, Path]]:
    """Items (of pystac) with the file that each stands in, depth first, in the files' order."""
    import pystac

    waiting = [root]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop(0)
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        content = _read_json(path)
        kind = content["type"]
        try:
            if kind == "Feature":
                yield pystac.Item.from_dict(content, href=str(path)), path
                continue
            if kind == "FeatureCollection":
                for feature in content["features"]:
                    yield pystac.Item.from_dict(feature, href=str(path)), path
                continue
            reader = pystac.Collection if kind == "Collection" else pystac.Catalog
            links = reader.from_dict(content, href=str(path)).get_links()
            hrefs = [link.href for link in links if link.rel in ("child", "item")]
        except (pystac.STACError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise GeoError(
                f"{path} is damaged STAC metadata: {type(error).__name__}: {error}. Mend it, for "
                "example with what stac-validator says."
            ) from error
        waiting[:0] = [_local(href, path, f"a link of {path}") for href in hrefs]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise GeoError(f"{path} is not UTF-8 text: {error.reason}.") from error
    except json.JSONDecodeError as error:
        raise GeoError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "The file may be truncated; fetch it again."
        ) from error
    except OSError as error:
        raise GeoError(
            f"{path} cannot be read: {error.strerror or error}. Fetch the whole catalogue, with "
            "the files that it links to."
        ) from error
    if not _is_stac(content):
        raise GeoError(
            f"{path} is no STAC item, item collection, collection or catalogue: it has no "
            "'stac_version'. Name GeoTIFFs by a list or a pattern instead."
        )
    return dict(content)


def _is_stac(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    if content.get("type") == "FeatureCollection":
        features = content.get("features")
        return (
            isinstance(features, list)
            and bool(features)
            and all(isinstance(f, dict) and "stac_version" in f for f in features)
        )
    return "stac_version" in content and content.get("type") in ("Feature", "Catalog", "Collection")


def _scenes_of(item: Any, origin: Path, asset: str | None) -> list[Path]:
    """The files of one item's scene; empty where it has no GeoTIFF."""
    where = f"{origin}: item {item.id!r}"
    assets: dict[str, Any] = item.assets
    if asset is not None:
        if asset not in assets:
            raise GeoError(
                f"{where} has no asset {asset!r}.{nearest(asset, assets)} Its assets: "
                f"{', '.join(assets) or 'none'}."
            )
        chosen = asset
    else:
        candidates = [key for key, value in assets.items() if _is_scene(value)]
        for role in ("visual", "data"):
            with_role = [key for key in candidates if role in (assets[key].roles or ())]
            if len(candidates) > 1 and len(with_role) == 1:
                candidates = with_role
        if len(candidates) > 1:
            raise GeoError(
                f"{where} has {len(candidates)} GeoTIFF assets ({', '.join(candidates)}), and "
                "roles do not tell which one is the scene. Name one: stac_asset=KEY. (Bands in "
                "files of their own: join them first, for example by gdalbuildvrt -separate.)"
            )
        if not candidates:
            return []
        chosen = candidates[0]
    found = _local(assets[chosen].href, origin, f"the asset {chosen!r} of item {item.id!r}")
    if found.is_dir():
        scenes = sorted(p for p in found.iterdir() if p.suffix.lower() in SCENE_SUFFIXES)
        if not scenes:
            raise GeoError(f"{where}: its asset {chosen!r} is the folder {found}, without GeoTIFF.")
        return scenes
    if not found.is_file():
        raise GeoError(
            f"{where}: its asset {chosen!r} is {found}, which does not exist. Fetch it, or mend "
            "the item's href; relative ones count from the item's file."
        )
    return [found]


def _is_scene(asset: Any) -> bool:
    if _NO_PICTURE.intersection(asset.roles or ()):
        return False
    if asset.media_type:
        return str(asset.media_type).startswith("image/tiff")
    return Path(urlsplit(asset.href).path).suffix.lower() in SCENE_SUFFIXES


def _local(href: str, origin: Path, what: str) -> Path:
    """The path that an href means, relative to the file that holds it."""
    parts = urlsplit(href)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" in href:
        raise GeoError(
            f"{origin}: {what} is remote, {href!r}. Only files on disk are read: fetch it (for "
            "example by stac-asset download) and let the href name the file."
        )
    found = origin.parent / href
    return found if found.exists() else origin.parent / unquote(href)
