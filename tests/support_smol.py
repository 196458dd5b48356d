"""What the tests of smol share: a tiny Llama with SmolLM2's chat, MobileSAM's file at random."""

from __future__ import annotations

import re
from pathlib import Path

import torch

TOWER_KEY_CHANGES = (
    (r"^trunk\.patch_embed\.conv1\.", "patch_embed.seq.0."),
    (r"^trunk\.patch_embed\.conv2\.", "patch_embed.seq.2."),
    (r"^trunk\.stages\.1\.downsample\.", "layers.0.downsample."),
    (r"^trunk\.stages\.2\.downsample\.", "layers.1.downsample."),
    (r"^trunk\.stages\.3\.downsample\.", "layers.2.downsample."),
    (r"^trunk\.stages\.", "layers."),
    (r"\.conv\.weight$", ".c.weight"),
)


def write_tower(path: Path) -> Path:
    """A file of MobileSAM's names and shapes with seeded random weights."""
    from safetensors.torch import save_file

    from t4spp_plugins.towers.mobile_sam import MobileSamEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = MobileSamEncoder().state_dict()
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in TOWER_KEY_CHANGES:
            name = re.sub(pattern, replacement, name)
        renamed[f"image_encoder.{name}"] = value.contiguous()
    renamed["image_encoder.head.weight"] = torch.zeros(1000, 320)
    renamed["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 256)
    save_file(renamed, path)
    return path


def write_language_model(folder: Path) -> Path:
    """A two-layer Llama that reads bytes and knows SmolLM2's turn marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(alphabet)}, merges=[]))
    inner.add_special_tokens(special)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|im_end|>", eos_token="<|im_end|>"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder
