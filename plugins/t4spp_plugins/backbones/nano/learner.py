"""What pretraining trains: nano with throw-away heads, and the losses of its text.

Shapes: S scenes, P prompts, N image tokens, T text tokens, D width, V vocabulary, K head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from t4spp.schemes.box_wise import STEPS
from t4spp_plugins.backbones.nano.dense import DenseHeads
from t4spp_plugins.backbones.nano.guides import read_out
from t4spp_plugins.backbones.nano.model import IMAGE_SIZE

NEAR_LAYER, FAR_LAYER, LAST_LAYER = 2, 3, 4
"""Layers of the Llama, numbered from 0, that pretraining guides. Attention heads learn where to
look: until the first region's box is written, one of the far layer at that region's tokens; where a
brick is written, one of the near layer at the start of its run and one of the far layer at its end.
Throw-away heads read off what enters the near or the far layer how far the grid is filled; off what
enters the far layer where the run starts, to the pixel; off what enters the last where it ends."""
REGION_HEAD, RUN_HEAD = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """What one pass of B conversations left.

    Attributes:
        hidden: last hidden states float[B, T, D].
        entering: what entered each layer that is taught to look or read, float[B, T, D].
        picture: the same of the pictures' tokens, float[S, N, D].
    """

    hidden: Tensor
    entering: dict[int, Tensor]
    picture: dict[int, Tensor]


class Learner(nn.Module):
    """nano and its throw-away heads."""

    def __init__(
        self, model: LlavaForConditionalGeneration, heads: DenseHeads, shape: tuple[int, int]
    ) -> None:
        """Keep model and dense heads, make the others; ``shape`` is a region's grid."""
        super().__init__()
        self.model, self.heads = model, heads
        width = model.config.text_config.hidden_size
        self.cursor = read_out(width, sum(shape))
        self.near = read_out(width, 2 * IMAGE_SIZE)
        self.far = read_out(width, IMAGE_SIZE)

    @contextmanager
    def _watched(self) -> Iterator[dict[int, Tensor]]:
        """What enters the layers that are taught to look or read, in one pass."""
        entering: dict[int, Tensor] = {}

        def watch(
            number: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> None:
            entering[number] = args[0] if args else kwargs["hidden_states"]

        layers = self.model.model.language_model.layers
        hooks = [
            layers[number].register_forward_pre_hook(partial(watch, number), with_kwargs=True)
            for number in (NEAR_LAYER, FAR_LAYER, LAST_LAYER)
        ]
        try:
            yield entering
        finally:
            for hook in hooks:
                hook.remove()

    def tower(self, images: Tensor) -> Tensor:
        """uint8[S, 128, 128, 3] -> features float[S, N, C]."""
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        features: Tensor = self.model.model.vision_tower(pixels).last_hidden_state
        return features

    def read_text(
        self, features_SNC: Tensor, ids_BT: Tensor, lengths: Sequence[int] = (36, 96)
    ) -> Passed:
        """B = S * P conversations behind their pictures.

        The pictures pass once; rows of at most ``lengths[0]`` tokens, of at most ``lengths[1]``
        and so on, and longer ones go through apart, so that a few long answers do not pad all
        others.

        Args:
            features_SNC: of the tower.
            ids_BT: text, padded on the right.
            lengths: see above, rising.
        """
        language = self.model.model.language_model
        image_SND = self.model.model.multi_modal_projector(features_SNC)
        scenes, tokens = image_SND.shape[:2]
        device = image_SND.device
        with self._watched() as picture:
            prefix = language(
                inputs_embeds=image_SND, use_cache=True, past_key_values=DynamicCache()
            )
        length_B = (ids_BT != self.model.config.pad_token_id).sum(1)
        group_B = torch.bucketize(length_B, torch.tensor(tuple(lengths), device=device))
        scene_of_row = torch.arange(len(ids_BT), device=device) // (len(ids_BT) // scenes)
        hidden_BTD = image_SND.new_zeros((*ids_BT.shape, image_SND.shape[2]))
        entered = {layer: torch.zeros_like(hidden_BTD) for layer in picture}
        for group in group_B.unique().tolist():
            rows = torch.nonzero(group_B == group).flatten()
            length = int(length_B[rows].max())
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
            room = (0, 0, 0, ids_BT.shape[1] - length)
            hidden_BTD = hidden_BTD.index_copy(0, rows, F.pad(found, room).to(hidden_BTD.dtype))
            for number, watched in entering.items():
                padded = F.pad(watched, room).to(hidden_BTD.dtype)
                entered[number] = entered[number].index_copy(0, rows, padded)
        return Passed(hidden=hidden_BTD, entering=entered, picture=picture)

    def looked(self, passed: Passed, asked_BT: Tensor, layer: int, head: int) -> Tensor:
        """Where an attention head looks in the picture.

        Args:
            passed: of :meth:`read_text`.
            asked_BT: the M places that are asked for, in order.
            layer: number of its layer, one of ``passed.entering``.
            head: number of the head.

        Returns:
            float[M, N], logits over the picture's tokens.
        """
        picture_SND, entered_MD = passed.picture[layer], passed.entering[layer][asked_BT]
        scenes, tokens = picture_SND.shape[:2]
        seen = torch.arange(tokens, device=asked_BT.device)
        keys_SNK = self._turned(layer, "k_proj", picture_SND, seen, head)
        places = torch.nonzero(asked_BT)[:, 1] + tokens
        queries_MK = self._turned(layer, "q_proj", entered_MD[None], places, head)[0]
        counts = asked_BT.view(scenes, -1).sum(1).tolist()
        looked = [
            queries @ keys.T
            for queries, keys in zip(queries_MK.split(counts), keys_SNK, strict=True)
        ]
        return torch.cat(looked).float() / queries_MK.shape[-1] ** 0.5

    def _turned(
        self, number: int, projection: str, entering: Tensor, places: Tensor, head: int
    ) -> Tensor:
        """A head's queries or keys float[B, L, K], turned by their places int64[L]."""
        language = self.model.model.language_model
        layer = language.layers[number]
        rows = getattr(layer.self_attn, projection)(layer.input_layernorm(entering))
        width = layer.self_attn.head_dim
        rows = rows[..., head * width : (head + 1) * width].unsqueeze(1)
        cos, sin = language.rotary_emb(rows, places[None])
        turned: Tensor = apply_rotary_pos_emb(rows, rows, cos, sin)[0]
        return turned.squeeze(1)


def text_loss(
    logits_MV: Tensor,
    labels_M: Tensor,
    decides_M: Tensor,
    first_step: int,
    sigma: float,
    brick_weight: float = 1.0,
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of answer tokens, coordinates against a Gaussian around the true step.

    Coordinates weigh 3, so do the words ``decides_M`` that open a descriptor and so tell whether
    anything matches; bricks weigh ``brick_weight``, other words 0.3.

    Returns:
        A scalar, and readings: share of coordinates within one pixel in 128 (8 steps), mean
        coordinate error in steps, accuracy of bricks and of words (all with the true tokens
        before them).
    """
    log_MV = logits_MV.float().log_softmax(-1)
    steps = labels_M - first_step
    located = (steps >= 0) & (steps < STEPS)
    brick = steps >= STEPS
    losses = F.nll_loss(log_MV, labels_M, reduction="none")
    log_steps = log_MV[located][:, first_step : first_step + STEPS]
    truth = steps[located]
    axis = torch.arange(STEPS, device=truth.device)
    soft = torch.softmax(-((axis - truth[:, None]) ** 2) / (2 * sigma**2), dim=-1)
    losses = losses.index_put((located,), -(soft * log_steps).sum(-1))
    weight = torch.where(located | decides_M, 3.0, torch.where(brick, brick_weight, 0.3))
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


def pointing_loss(pointing_MN: Tensor, wanted_MN: Tensor) -> tuple[Tensor, float]:
    """Cross-entropy of where an attention head looks against where it should.

    Args:
        pointing_MN: logits over the picture's tokens.
        wanted_MN: shares of the tokens; rows sum to 1.

    Returns:
        A scalar, 0 of nothing, and the share of places whose likeliest token is wanted at all.
    """
    if len(pointing_MN) == 0:
        return pointing_MN.sum(), 0.0
    loss = -(wanted_MN * pointing_MN.log_softmax(-1)).sum(-1).mean()
    hit = wanted_MN.gather(1, pointing_MN.argmax(-1, keepdim=True)) > 0
    return loss, hit.float().mean().item()


def _mean(values: Tensor) -> float:
    """The mean, 0 of nothing, so that readings stay valid JSON."""
    return values.float().mean().item() if len(values) else 0.0
