"""Several protocols in one pass over the answers of a run, from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from t4spp.cli import main

NAMES = ("text4seg", "lisa", "grefcoco", "reasonseg", "rmsin", "segearth", "open-vocab", "rec")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corrupted oracle's answers, some of them to prompts about nothing."""
    folder = tmp_path_factory.mktemp("protocols")
    config = {
        "name": "oracle",
        "scheme": {"name": "next-brick", "params": {"grid": 8}},
        "backbone": {
            "name": "oracle",
            "params": {"damage_share": 0.3, "drop_share": 0.2, "shift_pixels": 2},
        },
        "data": {"recipe": {"name": "refshapes"}, "max_eval_samples": 40},
        "evaluation": {"bootstrap": 20},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    assert main(["evaluate", str(folder / "config.yaml"), "-o", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def metrics(run: Path) -> dict[str, Any]:
    """What scoring by every protocol leaves in the run's folder."""
    asked = [part for name in ("native", *NAMES) for part in ("--protocol", name)]
    assert main(["evaluate", str(run), *asked]) == 0
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def pairs(run: Path, metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The areas behind ``native``, a line an expression."""
    lines = (run / "predictions" / "val.scores.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_one_pass_scores_every_protocol_in_the_order_of_asking(metrics: dict[str, Any]) -> None:
    assert list(metrics["protocols"]) == ["native", *NAMES]
    for name in ("lisa", "rmsin", "segearth", "rec", "grefcoco"):
        for score in metrics["protocols"][name].values():
            assert score["low"] <= score["value"] <= score["high"] or score["low"] is None
    assert metrics["protocol_counts"]["lisa"]["expressions"] == 40
    assert metrics["protocol_counts"]["lisa"]["without_target"] == metrics["num_no_target"] > 0
    assert metrics["protocol_counts"]["open-vocab"]["prompts_without_class_list"] == 40


@pytest.mark.parametrize("name", ["lisa", "text4seg", "reasonseg"])
def test_mean_is_made_of_the_areas_in_the_scores_file(
    name: str, metrics: dict[str, Any], pairs: list[dict[str, Any]]
) -> None:
    values = [
        pair["intersection"] / (pair["union"] + 1e-5) if pair["union"] else 1.0 for pair in pairs
    ]
    got = metrics["protocols"][name]
    assert got["mean_iou"]["value"] == math.fsum(values) / 40
    both = sum(pair["intersection"] for pair in pairs)
    assert got["ciou"]["value"] == both / sum(pair["union"] for pair in pairs)


def test_generalised_scores_are_made_of_the_same_areas(
    metrics: dict[str, Any], pairs: list[dict[str, Any]]
) -> None:
    ious = [
        pair["intersection"] / pair["union"] if pair["union"] else float(not pair["has_target"])
        for pair in pairs
    ]
    present = [iou for iou, pair in zip(ious, pairs, strict=True) if pair["has_target"]]
    got = metrics["protocols"]["grefcoco"]
    assert got["mean_iou"]["value"] == math.fsum(ious) / 40
    assert got["pr@0.7"]["value"] == sum(iou >= 0.7 for iou in present) / len(present)


def test_scores_are_printed_a_row_each(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(run), "--protocol", "lisa", "--protocol", "rec"]) == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows[1:4] == [["lisa", "mean_iou"], ["lisa", "ciou"], ["rec", "acc@0.5"]]
