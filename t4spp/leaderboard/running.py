"""Running cells, each in a process of its own: a cell that fails costs itself only."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from t4spp.config import dump_config
from t4spp.errors import RunError
from t4spp.evaluation.experiment import METRICS_NAME
from t4spp.leaderboard.cells import failure_of, read_cell, tail_of
from t4spp.leaderboard.config import Cell
from t4spp.training.atomic import write_text
from t4spp.training.folders import CONFIG_NAME

POLL_SECONDS = 0.5
STOP_SECONDS = 20.0
"""What a run is given to end by itself when the leaderboard is interrupted."""
_SHARE = re.compile(r"([\w .:-]+?):\s+(\d+)%")
"""What a progress bar says of itself: its name and how far it is."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place where one cell runs at a time; ``environment`` is added to its process's."""

    environment: dict[str, str]


@dataclass(kw_only=True)
class _Running:
    """A cell's process, its log, and the lock that lives as long as it does.

    ``begun`` is where in the log, in bytes, this attempt begins: earlier ones stand before it.
    """

    cell: Cell
    slot: Slot
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    begun: int


Finished = Callable[[Cell, bool], None]
"""Told of each cell that ends, and whether it came to its scores."""
Told = Callable[[str], None]
"""Told what runs, and how far each is."""


def make_slots(jobs: int | None) -> list[Slot]:
    """Where cells run at the same time: a GPU each, or a share of the cores.

    Args:
        jobs: cells at a time; None: one a GPU, one where there is none.
    """
    gpus = visible_gpus()
    number = jobs or max(len(gpus), 1)
    if gpus:
        return [
            Slot(environment={"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]})
            for index in range(number)
        ]
    if number == 1 or "OMP_NUM_THREADS" in os.environ:
        return [Slot(environment={}) for _ in range(number)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return [Slot(environment={"OMP_NUM_THREADS": str(max(cores // number, 1))})] * number


def visible_gpus() -> list[str]:
    """Names of the GPUs for ``CUDA_VISIBLE_DEVICES``."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if named:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]


def run_cells(
    cells: Sequence[Cell],
    folder: Path,
    slots: Sequence[Slot],
    *,
    arguments: Sequence[str] = (),
    finished: Finished,
    told: Told,
) -> None:
    """Run cells to their ends; what fails is noted beside its log, and the next one starts.

    A cell that another leaderboard works on (its lock is held) is left to it.

    Must be called on the main thread, which signals reach.

    Args:
        cells: in order.
        folder: the leaderboard's.
        slots: one cell each at a time.
        arguments: of every ``t4spp``, for example ``--plugin-file``.
        finished: told of each.
        told: told what runs, twice a second.

    Raises:
        RunError: a file cannot be written.
    """
    waiting = list(cells)
    running: list[_Running] = []
    free = list(slots)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            while waiting and free:
                cell = waiting.pop(0)
                slot = free.pop(0)
                started = _start(cell, folder, slot, arguments)
                if started is None:
                    free.append(slot)
                else:
                    running.append(started)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                free.append(one.slot)
                finished(one.cell, _end(one, folder))
            told("; ".join(_progress(one, folder) for one in running))
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        _stop(running)
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    """Being asked to end is being interrupted: the runs are ended too, and told apart from faults.

    Raises:
        KeyboardInterrupt: always.
    """
    raise KeyboardInterrupt


def _start(cell: Cell, folder: Path, slot: Slot, arguments: Sequence[str]) -> _Running | None:
    """Start a cell's run; None where another process works on it, or has done it."""
    run, log = folder / cell.place, folder / cell.log
    config = run.with_suffix(".yaml")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        config.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("ab")
        if not _lock(stream) or read_cell(cell, folder).status == "done":
            stream.close()
            return None
        write_text(config, dump_config(cell.config))
        goes_on = (run / CONFIG_NAME).is_file()
        if goes_on:  # scores of what was asked before must not pass for those of now
            (run / METRICS_NAME).unlink(missing_ok=True)
        (folder / failure_of(cell)).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write in the leaderboard's folder {folder}: {error.strerror or error}. Make "
            "room or mend its permissions, or choose another with -o."
        ) from error
    begun = stream.seek(0, os.SEEK_END)
    command = [sys.executable, "-m", "t4spp", "run", str(config), "-o", str(run), *arguments]
    process = subprocess.Popen(
        [*command, "--resume"] if goes_on else command,
        stdin=subprocess.DEVNULL,
        stdout=stream,
        stderr=subprocess.STDOUT,
        env={**os.environ, **slot.environment},
        start_new_session=True,  # Ctrl-C is the leaderboard's to pass on
    )
    return _Running(cell=cell, slot=slot, process=process, log=stream, begun=begun)


def _lock(stream: IO[bytes]) -> bool:
    """Take the log for this process and those that inherit it; False where another has it.

    The run writes to the log, so the lock is held until the run itself has ended, even where the
    leaderboard was killed.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # no such locks: two leaderboards must not share a folder there
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        stream.close()
        raise
    return True


def _end(one: _Running, folder: Path) -> bool:
    """Whether the run came to its scores; where not, note why. Leave the cell to others.

    A run that fails behind its scores, writing its report say, has them all the same.
    """
    code = one.process.returncode
    with one.log:
        if read_cell(one.cell, folder).status == "done":
            return True
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        said = tail_of(folder / one.cell.log, one.begun) or "it said nothing"
        write_text(folder / failure_of(one.cell), f"{said}\n({how})\n")
    return False


def _progress(one: _Running, folder: Path) -> str:
    """``name: train 45 %``, from the last progress bar of its log."""
    with (folder / one.cell.log).open("rb") as stream:
        stream.seek(max(one.begun, stream.seek(0, os.SEEK_END) - 400))
        found = _SHARE.findall(stream.read().decode("utf-8", errors="replace"))
    if not found:
        return one.cell.name
    return f"{one.cell.name}: {found[-1][0].strip()} {found[-1][1]} %"


def _stop(running: Sequence[_Running]) -> None:
    """End what still runs: their checkpoints stay, and the next call goes on from them."""
    for one in running:
        with suppress(ProcessLookupError):
            os.killpg(one.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for one in running:
        try:
            one.process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
        one.log.close()
