"""New tokens in an adapter: only their rows are trained and saved, in whatever model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import (
    GenerationMixin,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from t4spp.components import Backbone
from t4spp.errors import BackboneError, ConfigError
from t4spp.training.checkpoints import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    META,
    CheckpointMeta,
    load_checkpoint,
    read_adapter,
    write_adapter,
)
from t4spp.training.lora import is_quantised, place, prepare_full, prepare_lora, token_modules

NEW = ("<|a|>", "<|b|>")
WORDS = {"<pad>": 0, "one": 1, "two": 2, "three": 3, "<|a|>": 4, "<|b|>": 5}
ROWS = 16
"""Rows of the embeddings, ten more than there are tokens."""
WIDTH = 16


class Wrapper(PreTrainedModel, GenerationMixin):
    """A model around a whole language model, which alone knows embeddings and head."""

    config_class = LlamaConfig

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.inner = LlamaForCausalLM(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, **tensors: Any) -> Any:
        return self.inner(**tensors)


def qwen(tied: bool) -> PreTrainedModel:
    text = {
        "vocab_size": ROWS,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
        "tie_word_embeddings": tied,
    }
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)
    return Qwen2VLForConditionalGeneration(config)


def llama(tied: bool, kind: type[PreTrainedModel] = LlamaForCausalLM) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return kind(config)


MODELS = {
    "llama": llama,
    "qwen2-vl": qwen,
    "wrapped llama": lambda tied: llama(tied, Wrapper),
}


class Tiny(Backbone):
    def __init__(self, kind: str = "llama", tied: bool = False) -> None:
        torch.manual_seed(0)
        self.model = MODELS[kind](tied).eval()
        words = Tokenizer(WordLevel(WORDS))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")

    def load(self, scheme_tokens: Any) -> None: ...

    def fingerprint(self) -> str:
        return "tiny"

    def lora_targets(self) -> list[str]:
        return ["q_proj", "v_proj"]


IDS = torch.tensor([[1, 2, 4, 3, 5]])


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(backbone: Tiny) -> Any:
    """One large step of everything that learns."""
    adapted = prepare_lora(backbone, NEW, rank=2, alpha=4, dropout=0.0, targets=None)
    adapted(input_ids=IDS).logits.float().logsumexp(-1).sum().backward()
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    return adapted.eval()


cases = pytest.mark.parametrize(
    ("kind", "tied"),
    [(k, t) for k in MODELS for t in (True, False) if (k, t) != ("wrapped llama", True)],
)


@cases
def test_only_the_new_rows_and_the_factors_are_trained(kind: str, tied: bool) -> None:
    backbone = Tiny(kind, tied)
    modules = token_modules(backbone.model)
    assert len(modules) == (1 if tied else 2)
    before = {name: value.clone() for name, value in backbone.model.named_parameters()}
    adapted = trained(backbone)
    learning = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    rows = [p for n, p in learning.items() if "trainable_tokens_delta" in n]
    assert [tuple(p.shape) for p in rows] == [(len(NEW), WIDTH)] * len(modules)
    assert all("lora_" in n or "trainable_tokens_delta" in n for n in learning)
    after = {
        name.removeprefix("base_model.model.")
        .replace("token_adapter.base_layer.", "")
        .replace("base_layer.", ""): value
        for name, value in adapted.named_parameters()
    }
    assert set(before) <= set(after)
    for name, value in before.items():
        assert torch.equal(after[name], value), f"{name} is the base model's and has changed"


@cases
def test_an_adapters_file_holds_rows_times_width_and_comes_back(
    kind: str, tied: bool, tmp_path: Path
) -> None:
    backbone = Tiny(kind, tied)
    adapted = trained(backbone)
    expected = logits(adapted)
    assert not torch.allclose(expected, logits(Tiny(kind, tied).model), atol=1e-4)
    write_adapter(adapted, tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / ADAPTER_WEIGHTS)
    factors = sum(value.numel() for name, value in saved.items() if "lora_" in name)
    rows = sum(value.numel() for name, value in saved.items() if "lora_" not in name)
    assert factors == 2 * 2 * (WIDTH + WIDTH)
    assert rows == len(NEW) * WIDTH * (1 if tied else 2)
    going_on = Tiny(kind, tied)
    again = prepare_lora(going_on, NEW, rank=2, alpha=4, dropout=0.0, targets=None)
    read_adapter(again, tmp_path / "adapter")
    assert torch.equal(logits(again.eval()), expected)


@cases
def test_merging_writes_the_new_rows_into_the_weights_and_leaves_the_others(
    kind: str, tied: bool
) -> None:
    backbone = Tiny(kind, tied)
    adapted = trained(backbone)
    expected = logits(adapted)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-6)
    table, fresh = (m.get_input_embeddings().weight for m in (merged, Tiny(kind, tied).model))
    changed = (table != fresh).any(dim=1).nonzero()[:, 0].tolist()
    assert changed == [4, 5], "rows of padding and of known tokens stay as they were"
    if not tied:
        return
    assert merged.get_output_embeddings().weight.data_ptr() == table.data_ptr()


def test_rows_of_a_half_precision_model_are_learnt_in_float32() -> None:
    backbone = Tiny()
    backbone.model.to(torch.bfloat16)
    adapted = prepare_lora(backbone, NEW, rank=2, alpha=4, dropout=0.0, targets=None)
    assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}
    assert backbone.model.get_input_embeddings().weight.dtype == torch.bfloat16


def test_a_model_without_a_head_is_one_clear_error() -> None:
    backbone = Tiny()
    backbone.model = backbone.model.model
    with pytest.raises(BackboneError, match="LlamaModel has no output head"):
        token_modules(backbone.model)


def test_a_tied_head_that_a_wrapper_does_not_name_is_one_clear_error() -> None:
    backbone = Tiny("wrapped llama", tied=True)
    with pytest.raises(BackboneError, match=r"Wrapper ties its output head.*Let it return"):
        prepare_lora(backbone, NEW, rank=2, alpha=4, dropout=0.0, targets=None)


# quantised base models; bitsandbytes needs a GPU, so a model is only said to be one


def quantised(flag: str = "is_loaded_in_4bit") -> Tiny:
    backbone = Tiny()
    setattr(backbone.model, flag, True)
    return backbone


@pytest.mark.parametrize("flag", ["is_quantized", "is_loaded_in_8bit", "is_loaded_in_4bit"])
def test_a_quantised_model_is_known_by_its_flags(flag: str) -> None:
    assert not is_quantised(Tiny().model)
    assert is_quantised(quantised(flag).model)


def test_a_quantised_model_is_prepared_as_peft_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    prepare = peft.prepare_model_for_kbit_training

    def listening(model: Any, **options: Any) -> Any:
        told.append(options)
        return prepare(model, **options)

    monkeypatch.setattr(peft, "prepare_model_for_kbit_training", listening)
    backbone = quantised()
    backbone.model.to(torch.bfloat16)
    prepare_lora(backbone, NEW, rank=2, alpha=4, dropout=0.0, targets=None)
    assert told == [
        {
            "use_gradient_checkpointing": False,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    ]
    assert backbone.model.get_input_embeddings().weight.dtype == torch.float32
    trained(Tiny())
    assert len(told) == 1, "a plain model is left as it is"


def test_a_quantised_model_is_neither_moved_nor_trained_whole() -> None:
    model = quantised().model
    model.to = None  # calling it would fail
    place(model, torch.device("meta"))
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    with pytest.raises(ConfigError, match=r"cannot train a quantised model.*training\.mode=lora"):
        prepare_full(model)


def test_nothing_is_merged_into_quantised_weights(tmp_path: Path) -> None:
    adapted = trained(Tiny())
    expected = logits(adapted)
    folder = tmp_path / "step"
    folder.mkdir()
    write_adapter(adapted, folder / ADAPTER)
    meta = CheckpointMeta(
        step=1,
        epoch=1,
        mode="lora",
        scheme="s",
        backbone="tiny",
        config_hash="",
        binding={},
        num_processes=1,
        counts={},
    )
    (folder / META).write_text(json.dumps(meta.model_dump()))
    for backbone, kept in ((quantised(), True), (Tiny(), False)):
        load_checkpoint(backbone, folder, merge=True)
        adapter = any("lora_" in name for name, _ in backbone.model.named_parameters())
        assert adapter == kept
        torch.testing.assert_close(logits(backbone.model), expected, rtol=1e-5, atol=1e-6)
