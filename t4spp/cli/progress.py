"""Progress bars of commands, on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def progress_bar(
    total: int, title: str, *, hidden: bool = False
) -> Iterator[Callable[[int], object]]:
    """A bar that is told how many items have just been done; only the main process shows it."""
    from tqdm import tqdm

    hidden = hidden or os.environ.get("RANK", "0") != "0"
    with tqdm(total=total, desc=title, disable=hidden, mininterval=0.5, dynamic_ncols=True) as bar:
        yield bar.update


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    """``items``, with a bar over ``total`` of them."""
    with progress_bar(total, title) as advance:
        for item in items:
            yield item
            advance(1)
