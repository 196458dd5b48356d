"""The networks of a mask tokenizer, run in numpy; ``t4spp.tokenizer_training`` has them in torch.

Legend: ``S, P, G`` sides of field, patch and grid, ``W`` width, ``N`` codes, ``D`` numbers a code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from t4spp.mask_tokenizer.shape import TokenizerShape

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]
"""By their names: ``encoder.enter.weight``, ``decoder.blocks.0.mix.bias``, ..."""

NORM_EPSILON = 1e-5
"""Added to a variance before its root."""


def expected_weights(shape: TokenizerShape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array of a tokenizer; linear layers are [outputs, inputs]."""
    pixels = shape.patch**2
    numbers = shape.codes_per_patch * shape.code_size
    width, reach = shape.width, shape.kernel**2
    found: dict[str, tuple[int, ...]] = {}
    for name, enters, leaves in (("encoder", pixels, numbers), ("decoder", numbers, pixels)):
        found[f"{name}.enter.weight"] = (width, enters)
        found[f"{name}.enter.bias"] = (width,)
        for index in range(shape.blocks):
            block = f"{name}.blocks.{index}"
            for part, (rows, columns) in (
                ("mix", (width, width * reach)),
                ("project", (width, width)),
            ):
                found[f"{block}.{part}.weight"] = (rows, columns)
                found[f"{block}.{part}.bias"] = (rows,)
            found[f"{block}.norm.weight"] = found[f"{block}.norm.bias"] = (width,)
        found[f"{name}.norm.weight"] = found[f"{name}.norm.bias"] = (width,)
        found[f"{name}.leave.weight"] = (leaves, width)
        found[f"{name}.leave.bias"] = (leaves,)
        found[f"{name}.direct.weight"] = (leaves, enters)
    return found


def encode(field: Floats, shape: TokenizerShape, weights: Weights) -> Floats:
    """A field float32[S, S], -1 outside to 1 inside, to features float32[N, D]."""
    grid, patch = shape.grid, shape.patch
    cut = field.reshape(grid, patch, grid, patch).transpose(0, 2, 1, 3).reshape(grid, grid, -1)
    features = _run("encoder", cut, shape, weights)
    return features.reshape(shape.num_codes, shape.code_size)


def decode(values: Floats, shape: TokenizerShape, weights: Weights) -> Floats:
    """Numbers float32[N, D] to logits float32[S, S]; inside from 0 on."""
    grid, patch = shape.grid, shape.patch
    patches = _run("decoder", values.reshape(grid, grid, -1), shape, weights)
    cut = patches.reshape(grid, grid, patch, patch).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cut.reshape(shape.side, shape.side))


def _run(name: str, patches: Floats, shape: TokenizerShape, weights: Weights) -> Floats:
    """One of the two networks on float32[G, G, inputs]."""
    state = _linear(patches, f"{name}.enter", weights)
    for index in range(shape.blocks):
        block = f"{name}.blocks.{index}"
        seen = _neighbours(_norm(state, f"{block}.norm", weights), shape.kernel)
        mixed = _gelu(_linear(seen, f"{block}.mix", weights))
        state = state + _linear(mixed, f"{block}.project", weights)
    left = _linear(_norm(state, f"{name}.norm", weights), f"{name}.leave", weights)
    return np.asarray(left + patches @ weights[f"{name}.direct.weight"].T)


def _neighbours(state: Floats, kernel: int) -> Floats:
    """float32[G, G, W] to [G, G, W k k]: each patch with those around it, zeros beyond the edge."""
    if kernel == 1:
        return state
    reach = kernel // 2
    grid = state.shape[0]
    padded = np.pad(state, ((reach, reach), (reach, reach), (0, 0)))
    seen = [
        padded[row : row + grid, column : column + grid]
        for row in range(kernel)
        for column in range(kernel)
    ]
    return np.stack(seen, axis=-1).reshape(grid, grid, -1)


def _linear(state: Floats, name: str, weights: Weights) -> Floats:
    return np.asarray(state @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def _norm(state: Floats, name: str, weights: Weights) -> Floats:
    centred = state - state.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(NORM_EPSILON))
    return np.asarray(centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def _gelu(state: Floats) -> Floats:
    """GELU, its tanh approximation (arXiv 1606.08415)."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (state + np.float32(0.044715) * state**3)
    return np.asarray(state * np.float32(0.5) * (1 + np.tanh(inner)))
