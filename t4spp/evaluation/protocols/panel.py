"""Several protocols in one pass over the answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from t4spp.decoding.processes import Crew
from t4spp.evaluation.bootstrap import Interval
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol, HasImage
from t4spp.evaluation.protocols.catalogue import PROTOCOLS, check_protocols

Score = dict[str, float | None]
"""``value``, ``low`` and ``high``; None where nothing counts, or where there is no interval."""


class Panel:
    """Protocols that look at the same answers, and the rows that they made of them.

    Attributes:
        protocols: by name, in the order of asking.
        rows: of this process, by protocol.
        everyone: of all processes, in the split's order, once ``scores`` has gathered them.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Make the protocols.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        self.protocols: dict[str, EvaluationProtocol[Any]] = {
            name: PROTOCOLS[name]() for name in check_protocols(names)
        }
        self.rows: dict[str, list[HasImage]] = {name: [] for name in self.protocols}
        self.everyone: dict[str, list[HasImage]] = {}

    def measure(self, answered: Answered) -> dict[str, Sequence[HasImage]]:
        """Each protocol's rows of one answer; nothing is kept."""
        asks_for_words = answered.sample.kind == "dialogue"
        return {
            name: protocol.measure(answered)
            for name, protocol in self.protocols.items()
            if protocol.dialogue == asks_for_words
        }

    def add(self, rows: Mapping[str, Sequence[HasImage]]) -> None:
        """Keep rows that ``measure`` made, here or in a worker."""
        for name, own in rows.items():
            self.rows[name].extend(own)

    def scores(
        self, crew: Crew, *, resamples: int, seed: int
    ) -> tuple[dict[str, dict[str, Score]], dict[str, dict[str, Any]]]:
        """Every protocol's scores over all processes, with intervals, and what it left out.

        Every process must call this, once.

        Args:
            crew: the processes.
            resamples: of the bootstrap; 0: no intervals.
            seed: of the bootstrap.

        Returns:
            ``protocols`` and ``protocol_counts`` of ``metrics.json``.
        """
        scores: dict[str, dict[str, Score]] = {}
        counts: dict[str, dict[str, Any]] = {}
        for name, protocol in self.protocols.items():
            mine = self.rows[name]
            everyone = sorted(crew.gather(mine), key=lambda row: row.position)
            self.everyone[name] = everyone
            protocol.update(mine, device_of(crew))
            values = protocol.compute()
            intervals = protocol.intervals(everyone, resamples=resamples, seed=seed)
            scores[name] = with_intervals(values, intervals)
            told = protocol.counts(everyone)
            if told:
                counts[name] = dict(told)
        return scores, counts


def with_intervals(
    values: Mapping[str, float], intervals: Mapping[str, Interval]
) -> dict[str, Score]:
    """Scores as ``metrics.json`` has them."""
    none = Interval(low=float("nan"), high=float("nan"))
    return {
        name: {
            "value": finite(value),
            "low": finite(intervals.get(name, none).low),
            "high": finite(intervals.get(name, none).high),
        }
        for name, value in values.items()
    }


def finite(value: float) -> float | None:
    """The value; None for NaN and infinities, which JSON does not have."""
    return value if math.isfinite(value) else None


def device_of(crew: Crew) -> Any:
    """Where the processes' tensors can meet; None for a single process."""
    if crew.size == 1:
        return None
    from accelerate import PartialState

    return PartialState().device
