from __future__ import annotations

import pytest
import torch
from torch import nn

from t4spp_plugins.backbones.nano.optimiser import PairedOptimiser


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)


def test_learning_rate_warms_up_stays_and_falls() -> None:
    module = TwoParts()
    optimiser = PairedOptimiser(
        [(module, 0.5)], learning_rate=0.1, steps=10, warmup=2, decay=0.5, max_grad_norm=1.0
    )
    rates, used = [], []
    for _ in range(10):
        rates.append(round(optimiser.rate(), 6))
        module.head(module.layers[0](torch.ones(1, 4))).sum().backward()
        optimiser.step()
        used.append({round(g["lr"], 6) for g in optimiser.optimiser.param_groups})
    assert rates == [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02]
    assert used == [{round(rate / 2, 6)} for rate in rates]


def test_matrices_inside_layers_go_to_muon_and_the_rest_to_adamw() -> None:
    module = TwoParts()
    optimiser = PairedOptimiser([(module, 1.0)], learning_rate=0.1, steps=10)
    adamw, muon = optimiser.optimiser.parts
    assert [p for g in muon.param_groups for p in g["params"]] == [module.layers[0].weight]
    rest = {id(p) for g in adamw.param_groups for p in g["params"]}
    assert rest == {
        id(module.layers[0].bias),
        id(module.head.weight),
        id(module.head.bias),
    }


def test_a_step_moves_every_parameter_clears_gradients_and_tells_the_norm() -> None:
    torch.manual_seed(0)
    module = TwoParts()
    before = [parameter.clone() for parameter in module.parameters()]
    optimiser = PairedOptimiser([(module, 1.0)], learning_rate=0.1, steps=5, warmup=1)
    (1000 * module.head(module.layers[0](torch.ones(1, 4))).sum()).backward()
    norm = torch.stack([p.grad.norm() for p in module.parameters()]).norm().item()
    assert optimiser.step() == pytest.approx(norm, rel=1e-4)
    assert norm > 100
    for old, parameter in zip(before, module.parameters(), strict=True):
        assert parameter.grad is None
        assert 0 < (parameter - old).abs().max() < 1
