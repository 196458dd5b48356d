from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t4spp.components import TrackedRun, Tracker
from t4spp.errors import RunError
from t4spp.tracking import Events, Trackers, TrackingError, flatten, read_events


def run_in(folder: Path) -> TrackedRun:
    return TrackedRun(name="demo", folder=folder, config={"seed": 0})


class Recorder(Tracker):
    """Remembers what it is told; fails with ``error`` while logging, where one is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[tuple[Any, ...]] = []

    def start(self, run: TrackedRun) -> None:
        self.told.append(("start", run.name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(("log", step, dict(values)))

    def scores(self, split: str, metrics: Mapping[str, Any]) -> None:
        self.told.append(("scores", split, dict(metrics)))

    def predictions(self, path: Path) -> None:
        self.told.append(("predictions", path.name))

    def artifact(self, name: str, kind: str, path: Path) -> None:
        self.told.append(("artifact", name, kind))

    def finish(self) -> None:
        self.told.append(("finish",))


class Unstartable(Recorder):
    def start(self, run: TrackedRun) -> None:
        raise TrackingError("no login")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_events_are_written_without_any_tracker(tmp_path: Path) -> None:
    with Trackers().following(run_in(tmp_path)) as trackers:
        trackers.log(10, {"loss": 1.5, "lr": 0.1})
        trackers.scores("val", {"protocols": {"native": {"ciou": {"value": 0.5, "low": 0.4}}}})
        trackers.note("left out", too_long=3)
    train, scored, note = lines(tmp_path)
    assert (train["step"], train["kind"], train["loss"], train["lr"]) == (10, "train", 1.5, 0.1)
    assert (scored["step"], scored["kind"], scored["split"]) == (10, "eval", "val")
    assert (scored["native/ciou"], scored["native/ciou/low"]) == (0.5, 0.4)
    assert (note["kind"], note["message"], note["too_long"]) == ("note", "left out", 3)
    assert train["time"].endswith("+00:00")


def test_event_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    trackers = Trackers()
    trackers.start(run_in(tmp_path))
    trackers.log(1, {"loss": 1.0})
    assert lines(tmp_path)[0]["loss"] == 1.0
    trackers.finish()


def test_nan_and_array_scalars_become_valid_json(tmp_path: Path) -> None:
    with Trackers().following(run_in(tmp_path)) as trackers:
        trackers.log(1, {"loss": float("nan"), "norm": float("inf"), "lr": np.float32(0.5)})
    text = (tmp_path / "events.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    event = json.loads(text)
    assert (event["loss"], event["norm"], event["lr"]) == (None, None, 0.5)


def test_values_cannot_overwrite_step_and_kind(tmp_path: Path) -> None:
    with Trackers().following(run_in(tmp_path)) as trackers:
        trackers.log(3, {"step": 99, "kind": 1, "loss": 1.0})
    assert (lines(tmp_path)[0]["step"], lines(tmp_path)[0]["kind"]) == (3, "train")


def test_line_cut_by_a_kill_is_counted_and_what_follows_stays_readable(tmp_path: Path) -> None:
    good = '{"step": 10, "time": "t", "kind": "train", "loss": 2.0}\n'
    (tmp_path / "events.jsonl").write_text(good + '{"step": 20, "time": "t", "ki')
    assert read_events(tmp_path / "events.jsonl").num_torn == 1
    with Trackers().following(run_in(tmp_path)) as trackers:
        assert trackers.step == 10
        trackers.log(20, {"loss": 1.0})
    events = read_events(tmp_path / "events.jsonl")
    assert events.num_torn == 1
    assert [event["step"] for event in events.events] == [10, 20]


def test_line_cut_inside_a_character_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes('{"step": 1, "kind": "note", "message": "é'.encode()[:-1])
    assert read_events(path) == Events(events=(), num_torn=1)


def test_missing_events_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="events"):
        read_events(tmp_path / "events.jsonl")


def test_steps_that_a_resumed_run_repeats_count_once() -> None:
    steps = [(10, 3.0), (20, 2.0), (30, 1.9), (20, 2.1), (30, 1.8)]
    events = Events(
        events=tuple({"step": step, "kind": "train", "loss": loss} for step, loss in steps)
    )
    kept = [(event["step"], event["loss"]) for event in events.of_kind("train")]
    assert kept == [(10, 3.0), (20, 2.1), (30, 1.8)]


def test_all_trackers_are_told_everything(tmp_path: Path) -> None:
    recorder = Recorder()
    with Trackers([("recorder", recorder)]).following(run_in(tmp_path)) as trackers:
        trackers.log(5, {"loss": 1.0})
        trackers.scores("val", {"protocols": {}})
        trackers.predictions(Path("val.jsonl"))
        trackers.artifact("adapter", "model", tmp_path)
    assert recorder.told == [
        ("start", "demo"),
        ("log", 5, {"loss": 1.0}),
        ("scores", "val", {"step": 5, "protocols": {}}),
        ("predictions", "val.jsonl"),
        ("artifact", "adapter", "model"),
        ("finish",),
    ]


@pytest.mark.parametrize("error", [TrackingError("service gone"), OSError(28, "no space left")])
def test_failing_tracker_is_reported_once_counted_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    other = Recorder()
    trackers = Trackers([("broken", Recorder(error)), ("other", other)])
    with caplog.at_level(logging.WARNING), trackers.following(run_in(tmp_path)):
        for step in (1, 2, 3):
            trackers.log(step, {"loss": 1.0})
    assert trackers.failures == {"broken": 3}
    assert caplog.text.count("tracker 'broken' failed") == 1
    assert "broken: 3" in caplog.text
    assert [event["step"] for event in lines(tmp_path)] == [1, 2, 3]
    assert [told[1] for told in other.told if told[0] == "log"] == [1, 2, 3]


def test_fault_in_a_trackers_code_is_not_hidden(tmp_path: Path) -> None:
    trackers = Trackers([("buggy", Recorder(KeyError("bug")))])
    with pytest.raises(KeyError), trackers.following(run_in(tmp_path)):
        trackers.log(1, {"loss": 1.0})


def test_trackers_are_finished_when_the_run_fails(tmp_path: Path) -> None:
    recorder = Recorder()
    with (
        pytest.raises(ZeroDivisionError),
        Trackers([("recorder", recorder)]).following(run_in(tmp_path)),
    ):
        raise ZeroDivisionError
    assert recorder.told[-1] == ("finish",)


def test_tracker_that_cannot_start_stops_the_run_and_finishes_the_others(tmp_path: Path) -> None:
    recorder = Recorder()
    trackers = Trackers([("recorder", recorder), ("online", Unstartable())])
    with pytest.raises(TrackingError, match="no login"):
        trackers.start(run_in(tmp_path))
    assert recorder.told == [("start", "demo"), ("finish",)]


def test_folder_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"):
        Trackers().start(run_in(tmp_path / "missing"))


def test_flatten_names_intervals_and_leaves_text_out() -> None:
    metrics = {
        "schema": 1,
        "split": "val",
        "protocols": {"native": {"mean_iou": {"value": 0.5, "low": 0.4, "high": None}}},
        "answers": {"problems": {"row-short": {"answers": 2}}},
    }
    assert flatten(metrics) == {
        "schema": 1,
        "native/mean_iou": 0.5,
        "native/mean_iou/low": 0.4,
        "answers/problems/row-short/answers": 2,
    }
