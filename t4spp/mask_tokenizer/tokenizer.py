"""A trained mask tokenizer: from its files, to codes and back.

A tokenizer is a folder of two files, ``tokenizer.safetensors`` (the weights, float16) and
``tokenizer.json`` (sizes, a hash of both, and what it was trained on). See docs/mask-tokenizer.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import SchemeError
from t4spp.mask_tokenizer.codes import Codes, codes_of, values_of
from t4spp.mask_tokenizer.networks import Floats, Weights, decode, encode, expected_weights
from t4spp.mask_tokenizer.shape import Layout, TokenizerShape
from t4spp.validation import validate

WEIGHTS_NAME = "tokenizer.safetensors"
CARD_NAME = "tokenizer.json"
SCHEMA = 1
"""Of ``tokenizer.json``."""
OUTSIDE = -10.0
"""Logit of a place of which nothing was written."""
SHIPPED = Path(__file__).parent / "shipped"
"""Holds a tokenizer a layout, trained on generated masks alone."""


class MaskTokenizer:
    """Writes the picture of a mask as codes, and reads codes. Deterministic on one machine."""

    def __init__(self, shape: TokenizerShape, weights: Weights, identity: str) -> None:
        """Take what was read or trained.

        Args:
            shape: the sizes.
            weights: float32 arrays as :func:`expected_weights` names them.
            identity: tells this tokenizer from any other; enters the scheme's fingerprint.
        """
        self.shape = shape
        self.identity = identity
        self._weights = weights

    def encode(self, field: npt.NDArray[np.floating[Any]]) -> Codes:
        """A mask's picture as codes.

        Args:
            field: [S, S], how much of each cell lies inside, 0..1.

        Returns:
            int64[N], each below ``shape.codebook``; of one patch coarse to fine.
        """
        signed = (field * 2 - 1).astype(np.float32)
        return codes_of(encode(signed, self.shape, self._weights), self.shape.levels)

    def decode(self, codes: Sequence[int] | Codes) -> Floats:
        """Codes as logits float32[S, S]; a cell lies inside from 0 on.

        Args:
            codes: N at most, each below ``shape.codebook``; a negative one is unknown. A code that
                is unknown or not there says nothing, so that fewer codes of one patch make a
                coarser mask; of several patches, those without any code are outside.
        """
        shape = self.shape
        written = np.full(shape.num_codes, -1, dtype=np.int64)
        written[: len(codes)] = codes
        known = written >= 0
        values = np.zeros((shape.num_codes, shape.code_size), dtype=np.float32)
        values[known] = values_of(written[known], shape.levels)
        logits = decode(values, shape, self._weights)
        if shape.grid > 1 and not known.all():
            places = known.reshape(shape.grid, shape.grid, -1).any(axis=-1)
            logits[~places.repeat(shape.patch, axis=0).repeat(shape.patch, axis=1)] = OUTSIDE
        return logits


def identity_of(shape: TokenizerShape, weights: bytes) -> str:
    """SHA-256 of the sizes and of the weights' file, 64 hexadecimal digits."""
    sizes = json.dumps(shape.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(sizes.encode() + b"\0" + weights).hexdigest()


def save_tokenizer(
    folder: Path, shape: TokenizerShape, weights: Weights, card: Mapping[str, Any]
) -> str:
    """Write a tokenizer's two files into an existing folder.

    Args:
        folder: where to.
        shape: the sizes.
        weights: rounded to float16 here.
        card: what else a reader should know: data, scores.

    Returns:
        Its identity.
    """
    from safetensors.numpy import save

    content = save({name: weights[name].astype(np.float16) for name in sorted(weights)})
    identity = identity_of(shape, content)
    (folder / WEIGHTS_NAME).write_bytes(content)
    text = json.dumps(
        {"schema": SCHEMA, "sha256": identity, "shape": shape.model_dump(mode="json"), **card},
        indent=2,
    )
    (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    return identity


def load_tokenizer(folder: Path | None, layout: Layout) -> MaskTokenizer:
    """A tokenizer from its folder, or the one that ships.

    Args:
        folder: with the two files; None for the one that ships for ``layout``.
        layout: that it must have been trained for.

    Raises:
        SchemeError: the files are missing, damaged, do not belong together, or are of the other
            layout.
    """
    chosen = SHIPPED / layout if folder is None else folder
    card, weights = chosen / CARD_NAME, chosen / WEIGHTS_NAME
    for path in (card, weights):
        if not path.is_file():
            raise SchemeError(
                f"mask tokenizer {chosen}: there is no {path.name}. Name a folder that `t4spp "
                "tokenizer train` wrote, or leave tokenizer out for the one that ships."
            )
    tokenizer = _loaded(chosen.resolve(), _version(card), _version(weights))
    if tokenizer.shape.layout != layout:
        raise SchemeError(
            f"mask tokenizer {chosen}: it was trained for layout {tokenizer.shape.layout!r}, the "
            f"scheme asks for {layout!r}. Set layout={tokenizer.shape.layout}, or name another."
        )
    return tokenizer


def _version(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=8)
def _loaded(folder: Path, card: tuple[int, int], weights: tuple[int, int]) -> MaskTokenizer:
    """Read and check; kept as long as the files stay as they are."""
    shape, wanted = _read_card(folder / CARD_NAME)
    path = folder / WEIGHTS_NAME
    content = path.read_bytes()
    found = identity_of(shape, content)
    if found != wanted:
        raise SchemeError(
            f"{path}: its hash is {found[:16]}..., {CARD_NAME} beside it says {wanted[:16]}...: "
            "the two files do not belong together, or one is damaged. Copy both again."
        )
    return MaskTokenizer(shape, _read_weights(path, content, shape), found)


def _read_card(path: Path) -> tuple[TokenizerShape, str]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SchemeError(f"{path}: no JSON ({error}). Train the tokenizer again.") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        received = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise SchemeError(
            f"{path}: expected a mask tokenizer's card of schema {SCHEMA}, received {received!r}"
        )
    sizes, identity = card.get("shape"), card.get("sha256")
    shape = validate(TokenizerShape, sizes, ("shape",)) if isinstance(sizes, dict) else []
    if isinstance(shape, list) or not isinstance(identity, str):
        faults = "; ".join(f.text() for f in shape) if isinstance(shape, list) else ""
        raise SchemeError(
            f"{path}: {faults or 'shape (a mapping) and sha256 (a text) are required'}"
        )
    return shape, identity


def _read_weights(path: Path, content: bytes, shape: TokenizerShape) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except (SafetensorError, ValueError) as error:
        raise SchemeError(f"{path}: no safetensors file ({error}). Copy it again.") from error
    except (KeyError, TypeError) as error:  # a kind of numbers that numpy does not have
        raise SchemeError(f"{path}: numpy cannot read it ({error}). Save it as float16.") from error
    wanted = expected_weights(shape)
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    if found != wanted:
        odd = sorted(set(found.items()) ^ set(wanted.items()))[0][0]
        raise SchemeError(
            f"{path}: {odd} has the shape {found.get(odd)}, its card's sizes ask for "
            f"{wanted.get(odd)}. Train the tokenizer again."
        )
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise SchemeError(
                f"{path}: {name} ({array.dtype}) holds what is no finite number. Train the "
                "tokenizer again."
            )
    return {name: array.astype(np.float32) for name, array in arrays.items()}
