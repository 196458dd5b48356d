"""Progress bars of commands, on standard error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, title: str) -> Iterator[Callable[[int], object]]:
    """A bar that is told how many items have just been done; only the main process shows it."""
    from tqdm import tqdm

    hidden = os.environ.get("RANK", "0") != "0"
    with tqdm(total=total, desc=title, disable=hidden, mininterval=0.5, dynamic_ncols=True) as bar:
        yield bar.update
