"""What a protocol is: measures answers one by one, joins processes, and has intervals.

A protocol turns each answer into *rows*, small and picklable. Every process gives its own rows to
``update``; torchmetrics joins their states, so that ``compute`` is exact however the samples were
shared out. The rows of all processes, gathered, are what intervals are drawn from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.bootstrap import Interval, Terms, bootstrap_intervals
from t4spp.evaluation.pairs import PairScore
from t4spp.types import Decoded, Sample

if TYPE_CHECKING:
    import torch
    from torchmetrics import Metric


class HasImage(Protocol):
    """What a row must tell of itself."""

    @property
    def position(self) -> int:
        """Of its sample in the split."""

    @property
    def image_id(self) -> str:
        """Its picture, which the bootstrap draws."""


Row = TypeVar("Row", bound=HasImage)
Floats = npt.NDArray[np.float64]
ABOVE, BELOW = "/above", "/below"
"""How the columns of a score that is a ratio of sums end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One answer beside its truth.

    Attributes:
        position: of the sample in its split.
        sample: with its masks.
        prediction: the raw answer.
        decoded: the answer read, and refined where the run refines.
        pairs: what ``native`` makes of it, at the picture's own resolution; () for a dialogue.
    """

    position: int
    sample: Sample
    prediction: Prediction
    decoded: Decoded
    pairs: Sequence[PairScore]


class EvaluationProtocol(ABC, Generic[Row]):
    """A named preset of an evaluation. One instance scores one split, on every process.

    Attributes:
        name: as configs and ``--protocol`` name it.
        summary: one line: what it reproduces.
        dialogue: False: sees prompts for masks alone; True: questions in words alone.
        metrics: torchmetrics by metric name; ``compute`` asks each.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    dialogue: ClassVar[bool] = False
    metrics: dict[str, Metric]

    @abstractmethod
    def measure(self, answered: Answered) -> Sequence[Row]:
        """The rows of one answer; () where the protocol leaves it out (and counts that)."""

    @abstractmethod
    def update(self, rows: Sequence[Row], device: torch.device | None = None) -> None:
        """Add this process's rows to the metrics; an empty sequence is allowed.

        Args:
            rows: of this process.
            device: where the metrics' states meet other processes'; None for the CPU.
        """

    def compute(self) -> dict[str, float]:
        """The scores over all processes; NaN where nothing counts. All processes must call it."""
        return {name: float(metric.compute()) for name, metric in self.metrics.items()}

    @abstractmethod
    def terms(self, rows: Sequence[Row]) -> Mapping[str, Terms]:
        """The scores that are ratios of sums over ``rows``, for intervals; others are left out."""

    def intervals(
        self, rows: Sequence[Row], *, resamples: int, seed: int
    ) -> Mapping[str, Interval]:
        """A 95 % interval a score, over pictures drawn with replacement.

        Scores without one are left out. A protocol whose scores are no ratios of sums overrides
        this.

        Args:
            rows: of all processes, in the split's order.
            resamples: of the bootstrap; 0: NaN.
            seed: of the bootstrap.
        """
        return bootstrap_intervals(
            [row.image_id for row in rows], self.terms(rows), resamples=resamples, seed=seed
        )

    def summands(self, rows: Sequence[Row]) -> tuple[tuple[str, ...], Floats]:
        """What each row adds to the sums that scores are made of; kept on disk to compare runs.

        A protocol whose scores are made of sums, but are no ratios of two, overrides this and
        ``of_sums``.

        Args:
            rows: of all processes, N, at least one.

        Returns:
            The columns' names, C, equal in every run that names the same things; float64[N, C].
        """
        terms = self.terms(rows)
        names = [f"{name}{side}" for name in terms for side in (ABOVE, BELOW)]
        columns = [side for term in terms.values() for side in (term.numerator, term.denominator)]
        values = np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))
        return tuple(names), values

    def of_sums(self, names: Sequence[str], sums: Floats) -> dict[str, Floats]:
        """The scores of sums of ``summands`` over any rows.

        Args:
            names: the columns', C; those of several runs united.
            sums: float64[R, C].

        Returns:
            float64[R] a score; NaN where nothing counts.
        """
        place = {name: index for index, name in enumerate(names)}
        found: dict[str, Floats] = {}
        for name in names:
            if not name.endswith(ABOVE):
                continue
            score = name.removesuffix(ABOVE)
            above, below = sums[:, place[name]], sums[:, place[score + BELOW]]
            nothing = np.full(len(sums), np.nan)
            found[score] = np.divide(above, below, out=nothing, where=below > 0)
        return found

    def counts(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """What was left out or is worth telling beside the scores; JSON values.

        Args:
            rows: of all processes, in the split's order.
        """
        return {}
