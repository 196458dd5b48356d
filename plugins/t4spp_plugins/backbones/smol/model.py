"""smol as a transformers model: its config, its connector, its forward pass.

Shapes: B rows, L tokens, N image tokens a picture (256), D the language model's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationMixin,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from t4spp_plugins.backbones.smol import processing as _registers_the_processor  # noqa: F401
from t4spp_plugins.backbones.smol.configuration import SHUFFLE, SIDE, SmolConfig
from t4spp_plugins.backbones.smol.guiding import guide_loss
from t4spp_plugins.towers.mobile_sam import FRAME, WIDTH, MobileSamEncoder

_NUM_FREQUENCIES = 8


class SmolConnector(nn.Module):
    """Features of a picture to embeddings of its image tokens.

    4 x 4 cells are joined to one token (pixel shuffle); where the token's middle lies in the
    picture is told beside them by sines and cosines, since the square that the tower sees is
    padded and the answer's coordinates are shares of the picture.
    """

    def __init__(self, width: int, out: int) -> None:
        """Make a multi-layer perceptron with one hidden layer of ``width`` units."""
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH * SHUFFLE**2)
        self.hidden = nn.Linear(WIDTH * SHUFFLE**2 + 4 * _NUM_FREQUENCIES + 1, width)
        self.out = nn.Linear(width, out)

    def forward(self, features: Tensor, sizes: Tensor) -> Tensor:
        """float[B, 256, 64, 64] and the pictures' int64[B, 2] (H, W) to float[B, N, D]."""
        joined = nn.functional.pixel_unshuffle(features, SHUFFLE).flatten(2).transpose(1, 2)
        places = token_places(sizes).to(features.device)
        inputs = torch.cat([self.norm(joined.float()), places], dim=2)
        mixed: Tensor = self.out(nn.functional.gelu(self.hidden(inputs)))
        return mixed


def token_places(sizes: Tensor) -> Tensor:
    """Where the tokens' middles lie in their pictures, float32[B, N, 33], tokens row by row.

    Args:
        sizes: int64[B, 2], (H, W) of the pictures in pixels.

    Returns:
        sines and cosines of y and x in 0..1 at octaves of half a turn, and 1 for a token
        whose middle lies in the padding.
    """
    longest = sizes.max(dim=1, keepdim=True).values
    covered = (sizes * (FRAME / longest)).float() / FRAME
    middles = (torch.arange(SIDE, device=sizes.device) + 0.5) / SIDE
    y = (middles[None] / covered[:, :1])[:, :, None].expand(-1, SIDE, SIDE)
    x = (middles[None] / covered[:, 1:])[:, None, :].expand(-1, SIDE, SIDE)
    places = torch.stack([y, x], dim=-1).flatten(1, 2)
    outside = (places > 1).any(dim=2, keepdim=True).float()
    rates = math.pi * 2.0 ** torch.arange(_NUM_FREQUENCIES, device=sizes.device)
    turns = (places.clamp(max=1)[..., None] * rates).flatten(2)
    return torch.cat([turns.sin(), turns.cos(), outside], dim=2)


@dataclass
class SmolOutput(CausalLMOutputWithPast):
    """What a pass leaves."""

    auxiliary_loss: Tensor | None = None
    """What training lowers beside the answers' loss, summed over positions; a scalar."""


class SmolForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A frozen tower, a connector, a Llama.

    A picture comes as ``pixel_values`` or as the tower's features of it; each takes 256 image
    tokens in ``input_ids``.
    """

    config: SmolConfig
    config_class = SmolConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    guide_weight = 1.0
    _no_split_modules = ["LlamaDecoderLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _tied_weights_keys = {  # noqa: RUF012
        "language_model.lm_head.weight": "language_model.model.embed_tokens.weight"
    }

    def __init__(self, config: SmolConfig) -> None:
        """Make the layers, with random weights."""
        super().__init__(config)
        self.tower = MobileSamEncoder()
        self.connector = SmolConnector(config.connector_width, config.text_config.hidden_size)
        self.language_model = LlamaForCausalLM(config.text_config)
        self.tower.requires_grad_(False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """As transformers does, and what timm's modules compute but do not save."""
        super()._init_weights(module)
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()

    def train(self, mode: bool = True) -> SmolForConditionalGeneration:
        """The tower stays in evaluation mode: it is frozen, running averages and all."""
        super().train(mode)
        self.tower.eval()
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the language model's."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Set the language model's head."""
        self.language_model.set_output_embeddings(new_embeddings)

    def encode(self, pixel_values: Tensor) -> Tensor:
        """The tower's features float[B, 256, 64, 64] of float[B, 3, 1024, 1024]; no gradient."""
        with torch.no_grad():
            features: Tensor = self.tower(pixel_values)
        return features

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_features: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        guide: Tensor | None = None,
        **kwargs: Any,
    ) -> SmolOutput:
        """Predict the next tokens.

        Args:
            input_ids: int64[B, L], with 256 image tokens for each picture.
            pixel_values: float[B, 3, 1024, 1024], as the processor makes them; or
            image_features: float[B, 256, 64, 64], the tower's features of them; or neither.
            image_sizes: int64[B, 2], (H, W) of the pictures in pixels, with either of the two.
            attention_mask: int64[B, L], or bool[B, 1, L, L].
            position_ids: int64[B, L].
            past_key_values: the language model's cache.
            inputs_embeds: float[B, L, D], instead of ``input_ids``.
            labels: int64[B, L], -100 where nothing is learnt.
            use_cache: whether to return the cache.
            logits_to_keep: how many of the last positions get logits; 0: all.
            guide: float32[B, L, 6], what each position should know, for ``auxiliary_loss``; see
                :mod:`t4spp_plugins.backbones.smol.guiding`. Needs ``input_ids`` and a picture.
            **kwargs: passed on to the language model.

        Raises:
            ValueError: image tokens and pictures do not match.
        """
        if inputs_embeds is None:
            assert input_ids is not None, "input_ids or inputs_embeds"
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None and image_features is None:
            image_features = self.encode(pixel_values)
        if image_features is not None:
            if input_ids is None or image_sizes is None:
                raise ValueError("a picture needs input_ids with image tokens, and image_sizes")
            tokens = self.connector(image_features, image_sizes).to(inputs_embeds.dtype)
            places = input_ids == self.config.image_token_id
            if int(places.sum()) != tokens.shape[0] * tokens.shape[1]:
                raise ValueError(
                    f"{int(places.sum())} image tokens for {tokens.shape[0]} pictures of "
                    f"{tokens.shape[1]} tokens"
                )
            inputs_embeds = inputs_embeds.masked_scatter(places[..., None], tokens)
        if guide is not None:
            kwargs["output_hidden_states"] = True
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if guide is None:
            return SmolOutput(**output)
        assert input_ids is not None, "a guide needs input_ids"
        assert image_sizes is not None, "a guide needs a picture"
        auxiliary_loss = guide_loss(
            self.language_model,
            cast("tuple[Tensor, ...]", output.hidden_states),
            told=guide,
            image_places=input_ids == self.config.image_token_id,
            image_sizes=image_sizes,
            position_ids=position_ids,
            attention_mask=attention_mask,
        )
        return SmolOutput(
            **{**output, "hidden_states": None},
            auxiliary_loss=self.guide_weight * auxiliary_loss,
        )

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Leave the picture out of every pass but the prompt's; see transformers."""
        inputs: dict[str, Any] = cast(Any, super()).prepare_inputs_for_generation(*args, **kwargs)
        if not kwargs.get("is_first_iteration") and inputs.get("use_cache", True):
            for name in ("pixel_values", "image_features", "image_sizes"):
                inputs.pop(name, None)
        return inputs


AutoConfig.register(SmolConfig.model_type, SmolConfig, exist_ok=True)
AutoModelForImageTextToText.register(SmolConfig, SmolForConditionalGeneration, exist_ok=True)
