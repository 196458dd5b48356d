"""In which order samples are seen: a pure function of (seed, step), whatever the process count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One sample of a global batch: its index, and the pass over the data that it belongs to."""

    index: int
    epoch: int


def epoch_order(num_samples: int, seed: int, epoch: int) -> Indices:
    """A permutation, int64[num_samples], that depends on ``seed`` and ``epoch`` only.

    Args:
        num_samples: how many there are.
        seed: the run's seed.
        epoch: which pass this is; every pass has an order of its own.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order: Indices = generator.permutation(num_samples).astype(np.int64)
    return order


class GlobalOrder:
    """The endless stream of samples, cut into global batches.

    Batch ``step`` (from 0) holds positions ``step * batch_size`` up to the next batch's first;
    position ``p`` belongs to epoch ``p // num_samples``. Nothing depends on how many processes
    there are or on where a run was resumed.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int) -> None:
        """Keep the sizes; orders are made when they are needed.

        Raises:
            ValueError: there is no sample, or the batch is empty.
        """
        if num_samples < 1:
            raise ValueError(f"an order needs at least one sample, received {num_samples}")
        if batch_size < 1:
            raise ValueError(f"a batch holds at least one sample, received {batch_size}")
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self._orders: dict[int, Indices] = {}

    def batch(self, step: int) -> tuple[Draw, ...]:
        """The global batch of optimiser step ``step``, counted from 0."""
        first = step * self.batch_size
        draws = []
        for position in range(first, first + self.batch_size):
            epoch, place = divmod(position, self.num_samples)
            draws.append(Draw(index=int(self._order(epoch)[place]), epoch=epoch))
        return tuple(draws)

    def share(self, step: int, rank: int, num_processes: int) -> tuple[Draw, ...]:
        """What process ``rank`` sees of the global batch: every ``num_processes``-th sample."""
        return self.batch(step)[rank::num_processes]

    def _order(self, epoch: int) -> Indices:
        if epoch not in self._orders:
            for old in [known for known in self._orders if known < epoch - 1]:
                del self._orders[old]
            self._orders[epoch] = epoch_order(self.num_samples, self.seed, epoch)
        return self._orders[epoch]


def num_micro_batches(batch_size: int, num_processes: int, micro_batch_size: int | None) -> int:
    """Forward passes a process makes for one optimiser step; the same on every process."""
    largest_share = -(-batch_size // num_processes)
    return -(-largest_share // (micro_batch_size or largest_share))


def split_share(share: Sequence[Draw], micro_batch_size: int, count: int) -> list[Sequence[Draw]]:
    """Cut a process's share into exactly ``count`` micro-batches; the last ones may be empty."""
    return [share[i * micro_batch_size : (i + 1) * micro_batch_size] for i in range(count)]
