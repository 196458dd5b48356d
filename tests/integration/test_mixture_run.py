"""Masks and conversation in one run: trained, answered, scored, reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support_experiment import PLUGIN

from t4spp.cli import main

COLOURS = {"red": (210, 20, 20), "blue": (20, 20, 210), "green": (20, 160, 20)}


def draw_conversations(folder: Path) -> Path:
    """A miniature of LLaVA's layout: plain pictures, two turns each, one text-only record."""
    folder.mkdir()
    records: list[dict[str, Any]] = [
        {"id": "joke", "conversations": [{"from": "human", "value": "Tell me a joke."}]}
    ]
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(folder / f"{name}.png")
        turns = (
            "<image>\nWhich colour is it?",
            name,
            "Is it red?",
            "no" if name != "red" else "yes",
        )
        said = [
            {"from": "gpt" if place % 2 else "human", "value": text}
            for place, text in enumerate(turns)
        ]
        records.append({"id": name, "image": f"{name}.png", "conversations": said})
    path = folder / "mix.json"
    path.write_text(json.dumps(records))
    return path


def mixture_of(folder: Path, **sections: Any) -> Path:
    annotations = draw_conversations(folder / "talk")
    config = {
        "name": "mixture",
        "scheme": {"name": "next-brick"},
        "backbone": {"name": "nano"},
        "data": {
            "mixture": [
                {
                    "name": "shapes",
                    "recipe": {"name": "refshapes", "params": {"preset": "standard"}},
                    "max_eval_samples": 3,
                },
                {
                    "name": "talk",
                    "recipe": {
                        "name": "visual-instructions",
                        "params": {
                            "annotations": str(annotations),
                            "images": str(annotations.parent),
                        },
                    },
                    "train_split": "all",
                    "eval_split": "all",
                    "weight": 3,
                },
            ],
            "templates": "fixed",
            "augment": {"mirror": 0.5, "sides": "swap", "min_crop": 0.9},
        },
        "generation": {"batch_size": 2, "max_new_tokens": 300, "max_dialogue_tokens": 6},
        "evaluation": {"protocols": ["native", "dialogue"], "bootstrap": 20},
        **sections,
    }
    path = folder / "mixture.yaml"
    path.write_text(json.dumps(config))
    return path


def predictions(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "predictions/val.jsonl").open()]


@pytest.fixture(scope="module")
def nano_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    training = {
        "mode": "full",
        "steps": 24,
        "batch_size": 4,
        "optimizer": "muon",
        "learning_rate": 5e-3,
        "log_every": 4,
        "precision": "no",
    }
    config = mixture_of(folder, training=training)
    assert main(["run", str(config), "-o", str(folder / "run")]) == 0
    return folder / "run"


def test_a_model_that_learnt_both_answers_each_in_its_kind(nano_run: Path) -> None:
    found = predictions(nano_run)
    assert [one["id"].split("/")[0] for one in found] == ["shapes"] * 3 + ["talk"] * 6
    assert [one["id"] for one in found[3:5]] == ["talk/red-1", "talk/red-2"]
    for one in found[:3]:
        assert one["text"].startswith("Here it is.\n<seg>") and one["text"].endswith("</seg>")
        assert "problem" not in one
    words = [one["text"] for one in found[3:]]
    assert all(text and "<seg>" not in text for text in words)
    assert all(one["num_tokens"] <= 6 for one in found[3:])
    assert sum(text in ("red", "blue", "green", "yes", "no") for text in words) >= 2


def test_each_part_is_scored_beside_all(nano_run: Path) -> None:
    metrics = json.loads((nano_run / "metrics.json").read_text())
    assert (metrics["num_samples"], metrics["num_in_words"]) == (9, 6)
    dialogue, native = (metrics["protocols"][name] for name in ("dialogue", "native"))
    assert 0 <= native["mean_iou"]["value"] <= 1
    assert dialogue["exact_match"]["value"] > 0
    counts = metrics["protocol_counts"]["dialogue"]
    assert (counts["questions"], counts["yes_no_questions"]) == (6, 3)
    assert set(counts["by_tag"]) == {"part:talk"}
    assert counts["by_tag"]["part:talk"]["exact_match"] == dialogue["exact_match"]["value"]
    tags = metrics["answers"]["tags"]
    assert tags["part:shapes"]["num_samples"] == 3
    assert tags["part:shapes"]["mean_iou"]["value"] == native["mean_iou"]["value"]
    assert "no-target" not in tags
    assert metrics["recipe_counters"]["talk.records_of_text_only"] == 1


def test_how_often_each_part_was_gone_through_is_logged(nano_run: Path) -> None:
    lines = [json.loads(line) for line in (nano_run / "events.jsonl").open()]
    last = [line for line in lines if line["kind"] == "train"][-1]
    drawn = last["epoch.talk"] * 6
    assert drawn == pytest.approx(72, abs=6), "three quarters of 24 batches of 4"
    assert last["samples"] == 96


def test_scores_come_again_without_a_model_and_the_report_is_written(nano_run: Path) -> None:
    before = json.loads((nano_run / "metrics.json").read_text())["protocols"]
    assert main(["evaluate", str(nano_run)]) == 0
    assert json.loads((nano_run / "metrics.json").read_text())["protocols"] == before
    assert main(["report", str(nano_run)]) == 0
    assert "talk/red-1" in (nano_run / "report.html").read_text()


@pytest.mark.parametrize("generation", ["generate", "fast"])
def test_the_truth_scores_all_that_can_be_scored(tmp_path: Path, generation: str) -> None:
    config = mixture_of(tmp_path, backbone={"name": "oracle"})
    run = tmp_path / "run"
    arguments = ["run", str(config), "-o", str(run), "--set", f"generation.engine={generation}"]
    assert main(arguments) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    dialogue = metrics["protocols"]["dialogue"]
    for name in ("exact_match", "vqa_accuracy", "word_f1", "yes_no_accuracy", "yes_no_f1"):
        assert dialogue[name]["value"] == 1.0, name
    assert dialogue["yes_ratio"]["value"] == pytest.approx(1 / 3)
    assert metrics["answers"]["ok"] == 9


def test_words_that_no_protocol_looks_at_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = mixture_of(tmp_path, backbone={"name": "oracle"})
    arguments = ["run", str(config), "-o", str(tmp_path / "run")]
    assert main([*arguments, "--set", "evaluation.protocols=[native]"]) == 0
    assert "6 of 9 samples ask for words, and no protocol looks at them" in caplog.text


def test_a_mixture_resumed_in_the_middle_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    training = {"mode": "lora", "steps": 4, "batch_size": 5, "save_every": 2, "keep_last": 9}
    config = mixture_of(tmp_path, backbone={"name": "tiny-text"}, training=training)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    plugin = ["--plugin-file", str(PLUGIN)]
    assert main(["train", str(config), "-o", str(whole), *plugin]) == 0
    assert main(["train", str(config), "-o", str(cut), *plugin]) == 0
    for folder in (cut / "checkpoints").iterdir():
        if folder.name == "step-00000004":
            for file in sorted(folder.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            folder.rmdir()
    (cut / "checkpoints/latest").write_text("step-00000002")
    assert main(["train", str(config), "-o", str(cut), "--resume", *plugin]) == 0
    files = [
        next((run / "checkpoints/step-00000004").rglob("*.safetensors")) for run in (whole, cut)
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_evaluation_during_training_looks_at_every_part(tmp_path: Path) -> None:
    training = {"mode": "lora", "steps": 2, "batch_size": 2, "evaluate_every": 2, "eval_samples": 4}
    config = mixture_of(tmp_path, backbone={"name": "tiny-text"}, training=training)
    arguments = ["train", str(config), "-o", str(tmp_path / "run"), "--plugin-file", str(PLUGIN)]
    assert main(arguments) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/events.jsonl").open()]
    (found,) = [line for line in lines if line["kind"] == "eval"]
    assert "dialogue" in json.dumps(found)


def test_baselines_and_ceilings_leave_questions_in_words_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = mixture_of(tmp_path, backbone={"name": "oracle"})
    few = ["--set", "data.max_train_samples=8", "--json"]
    assert main(["baselines", str(config), *few]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["num_in_words_left_out"] == 6
    assert set(scored["baselines"]["everything"]["protocols"]) == {"native"}
    params = ["--param", f"annotations={tmp_path / 'talk/mix.json'}"]
    params += ["--param", f"images={tmp_path / 'talk'}"]
    assert (
        main(["ceiling", "--recipe", "visual-instructions", "--scheme", "image-rrle", *params]) == 2
    )
    assert "6 of them ask for words" in capsys.readouterr().err
