"""The first samples of a split, without reading the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from t4spp.types import Sample

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.config import DataConfig


def training_samples(recipe: Recipe, data: DataConfig) -> Sequence[Sample]:
    """The first ``data.max_train_samples`` samples of the training split, perhaps none.

    Raises:
        RecipeError: unknown split, or files are missing.
    """
    return head(recipe.samples(data.train_split), data.max_train_samples)


class Parted(Sequence[Sample]):
    """Samples of several kinds one after the other, whose first ones would be of one kind only."""

    @abstractmethod
    def spread(self, limit: int) -> Sequence[Sample]:
        """The first samples of every part, ``limit`` together, of each about as many."""


class Head(Sequence[Sample]):
    """The first samples of a sequence, read when they are asked for."""

    def __init__(self, samples: Sequence[Sample], length: int) -> None:
        """Keep the first ``length`` of ``samples``."""
        self._samples = samples
        self._length = length

    def __len__(self) -> int:
        """How many there are."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """One sample, or a list of several."""
        if isinstance(index, slice):
            return [self._samples[i] for i in range(*index.indices(self._length))]
        if not -self._length <= index < self._length:
            raise IndexError(index)
        return self._samples[index % self._length]

    def __iter__(self) -> Iterator[Sample]:
        """Each sample in turn."""
        return (self._samples[i] for i in range(self._length))

    def labels_at(self, index: int) -> tuple[str, ...] | None:
        """A sample's labels where they are known without it; see ``t4spp.data.vocabulary``."""
        told = getattr(self._samples, "labels_at", None)
        return None if told is None else told(index)


def head(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """The first ``limit`` samples; all of them where there are no more, or no limit.

    Of samples in parts, the first of each part.
    """
    if limit is None or limit >= len(samples):
        return samples
    return samples.spread(limit) if isinstance(samples, Parted) else Head(samples, limit)
