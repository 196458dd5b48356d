"""Slips: pretraining's answers with some tokens a little off, and what should follow them.

Answers are learnt with the true tokens before each token, but written after the model's own, whose
boxes are a pixel off now and then and whose bricks are a cell off. What should follow is no
guess: the mask's cells inside the box that was written, and the rest of the row after the bricks
that were written. So both can be told (a cure of exposure bias in the manner of DAgger: Ross,
Gordon and Bagnell 2011, with random slips in place of the model's own).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t4spp.schemes.box_wise import STEPS, Steps, box_pixels, box_steps
from t4spp.schemes.brick_tokens import FIRST_COORDINATE
from t4spp.schemes.next_brick import NextBrick
from t4spp.types import BoolMask, Box
from t4spp_plugins.backbones.guiding import brick_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Rewritten = tuple[list[int], list[int]]
"""Tokens as they stand in the text, and the tokens that should stand there."""

_NEAR = 0.75
"""Chance that a slip of an edge goes no further; each pixel more is as likely to be the last."""


class Slips:
    """Rewrites answers in next-brick with slips."""

    def __init__(
        self, scheme: NextBrick, tokenizer: PreTrainedTokenizerBase, *, edges: float, bricks: float
    ) -> None:
        """Look the tokens up.

        Args:
            scheme: without row marks, keeping small targets, its coordinates as tokens.
            tokenizer: has learnt the scheme's tokens.
            edges: share of a box's edges that slip by a pixel or more; those at the picture's
                border only inwards.
            bricks: share of bricks that slip by a cell, too short or too long, where their row has
                room for it.
        """
        self.scheme, self.edges, self.bricks = scheme, edges, bricks
        self.first_step = int(tokenizer.vocab[FIRST_COORDINATE])
        self.brick_of_run = brick_ids(tokenizer)
        self.bricks_known = frozenset(self.brick_of_run.values())

    def __call__(
        self, ids: Sequence[int], masks: Sequence[BoolMask], rng: np.random.Generator
    ) -> Rewritten:
        """An answer with slips.

        Args:
            ids: the true answer.
            masks: bool[H, W] of its regions, in their order.
            rng: draws the slips.
        """
        written: list[int] = []
        wanted: list[int] = []
        region = place = 0
        while place < len(ids):
            if not self.first_step <= ids[place] < self.first_step + STEPS:
                written.append(ids[place])
                wanted.append(ids[place])
                place += 1
                continue
            y0, x0, y1, x1 = (token - self.first_step for token in ids[place : place + 4])
            wanted += ids[place : place + 4]
            place += 4
            while place < len(ids) and ids[place] in self.bricks_known:
                place += 1
            mask = masks[region]
            region += 1
            steps = self._box((y0, x0, y1, x1), mask, rng)
            written += [self.first_step + step for step in steps]
            for row in self.scheme.cells(mask, steps):
                stands, should = self._row(row.tolist(), rng)
                written += stands
                wanted += should
        return written, wanted

    def _box(self, steps: Steps, mask: BoolMask, rng: np.random.Generator) -> Steps:
        """The box with some of its edges moved, as long as it holds some of the mask."""
        height, width = mask.shape
        box = box_pixels(steps, (height, width))
        move = rng.geometric(_NEAR, size=4) * rng.choice((-1, 1), size=4)
        move *= rng.random(4) < self.edges
        y0, x0 = box.y0 + int(move[0]), box.x0 + int(move[1])
        y1, x1 = box.y1 + int(move[2]), box.x1 + int(move[3])
        y0, x0 = min(max(y0, 0), height - 1), min(max(x0, 0), width - 1)
        y1, x1 = max(min(y1, height), y0 + 1), max(min(x1, width), x0 + 1)
        slipped = Box(y0=y0, x0=x0, y1=y1, x1=x1)
        return box_steps(slipped if mask[slipped.slices].any() else box, (height, width))

    def _row(self, row: Sequence[bool], rng: np.random.Generator) -> Rewritten:
        """The bricks of one row of cells; neighbours differ, whatever was written before."""
        written: list[int] = []
        wanted: list[int] = []
        column, value = 0, row[0]
        while column < len(row):
            length = should = run_onward(row[column:], value)
            if rng.random() < self.bricks:
                slipped = length + (1 if rng.random() < 0.5 else -1)
                length = slipped if 1 <= slipped <= len(row) - column else length
            wanted.append(self.brick_of_run[value, should])
            written.append(self.brick_of_run[value, length])
            column += length
            value = not value
        return written, wanted


def run_onward(cells: Sequence[bool], value: bool) -> int:
    """How long a brick of ``value`` should be over what is left of a row.

    It ends where the next run of the other value begins. Where it may only be wrong, since a
    brick before it ended a cell early or late, it takes that one cell along, and no more.
    """
    wrong = next((at for at, cell in enumerate(cells) if cell == value), len(cells))
    if wrong > 1:
        return 1
    end = wrong
    while end < len(cells) and cells[end] == value:
        end += 1
    return end
