"""While answers in bricks are trained, some attention heads are told where to look.

A connector that has learnt words and a language model that has read the web still have to find out
that a brick is about one place of the picture, and thousands of answers pass before they do. But
an answer's own tokens say which place: the box and the runs before it. So one head of a few layers
is taught to look where the run starts that is written next and another where it ends, and what
enters the layers between is asked through fixed random heads how far the grid is filled and where
the run lies. Nothing is added to the model and generation does not know of it.

Shapes: B rows, L tokens, T tokens of one conversation, M guided positions, N image tokens a
picture (256).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from t4spp.schemes.box_wise import STEPS
from t4spp.schemes.brick_tokens import FIRST_COORDINATE
from t4spp_plugins.backbones.guiding import brick_ids, place_loss, token_shares
from t4spp_plugins.backbones.smol.configuration import SIDE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_GUIDED = 6
"""Numbers for each position: the next row and column of the grid as shares of it, -1 where no
brick follows; y and x where to look first, y and x where to look next, as shares of the picture, -1
where nothing is known."""
_BINS = 32
_SHARPNESS = 4.0


@dataclass(frozen=True, kw_only=True)
class GuidedLayers:
    """Layers of the language model, numbered from 0, as shares of its depth.

    Attributes:
        counted: what enters it knows how far the grid is filled.
        located: what enters it knows where the next run starts.
        looking: one head looks at the start of the next run, another at its end.
        seen: what enters it knows where the run ends.
    """

    counted: float = 0.3
    located: float = 0.4
    looking: tuple[float, ...] = (0.4, 0.5, 0.6)
    seen: float = 0.8


LAYERS = GuidedLayers()


class BrickGuide:
    """Reads, off an answer's tokens, what each position should know before the next token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Look the brick and coordinate tokens up."""
        known = tokenizer.get_vocab()
        self._first_step = known.get(FIRST_COORDINATE, -1)
        self._bricks = {index: brick for brick, index in brick_ids(tokenizer).items()}
        self._columns = max((length for _, length in self._bricks.values()), default=0)

    @property
    def reads(self) -> bool:
        """Whether the scheme writes boxes and bricks as tokens."""
        return self._first_step >= 0 and self._columns > 0

    def __call__(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """What each of T tokens should know, float32[T, 6]; see :data:`NUM_GUIDED`."""
        told = np.full((len(ids), NUM_GUIDED), -1, dtype=np.float32)
        starts = [
            place
            for place in range(len(ids) - 3)
            if all(0 <= token - self._first_step < STEPS for token in ids[place : place + 4])
            and (place == 0 or not 0 <= ids[place - 1] - self._first_step < STEPS)
        ]
        for start, stop in pairwise([*starts, len(ids)]):
            self._tell_region(told, ids, start, stop)
        return told

    def _tell_region(
        self, told: npt.NDArray[np.float32], ids: Sequence[int], start: int, stop: int
    ) -> None:
        """Fill in what the tokens before a region's are told; its box begins at ``start``."""
        columns = self._columns
        written = [
            (place, *self._bricks[ids[place]])
            for place in range(start + 4, stop)
            if ids[place] in self._bricks
        ]
        num_cells = sum(length for _, _, length in written)
        rows = num_cells // columns
        if not rows or num_cells % columns:
            return
        y0, x0, y1, x1 = ((ids[start + k] - self._first_step) / STEPS for k in range(4))

        def place_of(row: float, column: float) -> tuple[float, float]:
            return y0 + row / rows * (y1 - y0), x0 + column / columns * (x1 - x0)

        cells = np.zeros(num_cells, dtype=np.bool_)
        filled = 0
        for place, foreground, length in written:
            row, column = divmod(filled, columns)
            told[place - 1] = (
                (row + 0.5) / rows,
                (column + 0.5) / columns,
                *place_of(row + 0.5, column),
                *place_of(row + 0.5, column + length),
            )
            cells[filled : filled + length] = foreground
            filled += length
        grid = cells.reshape(rows, columns)
        if not grid.any():
            return
        ys, xs = np.nonzero(grid)
        for number, (axis, edge) in enumerate(
            ((ys, ys.min()), (xs, xs.min()), (ys, ys.max()), (xs, xs.max()))
        ):
            at = np.flatnonzero(axis == edge)
            first, last = at[0], at[-1]
            told[start + number - 1, 2:] = (
                *place_of(ys[first] + 0.5, xs[first] + 0.5),
                *place_of(ys[last] + 0.5, xs[last] + 0.5),
            )


def guide_loss(
    language_model: Any,
    entering: Sequence[Tensor],
    *,
    told: Tensor,
    image_places: Tensor,
    image_sizes: Tensor,
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
) -> Tensor:
    """How far a pass is from knowing and looking as it should, summed over guided positions.

    Args:
        language_model: a Llama with its head, adapters and all.
        entering: what enters each of its layers, float[B, L, D].
        told: float32[B, L, 6]; see :data:`NUM_GUIDED`.
        image_places: bool[B, L], where the pictures' tokens stand.
        image_sizes: int64[B, 2], (H, W) of the pictures in pixels.
        position_ids: int64[B, L]; None: 0, 1, ...
        attention_mask: int64[B, L] of what is no padding, or bool[B, 1, L, L] of what is seen.

    Returns:
        A float32 scalar; 0 of nothing.
    """
    depth = len(language_model.model.layers)
    rows, length = told.shape[:2]
    device = entering[0].device
    if position_ids is None:
        position_ids = torch.arange(length, device=device).expand(rows, -1)
    counts = told[..., 0] >= 0
    looks = told[..., 2] >= 0
    total = torch.zeros((), device=device)
    for asked, share, columns in (
        (counts, LAYERS.counted, slice(0, 2)),
        (counts, LAYERS.located, slice(2, 4)),
        (looks, LAYERS.seen, slice(4, 6)),
    ):
        number = round(share * depth)
        known = entering[number][asked].float()
        known = known * known.square().mean(dim=1, keepdim=True).add(1e-6).rsqrt()
        heads = _fixed_heads(known.shape[1], number).to(device)
        loss, _ = place_loss(known @ heads, told[asked][:, columns])
        total = total + loss * len(known)
    cos_sin = language_model.model.rotary_emb(entering[0], position_ids)
    for share in LAYERS.looking:
        number = round(share * depth)
        layer = language_model.model.layers[number]
        states = layer.input_layernorm(entering[number])
        for group, columns in ((0, slice(2, 4)), (1, slice(4, 6))):
            queries, keys = _turned(layer.self_attn, states, cos_sin, group)
            for row in range(rows):
                total = total + _looking_loss(
                    queries[row],
                    keys[row],
                    asked=looks[row],
                    places=told[row][:, columns],
                    picture=image_places[row],
                    size=image_sizes[row],
                    seen=_seen(attention_mask, row, length, device),
                ) / len(LAYERS.looking)
    return total


def _looking_loss(
    queries: Tensor,
    keys: Tensor,
    *,
    asked: Tensor,
    places: Tensor,
    picture: Tensor,
    size: Tensor,
    seen: Tensor,
) -> Tensor:
    """Cross-entropy of where a head looks, summed over a row's guided positions.

    Args:
        queries: float[L, K].
        keys: float[L, K].
        asked: bool[L].
        places: float32[L, 2], (y, x) in the picture where to look.
        picture: bool[L], the picture's tokens.
        size: int64[2], its (H, W) in pixels.
        seen: bool[L, L], or bool[L], which keys each query may see.
    """
    logits = (queries[asked] @ keys.T).float() / queries.shape[-1] ** 0.5
    visible = seen[asked]
    shares = logits.masked_fill(~visible, -1e9).log_softmax(dim=1)[:, picture]
    wanted = token_shares(places[asked] * (size / size.max()), SIDE)
    return -(wanted * shares).sum()


def _turned(
    attention: Any, states: Tensor, cos_sin: tuple[Tensor, Tensor], group: int
) -> tuple[Tensor, Tensor]:
    """Queries of a group's first head and the group's keys, turned: float[B, L, K] each."""
    width = attention.head_dim
    first = group * attention.num_key_value_groups * width
    queries = attention.q_proj(states)[..., first : first + width]
    keys = attention.k_proj(states)[..., group * width : (group + 1) * width]
    turned: tuple[Tensor, Tensor] = apply_rotary_pos_emb(queries[:, None], keys[:, None], *cos_sin)
    return turned[0][:, 0], turned[1][:, 0]


def _seen(mask: Tensor | None, row: int, length: int, device: torch.device) -> Tensor:
    """Which keys each query of a row may see, bool[L, L]."""
    if mask is not None and mask.ndim == 4:
        return mask[row, 0].bool()
    causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return causal if mask is None else causal & mask[row].bool()


@lru_cache(maxsize=8)
def _fixed_heads(width: int, number: int) -> Tensor:
    """Heads over the bins of two axes that are never trained, float32[D, 2 * bins]."""
    generator = torch.Generator().manual_seed(number)
    made = torch.randn(width, 2 * _BINS, generator=generator)
    return made * (_SHARPNESS / width**0.5)
