"""Training as its users start it: from the command line, killed, resumed, on two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t4spp.tracking import read_events

CONFIG = """\
name: t
seed: 3
scheme: {name: next-brick, params: {grid: 4, coordinates: digits}}
backbone: {name: tiny-text, params: {tied: false}}
data: {recipe: {name: rectangles}}
training:
  mode: lora
  steps: 40
  batch_size: 8
  micro_batch_size: 2
  learning_rate: 0.01
  save_every: 5
  log_every: 5
  lora: {rank: 2, alpha: 4, dropout: 0.2}
"""


PACKED = """\
name: packed
scheme: {name: next-brick}
backbone: {name: nano}
data:
  recipe: {name: refshapes, params: {prompts_per_scene: 4, num_scenes: {train: 6}}}
  companions: 2
training: {mode: full, steps: 3, batch_size: 4, micro_batch_size: 1, learning_rate: 0.0001}
"""
"""Nano, three prompts about a scene in each sequence, one sequence a pass."""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def command(project: Path, *arguments: str | Path) -> list[str]:
    plugin = project / "tests" / "support_backbone.py"
    return ["-m", "t4spp", "--plugin-file", str(plugin), *map(str, arguments)]


def environment(project: Path) -> dict[str, str]:
    paths = [str(project / folder) for folder in (".", "plugins", "data_recipes")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(project: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command(project, *arguments)],
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def weights(summary: dict[str, Any]) -> Path:
    (path,) = Path(summary["checkpoint"]).glob("*/*.safetensors")
    return path


def test_a_run_killed_by_signal_9_resumes_to_the_same_bytes(
    project: Path, config_file: Path, tmp_path: Path
) -> None:
    whole = run(project, "train", config_file, "-o", tmp_path / "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    expected = json.loads(whole.stdout)

    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, *command(project, "train", config_file, "-o", killed)],
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pointer = killed / "checkpoints" / "latest"
    deadline = time.monotonic() + 120
    while not pointer.exists() or pointer.read_text() < "step-00000010":
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    refused = run(project, "train", config_file, "-o", killed)
    assert refused.returncode == 2
    assert "--resume to go on with it, --overwrite to replace it" in refused.stderr

    resumed = run(project, "train", config_file, "-o", killed, "--resume", "--json")
    assert resumed.returncode == 0, resumed.stderr
    summary = json.loads(resumed.stdout)
    assert 10 <= summary["resumed_from"] < 40
    assert weights(summary).read_bytes() == weights(expected).read_bytes()
    assert not list(killed.rglob("*.writing"))
    logged = [event["step"] for event in read_events(killed / "events.jsonl").of_kind("train")]
    assert logged == [5, 10, 15, 20, 25, 30, 35, 40]


# One sample a pass, so that a process has an empty pass where its sample is left out.
SHORT = [
    *("--set", "training.steps=10", "--set", "training.log_every=1"),
    *("--set", "training.micro_batch_size=1", "--set", "data.recipe.params.bad_label=4"),
]


def test_two_processes_train_to_the_weights_of_one(
    project: Path, config_file: Path, tmp_path: Path
) -> None:
    plain = [*SHORT, "--set", "training.lora.dropout=0"]
    one, two = train_on_one_and_two(project, config_file, tmp_path, *plain)
    assert one["unwritable"] > 0
    torch.testing.assert_close(
        load_file(str(weights(two))), load_file(str(weights(one))), rtol=1e-4, atol=1e-5
    )


def test_two_processes_lose_by_muon_what_one_loses(
    project: Path, config_file: Path, tmp_path: Path
) -> None:
    """Not the same weights: two processes add gradients in another order, Muon rounds the sums to
    bfloat16, and its orthogonalisation makes as much of what is only rounding as of the rest."""
    muon = [*SHORT, "--set", "training.mode=full", "--set", "training.optimizer=muon"]
    one, _ = train_on_one_and_two(project, config_file, tmp_path, *muon)
    assert one["unwritable"] > 0
    first, second = (
        [e["loss"] for e in read_events(tmp_path / name / "events.jsonl").of_kind("train")]
        for name in ("one", "two")
    )
    assert len(first) == 10 and first[-1] < 0.9 * first[0]
    assert second == pytest.approx(first, rel=2e-3)


def test_two_processes_train_on_packed_prompts_to_the_weights_of_one(
    project: Path, tmp_path: Path
) -> None:
    path = tmp_path / "packed.yaml"
    path.write_text(PACKED)
    one, two = train_on_one_and_two(project, path, tmp_path)
    assert one["samples"] == 3 * 4 * 3
    torch.testing.assert_close(
        load_file(str(weights(two))), load_file(str(weights(one))), rtol=1e-4, atol=1e-5
    )


def train_on_one_and_two(
    project: Path, config_file: Path, folder: Path, *options: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summaries of one training on one process and on two, whose counts must agree."""
    single = run(project, "train", config_file, "-o", folder / "one", "--json", *options)
    assert single.returncode == 0, single.stderr
    one = json.loads(single.stdout)
    launch = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(project / "configs" / "base" / "accelerate" / "cpu2.yaml")),
        *command(project, "train", config_file, "-o", folder / "two", "--json", *options),
    ]
    launched = subprocess.run(
        launch,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    two = json.loads(launched.stdout)
    meta = json.loads((Path(two["checkpoint"]) / "meta.json").read_text())
    assert meta["num_processes"] == 2
    for count in ("samples", "answer_tokens", "too_long", "unwritable", "unpacked"):
        assert two[count] == one[count]
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    return one, two


def test_a_broken_picture_ends_with_exit_code_2_and_no_traceback(
    project: Path, config_file: Path, tmp_path: Path
) -> None:
    done = run(
        *(project, "train", config_file, "-o", tmp_path / "run"),
        *("--set", "data.recipe.params.broken=0", "--json"),
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: picture 0 is truncated. Copy it again." in done.stderr
    assert "Traceback" not in done.stderr
