"""Generated scenes: what lies in them, their pixels, and the files."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError

from t4spp.errors import RecipeError
from t4spp_recipes.remote_sensing.geoshapes.files import ready_scenes, write_scenes
from t4spp_recipes.remote_sensing.geoshapes.layout import CLASSES, make_layout
from t4spp_recipes.remote_sensing.geoshapes.painting import Painter
from t4spp_recipes.remote_sensing.geoshapes.params import GeoScenesConfig

pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")

Orientation = Literal["north-up", "south-up", "rotated"]
SMALL = (320, 288)


def config(**params: Any) -> GeoScenesConfig:
    return GeoScenesConfig.model_validate({"num": 1, "size": SMALL} | params)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("seed", range(6))
def test_things_are_valid_lie_in_the_scene_and_do_not_overlap(seed: int) -> None:
    layout = make_layout((1024, 896), 0.5, (seed,))
    polygons = np.array([feature.polygon for feature in layout.features], dtype=object)
    assert shapely.is_valid(polygons).all()
    assert shapely.box(0, 0, 896, 1024).buffer(1e-6).contains(polygons).all()
    tree = shapely.STRtree(polygons)
    for one, other in tree.query(polygons, predicate="intersects").T.tolist():
        if one < other:
            assert polygons[one].intersection(polygons[other]).area < 1e-3


def test_every_class_is_there_with_its_attribute() -> None:
    layout = make_layout((1024, 1024), 0.5, (0, 0))
    found = Counter(feature.label for feature in layout.features)
    assert set(found) == set(CLASSES)
    own = {"building": "roof:material", "field": "crop", "road": "surface", "water": "water"}
    assert all(own[feature.label] in feature.properties for feature in layout.features)


def test_a_scene_much_larger_holds_more_and_several_rivers() -> None:
    small = make_layout((1024, 1024), 0.5, (0,))
    large = make_layout((4096, 8192), 0.5, (0,))
    assert len(large.features) > 20 * len(small.features)
    rivers = [f.polygon.centroid.x for f in large.features if f.properties.get("water") == "river"]
    assert max(rivers) - min(rivers) > 2000


def test_seeds_give_different_scenes_and_one_seed_the_same() -> None:
    def shapes(seed: int) -> list[str]:
        layout = make_layout((512, 512), 0.5, (seed,))
        return [feature.polygon.wkt for feature in layout.features]

    assert shapes(3) == shapes(3) != shapes(4)


def test_pixels_do_not_depend_on_the_order_of_painting() -> None:
    layout = make_layout((600, 700), 0.5, (1,))
    forward, backward = (Painter(layout, 0.5, (1,)) for _ in range(2))
    parts = forward.parts()
    assert [(part.height, part.width) for part in parts] == [
        (512, 512),
        (512, 188),
        (88, 512),
        (88, 188),
    ]
    one = [forward.paint(part) for part in parts]
    two = [backward.paint(part) for part in reversed(parts)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_classes_look_like_themselves() -> None:
    layout = make_layout((512, 512), 0.5, (0,))
    painter = Painter(layout, 0.5, (0,), num_bands=4)
    (part,) = painter.parts()
    pixels = painter.paint(part).astype(np.float64)
    rows, columns = np.mgrid[0:512, 0:512] + 0.5
    means = {}
    for look in ("water", "maize", "clay_tiles"):
        shapes = shapely.union_all([f.polygon for f in layout.features if f.look == look])
        means[look] = pixels[:, shapely.contains_xy(shapes, columns, rows)].mean(axis=1)
    red, _, blue, infrared = means["water"]
    assert blue > red + 30
    assert infrared < 40
    assert means["maize"][3] > 150
    assert means["clay_tiles"][0] > means["clay_tiles"][2] + 50


@pytest.mark.parametrize("orientation", ["north-up", "south-up", "rotated"])
def test_vectors_line_up_with_the_pixels_in_every_orientation(
    orientation: Orientation, tmp_path: Path
) -> None:
    from t4spp.geo.rasterising import SceneShapes, mask_of
    from t4spp.geo.scenes import read_scene
    from t4spp.geo.vectors import read_layer

    (path,) = write_scenes(config(orientation=orientation), tmp_path)
    scene, layer = read_scene(path), read_layer(path.with_suffix(".gpkg"))
    assert (scene.size, scene.crs, layer.crs) == (SMALL, "EPSG:32633", "EPSG:32633")
    assert scene.pixel_size == pytest.approx((0.5, 0.5), rel=1e-3)
    found = SceneShapes(layer.geometries, layer.crs, scene)
    layout = make_layout(SMALL, 0.5, (0, 0))
    for name in CLASSES:
        shapes = [
            shape
            for shape, index in zip(found.shapes, found.indices, strict=True)
            if layer.properties[index]["class"] == name
        ]
        own = [feature.polygon for feature in layout.features if feature.label == name]
        difference = mask_of(shapes, scene.whole) ^ mask_of(own, scene.whole)
        assert np.count_nonzero(difference) <= 2  # a vertex on a pixel's centre, rounded


def test_orientations_hold_the_same_pixels(tmp_path: Path) -> None:
    import rasterio

    read = []
    for orientation in ("north-up", "south-up", "rotated"):
        folder = tmp_path / orientation
        folder.mkdir()
        (path,) = write_scenes(config(orientation=orientation), folder)
        with rasterio.open(path) as dataset:
            read.append((dataset.read(), dataset.transform))
    assert np.array_equal(read[0][0], read[1][0])
    assert np.array_equal(read[0][0], read[2][0])
    assert [transform.e > 0 for _, transform in read] == [False, True, False]
    assert read[2][1].b != 0


def test_gaps_bands_and_twelve_bits_are_as_asked(tmp_path: Path) -> None:
    import rasterio

    (path,) = write_scenes(config(gaps=True, bands=4, dtype="uint16"), tmp_path)
    with rasterio.open(path) as dataset:
        pixels = dataset.read()
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (4, "uint16", 0)
    empty = (pixels == 0).all(axis=0)
    assert empty[0, 0]
    assert not empty[-1, -1]
    assert empty.mean() == pytest.approx(0.045, abs=0.003)
    assert pixels[:, ~empty].min() > 180
    assert pixels.max() < 4096


def test_same_files_byte_by_byte_wherever_they_are_written(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_scenes(config(num=2), tmp_path / name)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert list(one) == [
        "geoshapes-00.gpkg",
        "geoshapes-00.tif",
        "geoshapes-01.gpkg",
        "geoshapes-01.tif",
    ]
    assert one == two
    assert one["geoshapes-00.tif"] != one["geoshapes-01.tif"]


@pytest.mark.parametrize("orientation", ["north-up", "rotated"])
def test_scenes_lie_apart(orientation: Orientation, tmp_path: Path) -> None:
    from t4spp.geo.scenes import read_scene

    paths = write_scenes(config(num=3, orientation=orientation), tmp_path)
    outlines = [shapely.Polygon(read_scene(path).outline()) for path in paths]
    assert all(a.distance(b) > 200 for a, b in itertools.combinations(outlines, 2))


def test_cache_is_written_once_and_left_alone(tmp_path: Path) -> None:
    first = ready_scenes(config(num=2), tmp_path)
    stamps = [path.stat().st_mtime_ns for path in first]
    assert ready_scenes(config(num=2), tmp_path) == first
    assert [path.stat().st_mtime_ns for path in first] == stamps
    assert ready_scenes(config(seed=1), tmp_path)[0].parent != first[0].parent
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_cache_that_lost_a_file_says_so(tmp_path: Path) -> None:
    first = ready_scenes(config(num=2), tmp_path)
    first[1].unlink()
    with pytest.raises(RecipeError, match=r"lacks geoshapes-01\.tif.*Remove the folder"):
        ready_scenes(config(num=2), tmp_path)


def test_folder_that_another_process_completed_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t4spp_recipes.remote_sensing.geoshapes import files

    def beaten(own: GeoScenesConfig, folder: Path) -> tuple[Path, ...]:
        paths = write_scenes(own, folder)
        target = tmp_path / f"geoshapes-{files.fingerprint(own)}"
        target.mkdir()
        write_scenes(own, target)
        return paths

    monkeypatch.setattr(files, "write_scenes", beaten)
    (path,) = ready_scenes(config(), tmp_path)
    assert path.is_file()
    assert [found.name for found in tmp_path.iterdir()] == [path.parent.name]


def test_cache_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(RecipeError, match=r"cannot be written into .*Make room, or name another"):
        ready_scenes(config(), blocked)


def test_disk_that_fills_leaves_no_half_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from t4spp_recipes.remote_sensing.geoshapes import files

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_layer", full)
    with pytest.raises(RecipeError, match="No space left on device"):
        ready_scenes(config(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "geoshapes-00.gpkg").write_text("mine")
    with pytest.raises(RecipeError, match=r"geoshapes-00\.gpkg exists and is left alone"):
        write_scenes(config(), tmp_path)
    assert (tmp_path / "geoshapes-00.gpkg").read_text() == "mine"


@pytest.mark.parametrize("size", [(32, 512), (40_000, 40_000)])
def test_scene_too_small_or_too_large_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="size: "):
        config(size=size)
