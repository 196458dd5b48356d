"""The cache folder: where an entry's files lie, whether they are whole, and who may write.

Layout below the cache folder::

    weights/<name>/<file>           an entry's files, only ever put there whole and verified
    weights/<name>/.verified.json   what was verified: checksum, size and time of change
    weights/<name>/.incoming/       parts of files on their way; resumed by the next attempt
    weights/<name>.lock             held by the process that gets an entry
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t4spp.errors import WeightsError, is_disk_full
from t4spp.manifest import WeightsEntry, WeightsFile

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "T4SPP_CACHE"
"""Moves the cache folder; unset or empty: ``~/.cache/t4spp``."""
FOLDERS_VARIABLE = "T4SPP_WEIGHTS"
"""The user's own folders of weights, separated as in PATH; searched before any download."""
STAMP = ".verified.json"
"""What was verified, in an entry's folder."""
INCOMING = ".incoming"
"""What is on its way, in an entry's folder."""

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """The folder of everything that t4spp fetches; it need not exist yet."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "t4spp"


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What lies in the cache of an entry.

    Attributes:
        state: ``damaged`` when every file is there and one is not what the manifest says.
        problems: one message for each file that is missing or damaged.
    """

    state: Literal["present", "absent", "damaged"]
    problems: tuple[str, ...] = ()


class Shelf:
    """One entry's place in the cache."""

    def __init__(self, entry: WeightsEntry) -> None:
        self.entry = entry
        self.folder = cache_folder() / "weights" / entry.name
        self.incoming = self.folder / INCOMING

    def examine(self, *, rehash: bool = False) -> Presence:
        """Whether the files are there and right.

        A file whose size and time of change are those of its last verification is taken as it
        is; another one is hashed, and stamped when it is right.

        Args:
            rehash: hash every file, whatever the stamp says.
        """
        stamp = self._read_stamp()
        problems = []
        missing = stale = False
        for file in self.entry.files:
            path = self.folder / file.name
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                problems.append(f"{path} is missing")
                missing = True
                continue
            if not rehash and stamp.get(file.name) == _stamped(file, found):
                continue
            stale = True
            problem = mismatch(file, path)
            if problem is not None:
                problems.append(f"{path}: {problem}")
        if problems:
            return Presence(state="absent" if missing else "damaged", problems=tuple(problems))
        if stale:
            self.write_stamp()
        return Presence(state="present")

    def install(self, staged: Path) -> None:
        """Move verified files from ``staged``, a folder of the same disk, to their place."""
        for file in self.entry.files:
            (staged / file.name).replace(self.folder / file.name)
        self.write_stamp()

    def write_stamp(self) -> None:
        """Record that the files that lie here now are verified; a cache that refuses costs time."""
        text = json.dumps(
            {
                file.name: _stamped(file, (self.folder / file.name).stat())
                for file in self.entry.files
            }
        )
        try:
            written = self.folder / f"{STAMP}.{uuid.uuid4().hex}"
            written.write_text(text, encoding="utf-8")
            written.replace(self.folder / STAMP)
        except OSError as error:
            logger.info("%s cannot be stamped as verified: %s", self.folder, error)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the entry's lock, which ends with the process; waits for whoever holds it.

        Raises:
            WeightsError: the cache cannot be written.
        """
        from filelock import FileLock, Timeout

        with telling_of_the_disk(self.entry):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder.with_name(f"{self.entry.name}.lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning("another process gets the weights %s; waiting", self.entry.name)
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _read_stamp(self) -> dict[str, Any]:
        try:
            stamp = json.loads((self.folder / STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}


def _stamped(file: WeightsFile, found: os.stat_result) -> dict[str, Any]:
    return {"sha256": file.sha256, "num_bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def sha256_of(path: Path) -> str:
    """The checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while piece := opened.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def mismatch(file: WeightsFile, path: Path) -> str | None:
    """What is wrong with a file's content, or None; the size is looked at first."""
    size = path.stat().st_size
    if size != file.num_bytes:
        return f"expected {file.num_bytes} bytes, got {size}"
    got = sha256_of(path)
    if got != file.sha256:
        return f"expected SHA-256 {file.sha256}, got {got}"
    return None


@contextmanager
def telling_of_the_disk(entry: WeightsEntry) -> Iterator[None]:
    """Turn what the disk refuses into an error that says where and what to do.

    Raises:
        WeightsError: the disk is full, or the cache folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise WeightsError(
                f"weights {entry.name!r}: the disk of the cache {cache_folder()} is full "
                f"({error}). The files need {entry.num_bytes:,} bytes, and a package that holds "
                f"them about as much while it is unpacked. Free some space, or move the cache: "
                f"{CACHE_VARIABLE}=/another/folder."
            ) from error
        if error.errno in _REFUSED:
            raise WeightsError(
                f"weights {entry.name!r}: the cache {cache_folder()} cannot be written "
                f"({error}). Name a folder that can be: {CACHE_VARIABLE}=/another/folder."
            ) from error
        raise


_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
