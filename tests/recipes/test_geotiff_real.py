"""``geotiff`` on real tiles and polygons, against figures that others computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t4spp.plugins import Catalogue, load_catalogue

pytest.importorskip("rasterio", reason="geotiff needs the extra 'geo'")


@pytest.fixture(scope="module")
def plugins() -> Catalogue:
    return load_catalogue(only=["recipes-remote-sensing"])


@pytest.fixture(scope="module")
def banepa(shared_data: Path) -> Path:
    folder = shared_data / "rs_banepa"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="module")
def whole_tiles(plugins: Catalogue, banepa: Path):
    """The recipe on whole tiles; its footprints are kept for all tests that use it."""
    return build(plugins, preset="banepa", root=banepa, targets="semantic")


@pytest.fixture(scope="module")
def spacenet(shared_data: Path) -> Path:
    folder = shared_data / "rs_spacenet"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def build(plugins: Catalogue, **params):
    return plugins.build("recipe", "geotiff", params)


def test_banepa_has_the_published_coverage(whole_tiles):
    recipe = whole_tiles
    samples = recipe.samples("all")
    assert len(samples) == 48
    shares = []
    for sample in samples:
        assert sample.size == (512, 512)
        (target,) = sample.targets
        assert target.label == "building"
        shares.append(100 * target.mask.mean())
    assert round(min(shares), 1) == 20.6
    assert round(max(shares), 1) == 68.3
    assert round(float(np.mean(shares)), 1) == 45.3
    assert len(np.unique(recipe.index.feature)) == 1466
    assert recipe.counters() == {}


def test_banepa_masks_are_those_of_one_rasterisation_of_the_file(whole_tiles, banepa):
    import json

    import rasterio
    from rasterio.features import rasterize

    (labels,) = (banepa / "train" / "osm").glob("*.geojson")
    shapes = [item["geometry"] for item in json.loads(labels.read_text())["features"]]
    for sample in whole_tiles.samples("all"):
        with rasterio.open(banepa / "train" / "oam" / f"{sample.id}.tif") as tile:
            expected = rasterize(shapes, out_shape=tile.shape, transform=tile.transform)
            assert np.array_equal(sample.image, np.moveaxis(tile.read(), 0, 2))
        assert np.count_nonzero(sample.targets[0].mask != (expected > 0)) == 0


def test_spacenet_mask_equals_the_published_one(plugins, spacenet):
    from PIL import Image

    recipe = build(
        plugins,
        scenes=spacenet / "sample_geotiff.tif",
        labels=spacenet / "geotiff_labels.geojson",
        targets="semantic",
    )
    (sample,) = recipe.samples("all")
    assert sample.geo.crs == "EPSG:32616"
    published = np.asarray(Image.open(spacenet / "sample_fp_mask_from_geojson.tif")) > 0
    assert np.count_nonzero(sample.targets[0].mask != published) == 0


def test_sixteen_bit_grey_tile_is_stretched_between_its_percentiles(plugins, spacenet):
    import rasterio

    recipe = build(
        plugins,
        scenes=spacenet / "sample_geotiff.tif",
        labels=spacenet / "geotiff_labels.geojson",
        windows={"size": 300},
    )
    with rasterio.open(spacenet / "sample_geotiff.tif") as tile:
        raw = tile.read(1)
    low, high = np.percentile(raw, [2, 98])
    assert (low, high) == (126.0, 1109.0)
    image = np.zeros((900, 900, 3), dtype=np.uint8)
    for sample in recipe.samples("all"):
        y, x = (int(part[1:]) for part in sample.id.split("-")[-2:])
        image[y : y + 300, x : x + 300] = sample.image
    assert image[raw <= 126].max() == 0
    assert image[raw >= 1109].min() == 255
    assert set(np.unique(image[raw == 617])) == {127}  # 255 (617 - 126) / (1109 - 126) = 127.4
    assert np.array_equal(image[..., 0], image[..., 2])


def test_banepa_split_shares_no_ground(plugins, banepa):
    from shapely.geometry import Polygon
    from shapely.ops import unary_union

    recipe = build(plugins, preset="banepa", root=banepa, windows={"size": 256})
    train, val = (recipe.samples(split) for split in ("train", "val"))
    assert (len(train), len(val)) == (160, 32)
    assert {sample.id.split("-")[1] for sample in val} == {"386695"}

    def ground(samples):
        return unary_union([Polygon(corners(sample)) for sample in samples])

    pixel = val[0].geo.transform[0] * -val[0].geo.transform[4]
    assert ground(train).intersection(ground(val)).area < pixel
    assert ground(train).distance(ground(val)) < 1e-9
    split = {"by": "side", "val_share": 0.2, "gap_m": 5.2}
    wide = build(plugins, preset="banepa", root=banepa, windows={"size": 256}, split=split)
    kept = wide.samples("train")
    assert len(kept) == 160 - 16
    assert wide.counters()["windows_in_gap"] == 16
    assert "targets_in_train_and_held_out" not in wide.counters()
    assert ground(kept).distance(ground(val)) > 39 * val[0].geo.transform[0]


def corners(sample):
    a, b, c, d, e, f = sample.geo.transform
    height, width = sample.size
    return [
        (a * x + b * y + c, d * x + e * y + f)
        for x, y in ((0, 0), (width, 0), (width, height), (0, height))
    ]


def test_banepa_predict_tiles_have_pictures_and_no_truth(whole_tiles):
    samples = whole_tiles.samples("predict")
    assert len(samples) == 16
    for sample in samples:
        assert sample.targets == ()
        assert sample.ignore.all()
        assert sample.tags == ("kind:class", "unknown-truth")
    assert samples[0].image.shape == (512, 512, 3)


def test_banepa_roofs_by_material(plugins, banepa):
    recipe = build(
        plugins,
        preset="banepa",
        root=banepa,
        label_property="roof:material",
        rename={"concerte": "concrete", "clay_tiles": "clay tiles"},
        values=("concrete", "tin", "clay tiles"),
    )
    labels = {sample.prompt for sample in recipe.samples("all")}
    assert labels == {"concrete", "tin", "clay tiles"}
    assert recipe.counters()["polygons_without_label"] == 152  # 150 without, 2 of metal
    with_gap = [sample for sample in recipe.samples("all") if sample.ignore is not None]
    assert with_gap and not any(
        (sample.ignore & target.mask).any() for sample in with_gap for target in sample.targets
    )
