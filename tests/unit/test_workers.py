"""The pool of forked workers that scoring and the frontier share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from t4spp.errors import RunError
from t4spp.evaluation.workers import by_workers

CHUNKS = [range(start, start + 2) for start in range(0, 12, 2)]


@pytest.mark.parametrize("workers", [1, 2, 100_000])
def test_parts_come_in_order_whatever_the_number_of_workers(workers: int) -> None:
    found = by_workers(list, CHUNKS, workers, advice="one")
    assert list(found) == [list(chunk) for chunk in CHUNKS]


def test_no_chunk_is_no_part() -> None:
    assert list(by_workers(list, [], 2, advice="one")) == []


def test_worker_that_dies_is_one_clear_error() -> None:
    def die(chunk: range) -> int:
        os._exit(9)

    with pytest.raises(RunError, match=r"worker processes died.*take one"):
        list(by_workers(die, CHUNKS, 2, advice="take one"))


@pytest.mark.parametrize("how", ["closed", "interrupted", "failed"])
def test_workers_end_at_once_where_nobody_waits_for_them(how: str, tmp_path: Path) -> None:
    """A chunk that were waited for would leave its file."""

    def measure(chunk: range) -> int:
        if chunk.start:
            (tmp_path / f"begun {chunk.start}").touch()
            time.sleep(2)
            (tmp_path / f"done {chunk.start}").touch()
        return chunk.start

    parts = by_workers(measure, CHUNKS, 2, advice="one")
    assert next(parts) == 0
    while not list(tmp_path.glob("begun *")):
        time.sleep(0.01)
    if how == "closed":
        parts.close()  # type: ignore[attr-defined]
    else:
        error = KeyboardInterrupt if how == "interrupted" else ValueError
        with pytest.raises(error):
            parts.throw(error())  # type: ignore[attr-defined]
    assert not list(tmp_path.glob("done *"))
