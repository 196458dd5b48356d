"""The learning rate as a pure function of the step: warm-up, then linear decay to zero."""

from __future__ import annotations

import math


def num_warmup_steps(num_steps: int, warmup_ratio: float) -> int:
    """Steps of warm-up, rounded up."""
    return math.ceil(num_steps * warmup_ratio)


def learning_rate(step: int, *, peak: float, num_steps: int, warmup_ratio: float) -> float:
    """The rate of optimiser step ``step``, counted from 0.

    It rises linearly to ``peak`` over the warm-up (the first step is not zero), then falls
    linearly so that the step after the last would be zero. Needs no state, so a resumed run
    cannot disagree with an uninterrupted one.
    """
    warmup = num_warmup_steps(num_steps, warmup_ratio)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * max(0.0, (num_steps - step) / max(1, num_steps - warmup))
