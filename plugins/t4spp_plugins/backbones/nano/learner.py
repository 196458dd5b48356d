"""What pretraining trains: nano with throw-away dense heads, and the losses of its text.

Shapes: S scenes, P prompts, N image tokens, T text tokens, D width, V vocabulary, K head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from t4spp_plugins.backbones.nano.dense import DenseHeads

NUM_STEPS = 1000
POINTING_LAYER = 3
"""In pretraining, the first attention head of this layer of the Llama learns to look at the first
region's tokens where its coordinates are written."""


class Learner(nn.Module):
    """nano and its throw-away dense heads."""

    def __init__(self, model: LlavaForConditionalGeneration, heads: DenseHeads) -> None:
        """Keep both."""
        super().__init__()
        self.model, self.heads = model, heads

    @contextmanager
    def _watched(self) -> Iterator[list[Tensor]]:
        """What enters the layer whose attention is taught to point, a tensor each pass."""
        entering: list[Tensor] = []

        def watch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entering.append(args[0] if args else kwargs["hidden_states"])

        layer = self.model.model.language_model.layers[POINTING_LAYER]
        hook = layer.register_forward_pre_hook(watch, with_kwargs=True)
        try:
            yield entering
        finally:
            hook.remove()

    def tower(self, images: Tensor) -> Tensor:
        """uint8[S, 128, 128, 3] -> features float[S, N, C]."""
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        features: Tensor = self.model.model.vision_tower(pixels).last_hidden_state
        return features

    def read_text(
        self,
        features_SNC: Tensor,
        ids_BT: Tensor,
        told_BT: Tensor,
        boxes_BT: Tensor,
        longest_short: int = 96,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """B = S * P conversations behind their pictures.

        The pictures pass once; rows of at most ``longest_short`` tokens and longer ones go
        through apart, so that a few long answers do not pad all others.

        Args:
            features_SNC: of the tower.
            ids_BT: text, padded on the right.
            told_BT: places whose hidden states are wanted.
            boxes_BT: places that are about to write a coordinate of the first region.
            longest_short: see above.

        Returns:
            Hidden states float[B, T, D][told]; for each of M places ``boxes_BT``, ordered by
            group, the logits float[M, N] with which one attention head looks at the picture;
            the rows int64[M] they belong to.
        """
        language = self.model.model.language_model
        image_SND = self.model.model.multi_modal_projector(features_SNC)
        scenes, tokens = image_SND.shape[:2]
        device = image_SND.device
        with self._watched() as entering:
            prefix = language(
                inputs_embeds=image_SND, use_cache=True, past_key_values=DynamicCache()
            )
        keys_SNK = self._pointing_rows("k_proj", entering[0], torch.arange(tokens, device=device))
        lengths = (ids_BT != self.model.config.pad_token_id).sum(1)
        scene_of_row = torch.arange(len(ids_BT), device=device) // (len(ids_BT) // scenes)
        hidden_BTD = image_SND.new_zeros((*ids_BT.shape, image_SND.shape[2]))
        pointing, owners = [], []
        for rows in (
            torch.nonzero(lengths <= longest_short).flatten(),
            torch.nonzero(lengths > longest_short).flatten(),
        ):
            if len(rows) == 0:
                continue
            length = int(lengths[rows].max())
            whose = scene_of_row[rows]
            cache = DynamicCache()
            for layer, kept in enumerate(prefix.past_key_values.layers):
                cache.update(
                    kept.keys.index_select(0, whose), kept.values.index_select(0, whose), layer
                )
            ids = ids_BT[rows, :length]
            mask = torch.ones((len(rows), tokens + length), dtype=torch.int64, device=device)
            mask[:, tokens:] = ids != self.model.config.pad_token_id
            places = torch.arange(tokens, tokens + length, device=device)
            with self._watched() as entering:
                found: Tensor = language(
                    inputs_embeds=self.model.get_input_embeddings()(ids),
                    attention_mask=mask,
                    position_ids=places.expand(len(rows), length),
                    past_key_values=cache,
                    use_cache=True,
                ).last_hidden_state
            padded = F.pad(found, (0, 0, 0, ids_BT.shape[1] - length)).to(hidden_BTD.dtype)
            hidden_BTD = hidden_BTD.index_copy(0, rows, padded)
            queries = self._pointing_rows("q_proj", entering[0], places)
            asked = boxes_BT[rows, :length]
            row = torch.nonzero(asked)[:, 0]
            looked = torch.einsum("mk,mnk->mn", queries[asked], keys_SNK[whose[row]])
            pointing.append(looked.float() / queries.shape[-1] ** 0.5)
            owners.append(rows[row])
        return hidden_BTD[told_BT], torch.cat(pointing), torch.cat(owners)

    def _pointing_rows(self, projection: str, entering: Tensor, places: Tensor) -> Tensor:
        """The pointing head's queries or keys float[B, L, K], turned by their places."""
        language = self.model.model.language_model
        layer = language.layers[POINTING_LAYER]
        rows = getattr(layer.self_attn, projection)(layer.input_layernorm(entering))
        rows = rows[..., : layer.self_attn.head_dim].unsqueeze(1)
        cos, sin = language.rotary_emb(rows, places[None])
        turned: Tensor = apply_rotary_pos_emb(rows, rows, cos, sin)[0]
        return turned.squeeze(1)


def text_loss(
    logits_MV: Tensor, labels_M: Tensor, decides_M: Tensor, first_step: int, sigma: float
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of answer tokens, coordinates against a Gaussian around the true step.

    Coordinates weigh 3, so do the words ``decides_M`` that open a descriptor and so tell whether
    anything matches; other scheme tokens weigh 1, other words 0.3.

    Returns:
        A scalar, and readings: share of coordinates within one pixel in 128 (8 steps), mean
        coordinate error in steps, accuracy of bricks and of words (all with the true tokens
        before them).
    """
    log_MV = logits_MV.float().log_softmax(-1)
    steps = labels_M - first_step
    located = (steps >= 0) & (steps < NUM_STEPS)
    brick = steps >= NUM_STEPS
    losses = F.nll_loss(log_MV, labels_M, reduction="none")
    log_steps = log_MV[located][:, first_step : first_step + NUM_STEPS]
    truth = steps[located]
    axis = torch.arange(NUM_STEPS, device=truth.device)
    soft = torch.softmax(-((axis - truth[:, None]) ** 2) / (2 * sigma**2), dim=-1)
    losses = losses.index_put((located,), -(soft * log_steps).sum(-1))
    weight = torch.where(located | decides_M, 3.0, torch.where(brick, 1.0, 0.3))
    with torch.no_grad():
        chosen = log_MV.argmax(-1)
        right = (chosen == labels_M).float()
        error = (log_steps.argmax(-1) - truth).abs().float()
        words = ~located & ~brick
        readings = {
            "within_pixel": _mean(error <= 8),
            "loc_error": _mean(error),
            "bricks": _mean(right[brick]),
            "words": _mean(right[words]),
            "decisions": _mean(right[decides_M]),
        }
    return (losses * weight).sum() / weight.sum(), readings


def pointing_loss(pointing_MN: Tensor, wanted_MN: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of where one attention head looks against where the first region lies.

    Returns:
        A scalar, 0 where no coordinate was written, and readings: the loss, and the share of
        places whose likeliest token lies on the region.
    """
    if len(pointing_MN) == 0:
        return pointing_MN.sum(), {"point": 0.0, "on_target": 0.0}
    loss = -(wanted_MN * pointing_MN.log_softmax(-1)).sum(-1).mean()
    hit = wanted_MN.gather(1, pointing_MN.argmax(-1, keepdim=True)) > 0
    return loss, {"point": loss.item(), "on_target": hit.float().mean().item()}


def _mean(values: Tensor) -> float:
    """The mean, 0 of nothing, so that readings stay valid JSON."""
    return values.float().mean().item() if len(values) else 0.0
