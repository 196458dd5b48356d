"""Downloads that go on where they were cut, with a progress bar on standard error."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from t4spp.weights.failures import SourceFailedError
from t4spp.weights.pip_settings import PipSettings

if TYPE_CHECKING:
    from requests import Response

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Attempts in a row that bring not one byte before a download is given up."""
PAUSE = 0.5
"""Seconds before the second attempt; doubled for each further one."""
_CHUNK = 1 << 18


class Web:
    """HTTP by the user's pip settings: certificates, proxy, trusted hosts, timeout, netrc."""

    def __init__(self, settings: PipSettings) -> None:
        import requests

        self.settings = settings
        self._session = requests.Session()
        if settings.client_cert:
            self._session.cert = settings.client_cert
        if settings.proxy:
            self._session.proxies = {"http": settings.proxy, "https": settings.proxy}

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None, stream: bool = False
    ) -> Response:
        """One request.

        Raises:
            SourceFailedError: the host cannot be reached or breaks off.
        """
        import requests

        try:
            return self._session.get(
                url,
                headers=dict(headers or {}),
                stream=stream,
                timeout=self.settings.timeout,
                verify=self._verify(url),
            )
        except (requests.RequestException, OSError) as error:
            raise SourceFailedError(reason(error)) from error

    def _verify(self, url: str) -> bool | str | None:
        parts = urlsplit(url)
        names = {parts.hostname, f"{parts.hostname}:{parts.port}"}
        if not names.isdisjoint(self.settings.trusted_hosts):
            return False
        return self.settings.cert  # None: what the environment or requests says


def download(web: Web, url: str, target: Path, title: str) -> None:
    """Bring a file; what an earlier attempt left in ``<target>.part`` is not brought again.

    The caller verifies the content and deletes a file that is wrong.

    Raises:
        SourceFailedError: the server refuses, or breaks off again and again. The part stays.
        OSError: the disk refuses.
    """
    part = target.with_name(f"{target.name}.part")
    barren = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(web, url, part, title)
            break
        except SourceFailedError as error:
            after = part.stat().st_size if part.exists() else 0
            barren = 0 if after > before else barren + 1
            if isinstance(error, RefusedError) or barren >= ATTEMPTS:
                raise
            logger.info("%s was cut at %d bytes: %s", target.name, after, error)
            time.sleep(PAUSE * 2**barren)
    part.replace(target)


class RefusedError(SourceFailedError):
    """The server answered, and the answer is no."""


def _attempt(web: Web, url: str, part: Path, title: str) -> None:
    import requests
    from tqdm import tqdm

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with web.get(url, headers=headers, stream=True) as answer:
        if answer.status_code == 416:
            # The part is as long as the file or longer. Only its content can tell: bring it anew.
            part.unlink()
            raise SourceFailedError("the server has no bytes after the part that was here")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise SourceFailedError(f"answers {answer.status_code} {answer.reason}")
        if not answer.ok:
            raise RefusedError(f"answers {answer.status_code} {answer.reason}")
        if not _goes_on(answer, start):
            start = 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        bar = tqdm(
            total=total,
            initial=start,
            desc=title,
            unit="B",
            unit_scale=True,
            mininterval=0.5,
            dynamic_ncols=True,
            disable=os.environ.get("RANK", "0") != "0",
        )
        with bar, part.open("ab" if start else "wb") as opened:
            received = start
            try:
                for piece in answer.iter_content(_CHUNK):
                    opened.write(piece)
                    received += len(piece)
                    bar.update(len(piece))
            except requests.RequestException as error:
                raise SourceFailedError(reason(error)) from error
        if total is not None and received < total:
            raise SourceFailedError(f"broke off after {received} of {total} bytes")


def _goes_on(answer: Response, start: int) -> bool:
    """Whether the answer begins at ``start``; a server may ignore the wish and send everything."""
    said = answer.headers.get("Content-Range", "")
    return bool(start) and answer.status_code == 206 and said.startswith(f"bytes {start}-")


def reason(error: BaseException) -> str:
    """What an error of a connection comes down to, in one line and without addresses."""
    seen = error
    while True:
        inner = getattr(seen, "reason", None) or next(
            (item for item in seen.args if isinstance(item, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        seen = inner
    text = " ".join(str(seen).split())
    return f"{type(seen).__name__}: {text}" if text else type(seen).__name__
