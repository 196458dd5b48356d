"""What a cell's folder says: done, failed or waiting, and what its run came to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t4spp.config import RunConfig
from t4spp.errors import RunError
from t4spp.evaluation.experiment import METRICS_NAME, read_metrics
from t4spp.evaluation.predictions import predictions_path
from t4spp.leaderboard.config import Cell
from t4spp.tracking import EVENTS_NAME, read_events
from t4spp.training.binding import FREE_ON_RESUME, binding_config, differences
from t4spp.training.folders import CONFIG_NAME, read_run_config

Status = Literal["done", "failed", "waiting"]

_BAR = re.compile(r"\d+%\|")
"""A progress bar."""
TAIL_LINES = 6
"""Lines of a failed run's log that are told."""


@dataclass(frozen=True, kw_only=True)
class CellState:
    """How far a cell is.

    Attributes:
        cell: which.
        status: ``waiting`` where it has not run, or not to its end.
        error: the last lines of what a failed run said.
        metrics: of a cell that is done, its ``metrics.json``.
        training: of a cell that is done, what its training came to.
    """

    cell: Cell
    status: Status
    error: str | None = None
    metrics: Mapping[str, Any] | None = None
    training: Mapping[str, float | None] | None = None


def read_cell(cell: Cell, folder: Path) -> CellState:
    """Read a cell's state from disk.

    Args:
        cell: which.
        folder: the leaderboard's.

    Raises:
        RunError: its run was trained by another config, or has answered by one, or is damaged.
    """
    run = folder / cell.place
    failure = folder / failure_of(cell)
    if (run / CONFIG_NAME).is_file():
        _check_same(cell, run)
        if (run / METRICS_NAME).is_file() and _evaluated_alike(cell, run):
            metrics = read_metrics(run / METRICS_NAME)
            training = training_of(run)
            return CellState(cell=cell, status="done", metrics=metrics, training=training)
    if failure.is_file():
        error = failure.read_text(encoding="utf-8", errors="replace")
        return CellState(cell=cell, status="failed", error=error)
    return CellState(cell=cell, status="waiting")


def failure_of(cell: Cell) -> str:
    """Where a failed cell's last words stand, relative to the leaderboard's folder."""
    return cell.log.removesuffix(".log") + ".failed"


def training_of(run: Path) -> dict[str, float | None]:
    """Steps, answer tokens, seconds and last loss of a run's training, from its events.

    Seconds are those between logged steps: pauses between an interruption and a resume do not
    count, nor do checkpoints.
    """
    path = run / EVENTS_NAME
    logged = read_events(path).of_kind("train") if path.is_file() else ()
    if not logged:
        return {"steps": None, "target_tokens": None, "training_seconds": None, "loss": None}
    seconds, before = 0.0, 0.0
    for event in logged:
        speed, samples = event.get("samples_per_second"), event.get("samples")
        if speed and samples:
            seconds += max(float(samples) - before, 0.0) / float(speed)
            before = float(samples)
    last = logged[-1]
    return {
        "steps": last["step"],
        "target_tokens": last.get("answer_tokens"),
        "training_seconds": seconds,
        "loss": last.get("loss"),
    }


def tail_of(log: Path, begun: int = 0) -> str:
    """The last lines of a log from byte ``begun`` on, progress bars left out."""
    if not log.is_file():
        return ""
    text = log.read_bytes()[begun:][-20_000:].decode("utf-8", errors="replace")
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.split("\n")]
    told = [line for line in lines if line and not _BAR.search(line)]
    return "\n".join(told[-TAIL_LINES:])


def _check_same(cell: Cell, run: Path) -> None:
    was, now = read_run_config(run), cell.config
    changed = differences(binding_config(was), binding_config(now))
    if predictions_path(run, now.data.eval_split).is_file():  # no run goes on with such answers
        changed += differences(_answering(was), _answering(now))
    if changed:
        raise RunError(
            f"{run} holds a run of another config than the leaderboard's cell ({cell.name}): "
            f"{'; '.join(changed)}. Choose another folder with -o, set the value back, or remove "
            "that folder to train the cell anew."
        )


def _answering(config: RunConfig) -> dict[str, Any]:
    """What shapes answers beside the training; what is only a matter of speed left out."""
    speed = {"engine", "drafts", "cache", "compile"}
    return {"generation": config.generation.model_dump(mode="json", exclude=speed)}


def _evaluated_alike(cell: Cell, run: Path) -> bool:
    """Whether what the run answered and scored is what the cell asks for."""
    return _asked(read_run_config(run)) == _asked(cell.config)


def _asked(config: RunConfig) -> dict[str, Any]:
    described = config.model_dump(mode="json", exclude={"name", "tracking"})
    for key in FREE_ON_RESUME:
        described["training"].pop(key)
    if config.training.target_tokens is not None:
        described["training"].pop("steps")  # they follow from the tokens
    described["evaluation"].pop("workers")
    return described
