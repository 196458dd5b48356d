"""Chunks of positions measured by forked processes, in order, with few under way at a time."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

from t4spp.errors import RunError

Part = TypeVar("Part")

_AHEAD = 4
"""Chunks a worker that may wait to be done or fetched, so that memory stays flat."""

_measure: Callable[[range], Any] | None = None
"""Of a worker, set while it is forked."""


def by_workers(
    measure: Callable[[range], Part], chunks: Sequence[range], workers: int, *, advice: str
) -> Iterator[Part]:
    """What ``measure`` makes of each chunk, in order.

    Where that fails, is interrupted or is not read to its end, the workers are ended at once.

    Args:
        measure: workers get it by being forked, so it need not pickle; what it returns must.
        chunks: positions.
        workers: processes, 1 or more; never more than chunks.
        advice: how to take fewer of them, a sentence's end for the error.

    Raises:
        RunError: a worker died.
    """
    global _measure
    waiting: deque[Future[Part]] = deque()
    _measure = measure
    workers = max(1, min(workers, len(chunks)))  # a pool that forks starts all of them at once
    context = multiprocessing.get_context("fork")
    stopped, stop = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(stopped,))
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_measure_chunk, chunk))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise RunError(
            f"one of the {workers} worker processes died, perhaps for want of memory. "
            f"Take fewer of them: {advice}."
        ) from error
    except BaseException:
        stop.send_bytes(b"stop")  # a chunk may take a minute yet
        raise
    finally:
        _measure = None
        pool.shutdown(wait=True, cancel_futures=True)
        stop.close()
        stopped.close()


def _begin(stopped: connection.Connection) -> None:
    """Leave Ctrl-C to the parent, keep to one thread, and leave the parent's objects in place."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel, stopped), daemon=True).start()
    import torch  # takes seconds where the parent has not loaded it

    torch.set_num_threads(1)
    gc.freeze()


def _end_with(sentinel: int, stopped: connection.Connection) -> None:
    """End this process when its parent says so or has ended, however that was killed.

    A pool's workers wait for work without end, since each holds the pipe's writing side itself.
    """
    connection.wait([sentinel, stopped])
    os._exit(1)


def _measure_chunk(positions: range) -> Any:
    assert _measure is not None
    return _measure(positions)
