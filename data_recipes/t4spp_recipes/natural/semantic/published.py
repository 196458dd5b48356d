"""Published class lists, kept as package data: names are facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from t4spp.errors import RecipeError, nearest


def published_list(package: str, name: str) -> dict[str, Any]:
    """The content of ``data/<name>.json`` of a package."""
    file = resources.files(package).joinpath("data", f"{name}.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def published_classes(package: str, name: str) -> dict[int, str]:
    """Class names by id, as published."""
    return {int(key): value for key, value in published_list(package, name)["classes"].items()}


def renamed(names: Mapping[int, str], rename: Mapping[str, str], recipe: str) -> dict[int, str]:
    """Class names with some of them replaced; two that become one are merged.

    Raises:
        RecipeError: ``rename`` names a class that is not in the list.
    """
    unknown = [name for name in rename if name not in names.values()]
    if unknown:
        valid = tuple(dict.fromkeys(names.values()))
        raise RecipeError(
            f"{recipe}: rename names the class {unknown[0]!r}, which the dataset does not have."
            f"{nearest(unknown[0], valid)} Its classes are: {', '.join(valid)}."
        )
    return {number: rename.get(name, name) for number, name in names.items()}
