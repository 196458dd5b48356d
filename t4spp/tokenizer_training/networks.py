"""The networks of :mod:`t4spp.mask_tokenizer.networks` in torch, with a rounding that learns.

Legend: ``B`` masks, ``S, P, G`` sides of field, patch and grid, ``W`` width, ``N`` codes, ``D``
numbers a code. Weights have the names and shapes that the numpy networks read.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from t4spp.mask_tokenizer.networks import NORM_EPSILON, Floats, expected_weights
from t4spp.mask_tokenizer.shape import TokenizerShape


class Block(nn.Module):
    """A residual block over patches and their neighbours."""

    def __init__(self, shape: TokenizerShape) -> None:
        """Start as the identity."""
        super().__init__()
        self.kernel = shape.kernel
        self.norm = nn.LayerNorm(shape.width, eps=NORM_EPSILON)
        self.mix = nn.Linear(shape.width * shape.kernel**2, shape.width)
        self.project = nn.Linear(shape.width, shape.width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, state_BGGW: Tensor) -> Tensor:
        """float[B, G, G, W] to the same."""
        seen = self.norm(state_BGGW)
        if self.kernel > 1:
            width = seen.shape[-1]
            weight = self.mix.weight.view(width, width, self.kernel, self.kernel)
            mixed = functional.conv2d(
                seen.permute(0, 3, 1, 2), weight, self.mix.bias, padding=self.kernel // 2
            ).permute(0, 2, 3, 1)
        else:
            mixed = self.mix(seen)
        mixed = functional.gelu(mixed, approximate="tanh")
        return state_BGGW + self.project(mixed)  # type: ignore[no-any-return]


class Network(nn.Module):
    """Enter, blocks, leave: patches to numbers, or back; and a linear way past them.

    The rest starts at zero, so that training starts from the linear way alone.
    """

    def __init__(self, shape: TokenizerShape, enters: int, leaves: int) -> None:
        """Make the layers."""
        super().__init__()
        self.enter = nn.Linear(enters, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width, eps=NORM_EPSILON)
        self.leave = nn.Linear(shape.width, leaves)
        self.direct = nn.Linear(enters, leaves, bias=False)
        for part in (self.leave.weight, self.leave.bias):
            nn.init.zeros_(part)

    def forward(self, patches: Tensor) -> Tensor:
        """float[B, G, G, enters] to float[B, G, G, leaves]."""
        state = self.enter(patches)
        for block in self.blocks:
            state = block(state)
        return self.leave(self.norm(state)) + self.direct(patches)  # type: ignore[no-any-return]


class TokenizerNetworks(nn.Module):
    """Encoder, quantiser and decoder."""

    levels: Tensor

    def __init__(self, shape: TokenizerShape) -> None:
        """Make the networks with random weights, of torch's own generator."""
        super().__init__()
        self.shape = shape
        pixels, numbers = shape.patch**2, shape.codes_per_patch * shape.code_size
        self.encoder = Network(shape, pixels, numbers)
        self.decoder = Network(shape, numbers, pixels)
        self.register_buffer("levels", torch.tensor(shape.levels).float(), persistent=False)

    def patches(self, field: Tensor) -> Tensor:
        """float[B, S, S] in 0..1 to float[B, G, G, P P] in -1..1."""
        grid, patch = self.shape.grid, self.shape.patch
        cut = (field * 2 - 1).view(-1, grid, patch, grid, patch).permute(0, 1, 3, 2, 4)
        return cut.reshape(-1, grid, grid, patch * patch)

    @torch.no_grad()
    def start_linear(self, fields: Tensor) -> None:
        """Let the linear way be a principal component analysis of masks, coarse to fine.

        The components of greatest variance make the first code's numbers, so that a prefix is a
        coarser mask from the start. Each is scaled so that twice its standard deviation, or its
        99th percentile where that is far out, stays within what tanh tells apart.

        Patches of one value all over, most of a picture's, say nothing of outlines and are left
        out.

        Args:
            fields: float[B, S, S] in 0..1.
        """
        cut = self.patches(fields).flatten(0, 2)
        mixed = cut.amax(dim=1) > cut.amin(dim=1)
        cut = (cut[mixed] if mixed.any() else cut).double()
        mean = cut.mean(dim=0)
        centred = cut - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(cut))
        count = self.shape.codes_per_patch * self.shape.code_size
        chosen = vectors.flip(1)[:, :count].T
        spread = 2 * values.flip(0)[:count].clamp_min(1e-9).sqrt()
        rows = chosen.shape[0]
        sizes = (centred[:: max(1, len(centred) // 20_000)] @ chosen.T).abs()
        far = sizes.quantile(0.99, dim=0) / math.atanh(0.9)
        spread = torch.maximum(spread, far)
        down = chosen / spread[:, None]
        self.encoder.direct.weight[:rows] = down.to(self.encoder.direct.weight)
        self.encoder.leave.bias[:rows] = -(down @ mean).to(self.encoder.leave.bias)
        # atanh(v) is about v in the middle; a factor of 4 turns -1..1 into logits
        up = 4 * chosen.T * spread
        self.decoder.direct.weight[:, :rows] = up.to(self.decoder.direct.weight)
        self.decoder.leave.bias[:] = (4 * mean).to(self.decoder.leave.bias)

    def encode(self, field: Tensor) -> Tensor:
        """float[B, S, S] in 0..1 to the rounded numbers float[B, N, D] in -1..1.

        Gradients pass the rounding as if it were not there (the straight-through estimator).
        """
        shape = self.shape
        found = self.encoder(self.patches(field)).float()
        scaled = (torch.tanh(found.reshape(-1, shape.num_codes, shape.code_size)) + 1) / 2
        scaled = scaled * (self.levels - 1)
        rounded = scaled + (scaled.round() - scaled).detach()
        return rounded / (self.levels - 1) * 2 - 1

    def decode(self, values: Tensor) -> Tensor:
        """Numbers float[B, N, D] to logits float[B, S, S]."""
        shape = self.shape
        grid, patch = shape.grid, shape.patch
        numbers = shape.codes_per_patch * shape.code_size
        patches: Tensor = self.decoder(values.reshape(-1, grid, grid, numbers))
        cut = patches.float().view(-1, grid, grid, patch, patch).permute(0, 1, 3, 2, 4)
        return cut.reshape(-1, shape.side, shape.side)

    def arrays(self) -> dict[str, Floats]:
        """The weights as the numpy networks take them, float32."""
        state = self.state_dict()
        return {
            name: state[name].detach().float().cpu().numpy()
            for name in expected_weights(self.shape)
        }
