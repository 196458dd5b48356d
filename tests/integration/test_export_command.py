"""A trained run as a folder that transformers loads alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support_experiment import PLUGIN, tiny_experiment
from transformers import AutoModelForCausalLM, AutoTokenizer

from t4spp.cli import main
from t4spp.errors import RunError
from t4spp.plugins import load_catalogue
from t4spp.training.checkpoints import load_checkpoint
from t4spp.training.export import EXPORT_RECORD, export_model
from t4spp.training.trainer import Trainer

NANO = {
    "name": "nano-two-steps",
    "scheme": {"name": "next-brick", "params": {"grid": 20, "row_marks": True}},
    "backbone": {"name": "nano"},
    "data": {"recipe": {"name": "refshapes"}, "max_train_samples": 4, "max_length": 700},
    "training": {
        "mode": "lora",
        "steps": 2,
        "batch_size": 2,
        "learning_rate": 0.01,
        "lora": {"rank": 4},
    },
}
ALONE = """
import json, sys, torch
import {module}
from transformers import AutoModelForImageTextToText, AutoTokenizer
assert "t4spp.cli" not in sys.modules
model = AutoModelForImageTextToText.from_pretrained({folder!r}).eval()
tokenizer = AutoTokenizer.from_pretrained({folder!r})
batch = torch.load({batch!r}, weights_only=True)
with torch.no_grad():
    logits = model(**batch).logits
    ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
torch.save(logits, {logits!r})
text = tokenizer.decode(ids[0, batch["input_ids"].shape[1]:])
json.dump({{"text": text, "size": len(tokenizer), "class": type(model).__name__}}, sys.stdout)
"""


def trained(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(config))
    run = folder / "run"
    assert main(["train", str(path), "-o", str(run)]) == 0
    return run


@pytest.mark.slow
def test_an_exported_nano_answers_as_its_merged_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from t4spp.evaluation.experiment import open_experiment

    run, target = trained(tmp_path, NANO), tmp_path / "exported"
    capsys.readouterr()
    assert main(["export", str(run), "-o", str(target), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model_class"] == "LlavaForConditionalGeneration"
    assert told["imports"] == ["t4spp_plugins.backbones.nano.vision"]
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    assert names | {EXPORT_RECORD} <= set(told["files"])
    assert not list(tmp_path.glob("*.writing"))
    record = json.loads((target / EXPORT_RECORD).read_text())
    assert record["checkpoint"] == "step-00000002"

    experiment = open_experiment(run, load_catalogue())
    merged = experiment.trained_backbone(run)
    built = load_catalogue().build("scheme", record["scheme"]["name"], record["scheme"]["params"])
    assert built.fingerprint() == record["scheme"]["fingerprint"] == experiment.scheme.fingerprint()
    talk = experiment.builder(merged).build(experiment.samples("val")[0])
    assert talk is not None
    batch = merged.collate([talk], training=False).tensors
    torch.save(batch, tmp_path / "batch.pt")
    script = ALONE.format(
        module=told["imports"][0],
        folder=str(target),
        batch=str(tmp_path / "batch.pt"),
        logits=str(tmp_path / "logits.pt"),
    )
    alone = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    found = json.loads(alone.stdout)
    assert found["class"] == "LlavaForConditionalGeneration"
    assert found["size"] == len(merged.tokenizer)
    with torch.no_grad():
        expected = merged.model(**batch).logits
        ids = merged.model.generate(**batch, max_new_tokens=12, do_sample=False)
    logits = torch.load(tmp_path / "logits.pt", weights_only=True)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    written = merged.tokenizer.decode(ids[0, batch["input_ids"].shape[1] :])
    assert found["text"] == written
    base = experiment.new_backbone()
    with torch.no_grad():
        untrained = base.model(**batch).logits
    assert not torch.allclose(untrained, expected, atol=1e-2), "training must have changed it"


def tiny_run(folder: Path, **backbone: Any) -> tuple[Any, Path]:
    training = {"mode": "lora", "steps": 2, "batch_size": 2, "lora": {"rank": 2}}
    experiment = tiny_experiment(
        folder, training=training, backbone={"name": "tiny-text", "params": backbone}
    )
    run = folder / "run"
    Trainer(experiment.config, experiment.catalogue, run).train()
    return experiment, run


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_added_tokens_and_ties_come_along(tmp_path: Path, tied: bool) -> None:
    experiment, run = tiny_run(tmp_path, tied=tied)
    backbone = experiment.trained_backbone(run)
    export_model(backbone, tmp_path / "out", {})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert (table.data_ptr() == head.data_ptr()) == tied
    token = experiment.scheme.special_tokens[-1]
    assert tokenizer(token)["input_ids"] == [len(tokenizer) - 1] == [len(table) - 1]
    ids = torch.tensor([[5, 9, len(table) - 1]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, backbone.model(ids).logits)


def test_an_existing_folder_is_kept_unless_it_is_an_earlier_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = tiny_run(tmp_path)
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    command = ["--plugin-file", str(PLUGIN), "export", str(run), "-o", str(target)]
    for extra, message in ([], "exists"), (["--overwrite"], "is no export"):
        assert main([*command, *extra]) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    (target / "mine.txt").unlink()
    assert main([*command, "--overwrite"]) == 0
    (target / "stale.txt").write_text("of the earlier export")
    assert main([*command, "--overwrite"]) == 0
    assert not (target / "stale.txt").exists()


def test_a_run_that_trains_nothing_has_nothing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    tiny_experiment(tmp_path)
    (tmp_path / "tiny.yaml").rename(run / "config.yaml")
    command = ["--plugin-file", str(PLUGIN), "export", str(run), "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "has trained nothing" in capsys.readouterr().err


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, run = tiny_run(tmp_path)
    backbone = experiment.trained_backbone(run)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone, "save_processor", full)
    with pytest.raises(RunError, match="the disk is full"):
        export_model(backbone, tmp_path / "out", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tiny.yaml"]


def test_quantised_weights_and_unmerged_adapters_are_refused(tmp_path: Path) -> None:
    experiment, run = tiny_run(tmp_path)
    backbone = experiment.new_backbone()
    load_checkpoint(backbone, run)
    with pytest.raises(RunError, match="merge=True"):
        export_model(backbone, tmp_path / "out", {})
    whole = experiment.trained_backbone(run)
    whole.model.is_loaded_in_4bit = True
    with pytest.raises(RunError, match=r"backbone\.params\.quantization=none"):
        export_model(whole, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
