"""The optimisers: AdamW, or Muon for the matrices inside a model beside AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from t4spp.errors import ConfigError
from t4spp.training.muon import Muon

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from t4spp.config import TrainingConfig


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers as one.

    Muon makes a matrix's momentum nearly semi-orthogonal before it takes the step (Jordan et al.
    2024, "Muon: An optimizer for hidden layers in neural networks"). The step is scaled to the size
    of AdamW's (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2), so that one
    learning rate serves both; see :class:`t4spp.training.muon.Muon`.

    ``param_groups`` holds the groups of both, AdamW's first; ``parts`` the optimisers, whose
    ``state`` is theirs.
    """

    _is_made = False

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
            self.parts.append(Muon(muon, learning_rate=learning_rate, weight_decay=weight_decay))
        super().__init__([*adamw, *muon], settings)  # keeps the very groups that the parts keep
        self._is_made = True

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only what ``__init__`` adds.

        Raises:
            RuntimeError: later, since nothing says which optimiser the group is for.
        """
        if self._is_made:
            raise RuntimeError(
                "MuonWithAdamW takes its groups when it is made, in matrices and others. "
                "Make another one with all parameters."
            )
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both; ``closure`` works the loss and its gradients out again, once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What both keep, under ``parts``."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            ValueError: it is another optimiser's, or of other parameters.
        """
        states = state_dict.get("parts", ())
        if len(states) != len(self.parts):
            raise ValueError(
                f"this is no state of Muon with AdamW: it holds {sorted(state_dict)}, and "
                f"'parts' of {len(self.parts)} optimisers is needed. Resume with the "
                "training.optimizer that wrote it."
            )
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def make_optimizer(
    learning: nn.Module, model: PreTrainedModel, training: TrainingConfig
) -> torch.optim.Optimizer:
    """The optimiser that ``training.optimizer`` names, over the parameters that learn.

    Args:
        learning: what is trained: the model, or a wrapper of it.
        model: the backbone's model.
        training: rates and decay.

    Raises:
        ConfigError: Muon finds no matrix in the model.
    """
    parameters = [parameter for parameter in learning.parameters() if parameter.requires_grad]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )
    matrices = inner_matrices(model)
    inner = [parameter for parameter in parameters if parameter in matrices]
    others = [parameter for parameter in parameters if parameter not in matrices]
    if not inner:
        raise ConfigError(
            f"training.optimizer=muon finds no linear layer that learns in "
            f"{type(model).__name__}, apart from the one that writes the logits. "
            "Set training.optimizer=adamw."
        )
    return MuonWithAdamW(
        [{"params": inner}],
        [{"params": others}],
        learning_rate=training.learning_rate,
        betas=training.betas,
        weight_decay=training.weight_decay,
    )


def inner_matrices(model: PreTrainedModel) -> set[Tensor]:
    """The weights of all linear layers but the one that writes the logits."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    embedded = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        module.weight
        for module in model.modules()
        if isinstance(module, nn.Linear) and module is not head
    } - embedded
