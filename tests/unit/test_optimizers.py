"""Muon beside AdamW, against torch's own two."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from t4spp.config import TrainingConfig
from t4spp.errors import ConfigError
from t4spp.plugins import load_catalogue
from t4spp.training.muon import orthogonalised
from t4spp.training.optimizers import MuonWithAdamW, inner_matrices, make_optimizer

SETTINGS = {"learning_rate": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1}


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(x)).square().sum()


def paired(model: Tiny) -> MuonWithAdamW:
    others = [model.inner.bias, *model.head.parameters()]
    return MuonWithAdamW([{"params": [model.inner.weight]}], [{"params": others}], **SETTINGS)


def step(model: Tiny, optimizers: Any, seed: int) -> None:
    model.zero_grad()
    model(torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))).backward()
    for optimizer in optimizers:
        optimizer.step()


def test_each_part_steps_as_torchs_own_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_float32(matrix: torch.Tensor, abc: Any, steps: int, eps: float) -> torch.Tensor:
        return orthogonalised(matrix, abc, steps=steps, eps=eps)

    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", in_float32)
    ours, reference = Tiny(), Tiny()
    optimizer = paired(ours)
    own = [
        torch.optim.Muon(
            [reference.inner.weight], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [reference.inner.bias, *reference.head.parameters()],
            lr=0.02,
            betas=(0.8, 0.9),
            weight_decay=0.1,
        ),
    ]
    for seed in range(3):
        step(ours, [optimizer], seed)
        step(reference, own, seed)
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4), (1, 5)])
def test_a_matrix_keeps_its_singular_vectors_and_its_values_follow_the_polynomial(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / matrix.norm()
    a, b, c = 3.4445, -4.775, 2.0315
    for _ in range(5):
        values = a * values + b * values**3 + c * values**5
    found = orthogonalised(matrix.float(), (a, b, c), steps=5, eps=1e-7)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), left * values @ right, atol=1e-4)


def test_a_matrix_of_zeros_stays_one() -> None:
    assert not orthogonalised(torch.zeros(2, 3), (3.4, -4.8, 2.0), steps=5, eps=1e-7).any()


def test_on_the_cpu_nothing_is_multiplied_in_bfloat16() -> None:
    """Without instructions for it, a CPU takes many times longer."""
    seen: set[torch.dtype] = set()

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            found = func(*args, **(kwargs or {}))
            seen.update(x.dtype for x in (found, *args) if isinstance(x, torch.Tensor))
            return found

    model = Tiny()
    optimizer = paired(model)
    with Seen():
        step(model, [optimizer], 0)
    assert torch.float32 in seen
    assert torch.bfloat16 not in seen


def test_a_rate_set_on_the_groups_reaches_both_parts_even_after_loading() -> None:
    model = Tiny()
    optimizer = paired(model)
    step(model, [optimizer], 0)
    optimizer.load_state_dict(optimizer.state_dict())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.clone() for parameter in model.parameters()]
    step(model, [optimizer], 1)
    assert all(map(torch.equal, before, model.parameters()))


def test_a_loaded_state_goes_on_as_the_saved_one() -> None:
    model, again = Tiny(), Tiny()
    optimizer = paired(model)
    step(model, [optimizer], 0)
    again.load_state_dict(model.state_dict())
    resumed = paired(again)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    step(model, [optimizer], 1)
    step(again, [resumed], 1)
    assert all(map(torch.equal, model.parameters(), again.parameters()))


def test_the_state_of_one_optimizer_is_refused() -> None:
    adamw = torch.optim.AdamW(Tiny().parameters())
    with pytest.raises(ValueError, match="no state of Muon with AdamW"):
        paired(Tiny()).load_state_dict(adamw.state_dict())


@pytest.mark.parametrize("tied", [True, False])
def test_linear_layers_but_the_one_that_writes_go_to_muon(tied: bool, project: Path) -> None:
    catalogue = load_catalogue(plugin_files=[project / "tests" / "support_backbone.py"])
    backbone: Any = catalogue.build("backbone", "tiny-text", {"tied": tied})
    backbone.load(())
    model = backbone.model
    taken = inner_matrices(model)
    names = {name for name, parameter in model.named_parameters() if parameter in taken}
    kinds = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    kinds += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert names == {f"model.layers.{i}.{kind}.weight" for i in (0, 1) for kind in kinds}
    optimizer = make_optimizer(model, model, TrainingConfig(mode="full", steps=1, optimizer="muon"))
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))


def test_muon_is_refused_for_factors_of_matrices() -> None:
    with pytest.raises(ValueError, match="set optimizer adamw or mode full"):
        TrainingConfig(mode="lora", steps=1, optimizer="muon")


def test_a_model_without_linear_layers_is_refused() -> None:
    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 4), nn.Linear(4, 5)

        def get_output_embeddings(self) -> nn.Module:
            return self.head

    model: Any = Writer()
    training = TrainingConfig(mode="full", steps=1, optimizer="muon")
    with pytest.raises(ConfigError, match="finds no linear layer that learns in Writer"):
        make_optimizer(model, model, training)


def test_a_closure_works_the_loss_and_its_gradients_out_before_the_step() -> None:
    model, reference = Tiny(), Tiny()
    step(reference, [paired(reference)], 0)
    calls = []

    def closure() -> float:
        calls.append(1)
        loss = model(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
        loss.backward()
        return float(loss.detach())

    with torch.no_grad():
        assert paired(model).step(closure) > 0
    assert calls == [1]
    assert all(map(torch.equal, model.parameters(), reference.parameters()))


def test_groups_cannot_be_added_later() -> None:
    with pytest.raises(RuntimeError, match="takes its groups when it is made"):
        paired(Tiny()).add_param_group({"params": [nn.Parameter(torch.ones(2))]})
