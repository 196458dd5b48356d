"""The progress bar of long work on files; silent where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def with_progress(items: Sequence[Item], label: str, unit: str) -> Iterable[Item]:
    """``items``, with a bar on standard error if that is a terminal."""
    from tqdm import tqdm

    shown: Iterable[Item] = tqdm(items, desc=label, unit=unit, leave=False, disable=None)
    return shown
