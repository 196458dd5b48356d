"""A key-value cache in which every row of a batch has a length of its own.

transformers' caches append: all rows grow by the same number of tokens a pass, and what a row did
not accept can be cropped only where every row crops as much. Here token ``k`` of a row lies in slot
``k`` of its row. A row that accepts fewer tokens than it was given simply writes the next ones over
the others; nothing is moved, masked for good or encoded again.

Shapes: B rows, H heads, C slots, Q tokens a pass, D numbers a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

GROWTH = 256
"""Slots by which a cache grows beyond what is needed at once."""


class Slots:
    """Where the tokens of the next pass go, for all layers."""

    def __init__(self, *, fixed: int | None = None) -> None:
        """Begin with an empty cache.

        Args:
            fixed: number of slots of a static cache, whose tensors never change their shape;
                None for one that grows.
        """
        self.fixed = fixed
        self.num_slots = 0
        """What the layers must hold for the next pass."""
        self.stop = 0
        """Slots that the next pass can see; all, in a static cache that has been filled once."""
        self.first: int | None = 0
        """The first slot that is written, where it is the same for all rows."""
        self.index: Tensor | None = None
        """int64[B, Q] of the slots that are written, where rows differ, and in a static cache."""

    def aim(self, starts: Sequence[int], width: int, device: torch.device) -> None:
        """The next pass writes ``width`` tokens a row, row ``i``'s from slot ``starts[i]`` on."""
        self.num_slots = max(starts) + width
        self.stop = self.num_slots if self.fixed is None else self.fixed
        equal = len(set(starts)) == 1
        self.first = starts[0] if equal else None
        if equal and self.fixed is None:
            self.index = None
            return
        begins = torch.tensor(list(starts), device=device)
        self.index = begins[:, None] + torch.arange(width, device=device)


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # its base is untyped
    """The keys and values of one layer, [B, H, C, D] each."""

    is_croppable = False
    is_sliding = False

    def __init__(self, slots: Slots) -> None:
        """Follow ``slots``; memory is taken at the first pass."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = slots

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take memory for keys and values like these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        size = self._slots.fixed or self._slots.num_slots + GROWTH
        self.keys = _empty(key_states, size)
        self.values = _empty(value_states, size)
        if self._slots.fixed is not None and not torch.compiler.is_compiling():
            dynamo: Any = torch._dynamo
            dynamo.mark_static_address(self.keys)
            dynamo.mark_static_address(self.values)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write [B, H, Q, D] where the slots say; all that the pass can see."""
        slots = self._slots
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        if keys.shape[2] < slots.num_slots:
            keys = self.keys = _grown(keys, slots.num_slots + GROWTH)
            values = self.values = _grown(values, slots.num_slots + GROWTH)
        if slots.index is None:
            assert slots.first is not None
            span = slice(slots.first, slots.first + key_states.shape[2])
            keys[:, :, span] = key_states
            values[:, :, span] = value_states
        else:
            places = slots.index[:, None, :, None]
            keys.scatter_(2, places.expand_as(key_states), key_states)
            values.scatter_(2, places.expand_as(value_states), value_states)
        return keys[:, :, : slots.stop], values[:, :, : slots.stop]

    def keep(self, rows: Tensor) -> None:
        """Leave only ``rows``, int64[B']."""
        if self.is_initialized:
            assert self.keys is not None
            assert self.values is not None
            self.keys = self.keys[rows]
            self.values = self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Slots that the next pass sees, and the first of them."""
        return self._slots.stop, 0

    def get_seq_length(self) -> int:
        """Tokens before the next pass, where all rows have as many; for masks that models make."""
        return self._slots.first or 0

    def get_max_length(self) -> int:
        """No bound, or that of a static cache."""
        return -1 if self._slots.fixed is None else self._slots.fixed


class SlotCache(Cache):
    """A cache of ``num_layers`` layers that :class:`Slots` steers."""

    def __init__(self, num_layers: int, *, fixed: int | None = None) -> None:
        """Make it empty.

        Args:
            num_layers: of the model.
            fixed: slots of a static cache; None for one that grows.
        """
        self.slots = Slots(fixed=fixed)
        self.slot_layers = [SlotLayer(self.slots) for _ in range(num_layers)]
        super().__init__(layers=list(self.slot_layers))

    def keep(self, rows: Sequence[int]) -> None:
        """Leave only these rows, in this order."""
        for layer in self.slot_layers:
            if layer.is_initialized:
                layer.keep(torch.tensor(list(rows), device=layer.device))


def _empty(states: Tensor, size: int) -> Tensor:
    batch, heads, _, width = states.shape
    return states.new_zeros(batch, heads, size, width)


def _grown(states: Tensor, size: int) -> Tensor:
    grown = _empty(states, size)
    grown[:, :, : states.shape[2]] = states
    return grown
