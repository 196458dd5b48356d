"""What a scene's prediction writes: the mask, the layers, the overview; and how it is measured."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import shapely

from t4spp.cli import main
from t4spp.errors import GeoError
from t4spp.geo import cog
from t4spp.geo.blending import border_weights
from t4spp.geo.cog import MaskFile
from t4spp.geo.crs import area_m2
from t4spp.geo.layers import ObjectLayers
from t4spp.geo.overview import Overview
from t4spp.geo.predicting import check_rows
from t4spp.geo.scenes import read_scene
from t4spp.geo.stitching import SceneObject, Strip
from t4spp.geo.tracing import simplified, trace
from t4spp.geo.vectors import read_layer
from t4spp.geo.windows import WindowView, plan_windows
from t4spp.scene_prediction.files import OutputFolder
from t4spp.types import Box
from tests.support_geo import write_scene

ZONE_1 = (30.0, 0, 166_021.44, 0, -30.0, 1500.0)
"""Of a scene of 30 m a pixel on the equator whose column 0 is at 180 degrees, in UTM zone 1."""


@pytest.fixture
def scene(tmp_path):
    return read_scene(write_scene(tmp_path / "scene.tif", np.zeros((3, 70, 90), np.uint8)))


def _strips(masks, valid, heights):
    top = 0
    for height in heights:
        rows = slice(top, top + height)
        yield Strip(top=top, masks=masks[:, rows], valid=valid[rows])
        top += height


def test_a_mask_written_in_strips_reads_back_band_by_band(scene, tmp_path):
    rng = np.random.default_rng(0)
    masks = rng.random((3, 70, 90)) < 0.5
    valid = rng.random((70, 90)) < 0.9
    names = ["the roads", "a & b <c>", "Gebäude"]
    with MaskFile(tmp_path, scene, names) as file:
        for strip in _strips(masks, valid, (1, 30, 39)):
            file.rows(strip)
        file.finish(tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as written:
        assert written.descriptions == tuple(names)
        assert np.array_equal(written.read(), np.where(valid, masks, 255))
        assert written.nodatavals == (255, 255, 255)
    assert file.num_pixels == dict(zip(names, masks.sum(axis=(1, 2)).tolist(), strict=True))
    assert file.num_valid == np.count_nonzero(valid)
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "mask.tif"}


@pytest.mark.parametrize("transform", [(0.5, 0, 3e5, 0, 0.5, 4e6), (0.4, 0.3, 3e5, 0.3, -0.4, 4e6)])
def test_a_mask_keeps_south_up_and_rotated_transforms(tmp_path, transform):
    scene = read_scene(
        write_scene(tmp_path / "s.tif", np.zeros((1, 20, 30), np.uint8), transform=transform)
    )
    masks = np.zeros((1, 20, 30), dtype=np.bool_)
    with MaskFile(tmp_path, scene, ["x"]) as file:
        for strip in _strips(masks, np.ones((20, 30), np.bool_), (20,)):
            file.rows(strip)
        file.finish(tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as written:
        assert tuple(written.transform)[:6] == pytest.approx(transform)


def test_a_mask_that_cannot_be_written_is_an_error_and_not_half_there(scene, tmp_path, monkeypatch):
    import rasterio.shutil

    def full(source, partial, **options):
        partial.write_bytes(b"half")
        raise rasterio.errors.RasterioIOError("Write error at scanline 0")

    monkeypatch.setattr(rasterio.shutil, "copy", full)
    masks = np.zeros((1, 70, 90), dtype=np.bool_)
    with MaskFile(tmp_path, scene, ["x"]) as file:
        for strip in _strips(masks, np.ones((70, 90), np.bool_), (70,)):
            file.rows(strip)
        with pytest.raises(GeoError, match=r"mask\.tif cannot be written.*MB are free"):
            file.finish(tmp_path / "mask.tif")
    assert not list(tmp_path.glob("mask.tif*"))


def test_missing_rows_are_noticed(scene, tmp_path):
    strips = list(
        _strips(np.zeros((1, 70, 90), np.bool_), np.ones((70, 90), np.bool_), (30, 30, 10))
    )
    with MaskFile(tmp_path, scene, ["x"]) as file:
        file.rows(strips[0])
        with pytest.raises(ValueError, match="rows from 60 on do not follow row 30"):
            file.rows(strips[2])
        with pytest.raises(ValueError, match="30 rows of 70"):
            file.finish(tmp_path / "mask.tif")


def test_layers_are_written_in_batches_as_they_come(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("t4spp.geo.layers.BATCH", 3)
    with ObjectLayers(tmp_path, scene, ["a", "b"], simplify=0) as layers:
        for number in range(8):
            box = shapely.box(number * 10, 5, number * 10 + 4, 9)
            layers.add(
                [
                    SceneObject(
                        label="ab"[number % 2], outline=box, num_pixels=16, num_windows=2, score=0.9
                    )
                ]
            )
        layers.finish()
    package, geojson = read_layer(layers.package), read_layer(layers.geojson)
    assert [row["object"] for row in package.properties] == list(range(1, 9))
    assert [row["label"] for row in geojson.properties] == list("abababab")
    assert layers.num_objects == {"a": 4, "b": 4}
    assert dict(package.properties[0]) == {
        "object": 1,
        "label": "a",
        "area_m2": pytest.approx(4.0, rel=0.001),
        "windows": 2,
        "score": 0.9,
        "pixels": 16,
    }


def _geojson(folder, scene, *boxes):
    with ObjectLayers(folder, scene, ["a"], simplify=0) as layers:
        layers.add(
            [
                SceneObject(label="a", outline=box, num_pixels=1, num_windows=1, score=0.9)
                for box in boxes
            ]
        )
        layers.finish()
    features = json.loads(layers.geojson.read_text())["features"]
    return [shapely.from_geojson(json.dumps(one["geometry"])) for one in features], layers


def test_objects_across_the_antimeridian_are_cut_there_in_geojson(tmp_path):
    a, b, c, d, e, f = ZONE_1
    path = write_scene(
        tmp_path / "scene.tif", side=100, crs="EPSG:32601", transform=(a, b, c - 50 * a, d, e, f)
    )
    across, west, east = (shapely.box(x, 20, x + 20, 60) for x in (40, 10, 70))
    across = across.difference(shapely.box(48, 30, 52, 40))
    found, layers = _geojson(tmp_path, read_scene(path), across, west, east)
    assert [one.geom_type for one in found] == ["MultiPolygon", "Polygon", "Polygon"]
    sides = sorted(part.bounds[0::2] for part in found[0].geoms)
    assert sides == [
        (-180, pytest.approx(-180 + 10 * 30 / 111_320, abs=1e-4)),
        (pytest.approx(180 - 10 * 30 / 111_320, abs=1e-4), 180),
    ]
    assert 179.9 < found[1].bounds[0] < found[1].bounds[2] < 180
    assert -180 < found[2].bounds[0] < found[2].bounds[2] < -179.9
    areas = area_m2(found, "EPSG:4326")
    written = [row["area_m2"] for row in read_layer(layers.package).properties]
    assert areas == pytest.approx(written, rel=1e-4)
    assert all(one.is_valid for one in found)


def test_longitudes_beyond_180_are_brought_back_in_geojson(tmp_path):
    path = write_scene(tmp_path / "s.tif", crs="EPSG:4326", transform=(1, 0, 150, 0, -1, 30))
    found, _ = _geojson(tmp_path, read_scene(path), shapely.box(20, 5, 40, 10))
    assert sorted(part.bounds for part in found[0].geoms) == [
        (-180, 20, -170, 25),
        (170, 20, 180, 25),
    ]


@pytest.mark.parametrize(
    ("crs", "pixel", "corner"),
    [("EPSG:4326", 5, (-180, 90)), ("EPSG:3857", 500_000, (-18e6, 18e6))],
)
def test_objects_wider_than_half_the_earth_stay_whole(tmp_path, crs, pixel, corner):
    path = write_scene(
        tmp_path / "s.tif",
        np.zeros((3, 36, 72), np.uint8),
        crs=crs,
        transform=(pixel, 0, corner[0], 0, -pixel, corner[1]),
    )
    (found,), _ = _geojson(tmp_path, read_scene(path), shapely.box(1, 20, 70, 30))
    assert found.geom_type == "Polygon"
    assert found.bounds[2] - found.bounds[0] > 250


def test_outlines_lose_the_stairs_and_keep_the_area():
    numbers = np.tri(60, 60, dtype=np.int32)
    ((outline,),) = trace(numbers, 100).values()
    (same,) = simplified([outline], 0.0)
    (smooth,) = simplified([outline], 1.0)
    assert same.area == outline.area == numbers.sum()
    assert outline.bounds == (0, 100, 60, 160)
    assert len(smooth.exterior.coords) < 10 < len(outline.exterior.coords)
    assert smooth.area == pytest.approx(outline.area, rel=0.03)


def test_numbers_that_meet_at_a_corner_are_two_valid_polygons():
    numbers = np.zeros((4, 4), dtype=np.int32)
    numbers[:2, :2] = 7
    numbers[2:, 2:] = 7
    parts = trace(numbers, 0)[7]
    assert [part.area for part in parts] == [4, 4]


@pytest.mark.parametrize(("size", "side"), [((300, 200), 100), ((90, 70), 100), ((257, 1023), 64)])
def test_an_overview_of_windows_is_the_scene_made_smaller(size, side):
    rows, columns = np.indices(size)
    image = np.stack([rows * 255 // size[0], columns * 255 // size[1], rows * 0], axis=2)
    overview = Overview(size, side)
    for y0 in range(0, size[0], 48):
        for x0 in range(0, size[1], 48):
            window = np.zeros((64, 64, 3), dtype=np.uint8)
            part = image[y0 : y0 + 64, x0 : x0 + 64]
            window[: part.shape[0], : part.shape[1]] = part
            valid = np.zeros((64, 64), dtype=np.bool_)
            valid[: part.shape[0], : part.shape[1]] = True
            overview.add(Box(y0=y0, x0=x0, y1=y0 + 64, x1=x0 + 64), window, valid)
    assert max(overview.size) <= max(side, 1)
    assert overview.valid.all()
    down, across = size[0] / overview.size[0], size[1] / overview.size[1]
    wanted_rows = (np.arange(overview.size[0]) + 0.5) * down * 255 / size[0]
    wanted_columns = (np.arange(overview.size[1]) + 0.5) * across * 255 / size[1]
    off = 255 * max(down / size[0], across / size[1]) + 3
    assert np.abs(overview.image[..., 0] - wanted_rows[:, None]).max() <= off
    assert np.abs(overview.image[..., 1] - wanted_columns).max() <= off


def test_windows_too_tall_for_the_memory_are_refused(scene, monkeypatch):
    monkeypatch.setattr("t4spp.geo.predicting.MAX_ROWS_BYTES", 200_000)
    grid = plan_windows(scene, WindowView(size=64))
    check_rows(grid, 1)
    with pytest.raises(GeoError, match="Choose smaller windows, or fewer phrases"):
        check_rows(grid, 10)


def test_an_output_folder_appears_whole_and_removes_what_is_stale(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "difference.png").write_text("stale")
    folder = OutputFolder(out, resume=False, overwrite=True)
    folder.begin()
    for name in ("mask.tif", "scene.json"):
        (folder.work / name).write_text(name)
    folder.commit()
    assert {path.name for path in out.iterdir()} == {"mask.tif", "scene.json"}


def test_weights_of_all_windows_leave_no_pixel_without():
    whole = sum(
        np.pad(border_weights(s, s + 16, 50), (max(s, 0), 50 - min(s + 16, 50)))
        for s in range(0, 50, 16)
    )
    assert (whole > 0).all()
    assert cog.NODATA == 255


def test_bench_scene_prints_its_ratio_and_memory(tmp_path):
    arguments = ("--size", "600x700", "--window", "128", "--folder", str(tmp_path), "--json")
    command = [sys.executable, "-m", "t4spp", "bench", "scene", *arguments]
    # a process of its own: the peak is of the whole process, whatever it did before
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["scene"] == [600, 700]
    assert found["pixel_rate_ratio"] > 0
    assert 0 < found["peak_rss_mb"] < 1500
    assert found["windows"] == 6 * 7
    # two stretches of 96 pixels hold one thing each, those at the east and south are cut
    assert found["objects"] == 7 * 8
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"), [("--size", "100x5000"), ("--size", "big"), ("--stride", "300")]
)
def test_bench_scene_refuses_what_makes_no_scene(capsys, option, value):
    assert main(["bench", "scene", option, value]) == 2
    assert f"{option} {value}" in capsys.readouterr().err
