"""``geo-polygons`` on tiles that the tests write."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import load_catalogue
from t4spp.types import Box

rasterio = pytest.importorskip("rasterio", reason="geo-polygons needs the extra 'geo'")

WEST, NORTH = 300_000.0, 4_000_000.0
"""UTM zone 33, metres; pixels are 0.5 m."""
UTM = "EPSG:32633"


def write_tile(path: Path, column=0, row=0, side=64, pixels=None, **profile: Any) -> Path:
    """A tile of side x side pixels; tile (0, 0) has its north-west corner at (WEST, NORTH)."""
    path.parent.mkdir(exist_ok=True)
    if pixels is None:
        pixels = np.full((3, side, side), 90, dtype=np.uint8)
    transform = rasterio.Affine(0.5, 0, WEST + 32 * column, 0, -0.5, NORTH - 32 * row)
    settings_ = {"crs": UTM, "transform": transform} | profile
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=pixels.shape[0],
        height=pixels.shape[1],
        width=pixels.shape[2],
        dtype=pixels.dtype,
        **settings_,
    ) as tile:
        tile.write(pixels)
    return path


def square(x0, y0, x1, y1, crs=UTM):
    """Coordinates of a rectangle given in pixels from the north-west corner of tile (0, 0)."""
    points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    xs = [WEST + 0.5 * x for x, _ in points]
    ys = [NORTH - 0.5 * y for _, y in points]
    if crs != UTM:
        from rasterio.warp import transform

        xs, ys = transform(UTM, crs, xs, ys)
    return [[list(pair) for pair in zip(xs, ys, strict=True)]]


def write_labels(path: Path, *coordinates, properties=(), crs="urn:ogc:def:crs:EPSG::32633"):
    features = [
        {
            "type": "Feature",
            "properties": properties[index] if properties else {},
            "geometry": {"type": "Polygon", "coordinates": item},
        }
        for index, item in enumerate(coordinates)
    ]
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def build(tmp_path):
    catalogue = load_catalogue(only=["recipes-remote-sensing"])

    def make(**params):
        given = {"images": tmp_path / "tiles", "labels": tmp_path / "labels.geojson"} | params
        return catalogue.build("recipe", "geo-polygons", given)

    return make


def drawn(*boxes, size=(64, 64)):
    mask = np.zeros(size, dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_polygons_become_one_mask_with_the_windows_georeference(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(4, 8, 20, 30), square(40, 2, 70, 10))
    (sample,) = build().samples("all")
    assert (sample.id, sample.prompt, sample.labels) == ("a", "building", ("building",))
    (target,) = sample.targets
    assert np.array_equal(target.mask, drawn((4, 8, 20, 30), (40, 2, 64, 10)))
    assert sample.ignore is None
    assert sample.geo.crs == "EPSG:32633"
    assert sample.geo.transform == (0.5, 0.0, WEST, 0.0, -0.5, NORTH)
    assert np.array_equal(sample.image, np.full((64, 64, 3), 90, np.uint8))


def test_polygons_in_longitude_and_latitude_land_on_the_same_pixels(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    coordinates = square(4.2, 8.2, 20.2, 30.2, crs="EPSG:4326")
    for crs in (None, "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"):
        write_labels(tmp_path / "labels.geojson", coordinates, crs=crs)
        (sample,) = build().samples("all")
        assert np.array_equal(sample.targets[0].mask, drawn((4, 8, 20, 30)))


def test_all_touched_takes_the_pixels_at_the_rim(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(4.2, 8.2, 20.2, 30.2))
    (sample,) = build(all_touched=True).samples("all")
    assert np.array_equal(sample.targets[0].mask, drawn((4, 8, 21, 31)))


def test_windows_together_show_what_the_tile_shows(build, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels)
    write_labels(tmp_path / "labels.geojson", square(3, 5, 50, 33.7), square(20, 40, 64, 64))
    (whole,) = build().samples("all")
    windows = build(window=24).samples("all")
    assert [sample.id for sample in windows[:4]] == ["a-y0-x0", "a-y0-x24", "a-y0-x40", "a-y24-x0"]
    assert len(windows) == 9
    image, mask = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.bool_)
    for sample in windows:
        assert sample.size == (24, 24)
        y, x = (int(part[1:]) for part in sample.id.split("-")[1:])
        image[y : y + 24, x : x + 24] = sample.image
        for target in sample.targets:
            mask[y : y + 24, x : x + 24] |= target.mask
        assert sample.geo.transform[2] == WEST + 0.5 * x
        assert sample.geo.transform[5] == NORTH - 0.5 * y
    assert np.array_equal(image, np.moveaxis(pixels, 0, 2))
    assert np.array_equal(image, whole.image)
    assert np.array_equal(mask, whole.targets[0].mask)


def test_tile_smaller_than_the_window_is_one_window(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    (sample,) = build(window=100).samples("all")
    assert sample.size == (64, 64)


def test_instances_are_one_target_each_and_the_smallest_beyond_the_limit_are_not_scored(
    build, tmp_path
):
    write_tile(tmp_path / "tiles" / "a.tif")
    squares = [(0, 0, 4, 4), (10, 0, 20, 20), (30, 30, 40, 45)]
    write_labels(tmp_path / "labels.geojson", *(square(*item) for item in squares))
    recipe = build(targets="instances")
    (sample,) = recipe.samples("all")
    assert [int(target.mask.sum()) for target in sample.targets] == [16, 200, 150]
    assert sample.ignore is None
    assert recipe.counters() == {}
    recipe = build(targets="instances", max_instances=2)
    (sample,) = recipe.samples("all")
    assert [int(target.mask.sum()) for target in sample.targets] == [200, 150]
    assert np.array_equal(sample.ignore, drawn((0, 0, 4, 4)))
    assert recipe.counters() == {"instances_beyond_max": 1}


def test_slivers_below_min_area_are_not_scored_and_counted(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(62, 0, 80, 4), square(10, 10, 20, 20))
    recipe = build(min_area=9)
    (sample,) = recipe.samples("all")
    assert np.array_equal(sample.targets[0].mask, drawn((10, 10, 20, 20)))
    assert np.array_equal(sample.ignore, drawn((62, 0, 64, 4)))
    assert recipe.counters() == {"polygons_below_min_area": 1}


def test_windows_without_a_polygon_ask_in_vain_or_are_left_out(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9), square(900, 900, 909, 909))
    recipe = build(window=32)
    assert [len(sample.targets) for sample in recipe.samples("all")] == [1, 0, 0, 0]
    assert recipe.counters() == {"windows_without_target": 3, "polygons_outside_tiles": 1}
    recipe = build(window=32, empty="skip")
    assert [sample.id for sample in recipe.samples("all")] == ["a-y0-x0"]
    assert recipe.counters()["windows_skipped"] == 3


ROOFS = (
    {"roof": "tin"},
    {"roof": "concerte"},
    {"roof": None},
    {"roof": "straw"},
    {},
)


@pytest.fixture
def roofs(tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    boxes = [(12 * i, 0, 12 * i + 8, 8) for i in range(5)]
    write_labels(tmp_path / "labels.geojson", *(square(*box) for box in boxes), properties=ROOFS)
    return boxes


def test_property_gives_the_label_and_what_has_none_is_not_scored(build, roofs):
    recipe = build(
        label_property="roof", rename={"concerte": "concrete"}, values=("tin", "concrete")
    )
    concrete, tin = recipe.samples("all")
    assert (concrete.id, concrete.prompt) == ("a-concrete", "concrete")
    assert np.array_equal(concrete.targets[0].mask, drawn(roofs[1]))
    assert np.array_equal(tin.targets[0].mask, drawn(roofs[0]))
    assert np.array_equal(tin.ignore, drawn(*roofs[2:]))
    assert recipe.counters() == {"polygons_without_label": 3}


def test_other_names_what_has_no_label(build, roofs):
    recipe = build(label_property="roof", values=("tin",), other="other roof")
    other, tin = recipe.samples("all")
    assert (other.prompt, tin.prompt) == ("other roof", "tin")
    assert np.array_equal(other.targets[0].mask, drawn(*roofs[1:]))
    assert other.ignore is None
    assert recipe.counters() == {"polygons_without_label": 4}


def test_segment_all_asks_for_every_label_at_once(build, roofs):
    recipe = build(label_property="roof", values=("tin", "straw"), prompts="segment-all")
    (sample,) = recipe.samples("all")
    assert (sample.prompt, sample.kind) == ("straw|tin", "conditioned")
    assert [target.label for target in sample.targets] == ["straw", "tin"]


def test_property_that_no_polygon_has_is_an_error(build, roofs):
    with pytest.raises(RecipeError, match=r"none of the 5 polygons has a label.*'rof'"):
        build(label_property="rof")


def test_pixels_without_data_are_not_scored(build, tmp_path):
    pixels = np.full((3, 64, 64), 90, dtype=np.uint8)
    pixels[:, :, :40] = 0
    write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels, nodata=0)
    write_labels(tmp_path / "labels.geojson", square(30, 0, 50, 10))
    recipe = build(window=32)
    samples = recipe.samples("all")
    assert [sample.id for sample in samples] == ["a-y0-x32", "a-y32-x32"]
    assert np.array_equal(samples[0].ignore, drawn((0, 0, 8, 32), size=(32, 32)))
    assert np.array_equal(samples[0].targets[0].mask, drawn((0, 0, 18, 10), size=(32, 32)))
    assert samples[0].geo.nodata == 0
    assert recipe.counters() == {"windows_without_data": 2, "windows_without_target": 1}


def test_alpha_band_says_where_data_are(build, tmp_path):
    pixels = np.full((4, 64, 64), 90, dtype=np.uint8)
    pixels[3] = 255
    pixels[3, :, :5] = 0
    write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels, photometric="rgb", alpha="yes")
    write_labels(tmp_path / "labels.geojson", square(30, 0, 50, 10))
    (sample,) = build().samples("all")
    assert np.array_equal(sample.ignore, drawn((0, 0, 5, 64)))


def test_deep_bands_are_chosen_and_stretched_over_the_tile_not_the_window(build, tmp_path):
    pixels = np.zeros((4, 64, 64), dtype=np.uint16)
    pixels[3] = np.arange(64) * 10 + 1000
    write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels)
    write_labels(tmp_path / "labels.geojson", square(30, 0, 50, 10))
    samples = build(window=32, bands=[4, 4, 4], stretch=[0, 100]).samples("all")
    left, right = samples[0].image, samples[1].image
    expected = np.rint(np.arange(64) * 255 / 63).astype(np.uint8)
    assert left[0, :, 0].tolist() == expected[:32].tolist()
    assert right[0, :, 2].tolist() == expected[32:].tolist()


def test_floating_point_gaps_are_black_and_not_scored(build, tmp_path):
    pixels = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64).copy()
    pixels[0, 3, 4] = np.nan
    write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels)
    write_labels(tmp_path / "labels.geojson", square(30, 0, 50, 10))
    (sample,) = build().samples("all")
    assert np.array_equal(sample.ignore, drawn((4, 3, 5, 4)))
    assert sample.image[3, 4].tolist() == [0, 0, 0]
    assert (sample.image.min(), sample.image.max()) == (0, 255)


@pytest.fixture
def quarter(tmp_path):
    """Four columns and three rows of tiles, and a building across the second border."""
    for column in range(4):
        for row in range(3):
            write_tile(tmp_path / "tiles" / f"t-{column}-{row}.tif", column, row)
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
def test_val_is_a_strip_of_whole_tiles_at_one_side(build, quarter, side, held):
    recipe = build(val_share=0.3, val_side=side)
    assert recipe.splits == ("all", "train", "val")
    assert {sample.id for sample in recipe.samples("val")} == held
    train = {sample.id for sample in recipe.samples("train")}
    assert len(train) == 12 - len(held)
    assert not train & held
    assert len(recipe.samples("all")) == 12


def test_gap_keeps_train_away_and_what_lies_in_both_is_counted(build, quarter):
    recipe = build(val_share=0.25, window=32)
    assert len(recipe.samples("train")) == 9 * 4
    assert recipe.counters()["polygons_in_train_and_val"] == 1
    recipe = build(val_share=0.25, window=32, gap=20)
    assert len(recipe.samples("train")) == 9 * 4 - 6
    assert recipe.counters()["windows_in_gap"] == 6
    assert "polygons_in_train_and_val" not in recipe.counters()


def test_tiles_in_one_line_cannot_be_parted_across_it(build, tmp_path):
    for row in range(3):
        write_tile(tmp_path / "tiles" / f"{row}.tif", 0, row)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match="3 tiles lie in one line from west to east"):
        build(val_share=0.3)
    assert len(build(val_share=0.3, val_side="north").samples("val")) == 1


@given(
    places=st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=12, unique=True
    ),
    share=st.floats(0.05, 0.9),
    side=st.sampled_from(["east", "west", "north", "south"]),
    gap=st.integers(0, 40),
    angle=st.sampled_from([0.0, 30.0]),
)
@settings(max_examples=60, deadline=None)
def test_train_and_val_never_share_ground(places, share, side, gap, angle):
    """Tiles that lie anywhere, also over each other, also turned."""
    from shapely.geometry import Polygon
    from shapely.ops import unary_union

    from t4spp_recipes.remote_sensing.strips import held_out, outline
    from t4spp_recipes.remote_sensing.tiles import Tile, cut

    cosine, sine = 0.5 * np.cos(np.radians(angle)), 0.5 * np.sin(np.radians(angle))
    tiles = [
        Tile(
            path=Path(f"{x}-{y}.tif"),
            name=f"{x}-{y}",
            size=(64, 64),
            crs=UTM,
            transform=(cosine, sine, WEST + x, sine, -cosine, NORTH + y),
            nodata=None,
            bands=(1, 2, 3),
            is_bytes=True,
            has_gaps=False,
        )
        for x, y in places
    ]
    try:
        strip = held_out(tiles, share, side, gap)
    except RecipeError:
        axis = 0 if side in ("east", "west") else 1
        values = [place[axis] for place in places]
        assert max(values) - min(values) <= len(places)  # no two neighbours a pixel apart
        return
    assert 0 < len(strip.val) < len(tiles)

    def ground(tile: Tile, box: Box) -> Polygon:
        return Polygon(outline(tile, box, UTM))

    val = unary_union([ground(tiles[i], cut((64, 64), None, None)[0]) for i in strip.val])
    for index, tile in enumerate(tiles):
        for box in cut(tile.size, 32, None):
            if index not in strip.val and strip.admits(tile, box):
                assert ground(tile, box).intersection(val).area < 0.25
                assert ground(tile, box).distance(val) >= 0.5 * (gap - 0.02) * (angle == 0)


def test_unlabelled_tiles_are_the_split_predict(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_tile(tmp_path / "more" / "b.tif", 5, 5)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    recipe = build(unlabelled=tmp_path / "more" / "*.tif")
    assert recipe.splits == ("all", "predict")
    (sample,) = recipe.samples("predict")
    assert (sample.id, sample.targets, sample.tags) == ("b", (), ("unknown-truth",))
    assert sample.ignore.all()


def test_samples_pickle_and_read_nothing_before_pixels_are_asked_for(build, tmp_path):
    path = write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    samples = pickle.loads(pickle.dumps(build(window=32).samples("all")))
    path.unlink()
    sample = samples[0]
    assert sample.targets[0].mask.sum() == 81
    with pytest.raises(RecipeError, match=r"a\.tif cannot be read as a GeoTIFF"):
        _ = sample.image


def test_verify_names_truncated_tiles(build, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    path = write_tile(tmp_path / "tiles" / "a.tif", pixels=pixels)
    write_tile(tmp_path / "tiles" / "b.tif", 1)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    recipe = build()
    assert recipe.verify() == []
    path.write_bytes(path.read_bytes()[:6000])
    (message,) = recipe.verify()
    assert "a.tif cannot be read as a GeoTIFF" in message


def test_features_that_are_no_polygons_are_counted_and_bow_ties_mended(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif")
    path = tmp_path / "labels.geojson"
    bow_tie = square(0, 0, 20, 20)
    bow_tie[0][1], bow_tie[0][2] = bow_tie[0][2], bow_tie[0][1]
    write_labels(path, bow_tie)
    content = json.loads(path.read_text())
    line = {"type": "LineString", "coordinates": bow_tie[0]}
    content["features"] += [
        {"type": "Feature", "properties": None, "geometry": line},
        {"type": "Feature", "properties": {}, "geometry": None},
    ]
    path.write_text(json.dumps(content))
    recipe = build()
    (sample,) = recipe.samples("all")
    assert 180 <= sample.targets[0].mask.sum() <= 220  # two triangles, half of 20 x 20
    assert recipe.counters() == {
        "polygons_repaired": 1,
        "features_not_polygons": 1,
        "features_without_geometry": 1,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not valid JSON: .* line 1"),
        ("[]", "is no GeoJSON FeatureCollection"),
        ('{"features": []}', "no polygon among the features"),
        ('{"features": [], "crs": {"properties": {"name": "EPSG:0"}}}', "names no known CRS"),
        ('{"features": [], "crs": 3}', "'crs' is 3, which names no known CRS"),
        (
            '{"features": [{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3]]]}}]}',
            r"features\[0\]: its coordinates are no Polygon",
        ),
        (
            '{"features": [{"geometry": {"type": "Polygon", "coordinates": 7}}]}',
            r"features\[0\]: its coordinates are no Polygon",
        ),
    ],
)
def test_damaged_labels_are_one_clear_error(build, tmp_path, content, reason):
    write_tile(tmp_path / "tiles" / "a.tif")
    (tmp_path / "labels.geojson").write_text(content)
    with pytest.raises(RecipeError, match=rf"labels\.geojson.*{reason}"):
        build()


def test_tile_without_georeference_is_an_error(build, tmp_path):
    write_tile(tmp_path / "tiles" / "a.tif", crs=None)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match=r"a\.tif has no georeference"):
        build()


def test_missing_folders_and_bands_are_named(build, tmp_path):
    with pytest.raises(RecipeError, match=r"images: .*tiles does not exist"):
        build()
    (tmp_path / "tiles").mkdir()
    with pytest.raises(RecipeError, match=r"holds no \.tif or \.tiff file"):
        build()
    write_tile(tmp_path / "tiles" / "a.tif")
    with pytest.raises(RecipeError, match=r"labels: .*labels\.geojson does not exist"):
        build()
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match=r"3 bands, 'bands' names \[4\]"):
        build(bands=[4])
    with pytest.raises(RecipeError, match="no split 'trian'"):
        build().samples("trian")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"stride": 40, "window": 32}, "pixels would be lost"),
        ({"max_instances": 3}, "it bounds targets: instances"),
        ({"other": "roof"}, "label_property"),
        ({"preset": "banepa"}, "needs the dataset's folder"),
        ({"stretch": [50, 50]}, "lower percentile"),
        ({"bands": [1, 2]}, "one band"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(build, params, reason):
    with pytest.raises(ConfigError, match=reason):
        build(**params)


@pytest.mark.parametrize("label", ["a|b", "", "others"])
def test_label_that_no_descriptor_carries_is_refused(build, tmp_path, label):
    write_tile(tmp_path / "tiles" / "a.tif")
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match="is no label that a descriptor can carry"):
        build(label=label)
