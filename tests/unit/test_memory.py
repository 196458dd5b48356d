"""The memory that training needs: counted, and held to a training that really runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from t4spp.cli import main
from t4spp.components import ReferenceModel
from t4spp.training.memory import (
    PRECISIONS,
    MemoryNeed,
    Workload,
    empty_model,
    memory_needs,
    weight_bytes,
)

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}
TARGETS = r".*\.(q|k|v|o|gate|up|down)_proj"
WORK = Workload(rank=8, dropout=0.0, new_tokens=0, length=512, answer=64)


def need(work: Workload = WORK, **changes: Any) -> MemoryNeed:
    model = ReferenceModel(name="small", config={**SMALL, **changes}, lora_targets=TARGETS)
    return memory_needs(model, work)[0]


def test_parameters_are_those_of_a_real_model() -> None:
    values = {key: value for key, value in SMALL.items() if key != "model_type"}
    real = LlamaForCausalLM(LlamaConfig(**values))
    adapted = get_peft_model(real, LoraConfig(r=8, target_modules=TARGETS))
    found = need()
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert found.trained == trained
    assert found.parameters == sum(p.numel() for p in adapted.parameters()) - trained
    assert found.weights == 2 * found.parameters
    assert found.states == 16 * trained


@pytest.mark.parametrize(("tied", "tables"), [(True, 1), (False, 2)])
def test_rows_of_new_tokens_are_trained_once_a_table(tied: bool, tables: int) -> None:
    more = replace(WORK, new_tokens=10)
    plain, grown = need(tie_word_embeddings=tied), need(more, tie_word_embeddings=tied)
    assert grown.trained - plain.trained == 10 * 256 * tables


def test_quantised_weights_leave_head_embeddings_and_norms_in_float32() -> None:
    model = empty_model(SMALL, "small")
    whole = sum(p.numel() for p in model.parameters())
    linear = 4 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 704)
    assert weight_bytes(model, "bf16") == 2 * whole
    assert weight_bytes(model, "8bit") == linear + 4 * (whole - linear)
    assert weight_bytes(model, "4bit") == int(linear * 4.126953125 / 8) + 4 * (whole - linear)


def peak_bytes(length: int, answer: int) -> int:
    """The most that a forward and a backward pass of real training allocate, on the CPU."""
    from torch.profiler import ProfilerActivity, profile

    values = {key: value for key, value in SMALL.items() if key != "model_type"}
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**values)).to(torch.bfloat16)
    config = LoraConfig(r=8, lora_dropout=0.0, target_modules=TARGETS)
    adapted = get_peft_model(model, config).train()
    ids = torch.randint(0, 1000, (1, length))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = adapted(input_ids=ids, use_cache=False, logits_to_keep=answer).logits
        loss = torch.nn.functional.cross_entropy(logits[0].float(), ids[0, -answer:])
        loss.backward()

    step()  # gradients are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def test_activations_are_those_of_a_real_training_step_within_a_fifth() -> None:
    work = replace(WORK, length=192, answer=24)
    assert 0.8 < need(work).activations / peak_bytes(length=192, answer=24) < 1.2


def test_dropout_keeps_a_copy_of_every_adapted_layers_input() -> None:
    assert need(replace(WORK, dropout=0.05)).activations > 1.3 * need().activations


def test_activations_grow_with_what_is_trained_on() -> None:
    one = need()
    double = need(replace(WORK, length=1024))
    assert 1.8 < double.activations / one.activations < 2.2
    assert one.checkpointed < one.activations * 0.7
    pair = need(replace(WORK, sequences=2))
    assert pair.activations == 2 * one.activations


PUBLISHED = {
    "LLaVA-OneVision 0.5B": 0.894,
    "Qwen2-VL 2B": 2.21,
    "Qwen2.5-VL 3B": 3.75,
    "LLaVA-1.5 7B": 7.06,
    "InternVL3 8B": 7.94,
    "Qwen2.5-VL 7B": 8.29,
}
"""Billions of parameters, as the checkpoints' pages give them."""


def test_known_architectures_have_the_published_numbers_of_parameters() -> None:
    from t4spp_plugins.backbones.hf_vlm.sizes import CONFIGS

    assert list(CONFIGS) == list(PUBLISHED)
    for name, config in CONFIGS.items():
        found = sum(p.numel() for p in empty_model(config, name).parameters())
        assert found / 1e9 == pytest.approx(PUBLISHED[name], rel=0.003), name


def test_the_command_prints_every_precision(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "memory", "--model", "llava-onevision", "--length", "64", "--answer", "8"]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["precision"] for row in rows] == list(PRECISIONS)
    weights = [row["weights"] for row in rows]
    assert weights == sorted(weights, reverse=True)
    for row in rows:
        assert row["total"] == row["weights"] + row["states"] + row["activations"]
        assert row["total_checkpointed"] < row["total"]


def test_a_local_config_is_measured_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SMALL))
    command = ["bench", "memory", "--config", str(path), "--rank", "8", "--new-tokens", "0"]
    assert main([*command, "--targets", TARGETS]) == 0
    assert f"{path}  0.00 B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "Qwen9"], "--model Qwen9: unknown; valid: LLaVA-OneVision 0.5B"),
        (["--config", "nowhere.json"], "no JSON file that can be read"),
        (["--model", "Qwen", "--config", "x.json"], "exclude each other"),
        (["--targets", "x"], "--targets goes with --config"),
        (["--rank", "0"], "--rank 0: expected at least 1"),
        (["--answer", "2000"], "expected less than --length 1024"),
    ],
)
def test_wrong_options_are_one_clear_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "memory", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("config", [{"model_type": "no-such"}, {**SMALL, "hidden_size": "wide"}])
def test_a_config_that_makes_no_model_is_one_clear_message(
    config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert main(["bench", "memory", "--config", str(path)]) == 2
    assert "no model can be made of this config" in capsys.readouterr().err
