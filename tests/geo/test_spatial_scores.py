"""Windows put together score each pixel of a scene once, and each object once."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="the extra geo is not installed")
pyogrio = pytest.importorskip("pyogrio", reason="the extra geo is not installed")
shapely = pytest.importorskip("shapely", reason="the extra geo is not installed")

from support_spatial import UTM, answered, squares, write_scene  # noqa: E402

from t4spp.errors import RunError  # noqa: E402
from t4spp.evaluation.spatial_layers import write_layers  # noqa: E402
from t4spp.evaluation.spatial_scores import SpatialScores, score_space  # noqa: E402
from t4spp.evaluation.spatial_windows import PackedLevels, PackedMask  # noqa: E402
from t4spp.geo.windows import WindowView  # noqa: E402
from t4spp.report.window_rows import read_window_rows  # noqa: E402

SIZE = (96, 128)
BUILDINGS = squares(SIZE, (4, 4, 20), (20, 50, 30), (60, 90, 25), (70, 10, 12))


def scored(tmp_path: Path, view: WindowView, truth: list, answer: list, **given: object):
    scene = write_scene(tmp_path / "scene.tif", SIZE)
    windows = answered(scene, view, truth, answer, **given)
    return score_space(windows, iou=0.5, least_area=0.0)


def values(scores: SpatialScores) -> dict[str, dict[str, float | None]]:
    protocols = scores.protocols(resamples=50, seed=0)
    return {
        name: {key: entry["value"] for key, entry in metrics.items()}
        for name, metrics in protocols.items()
    }


@pytest.mark.parametrize("edge", ["pad", "shift"])
@pytest.mark.parametrize(("size", "stride"), [(32, 32), (32, 24), (32, 16), (32, 8), (50, 33)])
def test_perfect_answers_score_one_whatever_the_stride(
    tmp_path: Path, size: int, stride: int, edge: str
) -> None:
    view = WindowView(size=size, stride=stride, edge=edge)
    scores = scored(tmp_path, view, BUILDINGS, BUILDINGS)
    (scene,) = scores.scenes
    assert scene.counted == 96 * 128
    assert scene.intersection == scene.union == 20**2 + 30**2 + 25**2 + 12**2
    found = values(scores)
    assert found["scene"] == {
        "iou": 1.0,
        "mean_iou": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "area_error": 0.0,
        "area_error_abs": 0.0,
    }
    assert (scene.objects.counts.num_true, scene.objects.counts.num_matched) == (4, 4)
    assert found["objects"]["f1"] == 1.0
    assert found["objects"]["pair_iou"] == pytest.approx(1.0)


def test_pixels_that_several_windows_show_count_once(tmp_path: Path) -> None:
    shifted = [np.roll(mask, 3, axis=1) for mask in BUILDINGS]
    disjoint = scored(tmp_path, WindowView(size=32), BUILDINGS, shifted).scenes[0]
    overlapping = scored(tmp_path, WindowView(size=32, stride=8), BUILDINGS, shifted).scenes[0]
    truth, answer = np.logical_or.reduce(BUILDINGS), np.logical_or.reduce(shifted)
    exact = np.count_nonzero(truth & answer), np.count_nonzero(truth | answer)
    assert (disjoint.intersection, disjoint.union) == exact
    assert (overlapping.intersection, overlapping.union) == exact


def test_missing_area_and_missed_objects_are_told(tmp_path: Path) -> None:
    found = scored(tmp_path, WindowView(size=32, stride=16), BUILDINGS, BUILDINGS[:2])
    (scene,) = found.scenes
    true, predicted = 20**2 + 30**2 + 25**2 + 12**2, 20**2 + 30**2
    assert scene.area_error == pytest.approx((predicted - true) / true)
    told = values(found)
    assert told["scene"]["recall"] == pytest.approx(predicted / true)
    assert told["objects"]["recall"] == 0.5 and told["objects"]["precision"] == 1.0
    described = found.describe()
    assert described["objects"] == {
        "predicted": 2,
        "true": 4,
        "matched": 2,
        "below_least_area": 0,
    }
    assert described["scenes"][0]["true_m2"] == pytest.approx(true * 0.25)


def test_touching_buildings_stay_two_objects_where_answers_are_instances(tmp_path: Path) -> None:
    rows = squares(SIZE, (10, 10, 30), (10, 40, 30))
    apart = scored(tmp_path, WindowView(size=48, stride=24), rows, rows).scenes[0]
    assert apart.objects.counts.num_true == apart.objects.counts.num_predicted == 2
    joined = [rows[0] | rows[1]]
    merged = scored(tmp_path, WindowView(size=48, stride=24), rows, joined).scenes[0]
    assert merged.objects.counts.num_predicted == 1
    assert merged.iou == 1.0


def test_ignored_pixels_count_on_neither_side(tmp_path: Path) -> None:
    ignore = np.zeros(SIZE, dtype=np.bool_)
    ignore[:, 64:] = True
    everything = [np.ones(SIZE, dtype=np.bool_)]
    scene = scored(tmp_path, WindowView(size=32), BUILDINGS, everything, ignore=ignore).scenes[0]
    assert scene.counted == scene.predicted_area == 96 * 64
    assert scene.true_area == np.count_nonzero(np.logical_or.reduce(BUILDINGS)[:, :64])


def test_coarse_windows_are_scored_on_the_scenes_own_pixels_against_its_outlines(
    tmp_path: Path,
) -> None:
    scene = write_scene(tmp_path / "scene.tif", SIZE)
    outlines = [
        shapely.box(740_000 + 0.5 * x, 3_720_000 - 0.5 * (y + s), 740_000 + 0.5 * (x + s),
                    3_720_000 - 0.5 * y)
        for y, x, s in ((4, 4, 20), (20, 50, 30), (60, 90, 25), (70, 10, 12))
    ]  # fmt: skip
    windows = answered(scene, WindowView(size=32, resolution=1.0), BUILDINGS, BUILDINGS)
    assert {(w.size, w.box.height) for w in windows} == {((32, 32), 64)}
    scores = score_space(windows, outlines=lambda *_: outlines, iou=0.5, least_area=0.0)
    (score,) = scores.scenes
    assert score.true_area == 20**2 + 30**2 + 25**2 + 12**2  # not the windows' resampled masks
    assert 0.9 < score.iou <= 1.0
    assert score.objects.counts.num_matched == 4


def test_outlines_are_cut_to_the_ground_that_windows_score(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", SIZE)
    windows = answered(scene, WindowView(size=32), BUILDINGS, BUILDINGS)
    west = [window for window in windows if window.box.x1 <= 64]
    outline = shapely.box(740_000 + 25, 3_720_000 - 25, 740_000 + 40, 3_720_000 - 10)
    (score,) = score_space(west, outlines=lambda *_: [outline], iou=0.5, least_area=0.0).scenes
    assert score.counted == 96 * 64
    assert score.true_area == 14 * 30
    assert sum(score.objects.true_area) == pytest.approx(14 * 30 * 0.25, rel=0.002)


def test_intervals_are_over_scenes_and_one_scene_has_none(tmp_path: Path) -> None:
    good = write_scene(tmp_path / "good.tif", SIZE)
    bad = write_scene(tmp_path / "bad.tif", SIZE)
    view = WindowView(size=32)
    one = answered(good, view, BUILDINGS, BUILDINGS)
    other = answered(bad, view, BUILDINGS, [])
    alone = score_space(one, iou=0.5, least_area=0.0).protocols(resamples=50, seed=0)
    assert alone["scene"]["iou"] == {"value": 1.0, "low": None, "high": None}
    both = score_space([*one, *other], iou=0.5, least_area=0.0).protocols(resamples=50, seed=0)
    assert both["scene"]["iou"] == {"value": 0.5, "low": 0.0, "high": 1.0}
    assert both["scene"]["mean_iou"]["value"] == 0.5


def test_tokens_are_counted_by_hectare(tmp_path: Path) -> None:
    scores = scored(tmp_path, WindowView(size=32), BUILDINGS, BUILDINGS, num_tokens=10)
    hectares = 96 * 128 * 0.25 / 10_000
    assert scores.describe()["hectares"] == pytest.approx(hectares, rel=0.001)
    assert scores.describe()["tokens_per_hectare"] == pytest.approx(120 / hectares, rel=0.001)
    unknown = scored(tmp_path, WindowView(size=32), BUILDINGS, BUILDINGS, num_tokens=None)
    assert unknown.describe()["tokens_per_hectare"] is None


def test_layers_show_what_each_window_and_object_scored(tmp_path: Path) -> None:
    scores = scored(tmp_path, WindowView(size=32), BUILDINGS, BUILDINGS[1:])
    path = tmp_path / "val.layers.gpkg"
    assert write_layers(path, scores) == ["windows", "predicted", "true"]
    meta, _, geometries, columns = pyogrio.raw.read(path, layer="windows")
    assert meta["crs"] == UTM and len(geometries) == 12
    ious = dict(zip(columns[meta["fields"].tolist().index("id")],
                    columns[meta["fields"].tolist().index("iou")], strict=True))  # fmt: skip
    assert ious["scene/0"] == 0.0 and ious["scene/5"] == 1.0
    first = shapely.from_wkb(geometries[0])
    assert first.bounds == (740_000.0, 3_720_000.0 - 16, 740_000.0 + 16, 3_720_000.0)
    meta, _, geometries, columns = pyogrio.raw.read(path, layer="true")
    found = columns[meta["fields"].tolist().index("found")]
    assert sorted(found.tolist()) == [False, True, True, True]
    areas = columns[meta["fields"].tolist().index("area_m2")]
    assert sorted(areas) == pytest.approx([36, 100, 156.25, 225], rel=0.002)
    assert list(tmp_path.glob("*writing*")) == []


def test_scenes_of_two_crs_have_layers_of_their_own(tmp_path: Path) -> None:
    here = write_scene(tmp_path / "a.tif", SIZE)
    there = write_scene(tmp_path / "b.tif", SIZE, crs="EPSG:32617")
    windows = [
        window
        for scene in (here, there)
        for window in answered(scene, WindowView(size=64), BUILDINGS, BUILDINGS)
    ]
    names = write_layers(
        tmp_path / "val.layers.gpkg", score_space(windows, iou=0.5, least_area=0.0)
    )
    assert set(names) == {
        "windows", "windows_EPSG_32617", "predicted", "predicted_EPSG_32617", "true",
        "true_EPSG_32617",
    }  # fmt: skip
    crs = {name: pyogrio.read_info(tmp_path / "val.layers.gpkg", layer=name)["crs"]
           for name in names}  # fmt: skip
    assert crs["windows"] == UTM and crs["true_EPSG_32617"] == "EPSG:32617"


def test_empty_answers_leave_an_empty_layer_of_objects(tmp_path: Path) -> None:
    scores = scored(tmp_path, WindowView(size=64), BUILDINGS, [])
    path = tmp_path / "val.layers.gpkg"
    write_layers(path, scores)
    assert pyogrio.read_info(path, layer="predicted")["features"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_packed_masks_and_occupancies_come_back_as_they_were(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((13, 21)) > (0.5, 0.9, 0.999, 1.0)[seed]
    assert np.array_equal(PackedMask.of(mask).mask(), mask)
    levels = (rng.integers(0, 256, (13, 21)) * mask).astype(np.uint8)
    assert np.array_equal(PackedLevels.of(levels).levels(), levels)


def test_layers_that_cannot_be_written_are_one_clear_error_and_leave_nothing(
    tmp_path: Path,
) -> None:
    scores = scored(tmp_path, WindowView(size=64), BUILDINGS, BUILDINGS)
    with pytest.raises(RunError, match="cannot be written"):
        write_layers(tmp_path / "nowhere" / "val.layers.gpkg", scores)
    path = tmp_path / "val.layers.gpkg"
    write_layers(path, scores)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a disk that fills
    try:
        with pytest.raises(RunError, match="cannot be written"):
            write_layers(path, scores)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif", "val.layers.gpkg"]


def test_damaged_layers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "val.layers.gpkg"
    assert read_window_rows(path) == []
    path.write_bytes(b"no GeoPackage")
    with pytest.raises(RunError, match=r"val\.layers\.gpkg is damaged"):
        read_window_rows(path)
