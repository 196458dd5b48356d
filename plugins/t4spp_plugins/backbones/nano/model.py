"""nano as a ``LlavaForConditionalGeneration``: its sizes, new-token rows, saving and loading."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from t4spp.schemes.box_wise import edge_steps
from t4spp.schemes.brick_tokens import FIRST_COORDINATE, TOKEN
from t4spp_plugins.backbones.nano.vision import NanoVisionConfig
from t4spp_plugins.backbones.nano.vocabulary import END, IMAGE, PAD

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE_SIZE = 128
NUM_IMAGE_TOKENS = (IMAGE_SIZE // 8) ** 2
WEIGHTS_FILE = "model.safetensors"

_ROW_SCALE = 0.02


def build_config(tokenizer: PreTrainedTokenizerBase, **sizes: int) -> LlavaConfig:
    """The architecture around a tokenizer; ``sizes`` replaces those of the Llama part."""
    text = LlamaConfig(
        **{
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            **sizes,
        },
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        bos_token_id=None,
    )
    return LlavaConfig(
        vision_config=NanoVisionConfig(),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=NUM_IMAGE_TOKENS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )


def build_model(
    tokenizer: PreTrainedTokenizerBase, seed: int, config: LlavaConfig | None = None
) -> LlavaForConditionalGeneration:
    """A model with seeded random weights; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config or build_config(tokenizer))
    fill_token_rows(model, tokenizer, range(len(tokenizer)), seed)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(END)
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids(PAD)
    return model


def coordinate_rows(steps: Sequence[int], width: int) -> Tensor:
    """Sinusoids of coordinate steps, float32[n, width], so that near steps start alike."""
    half = width // 2
    rates = torch.exp(-math.log(250.0) * torch.arange(half) / half) * math.pi * 0.25
    angles = torch.tensor(list(steps), dtype=torch.float32)[:, None] / 2 * rates[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1) * (_ROW_SCALE * math.sqrt(2))


def fill_token_rows(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    seed: int,
) -> None:
    """Give the rows ``ids`` of the embeddings and of the head seeded starting values.

    A coordinate's row depends on its step, any other token's on its name, so that it does not
    matter which tokens were added before.
    """
    embeddings = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    names = tokenizer.convert_ids_to_tokens(list(ids))
    with torch.no_grad():
        for index, name in zip(ids, names, strict=True):
            match = TOKEN.fullmatch(name)
            if match and match[1] == "loc" and match[2]:
                row = coordinate_rows([int(match[2])], embeddings.shape[1])[0]
                embeddings[index], head[index] = row, row
            else:
                digest = sum(byte * 131**place for place, byte in enumerate(name.encode()))
                generator = torch.Generator().manual_seed((seed * 1_000_003 + digest) % 2**63)
                rows = torch.randn(2, embeddings.shape[1], generator=generator) * _ROW_SCALE
                embeddings[index], head[index] = rows[0], rows[1]


def mask_tokens(known: Container[str], scheme_tokens: Sequence[str]) -> list[str]:
    """The known tokens of a scheme that write masks: coordinates are left out."""
    matches = {token: TOKEN.fullmatch(token) for token in scheme_tokens if token in known}
    return [token for token, match in matches.items() if not (match and match[1] == "loc")]


def settle_coordinates(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, size: int = IMAGE_SIZE
) -> None:
    """Put the embeddings of coordinates that training never wrote between their neighbours'.

    The edges of pictures of one size fall on few of the 1,000 steps. Smoothed targets teach the
    head the others too, so the model writes them now and then; embeddings left as they began
    would then be strangers to it, and it would begin its answer anew.

    Args:
        model: trained; its embeddings are changed.
        tokenizer: knows the coordinates.
        size: height and width of the training pictures, in pixels.
    """
    seen = sorted({step for near in range(size) for step in edge_steps(near, near + 1, size)})
    first = tokenizer.vocab[FIRST_COORDINATE]
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        for before, after in pairwise(seen):
            low, high = embeddings[first + before].clone(), embeddings[first + after].clone()
            for step in range(before + 1, after):
                embeddings[first + step] = low.lerp(high, (step - before) / (after - before))


def grow(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, seed: int
) -> int:
    """Give the model a row for every token that ``tokenizer`` has learnt; returns how many."""
    before = int(model.get_input_embeddings().weight.shape[0])
    if len(tokenizer) <= before:
        return 0
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    fill_token_rows(model, tokenizer, range(before, len(tokenizer)), seed)
    return len(tokenizer) - before


def save_weights(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write config, float16 weights and tokenizer as the package ships them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(half, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_weights(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Read what ``save_weights`` wrote, as float32.

    Raises:
        RuntimeError: the weights are of another architecture.
    """
    weights = load_file(folder / WEIGHTS_FILE)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
