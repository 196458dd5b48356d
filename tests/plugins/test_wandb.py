"""Writes an offline run and reads it back from the file that ``wandb sync`` would send."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

wandb = pytest.importorskip("wandb", reason="the tracker's own package is not installed")

from t4spp.components import TrackedRun  # noqa: E402
from t4spp.plugins import load_catalogue  # noqa: E402
from t4spp.report.gallery import Overlay  # noqa: E402
from t4spp.tracking import Trackers, TrackingError  # noqa: E402
from t4spp_plugins.trackers.plugin import WandbConfig  # noqa: E402
from t4spp_plugins.trackers.wandb import WandbTracker  # noqa: E402

BLOCK = 32768


def records(path: Path) -> Iterator[Any]:
    """The protocol-buffer records of a .wandb file, which is a LevelDB log after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    position, pending = 7, b""
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        pending += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pending)
            pending = b""
            yield record


def finished_records(path: Path) -> list[Any]:
    """All records, once wandb's own process has written the last of them."""
    deadline = time.monotonic() + 120
    while True:
        found = list(records(path))
        if found and found[-1].HasField("exit"):
            return found
        assert time.monotonic() < deadline, "wandb did not finish the file"
        time.sleep(0.05)


def run_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.fixture
def quiet_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.delenv("WANDB_CACHE_DIR", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)


def make_run(folder: Path) -> TrackedRun:
    folder.mkdir(exist_ok=True)
    config = {"seed": 7, "scheme": {"name": "next-brick", "params": {"grid": 16}}}
    return TrackedRun(name="demo", folder=folder, config=config, tags=("camvid",))


def write_predictions(folder: Path) -> Path:
    (folder / "predictions").mkdir()
    path = folder / "predictions" / "val.jsonl"
    line = {
        "id": "a",
        "prompt": "the dog",
        "labels": ["the dog"],
        "text": "It is here.\n<seg>…</seg>",
        "num_tokens": 51,
        "num_passes": 52,
        "seconds": 0.5,
    }
    other = {**line, "id": "b", "prompt": "the cat"}
    path.write_text(json.dumps(line) + "\n" + json.dumps(other) + "\n", encoding="utf-8")
    score = {"id": "a", "label": "the dog", "iou": 0.75, "status": "repaired", "has_target": True}
    path.with_name("val.scores.jsonl").write_text(json.dumps(score) + "\n", encoding="utf-8")
    return path


@pytest.mark.usefixtures("quiet_wandb")
def test_offline_run_holds_config_losses_scores_masks_answers_and_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = make_run(folder)
    adapter = folder / "step-00000020"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    mask = np.zeros((24, 32), dtype=np.bool_)
    mask[4:12, 5:20] = True
    overlay = Overlay(
        image=np.full((24, 32, 3), 90, np.uint8),
        truth=[("dog", mask)],
        prediction=[("cat", ~mask)],
        caption="the dog",
    )

    tracker = WandbTracker(WandbConfig(project="papers", tags=("seed-7",)))
    with Trackers([("wandb", tracker)]).following(run) as trackers:
        trackers.log(10, {"loss": 2.5, "lr": 1e-4})
        trackers.log(20, {"loss": 1.25, "lr": 5e-5})
        trackers.scores(
            "val",
            {
                "schema": 1,
                "protocols": {"native": {"mean_iou": {"value": 0.8, "low": 0.7, "high": 0.9}}},
                "answers": {"shares": {"ok": 0.95}},
            },
        )
        trackers.overlays(20, [overlay])
        trackers.predictions(write_predictions(folder))
        trackers.artifact("demo adapter/20", "adapter", adapter)
    assert not trackers.failures
    assert "WANDB_DATA_DIR" not in os.environ

    (file,) = run_files(folder)
    found = finished_records(file)

    (begun, *_) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (begun.project, begun.display_name) == ("papers", "demo")
    assert set(begun.tags) == {"seed-7", "camvid"}
    config = values(begun.config.update)
    assert config["seed"] == 7
    assert config["scheme"] == {"name": "next-brick", "params": {"grid": 16}}

    history = [values(record.history.item) for record in found if record.HasField("history")]
    losses = [(row["step"], row["train/loss"]) for row in history if "train/loss" in row]
    assert losses == [(10, 2.5), (20, 1.25)]
    (scores,) = [row for row in history if "val/native/mean_iou" in row]
    assert scores["step"] == 20
    assert scores["val/native/mean_iou"] == 0.8
    assert scores["val/native/mean_iou/low"] == 0.7
    assert scores["val/answers/shares/ok"] == 0.95

    files = file.parent / "files"
    (pictured,) = [row for row in history if "overlays/captions" in row]
    assert pictured["overlays/captions"] == ["the dog"]
    (masks,) = pictured["overlays/all_masks"]
    drawn = {name: read_mask(files / entry["path"]) for name, entry in masks.items()}
    np.testing.assert_array_equal(drawn["truth"], np.where(mask, 1, 0))
    np.testing.assert_array_equal(drawn["prediction"], np.where(mask, 0, 2))
    (picture,) = files.glob("media/images/overlays*.png")
    assert picture.stat().st_size > 0

    (table,) = [json.loads(path.read_text()) for path in files.glob("media/table/**/*.json")]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["id"], row["status"], row["iou"]) for row in rows] == [
        ("a", "repaired", 0.75),
        ("b", None, None),
    ]
    assert rows[0]["text"] == "It is here.\n<seg>…</seg>"

    artifacts = [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in found
        if record.HasField("artifact")
        or (record.HasField("request") and record.request.HasField("log_artifact"))
    ]
    (kept,) = [artifact for artifact in artifacts if artifact.type == "adapter"]
    assert kept.name == "demo-adapter-20"
    (entry,) = kept.manifest.contents
    assert entry.path == "adapter_model.safetensors"
    assert Path(entry.local_path).read_bytes() == b"weights"
    assert Path(entry.local_path).is_relative_to(folder)


def read_mask(path: Path) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


@pytest.mark.usefixtures("quiet_wandb")
def test_resumed_run_keeps_its_wandb_id_and_logs_earlier_steps_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for steps, resumed in (((100, 137), False), ((110, 120), True)):
        tracker = WandbTracker(WandbConfig())
        tracker.start(dataclasses.replace(run, resumed=resumed))
        for step in steps:
            tracker.log(step, {"loss": 1.0})
        tracker.finish()
    files = run_files(run.folder)
    known = (run.folder / "wandb" / "run-id.txt").read_text().strip()
    assert {path.stem for path in files} == {f"run-{known}"}
    # Two runs within a second share a folder; both ways nothing that was logged may be lost.
    logged = [
        values(record.history.item)["step"]
        for path in files
        for record in finished_records(path)
        if record.HasField("history")
    ]
    assert logged[-2:] == [110, 120]


@pytest.mark.usefixtures("quiet_wandb")
def test_a_run_that_replaces_another_has_a_wandb_id_of_its_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    known = []
    for _ in range(2):
        tracker = WandbTracker(WandbConfig())
        tracker.start(run)
        tracker.finish()
        known.append((run.folder / "wandb" / "run-id.txt").read_text())
    assert known[0] != known[1]


def test_pictures_beyond_log_images_are_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logged: list[dict[str, Any]] = []

    class Recorder:
        def log(self, content: dict[str, Any]) -> None:
            logged.append(content)

    tracker = WandbTracker(WandbConfig(log_images=2))
    tracker._run = Recorder()
    overlay = Overlay(image=np.zeros((4, 4, 3), np.uint8), truth=[], prediction=[])
    with caplog.at_level("INFO", logger="t4spp_plugins.trackers.wandb"):
        tracker.overlays(5, [overlay] * 3)
    assert [len(content["overlays"]) for content in logged] == [2]
    assert "2 of 3 pictures logged" in caplog.text


def test_errors_of_wandb_become_tracking_errors() -> None:
    class Broken:
        def log(self, content: dict[str, Any]) -> None:
            raise wandb.errors.CommError("the service is gone")

    tracker = WandbTracker(WandbConfig())
    tracker._run = Broken()
    with pytest.raises(TrackingError, match="the service is gone"):
        tracker.log(1, {"loss": 1.0})


def test_logging_before_the_start_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="before its run started"):
        WandbTracker(WandbConfig()).log(1, {"loss": 1.0})


def test_wandb_is_offline_unless_the_config_says_online() -> None:
    assert WandbConfig().mode == "offline"
    assert WandbConfig(mode="online").mode == "online"
    with pytest.raises(ValidationError):
        WandbConfig.model_validate({"projekt": "x"})


def test_wandb_is_listed_as_a_tracker() -> None:
    assert "wandb" in load_catalogue().components["tracker"]


def test_page_that_is_kept_is_shown_as_well(tmp_path: Path) -> None:
    told: list[Any] = []

    class Recorder:
        def log(self, content: dict[str, Any]) -> None:
            told.append(content)

        def log_artifact(self, artifact: Any) -> None:
            told.append((artifact.name, artifact.type, sorted(artifact.manifest.entries)))

    tracker = WandbTracker(WandbConfig())
    tracker._run = Recorder()
    page, layers = tmp_path / "val.map.html", tmp_path / "val.layers.gpkg"
    page.write_text("<p>where it fails</p>")
    layers.write_bytes(b"layers")
    tracker.artifact("demo-val-layers", "layers", layers)
    tracker.artifact("demo-val-map", "map", page)
    assert told[:2] == [
        ("demo-val-layers", "layers", ["val.layers.gpkg"]),
        ("demo-val-map", "map", ["val.map.html"]),
    ]
    (shown,) = told[2:]
    assert "where it fails" in shown["pages/demo-val-map"].html
