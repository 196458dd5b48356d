"""Adapters and checkpoints around a nested vision-language architecture (LLaVA)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from t4spp.components import Backbone
from t4spp.training.checkpoints import load_full, read_adapter, write_adapter, write_full
from t4spp.training.lora import prepare_lora, token_modules

NEW = ("<|a|>", "<|b|>")
WORDS = {"<pad>": 0, "<image>": 1, "one": 2, "two": 3, "<|a|>": 4, "<|b|>": 5}


class TinyLlava(Backbone):
    """Sixteen channels, two layers, pictures of 16 x 16 pixels as four tokens."""

    def __init__(self, tied: bool) -> None:
        torch.manual_seed(0)
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            projection_dim=16,
        )
        text = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=tied,
        )
        self.model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=vision, text_config=text, image_token_id=1, tie_word_embeddings=tied
            )
        ).eval()
        words = Tokenizer(WordLevel(WORDS))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")

    def load(self, scheme_tokens: Any) -> None: ...

    def fingerprint(self) -> str:
        return "tiny-llava"

    def lora_targets(self) -> str:
        return r".*(language_model|multi_modal_projector).*(q_proj|v_proj|linear_[12])"


def batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[1, 1, 1, 1, 2, 3, 4, 5]])
    pixels = torch.linspace(0, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": torch.ones_like(ids)}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch()).logits


def trained(tied: bool) -> tuple[TinyLlava, Any]:
    """A backbone whose adapter has made one large step."""
    backbone = TinyLlava(tied)
    adapted = prepare_lora(backbone, NEW, rank=2, alpha=4, dropout=0.0, targets=None)
    adapted(**batch()).logits.float().logsumexp(-1).sum().backward()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return backbone, adapted.eval()


@pytest.mark.parametrize(
    ("tied", "modules"),
    [
        (True, ["model.language_model.embed_tokens"]),
        (False, ["model.language_model.embed_tokens", "lm_head"]),
    ],
)
def test_an_untied_head_has_token_rows_of_its_own(tied: bool, modules: list[str]) -> None:
    backbone, adapted = trained(tied)
    before = TinyLlava(tied)
    assert token_modules(before.model) == modules
    rows = [n for n, p in adapted.named_parameters() if "trainable_tokens" in n and p.requires_grad]
    assert len(rows) == len(modules)
    vision = [n for n, p in adapted.named_parameters() if "vision" in n and p.requires_grad]
    assert vision == []
    assert not torch.allclose(logits(backbone.model), logits(before.model), atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_a_written_adapter_is_read_back_exactly(tied: bool, tmp_path: Path) -> None:
    backbone, adapted = trained(tied)
    expected = logits(backbone.model)
    write_adapter(adapted, tmp_path / "adapter")
    going_on = TinyLlava(tied)
    read_adapter(
        prepare_lora(going_on, NEW, rank=2, alpha=4, dropout=0.0, targets=None),
        tmp_path / "adapter",
    )
    assert torch.equal(logits(going_on.model.eval()), expected)
    by_peft = TinyLlava(tied)
    PeftModel.from_pretrained(by_peft.model, str(tmp_path / "adapter"))
    assert torch.equal(logits(by_peft.model), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_merged_weights_are_a_model_that_transformers_reads(tied: bool, tmp_path: Path) -> None:
    backbone, adapted = trained(tied)
    expected = logits(backbone.model)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-6)
    write_full(merged, tmp_path / "model")
    other = TinyLlava(tied)
    load_full(other.model, tmp_path / "model")
    assert torch.equal(logits(other.model), logits(merged))
    read = LlavaForConditionalGeneration.from_pretrained(str(tmp_path / "model"))
    assert torch.equal(logits(read.eval()), logits(merged))
