"""What a refiner counts reaches ``metrics.json`` and the person who evaluates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict

from t4spp.cli import main
from t4spp.components import Component, Refiner
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.evaluation.scoring import score_answers
from t4spp.hookspecs import hookimpl
from t4spp.plugins import load_catalogue
from t4spp.types import Decoded, Image


class NoParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Counting(Refiner):
    """Changes nothing; counts regions, those in the picture's left half apart."""

    def __init__(self, params: NoParams) -> None:
        self._counts: Counter[str] = Counter()

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        for region in decoded.regions:
            left = not region.mask[:, image.shape[1] // 2 :].any()
            self._counts["left" if left else "elsewhere"] += 1
        return decoded

    def counters(self) -> Mapping[str, int]:
        return dict(self._counts)


@hookimpl
def t4spp_refiners() -> list[Component]:
    return [Component(name="counting", config=NoParams, build=Counting)]


def config_of(folder: Path, refiner: str) -> Path:
    config = {
        "name": "counted",
        "scheme": {"name": "next-brick", "params": {"grid": 8}},
        "backbone": {"name": "oracle"},
        "refiner": {"name": refiner},
        "data": {"recipe": {"name": "refshapes"}, "max_eval_samples": 6},
        "evaluation": {"bootstrap": 10},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def test_refiner_counters_are_written_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = config_of(tmp_path, "counting"), tmp_path / "run"
    arguments = ["--plugin-file", __file__, "evaluate"]
    assert main([*arguments, str(config), "-o", str(run)]) == 0
    counted = json.loads((run / "metrics.json").read_text())["refiner_counters"]
    assert set(counted) <= {"left", "elsewhere"}
    assert sum(counted.values()) == 4  # of six prompts two are about nothing
    said = ", ".join(f"{name} {count}" for name, count in counted.items())
    assert f"regions after counting: {said}" in capsys.readouterr().out
    assert main([*arguments, str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refiner_counters"] == counted


def test_without_a_refiner_nothing_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(config_of(tmp_path, "none")), "-o", str(tmp_path / "run")]) == 0
    assert "regions after" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["refiner_counters"] == {}


class OneOfTwo(Crew):
    """A process of two whose partner said ``other`` at the last gathering."""

    other: ClassVar[list[Any]] = []

    def gather(self, items: Sequence[Any]) -> list[Any]:
        if items and isinstance(items[0], dict):
            items = [*items, *self.other]
        return list(items)


def test_counters_of_all_processes_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = load_catalogue().build("scheme", "next-brick", {"grid": 8})
    samples = load_catalogue().build("recipe", "refshapes", {}).samples("val")
    chosen = [samples[number] for number in range(5)]
    answers = [
        Prediction(
            id=sample.id,
            prompt=sample.prompt,
            labels=sample.labels,
            text=f"<seg>{scheme.encode(sample.targets, sample.size)}</seg>",
            num_tokens=1,
            num_passes=1,
            seconds=0.0,
        )
        for sample in chosen
    ]
    alone = score_answers(chosen, answers, scheme, Counting(NoParams()), crew=Crew())
    monkeypatch.setattr(OneOfTwo, "other", [])
    second = OneOfTwo(rank=1, size=2)
    part = score_answers(chosen, answers, scheme, Counting(NoParams()), crew=second).refined
    monkeypatch.setattr(OneOfTwo, "other", [dict(part)])
    first = OneOfTwo(rank=0, size=2)
    both = score_answers(chosen, answers, scheme, Counting(NoParams()), crew=first).refined
    assert 0 < sum(part.values()) < sum(alone.refined.values())
    assert both == alone.refined
