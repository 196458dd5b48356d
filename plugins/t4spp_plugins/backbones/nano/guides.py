"""What pretraining tells the language model beside the text, for each place that writes a brick.

A brick can only be right where the model knows how far the grid is filled and where in the
picture the run starts and ends that it is about to write, to the pixel. All follow from the
answer's own tokens, so they are worked out from them. In pretraining only.

Shapes: T text tokens, M positions, N image tokens, R C rows and columns of a region's grid,
K places at each position, B bins of an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t4spp.schemes.box_wise import STEPS
from t4spp.schemes.brick_tokens import TOKEN
from t4spp_plugins.backbones.nano.vocabulary import FIRST_COORDINATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Guide:
    """Reads, off an answer's tokens, where its grids stand and where their runs start and end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, shape: tuple[int, int]) -> None:
        """Look the brick and coordinate tokens up; ``shape`` is (R, C)."""
        self.first_step = tokenizer.vocab[FIRST_COORDINATE]
        self.shape = shape
        self.lengths = {index: length for (_, length), index in brick_ids(tokenizer).items()}

    def __call__(
        self, ids: Sequence[int], wanted: Sequence[int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Both guides of one conversation.

        Args:
            ids: its tokens.
            wanted: what should stand there; where a brick stands, a brick.

        Returns:
            ``cursor`` int64[T]: cells of the region's grid written so far, where the next token
            is a brick, elsewhere -1; ``runs`` float32[T, 3]: that brick's (y, near x, far x) as
            shares of the picture, y in the middle of its row; elsewhere 0.
        """
        rows, columns = self.shape
        cursor = np.full(len(ids), -1, dtype=np.int64)
        runs = np.zeros((len(ids), 3), dtype=np.float32)
        box: list[int] = []
        written = 0
        for place, token in enumerate(ids):
            step = token - self.first_step
            if 0 <= step < STEPS:
                box = [*box, step] if len(box) % 4 else [step]
                written = 0
            length = self.lengths.get(token)
            if length is None or len(box) != 4 or written >= rows * columns:
                continue
            row, column = divmod(written, columns)
            cursor[place - 1] = written
            y0, x0, y1, x1 = (value / STEPS for value in (box[0], box[1], box[2], box[3]))
            runs[place - 1] = (
                y0 + (row + 0.5) / rows * (y1 - y0),
                x0 + column / columns * (x1 - x0),
                x0 + (column + self.lengths[wanted[place]]) / columns * (x1 - x0),
            )
            written += length
        return cursor, runs


def brick_ids(tokenizer: PreTrainedTokenizerBase) -> dict[tuple[bool, int], int]:
    """The bricks' token ids by value and length in cells."""
    matches = ((index, TOKEN.fullmatch(name)) for name, index in tokenizer.vocab.items())
    return {
        (match[1] == "fg", int(match[2])): index
        for index, match in matches
        if match and match[1] in ("bg", "fg") and match[2]
    }


def read_out(width: int, outputs: int) -> nn.Linear:
    """A head that reads ``outputs`` logits off hidden states; thrown away after pretraining."""
    head = nn.Linear(width, outputs)
    nn.init.normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def cursor_loss(
    logits_MG: Tensor, cursor_M: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, float]:
    """Cross-entropy of row and column of the next cell.

    Args:
        logits_MG: float[M, R + C].
        cursor_M: cells written so far.
        shape: (R, C).

    Returns:
        A scalar, 0 of nothing, and the share of places whose row and column are both right.
    """
    if len(logits_MG) == 0:
        return logits_MG.sum(), 0.0
    row, column = logits_MG.float().split(shape, dim=1)
    rows, columns = cursor_M // shape[1], cursor_M % shape[1]
    loss = F.cross_entropy(row, rows) + F.cross_entropy(column, columns)
    right = (row.argmax(1) == rows) & (column.argmax(1) == columns)
    return loss, right.float().mean().item()


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
