"""The optimisers: AdamW, or Muon for the matrices inside a model beside AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from t4spp.config import TrainingConfig


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers as one.

    Muon replaces a matrix's momentum by the nearest semi-orthogonal matrix (Jordan et al. 2024,
    "Muon: An optimizer for hidden layers in neural networks"). It is scaled to the size of AdamW's
    updates (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2), so that one
    learning rate serves both.
    """

    def __init__(
        self,
        matrices: Iterable[Mapping[str, Any]],
        others: Iterable[Mapping[str, Any]],
        *,
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        """Make both.

        Args:
            matrices: parameter groups for Muon; their parameters have two dimensions.
            others: parameter groups for AdamW.
            learning_rate: of both; groups may have one of their own.
            betas: AdamW's running averages.
            weight_decay: decoupled, of both.
        """
        settings: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
        muon, adamw = ([dict(g) for g in groups if g["params"]] for groups in (matrices, others))
        self.parts: list[torch.optim.Optimizer] = []
        if adamw:
            self.parts.append(torch.optim.AdamW(adamw, betas=betas, **settings))
        if muon:
            self.parts.append(torch.optim.Muon(muon, adjust_lr_fn="match_rms_adamw", **settings))
        super().__init__([*adamw, *muon], settings)
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both; ``closure`` works the loss out again, once."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What both keep, under ``parts``."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            ValueError: it is of other parameters, or of one optimiser.
        """
        kept: Sequence[dict[str, Any]] = state_dict.get("parts", ())
        for part, state in zip(self.parts, kept, strict=True):
            part.load_state_dict(state)
        self._share_groups()


def inner_matrices(model: PreTrainedModel) -> set[Tensor]:
    """The weights of all linear layers but the one that writes the logits."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    embedded = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head
    } - embedded


def make_optimizer(
    model: nn.Module, matrices: set[Tensor], training: TrainingConfig
) -> torch.optim.Optimizer:
    """The optimiser that ``training.optimizer`` names, over the parameters that learn.

    Args:
        model: what is trained.
        matrices: its parameters that Muon may take.
        training: rates and decay.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            learning,
            lr=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )
    return MuonWithAdamW(
        [{"params": [parameter for parameter in learning if parameter in matrices]}],
        [{"params": [parameter for parameter in learning if parameter not in matrices]}],
        learning_rate=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )
