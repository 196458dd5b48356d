"""``t4spp leaderboard`` from end to end, with a model of a few thousand weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from t4spp.cli import main
from t4spp.leaderboard.config import load_leaderboard
from t4spp.plugins import load_catalogue

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((PROJECT / "configs" / "leaderboards").glob("*.yaml"))
PLUGIN = PROJECT / "tests" / "support_backbone.py"

RUN: dict[str, Any] = {
    "name": "base",
    "scheme": {"name": "next-brick"},
    "backbone": {"name": "tiny-text"},
    "data": {"recipe": {"name": "rectangles", "params": {"num_samples": 9}}},
    "training": {"mode": "full", "batch_size": 4, "learning_rate": 0.01},
    "generation": {"batch_size": 4, "max_new_tokens": 24},
    "evaluation": {"bootstrap": 100},
}
BOARD: dict[str, Any] = {
    "name": "tiny",
    "run": "base.yaml",
    "seeds": [0],
    "budgets": {"steps": 3, "target_tokens": 400},
    "resamples": 200,
    "schemes": {
        "bricks": {"name": "next-brick", "params": {"grid": 4, "coordinates": "digits"}},
        "spans": {"name": "span-brick", "params": {"grid": 4}, "set": {"data.max_length": 16}},
    },
    "orderings": {"bricks above spans": {"above": "bricks", "below": "spans"}},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_is_valid_and_says_how_to_launch_it(path: Path) -> None:
    config, cells = load_leaderboard(path, (), load_catalogue())
    assert len(cells) == len(config.schemes) * len(config.seeds) * len(config.budgets.amounts())
    assert f"t4spp leaderboard {path.relative_to(PROJECT)}" in path.read_text()


def write(folder: Path, **changes: Any) -> str:
    (folder / "base.yaml").write_text(json.dumps(RUN))
    (folder / "board.yaml").write_text(json.dumps({**BOARD, **changes}))
    return str(folder / "board.yaml")


def leaderboard(config: str, folder: Path, *more: str) -> int:
    plugin = ("--plugin-file", str(PLUGIN))
    return main(["leaderboard", config, "-o", str(folder / "board"), *plugin, *more])


def read(folder: Path) -> Any:
    return json.loads((folder / "board" / "leaderboard.json").read_text())


def status_of(result: Any) -> dict[tuple[str, str], str]:
    return {(cell["scheme"], cell["budget"]): cell["status"] for cell in result["cells"]}


def test_a_failed_cell_costs_itself_only_and_is_tried_again_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path)
    assert leaderboard(config, tmp_path, "--jobs", "2") == 1

    result = read(tmp_path)
    assert status_of(result) == {
        ("bricks", "steps"): "done",
        ("bricks", "tokens"): "done",
        ("spans", "steps"): "failed",
        ("spans", "tokens"): "failed",
    }
    failed = next(cell for cell in result["cells"] if cell["status"] == "failed")
    assert "data.max_length=16" in failed["error"]
    assert "exit code 2" in failed["error"]
    standing = {budget: rows[0] for budget, rows in result["standings"].items()}
    assert [standing[name]["scheme"] for name in ("steps", "tokens")] == ["bricks", "bricks"]
    assert standing["steps"]["steps"] == 3
    assert abs(standing["tokens"]["target_tokens"] - 400) < 150  # four steps hold about as many
    assert standing["steps"]["score"]["low"] <= standing["steps"]["score"]["value"]
    assert [one["verdict"] for one in result["orderings"]] == ["not measured", "not measured"]
    said = capsys.readouterr()
    assert "failed: spans, steps, seed 0" in said.err
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "bricks" in page and "data.max_length=16" in page
    assert (tmp_path / "board" / "cells" / "bricks" / "steps" / "seed-0" / "report.html").is_file()

    done = tmp_path / "board" / "cells" / "bricks" / "steps" / "seed-0" / "metrics.json"
    written = done.stat().st_mtime_ns
    mended = {**BOARD["schemes"], "spans": {"name": "span-brick", "params": {"grid": 4}}}
    assert leaderboard(write(tmp_path, schemes=mended), tmp_path, "--jobs", "2") == 0
    assert set(status_of(read(tmp_path)).values()) == {"done"}
    assert done.stat().st_mtime_ns == written
    assert read(tmp_path)["orderings"][0]["verdict"] != "not measured"

    assert leaderboard(write(tmp_path, schemes=mended), tmp_path, "--list", "--json") == 0
    changed = {**mended, "bricks": {"name": "next-brick", "params": {"grid": 8}}}
    assert leaderboard(write(tmp_path, schemes=changed), tmp_path, "--list") == 2
    assert "scheme.params.grid (was 4, is 8)" in capsys.readouterr().err


def test_wrong_options_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path)
    assert leaderboard(config, tmp_path, "--only", "brick") == 2
    assert "Did you mean 'bricks'" in capsys.readouterr().err
    assert leaderboard(config, tmp_path, "--jobs", "0") == 2
    assert leaderboard(config, tmp_path, "--set", "run.data.eval_split=x") == 2
    assert not (tmp_path / "board").exists()


def test_a_page_without_a_finished_cell_says_so(tmp_path: Path) -> None:
    assert leaderboard(write(tmp_path), tmp_path, "--report-only") == 0
    assert {cell["status"] for cell in read(tmp_path)["cells"]} == {"waiting"}
    assert (tmp_path / "board" / "leaderboard.html").is_file()


@pytest.mark.slow
def test_a_killed_leaderboard_leaves_its_runs_to_end_and_an_interrupted_one_ends_them(
    tmp_path: Path,
) -> None:
    schemes = {"bricks": BOARD["schemes"]["bricks"]}
    config = write(tmp_path, schemes=schemes, budgets={"steps": 4000}, orderings={})
    command = [sys.executable, "-m", "t4spp", "leaderboard", config, "--plugin-file", str(PLUGIN)]
    command += ["-o", str(tmp_path / "board")]
    run = tmp_path / "board" / "cells" / "bricks" / "steps" / "seed-0"

    def begin() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not (run / "config.yaml").is_file() or runs() == []:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        return process

    def runs() -> list[int]:
        listed = subprocess.run(
            ["pgrep", "-f", f"t4spp run {run}"], check=False, capture_output=True, text=True
        )
        return [int(line) for line in listed.stdout.split()]

    interrupted = begin()
    interrupted.send_signal(signal.SIGTERM)
    assert interrupted.wait(60) == 130
    assert runs() == []

    killed = begin()
    killed.kill()
    killed.wait()
    (alive,) = runs()
    second = subprocess.run(command, check=False, capture_output=True, text=True)
    assert second.returncode == 0  # the cell is taken: nothing to do, and nothing is broken
    assert runs() == [alive]
    os.kill(alive, signal.SIGKILL)
