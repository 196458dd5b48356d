"""Runs on scenes: scores in space, layers, artifacts, baselines, and studies side by side."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")
pyogrio = pytest.importorskip("pyogrio", reason="the extra geo is not installed")
shapely = pytest.importorskip("shapely", reason="the extra geo is not installed")

from support_spatial import UTM, write_scene  # noqa: E402

from t4spp.cli import main  # noqa: E402

TRACKER = """
import json
from pathlib import Path

from pydantic import BaseModel

from t4spp.components import Component, Tracker
from t4spp.hookspecs import hookimpl


class Config(BaseModel):
    file: Path


class Recorder(Tracker):
    def __init__(self, config):
        self.file = config.file
        self.kept = []

    def start(self, run):
        pass

    def log(self, step, values):
        pass

    def artifact(self, name, kind, path):
        self.kept.append([name, kind, path.name, path.stat().st_size > 0])

    def finish(self):
        self.file.write_text(json.dumps(self.kept))


@hookimpl
def t4spp_trackers():
    return [Component(name="recorder", config=Config, build=Recorder)]
"""
SIZE = (128, 192)
SQUARES = ((10, 12, 24), (40, 60, 30), (80, 20, 26), (70, 100, 40), (20, 140, 30), (90, 150, 20))


def footprint(top: int, left: int, side: int) -> Any:
    west, north = 740_000 + 0.5 * left, 3_720_000 - 0.5 * top
    return shapely.box(west, north - 0.5 * side, west + 0.5 * side, north)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scenes and the footprints of six buildings on each, which lie on each other."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_scene(folder / "first.tif", SIZE)
    write_scene(folder / "second.tif", SIZE)
    polygons = [footprint(*square) for square in SQUARES]
    pyogrio.raw.write(
        folder / "buildings.gpkg",
        np.array([shapely.to_wkb(polygon) for polygon in polygons], dtype=object),
        [np.array(["brick"] * len(polygons), dtype=object)],
        ["walls"],
        layer="buildings",
        driver="GPKG",
        geometry_type="Polygon",
        crs=UTM,
    )
    return folder


def write_config(tmp_path: Path, data: Path, **sections: Any) -> Path:
    config = {
        "name": "scenes",
        "scheme": {"name": "next-brick", "params": {"grid": 32}},
        "backbone": {"name": "oracle"},
        "data": {
            "recipe": {
                "name": "geotiff",
                "params": {
                    "scenes": str(data / "*.tif"),
                    "labels": str(data / "buildings.gpkg"),
                    "windows": {"size": 64, "stride": 48},
                    "cache_dir": str(tmp_path / "cache"),
                },
            },
            "train_split": "all",
            "eval_split": "all",
            "templates": "fixed",
        },
        "evaluation": {"bootstrap": 20},
        **sections,
    }
    path = tmp_path / "scenes.yaml"
    path.write_text(json.dumps(config))
    return path


def text_of(page: Path) -> str:
    body = re.sub(r"<style>.*?</style>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_oracle_on_scenes_scores_pixels_objects_and_areas_once(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(write_config(tmp_path, data)), "-o", str(run)]) == 0
    assert "scene     iou" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    scene, objects = metrics["protocols"]["scene"], metrics["protocols"]["objects"]
    assert scene["iou"]["value"] > 0.98
    assert abs(scene["area_error"]["value"]) < 0.02
    assert objects["f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert metrics["space"]["objects"]["true"] == 2 * len(SQUARES)
    assert metrics["space"]["hectares"] == pytest.approx(2 * 128 * 192 * 0.25 / 1e4, rel=1e-3)
    true = sum(side**2 for _, _, side in SQUARES) * 0.25
    assert [entry["true_m2"] for entry in metrics["space"]["scenes"]] == [
        pytest.approx(true, rel=1e-3)
    ] * 2
    layers = run / "predictions" / metrics["space"]["layers"]["file"]
    assert [str(name) for name, _ in pyogrio.list_layers(layers)] == [
        "windows",
        "predicted",
        "true",
    ]
    assert pyogrio.read_info(layers, layer="true")["crs"] == UTM
    page = text_of(run / "report.html")
    assert "Where it fails: building" in page and "first building" in page


def test_scoring_again_gives_the_same_scores_and_can_leave_space_out(
    tmp_path: Path, data: Path
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(write_config(tmp_path, data)), "-o", str(run)]) == 0
    before = json.loads((run / "metrics.json").read_text())
    assert main(["evaluate", str(run)]) == 0
    assert json.loads((run / "metrics.json").read_text()) == before
    assert main(["evaluate", str(run), "--set", "evaluation.space=false"]) == 0
    after = json.loads((run / "metrics.json").read_text())
    assert set(after["protocols"]) == {"native"} and "space" not in after
    assert after["protocols"]["native"] == before["protocols"]["native"]


def test_trackers_keep_config_scores_layers_and_map(tmp_path: Path, data: Path) -> None:
    plugin = tmp_path / "recorder.py"
    plugin.write_text(TRACKER)
    kept = tmp_path / "kept.json"
    tracking = {"trackers": [{"name": "recorder", "params": {"file": str(kept)}}]}
    config = write_config(tmp_path, data, tracking=tracking)
    run = tmp_path / "run"
    assert main(["run", str(config), "-o", str(run), "--plugin-file", str(plugin)]) == 0
    assert json.loads(kept.read_text()) == [
        ["scenes-config", "config", "config.yaml", True],
        ["scenes-all-scores", "scores", "metrics.json", True],
        ["scenes-all-pairs", "scores", "all.scores.jsonl", True],
        ["scenes-all-layers", "layers", "all.layers.gpkg", True],
        ["scenes-all-map", "map", "all.map.html", True],
    ]
    assert "Scores on the map: all" in text_of(run / "predictions" / "all.map.html")


def test_baselines_stand_beside_the_run(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(write_config(tmp_path, data)), "-o", str(run)]) == 0
    capsys.readouterr()
    assert main(["baselines", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    covered = sum(side**2 for _, _, side in SQUARES) / (128 * 192)
    everything = told["baselines"]["everything"]["protocols"]
    assert everything["scene"]["iou"]["value"] == pytest.approx(covered, abs=1e-6)
    assert everything["scene"]["recall"]["value"] == 1.0
    nothing = told["baselines"]["nothing"]["protocols"]
    assert nothing["scene"]["iou"]["value"] == 0.0
    assert nothing["scene"]["precision"]["value"] is None
    best = told["baselines"]["mean mask, best threshold"]
    assert 0 < best["thresholds"]["building"] < 1
    assert best["protocols"]["native"]["mean_iou"]["value"] > 0
    assert told["run"]["scene"]["iou"]["value"] > 0.98
    assert main(["report", str(run)]) == 0
    assert "mean mask, best threshold" in text_of(run / "report.html")


def test_mean_mask_of_training_masks_that_agree_is_their_mask(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, data)
    values = ("windows.size=null", "windows.stride=null", "targets=semantic")  # whole scenes
    command = ["baselines", str(config), "--json"]
    command += [f"--data.recipe.params.{value}" for value in values]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["file"] is None and told["run"] is None
    mean = told["baselines"]["mean mask"]["protocols"]
    assert mean["scene"]["iou"]["value"] > 0.85  # a grid of 64 cells a side


def test_study_shows_the_same_places_of_runs_at_two_resolutions(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, data)
    fine, coarse = tmp_path / "runs" / "fine", tmp_path / "runs" / "coarse"
    assert main(["run", str(config), "-o", str(fine)]) == 0
    coarser = ["--scheme.name=image-rrle", "--scheme.params.grid=12"]
    coarser += ["--data.recipe.params.windows.resolution=1.0"]
    assert main(["run", str(config), "-o", str(coarse), *coarser]) == 0
    page = tmp_path / "study.html"
    capsys.readouterr()
    assert main(["report", str(fine), str(coarse), "-o", str(page), "--samples", "1"]) == 0
    text = text_of(page)
    assert "The same places" in text and "Where the runs differ most" in text
    assert "fine" in text and "coarse" in text  # one name, so that folders tell them apart
    found = re.findall(r"fine IoU ([\d.]+) ok .{0,80}?coarse IoU ([\d.]+) ok", text)
    assert len(found) >= 1
    for better, worse in found:
        assert float(better) > float(worse)
    assert page.read_text().count("<article") >= 1


def test_scores_stand_against_tokens_a_hectare(tmp_path: Path, data: Path) -> None:
    folder = Path(__file__).parents[2] / "plugins/t4spp_plugins/backbones/nano/weights"
    backbone = {"name": "oracle", "params": {"tokenizer": str(folder)}}
    config = write_config(tmp_path, data, backbone=backbone)
    runs = []
    for scheme in ("next-brick", "image-rrle"):
        runs.append(str(tmp_path / "runs" / scheme))
        arguments = ["--set", f"scheme.name={scheme}", "--set", f"name={scheme}"]
        assert main(["run", str(config), "-o", runs[-1], *arguments]) == 0
    page = tmp_path / "study.html"
    assert main(["report", *runs, "-o", str(page)]) == 0
    charts = re.findall(r'<svg class="chart"[^>]*aria-label="([^"]+)"', page.read_text())
    assert [chart.partition(":")[0] for chart in charts] == [
        "Scene IoU against tokens a hectare",
        "Object F1 against tokens a hectare",
        "Mean IoU against tokens an answer",
    ]
    assert all("next-brick: " in chart and "image-rrle: " in chart for chart in charts)


def test_spacenet_answered_from_the_truth_finds_every_building_once(
    tmp_path: Path, shared_data: Path
) -> None:
    folder = shared_data / "rs_spacenet"
    config = json.loads(write_config(tmp_path, tmp_path).read_text())
    config["scheme"]["params"]["max_regions"] = 64
    config["data"]["recipe"]["params"] |= {
        "scenes": str(folder / "sample_geotiff.tif"),
        "labels": str(folder / "geotiff_labels.geojson"),
        "windows": {"size": 256, "stride": 128},
    }
    path = tmp_path / "spacenet.yaml"
    path.write_text(json.dumps(config))
    run = tmp_path / "run"
    assert main(["run", str(path), "-o", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    (scene,) = metrics["space"]["scenes"]
    assert scene["true_m2"] == 8454.5  # 33,818 pixels of sample_fp_mask_from_geojson.tif
    assert scene["iou"] > 0.97 and abs(scene["area_error"]) < 0.01
    assert scene["objects"] == {"predicted": 43, "true": 43, "matched": 43, "f1": 1.0}
