"""Pretraining's optimiser: its learning rates, its schedule, and several processes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from t4spp.training.optimizers import MuonWithAdamW


class PairedOptimiser:
    """Muon for the matrices inside blocks, AdamW for all else, under one schedule.

    The learning rate warms up linearly, stays, then falls linearly to zero.
    """

    def __init__(
        self,
        modules: Iterable[tuple[nn.Module, float]],
        *,
        learning_rate: float,
        steps: int,
        warmup: int = 100,
        decay: float = 0.5,
        max_grad_norm: float = 1.0,
    ) -> None:
        """Take every trainable parameter of ``modules``.

        Args:
            modules: what to train, each with its share of the learning rate.
            learning_rate: peak of both.
            steps: of the whole training.
            warmup: steps of linear warm-up.
            decay: share of the steps, at the end, in which the rate falls to zero.
            max_grad_norm: of the clipping.
        """
        self.parameters: list[Tensor] = []
        matrices: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for module, share in modules:
            inside: list[Tensor] = []
            outside: list[Tensor] = []
            for name, parameter in module.named_parameters():
                in_block = parameter.ndim == 2 and "layers." in name
                (inside if in_block else outside).append(parameter)
            self.parameters += inside + outside
            matrices.append({"params": inside, "share": share})
            others.append({"params": outside, "share": share})
        self.optimiser = MuonWithAdamW(
            matrices, others, learning_rate=learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.learning_rate, self.steps, self.warmup = learning_rate, steps, warmup
        self.decay, self.max_grad_norm = decay, max_grad_norm
        self.taken = 0

    def rate(self) -> float:
        """The learning rate of the next step."""
        warm = min((self.taken + 1) / max(self.warmup, 1), 1.0)
        left = (self.steps - self.taken) / max(math.ceil(self.decay * self.steps), 1)
        return self.learning_rate * warm * min(max(left, 0.0), 1.0)

    def step(self) -> float:
        """Average over processes, clip, step both, clear; returns the norm before clipping."""
        self._average_gradients()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate() * group["share"]
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.taken += 1
        return float(norm)

    def _average_gradients(self) -> None:
        """Make every process's gradients the mean over processes; nothing with one process."""
        if not dist.is_initialized():
            return
        gradients = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for parameter in self.parameters
        ]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        start = 0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = flat[start : start + gradient.numel()].view_as(gradient)
            start += gradient.numel()
