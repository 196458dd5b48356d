"""Muon with the step size of AdamW, orthogonalising in float32 on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch's Muon, but for the type that a matrix is made semi-orthogonal in.

    torch does it in bfloat16, which a CPU without instructions for that type multiplies many times
    slower than float32. Settings and state are torch's, so that a state goes from one to the other.
    """

    def __init__(
        self, groups: Iterable[Mapping[str, Any]], *, learning_rate: float, weight_decay: float
    ) -> None:
        """Scale steps to the size of AdamW's (Liu et al. 2025, section 2.2).

        Args:
            groups: parameter groups; their parameters have two dimensions.
            learning_rate: of groups without one of their own.
            weight_decay: likewise; decoupled.
        """
        super().__init__(
            [dict(group) for group in groups],
            lr=learning_rate,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; ``closure`` works the loss and its gradients out again, once."""
        matrices = [matrix for group in self.param_groups for matrix in group["params"]]
        if any(matrix.device.type != "cpu" for matrix in matrices):
            there: float | None = super().step(closure)  # type: ignore[no-untyped-call]
            return there
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._step_of(matrix, matrix.grad, group)
        return loss

    @torch.no_grad()
    def _step_of(self, matrix: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state, momentum = self.state[matrix], group["momentum"]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        update = gradient.lerp(average, momentum) if group["nesterov"] else average
        update = orthogonalised(
            update, group["ns_coefficients"], steps=group["ns_steps"], eps=group["eps"]
        )
        rate = group["lr"] * 0.2 * math.sqrt(max(matrix.shape))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-rate)


def orthogonalised(
    matrix: Tensor, coefficients: tuple[float, float, float], *, steps: int, eps: float
) -> Tensor:
    """A matrix with singular values near 1 and the same singular vectors, in float32.

    The iteration of Jordan et al. 2024 (Newton-Schulz of degree five): each step takes every
    singular value s to ``a s + b s^3 + c s^5``, after all were divided by the Frobenius norm.

    Args:
        matrix: float[M, N].
        coefficients: a, b and c.
        steps: of the iteration.
        eps: the least norm to divide by.
    """
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).float()
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
