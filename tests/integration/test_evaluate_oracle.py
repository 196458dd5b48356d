import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from t4spp.cli import main
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme
from t4spp.tracking import read_events

SCHEMES = ["image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick"]
NUM_SAMPLES = 23


def _config(folder, **sections):
    config = {
        "name": "oracle",
        "seed": 3,
        "scheme": {"name": "next-brick", "params": {"grid": 8}},
        "backbone": {"name": "oracle"},
        "data": {"recipe": {"name": "refshapes"}, "max_eval_samples": NUM_SAMPLES},
        "generation": {"batch_size": 4},
        "evaluation": {"bootstrap": 50},
        **sections,
    }
    path = folder / "config.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def _evaluate(capsys, *arguments):
    capsys.readouterr()
    code = main(["evaluate", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a corrupted oracle, which tests copy before they change it."""
    folder = tmp_path_factory.mktemp("finished")
    oracle = {
        "name": "oracle",
        "params": {"damage_share": 0.4, "drop_share": 0.2, "shift_pixels": 2},
    }
    config = _config(folder / "config", backbone=oracle)
    assert main(["evaluate", str(config), "-o", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def _expected_mean_iou(scheme):
    """The ceiling, computed apart: quantize, then plain NumPy."""
    samples = load_catalogue().build("recipe", "refshapes", {}).samples("val")
    ious = []
    for position in range(NUM_SAMPLES):
        sample = samples[position]
        for label in {target.label for target in sample.targets}:
            truth = np.any([t.mask for t in sample.targets if t.label == label], axis=0)
            regions = scheme.quantize(sample.targets, sample.size)
            found = np.any([r.mask for r in regions if r.label == label], axis=0)
            found = found if found.shape else np.zeros_like(truth)
            ious.append((truth & found).sum() / (truth | found).sum())
    return np.mean(np.sort(ious))


def test_what_the_recipe_left_out_is_logged_and_told(tmp_path, capsys):
    masks, images = tmp_path / "masks", tmp_path / "images"
    for folder, stems in ((masks, "ab"), (images, "abc")):
        folder.mkdir()
        for stem in stems:
            Image.fromarray(np.ones((6, 8), np.uint8)).save(folder / f"{stem}.png")
    params = {"images": str(images), "masks": str(masks), "classes": ["sky", "road"]}
    recipe = {"name": "semantic-folder", "params": params}
    config = _config(tmp_path, data={"recipe": recipe, "eval_split": "all"})
    code, out, err = _evaluate(capsys, config, "-o", tmp_path / "run")
    assert code == 0
    counted = {"pictures_without_mask": 1}
    assert json.loads(out)["recipe_counters"] == counted
    assert "semantic-folder: pictures_without_mask 1" in err
    notes = read_events(tmp_path / "run" / "events.jsonl").of_kind("note")
    assert {**notes[0], **counted, "message": "recipe counters"} == notes[0]
    main(["evaluate", str(tmp_path / "run")])
    assert "semantic-folder: pictures_without_mask 1" in capsys.readouterr().err


def test_an_evaluation_of_a_config_is_tracked_as_a_run_is(tmp_path, capsys):
    code, out, _ = _evaluate(capsys, _config(tmp_path), "-o", tmp_path / "run")
    (event,) = read_events(tmp_path / "run" / "events.jsonl").of_kind("eval")
    expected = json.loads(out)["protocols"]["native"]["mean_iou"]["value"]
    assert (code, event["native/mean_iou"]) == (0, expected)


@pytest.mark.parametrize("name", SCHEMES)
def test_uncorrupted_oracle_scores_the_ceiling_exactly(name, tmp_path, capsys):
    scheme = {"name": name, "params": {"grid": 8}}
    code, out, _ = _evaluate(capsys, _config(tmp_path, scheme=scheme), "-o", tmp_path / "run")
    metrics = json.loads(out)
    native = metrics["protocols"]["native"]
    assert code == 0
    expected = _expected_mean_iou(build_scheme(name, grid=8))
    assert native["mean_iou"]["value"] == pytest.approx(expected, abs=1e-15)
    assert metrics["answers"]["ok"] == metrics["num_samples"] == NUM_SAMPLES
    assert native["n_acc"]["value"] == 1.0


def test_oracle_that_never_answers_scores_nothing(tmp_path, capsys):
    oracle = {"name": "oracle", "params": {"no_answer_share": 1.0}}
    _, out, _ = _evaluate(capsys, _config(tmp_path, backbone=oracle), "-o", tmp_path / "run")
    metrics = json.loads(out)
    assert metrics["protocols"]["native"]["mean_iou"]["value"] == 0.0
    assert metrics["protocols"]["native"]["ciou"]["value"] == 0.0
    assert metrics["answers"]["invalid"] == NUM_SAMPLES


def test_run_folder_holds_the_documented_files(finished):
    assert (finished / "config.yaml").is_file()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["schema"] == 1
    assert set(metrics["protocols"]["native"]) == {"mean_iou", "ciou", "acc@0.5", "n_acc"}
    for score in metrics["protocols"]["native"].values():
        assert score["low"] <= score["value"] <= score["high"]
    answers = metrics["answers"]
    assert answers["ok"] + answers["repaired"] + answers["invalid"] == NUM_SAMPLES
    assert answers["repaired"] + answers["invalid"] > 0
    assert sum(problem["occurrences"] for problem in answers["problems"].values()) > 0
    assert "no-target" in answers["tags"]
    lines = (finished / "predictions" / "val.jsonl").read_text().splitlines()
    assert len(lines) == NUM_SAMPLES
    keys = ["id", "prompt", "labels", "text", "num_tokens", "num_passes", "seconds"]
    assert list(json.loads(lines[0])) == keys
    scores = (finished / "predictions" / "val.scores.jsonl").read_text().splitlines()
    first = json.loads(scores[0])
    assert {"id", "label", "iou", "intersection", "union", "status"} <= set(first)


def test_rescoring_gives_the_same_file_without_asking_the_backbone(run, capsys):
    before = (run / "metrics.json").read_bytes()
    predictions = (run / "predictions" / "val.jsonl").read_bytes()
    # Answers that only the file holds: asked again, the oracle would not repeat them.
    code, _, _ = _evaluate(capsys, run, "--set", "backbone.params.drop_share=1.0")
    assert code == 0
    assert (run / "metrics.json").read_bytes().replace(b" ", b"") == before.replace(b" ", b"")
    assert (run / "predictions" / "val.jsonl").read_bytes() == predictions


def test_json_alone_stands_on_standard_output(run, capsys):
    code, out, _ = _evaluate(capsys, run)
    assert code == 0
    assert json.loads(out) == json.loads((run / "metrics.json").read_text())


def test_predictions_of_another_scheme_are_refused_and_nothing_is_changed(run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, err = _evaluate(capsys, run, "--set", "scheme.params.grid=16")
    assert (code, out) == (2, "")
    assert "is a run of the scheme next-brick@1:" in err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "natve"], "Did you mean 'native'?"),
        (["--split", "nowhere"], "nowhere"),
        (["--generate"], "--resume, or replace it by --overwrite"),
        (["--resume", "--overwrite"], "contradict"),
        (["--set", "refiner.name=samm"], "unknown refiner 'samm'"),
        (["-o", "elsewhere"], "scored in place"),
    ],
)
def test_wrong_arguments_are_one_clear_error(run, capsys, arguments, message):
    code, out, err = _evaluate(capsys, run, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_folder_that_is_no_run_is_one_clear_error(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, _, err = _evaluate(capsys, folder)
        assert code == 2
        assert str(folder) in err


def test_existing_folder_asks_for_resume_or_overwrite(tmp_path, capsys):
    config = _config(tmp_path / "config")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    code, _, err = _evaluate(capsys, config, "-o", folder)
    assert code == 2
    assert "--resume" in err
    assert "--overwrite" in err
    assert [path.name for path in folder.iterdir()] == ["precious.txt"]


def test_incomplete_predictions_are_not_scored_but_resumed(run, capsys):
    path = run / "predictions" / "val.jsonl"
    whole = path.read_text().splitlines(keepends=True)
    metrics = (run / "metrics.json").read_bytes()
    path.write_text("".join(whole[:10]))
    code, _, err = _evaluate(capsys, run)
    assert code == 2
    assert "--generate --resume" in err
    code, _, _ = _evaluate(capsys, run, "--resume")
    assert code == 0
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == [
        json.loads(line)["text"] for line in whole
    ]
    assert _without_seconds((run / "metrics.json").read_bytes()) == _without_seconds(metrics)


def test_fewer_samples_than_predictions_are_scored_from_the_same_file(run, capsys):
    code, out, _ = _evaluate(capsys, run, "--set", "data.max_eval_samples=5")
    assert code == 0
    assert json.loads(out)["num_samples"] == 5


def test_another_split_is_generated_on_demand_and_leaves_the_first_alone(run, capsys):
    before = (run / "metrics.json").read_bytes()
    code, out, _ = _evaluate(capsys, run, "--split", "train")
    assert code == 0
    assert json.loads(out)["split"] == "train"
    assert (run / "metrics.json").read_bytes() == before
    assert (run / "predictions" / "train.metrics.json").is_file()


def test_pictures_are_not_needed_where_no_refiner_reads_them(shared_data, tmp_path, capsys):
    annotations = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    recipe = {"name": "coco-instances", "params": {"annotations": str(annotations)}}
    config = _config(tmp_path, data={"recipe": recipe, "max_eval_samples": 30})
    code, out, err = _evaluate(capsys, config, "-o", tmp_path / "run")
    assert code == 0, err
    assert json.loads(out)["answers"]["ok"] == 30


def test_two_processes_score_exactly_what_one_does(finished, run, project):
    # 23 samples in chunks of 4: the last round is uneven. WORLD_SIZE and the like come from
    # torchrun, as accelerate's launcher sets them.
    shutil.rmtree(run / "predictions")
    (run / "metrics.json").unlink()
    finishing = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *("-m", "t4spp", "evaluate", str(run), "--json"),
        ],
        cwd=project,
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finishing.returncode == 0, finishing.stderr[-3000:]
    alone = (finished / "metrics.json").read_bytes()
    assert _without_seconds((run / "metrics.json").read_bytes()) == _without_seconds(alone)
    assert _without_seconds(finishing.stdout) == _without_seconds(alone)
    scores = "predictions/val.scores.jsonl"
    assert (run / scores).read_bytes() == (finished / scores).read_bytes()
    ids = [json.loads(line)["id"] for line in _lines(run)]
    assert ids == [json.loads(line)["id"] for line in _lines(finished)]


def _lines(run):
    return (run / "predictions" / "val.jsonl").read_text().splitlines()


def _without_seconds(text):
    metrics = json.loads(text)
    del metrics["answers"]["seconds"]
    return metrics
