"""smol's parts: SmolLM2 out of its GGUF file, MobileSAM's tower, and what joins them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from t4spp.errors import BackboneError
from t4spp.schemes.brick_tokens import TOKEN
from t4spp.training.atomic import PendingFolder, discard
from t4spp.weights.cache import cache_folder

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    from t4spp_plugins.backbones.smol.model import SmolForConditionalGeneration

IMAGE = "<|image|>"
"""Stands for 4 x 4 cells of the picture; not among SmolLM2's own tokens."""
START, END = "<|im_start|>", "<|im_end|>"
"""Open and close a turn, in SmolLM2's chat."""
CONTROL_TOKENS = (IMAGE, START, END)


def file_hash(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def plain_language_model(gguf: Path) -> Path:
    """A folder with the model of a GGUF file as transformers saves it, float16, and its tokenizer.

    Made once and kept in the cache folder: reading a GGUF file takes ten times as long. A model
    read from GGUF is flagged as quantised, though its tensors are not; the copy is not.

    Args:
        gguf: the file.

    Raises:
        BackboneError: the file cannot be read as a Llama.
    """
    folder = cache_folder() / "converted" / f"{gguf.stem}-{file_hash(gguf)}"
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    where = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **where)
        read = LlamaForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **where)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise BackboneError(
            f"smol: {gguf} cannot be read as a language model ({str(error).splitlines()[0]}). "
            "Get it with `t4spp weights get smollm2-135m`, or name another file or folder in "
            "backbone.params.language_model."
        ) from error
    described = read.config.to_dict()
    described.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig(**described))
    plain.load_state_dict(read.state_dict())
    # Another process may be at the same: whoever is first wins.
    own = PendingFolder(folder.with_name(f"{folder.name}.{os.getpid()}"))
    own.begin()
    plain.half().save_pretrained(str(own.path))
    tokenizer.save_pretrained(str(own.path))
    own.commit()
    try:
        own.target.rename(folder)
    except OSError:
        discard(own.target)
        if not (folder / "config.json").is_file():
            raise
    return folder


def load_language_model(folder: Path) -> LlamaForCausalLM:
    """The Llama in a folder, float32.

    Raises:
        BackboneError: there is none.
    """
    from safetensors import SafetensorError
    from transformers import LlamaForCausalLM

    try:
        model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise BackboneError(
            f"smol: {folder} holds no Llama that transformers can load "
            f"({str(error).splitlines()[0]}). Name a folder with config.json and safetensors in "
            "backbone.params.language_model, or leave it out."
        ) from error
    return model


def load_tokenizer(folder: Path, scheme_tokens: Sequence[str]) -> Any:
    """The tokenizer in a folder, with the image token and the scheme's tokens learnt.

    Raises:
        BackboneError: there is none, or a token of the scheme means something to the model.
    """
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise BackboneError(
            f"smol: {folder} holds no tokenizer ({str(error).splitlines()[0]})."
        ) from error
    tokenizer.padding_side = "left"
    tokenizer.clean_up_tokenization_spaces = False
    missing = [token for token in (START, END) if token not in tokenizer.get_vocab()]
    if missing:
        raise BackboneError(
            f"smol: the tokenizer in {folder} has no {missing[0]}, with which SmolLM2's chats are "
            "written. Name a model with such a chat in backbone.params.language_model."
        )
    clash = sorted(set(scheme_tokens) & set(CONTROL_TOKENS))
    if clash:
        raise BackboneError(
            f"smol: the scheme's token {clash[0]} is one of the model's control tokens "
            f"({', '.join(CONTROL_TOKENS)}). Give the scheme's token another name."
        )
    known = tokenizer.get_vocab()
    new = [
        AddedToken(token, normalized=False, special=True)
        for token in (IMAGE, *scheme_tokens)
        if token not in known
    ]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def fill_token_rows(
    model: SmolForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, first: int, seed: int
) -> None:
    """Give the embeddings from row ``first`` on seeded starting values.

    A row is the mean of the rows before ``first`` and a deviation of half their spread: sines of
    its step for a coordinate, so that near steps start alike, else noise that depends on the
    token's name only.
    """
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        before = embeddings[:first].float()
        mean, spread = before.mean(dim=0), 0.5 * before.std()
        for index, name in enumerate(
            tokenizer.convert_ids_to_tokens(list(range(first, embeddings.shape[0]))), start=first
        ):
            embeddings[index] = mean + spread * _direction(name, embeddings.shape[1], seed)


def _direction(name: str | None, width: int, seed: int) -> Tensor:
    """float32[width] with a root mean square of about 1."""
    match = TOKEN.fullmatch(name or "")
    if match and match[1] == "loc" and match[2]:
        half = width // 2
        rates = torch.exp(-math.log(250.0) * torch.arange(half) / half) * math.pi * 0.25
        angles = int(match[2]) / 2 * rates
        return torch.cat([angles.sin(), angles.cos()]) * math.sqrt(2)
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(width, generator=generator)


def describes_smol(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is that of a whole smol model."""
    from t4spp_plugins.backbones.smol.configuration import SmolConfig

    try:
        described = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("model_type") == SmolConfig.model_type
