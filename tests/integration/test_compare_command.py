"""`t4spp compare` on two oracle runs, one of which drops targets; and scoring by workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from t4spp.cli import main
from t4spp.config import load_config
from t4spp.decoding.processes import Crew
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.predictions import PredictionFile
from t4spp.evaluation.scoring import score_answers, summarise
from t4spp.plugins import load_catalogue
from t4spp.types import Sample

NUM_SAMPLES = 40


def write_config(folder: Path, name: str, *, damage: float, samples: int = NUM_SAMPLES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(
        json.dumps(
            {
                "name": name,
                "seed": 3,
                "scheme": {"name": "next-brick", "params": {"grid": 8}},
                "backbone": {
                    "name": "oracle",
                    "params": {"drop_share": damage, "damage_share": damage, "seed": 5},
                },
                "data": {"recipe": {"name": "refshapes"}, "max_eval_samples": samples},
                "evaluation": {"bootstrap": 50, "protocols": ["native", "lisa"]},
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, damage, samples in (("good", 0.0, NUM_SAMPLES), ("bad", 0.4, NUM_SAMPLES - 7)):
        config = write_config(folder, name, damage=damage, samples=samples)
        assert main(["evaluate", str(config), "-o", str(folder / name)]) == 0
    return folder


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


def compare(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_comparison_tests_every_shared_metric_and_names_what_changed(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    code, out, _ = compare(capsys, runs / "bad", runs / "good", "-o", page, "-n", 3, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["samples"] == {
        "matched": 33,
        "only_first": 0,
        "only_second": 7,
        "other_prompt": 0,
        "other_truth": 0,
    }
    metrics = told["protocols"]["native"]["metrics"]
    assert list(metrics) == ["mean_iou", "ciou", "acc@0.5", "n_acc"]
    assert set(told["protocols"]) == {"native", "lisa"}
    gain = metrics["mean_iou"]
    assert gain["difference"] == pytest.approx(gain["second"] - gain["first"])
    assert gain["low"] > 0
    assert gain["p_value"] < 0.05
    changes = told["changes"]
    assert changes["better"] + changes["worse"] + changes["equal"] == 33
    assert changes["worse"] == 0
    gained = [change["difference"] for change in changes["gained"]]
    assert len(gained) == 3
    assert gained == sorted(gained, reverse=True)
    assert told["untested"] == []

    text = page.read_text()
    assert all(change["prompt"] in text for change in changes["gained"])
    assert text.count('<article class="card wide">') == 3
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_order_of_the_runs_turns_the_sign_only(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, there, _ = compare(capsys, runs / "bad", runs / "good", "--no-page", "--json")
    _, back, _ = compare(capsys, runs / "good", runs / "bad", "--no-page", "--json")
    first, second = (json.loads(out)["protocols"]["lisa"]["metrics"] for out in (there, back))
    for metric, one in first.items():
        assert second[metric]["difference"] == pytest.approx(-one["difference"])
        assert second[metric]["low"] == pytest.approx(-one["high"])
        assert second[metric]["p_value"] == one["p_value"]


def test_runs_on_other_splits_or_recipes_are_refused_with_the_reason(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied / "bad" / "config.yaml"
    config.write_text(config.read_text().replace("prompts_per_scene: 4", "prompts_per_scene: 3"))
    code, _, err = compare(capsys, copied / "bad", copied / "good", "--no-page")
    assert code == 2
    assert "data.recipe.params.prompts_per_scene is 3 and 4" in err
    assert "t4spp report RUN RUN" in err


def test_run_of_an_older_version_is_compared_by_what_its_scores_tell(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole, _ = compare(capsys, copied / "bad", copied / "good", "--no-page", "--json")
    (copied / "bad" / "predictions" / "val.sums.jsonl").unlink()
    code, out, _ = compare(capsys, copied / "bad", copied / "good", "--no-page", "--json")
    told, before = json.loads(out), json.loads(whole)
    assert code == 0
    assert "t4spp evaluate" in told["notes"][0]
    metrics = told["protocols"]["native"]["metrics"]
    for metric in ("mean_iou", "ciou", "n_acc"):
        assert metrics[metric] == before["protocols"]["native"]["metrics"][metric]
    untested = {(one["protocol"], one["metric"]) for one in told["untested"]}
    assert ("native", "acc@0.5") in untested
    assert any(protocol == "lisa" for protocol, _ in untested)


def test_run_without_scores_says_how_to_score_it(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("val.sums.jsonl", "val.scores.jsonl"):
        (copied / "bad" / "predictions" / name).unlink()
    code, _, err = compare(capsys, copied / "bad", copied / "good", "--no-page")
    assert code == 2
    assert "t4spp evaluate" in err


def test_split_of_the_first_run_is_that_of_both(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied / "good" / "config.yaml"
    assert "eval_split: val" in config.read_text()
    config.write_text(config.read_text().replace("eval_split: val", "eval_split: test"))
    code, out, _ = compare(capsys, copied / "bad", copied / "good", "--no-page", "--json")
    assert (code, json.loads(out)["split"]) == (0, "val")
    code, _, err = compare(capsys, copied / "good", copied / "bad", "--split", "test")
    assert code == 2
    assert f"t4spp evaluate {copied / 'good'} --split test" in err


def test_protocols_that_only_one_run_was_scored_by_are_named(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(copied / "bad"), "--protocol", "native"]) == 0
    _, out, _ = compare(capsys, copied / "bad", copied / "good", "--no-page", "--json")
    told = json.loads(out)
    assert list(told["protocols"]) == ["native"]
    assert told["notes"] == ["Only good was scored by lisa, which cannot be compared."]


def test_sums_without_what_native_counts_are_damaged(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "bad" / "predictions" / "val.sums.jsonl"
    path.write_text(path.read_text().replace("n_acc/below", "n_acc/beneath"))
    code, _, err = compare(capsys, copied / "bad", copied / "good", "--no-page")
    assert code == 2
    assert "n_acc/beneath" in err
    assert "Write it again with: t4spp evaluate RUN" in err


def test_sample_with_another_truth_since_is_left_out_and_counted(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "bad" / "predictions" / "val.sums.jsonl"
    head, first, *rest = path.read_text().splitlines()
    row = json.loads(first)
    row["sums"]["native"][1] += 1
    path.write_text("\n".join([head, json.dumps(row), *rest]) + "\n")
    _, out, _ = compare(capsys, copied / "bad", copied / "good", "--no-page", "--json")
    samples = json.loads(out)["samples"]
    assert (samples["matched"], samples["other_truth"]) == (32, 1)


def test_evaluation_prints_break_downs_and_keeps_them(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(copied / "good")]) == 0
    assert "area in pixels (COCO's sizes)" in capsys.readouterr().out
    metrics = json.loads((copied / "good" / "metrics.json").read_text())
    for bins in metrics["breakdowns"].values():
        assert sum(content["num_pairs"] for content in bins.values()) == metrics["num_targets"]
    assert "label" not in metrics["breakdowns"]  # nothing was trained


@pytest.mark.parametrize("workers", [1, 3])
def test_scores_do_not_depend_on_the_number_of_workers(
    copied: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    folder = copied / "bad"
    found = []
    for number in (0, workers):
        option = f"evaluation.workers={number}"
        assert main(["evaluate", str(folder), "--set", option]) == 0
        found.append(
            [
                (folder / "metrics.json").read_bytes(),
                (folder / "predictions" / "val.scores.jsonl").read_bytes(),
                (folder / "predictions" / "val.sums.jsonl").read_bytes(),
            ]
        )
    assert found[0] == found[1]


def test_chunks_of_many_workers_come_back_in_order_with_the_recipes_counters(
    copied: Path,
) -> None:
    """More chunks than may wait at a time; the recipe counts as it makes samples."""
    config = load_config(copied / "good" / "config.yaml", (), load_catalogue())
    experiment = Experiment(config=config, catalogue=load_catalogue())
    answers = PredictionFile(copied / "good" / "predictions" / "val.jsonl")
    base = experiment.samples("val")

    class Counting:
        made = 0

        def __len__(self) -> int:
            return 40 * 32

        def __getitem__(self, index: int) -> Sample:
            Counting.made += 1
            return base[index % 40]

    told: list[int] = []
    scored = score_answers(
        Counting(),  # type: ignore[arg-type]
        answers.find,
        experiment.scheme,
        experiment.refiner,
        crew=Crew(),
        workers=2,
        counters=lambda: {"made": Counting.made},
        progress=told.append,
    )
    assert [row.position for row in scored.rows] == list(range(1280))
    assert scored.counted == {"made": 1280}
    assert Counting.made == 0
    assert sum(told) == 1280
    metrics = summarise(scored, crew=Crew(), resamples=0, seed=0)
    alone = json.loads((copied / "good" / "metrics.json").read_text())
    ours = metrics["protocols"]["native"]["mean_iou"]["value"]
    assert ours == pytest.approx(alone["protocols"]["native"]["mean_iou"]["value"])


def test_fault_in_a_worker_is_told_as_it_is_without_workers(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "bad" / "predictions" / "val.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[20])
    lines[20] = json.dumps({**row, "prompt": "something else"})
    path.write_text("\n".join(lines) + "\n")
    said = []
    for workers in (0, 2):
        capsys.readouterr()
        option = f"evaluation.workers={workers}"
        assert main(["evaluate", str(copied / "bad"), "--set", option]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1]
    assert "'something else'" in said[0]


SLOW = """
import os, sys, time
from pathlib import Path
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.evaluation.scoring import score_answers
from t4spp.plugins import load_catalogue
from t4spp.types import Decoded, Sample

class Samples:
    def __len__(self):
        return 100_000

    def __getitem__(self, index):
        (Path(sys.argv[1]) / str(os.getpid())).touch()
        time.sleep(0.005)
        return Sample(id=str(index), size=(4, 4), prompt="dog", labels=("dog",), targets=())

def answer(position, sample):
    return Prediction(
        id=sample.id, prompt="dog", labels=("dog",), text="", num_tokens=0, num_passes=0, seconds=0
    )

score_answers(
    Samples(),
    answer,
    lambda sample, prediction: Decoded(regions=(), status="ok"),
    load_catalogue().build("refiner", "none", {}, "refiner"),
    crew=Crew(),
    workers=2,
)
"""


def is_running(pid: int) -> bool:
    """Whether a process exists that has not ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, how: int) -> None:
    """Also where it is killed outright, as for want of memory."""
    (tmp_path / "workers").mkdir()
    script = tmp_path / "score.py"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "workers"], stderr=subprocess.DEVNULL
    )

    def wait_for(done: Callable[[], bool]) -> bool:
        until = time.monotonic() + 120
        while not done() and time.monotonic() < until:
            time.sleep(0.1)
        return done()

    try:
        assert wait_for(lambda: len(list((tmp_path / "workers").iterdir())) == 2)
        workers = [int(path.name) for path in (tmp_path / "workers").iterdir()]
        assert process.pid not in workers
        process.send_signal(how)
        process.wait(120)
        assert process.returncode != 1  # a fault of the script
        assert wait_for(lambda: not any(map(is_running, workers)))
    finally:
        process.kill()
        for path in (tmp_path / "workers").iterdir():
            if is_running(int(path.name)):
                os.kill(int(path.name), signal.SIGKILL)
