"""What teaches a language model to look while it learns to write bricks.

A brick can only be right where the model knows how far the grid is filled and where in the picture
the run lies. These losses ask it for both; the places that they ask for are worked out from an
answer's own tokens.

Shapes: M positions, N image tokens, K places at each position, B bins of an axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t4spp.schemes.brick_tokens import TOKEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def brick_ids(tokenizer: PreTrainedTokenizerBase) -> dict[tuple[bool, int], int]:
    """The bricks' token ids by value and length in cells."""
    matches = ((index, TOKEN.fullmatch(name)) for name, index in tokenizer.vocab.items())
    return {
        (match[1] == "fg", int(match[2])): index
        for index, match in matches
        if match and match[1] in ("bg", "fg") and match[2]
    }


def place_loss(logits_MG: Tensor, places_MK: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of places along the picture's axes.

    Args:
        logits_MG: float[M, K * B], over an axis' B bins for each of the places.
        places_MK: in 0..1; wanted are the two bins whose centres are nearest.

    Returns:
        A scalar, 0 of nothing, and the share of places that lie within the likeliest bin or
        within one bin of it.
    """
    if len(logits_MG) == 0:
        return logits_MG.sum(), 0.0
    logits_MKB = logits_MG.float().unflatten(1, (places_MK.shape[1], -1))
    bins = logits_MKB.shape[-1]
    loss = -(axis_shares(places_MK, bins) * logits_MKB.log_softmax(-1)).sum(-1).mean()
    near = (logits_MKB.argmax(-1) + 0.5 - places_MK * bins).abs() <= 1.5
    return loss, near.float().mean().item()


def axis_shares(places: Tensor, bins: int) -> Tensor:
    """Places 0..1 as linear weights of the two bins whose centres are nearest.

    Args:
        places: float of any shape.
        bins: of the axis.

    Returns:
        float[..., bins], each row sums to 1.
    """
    centres = torch.arange(bins, device=places.device)
    at = (places * bins - 0.5).clamp(0, bins - 1)
    return (1 - (at[..., None] - centres).abs()).clamp(min=0)


def token_shares(places_M2: Tensor, side: int) -> Tensor:
    """Places in the picture as shares of the tokens around them.

    Args:
        places_M2: (y, x) in 0..1.
        side: tokens a row and a column; N is its square.

    Returns:
        float[M, N], each row sums to 1: bilinear weights of the four nearest tokens' centres.
    """
    y_MS, x_MS = axis_shares(places_M2, side).unbind(1)
    return (y_MS[:, :, None] * x_MS[:, None, :]).flatten(1)
