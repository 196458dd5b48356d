"""In which order samples are seen: a pure function of (seed, step), whatever the process count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.seeds import seed_from

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
        return tuple(self.draw(position) for position in range(first, first + self.batch_size))

    def draw(self, position: int) -> Draw:
        """The sample at a position of the stream, counted from 0."""
        epoch, place = divmod(position, self.num_samples)
        return Draw(index=int(self._order(epoch)[place]), epoch=epoch)

    def epochs(self, step: int) -> dict[str, float]:
        """How often each named part of the samples was gone through before ``step``; here none."""
        return {}

    def share(self, step: int, rank: int, num_processes: int) -> tuple[Draw, ...]:
        """What process ``rank`` sees of the global batch: every ``num_processes``-th sample."""
        return self.batch(step)[rank::num_processes]

    def _order(self, epoch: int) -> Indices:
        if epoch not in self._orders:
            for old in [known for known in self._orders if known < epoch - 1]:
                del self._orders[old]
            self._orders[epoch] = epoch_order(self.num_samples, self.seed, epoch)
        return self._orders[epoch]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A part of the samples that is drawn from by weight.

    Attributes:
        name: of the part.
        first: index of its first sample.
        num_samples: how many it has; they lie next to each other.
        weight: above 0; only ratios of weights count.
    """

    name: str
    first: int
    num_samples: int
    weight: float


class WeightedOrder(GlobalOrder):
    """A stream in which every position belongs to a part, drawn by weight.

    Each part's own samples come in the order that they would have alone, epoch after epoch, so
    that a small part is gone through more often than a large one of the same weight. Positions
    are drawn in blocks by systematic sampling (Madow 1949): in a block of B positions a part of
    share w has floor(w B) or ceil(w B) of them, on average w B. Which part a position belongs to
    follows from the seed and the position alone.
    """

    BLOCK = 1024
    """Positions that are drawn together."""

    def __init__(self, shares: Sequence[Share], batch_size: int, seed: int) -> None:
        """Keep the parts.

        Raises:
            ValueError: there is no part, or one without samples or weight.
        """
        for share in shares:
            if share.num_samples < 1 or share.weight <= 0:
                raise ValueError(
                    f"the part {share.name!r} has {share.num_samples} samples and weight "
                    f"{share.weight}; both must be above 0"
                )
        super().__init__(sum(share.num_samples for share in shares), batch_size, seed)
        self.shares = tuple(shares)
        self._parts = [
            GlobalOrder(share.num_samples, 1, seed_from(seed, "part", share.name))
            for share in shares
        ]
        weights = np.array([share.weight for share in shares], dtype=np.float64)
        self._reach = np.cumsum(weights / weights.sum())[:-1]
        self._before: list[Indices] = [np.zeros(len(shares), dtype=np.int64)]
        """For each block whose beginning is known, how often each part was drawn before it."""
        self._drawn: tuple[int, Indices, Indices] | None = None
        """The block in use: its number, the part of each place, and its turn within the part."""

    def draw(self, position: int) -> Draw:
        """The sample at a position of the stream, counted from 0."""
        part, turn = self._at(position)
        own = self._parts[part].draw(turn)
        return Draw(index=self.shares[part].first + own.index, epoch=own.epoch)

    def epochs(self, step: int) -> dict[str, float]:
        """How often each part was gone through before ``step``; above 1 its samples repeat."""
        return {
            share.name: num / share.num_samples
            for share, num in zip(self.shares, self.num_drawn(step * self.batch_size), strict=True)
        }

    def num_drawn(self, position: int) -> list[int]:
        """How many of the positions before ``position`` each part has."""
        block, place = divmod(position, self.BLOCK)
        parts = self._block(block)[0][:place]
        within = np.bincount(parts, minlength=len(self.shares))
        return [int(num) for num in self._before[block] + within]

    def _at(self, position: int) -> tuple[int, int]:
        block, place = divmod(position, self.BLOCK)
        parts, turns = self._block(block)
        return int(parts[place]), int(turns[place])

    def _block(self, block: int) -> tuple[Indices, Indices]:
        """Of each place, int64[BLOCK]: its part, and how often that was drawn before."""
        while len(self._before) <= block:
            counts = np.bincount(
                self._drawn_parts(len(self._before) - 1), minlength=len(self.shares)
            )
            self._before.append(self._before[-1] + counts)
        if self._drawn is None or self._drawn[0] != block:
            parts = self._drawn_parts(block)
            turns = np.zeros(self.BLOCK, dtype=np.int64)
            for part, before in enumerate(self._before[block]):
                own = parts == part
                turns[own] = before + np.arange(np.count_nonzero(own))
            self._drawn = (block, parts, turns)
        return self._drawn[1:]

    def _drawn_parts(self, block: int) -> Indices:
        rng = np.random.default_rng(seed_from(self.seed, "parts", block))
        rungs = (np.arange(self.BLOCK) + rng.random()) / self.BLOCK
        parts: Indices = np.searchsorted(self._reach, rungs, side="right").astype(np.int64)
        return rng.permutation(parts)


def num_micro_batches(batch_size: int, num_processes: int, micro_batch_size: int | None) -> int:
    """Forward passes a process makes for one optimiser step; the same on every process."""
    largest_share = -(-batch_size // num_processes)
    return -(-largest_share // (micro_batch_size or largest_share))


def split_share(share: Sequence[Draw], micro_batch_size: int, count: int) -> list[Sequence[Draw]]:
    """Cut a process's share into exactly ``count`` micro-batches; the last ones may be empty."""
    return [share[i * micro_batch_size : (i + 1) * micro_batch_size] for i in range(count)]
