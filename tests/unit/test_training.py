"""The training loop, on a model of a few thousand weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from t4spp.config import RunConfig
from t4spp.errors import ConfigError, RecipeError, RunError
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.training.batches import answer_loss, num_told
from t4spp.training.checkpoints import load_checkpoint
from t4spp.training.trainer import Trainer

LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}


@pytest.fixture(scope="module")
def catalogue(project: Path) -> Catalogue:
    return load_catalogue(plugin_files=[project / "tests" / "support_backbone.py"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(**changes: Any) -> RunConfig:
    """A run of a few steps; dotted keys change it."""
    data: dict[str, Any] = {
        "name": "t",
        "seed": 3,
        "scheme": {"name": "next-brick", "params": {"grid": 4, "coordinates": "digits"}},
        "backbone": {"name": "tiny-text", "params": {}},
        "data": {"recipe": {"name": "rectangles", "params": {}}},
        "training": {
            "mode": "lora",
            "steps": 4,
            "batch_size": 8,
            "learning_rate": 0.01,
            "lora": dict(LORA),
        },
    }
    for key, value in changes.items():
        inner = data
        *path, last = key.split("__")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return RunConfig.model_validate(data)


class Recorder:
    """A follower that keeps what it is told."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.scored: list[tuple[str, dict[str, Any]]] = []
        self.notes: list[tuple[str, dict[str, Any]]] = []

    def log(self, step: int, values: Any) -> None:
        self.logged.append((step, dict(values)))

    def scores(self, split: str, metrics: Any) -> None:
        self.scored.append((split, dict(metrics)))

    def note(self, message: str, **values: Any) -> None:
        self.notes.append((message, values))


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    (path,) = checkpoint.glob("*/*.safetensors")
    return load_file(str(path))


def logits(backbone: Any) -> torch.Tensor:
    ids = torch.arange(2, 40).reshape(1, -1)
    ids = torch.cat([ids, torch.arange(258, 262).reshape(1, -1)], dim=1)
    with torch.no_grad():
        return backbone.model(input_ids=ids).logits


def fresh(catalogue: Catalogue, run: RunConfig) -> Any:
    scheme = catalogue.build("scheme", run.scheme.name, run.scheme.params)
    backbone = catalogue.build("backbone", run.backbone.name, run.backbone.params)
    backbone.load(scheme.special_tokens)
    return backbone


def test_the_loss_is_the_sum_over_answer_tokens_only() -> None:
    scores = torch.zeros(1, 4, 3)
    scores[0, 1, 2] = math.log(2.0)  # 1/4, 1/4, 1/2 for the token at position 2
    labels = torch.tensor([[-100, -100, 2, 0]])
    expected = -math.log(1 / 2) - math.log(1 / 3)
    assert answer_loss(scores, labels).item() == pytest.approx(expected)
    assert num_told(labels) == 3
    assert answer_loss(scores[:, -3:], labels).item() == pytest.approx(expected)


def test_logits_are_kept_from_before_the_first_label_of_any_row_on() -> None:
    labels = torch.full((2, 6), -100)
    labels[0, 4:] = labels[1, 3] = 1
    assert num_told(labels) == 4
    labels[1, 0] = 1
    assert num_told(labels) == 6


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_leaving_logits_out_changes_neither_loss_nor_weights(
    mode: str, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    kept: list[object] = []
    forward = LlamaForCausalLM.forward

    def watched(self: Any, *args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        kept.append(logits_to_keep)
        return forward(self, *args, logits_to_keep=logits_to_keep, **kwargs)

    def whole(self: Any, **kwargs: Any) -> Any:
        return forward(self, **kwargs)

    found = []
    for name, replaced in (("short", watched), ("whole", whole)):
        monkeypatch.setattr(LlamaForCausalLM, "forward", replaced)
        run = config(training__mode=mode, training__steps=3)
        found.append(Trainer(run, catalogue, tmp_path / name).train())
    short, long = found
    assert len(kept) == 3 and all(isinstance(number, int) and number > 1 for number in kept)
    assert short.loss == pytest.approx(long.loss, rel=1e-5)
    reference = weights(long.checkpoint)
    for name, value in weights(short.checkpoint).items():
        torch.testing.assert_close(value, reference[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_accumulation_trains_to_the_weights_of_one_pass(
    mode: str, catalogue: Catalogue, tmp_path: Path
) -> None:
    whole = Trainer(config(training__mode=mode), catalogue, tmp_path / "whole").train()
    halves = Trainer(
        config(training__mode=mode, training__micro_batch_size=4), catalogue, tmp_path / "halves"
    ).train()
    quarters = Trainer(
        config(training__mode=mode, training__micro_batch_size=2), catalogue, tmp_path / "quarters"
    ).train()
    reference = weights(whole.checkpoint)
    for other in (halves, quarters):
        torch.testing.assert_close(weights(other.checkpoint), reference, rtol=1e-4, atol=1e-5)
        assert other.loss == pytest.approx(whole.loss, rel=1e-5)


def test_training_lowers_the_loss(catalogue: Catalogue, tmp_path: Path) -> None:
    recorder = Recorder()
    run = config(training__mode="full", training__steps=30, training__log_every=10)
    summary = Trainer(run, catalogue, tmp_path / "run").train(follower=recorder)
    losses = [values["loss"] for _, values in recorder.logged]
    assert [step for step, _ in recorder.logged] == [10, 20, 30]
    assert losses[0] > 4.0
    assert losses[-1] < 3.5
    assert summary.loss == losses[-1]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    dropped = {"training__lora": {**LORA, "dropout": 0.2}}
    first = Trainer(config(**dropped), catalogue, tmp_path / "1").train()
    torch.rand(5)
    again = Trainer(config(**dropped), catalogue, tmp_path / "2").train()
    other = Trainer(config(**dropped, seed=4), catalogue, tmp_path / "3").train()
    torch.testing.assert_close(weights(again.checkpoint), weights(first.checkpoint), rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(weights(other.checkpoint), weights(first.checkpoint))


def test_data_workers_change_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    alone = Trainer(config(), catalogue, tmp_path / "alone").train()
    helped = Trainer(config(training__num_workers=2), catalogue, tmp_path / "helped").train()
    torch.testing.assert_close(
        weights(helped.checkpoint), weights(alone.checkpoint), rtol=0, atol=0
    )
    assert (helped.samples, helped.answer_tokens) == (alone.samples, alone.answer_tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_new_tokens_are_trained_and_saved_and_no_other_row(
    tied: bool, catalogue: Catalogue, tmp_path: Path
) -> None:
    run = config(backbone__params__tied=tied)
    trainer = Trainer(run, catalogue, tmp_path / "run")
    before = fresh(catalogue, run).model.get_input_embeddings().weight.detach().clone()
    summary = trainer.train()
    ids = trainer.backbone.tokenizer.convert_tokens_to_ids(list(trainer.scheme.special_tokens))
    rows = {
        name: value
        for name, value in weights(summary.checkpoint).items()
        if name.endswith("trainable_tokens_delta")
    }
    assert len(rows) == (1 if tied else 2)
    for value in rows.values():
        assert value.shape == (len(ids), 16)
    (embedded,) = (value for name, value in rows.items() if "embed_tokens" in name)
    assert not torch.equal(embedded, before[sorted(ids)])

    loaded = fresh(catalogue, run)
    load_checkpoint(loaded, summary.checkpoint)
    text = torch.arange(2, 200).reshape(1, -1)
    embed = loaded.model.get_input_embeddings()
    assert torch.equal(embed(text)[0], before[2:200])
    assert torch.equal(embed(torch.tensor([sorted(ids)]))[0], embedded)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("merge", [False, True])
def test_a_loaded_checkpoint_answers_as_the_trained_model(
    mode: str, tied: bool, merge: bool, catalogue: Catalogue, tmp_path: Path
) -> None:
    run = config(training__mode=mode, backbone__params__tied=tied, training__steps=2)
    trainer = Trainer(run, catalogue, tmp_path / "run")
    untrained = logits(fresh(catalogue, run))
    trainer.train()
    expected = logits(trainer.backbone)
    assert not torch.allclose(untrained, expected, atol=1e-3)
    loaded = fresh(catalogue, run)
    meta = load_checkpoint(
        loaded, tmp_path / "run", scheme=trainer.scheme.fingerprint(), merge=merge
    )
    assert meta.step == 2
    tolerance = 1e-5 if merge else 0.0
    torch.testing.assert_close(logits(loaded), expected, rtol=tolerance, atol=tolerance)


def test_too_long_and_unwritable_samples_are_counted_and_never_cut(
    catalogue: Catalogue, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    # One epoch: sample 5 cannot be written, eight others take 71 tokens.
    run = config(
        training__steps=3,
        data__templates="fixed",
        data__recipe__params={"bad_label": 5},
        data__max_length=70,
    )
    with caplog.at_level(logging.WARNING, logger="t4spp"):
        summary = Trainer(run, catalogue, tmp_path / "run").train(follower=recorder)
    assert summary.unwritable == 1
    assert summary.too_long == 8
    assert summary.samples == 15
    assert recorder.logged[-1][1]["too_long"] == 8
    assert recorder.logged[-1][1]["unwritable"] == 1
    assert "longer than data.max_length=70 tokens and is left out" in caplog.text


def test_a_run_that_no_sample_fits_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    trainer = Trainer(config(data__max_length=20), catalogue, tmp_path / "run")
    with pytest.raises(RunError, match=r"24 are longer than data\.max_length=20 tokens"):
        trainer.train()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_picture_is_the_recipes_one_clear_error(
    num_workers: int, catalogue: Catalogue, tmp_path: Path
) -> None:
    run = config(data__recipe__params={"broken": 7}, training__num_workers=num_workers)
    with pytest.raises(RecipeError) as caught:
        Trainer(run, catalogue, tmp_path / "run").train()
    assert str(caught.value) == "picture 7 is truncated. Copy it again."


def test_evaluation_is_called_on_time_and_scored(catalogue: Catalogue, tmp_path: Path) -> None:
    recorder = Recorder()
    seen: list[tuple[int, bool]] = []

    def evaluate(backbone: Any, step: int) -> dict[str, Any]:
        seen.append((step, backbone.model.training))
        torch.rand(3)
        return {"mean_iou": step / 10}

    dropped = {"training__lora": {**LORA, "dropout": 0.2}}
    run = config(training__evaluate_every=2, **dropped)
    evaluated = Trainer(run, catalogue, tmp_path / "1").train(evaluate=evaluate, follower=recorder)
    plain = Trainer(config(**dropped), catalogue, tmp_path / "2").train()
    assert seen == [(2, False), (4, False)]
    assert recorder.scored == [
        ("val", {"mean_iou": 0.2, "step": 2}),
        ("val", {"mean_iou": 0.4, "step": 4}),
    ]
    torch.testing.assert_close(
        weights(evaluated.checkpoint), weights(plain.checkpoint), rtol=0, atol=0
    )


def test_mixed_precision_is_had_on_request(catalogue: Catalogue, tmp_path: Path) -> None:
    run = config(training__precision="bf16", training__steps=2)
    trainer = Trainer(run, catalogue, tmp_path / "run")
    assert trainer.accelerator.mixed_precision == "bf16"
    assert math.isfinite(trainer.train().loss or math.nan)
    plain = Trainer(config(), catalogue, tmp_path / "other")
    if plain.accelerator.device.type == "cpu":
        assert plain.accelerator.mixed_precision == "no"


def test_divergence_stops_the_run(catalogue: Catalogue, tmp_path: Path) -> None:
    run = config(
        training__mode="full",
        training__learning_rate=1e30,
        training__log_every=1,
        training__steps=6,
        training__warmup_ratio=0.0,
    )
    with pytest.raises(RunError, match="training has diverged"):
        Trainer(run, catalogue, tmp_path / "run").train()


def test_max_train_samples_caps_the_split(catalogue: Catalogue, tmp_path: Path) -> None:
    trainer = Trainer(config(data__max_train_samples=5), catalogue, tmp_path / "run")
    assert [sample.id for sample in trainer.samples] == ["r0", "r1", "r2", "r3", "r4"]


def test_init_from_starts_from_the_weights_of_another_run(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    first = Trainer(config(), catalogue, tmp_path / "first").train()
    run = config(
        training__init_from=tmp_path / "first",
        training__learning_rate=1e-12,
        training__steps=1,
    )
    second = Trainer(run, catalogue, tmp_path / "second").train()
    torch.testing.assert_close(
        weights(second.checkpoint), weights(first.checkpoint), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone__params__seed": 1}, "belongs to the backbone 'tiny-text:"),
        ({"scheme__params__grid": 6}, "was trained with the scheme 'next-brick@"),
        ({"training__mode": "full"}, "holds lora weights, and this run trains full"),
        ({"training__lora": {**LORA, "rank": 2}}, "cannot be read"),
        ({"training__lora": {**LORA, "targets": ["o_proj"]}}, "adapts other layers"),
    ],
)
def test_init_from_refuses_foreign_weights(
    changes: dict[str, Any], message: str, catalogue: Catalogue, tmp_path: Path
) -> None:
    Trainer(config(training__steps=1), catalogue, tmp_path / "first").train()
    run = config(training__init_from=tmp_path / "first", **changes)
    with pytest.raises(RunError, match=message):
        Trainer(run, catalogue, tmp_path / "second").train()
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("spread", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_muon_is_refused_where_matrices_are_spread_over_processes(
    spread: str, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = SimpleNamespace(distributed_type=DistributedType[spread])
    monkeypatch.setattr("t4spp.training.trainer.make_accelerator", lambda *_: elsewhere)
    run = config(training__mode="full", training__optimizer="muon")
    with pytest.raises(ConfigError, match=f"{spread} does not leave them so"):
        Trainer(run, catalogue, tmp_path)


def test_targets_that_fit_no_layer_are_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    run = config(training__lora={**LORA, "targets": ["qq_proj"]})
    with pytest.raises(ConfigError, match=r"training\.lora\.targets"):
        Trainer(run, catalogue, tmp_path / "run").train()
    assert not (tmp_path / "run").exists()


def test_a_backbone_without_a_model_cannot_be_trained(catalogue: Catalogue, tmp_path: Path) -> None:
    run = config(backbone={"name": "oracle", "params": {}})
    with pytest.raises(ConfigError, match=r"training\.mode=none"):
        Trainer(run, catalogue, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mode_none_has_nothing_to_train(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        Trainer(config(training__mode="none"), catalogue, tmp_path / "run")


def test_new_parts_are_readied_once_and_not_for_a_run_that_goes_on(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readied: list[tuple[int, int, bool]] = []

    def trained(run: RunConfig, folder: Path, *, resume: bool = False) -> None:
        backbone = fresh(catalogue, run)

        def before_training(samples: Any, *, seed: int, is_main: bool) -> None:
            readied.append((len(samples), seed, is_main))

        monkeypatch.setattr(backbone, "before_training", before_training)
        trainer = Trainer(run, catalogue, folder, backbone=backbone)
        trainer.claim(resume=resume)
        trainer.train()

    trained(config(training__steps=1), tmp_path / "a")
    assert readied == [(24, 3, True)]
    trained(config(training__steps=1), tmp_path / "a", resume=True)
    trained(config(training__steps=1, training__init_from=tmp_path / "a"), tmp_path / "b")
    assert len(readied) == 1


def test_a_folder_that_is_taken_is_refused_before_anything_is_readied(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    backbone = fresh(catalogue, config())

    def before_training(samples: Any, *, seed: int, is_main: bool) -> None:
        raise AssertionError("minutes of work for nothing")

    monkeypatch.setattr(backbone, "before_training", before_training)
    with pytest.raises(RunError, match="exists and is not empty"):
        Trainer(config(), catalogue, tmp_path, backbone=backbone).claim()


def test_a_budget_of_answer_tokens_is_met_by_the_steps_that_come_nearest(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    by_steps = Trainer(config(training__steps=12), catalogue, tmp_path / "steps").train()

    tokens = by_steps.answer_tokens
    changed = config(training__steps=0, training__target_tokens=tokens)
    trainer = Trainer(changed, catalogue, tmp_path / "tokens")
    by_tokens = trainer.train()

    assert abs(by_tokens.steps - 12) <= 1  # the counted steps are not all that are trained on
    assert abs(by_tokens.answer_tokens - tokens) < 0.1 * tokens
    assert trainer.config.training.steps == by_tokens.steps


def test_twice_the_tokens_take_about_twice_the_steps(catalogue: Catalogue, tmp_path: Path) -> None:
    steps = [
        Trainer(
            config(training__steps=0, training__target_tokens=tokens), catalogue, tmp_path
        ).config.training.steps
        for tokens in (5_000, 10_000, 1)
    ]

    assert abs(steps[1] - 2 * steps[0]) <= 1
    assert steps[2] == 1


def test_counting_the_budget_changes_no_weights(catalogue: Catalogue, tmp_path: Path) -> None:
    budget = config(training__steps=0, training__target_tokens=2_000)
    by_tokens = Trainer(budget, catalogue, tmp_path / "tokens")
    steps = by_tokens.config.training.steps
    first = by_tokens.train()
    second = Trainer(config(training__steps=steps), catalogue, tmp_path / "steps").train()

    one, other = (
        load_file(summary.weights / "adapter_model.safetensors") for summary in (first, second)
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_budget_without_an_answer_to_train_on_is_refused(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    budget = config(training__steps=0, training__target_tokens=100, data__max_length=16)
    with pytest.raises(RunError, match="hold no answer that can be trained on"):
        Trainer(budget, catalogue, tmp_path)


def test_a_run_by_tokens_resumes_from_its_own_config_and_from_the_first_one(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    budget = config(training__steps=0, training__target_tokens=2_000)
    trainer = Trainer(budget, catalogue, tmp_path / "run")
    trainer.train()
    for again in (budget, trainer.config):
        resumed = Trainer(again, catalogue, tmp_path / "run")
        resumed.claim(resume=True)
        assert resumed.train().resumed_from == trainer.config.training.steps
