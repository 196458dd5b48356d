"""A mask tokenizer with random weights, small enough for any test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from t4spp.mask_tokenizer.networks import expected_weights
from t4spp.mask_tokenizer.shape import TokenizerShape
from t4spp.mask_tokenizer.tokenizer import save_tokenizer


def write_tokenizer(folder: Path, seed: int = 0, **sizes: Any) -> Path:
    """Write its two files; without ``sizes``, three global codes of 12 for a field of 8 x 8."""
    shape = TokenizerShape.model_validate(
        {"side": 8, "patch": 8, "codes_per_patch": 3, "levels": (4, 3), "width": 8, **sizes}
    )
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0, 0.5, size).astype(np.float32)
        for name, size in expected_weights(shape).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder, shape, weights, {"name": "random"})
    return folder
