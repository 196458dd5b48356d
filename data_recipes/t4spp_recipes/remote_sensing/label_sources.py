"""What tells a window's truth: polygons of vector layers, or rasters of classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.geo.scenes import Scene
from t4spp.geo.windows import Window
from t4spp.schemes.labels import label_fault
from t4spp.types import BACKGROUND, BoolMask, Box
from t4spp_recipes.remote_sensing.configs import WindowsConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Something that a window shows.

    Attributes:
        feature: its number, by which :meth:`Labels.masks` finds it again.
        label: its class; None where nobody knows it.
        box: tight, in pixels of the window's picture.
        mask: bool[h, w] inside the box.
    """

    feature: int
    label: str | None
    box: Box
    mask: BoolMask


class Labels(ABC):
    """The truth about scenes; picklable."""

    classes: tuple[str, ...]
    """Every class, sorted."""
    single: bool
    """Whether what is found is one thing each, not a whole class."""
    lasting: bool
    """Whether a feature's number means the same thing in every window."""

    @abstractmethod
    def found(self, scene: Scene, window: Window) -> tuple[list[Found], BoolMask | None]:
        """What a window shows, in a fixed order, and bool[H, W] of what nobody labelled.

        None where every pixel was labelled.
        """

    @abstractmethod
    def properties(self, feature: int) -> Mapping[str, Any]:
        """What is said of a feature besides its class."""

    @abstractmethod
    def named(self) -> Sequence[tuple[str | None, Mapping[str, Any]]]:
        """(class, properties) of everything in the dataset."""

    @abstractmethod
    def fingerprint(self) -> tuple[object, ...]:
        """Whatever changes what :meth:`found` says."""

    def masks(
        self, scene: Scene, window: Window, features: Sequence[int]
    ) -> tuple[dict[int, BoolMask], BoolMask | None]:
        """bool[H, W] of some features in a window, and of what nobody labelled."""
        wanted = set(features)
        found, unlabelled = self.found(scene, window)
        return {
            item.feature: placed(item.box, item.mask, window.out_size)
            for item in found
            if item.feature in wanted
        }, unlabelled

    def outlines(self, scene: Scene, label: str) -> Sequence[Any] | None:
        """The polygons of a class on a scene, in its CRS; None where there are only pixels."""
        return None

    def count_outside(self, seen: npt.NDArray[np.int64]) -> Counter[str]:
        """Counters, by reason, of what is in no window; ``seen`` are features that are."""
        return Counter()


def placed(box: Box, mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    """bool[H, W] of a picture, from a mask inside a box of it."""
    whole = np.zeros(size, dtype=np.bool_)
    whole[box.slices] = mask
    return whole


def check_label_names(config: WindowsConfig, classes: Mapping[int, str] | None = None) -> None:
    """Refuse names that no descriptor can carry.

    Raises:
        RecipeError: ``label``, ``other`` or a class is such a name.
    """
    named = {"label": config.label, "other": config.other}
    named |= {f"classes[{value}]": name for value, name in (classes or {}).items()}
    for key, name in named.items():
        if name is None:
            continue
        fault = "that name is the background's" if name == BACKGROUND else label_fault(name)
        if fault is not None:
            raise RecipeError(
                f"{key}={name!r} is no label that a descriptor can carry: {fault}. Rename it."
            )
