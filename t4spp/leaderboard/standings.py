"""Where schemes stand: means over seeds with intervals, differences, and orderings.

Each 95 % interval draws two things anew. Pictures: every resample draws the same pictures for all
runs, as `t4spp compare` does. Seeds: each scheme's mean is over S - 1 of its S runs, drawn with
replacement, independently of other schemes; S - 1 draws make the variance of the mean the unbiased
one (Rao and Wu, "Resampling inference with complex survey data", JASA 1988). With one seed only
pictures are drawn, and what another training would give is not in the interval.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import ConfigError, nearest
from t4spp.evaluation.bootstrap import Interval, interval_of, resampled_sums
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.evaluation.sums import ProtocolSums

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A scheme's score under a budget, over some samples.

    Attributes:
        by_seed: float64[S], of each run over all of them.
        draws: float64[B], its mean over drawn seeds in each resample; NaN where nothing counts.
        num_samples: of those samples, the ones that the protocol measured.
    """

    by_seed: Floats
    draws: Floats
    num_samples: int

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(self.by_seed.mean())

    @property
    def interval(self) -> Interval:
        """Its 95 % interval."""
        return interval_of(self.draws[np.isfinite(self.draws)])


class Draws:
    """Draws scores of runs over the samples that all of them answered."""

    def __init__(
        self,
        runs: Mapping[str, Sequence[ProtocolSums]],
        *,
        protocol: str,
        metric: str,
        resamples: int,
        seed: int = 0,
    ) -> None:
        """Find what all runs share.

        Args:
            runs: by scheme, one a seed; schemes without a run left out.
            protocol: that measured them.
            metric: the score of it.
            resamples: B.
            seed: of all draws.

        Raises:
            ConfigError: the protocol has no such score, or none that sums of samples give.
        """
        self.runs = runs
        self.protocol = PROTOCOLS[protocol]()
        self.metric = metric
        self.resamples = resamples
        self.seed = seed
        every = [sums for own in runs.values() for sums in own]
        common = set.intersection(*(set(sums.ids) for sums in every)) if every else set()
        self.ids = tuple(key for key in every[0].ids if key in common) if every else ()
        for sums in every[:1]:
            self._check_metric(protocol, sums)

    @property
    def num_left_out(self) -> int:
        """Samples that only some of the runs answered."""
        every = [sums for own in self.runs.values() for sums in own]
        return len({key for sums in every for key in sums.ids}) - len(self.ids)

    def of(self, scheme: str, kept: frozenset[str] | None = None) -> Drawn:
        """A scheme's score over the shared samples, or over those of them that are ``kept``."""
        ids = [key for key in self.ids if kept is None or key in kept]
        by_seed, draws = [], []
        for sums in self.runs[scheme]:
            rows = {key: number for number, key in enumerate(sums.ids)}
            own = [rows[key] for key in ids]
            if not own:
                by_seed.append(float("nan"))
                draws.append(np.full(self.resamples, np.nan))
                continue
            values = sums.values[own]
            images = [sums.image_ids[row] for row in own]
            total = self.protocol.of_sums(sums.columns, values.sum(axis=0)[np.newaxis])
            by_seed.append(float(total[self.metric][0]))
            resampled = resampled_sums(images, values, resamples=self.resamples, seed=self.seed)
            draws.append(self.protocol.of_sums(sums.columns, resampled)[self.metric])
        drawn = np.stack(draws)
        return Drawn(
            by_seed=np.array(by_seed),
            draws=self._over_seeds(scheme, drawn),
            num_samples=len(ids),
        )

    def _over_seeds(self, scheme: str, drawn: Floats) -> Floats:
        """float64[B] of float64[S, B]: the mean of the drawn runs in each resample."""
        number = len(drawn)
        if number == 1:
            return np.asarray(drawn[0], dtype=np.float64)
        rng = np.random.default_rng([self.seed, zlib.crc32(scheme.encode())])
        picks = rng.integers(0, number, (number - 1, self.resamples))
        return np.asarray(np.take_along_axis(drawn, picks, axis=0).mean(axis=0), dtype=np.float64)

    def _check_metric(self, protocol: str, sums: ProtocolSums) -> None:
        scores = self.protocol.of_sums(sums.columns, sums.values.sum(axis=0)[np.newaxis])
        if self.metric not in scores:
            raise ConfigError(
                f"metric {self.metric!r}: sums of single samples do not give it; those of the "
                f"protocol {protocol!r} give {', '.join(scores) or 'no score'}."
                f"{nearest(self.metric, scores)}"
            )


def difference(first: Drawn, second: Drawn) -> dict[str, Any]:
    """``{"difference", "low", "high", "outside"}`` of first minus second, paired by resample.

    ``outside``: 0 does not lie in the interval; None where there is none.
    """
    differences = first.draws - second.draws
    interval = interval_of(differences[np.isfinite(differences)])
    low, high = finite(interval.low), finite(interval.high)
    outside = None if low is None or high is None else low > 0 or high < 0
    return {
        "difference": finite(first.value - second.value),
        "low": low,
        "high": high,
        "outside": outside,
    }


def verdict(found: Mapping[str, Any]) -> str:
    """Whether a difference's sign is told by the samples and seeds at hand."""
    if found["difference"] is None:
        return "not measured"
    if not found["outside"]:
        return "inside the interval"
    return "holds" if found["difference"] > 0 else "reversed"


def described(drawn: Drawn) -> dict[str, float | None]:
    """``{"value", "low", "high"}``, None where nothing counts."""
    interval = drawn.interval
    return {
        "value": finite(drawn.value),
        "low": finite(interval.low),
        "high": finite(interval.high),
    }


def finite(value: float) -> float | None:
    """The value; None for NaN, which JSON has not."""
    return float(value) if np.isfinite(value) else None
