"""``t4spp predict SCENE.tif PHRASE... --run DIR -o OUT``: layers, resuming, bad input."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from t4spp.cli import main
from t4spp.geo.vectors import read_layer
from t4spp.scene_prediction import answering, files
from tests.support_geo import NORTH, UTM, WEST, square, write_labels, write_scene

PLUGIN = Path(__file__).resolve().parents[1] / "support_threshold.py"
FILES = {
    "mask.tif",
    "objects.gpkg",
    "objects.geojson",
    "quicklook.png",
    "map.html",
    "answers.jsonl",
    "answers.meta.json",
    "scene.json",
}
SQUARES = ((10, 12, 40, 42), (90, 60, 110, 130), (165, 150, 185, 180))
"""Rows and columns from and to of red ground. The second one crosses windows of 64; no window of
64 every 48 shows two of them, which the backbone would write as one region."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    _write_run(folder, {"name": "semantic-brick", "params": {"grid": 32}})
    return folder


def _write_run(folder, scheme, backbone=None, **generation):
    (folder / "config.yaml").write_text(
        json.dumps(
            {
                "name": "threshold",
                "scheme": scheme,
                "backbone": backbone or {"name": "threshold"},
                "data": {"recipe": {"name": "refshapes"}},
                "generation": {"batch_size": 4, **generation},
            }
        )
    )


def _pixels():
    pixels = np.full((3, 190, 200), 90, dtype=np.uint8)
    for y0, x0, y1, x1 in SQUARES:
        pixels[:, y0:y1, x0:x1] = np.array([220, 20, 20], np.uint8)[:, None, None]
    return pixels


def _truth():
    mask = np.zeros((190, 200), dtype=np.bool_)
    for y0, x0, y1, x1 in SQUARES:
        mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "scene.tif", _pixels())


def _predict(run, scene, *arguments, phrases=("red ground",)):
    return main(
        [
            "predict",
            str(scene),
            *phrases,
            *map(str, arguments),
            *("--run", str(run), "--plugin-file", str(PLUGIN)),
        ]
    )


def _mask(out):
    with rasterio.open(out / "mask.tif") as dataset:
        return dataset.read()


def _iou(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("stride", [16, 32, 48, 64])
def test_the_mask_lies_on_the_scenes_pixels_whatever_the_overlap(run, scene, tmp_path, stride):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64, "--stride", stride) == 0
    assert {path.name for path in out.iterdir()} == FILES
    with rasterio.open(out / "mask.tif") as mask, rasterio.open(scene) as source:
        assert (mask.crs, mask.transform, mask.shape) == (source.crs, source.transform, (190, 200))
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (mask.nodata, mask.descriptions) == (255, ("red ground",))
        values = mask.read(1)
    assert set(np.unique(values)) == {0, 1}
    assert _iou(values == 1, _truth()) > 0.98


def test_objects_are_whole_valid_and_measured_in_square_metres(run, scene, tmp_path):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64, "--simplify", 0) == 0
    layer = read_layer(out / "objects.gpkg")
    assert layer.crs == UTM
    assert not layer.counters  # nothing had to be repaired or left out
    rows = sorted(layer.properties, key=lambda row: row["area_m2"])
    areas = [(y1 - y0) * (x1 - x0) * 0.25 for y0, x0, y1, x1 in SQUARES]
    assert [row["area_m2"] for row in rows] == pytest.approx(sorted(areas), rel=0.02)
    assert [row["label"] for row in rows] == ["red ground"] * 3
    assert all(0.5 < row["score"] <= 1 for row in rows)
    crossing = next(row for row in rows if row["area_m2"] == pytest.approx(350, rel=0.02))
    assert crossing["windows"] > 1
    y0, x0, y1, x1 = SQUARES[0]
    wanted = shapely.box(WEST + x0 / 2, NORTH - y1 / 2, WEST + x1 / 2, NORTH - y0 / 2)
    assert max(shapely.intersection(layer.geometries, wanted).tolist(), key=shapely.area).area > 220


def test_geojson_holds_longitudes_and_latitudes_of_the_same_objects(run, scene, tmp_path):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 0
    text = json.loads((out / "objects.geojson").read_text())
    assert "crs" not in text
    layer, package = read_layer(out / "objects.geojson"), read_layer(out / "objects.gpkg")
    assert layer.crs == "EPSG:4326"
    assert [dict(row) for row in layer.properties] == [dict(row) for row in package.properties]
    from t4spp.geo.crs import area_m2, reproject

    moved = reproject(package.geometries, UTM, "EPSG:4326")
    apart = shapely.area(shapely.symmetric_difference(moved, layer.geometries))
    assert (apart < 0.001 * shapely.area(moved)).all()
    written = [row["area_m2"] for row in layer.properties]
    assert area_m2(layer.geometries, "EPSG:4326").tolist() == pytest.approx(written, rel=0.001)
    for feature in text["features"]:
        (ring, *_) = feature["geometry"]["coordinates"]
        assert shapely.Polygon(ring).exterior.is_ccw


def test_several_phrases_take_one_pass_and_a_band_each(run, scene, tmp_path, monkeypatch):
    read = []
    original = files.Overview.add
    monkeypatch.setattr(
        files.Overview, "add", lambda self, *args: (read.append(args[0]), original(self, *args))
    )
    out = tmp_path / "out"
    phrases = ("red ground", "<img src=x>")
    assert _predict(run, scene, "-o", out, "--window", 64, phrases=phrases) == 0
    record = json.loads((out / "scene.json").read_text())
    assert [phrase["label"] for phrase in record["phrases"]] == list(phrases)
    assert record["counters"]["windows"] == 16
    # the four windows of a grid row are cut out of one stretch, which is read once
    assert [(box.y0, box.height, box.width) for box in read] == [
        (top, 64, 208) for top in (0, 48, 96, 144)
    ]
    assert sum(record["answers"][name] for name in ("ok", "repaired", "invalid")) == 32
    masks = _mask(out)
    assert masks.shape[0] == 2
    assert np.array_equal(masks[0], masks[1])
    assert len(read_layer(out / "objects.gpkg").geometries) == 6


def test_the_map_asks_the_network_for_nothing_and_trusts_no_phrase(run, scene, tmp_path):
    out = tmp_path / "out"
    phrases = ("red ground", "<img src=x>", "a </script> tag")
    assert _predict(run, scene, "-o", out, "--window", 64, phrases=phrases) == 0
    page = (out / "map.html").read_text()
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<img src=x>" not in page
    assert "a </script> tag" not in page
    assert page.count("</script>") == 2


def test_no_data_is_carried_and_not_segmented(run, tmp_path):
    pixels = _pixels()
    pixels[:, :, 20:70] = 0
    scene = write_scene(tmp_path / "scene.tif", pixels, nodata=0)
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 0
    (mask,) = _mask(out)
    assert (mask[:, 20:70] == 255).all()
    assert (mask[:, :20] != 255).all()
    assert (mask[:, 70:] != 255).all()
    assert json.loads((out / "scene.json").read_text())["valid_pixels"] == 190 * 150


def test_windows_without_data_are_not_asked_and_counted(run, tmp_path):
    pixels = _pixels()
    pixels[:, :, 70:] = 0
    scene = write_scene(tmp_path / "scene.tif", pixels, nodata=0)
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64, "--stride", 64) == 0
    record = json.loads((out / "scene.json").read_text())
    assert record["counters"]["windows_without_data"] == 6
    assert record["counters"]["windows_padded"] == 6
    assert len((out / "answers.jsonl").read_text().splitlines()) == 6


def test_nan_is_no_data(run, tmp_path):
    pixels = _pixels().astype(np.float32)
    pixels[:, :30] = np.nan
    scene = write_scene(tmp_path / "scene.tif", pixels)
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 0
    (mask,) = _mask(out)
    assert (mask[:30] == 255).all()
    assert (mask[30:] != 255).all()


def test_small_objects_are_left_out_and_counted(run, scene, tmp_path):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64, "--least-area", 200) == 0
    record = json.loads((out / "scene.json").read_text())
    assert record["counters"]["objects_too_small"] == 1
    assert record["phrases"][0]["objects"] == len(read_layer(out / "objects.gpkg").geometries) == 2


def test_a_scene_with_nothing_found_has_empty_layers(run, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", np.full((3, 80, 80), 90, np.uint8))
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 0
    assert json.loads((out / "objects.geojson").read_text())["features"] == []
    with rasterio.open(out / "mask.tif") as mask:
        assert not mask.read().any()
    assert len(read_layer(out / "objects.gpkg").geometries) == 0


def test_a_scheme_with_one_region_a_label_has_connected_parts_as_objects(scene, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    _write_run(folder, {"name": "image-rrle", "params": {"grid": 64}})
    out = tmp_path / "out"
    assert _predict(folder, scene, "-o", out, "--window", 64) == 0
    assert json.loads((out / "scene.json").read_text())["objects"] == "parts"
    assert len(read_layer(out / "objects.gpkg").geometries) == 3


def _interrupting(monkeypatch, calls):
    """Ctrl-C at the call with this number; returns how many calls were answered."""
    answered = []
    original = answering.generate

    def generate(*args, **kwargs):
        if len(answered) == calls:
            raise KeyboardInterrupt
        answered.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(answering, "generate", generate)
    return answered


def test_an_interrupted_prediction_goes_on_where_it_stopped(run, scene, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert _predict(run, scene, "-o", whole, "--window", 64) == 0
    with monkeypatch.context() as patch:
        _interrupting(patch, 2)
        assert _predict(run, scene, "-o", out, "--window", 64) == 130
    assert [path.name for path in out.iterdir()] == [".unfinished"]
    left = {path.name for path in (out / ".unfinished").iterdir()}
    assert left == {"answers.jsonl", "answers.meta.json"}
    with (out / ".unfinished" / "answers.jsonl").open("a") as log:
        log.write('{"id": "cut')  # as a killed process leaves it
    with monkeypatch.context() as patch:
        answered = _interrupting(patch, None)
        assert _predict(run, scene, "-o", out, "--window", 64, "--resume") == 0
    assert len(answered) == 2
    assert json.loads((out / "scene.json").read_text())["resumed_answers"] == 8
    assert np.array_equal(_mask(out), _mask(whole))
    assert (out / "objects.geojson").read_bytes() == (whole / "objects.geojson").read_bytes()
    assert {path.name for path in out.iterdir()} == FILES


def test_what_was_interrupted_is_neither_lost_nor_mixed(run, scene, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        _interrupting(patch, 2)
        assert _predict(run, scene, "-o", out, "--window", 64) == 130
    capsys.readouterr()
    assert _predict(run, scene, "-o", out, "--window", 64) == 2
    assert "--resume" in capsys.readouterr().err
    assert _predict(run, scene, "-o", out, "--window", 64, "--resume", phrases=["roads"]) == 2
    assert "phrases was" in capsys.readouterr().err
    assert (out / ".unfinished" / "answers.jsonl").is_file()
    assert _predict(run, scene, "-o", out, "--window", 64, "--overwrite") == 0


def test_a_full_disk_leaves_no_layer_and_keeps_the_answers(
    run, scene, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"

    def full(self, strip):
        if strip.top:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.MaskFile, "rows", full)
        assert _predict(run, scene, "-o", out, "--window", 64) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {".unfinished"}
    assert {path.name for path in (out / ".unfinished").iterdir()} == {
        "answers.jsonl",
        "answers.meta.json",
    }
    assert _predict(run, scene, "-o", out, "--window", 64, "--resume") == 0
    assert {path.name for path in out.iterdir()} == FILES


def test_a_scene_that_changes_meanwhile_is_an_error_and_leaves_nothing(
    run, scene, tmp_path, monkeypatch, capsys
):
    original = answering.generate

    def generate(*args, **kwargs):
        os.utime(scene, ns=(1, 1))
        return original(*args, **kwargs)

    monkeypatch.setattr(answering, "generate", generate)
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 2
    assert "has changed since" in capsys.readouterr().err
    assert not out.exists()


def _all_nodata(path):
    write_scene(path, np.zeros((3, 64, 64), np.uint8), nodata=0)


def _all_nan(path):
    write_scene(path, np.full((3, 64, 64), np.nan, np.float32))


def _no_crs(path):
    write_scene(path, crs=None)


def _no_place(path):
    write_scene(path, crs='LOCAL_CS["site grid",UNIT["metre",1]]')


def _truncated(path):
    write_scene(path, np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:60_000])


def _text(path):
    path.write_text("no picture")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_all_nodata, "holds no data"),
        (_all_nan, "holds no data"),
        (_no_crs, "has no CRS"),
        (_no_place, "cannot be placed on the earth"),
        (_truncated, "truncated"),
        (_text, "cannot be read as a raster"),
        (lambda path: None, "cannot be read"),
    ],
)
def test_a_bad_scene_is_one_clear_error_and_leaves_nothing(run, tmp_path, capsys, make, message):
    scene = tmp_path / "scene.tif"
    make(scene)
    assert _predict(run, scene, "-o", tmp_path / "out", "--window", 64) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out").exists()


def test_outputs_are_replaced_on_request_only(run, scene, tmp_path, capsys):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, "--window", 64) == 0
    before = (out / "scene.json").read_bytes()
    assert _predict(run, scene, "-o", out, "--window", 64) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "scene.json").read_bytes() == before
    (out / "difference.png").write_bytes(b"of an earlier prediction")
    (out / "notes.txt").write_text("mine")
    assert _predict(run, scene, "-o", out, "--window", 64, "--overwrite") == 0
    assert {path.name for path in out.iterdir()} == FILES | {"notes.txt"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "8"], "--window 8: expected at least 16"),
        (["--window", "64", "--stride", "65"], "65 is more than size 64"),
        (["--simplify", "-1"], "--simplify -1.0: expected at least 0"),
        (["--truth-column", "class"], "give both"),
        (["--label", "a,b"], "2 labels for 1 phrases"),
        (["--live"], "--live shows one picture"),
        (["--truth", "missing.gpkg"], "missing.gpkg"),
        (["--stride", "500"], "error: --stride 500 is more than size 256 of a window"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_first(
    run, scene, tmp_path, capsys, arguments, message
):
    out = tmp_path / "out"
    assert _predict(run, scene, "-o", out, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_scene_without_a_place_is_refused_before_anything_is_asked(
    run, tmp_path, capsys, monkeypatch
):
    scene = tmp_path / "scene.tif"
    _no_place(scene)
    answered = _interrupting(monkeypatch, None)
    assert _predict(run, scene, "-o", tmp_path / "out", "--window", 64) == 2
    shown = capsys.readouterr().err
    assert "site grid" in shown
    assert "gdal_edit.py -a_srs" in shown
    assert not answered
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that takes no files")
def test_an_output_folder_that_cannot_be_made_is_the_users_mistake(run, scene, capsys):
    assert _predict(run, scene, "-o", "/proc/nix", "--window", 64) == 2
    shown = capsys.readouterr().err
    assert "error: the output folder -o /proc/nix cannot be made: No such file" in shown
    assert "internal" not in shown


def _layer(path):
    outlines = [square(x0, y0, x1, y1) for y0, x0, y1, x1 in SQUARES]
    return write_labels(path, *outlines, properties=[{"class": "red ground", "name": "x"}] * 3)


@pytest.mark.parametrize("through", ["folder", "link to the folder", "link to the file"])
@pytest.mark.parametrize("name", ["mask.tif", "objects.geojson", ".unfinished/truth.geojson"])
def test_an_input_is_never_replaced(run, scene, tmp_path, capsys, through, name):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    if name == "mask.tif":
        scene = scene.rename(out / name)
    else:
        _layer(out / name)
    before = (out / name).read_bytes()
    given, asked = out / name, out
    if through == "link to the folder":
        asked = tmp_path / "link"
        asked.symlink_to(out)
    elif through == "link to the file":
        given = tmp_path / f"given{given.suffix}"
        given.symlink_to(out / name)
    arguments = [given] if name == "mask.tif" else [scene, "--truth", given]
    code = _predict(run, *arguments[:1], "-o", asked, "--overwrite", *arguments[1:])
    assert code == 2
    assert f"{given} is read" in capsys.readouterr().err
    assert (out / name).read_bytes() == before


def test_another_truth_is_not_resumed_with(run, scene, tmp_path, monkeypatch, capsys):
    out, truth = tmp_path / "out", _layer(tmp_path / "truth.geojson")
    arguments = ("-o", out, "--window", 64, "--truth", truth)
    with monkeypatch.context() as patch:
        _interrupting(patch, 2)
        assert _predict(run, scene, *arguments, "--truth-column", "class") == 130
    capsys.readouterr()
    assert _predict(run, scene, *arguments, "--resume") == 2
    assert "truth_column was 'class', now it is None" in capsys.readouterr().err
    os.utime(truth, ns=(1, 1))
    assert _predict(run, scene, *arguments, "--truth-column", "class", "--resume") == 2
    assert "cannot be resumed: the truth was rewritten since" in capsys.readouterr().err


def test_an_oracle_asks_for_the_truth_of_a_scene(scene, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    _write_run(folder, {"name": "semantic-brick", "params": {"grid": 32}}, {"name": "oracle"})
    assert _predict(folder, scene, "-o", tmp_path / "out") == 2
    shown = capsys.readouterr().err
    assert "--truth FILE" in shown
    assert "photograph" not in shown


def test_options_of_scenes_are_refused_for_pictures(run, scene, tmp_path, capsys):
    assert _predict(run, scene, "-o", tmp_path / "out.png", "--window", 64) == 2
    assert "--window is for scenes" in capsys.readouterr().err


@pytest.mark.parametrize("stride", [64, 128, 192, 256])
def test_a_perfect_model_gives_the_buildings_of_spacenet_back(shared_data, tmp_path, stride):
    folder = tmp_path / "run"
    folder.mkdir()
    _write_run(
        folder,
        {"name": "next-brick", "params": {"grid": 32, "max_regions": 64}},
        {"name": "oracle"},
    )
    data, out = shared_data / "rs_spacenet", tmp_path / "out"
    truth = data / "geotiff_labels.geojson"
    arguments = ("-o", out, "--window", 256, "--stride", stride, "--truth", truth)
    assert _predict(folder, data / "sample_geotiff.tif", *arguments) == 0
    found = json.loads((out / "scene.json").read_text())["truth"]["red ground"]
    assert found["iou"] >= 0.98
    assert abs(found["area_error"]) <= 0.01
    layer = read_layer(out / "objects.gpkg")
    assert len(layer.geometries) == 43
    assert shapely.is_valid(layer.geometries).all()
    with rasterio.open(data / "sample_fp_mask_from_geojson.tif") as mask:
        true = mask.read(1) > 0
    assert _iou(_mask(out)[0] == 1, true) == pytest.approx(found["iou"], abs=1e-9)
