"""Cells as processes: what a failed one is told to have said, and who has a cell."""

from __future__ import annotations

import errno
import fcntl
import json
import sys
from pathlib import Path

import pytest

from t4spp.config import dump_config
from t4spp.errors import RunError
from t4spp.leaderboard.cells import failure_of, read_cell
from t4spp.leaderboard.config import Cell, load_leaderboard
from t4spp.leaderboard.running import Slot, run_cells
from t4spp.plugins import load_catalogue

SLOTS = (Slot(environment={}),)


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    run = {
        "name": "base",
        "scheme": {"name": "next-brick"},
        "backbone": {"name": "nano"},
        "data": {"recipe": {"name": "refshapes"}},
        "training": {"mode": "full"},
    }
    board = {
        "run": "base.yaml",
        "seeds": [0],
        "budgets": {"steps": 3},
        "schemes": {"bricks": {"name": "next-brick"}},
    }
    (tmp_path / "base.yaml").write_text(json.dumps(run))
    (tmp_path / "board.yaml").write_text(json.dumps(board))
    (only,) = load_leaderboard(tmp_path / "board.yaml", (), load_catalogue())[1]
    return only


def run_as(
    script: str, cell: Cell, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Cell, bool]]:
    """Run the cell with a shell script in the place of Python; what ended, and whether well."""
    program = folder.parent / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    ended: list[tuple[Cell, bool]] = []
    run_cells(
        [cell],
        folder,
        SLOTS,
        finished=lambda one, good: ended.append((one, good)),
        told=lambda text: None,
    )
    return ended


def test_a_failed_run_is_told_by_its_own_words_and_not_by_those_of_an_earlier_one(
    tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "board"
    failure = folder / failure_of(cell)
    assert run_as("echo 'error: no such dataset'; exit 2", cell, folder, monkeypatch) == [
        (cell, False)
    ]
    assert failure.read_text() == "error: no such dataset\n(exit code 2)\n"
    assert run_as("kill -KILL $$", cell, folder, monkeypatch) == [(cell, False)]
    assert failure.read_text() == "it said nothing\n(killed by signal 9)\n"
    assert (folder / cell.log).read_text() == "error: no such dataset\n"  # the log keeps both


def test_a_run_that_fails_behind_its_scores_has_them_and_one_without_any_has_failed(
    tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "board"
    run = folder / cell.place
    assert run_as("exit 0", cell, folder, monkeypatch) == [(cell, False)]
    assert (folder / failure_of(cell)).read_text() == "it said nothing\n(exit code 0)\n"

    (tmp_path / "config.yaml").write_text(dump_config(cell.config))
    (tmp_path / "metrics.json").write_text('{"protocols": {}}')
    copy = f"mkdir -p {run}; cp {tmp_path}/config.yaml {tmp_path}/metrics.json {run}; exit 1"
    assert run_as(copy, cell, folder, monkeypatch) == [(cell, True)]
    assert not (folder / failure_of(cell)).exists()
    assert read_cell(cell, folder).status == "done"


def test_a_cell_that_another_leaderboard_has_is_left_to_it(
    tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "board"
    (folder / cell.log).parent.mkdir(parents=True)
    with (folder / cell.log).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert run_as("exit 2", cell, folder, monkeypatch) == []
    assert not (folder / failure_of(cell)).exists()


def test_a_folder_without_locks_is_told_instead_of_running_nothing(
    tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stream: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"No locks available.*choose another with -o"):
        run_as("exit 0", cell, tmp_path / "board", monkeypatch)


def test_answers_of_other_settings_are_refused_before_their_scores_are_lost(
    tmp_path: Path, cell: Cell
) -> None:
    run = tmp_path / cell.place
    (run / "predictions").mkdir(parents=True)
    generation = cell.config.generation.model_copy(update={"max_new_tokens": 9, "drafts": 2})
    other = cell.config.model_copy(update={"generation": generation})
    (run / "config.yaml").write_text(dump_config(other))
    assert read_cell(cell, tmp_path).status == "waiting"  # nothing is answered yet
    (run / "predictions" / f"{cell.config.data.eval_split}.jsonl").touch()
    with pytest.raises(RunError) as caught:
        read_cell(cell, tmp_path)
    assert "generation.max_new_tokens (was 9, is None)" in str(caught.value)
    assert "drafts" not in str(caught.value)  # a matter of speed
