"""Folders that are there completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY_SUFFIX = ".writing"


class PendingFolder:
    """A folder that is filled under a temporary name and then renamed to ``target``."""

    def __init__(self, target: Path) -> None:
        """Plan to write ``target``; nothing happens on disk."""
        self.target = target
        self.path = target.with_name(target.name + TEMPORARY_SUFFIX)

    def begin(self) -> Path:
        """Make the empty temporary sibling and return it."""
        discard(self.path)
        self.path.mkdir(parents=True)
        return self.path

    def commit(self) -> None:
        """Make the content durable, then rename; an existing ``target`` is replaced."""
        sync_tree(self.path)
        discard(self.target)
        self.path.rename(self.target)
        sync(self.target.parent)

    def abort(self) -> None:
        """Remove the temporary sibling; ``target`` is untouched."""
        discard(self.path)


def write_text(path: Path, text: str) -> None:
    """Replace the file ``path`` in one step."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def clean_temporaries(folder: Path) -> list[str]:
    """Remove what a killed process left half-written in ``folder``; returns the names."""
    removed = []
    for leftover in sorted(folder.glob(f"*{TEMPORARY_SUFFIX}")):
        discard(leftover)
        removed.append(leftover.name)
    return removed


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Make every file below ``folder``, and the folders, durable."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Make one file or folder durable."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
