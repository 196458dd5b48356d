"""Features of pictures are computed once, whoever asks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from support_experiment import tiny_experiment
from torch import Tensor

from t4spp.cli.following import follow
from t4spp.features import FeatureCache, log_counters, picture_hash, shared_cache
from t4spp.tracking import Trackers
from t4spp.weights import CACHE_VARIABLE

RED = np.full((4, 6, 3), [255, 0, 0], dtype=np.uint8)
BLUE = np.full((4, 6, 3), [0, 0, 255], dtype=np.uint8)


class Encoder:
    """Counts how often it is asked."""

    def __init__(self, value: float = 0.1) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return torch.full((2, 3), self.value)


def refuse() -> Tensor:
    raise AssertionError("encoded again")


def test_what_is_handed_out_first_is_what_is_read_back(tmp_path: Path) -> None:
    first = FeatureCache(tmp_path).get(RED, "tower", Encoder(0.1))
    again = FeatureCache(tmp_path).get(RED, "tower", refuse)
    assert torch.equal(first, again)
    assert first.dtype == torch.float32
    assert float(first[0, 0]) == float(torch.tensor(0.1).half())


def test_pictures_are_told_apart_by_content_and_shape(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    encoder = Encoder()
    for picture in (RED, BLUE, RED.reshape(6, 4, 3), RED.copy()):
        cache.get(picture, "tower", encoder)
    assert encoder.calls == 3
    assert picture_hash(RED) == picture_hash(np.asfortranarray(RED))


def test_towers_do_not_share_features(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    assert float(cache.get(RED, "one", Encoder(1.0))[0, 0]) == 1.0
    assert float(cache.get(RED, "two", Encoder(2.0))[0, 0]) == 2.0


def test_the_least_recently_used_leave_the_memory() -> None:
    cache = FeatureCache(num_in_memory=1)
    encoder = Encoder()
    for picture in (RED, RED, BLUE, RED):
        cache.get(picture, "tower", encoder)
    assert cache.counters == {"encoded": 3, "memory": 1}


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"junk"), lambda p: p.write_bytes(b"")])
def test_a_damaged_file_is_told_and_made_anew(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    FeatureCache(tmp_path).get(RED, "tower", Encoder())
    (path,) = tmp_path.rglob("*.safetensors")
    spoil(path)
    cache = FeatureCache(tmp_path)
    cache.get(RED, "tower", Encoder(0.5))
    assert cache.counters == {"damaged": 1, "encoded": 1}
    assert float(FeatureCache(tmp_path).get(RED, "tower", refuse)[0, 0]) == 0.5


def test_a_folder_that_cannot_be_written_costs_the_files_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file")
    assert float(cache.get(RED, "tower", Encoder(2.0))[0, 0]) == 2.0
    assert cache.counters == {"encoded": 1, "unwritten": 1}


def test_whoever_needs_no_disk_still_finds_what_others_keep_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    kept = shared_cache(on_disk=True)
    assert shared_cache(on_disk=False) is kept
    assert kept.folder == tmp_path / "features"


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No caches of other tests, and a cache folder of this one's."""
    monkeypatch.setattr("t4spp.features._SHARED", {})
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def test_what_the_shared_caches_counted_is_logged_together(
    alone: None, caplog: pytest.LogCaptureFixture
) -> None:
    memory, disk = shared_cache(on_disk=False), shared_cache(on_disk=True)
    for cache in (memory, disk, disk):
        cache.get(RED, "tower", Encoder())
    with caplog.at_level(logging.INFO, "t4spp.features"):
        assert log_counters() == {"encoded": 2, "memory": 1}
    assert caplog.messages == ["features of pictures: encoded 2, memory 1"]


def test_caches_that_nobody_asked_are_not_spoken_of(
    alone: None, caplog: pytest.LogCaptureFixture
) -> None:
    shared_cache(on_disk=False)
    with caplog.at_level(logging.INFO, "t4spp.features"):
        assert log_counters() == {}
    assert caplog.messages == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_notes_what_its_caches_counted_once_at_its_end(
    alone: None, tmp_path: Path, fails: bool
) -> None:
    config = tiny_experiment(tmp_path).config
    trackers = Trackers()
    folder = tmp_path / "run"
    folder.mkdir()
    with (
        pytest.raises(RuntimeError) if fails else nullcontext(),
        follow(trackers, config, folder, resumed=False, is_main=True),
    ):
        shared_cache(on_disk=False).get(RED, "tower", Encoder())
        if fails:
            raise RuntimeError
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    noted = [event for event in events if event.get("message") == "features of pictures"]
    assert [event["encoded"] for event in noted] == [1]
