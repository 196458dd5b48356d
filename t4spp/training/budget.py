"""How many optimiser steps a budget of answer tokens pays for."""

from __future__ import annotations

import math

from t4spp.config import RunConfig
from t4spp.errors import RunError
from t4spp.training.batches import StepBatches

NUM_COUNTED = 1024
"""Draws whose answers are counted; the mean of so many is known to a few percent."""
MOST_STEPS = 64
"""Steps that are counted at most, however small they are."""


def counted_steps(batch_size: int) -> int:
    """Steps whose answers are counted: enough for :data:`NUM_COUNTED` draws, at least 4."""
    return min(max(math.ceil(NUM_COUNTED / batch_size), 4), MOST_STEPS)


def steps_for(target_tokens: int, batches: StepBatches) -> int:
    """The steps that come nearest to ``target_tokens``, by the mean of the first steps; 1 or more.

    The budget is met as nearly as the first steps are like the rest; what was trained on is counted
    as in every run.

    Args:
        target_tokens: answer tokens, the end token among them.
        batches: of one process that sees whole batches, as the run itself will draw them; so many
            as are to be counted.

    Raises:
        RunError: none of them holds an answer, or a dataset is damaged.
    """
    total = 0
    for step in range(len(batches)):
        batch = batches[step]
        if batch.error is not None:
            raise batch.error
        total += batch.num_answer_tokens
    if not total:
        raise RunError(
            f"training.target_tokens={target_tokens}: the first {len(batches)} steps hold no "
            "answer that can be trained on, so nobody knows how many steps that takes. Raise "
            "data.max_length, or set training.steps."
        )
    return max(round(target_tokens * len(batches) / total), 1)


def with_steps(config: RunConfig, steps: int) -> RunConfig:
    """The config with its steps told."""
    training = config.training.model_copy(update={"steps": steps})
    return config.model_copy(update={"training": training})
