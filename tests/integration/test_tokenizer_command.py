"""``t4spp tokenizer train`` from end to end, and its result in a scheme."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t4spp.cli import main
from t4spp.testing import build_scheme
from t4spp.types import Target

CONFIG = """
name: tiny
shape: {side: 16, patch: 16, codes_per_patch: 4, levels: [6, 6, 6], width: 32}
data:
  - recipe: {name: mask-shapes, params: {size: 48, num_masks: {train: 300, val: 40}}}
  - recipe: {name: refshapes, params: {num_scenes: {train: 3, val: 2}}}
    max_train_masks: 5
    max_eval_masks: 2
training: {steps: 60, batch_size: 32, evaluate_every: 20, save_every: 10, log_every: 10}
"""

NOTHING = "{name: refshapes, params: {no_target: 1.0, num_scenes: {train: 3, val: 2}}}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def test_training_leaves_a_tokenizer_that_the_scheme_writes(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    command = ["tokenizer", "train", str(config), "-o", str(folder), "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert set(first) == {
        "folder", "sha256", "num_masks", "num_empty", "num_weights", "resumed_from", "held_out",
    }  # fmt: skip
    assert (first["num_masks"], first["held_out"]["num_masks"]) == (305, 42)
    assert first["resumed_from"] is None
    held_out = first["held_out"]
    assert held_out["iou"] > 0.6
    assert list(held_out["prefixes"]) == ["1", "2", "4"]
    assert held_out["prefixes"]["4"] == held_out["iou"] > held_out["prefixes"]["1"]
    assert 0 < held_out["codes_used"] <= 1 and held_out["contour_distance"] > 0
    card = json.loads((folder / "tokenizer.json").read_text())
    assert card["sha256"] == first["sha256"] and card["held_out"] == held_out
    assert [part["recipe"] for part in card["trained_on"]] == ["mask-shapes", "refshapes"]
    for name in ("curve.png", "reconstructions.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 100
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events if "iou" in e] == [0, 20, 40, 60]
    assert [e["step"] for e in events if "loss" in e] == [10, 20, 30, 40, 50, 60]

    scheme = build_scheme("vq-mask", tokenizer=str(folder))
    target = Target(label="dog", mask=np.ones((20, 20), dtype=np.bool_))
    decoded = scheme.decode(scheme.encode([target], (20, 20)), (20, 20))
    assert decoded.status == "ok" and decoded.regions[0].mask.mean() > 0.9
    assert first["sha256"][:12] in scheme.fingerprint()

    assert main(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["resumed_from"] == 60 and again["sha256"] == first["sha256"]


def test_summary_names_what_a_person_asks(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tokenizer", "train", str(config), "-o", str(tmp_path / "run")]
    assert main([*command, "--set", "training.steps=2"]) == 0
    out = capsys.readouterr().out
    for words in ("trained on 305 masks", "mean IoU", "contours", "of the 216 codes", "4: "):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "shape.patch=5"], "does not divide"),
        (["--set", "data.0.recipe.name=mask-shpes"], "Did you mean 'mask-shapes'"),
        (["--set", "data.0.recipe.params.sizes=3"], "sizes"),
    ],
)
def test_mistakes_are_one_message(
    arguments: list[str],
    message: str,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["tokenizer", "train", str(config), "-o", str(tmp_path / "run"), *arguments]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_a_mistake_leaves_the_folder_as_it_was(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    command = ["tokenizer", "train", str(config), "-o", str(folder), "--set", "training.steps=1"]
    wrong = ["--set", "data.0.recipe.name=mask-shpes"]
    assert main([*command, *wrong]) == 2
    assert not folder.exists()
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for mistake in (
        wrong,
        ["--set", "data.0.eval_split=vall"],
        ["--set", f"data=[{{recipe: {NOTHING}}}]"],
    ):
        assert main([*command, *mistake, "--overwrite"]) == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "Traceback" not in capsys.readouterr().err


def test_output_that_is_a_file_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in (config, config / "below"):
        assert main(["tokenizer", "train", str(config), "-o", str(output)]) == 2
        assert "internal error" not in capsys.readouterr().err
    assert config.read_text() == CONFIG


def test_another_config_in_the_same_folder_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tokenizer", "train", str(config), "-o", str(tmp_path / "run")]
    assert main([*command, "--set", "training.steps=1"]) == 0
    assert main([*command, "--set", "training.steps=2"]) == 2
    assert "another config" in capsys.readouterr().err
