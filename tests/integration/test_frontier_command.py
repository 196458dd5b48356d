"""``t4spp ceiling --frontier`` from end to end, on generated scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

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


def test_small_targets_are_left_out_where_asked(
    config: str, tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["ceiling", "--frontier", config, "--tokenizer", tokenizer, "--workers", "1"]
    large = [*common, "--set", "recipes.shapes.min_share=0.03", "-o", str(tmp_path / "out")]
    assert main([*large, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["recipes"]
    shapes, others = found["shapes"], found["more shapes"]
    assert (shapes["min_share"], others["min_share"]) == (0.03, 0.0)
    assert shapes["num_small"] > 0 == others["num_small"]
    assert shapes["num_targets"] == sum(
        one["num_targets"] for one in shapes["points"][0]["by"]["share"].values()
    )
    assert "below 1 %" not in shapes["points"][0]["by"]["share"]
    assert main([*common, "--min-share", "0.03", "--json", "-o", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)["recipes"]
    assert found["shapes"] == shapes and found["more shapes"]["min_share"] == 0.03


def test_any_title_makes_a_frontier_and_old_break_downs_go(tokenizer: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "by").mkdir(parents=True)
    (folder / "by" / "gone-area.png").write_text("of an earlier recipe")
    (folder / "by" / "thesis.png").write_text("mine")
    path = tmp_path / "odd.yaml"
    path.write_text(
        r"""
name: 'a $\foo$'
recipes:
  '$\bar$ x|y': {name: refshapes, limit: 6}
  x/y: {name: refshapes, limit: 6, params: {seed: 5}}
  bar X Y: {name: refshapes, limit: 6}
schemes:
  '_hidden': {name: next-brick, vary: {grid: [2, 4]}}
  'a $\frac$|b': {name: next-brick, params: {grid: 8}}
"""
    )
    code = main(
        ["ceiling", "--frontier", str(path), "--tokenizer", tokenizer, "-o", str(folder),
         "--workers", "1"]
    )  # fmt: skip
    assert code == 0
    names = {picture.name for picture in (folder / "by").iterdir()}
    assert {"bar-x-y-area.png", "x-y-area.png", "bar-x-y-2-area.png", "thesis.png"} <= names
    assert "gone-area.png" not in names
    table = (folder / "frontier.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| a $")]
    assert rows and all(line.startswith(r"| a $\\frac$\|b |") for line in rows)


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


EMPTY = NOTHING.replace(
    'targets=(), labels=("dog",)',
    'targets=(Target(label="dog", mask=np.zeros((8, 8), dtype=bool)),)',
).replace("import Sample", "import Sample, Target\nimport numpy as np")


@pytest.mark.parametrize(
    ("source", "told"), [(NOTHING, "hold no target"), (EMPTY, "hold no target with a pixel")]
)
def test_recipe_without_a_target_or_of_empty_masks_is_the_users_mistake(
    source: str, told: str, tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "nothing.py"
    plugin.write_text(source)
    code = main(
        ["ceiling", "--frontier", "--recipe", "nothing", "--scheme", "polygon",
         "--plugin-file", str(plugin), "--tokenizer", tokenizer, "-o", str(tmp_path / "out")]
    )  # fmt: skip
    assert code == 2
    assert f"'nothing' {told}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "recipes.more shapes.split=no"], "recipes.more shapes.split: no: recipe"),
        (["--set", "recipes.more shapes.min_share=0.99"], "no target from 0.99 of its picture on"),
        (["-o", "FILE"], "cannot be made"),
        (["-o", "FILE/below"], "cannot be made"),
    ],
)
def test_what_would_fail_at_the_end_fails_before_anything_is_measured(
    arguments: list[str],
    message: str,
    config: str,
    tokenizer: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("measured first")

    monkeypatch.setattr("t4spp.evaluation.frontier.measure_frontier", measured)
    (tmp_path / "file").touch()
    given = [argument.replace("FILE", str(tmp_path / "file")) for argument in arguments]
    output = [] if "-o" in given else ["-o", str(tmp_path / "out")]
    code = main(["ceiling", "--frontier", config, "--tokenizer", tokenizer, *given, *output])
    error = capsys.readouterr().err
    assert (code, message in error) == (2, True), error


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


def border(mask: np.ndarray) -> np.ndarray:
    """Border pixels one by one: those with a 4-neighbour that is background or not there."""
    inside = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    around = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return np.array(
        [(y, x) for y, x in sorted(inside) if any((y + a, x + b) not in inside for a, b in around)]
    )


def test_contours_lie_as_far_apart_as_a_search_for_nearest_pixels_says() -> None:
    rng = np.random.default_rng(4)
    masks = []
    for _ in range(12):
        rows, columns = rng.integers(0, 40, 2)
        mask = np.kron(rng.random((6, 6)) < 0.5, np.ones((4, 4), bool))
        mask[0, 0] = True
        masks.append(np.zeros((64, 64), np.bool_))
        masks[-1][rows : rows + 24, columns : columns + 24] = mask
    one = candidate("next-brick", grid=4)
    found = measure_frontier([sample(*masks)], [one]).distances[:, 0]
    for mask, distance in zip(masks, found, strict=True):
        text = one.scheme.encode([Target(label="dog", mask=mask)], (64, 64))
        written = border(one.scheme.decode(text, (64, 64)).union("dog", (64, 64)))
        there, back = (
            np.mean(cKDTree(target).query(source)[0])
            for source, target in ((written, border(mask)), (border(mask), written))
        )
        assert distance == pytest.approx((there + back) / 2) and distance > 0


def test_words_and_small_targets_are_counted() -> None:
    words = Sample(
        id="w", size=(8, 8), prompt="what?", targets=(), kind="dialogue", answers=("it",)
    )
    measured = measure_frontier(
        [words, sample(square(2), square(60))], [candidate("polygon")], min_share=0.5
    )
    assert (measured.num_in_words, measured.num_small, len(measured.shapes)) == (1, 1, 1)


@given(
    st.lists(st.tuples(st.none() | st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12)
)
def test_front_is_the_points_that_no_other_beats_and_covers_every_point(
    spots: list[tuple[int | None, int]],
) -> None:
    points = [{"mean_tokens": tokens, "mean_iou": iou / 5} for tokens, iou in spots]
    front = on_front(points)
    kept = [spot for spot, on in zip(spots, front, strict=True) if on]
    for tokens, iou in kept:
        assert tokens is not None
        assert not any(t <= tokens and i >= iou and (t, i) != (tokens, iou) for t, i in kept if t)
    for (tokens, iou), on in zip(spots, front, strict=True):
        if tokens is not None:
            assert any(t <= tokens and i >= iou for t, i in kept if t)
            assert on == ((tokens, iou) in kept)
    assert any(front) == any(tokens is not None for tokens, _ in spots)


def test_front_holds_what_nothing_beats() -> None:
    points = [
        {"mean_tokens": tokens, "mean_iou": iou}
        for tokens, iou in ((10, 0.8), (20, 0.7), (20, 0.9), (30, 0.9), (None, 0.0))
    ]
    assert on_front(points) == [True, False, True, False, False]
