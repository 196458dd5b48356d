"""Checkpoints: all or nothing, plain data, nobody else's."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from t4spp.config import RunConfig
from t4spp.errors import RunError
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.training import saving
from t4spp.training.atomic import PendingFolder, clean_temporaries, write_text
from t4spp.training.checkpoints import (
    CheckpointStore,
    load_checkpoint,
    read_meta,
    read_state,
    resolve_checkpoint,
    write_state,
)
from t4spp.training.folders import claim_run_folder
from t4spp.training.trainer import Trainer


@pytest.fixture(scope="module")
def catalogue(project: Path) -> Catalogue:
    return load_catalogue(plugin_files=[project / "tests" / "support_backbone.py"])


def config(**changes: Any) -> RunConfig:
    """Six steps, a checkpoint every two, dropout in use; dotted keys change it."""
    data: dict[str, Any] = {
        "name": "t",
        "scheme": {"name": "next-brick", "params": {"grid": 4, "coordinates": "digits"}},
        "backbone": {"name": "tiny-text", "params": {}},
        "data": {"recipe": {"name": "rectangles", "params": {}}},
        "training": {
            "mode": "lora",
            "steps": 6,
            "batch_size": 4,
            "save_every": 2,
            "keep_last": 2,
            "lora": {"rank": 2, "alpha": 4, "dropout": 0.3},
        },
    }
    for key, value in changes.items():
        inner = data
        *path, last = key.split("__")
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return RunConfig.model_validate(data)


class Killed(Exception):
    """Stands for a process that ends in the middle of a run."""


class StopAt:
    """A follower that ends the run when a step is logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, step: int, values: Any) -> None:
        if step >= self.step:
            raise Killed

    def scores(self, split: str, metrics: Any) -> None: ...

    def note(self, message: str, **values: Any) -> None: ...


def train_until(step: int, folder: Path, catalogue: Catalogue, **changes: Any) -> None:
    changes = {"training__log_every": 1, **changes}
    with pytest.raises(Killed):
        Trainer(config(**changes), catalogue, folder).train(follower=StopAt(step))


def resume(folder: Path, catalogue: Catalogue, **changes: Any) -> Any:
    trainer = Trainer(config(**changes), catalogue, folder)
    trainer.claim(resume=True)
    return trainer.train()


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    (path,) = checkpoint.glob("*/*.safetensors")
    return load_file(str(path))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("mode", "optimizer"), [("lora", "adamw"), ("full", "adamw"), ("full", "muon")]
)
def test_a_resumed_run_ends_with_the_same_bytes(
    mode: str, optimizer: str, catalogue: Catalogue, tmp_path: Path
) -> None:
    changes = {
        "training__mode": mode,
        "training__optimizer": optimizer,
        "backbone__params__dropout": 0.2,
    }
    whole = Trainer(config(**changes), catalogue, tmp_path / "whole").train()
    train_until(5, tmp_path / "killed", catalogue, **changes)
    assert CheckpointStore(tmp_path / "killed").latest() is not None
    again = resume(tmp_path / "killed", catalogue, **changes)
    assert again.resumed_from == 4
    assert (again.samples, again.answer_tokens) == (whole.samples, whole.answer_tokens)
    (first,) = whole.checkpoint.glob("*/*.safetensors")
    (second,) = again.checkpoint.glob("*/*.safetensors")
    assert first.read_bytes() == second.read_bytes()
    one, two = (read_state(c.checkpoint / "optimizer.pt")["optimizer"] for c in (whole, again))
    for first_part, second_part in zip(
        one.get("parts", [one]), two.get("parts", [two]), strict=True
    ):
        assert first_part["state"]
        torch.testing.assert_close(second_part["state"], first_part["state"], rtol=0, atol=0)


def test_a_run_killed_before_its_first_checkpoint_resumes_from_the_start(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    whole = Trainer(config(), catalogue, tmp_path / "whole").train()
    train_until(1, tmp_path / "killed", catalogue)
    again = resume(tmp_path / "killed", catalogue)
    assert again.resumed_from is None
    torch.testing.assert_close(weights(again.checkpoint), weights(whole.checkpoint), rtol=0, atol=0)


def test_a_finished_run_has_nothing_left_to_do(catalogue: Catalogue, tmp_path: Path) -> None:
    first = Trainer(config(), catalogue, tmp_path / "run").train()
    before = weights(first.checkpoint)
    again = resume(tmp_path / "run", catalogue)
    assert (again.resumed_from, again.steps, again.loss) == (6, 6, None)
    torch.testing.assert_close(weights(again.checkpoint), before, rtol=0, atol=0)


def test_a_checkpoint_holds_no_pickled_code_and_says_what_it_is(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    trainer = Trainer(config(), catalogue, tmp_path / "run")
    summary = trainer.train()
    assert names(tmp_path / "run") == ["checkpoints", "config.yaml"]
    assert names(tmp_path / "run" / "checkpoints") == ["latest", "step-00000004", "step-00000006"]
    assert names(summary.checkpoint) == ["adapter", "meta.json", "optimizer.pt", "tokenizer"]
    assert names(summary.checkpoint / "adapter") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    meta = read_meta(summary.checkpoint)
    assert (meta.step, meta.epoch, meta.mode, meta.num_processes) == (6, 1.0, "lora", 1)
    assert meta.scheme == trainer.scheme.fingerprint()
    assert meta.backbone == trainer.backbone_fingerprint
    state = torch.load(summary.checkpoint / "optimizer.pt", weights_only=True)
    assert sorted(state) == ["optimizer", "scaler"]


def test_optimiser_state_with_code_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "optimizer.pt"
    torch.save({"optimizer": Path}, path)
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
        RuntimeError("PytorchStreamWriter failed writing file: No space left on device"),
    ],
    ids=["os", "safetensors", "torch"],
)
def test_a_full_disk_leaves_the_previous_checkpoint_intact(
    full: Exception, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer(config(), catalogue, tmp_path / "whole").train()
    written: list[Path] = []

    def write_some(path: Path, state: Any) -> None:
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"half of it")
            raise full
        write_state(path, state)

    monkeypatch.setattr(saving, "write_state", write_some)
    with pytest.raises(RunError) as caught:
        Trainer(config(), catalogue, tmp_path / "run").train()
    message = str(caught.value)
    assert "step-00000004: the disk is full; the previous one, step-00000002, is intact" in message
    assert "--resume" in message
    assert names(tmp_path / "run" / "checkpoints") == ["latest", "step-00000002"]

    monkeypatch.undo()
    again = resume(tmp_path / "run", catalogue)
    assert again.resumed_from == 2
    torch.testing.assert_close(weights(again.checkpoint), weights(whole.checkpoint), rtol=0, atol=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB: room for two checkpoints of 1.2 MB, not for three."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let tests mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_leaves_the_previous_checkpoint_intact(
    catalogue: Catalogue, small_disk: Path
) -> None:
    run = small_disk / "run"
    large = {"training__mode": "full", "backbone__params__hidden": 64}
    with pytest.raises(RunError, match="the disk is full; the previous one, step-00000004, is"):
        Trainer(config(training__keep_last=9, **large), catalogue, run).train()
    latest = CheckpointStore(run).latest()
    assert latest is not None
    assert names(run / "checkpoints") == ["latest", "step-00000002", "step-00000004"]
    assert weights(latest)
    assert read_state(latest / "optimizer.pt")["optimizer"]["state"]


def test_half_written_folders_are_removed_at_resume(catalogue: Catalogue, tmp_path: Path) -> None:
    train_until(5, tmp_path / "run", catalogue)
    stale = tmp_path / "run" / "checkpoints" / "step-00000006.writing"
    stale.mkdir()
    (stale / "optimizer.pt").write_bytes(b"half")
    resume(tmp_path / "run", catalogue)
    assert names(tmp_path / "run" / "checkpoints") == ["latest", "step-00000004", "step-00000006"]


def test_a_complete_folder_that_latest_does_not_name_yet_is_written_again(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """A kill may fall between the rename and the pointer."""
    whole = Trainer(config(), catalogue, tmp_path / "run").train()
    before = weights(whole.checkpoint)
    (tmp_path / "run" / "checkpoints" / "latest").write_text("step-00000004\n")
    again = resume(tmp_path / "run", catalogue)
    assert again.resumed_from == 4
    torch.testing.assert_close(weights(again.checkpoint), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone__name": "oracle"}, r"backbone\.name \(was 'tiny-text', is 'oracle'\)"),
        ({"backbone__params__seed": 9}, r"backbone\.params\.seed \(was 'absent', is 9\)"),
        ({"scheme__params__grid": 5}, r"scheme\.params\.grid \(was 4, is 5\)"),
        ({"seed": 1}, r"seed \(was 0, is 1\)"),
        ({"training__steps": 8}, r"training\.steps \(was 6, is 8\)"),
        ({"data__max_train_samples": 9}, r"data\.max_train_samples \(was None, is 9\)"),
    ],
)
def test_a_resume_with_another_config_is_refused_and_changes_nothing(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    claim_run_folder(folder, config())
    before = (folder / "config.yaml").read_text()
    with pytest.raises(RunError, match=message):
        claim_run_folder(folder, config(**changes), resume=True)
    assert names(folder) == ["config.yaml"]
    assert (folder / "config.yaml").read_text() == before


def test_a_resume_on_data_of_another_length_is_refused(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    train_until(3, tmp_path / "run", catalogue)
    samples = catalogue.build("recipe", "rectangles", {}).samples("train")[:9]
    trainer = Trainer(config(), catalogue, tmp_path / "run", samples=samples)
    trainer.claim(resume=True)
    with pytest.raises(RunError, match=r"num_samples \(was 24, is 9\)"):
        trainer.train()


def test_a_resume_may_change_what_does_not_change_the_weights(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    train_until(3, tmp_path / "run", catalogue)
    again = resume(tmp_path / "run", catalogue, training__save_every=3, training__keep_last=1)
    assert again.resumed_from == 2
    assert names(tmp_path / "run" / "checkpoints") == ["latest", "step-00000006"]


def test_a_checkpoint_of_another_backbone_or_scheme_is_not_loaded(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    Trainer(config(), catalogue, tmp_path / "run").train()
    backbone = catalogue.build("backbone", "tiny-text", {"seed": 5})
    backbone.load(())
    with pytest.raises(RunError, match="belongs to the backbone"):
        load_checkpoint(backbone, tmp_path / "run")
    own = catalogue.build("backbone", "tiny-text", {})
    own.load(catalogue.build("scheme", "next-brick", {"grid": 4}).special_tokens)
    with pytest.raises(RunError, match="was trained with the scheme"):
        load_checkpoint(own, tmp_path / "run", scheme="image-full@1:0")


@pytest.mark.parametrize("name", ["adapter/adapter_model.safetensors", "optimizer.pt", "meta.json"])
def test_a_damaged_checkpoint_is_one_clear_error(
    name: str, catalogue: Catalogue, tmp_path: Path
) -> None:
    train_until(3, tmp_path / "run", catalogue)
    damaged = tmp_path / "run" / "checkpoints" / "step-00000002" / name
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(RunError, match=damaged.name.split(".")[0].split("/")[-1][:7]):
        resume(tmp_path / "run", catalogue)


def test_a_checkpoint_is_found_from_the_run_its_folder_or_itself(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    last = Trainer(config(), catalogue, tmp_path / "run").train().checkpoint
    assert resolve_checkpoint(tmp_path / "run") == last
    assert resolve_checkpoint(tmp_path / "run" / "checkpoints") == last
    earlier = last.with_name("step-00000004")
    assert resolve_checkpoint(earlier) == earlier
    with pytest.raises(RunError, match="holds no complete checkpoint"):
        resolve_checkpoint(tmp_path)
    with pytest.raises(RunError, match="holds no complete checkpoint"):
        resolve_checkpoint(last / "adapter")


def test_a_run_folder_in_use_asks_for_resume_or_overwrite(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    claim_run_folder(folder, config())
    mine = folder / "notes.txt"
    mine.write_text("keep me")
    (folder / "metrics.json").write_text(json.dumps({}))
    with pytest.raises(RunError, match=r"--resume to go on with it, --overwrite to replace it"):
        claim_run_folder(folder, config())
    with pytest.raises(RunError, match="contradict"):
        claim_run_folder(folder, config(), resume=True, overwrite=True)
    claim_run_folder(folder, config(seed=2), overwrite=True)
    assert names(folder) == ["config.yaml", "notes.txt"]
    assert "seed: 2" in (folder / "config.yaml").read_text()


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        claim_run_folder(tmp_path / "nothing", config(), resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "predictions").write_text("mine")
    with pytest.raises(RunError, match="there is no run in"):
        claim_run_folder(tmp_path / "thesis", config(), resume=True)
    with pytest.raises(RunError, match="holds no run"):
        claim_run_folder(tmp_path / "thesis", config(), overwrite=True)
    assert names(tmp_path / "thesis") == ["predictions"]


def test_a_damaged_config_is_not_resumed(tmp_path: Path) -> None:
    claim_run_folder(tmp_path, config())
    (tmp_path / "config.yaml").write_text("name: [")
    with pytest.raises(RunError, match=r"config\.yaml cannot be read"):
        claim_run_folder(tmp_path, config(), resume=True)


def test_a_run_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="is a file"):
        claim_run_folder(tmp_path / "run", config(), overwrite=True)


def test_bad_parts_are_found_before_the_old_run_is_overwritten(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    Trainer(config(), catalogue, tmp_path / "run").train()
    with pytest.raises(RunError, match="holds no samples"):
        Trainer(config(data__recipe__params={"num_samples": 0}), catalogue, tmp_path / "run")
    assert CheckpointStore(tmp_path / "run").latest() is not None


def test_a_pending_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    pending = PendingFolder(target)
    (pending.begin() / "a").write_text("1")
    assert not target.exists()
    pending.commit()
    assert names(tmp_path) == ["folder"]
    pending = PendingFolder(target)
    (pending.begin() / "a").write_text("2")
    pending.abort()
    assert (target / "a").read_text() == "1"
    assert names(tmp_path) == ["folder"]


def test_text_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest"
    write_text(path, "one")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "two")
    monkeypatch.undo()
    assert path.read_text() == "one"
    assert clean_temporaries(tmp_path) == []
