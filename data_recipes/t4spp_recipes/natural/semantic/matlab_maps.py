"""Class maps in MATLAB files, as PASCAL Context and COCO-Stuff 10k were first released."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from t4spp.errors import RecipeError
from t4spp_recipes.natural.semantic.maps import ClassMap


@dataclass(frozen=True, kw_only=True)
class MatlabMaps:
    """A variable of whole numbers, one label a pixel.

    Attributes:
        variable: its name in the file.
        kept: the labels that are classes, where every other becomes 0; None: all as they are.
    """

    variable: str
    kept: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """Tells readers apart."""
        return f"matlab-{self.variable}-{'all' if self.kept is None else len(self.kept)}"

    def __call__(self, path: Path) -> ClassMap:
        """int32[H, W], read-only.

        Raises:
            RecipeError: the file is missing, damaged, or lacks the variable.
        """
        try:
            modified = path.stat().st_mtime_ns
        except OSError as error:
            raise _unreadable(path, error) from error
        labels = _labels(path, self.variable, modified)
        if self.kept is None:
            return labels
        class_map = np.where(np.isin(labels, self.kept), labels, 0).astype(np.int32)
        class_map.setflags(write=False)
        return class_map


@lru_cache(maxsize=2)
def _labels(path: Path, variable: str, modified: int) -> ClassMap:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        labels = np.asarray(loadmat(str(path), variable_names=[variable])[variable])
    except KeyError as error:
        raise RecipeError(
            f"{path} has no variable {variable!r}. Is it a file of this dataset?"
        ) from error
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise _unreadable(path, error) from error
    if labels.ndim != 2 or labels.dtype.kind not in "ui":
        raise RecipeError(
            f"{path}: {variable!r} must be whole numbers of two dimensions, found {labels.dtype} "
            f"of {labels.ndim}. Fetch or unpack it again."
        )
    class_map = labels.astype(np.int32)
    class_map.setflags(write=False)
    return class_map


def _unreadable(path: Path, error: Exception) -> RecipeError:
    return RecipeError(
        f"{path} cannot be read as a MATLAB file: {error}. Fetch or unpack it again."
    )
