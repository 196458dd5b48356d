"""The scores of baselines on disk, beside a split's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t4spp.errors import RunError
from t4spp.training.atomic import write_text

SCHEMA = 1
"""Version of the file."""


def baselines_path(predictions: Path) -> Path:
    """Where the baselines' scores lie, beside the answers of a split."""
    return predictions.with_name(f"{predictions.stem}.baselines.json")


def write_baselines(path: Path, scored: Mapping[str, Any]) -> None:
    """Write what :func:`score_baselines` returned.

    Raises:
        RunError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(scored, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}.") from error


def read_baselines(path: Path) -> dict[str, dict[str, Any]]:
    """``{baseline: protocols}`` of a file.

    Raises:
        RunError: the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(entry["protocols"]) for name, entry in content["baselines"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}: {error}). Write it again with: "
            f"t4spp baselines {path.parent.parent}"
        ) from error
