"""The processes that share one evaluation, and how their work comes together in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Crew:
    """This process and how many work beside it (``accelerate launch``).

    Attributes:
        rank: number of this process, 0 the main one.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Crew:
        """The crew of this process; a single one imports neither torch nor accelerate."""
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        from accelerate import PartialState

        from t4spp.training.processes import runs_on_cpu

        state = PartialState(cpu=runs_on_cpu())
        return cls(rank=state.process_index, size=state.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def gather(self, items: Sequence[T]) -> list[T]:
        """Everybody's picklable items, rank by rank, on every process. All must call it."""
        if self.size == 1:
            return list(items)
        import torch.distributed

        parts: list[list[T]] = [[] for _ in range(self.size)]
        torch.distributed.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def share(self, items: Sequence[T]) -> list[T]:
        """The main process's items, on every process. All must call it."""
        return self.gather(items if self.is_main else ())

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            self.gather(())
