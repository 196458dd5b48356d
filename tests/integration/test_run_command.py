"""Whole runs from the command line: one outcome, whatever interrupts or shares them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support_experiment import PLUGIN, texts_in, tiny_experiment

from t4spp.cli import main


def test_one_command_trains_answers_scores_and_reports(tmp_path, capsys):
    training = {"mode": "lora", "steps": 3, "batch_size": 4, "evaluate_every": 2, "eval_samples": 2}
    tiny_experiment(tmp_path, training=training)
    arguments = ["run", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "run")]
    arguments += ["--plugin-file", str(PLUGIN), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["training"]["steps"] == 3
    assert result["metrics"]["num_samples"] == 7
    assert result["metrics"]["checkpoint"] == "step-00000003"
    assert Path(result["report"]).is_file()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run/events.jsonl").open()]
    assert kinds.count("eval") >= 2
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    before = texts_in(tmp_path / "run/predictions/val.jsonl")
    assert main([*arguments, "--resume"]) == 0
    assert texts_in(tmp_path / "run/predictions/val.jsonl") == before
    # Scores need neither the checkpoint nor the backbone.
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert main(["evaluate", str(tmp_path / "run"), "--plugin-file", str(PLUGIN)]) == 0


def _outcome(run):
    """Weights, predictions and scores of a run, without the seconds that they took."""
    (weights,) = run.glob("checkpoints/step-*/*/*.safetensors")
    lines = [json.loads(line) for line in (run / "predictions/val.jsonl").open()]
    metrics = json.loads((run / "metrics.json").read_text())
    for timed in [*lines, metrics["answers"]]:
        del timed["seconds"]
    scores = (run / "predictions/val.scores.jsonl").read_text()
    return weights.read_bytes(), lines, scores, metrics


def _run_twice(tmp_path, config):
    arguments = ["run", str(config), "--plugin-file", str(PLUGIN), "-o"]
    return [main([*arguments, str(tmp_path / name)]) for name in ("one", "two")]


def test_a_config_has_one_outcome(tmp_path):
    training = {"mode": "lora", "steps": 3, "batch_size": 4}
    generation = {"batch_size": 2, "max_new_tokens": 9, "temperature": 1.0}
    tiny_experiment(tmp_path, training=training, generation=generation)
    assert _run_twice(tmp_path, tmp_path / "tiny.yaml") == [0, 0]
    assert _outcome(tmp_path / "one") == _outcome(tmp_path / "two")


def test_a_run_interrupted_while_it_answers_is_resumed_to_the_same_outcome(tmp_path):
    training = {"mode": "full", "steps": 2, "batch_size": 4}
    tiny_experiment(tmp_path, training=training)
    assert _run_twice(tmp_path, tmp_path / "tiny.yaml") == [0, 0]
    path = tmp_path / "two" / "predictions" / "val.jsonl"
    path.write_bytes(path.read_bytes()[:700])
    for name in ("metrics.json", "report.html", "predictions/val.scores.jsonl"):
        (tmp_path / "two" / name).unlink()
    arguments = ["run", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "two"), "--resume"]
    assert main([*arguments, "--plugin-file", str(PLUGIN)]) == 0
    assert (tmp_path / "two" / "report.html").is_file()
    assert _outcome(tmp_path / "one") == _outcome(tmp_path / "two")


def test_a_tracker_that_cannot_be_built_is_told_before_the_old_run_is_replaced(tmp_path, capsys):
    plugin = tmp_path / "absent.py"
    plugin.write_text(
        "from pydantic import BaseModel\n"
        "from t4spp.components import Component\n"
        "from t4spp.hookspecs import hookimpl\n"
        "class Params(BaseModel): pass\n"
        "@hookimpl\n"
        "def t4spp_trackers():\n"
        "    return [Component(name='absent', config=Params, build=print,\n"
        "                      requires=('no_such_package',))]\n"
    )
    tiny_experiment(tmp_path, training={"mode": "full", "steps": 1, "batch_size": 2})
    shared = [str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "run")]
    shared += ["--plugin-file", str(PLUGIN), "--plugin-file", str(plugin)]
    assert main(["train", *shared]) == 0
    for command in ("train", "run"):
        named = ["--overwrite", "--set", "tracking.trackers=[{name: absent}]"]
        assert main([command, *shared, *named]) == 2
        assert "no_such_package" in capsys.readouterr().err
        assert (tmp_path / "run" / "checkpoints" / "latest").is_file()


@pytest.mark.parametrize("drawn", [{}, {"temperature": 1.0, "candidates": 3}])
def test_two_processes_generate_and_score_exactly_what_one_does(tmp_path, project, drawn):
    # With as many drafts as pay off, the number of passes depends on how fast the machine is.
    generation = {"batch_size": 2, "max_new_tokens": 9, "drafts": 4, **drawn}
    tiny_experiment(tmp_path, generation=generation)
    runs = []
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for number, launch in enumerate([[], launcher]):
        run = tmp_path / f"run{number}"
        command = [sys.executable, *launch, "-m", "t4spp", "evaluate", str(tmp_path / "tiny.yaml")]
        finished = subprocess.run(
            [*command, "-o", str(run), "--plugin-file", str(PLUGIN)],
            cwd=project,
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr[-3000:]
        runs.append(run)
    texts = [texts_in(run / "predictions" / "val.jsonl") for run in runs]
    assert texts[0] == texts[1]
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    for found in metrics:
        del found["answers"]["seconds"]
    assert metrics[0] == metrics[1]
