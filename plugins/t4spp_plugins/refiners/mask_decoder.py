"""SAM's mask decoder, computed with less: the same sums in another order.

Kirillov et al., "Segment Anything" (arXiv 2304.02643), appendix A. The package's decoder does
everything anew for every region. Here what a picture's places are projected to is computed once a
picture (a mask prompt adds 16 channels' worth to it), their positions once a model; what reads the
same places is one product; and only the first of the four masks is made. Ten regions take less
than half the package's time on a processor. A test holds the two together.

Legend: N regions, T prompt tokens, S places (64 x 64), C channels (256), D = C / 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class QuickMaskDecoder:
    """The weights of the package's ``PromptEncoder`` and ``MaskDecoder``, arranged."""

    def __init__(self, prompt_encoder: Any, decoder: Any) -> None:
        """Fuse what reads the same input.

        Args:
            prompt_encoder: of ``segment_anything.modeling``, on its device, not training.
            decoder: likewise.
        """
        positions = prompt_encoder.get_dense_pe()
        places = positions.flatten(2)[0].T
        self.side = int(positions.shape[-1])
        self.decoder = decoder
        self.shrink = prompt_encoder.mask_downscaling[:-1]
        widen = prompt_encoder.mask_downscaling[-1]
        self.widen = widen.weight.flatten(1), widen.bias
        transformer = decoder.transformer
        self.fused = [
            _Fused(
                places,
                (layer.cross_attn_token_to_image.k_proj, True),
                (layer.cross_attn_image_to_token.q_proj, True),
                (layer.cross_attn_token_to_image.v_proj, False),
            )
            for layer in transformer.layers
        ]
        # Of a mask prompt's 16 channels, straight to what the first layer reads.
        self.prompted = self.fused[0].weight @ self.widen[0]
        last = transformer.final_attn_token_to_image
        self.last_positions = last.k_proj(places)
        first, self.norm, _, second, _ = decoder.output_upscaling
        self.first, self.second = _as_linear(first), _as_linear(second)

    def prepare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What all regions of a picture share.

        Args:
            features: of the picture, float32[1, C, h, w].

        Returns:
            Its places, float32[1, S, C], and what the first layer reads of them,
            float32[1, S, 3 D]; both without any mask prompt's channels.
        """
        places = features.flatten(2).transpose(1, 2) + self.widen[1]
        return places, self.fused[0].project(places)

    def __call__(
        self, prepared: tuple[Tensor, Tensor], sparse: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Masks and their estimated IoU.

        Args:
            prepared: see :meth:`prepare`.
            sparse: embedded points and boxes, float32[N, T, C].
            masks: mask prompts of logits, float32[N, 1, 4h, 4w].

        Returns:
            Logits float32[N, 4h, 4w] and float32[N].
        """
        decoder, transformer = self.decoder, self.decoder.transformer
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        names = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens = names
        hints = self.shrink(masks).flatten(2).transpose(1, 2)
        places = functional.linear(hints, self.widen[0]).add_(prepared[0])
        read = functional.linear(hints, self.prompted).add_(prepared[1])
        for layer, fused in zip(transformer.layers, self.fused, strict=True):
            if layer.skip_first_layer_pe:
                tokens = layer.norm1(layer.self_attn(q=tokens, k=tokens, v=tokens))
            else:
                named = tokens + names
                tokens = layer.norm1(tokens + layer.self_attn(q=named, k=named, v=tokens))
                read = fused.project(places)
            keys, queries, values = fused.split(read)
            reads = layer.cross_attn_token_to_image
            seen = _attend(reads, reads.q_proj(tokens + names), keys, values)
            tokens = layer.norm2(tokens + seen)
            tokens = layer.norm3(tokens + layer.mlp(tokens))
            told = layer.cross_attn_image_to_token
            heard = _attend(told, queries, told.k_proj(tokens + names), told.v_proj(tokens))
            places = layer.norm4(heard.add_(places))
        # Of all tokens, the estimate's and the first mask's are read.
        tokens, names = tokens[:, :2], names[:, :2]
        tokens = transformer.norm_final_attn(tokens + self._last_look(tokens + names, places))
        scores = decoder.iou_prediction_head(tokens[:, 0])[:, 0]
        return self._logits(places, decoder.output_hypernetworks_mlps[0](tokens[:, 1])), scores

    def _last_look(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The final attention of a few tokens float32[N, t, C] to places float32[N, S, C].

        For so few it is cheaper to bring the tokens to the places than the places to them.
        """
        last = self.decoder.transformer.final_attn_token_to_image
        heads = last.num_heads
        queries: Tensor = last.q_proj(tokens)
        queries = queries.view(*tokens.shape[:2], heads, -1)  # N, t, heads, D / heads
        key = last.k_proj.weight.unflatten(0, (heads, -1))  # heads, D / heads, C
        there = torch.einsum("nthd,hdc->nthc", queries, key).flatten(1, 2)
        positions = self.last_positions.unflatten(1, (heads, -1))  # S, heads, D / heads
        biased = torch.einsum("nthd,shd->nths", queries, positions).flatten(1, 2)
        scores = torch.baddbmm(biased, there, places.transpose(1, 2))
        weights = torch.softmax(scores / queries.shape[-1] ** 0.5, dim=-1)
        gathered = (weights @ places).view(*queries.shape[:3], -1)  # N, t, heads, C
        value = last.v_proj.weight.unflatten(0, (heads, -1))
        found = torch.einsum("nthc,hdc->nthd", gathered, value).flatten(2) + last.v_proj.bias
        out: Tensor = last.out_proj(found)
        return out

    def _logits(self, places: Tensor, mask: Tensor) -> Tensor:
        """Places float32[N, S, C] and the mask's weights float32[N, C / 8] to logits."""
        num, side = len(places), self.side
        # A transposed convolution of stride 2 is one product a place; 2 x 2 places come of it.
        wide = functional.linear(places, *self.first).view(num, -1, 4, self.norm.weight.numel())
        norm = self.norm
        wide = functional.layer_norm(wide, wide.shape[-1:], norm.weight, norm.bias, norm.eps)
        wide = functional.gelu(wide)
        fine = functional.gelu(functional.linear(wide, *self.second))
        per_region = zip(fine.view(num, -1, mask.shape[-1]), mask, strict=True)
        found = torch.stack([torch.mv(channels, weights) for channels, weights in per_region])
        # Rows and columns of S, of the first 2 x 2, of the second.
        parts = found.view(num, side, side, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return parts.reshape(num, 4 * side, 4 * side)


class _Fused:
    """Several projections of the same places, some of them with the places' positions added."""

    def __init__(self, places: Tensor, *projections: tuple[nn.Linear, bool]) -> None:
        self.weight = torch.cat([projection.weight for projection, _ in projections])
        self.widths = [projection.out_features for projection, _ in projections]
        self.bias = torch.cat(
            [
                projection(places) if positioned else projection.bias.expand(len(places), -1)
                for projection, positioned in projections
            ],
            dim=1,
        )

    def project(self, places: Tensor) -> Tensor:
        """float32[N, S, C] to all projections side by side, float32[N, S, 3 D]."""
        return functional.linear(places, self.weight).add_(self.bias)

    def split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """The projections apart, float32[N, S, D] each."""
        return torch.split(projected, self.widths, dim=2)


def _attend(attention: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What an attention of the package computes of what is projected already."""
    heads = attention.num_heads

    def apart(tensor: Tensor) -> Tensor:
        return tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)

    found = functional.scaled_dot_product_attention(apart(queries), apart(keys), apart(values))
    out: Tensor = attention.out_proj(found.transpose(1, 2).flatten(2))
    return out


def _as_linear(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A 2 x 2 transposed convolution of stride 2 as weight and bias of a linear layer.

    Its outputs are ordered by row, column, channel.
    """
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert convolution.bias is not None, "SAM's transposed convolutions have biases"
    return weight, convolution.bias.repeat(4)
