"""Runs on miniatures of the referring datasets, answered from the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support_refer import coco_name, ref, write_instances, write_json, write_picture

from t4spp.cli import main

CONFIG = """
name: miniature
scheme: {{name: next-brick, params: {{grid: 8}}}}
backbone: {{name: oracle}}
data:
  recipe: {{name: {recipe}, params: {{root: {root}}}}}
training: {{mode: none}}
evaluation: {{protocols: [native, {protocol}], bootstrap: 0}}
"""


def run(tmp_path: Path, recipe: str, protocol: str) -> tuple[Any, list[Any]]:
    """metrics.json and the lines of the predictions."""
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG.format(recipe=recipe, root=tmp_path, protocol=protocol))
    assert main(["run", str(config), "-o", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "predictions" / "val.jsonl").read_text().splitlines()
    return json.loads((tmp_path / "run" / "metrics.json").read_text()), list(map(json.loads, lines))


def test_grefcoco_runs_with_several_targets_and_with_none(tmp_path):
    refs = [
        ref(1, 1, [1], "train", "the dog"),
        ref(2, 1, [1, 2], "val", "both dogs"),
        ref(3, 1, [-1], "val", "a zebra"),
    ]
    write_json(tmp_path / "grefcoco" / "grefs(unc).json", refs)
    write_instances(tmp_path / "grefcoco" / "instances.json")
    write_picture(tmp_path / "images" / "train2014" / coco_name(1))
    metrics, lines = run(tmp_path, "grefcoco", "grefcoco")
    scores = {name: score["value"] for name, score in metrics["protocols"]["grefcoco"].items()}
    assert scores["n_acc"] == scores["t_acc"] == 1.0
    # Bricks of 8 x 8 hold squares of 4 and of 4 x 6 pixels exactly.
    assert scores["mean_iou"] == scores["ciou"] == 1.0
    assert [line["prompt"] for line in lines] == ["both dogs", "a zebra"]
    assert lines[0]["text"].count("both dogs") == 2


def test_the_reasonseg_protocol_scores_first_wordings_only(tmp_path):
    corners = [[2, 2], [9, 2], [9, 9], [2, 9]]
    for split in ("train", "val"):
        folder = tmp_path / "ReasonSeg" / split
        write_picture(folder / "a.jpg", (20, 30))
        write_json(
            folder / "a.json",
            {
                "text": ["What is it?", "Which is it?"],
                "is_sentence": True,
                "shapes": [{"label": "target", "points": corners}],
            },
        )
    metrics, lines = run(tmp_path, "reasonseg", "reasonseg")
    assert [(line["id"], line["labels"]) for line in lines] == [
        ("a-0", ["target"]),
        ("a-1", ["target"]),
    ]
    # I / (U + 1e-5), as LISA has it: 64 pixels.
    exact = 64 / (64 + 1e-5)
    assert metrics["protocols"]["reasonseg"]["mean_iou"]["value"] == pytest.approx(exact, abs=1e-9)
    # With the first answer damaged, the protocol sees nothing else.
    path = tmp_path / "run" / "predictions" / "val.jsonl"
    lines[0]["text"] = "I cannot tell."
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["protocols"]["native"]["mean_iou"]["value"] == 0.5
    assert metrics["protocols"]["reasonseg"]["mean_iou"]["value"] == 0.0
