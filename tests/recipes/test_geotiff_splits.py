"""Which ground trains and which is held out: blocks, strips, gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_geo import NORTH, UTM, WEST, square, write_labels, write_scene

from t4spp.errors import RecipeError
from t4spp.geo.scenes import Scene
from t4spp.geo.windows import WindowView, plan_windows
from t4spp.plugins import load_catalogue

pytest.importorskip("rasterio", reason="geotiff needs the extra 'geo'")
shapely = pytest.importorskip("shapely", reason="geotiff needs the extra 'geo'")


@pytest.fixture
def build(tmp_path):
    catalogue = load_catalogue(only=["recipes-remote-sensing"])

    def make(**params):
        given = {"scenes": tmp_path / "scenes", "labels": tmp_path / "labels.geojson"} | params
        return catalogue.build("recipe", "geotiff", given)

    return make


@pytest.fixture
def quarter(tmp_path):
    """Four columns and three rows of scenes, and a building across the second border."""
    for column in range(4):
        for row in range(3):
            write_scene(tmp_path / "scenes" / f"t-{column}-{row}.tif", column=column, row=row)
    write_labels(tmp_path / "labels.geojson", square(180, 10, 200, 20), square(0, 0, 9, 9))


@pytest.mark.parametrize(
    ("side", "held"),
    [
        ("east", {"t-3-0", "t-3-1", "t-3-2"}),
        ("west", {"t-0-0", "t-0-1", "t-0-2"}),
        ("north", {"t-0-0", "t-1-0", "t-2-0", "t-3-0"}),
        ("south", {"t-0-2", "t-1-2", "t-2-2", "t-3-2"}),
    ],
)
def test_val_is_a_strip_of_whole_scenes_at_one_side(build, quarter, side, held):
    recipe = build(split={"by": "side", "val_share": 0.3, "side": side})
    assert recipe.splits == ("all", "train", "val")
    assert {sample.id for sample in recipe.samples("val")} == held
    train = {sample.id for sample in recipe.samples("train")}
    assert len(train) == 12 - len(held)
    assert not train & held
    assert len(recipe.samples("all")) == 12


def test_gap_keeps_train_away_and_what_lies_in_both_is_counted(build, quarter):
    split = {"by": "side", "val_share": 0.25}
    recipe = build(split=split, windows={"size": 32})
    assert len(recipe.samples("train")) == 9 * 4
    assert recipe.counters()["targets_in_train_and_held_out"] == 1
    recipe = build(split=split | {"gap_m": 10.0}, windows={"size": 32})
    assert len(recipe.samples("train")) == 9 * 4 - 6
    assert recipe.counters()["windows_in_gap"] == 6
    assert "targets_in_train_and_held_out" not in recipe.counters()


def test_scenes_in_one_line_cannot_be_parted_across_it(build, tmp_path):
    for row in range(3):
        write_scene(tmp_path / "scenes" / f"{row}.tif", row=row)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match="3 scenes lie in one line from west to east"):
        build(split={"by": "side", "val_share": 0.3}).samples("train")
    write_scene(tmp_path / "scenes" / "0.tif", column=0.1)
    with pytest.raises(RecipeError, match="no window of 'train' ends before the strip at the east"):
        build(split={"by": "side", "val_share": 0.5}).samples("train")
    write_scene(tmp_path / "scenes" / "0.tif")
    north = build(split={"by": "side", "val_share": 0.3, "side": "north"})
    assert len(north.samples("val")) == 1


def test_blocks_of_one_scene_are_whole_windows_so_that_none_is_lost(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif", side=512)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    split = {"val_share": 0.25, "test_share": 0.125}
    recipe = build(split=split, windows={"size": 32})
    assert recipe.splits == ("all", "train", "val", "test")
    num = {name: len(recipe.samples(name)) for name in recipe.splits}
    assert num == {"all": 256, "train": 160, "val": 64, "test": 32}
    assert "windows_in_gap" not in recipe.counters()
    other = build(split=split, windows={"size": 32}, seed=1)
    assert {s.id for s in other.samples("val")} != {s.id for s in recipe.samples("val")}
    again = build(split=split, windows={"size": 32})
    assert [s.id for s in again.samples("val")] == [s.id for s in recipe.samples("val")]


def test_too_few_blocks_are_an_error_that_says_what_to_change(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif", side=64)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(
        RecipeError, match=r"the area has 1 blocks, too few to hold out val.*block_m"
    ):
        build(split={"val_share": 0.2, "block_m": 100}, windows={"size": 32}).samples("val")
    with pytest.raises(RecipeError, match=r"no window is left in 'train'.*gap_m"):
        build(split={"val_share": 0.2, "gap_m": 100}, windows={"size": 16}).samples("val")


@given(
    places=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=6, unique=True
    ),
    val=st.floats(0.05, 0.6),
    test=st.sampled_from([0.0, 0.2]),
    by=st.sampled_from(["blocks", "side"]),
    block_m=st.sampled_from([None, 20.0, 57.0]),
    gap=st.sampled_from([0.0, 5.0, 13.0]),
    angle=st.sampled_from([0.0, 30.0]),
    stride=st.sampled_from([16, 23]),
    crs=st.sampled_from([UTM, "EPSG:4326"]),
)
@settings(max_examples=40, deadline=None)
def test_train_and_held_out_ground_never_meet(
    places, val, test, by, block_m, gap, angle, stride, crs
):
    """Scenes that lie anywhere, also over each other, also turned, also in degrees."""
    from t4spp_recipes.remote_sensing.configs import SplitConfig
    from t4spp_recipes.remote_sensing.splitting import split_windows

    if by == "side":
        test, block_m = 0.0, None
    unit = 0.5 if crs == UTM else 0.5 / 111_000
    west, north = (WEST, NORTH) if crs == UTM else (12.0, 45.0)
    cosine, sine = unit * np.cos(np.radians(angle)), unit * np.sin(np.radians(angle))
    scenes = [
        Scene(
            path=Path(f"{x}-{y}.tif"),
            name=f"{x}-{y}",
            size=(200, 180),
            crs=crs,
            transform=(cosine, sine, west + 2 * unit * x, sine, -cosine, north + 2 * unit * y),
            nodata=None,
            num_bands=3,
            dtypes=("uint8",) * 3,
            has_gaps=False,
            stamp=(0, 0),
        )
        for x, y in places
    ]
    grids = [plan_windows(scene, WindowView(size=32, stride=stride)) for scene in scenes]
    scene_of = np.concatenate([np.full(len(g), i, np.int32) for i, g in enumerate(grids)])
    number = np.concatenate([np.arange(len(grid)) for grid in grids])
    config = SplitConfig(by=by, val_share=val, test_share=test, block_m=block_m, gap_m=gap)
    try:
        found = split_windows(scenes, grids, scene_of, number, config, seed=0)
    except RecipeError:
        return
    ground = {}
    for name in ("train", "val", "test"):
        shown = []
        for index in np.flatnonzero(found == name):
            scene = scenes[scene_of[index]]
            box = grids[scene_of[index]][number[index]].box
            inner = type(box)(
                y0=box.y0, x0=box.x0, y1=min(box.y1, 200), x1=min(box.x1, 180)
            )  # padding shows no ground
            shown.append(shapely.Polygon(scene.outline(inner)))
        ground[name] = shapely.union_all(shown)
    assert not ground["train"].is_empty and not ground["val"].is_empty
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = ground[one].intersection(ground[other]).area
        assert shared <= 0.1 * unit * unit * 200
    if gap and angle == 0 and crs == UTM:
        apart = ground["train"].distance(ground["val"])
        assert apart >= gap - 0.05
