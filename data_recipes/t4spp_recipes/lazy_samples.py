"""A sequence of samples that are made one by one, on access."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

from t4spp.types import Sample

Entry = TypeVar("Entry")


class LazySamples(Sequence[Sample], Generic[Entry]):
    """Makes a :class:`~t4spp.types.Sample` from a small entry whenever it is indexed.

    Only the entries stay in memory. The sequence pickles if ``make`` does (a module's function or
    a method of a picklable object), so that it can be handed to worker processes. An entry with
    the attribute ``label`` or ``labels`` tells by it what its sample is scored on, so that the
    labels of a split are known without its masks.
    """

    def __init__(self, entries: Sequence[Entry], make: Callable[[Entry], Sample]) -> None:
        """Keep the entries (one a sample, in order) and the function that makes a sample."""
        self._entries = tuple(entries)
        self._make = make

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> LazySamples[Entry]: ...

    def __getitem__(self, index: int | slice) -> Sample | LazySamples[Entry]:
        """One sample, made now; a slice is lazy too."""
        if isinstance(index, slice):
            return LazySamples(self._entries[index], self._make)
        return self._make(self._entries[index])

    def labels_at(self, index: int) -> tuple[str, ...] | None:
        """The labels of a sample, without its masks; None where its entry does not tell them."""
        entry = self._entries[index]
        label, labels = getattr(entry, "label", None), getattr(entry, "labels", None)
        if isinstance(label, str):
            return (label,)
        if isinstance(labels, tuple) and all(isinstance(name, str) for name in labels):
            return labels
        return None
