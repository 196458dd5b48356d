"""nano's vision tower: a convolutional stem, two-dimensional positions, a small encoder.

Registered with transformers' Auto classes, so that ``LlavaForConditionalGeneration`` builds,
saves and loads it like any other tower.

Shapes: B batch, H W pixels, C channels, h w token rows and columns, N = h * w tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class NanoVisionConfig(PretrainedConfig):
    """Sizes of the tower; ``stride`` is fixed at 8 pixels a token."""

    model_type = "t4spp_nano_vision"

    image_size: int = 128
    hidden_size: int = 192
    stem_channels: int = 96
    num_hidden_layers: int = 3
    num_attention_heads: int = 3
    intermediate_size: int = 576
    patch_size: int = 8


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W); free in channels-last memory."""

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return super().forward(pixels_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Norm, 3 x 3 convolution, pointwise convolution, added to the input."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        """Channels in and out, and the convolution's spread."""
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x + self.out(F.gelu(self.conv(self.norm(x))))


class EncoderLayer(nn.Module):
    """Pre-norm attention over all tokens, then a two-layer perceptron."""

    def __init__(self, config: NanoVisionConfig) -> None:
        """Sizes from the config."""
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """(B, N, C) -> the same shape."""
        batch, tokens, width = x_BNC.shape
        qkv = self.qkv(self.norm1(x_BNC)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        x_BNC = x_BNC + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x_BNC + self.fc2(F.gelu(self.fc1(self.norm2(x_BNC))))


def sinusoid_positions(rows: int, columns: int, width: int) -> Tensor:
    """Two-dimensional sinusoids, float32[rows * columns, width]: half for y, half for x."""
    quarter = width // 4
    rates = torch.exp(-math.log(100.0) * torch.arange(quarter) / quarter) * math.pi

    def axis(count: int) -> Tensor:
        place = (torch.arange(count) + 0.5) / count * 16
        angles = place[:, None] * rates[None]
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    y = axis(rows)[:, None].expand(rows, columns, 2 * quarter)
    x = axis(columns)[None].expand(rows, columns, 2 * quarter)
    return torch.cat([y, x], dim=2).reshape(rows * columns, 4 * quarter)


class NanoVisionModel(PreTrainedModel):
    """Pixels in -1..1 to one feature a stride x stride patch."""

    config_class = NanoVisionConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: NanoVisionConfig) -> None:
        """Random weights; ``from_pretrained`` loads others."""
        super().__init__(config)
        stem, width = config.stem_channels, config.hidden_size
        self.stem = nn.Sequential(
            nn.Conv2d(5, stem, 4, stride=4),
            ResidualBlock(stem),
            ResidualBlock(stem),
            nn.Conv2d(stem, width, 2, stride=2),
            *(ResidualBlock(width, dilation) for dilation in (1, 2, 4)),
        )
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Encode.

        Args:
            pixel_values: float[B, 3, H, W] in -1..1; H and W are multiples of 8.
            _: options of other towers, ignored.

        Returns:
            ``last_hidden_state`` float[B, N, C], and ``hidden_states`` of the same alone.
        """
        batch, _channels, height, width = pixel_values.shape
        y = torch.linspace(-1, 1, height, device=pixel_values.device, dtype=pixel_values.dtype)
        x = torch.linspace(-1, 1, width, device=pixel_values.device, dtype=pixel_values.dtype)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(batch, 2, height, width)
        features = torch.cat([pixel_values, places], dim=1)
        features = features.contiguous(memory_format=torch.channels_last)
        features = self.stem(features)
        rows, columns = features.shape[2:]
        tokens_BNC = features.flatten(2).transpose(1, 2)
        positions = sinusoid_positions(rows, columns, self.config.hidden_size)
        tokens_BNC = tokens_BNC + positions.to(tokens_BNC)
        for layer in self.layers:
            tokens_BNC = layer(tokens_BNC)
        tokens_BNC = self.norm(tokens_BNC)
        return BaseModelOutput(last_hidden_state=tokens_BNC, hidden_states=(tokens_BNC,))


AutoConfig.register(NanoVisionConfig.model_type, NanoVisionConfig, exist_ok=True)
AutoModel.register(NanoVisionConfig, NanoVisionModel, exist_ok=True)
