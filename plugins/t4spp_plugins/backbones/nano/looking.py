"""While answers are trained, the model is told which image tokens show what is asked for.

An answer's own tokens teach only slowly what a new kind of picture shows: each is mostly foretold
by those before it. So what the question's last token has become halfway through the language model
is held against every image token there, and their agreement is taught to be the share of the token
that the mask covers. Nothing is added to the model, and generation does not know of it.

Shapes: B rows, L tokens, T questions a row, N image tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

DEPTH = 0.6
"""Where the two are compared, as a share of the layers: those behind it write by what it says."""


class Looking:
    """Adds ``auxiliary_loss`` to the output of a model that is told ``looked_for``."""

    def __init__(self, model: Any, weight: float) -> None:
        """Hook the model.

        Args:
            model: a ``LlavaForConditionalGeneration`` whose image tokens stand first in each row.
            weight: of the loss, in answer tokens.
        """
        self._weight = weight
        self._told: tuple[Tensor, Tensor] | None = None
        self._hidden: Tensor | None = None
        layers: nn.ModuleList = model.model.language_model.layers
        model.register_forward_pre_hook(self._take, with_kwargs=True)
        layers[max(round(DEPTH * len(layers)), 1) - 1].register_forward_hook(self._keep)
        model.register_forward_hook(self._add)

    def _take(
        self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        wanted, places = kwargs.pop("looked_for", None), kwargs.pop("asked_at", None)
        self._told = None if wanted is None or places is None else (wanted, places)
        return args, kwargs

    def _keep(self, layer: Any, args: Any, output: Any) -> None:
        if self._told is not None:
            self._hidden = output[0] if isinstance(output, tuple) else output

    def _add(self, model: Any, args: Any, output: Any) -> None:
        if self._told is not None and self._hidden is not None:
            output.auxiliary_loss = self._weight * look_loss(self._hidden, *self._told)
        self._told = self._hidden = None


def look_loss(hidden_BLD: Tensor, wanted_BTN: Tensor, places_BT: Tensor) -> Tensor:
    """The summed loss of all questions, a float32 scalar.

    Args:
        hidden_BLD: of a layer; the first N places are the picture's.
        wanted_BTN: float32[B, T, N] in 0..1.
        places_BT: int64[B, T] of the questions; -1 where there is none.
    """
    told_BT = places_BT >= 0
    num_image_tokens, width = wanted_BTN.shape[-1], hidden_BLD.shape[-1]
    normed_BLD = F.rms_norm(hidden_BLD.float(), (width,))
    at_BTD = places_BT.clamp(min=0)[..., None].expand(-1, -1, width)
    asked_BTD = normed_BLD.gather(1, at_BTD)
    seen_BND = normed_BLD[:, :num_image_tokens]
    agreement_BTN = asked_BTD @ seen_BND.transpose(1, 2) / width**0.5
    loss_BTN = F.binary_cross_entropy_with_logits(
        agreement_BTN, wanted_BTN.float(), reduction="none"
    )
    return loss_BTN.mean(-1)[told_BT].sum()
