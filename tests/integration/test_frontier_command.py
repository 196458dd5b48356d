"""``t4spp ceiling --frontier`` from end to end, on generated scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t4spp.cli import main
from t4spp.evaluation.ceiling import Candidate
from t4spp.evaluation.frontier import measure_frontier, on_front, summaries
from t4spp.evaluation.frontier_config import FrontierConfig, load_frontier
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme, build_tokenizer
from t4spp.types import Sample, Target

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((PROJECT / "configs" / "frontier").glob("*.yaml"))

CONFIG = """
name: small
recipes:
  shapes:
    name: refshapes
    limit: 6
  more shapes:
    name: refshapes
    params: {seed: 5}
    limit: 4
schemes:
  bricks:
    name: next-brick
    vary: {grid: [4, 16]}
  outline:
    name: polygon
    params: {bins: 32}
    vary: {max_vertices: [16]}
"""


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    build_tokenizer(()).save_pretrained(str(tmp_path / "tokenizer"))
    return str(tmp_path / "tokenizer")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_frontier_writes_tables_plots_and_json(
    config: str, tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    common = ["--frontier", config, "--tokenizer", tokenizer, "--json"]
    assert main(["ceiling", *common, "-o", str(folder), "--workers", "1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "frontier.json").read_text())
    assert list(printed["recipes"]) == ["shapes", "more shapes"]
    shapes = printed["recipes"]["shapes"]
    assert (shapes["num_samples"], shapes["num_empty"]) == (6, 0)
    assert [(point["line"], point["value"]) for point in shapes["points"]] == [
        ("bricks", 4), ("bricks", 16), ("outline", 16),
    ]  # fmt: skip
    coarse, fine, outline = shapes["points"]
    assert coarse["mean_iou"] < fine["mean_iou"] and coarse["mean_tokens"] < fine["mean_tokens"]
    assert coarse["contour_px"] > fine["contour_px"] > 0
    assert outline["mean_iou"] > 0.9 and outline["front"]
    assert outline["mean_tokens"] < fine["mean_tokens"]
    areas = fine["by"]["area"]
    assert sum(one["num_targets"] for one in areas.values()) == shapes["num_targets"]
    for name in ("frontier.png", "contour.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    for name in ("frontier.svg", "contour.svg"):
        assert "<svg" in (folder / name).read_text()
    assert "| bricks 16 |" in (folder / "frontier.md").read_text()
    assert list((folder / "by").glob("shapes-*.png"))

    assert main(["ceiling", *common, "-o", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_one_recipe_needs_no_config(
    tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["ceiling", "--frontier", "--recipe", "refshapes", "--limit", "2", "--workers", "1",
         "--scheme", "next-brick:grid=8", "--scheme", "polygon", "--tokenizer", tokenizer,
         "-o", str(tmp_path / "out")]
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("refshapes: ") and "each alone" in lines[0]
    assert lines[1].split()[:2] == ["scheme", "tokens"]
    assert [line.split()[0] for line in lines[2:4]] == ["next-brick:grid=8", "polygon"]


def test_set_changes_a_value_of_the_config(config: str) -> None:
    changed = load_frontier(
        config, ["recipes.shapes.limit=3", "schemes.bricks.vary.grid=[2]"], load_catalogue()
    )
    assert changed.recipes["shapes"].limit == 3
    assert [point.params for point in changed.schemes["bricks"].points()] == [{"grid": 2}]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_frontier_is_valid_and_says_how_to_launch_it(path: Path) -> None:
    assert isinstance(load_frontier(path, (), load_catalogue()), FrontierConfig)
    assert f"t4spp ceiling --frontier {path.relative_to(PROJECT)}" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--frontier"], "--frontier --recipe NAME"),
        (["--frontier", "no.yaml"], "no.yaml"),
        (["--frontier", "CONFIG", "--scheme", "polygon"], "--scheme does not go with"),
        (["--frontier", "CONFIG", "--limit", "0"], "--limit 0"),
        (["--frontier", "CONFIG", "--workers", "0"], "--workers 0"),
        (["--frontier", "CONFIG", "--set", "schemes.bricks.name=next-bricks"], "'next-brick'?"),
        (["--frontier", "CONFIG", "--set", "schemes.bricks.params.gird=2"], "'grid'?"),
        (["--frontier", "CONFIG", "--set", "schemes.bricks.vary.grid=[]"], "grid has no value"),
        (["--frontier", "CONFIG", "--set", "recipes.shapes.name=refshape"], "'refshapes'?"),
        (["--frontier", "CONFIG", "--set", "recipes.shapes.split=no"], "recipe 'refshapes' has"),
        (["--recipe", "refshapes", "--scheme", "polygon", "--workers", "2"], "belongs to"),
        (["--recipe", "refshapes"], "--scheme missing"),
    ],
)
def test_mistakes_are_told_in_one_message(
    arguments: list[str],
    message: str,
    config: str,
    tokenizer: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [config if argument == "CONFIG" else argument for argument in arguments]
    output = ["-o", str(tmp_path / "out")] if "--frontier" in given else []
    code = main(["ceiling", *given, "--tokenizer", tokenizer, *output])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert error.count("error:") == 1


NOTHING = """
from pydantic import BaseModel, ConfigDict

from t4spp.components import Component, Recipe
from t4spp.hookspecs import hookimpl
from t4spp.types import Sample


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Recipe):
    splits = ("val",)

    def verify(self, root=None):
        return []

    def samples(self, split):
        return [Sample(id="a", size=(8, 8), prompt="dog", targets=(), labels=("dog",))]


@hookimpl
def t4spp_recipes():
    return [Component(name="nothing", config=Params, build=lambda params: Nothing())]
"""


def test_recipe_without_a_target_is_the_users_mistake(
    tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "nothing.py"
    plugin.write_text(NOTHING)
    code = main(
        ["ceiling", "--frontier", "--recipe", "nothing", "--scheme", "polygon",
         "--plugin-file", str(plugin), "--tokenizer", tokenizer, "-o", str(tmp_path / "out")]
    )  # fmt: skip
    error = capsys.readouterr().err
    assert code == 2
    assert "'nothing' hold no target" in error


# The measurement


def candidate(name: str, **params: Any) -> Candidate:
    return Candidate(
        name=name, params=params, scheme=build_scheme(name, **params), count_tokens=len
    )


def sample(*masks: np.ndarray) -> Sample:
    return Sample(
        id="a",
        size=(64, 64),
        prompt="dog",
        targets=tuple(Target(label="dog", mask=mask) for mask in masks),
    )


def square(side: int) -> np.ndarray:
    mask = np.zeros((64, 64), dtype=np.bool_)
    mask[1 : 1 + side, 1 : 1 + side] = True
    return mask


def test_means_are_those_of_the_targets_and_bins_part_them() -> None:
    empty = np.zeros((64, 64), dtype=np.bool_)
    measured = measure_frontier(
        [sample(square(2), empty), sample(square(60))], [candidate("image-rrle", grid=4)]
    )
    assert measured.num_empty == 1
    assert measured.kept.tolist() == [[False], [True]]
    found = summaries(measured, 0)
    assert found["num_targets"] == 2 and found["lost"] == 0.5
    lost = found["by"]["area"]["small: below 32²"]
    assert (lost["num_targets"], lost["mean_iou"], lost["lost"]) == (1, 0.0, 1.0)
    assert lost["contour_px"] == pytest.approx(64 * 2**0.5)
    assert lost["contour_share"] == pytest.approx(1.0)
    kept = found["by"]["area"]["medium: 32² to 96²"]
    assert kept["mean_iou"] == pytest.approx(3600 / 4096)
    assert found["mean_iou"] == pytest.approx(kept["mean_iou"] / 2)


def test_what_cannot_be_written_scores_nothing_and_is_counted() -> None:
    refused = Sample(
        id="a", size=(8, 8), prompt="x", targets=(Target(label="a|b", mask=np.ones((8, 8), bool)),)
    )
    found = summaries(measure_frontier([refused], [candidate("polygon")]), 0)
    assert (found["mean_iou"], found["refused"], found["mean_tokens"]) == (0.0, 1, None)


def test_front_holds_what_nothing_beats() -> None:
    points = [
        {"mean_tokens": tokens, "mean_iou": iou}
        for tokens, iou in ((10, 0.8), (20, 0.7), (20, 0.9), (30, 0.9), (None, 0.0))
    ]
    assert on_front(points) == [True, False, True, False, False]
