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
import torch.nn.functional as F
from torch import Tensor, nn

from t4spp.schemes.box_wise import STEPS
from t4spp.schemes.brick_tokens import FIRST_COORDINATE
from t4spp_plugins.backbones.guiding import brick_ids

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
