"""Merging a config from its layers: the file it extends, the file, ``--set``; with provenance."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import ConfigError
from t4spp.validation import Fault, KeyPath, dotted, shown
from t4spp.yaml12 import parse_yaml, read_yaml

logger = logging.getLogger(__name__)

COMPONENTS: tuple[KeyPath, ...] = (
    ("scheme",),
    ("backbone",),
    ("refiner",),
    ("data", "recipe"),
    ("data", "mixture", 0, "recipe"),
    ("tracking", "trackers", 0),
)
"""Where a config names components; a position stands for every one."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Merged values, and which layer each key path came from."""

    data: dict[str, Any]
    source: str
    origins: Mapping[KeyPath, str]

    def locate(self, fault: Fault) -> str:
        """The fault's text after the layer that the faulty value stands in."""
        for length in range(len(fault.path), 0, -1):
            origin = self.origins.get(fault.path[:length])
            if origin is not None:
                return f"{origin}: {fault.text()}"
        return f"{self.source}: {fault.text()}"


def read_layers(path: Path, overrides: Sequence[str] = ()) -> Layers:
    """Read a config file, what it extends, and merge ``--set`` values over both.

    Raises:
        ConfigError: a file or an override cannot be read.
    """
    layers: list[tuple[dict[str, Any], str]] = []
    data = _mapping(path)
    if "extends" in data:
        base_path = _base_path(path, data.pop("extends"))
        base = _mapping(base_path)
        if "extends" in base:
            raise ConfigError(
                f"{base_path}: extends: {path} extends this file, which extends another; "
                "one level is allowed. Merge the two base files."
            )
        layers.append((base, str(base_path)))
    layers.append((data, str(path)))
    layers.extend(parse_override(override) for override in overrides)
    return merge_layers(layers, source=str(path))


def merge_layers(layers: Sequence[tuple[dict[str, Any], str]], source: str) -> Layers:
    """Merge mappings, later ones over earlier ones.

    The overrides that start with ``--set`` count as one layer: ``--set scheme.params.grid=24
    --set scheme.name=x`` keeps the grid in either order.
    """
    merged: Any = {}
    origins: dict[KeyPath, str] = {}
    overrides: Any = {}
    override_origins: dict[KeyPath, str] = {}
    for data, origin in layers:
        if origin.startswith("--set "):
            overrides = _merge(overrides, data, (), override_origins, origin, renames=False)
        else:
            merged = _merge(merged, data, (), origins, origin)
    if overrides:
        merged = _merge(merged, overrides, (), origins, "--set")
        origins.update(override_origins)
    return Layers(data=merged, source=source, origins=origins)


def parse_override(text: str) -> tuple[dict[str, Any], str]:
    """``a.b.c=value`` as a nested mapping and its name for messages.

    Raises:
        ConfigError: there is no key, no ``=``, or the value is not YAML.
    """
    origin = f"--set {text}"
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"{origin}: expected KEY.KEY=VALUE, for example scheme.name=next-brick")
    nested: Any = parse_yaml(value, source=origin)
    for key in reversed(keys):
        nested = {key: nested}
    return nested, origin


def _mapping(path: Path) -> dict[str, Any]:
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: expected a mapping at the top (`name: ...`, `scheme: ...`), received "
            f"{shown(data)}. docs/configuration.md lists the keys."
        )
    return data


def _base_path(path: Path, value: object) -> Path:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{path}: extends: expected one file's path, received {shown(value)}")
    base = path.parent / value
    if not base.is_file():
        raise ConfigError(
            f"{path}: extends: no file {base}; the path {value!r} is relative to {path.parent}"
        )
    return base


def _merge(
    base: Any,
    over: Any,
    path: KeyPath,
    origins: dict[KeyPath, str],
    origin: str,
    *,
    renames: bool = True,
) -> Any:
    """``over`` on ``base``: mappings merge key by key, anything else replaces."""
    origins[path] = origin
    if isinstance(base, list) and isinstance(over, dict) and over:
        return _merge_items(base, over, path, origins, origin)
    if not isinstance(over, dict):
        _forget(origins, path)
        origins[path] = origin
        return copy.deepcopy(over)
    if not isinstance(base, dict):
        _forget(origins, path)
        base = {}
        origins[path] = origin
    merged = dict(base)
    if renames and _is_component(path) and _renamed(base, over) and "params" in merged:
        logger.info(
            "%s: %s is now %r; the parameters of %r are dropped: %s",
            origin, dotted(path), over["name"], base["name"], shown(merged["params"]),
        )  # fmt: skip
        del merged["params"]
        _forget(origins, (*path, "params"))
    for key, value in over.items():
        merged[key] = _merge(merged.get(key), value, (*path, key), origins, origin, renames=renames)
    return merged


def _merge_items(
    base: list[Any], over: dict[str, Any], path: KeyPath, origins: dict[KeyPath, str], origin: str
) -> list[Any]:
    """``--set tracking.trackers.0.name=x``: positions reach into a list."""
    items = list(base)
    for key, value in over.items():
        if not key.isdecimal() or int(key) >= len(items):
            raise ConfigError(
                f"{origin}: {dotted(path)} is a list of {len(items)}; {key!r} is no position in "
                f"it. Valid: {', '.join(map(str, range(len(items)))) or 'none, it is empty'}; "
                "or set the whole list."
            )
        position = int(key)
        items[position] = _merge(items[position], value, (*path, position), origins, origin)
    return items


def _is_component(path: KeyPath) -> bool:
    general = tuple(0 if isinstance(part, int) else part for part in path)
    return general in COMPONENTS


def _renamed(base: dict[str, Any], over: dict[str, Any]) -> bool:
    return "name" in base and "name" in over and base["name"] != over["name"]


def _forget(origins: dict[KeyPath, str], path: KeyPath) -> None:
    for known in [known for known in origins if known[: len(path)] == path]:
        del origins[known]
