"""``geotiff`` on scenes and labels that the tests write."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from support_geo import NORTH, UTM, WEST, drawn, square, write_labels, write_scene

from t4spp.errors import ConfigError, GeoError, RecipeError
from t4spp.geo.scenes import read_scene
from t4spp.plugins import load_catalogue

rasterio = pytest.importorskip("rasterio", reason="geotiff needs the extra 'geo'")
shapely = pytest.importorskip("shapely", reason="geotiff needs the extra 'geo'")
pyogrio = pytest.importorskip("pyogrio", reason="geotiff needs the extra 'geo'")


@pytest.fixture
def build(tmp_path):
    catalogue = load_catalogue(only=["recipes-remote-sensing"])

    def make(**params):
        given = {"scenes": tmp_path / "scenes", "labels": tmp_path / "labels.geojson"} | params
        return catalogue.build("recipe", "geotiff", given)

    return make


@pytest.fixture
def one(build, tmp_path):
    """A recipe of one scene with the given squares, 64 x 64 pixels."""

    def make(*squares, properties=(), scene=None, **params):
        write_scene(tmp_path / "scenes" / "a.tif", **(scene or {}))
        write_labels(
            tmp_path / "labels.geojson", *(square(*item) for item in squares), properties=properties
        )
        return build(**params)

    return make


def union(sample):
    mask = np.zeros(sample.size, dtype=np.bool_)
    for target in sample.targets:
        mask |= target.mask
    return mask


def test_polygons_become_targets_with_the_windows_georeference(one, tmp_path):
    recipe = one((4, 8, 20, 30), (40, 2, 70, 10))
    (sample,) = recipe.samples("all")
    assert (sample.id, sample.prompt, sample.labels) == ("a", "building", ("building",))
    first, second = sample.targets
    assert np.array_equal(first.mask, drawn((4, 8, 20, 30)))
    assert np.array_equal(second.mask, drawn((40, 2, 64, 10)))
    assert sample.ignore is None
    assert sample.geo.crs == "EPSG:32633"
    assert sample.geo.transform == (0.5, 0.0, WEST, 0.0, -0.5, NORTH)
    assert sample.geo.scene == str(tmp_path / "scenes" / "a.tif")
    assert np.array_equal(sample.image, np.full((64, 64, 3), 90, np.uint8))
    (sample,) = one((4, 8, 20, 30), (40, 2, 70, 10), targets="semantic").samples("all")
    (target,) = sample.targets
    assert np.array_equal(target.mask, drawn((4, 8, 20, 30), (40, 2, 64, 10)))


def test_vectors_of_another_crs_and_format_land_on_the_same_pixels(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif")
    coordinates = square(4.2, 8.2, 20.2, 30.2, crs="EPSG:4326")
    for crs in (None, "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"):
        write_labels(tmp_path / "labels.geojson", coordinates, crs=crs)
        (sample,) = build().samples("all")
        assert np.array_equal(union(sample), drawn((4, 8, 20, 30)))
    shapes = shapely.to_wkb(np.array([shapely.Polygon(coordinates[0])], dtype=object))
    for suffix in ("gpkg", "shp"):
        path = tmp_path / f"other.{suffix}"
        pyogrio.raw.write(
            path, shapes, [np.array([1])], ["n"], geometry_type="Polygon", crs="EPSG:4326"
        )
        (sample,) = build(labels=path).samples("all")
        assert np.array_equal(union(sample), drawn((4, 8, 20, 30)))


TRANSFORMS = {
    "south-up": (0.5, 0, WEST, 0, 0.5, NORTH - 32),
    "rotated": (0.4, 0.3, WEST, 0.3, -0.4, NORTH),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_windows_of_turned_scenes_show_what_the_scene_shows(build, tmp_path, transform):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    write_scene(tmp_path / "scenes" / "a.tif", pixels, transform=transform)
    write_labels(tmp_path / "labels.geojson", square(3, 5, 50, 33.7), square(20, 40, 64, 70))
    (whole,) = build().samples("all")
    mask, image = np.zeros((64, 64), np.bool_), np.zeros((64, 64, 3), np.uint8)
    for sample in build(windows={"size": 24, "stride": 20, "edge": "shift"}).samples("all"):
        mask[sample.geo.box.slices] |= union(sample)
        image[sample.geo.box.slices] = sample.image
        corner = read_scene(tmp_path / "scenes" / "a.tif").outline(sample.geo.box)[0]
        assert np.allclose((sample.geo.transform[2], sample.geo.transform[5]), corner)
    assert union(whole).any()
    assert np.array_equal(mask, union(whole))
    assert np.array_equal(image, np.moveaxis(pixels, 0, 2))


def test_windows_at_the_edge_are_padded_counted_and_not_scored_there(one):
    recipe = one((3, 5, 50, 34), (40, 40, 90, 90), windows={"size": 48})
    samples = recipe.samples("all")
    assert [sample.id for sample in samples] == ["a-y0-x0", "a-y0-x48", "a-y48-x0", "a-y48-x48"]
    last = samples[3]
    assert last.size == (48, 48)
    outside = ~drawn((0, 0, 16, 16), size=(48, 48))
    assert np.array_equal(last.ignore, outside)
    assert np.array_equal(union(last), ~outside)  # the building ends where the scene does
    assert not last.image[outside].any()
    assert recipe.counters()["windows_padded"] == 3


def test_ground_resolution_resamples_pictures_and_masks(one):
    recipe = one((4, 8, 20, 30), windows={"size": 16, "resolution": 1.0})
    sample = recipe.samples("all")[0]
    assert sample.size == (16, 16)
    assert sample.geo.transform == (1.0, 0.0, WEST, 0.0, -1.0, NORTH)
    assert np.array_equal(union(sample), drawn((2, 4, 10, 15), size=(16, 16)))
    assert sample.image.shape == (16, 16, 3)
    recipe = one((4, 8, 20, 30), windows={"size_m": 16, "stride_m": 8})
    assert [sample.size for sample in recipe.samples("all")] == [(32, 32)] * 9


def test_largest_instances_are_kept_and_the_others_not_scored(one):
    squares = [(0, 0, 4, 4), (10, 0, 20, 20), (30, 30, 40, 45)]
    recipe = one(*squares)
    (sample,) = recipe.samples("all")
    assert [int(target.mask.sum()) for target in sample.targets] == [16, 200, 150]
    assert sample.ignore is None
    assert recipe.counters() == {}
    recipe = one(*squares, max_instances=2)
    (sample,) = recipe.samples("all")
    assert [int(target.mask.sum()) for target in sample.targets] == [200, 150]
    assert np.array_equal(sample.ignore, drawn((0, 0, 4, 4)))
    assert recipe.counters() == {"instances_beyond_max": 1}


def test_slivers_below_min_area_are_not_scored_and_counted(one):
    recipe = one((62, 0, 80, 4), (10, 10, 20, 20), min_area=9)
    (sample,) = recipe.samples("all")
    assert np.array_equal(union(sample), drawn((10, 10, 20, 20)))
    assert np.array_equal(sample.ignore, drawn((62, 0, 64, 4)))
    assert recipe.counters() == {"targets_below_min_area": 1}


def test_all_touched_takes_the_pixels_at_the_rim(one):
    (sample,) = one((4.2, 8.2, 20.2, 30.2), all_touched=True).samples("all")
    assert np.array_equal(union(sample), drawn((4, 8, 21, 31)))


def test_windows_that_show_nothing_ask_in_vain_and_their_share_is_bounded(one):
    squares = [(0, 0, 9, 9), (30, 0, 34, 9), (900, 900, 909, 909)]
    recipe = one(*squares, windows={"size": 16})
    assert [len(sample.targets) for sample in recipe.samples("all")] == [1, 1, 1] + [0] * 13
    assert recipe.counters() == {
        "polygons_outside_scenes": 1,
        "windows_without_target": 13,
        "no_target_prompts": 13,
    }
    nothing = recipe.samples("all")[5]
    assert nothing.tags == ("kind:class", "no-target")
    recipe = one(*squares, windows={"size": 16}, empty_share=0.5)
    assert (
        sorted(bool(sample.targets) for sample in recipe.samples("all")) == [False] * 3 + [True] * 3
    )
    assert recipe.counters()["windows_empty_left_out"] == 10
    again = one(*squares, windows={"size": 16}, empty_share=0.5)
    assert [s.id for s in again.samples("all")] == [s.id for s in recipe.samples("all")]
    recipe = one(*squares, windows={"size": 16}, empty_share=0)
    assert all(sample.targets for sample in recipe.samples("all"))


ROOFS = ({"roof": "tin"}, {"roof": "concerte"}, {"roof": None}, {"roof": "straw"}, {})
BOXES = [(12 * i, 0, 12 * i + 8, 8) for i in range(5)]


def test_property_gives_the_class_and_what_has_none_is_not_scored(one):
    recipe = one(
        *BOXES,
        properties=ROOFS,
        label_property="roof",
        rename={"concerte": "concrete"},
        values=("tin", "concrete"),
    )
    concrete, tin = recipe.samples("all")
    assert (concrete.id, concrete.prompt) == ("a-concrete", "concrete")
    assert np.array_equal(union(concrete), drawn(BOXES[1]))
    assert np.array_equal(union(tin), drawn(BOXES[0]))
    assert np.array_equal(tin.ignore, drawn(*BOXES[2:]))
    assert recipe.counters() == {"polygons_without_label": 3}


def test_other_names_what_has_no_class(one):
    params = {"label_property": "roof", "values": ("tin",), "other": "other roof"}
    recipe = one(*BOXES, properties=ROOFS, **params)
    other, tin = recipe.samples("all")
    assert (other.prompt, tin.prompt) == ("other roof", "tin")
    assert np.array_equal(union(other), drawn(*BOXES[1:]))
    assert other.ignore is None
    assert recipe.counters() == {"polygons_without_label": 4}


def test_prompts_by_class_attribute_relation_and_absence(one):
    recipe = one(
        (0, 0, 20, 20),
        (30, 0, 34, 4),
        (40, 40, 44, 44),
        properties=({"roof": "tin"}, {"roof": "red_tiles"}, {"roof": "red_tiles"}),
        prompts={"attributes": ["the {roof} roofs"], "relations": 16, "no_target_share": 0.4},
        windows={"size": 32},
    )
    asked = {sample.id: sample for sample in recipe.samples("all")}
    assert asked["a-y0-x0-the tin roofs"].targets[0].mask.sum() == 400
    assert asked["a-y0-x32-the red tiles roofs"].targets[0].mask.sum() == 8
    absent = [sample for sample in asked.values() if "no-target" in sample.tags]
    assert {sample.prompt for sample in absent} <= {
        "building",
        "the tin roofs",
        "the red tiles roofs",
    }
    assert not any(sample.targets for sample in absent)
    counters = recipe.counters()
    assert counters["no_target_prompts"] == len(absent) == 3
    num_present = len(asked) - len(absent)
    assert counters["no_target_prompts_lacking"] == round(num_present * 0.4 / 0.6) - len(absent)


def test_relations_point_at_one_of_several(one):
    recipe = one(
        (0, 0, 20, 20),
        (40, 0, 50, 10),
        (40, 40, 44, 44),
        prompts={"classes": "none", "relations": 16},
    )
    asked = {sample.prompt: sample for sample in recipe.samples("all")}
    assert np.array_equal(union(asked["the largest building"]), drawn((0, 0, 20, 20)))
    assert all("kind:class" not in sample.tags for sample in asked.values())


def test_together_asks_for_every_class_at_once(one):
    recipe = one(
        *BOXES,
        properties=ROOFS,
        label_property="roof",
        values=("tin", "straw"),
        prompts={"classes": "together"},
    )
    (sample,) = recipe.samples("all")
    assert (sample.prompt, sample.kind) == ("straw|tin", "conditioned")
    assert sorted(target.label for target in sample.targets) == ["straw", "tin"]


def test_pixels_without_data_are_not_scored(build, tmp_path):
    pixels = np.full((3, 64, 64), 90, dtype=np.uint8)
    pixels[:, :, :40] = 0
    write_scene(tmp_path / "scenes" / "a.tif", pixels, nodata=0)
    labels = (square(30, 0, 50, 10), square(33, 50, 39, 60))
    write_labels(tmp_path / "labels.geojson", *labels)
    recipe = build(windows={"size": 32})
    samples = recipe.samples("all")
    assert [sample.id for sample in samples] == ["a-y0-x32", "a-y32-x32"]
    assert np.array_equal(samples[0].ignore, drawn((0, 0, 8, 32), size=(32, 32)))
    assert np.array_equal(union(samples[0]), drawn((0, 0, 18, 10), size=(32, 32)))
    assert samples[0].geo.nodata == 0
    assert samples[1].targets == ()  # the building there has no pixel with data
    assert recipe.counters() == {
        "windows_without_data": 2,
        "targets_without_data": 1,
        "windows_without_target": 1,
        "no_target_prompts": 1,
        "polygons_outside_scenes": 1,
    }


def test_scenes_without_any_data_are_counted_and_nothing_but_them_is_an_error(build, tmp_path):
    empty = np.full((1, 64, 64), np.nan, dtype=np.float32)
    write_scene(tmp_path / "scenes" / "a.tif", empty)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    with pytest.raises(RecipeError, match=r"none of the 16 windows of 1 scenes holds data.*a\.tif"):
        build(windows={"size": 16}).samples("all")
    write_scene(tmp_path / "scenes" / "b.tif")
    recipe = build(windows={"size": 16})
    assert {sample.image_id.split("-")[0] for sample in recipe.samples("all")} == {"b"}
    assert recipe.counters()["scenes_without_data"] == 1


def class_map(path, values, **profile):
    return write_scene(
        path, np.asarray(values, dtype=profile.pop("dtype", np.uint8))[None], **profile
    )


def test_class_rasters_give_parts_or_whole_classes_and_unlabelled_cells(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif")
    values = np.full((64, 64), 9)
    values[:32] = 0
    values[4:8, 4:8], values[4:8, 20:30], values[10:12, :] = 1, 1, 2
    class_map(tmp_path / "maps" / "a_map.tif", values, nodata=9)
    class_map(tmp_path / "maps" / "b_map.tif", values * 0)
    params = {
        "labels": tmp_path / "maps",
        "classes": {1: "building", 2: "road"},
        "label_suffix": "_map",
    }
    building, road = build(**params).samples("all")
    assert (building.prompt, road.prompt) == ("building", "road")
    first, second = building.targets
    assert np.array_equal(first.mask, drawn((4, 4, 8, 8)))
    assert np.array_equal(second.mask, drawn((20, 4, 30, 8)))
    assert np.array_equal(building.ignore, drawn((0, 32, 64, 64)))
    building, road = build(**params, targets="semantic").samples("all")
    assert len(building.targets) == 1
    building, _ = build(**params, background=[]).samples("all")  # sparse: 0 says nothing
    assert np.array_equal(building.ignore, (values != 1) & (values != 2))


def test_class_raster_on_another_grid_is_looked_up_at_the_pixels_centres(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif")
    coarse = np.zeros((20, 20))
    coarse[2:5, 3:8] = 1
    transform = (2, 0, WEST - 4, 0, -2, NORTH + 4)  # four times the pixels, two cells further out
    path = class_map(tmp_path / "map.tif", coarse, transform=transform)
    params = {"labels": path, "classes": {1: "field"}}
    (sample,) = build(**params).samples("all")
    assert np.array_equal(union(sample), drawn((4, 0, 24, 12)))
    assert sample.ignore is None
    from rasterio.warp import calculate_default_transform, reproject

    shape = {"left": WEST - 4, "top": NORTH + 4, "right": WEST + 36, "bottom": NORTH - 36}
    fine, width, height = calculate_default_transform(
        UTM, "EPSG:3857", 20, 20, **shape, resolution=0.3
    )
    moved = np.zeros((height, width), dtype=np.uint8)
    reproject(
        coarse.astype(np.uint8),
        moved,
        src_transform=rasterio.Affine(*transform),
        src_crs=UTM,
        dst_transform=fine,
        dst_crs="EPSG:3857",
    )
    class_map(tmp_path / "map.tif", moved, transform=tuple(fine)[:6], crs="EPSG:3857")
    (sample,) = build(**params).samples("all")
    assert np.count_nonzero(union(sample) != drawn((4, 0, 24, 12))) <= 40  # the rim of 240 pixels


def test_class_raster_that_covers_part_of_a_scene_leaves_the_rest_unlabelled(build, tmp_path):
    write_scene(tmp_path / "scenes" / "a.tif")
    path = class_map(tmp_path / "map.tif", np.ones((64, 16)))
    (sample,) = build(labels=path, classes={1: "field"}).samples("all")
    assert np.array_equal(union(sample), drawn((0, 0, 16, 64)))
    assert np.array_equal(sample.ignore, drawn((16, 0, 64, 64)))
    far = class_map(tmp_path / "far.tif", np.ones((64, 16)), column=50)
    with pytest.raises(RecipeError, match=r"far\.tif does not overlap the scene .*a\.tif"):
        build(labels=far, classes={1: "field"})
    other = class_map(tmp_path / "maps" / "b.tif", np.ones((64, 16)))
    with pytest.raises(RecipeError, match=r"a\.tif has no label raster: none of the 2 files"):
        build(labels=(path, other), classes={1: "field"})


def test_labels_that_lie_elsewhere_are_refused_with_both_places(one):
    with pytest.raises(
        RecipeError, match=r"no label overlaps any of the 1 scenes.*x 300000 to 300032"
    ):
        one((900, 900, 909, 909))


def test_scenes_by_list_pattern_and_stac_are_the_same(build, tmp_path):
    paths = [write_scene(tmp_path / "scenes" / f"{name}.tif", row=n) for n, name in enumerate("ab")]
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9))
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "item",
        "geometry": None,
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "links": [],
        "assets": {"data": {"href": "./scenes", "type": "image/tiff; application=geotiff"}},
    }
    (tmp_path / "item.json").write_text(json.dumps(item))
    expected = ["a", "b"]
    for given in (
        tmp_path / "scenes",
        tmp_path / "scenes" / "*.tif",
        tuple(paths),
        (paths[0], tmp_path / "scenes"),
        tmp_path / "item.json",
    ):
        assert [sample.id for sample in build(scenes=given).samples("all")] == expected
    write_scene(tmp_path / "more" / "a.tif", column=1)
    both = build(scenes=(tmp_path / "scenes", tmp_path / "more"))
    assert [s.id for s in both.samples("all")] == ["scenes-a", "b", "more-a"]


def test_unlabelled_scenes_are_the_split_predict(one, tmp_path):
    write_scene(tmp_path / "more" / "b.tif", column=5)
    recipe = one((0, 0, 9, 9), unlabelled=tmp_path / "more" / "*.tif")
    assert recipe.splits == ("all", "predict")
    (sample,) = recipe.samples("predict")
    assert (sample.id, sample.prompt, sample.targets) == ("b", "building", ())
    assert sample.tags == ("kind:class", "unknown-truth")
    assert sample.ignore.all()


def test_index_is_built_once_and_again_when_a_file_changes(one, own_cache, monkeypatch, tmp_path):
    from t4spp_recipes.remote_sensing import window_index

    params = {"windows": {"size": 16}, "scene": {"pixels": np.ones((1, 64, 64), np.uint16)}}
    first = one((0, 0, 9, 9), (30, 40, 60, 64), **params)
    expected = [(sample.id, union(sample).sum()) for sample in first.samples("all")]
    (kept,) = own_cache.glob("geo-windows-*.npz")
    build_index = window_index._build
    monkeypatch.setattr(window_index, "_build", None)
    again = one_again(first)
    assert [(s.id, union(s).sum()) for s in again.samples("all")] == expected
    assert again.counters() == first.counters()
    assert again.index.limits == first.index.limits == (((1.0, 1.0),),)
    monkeypatch.setattr(window_index, "_build", build_index)
    kept.write_bytes(b"damaged")
    assert len(one((0, 0, 9, 9), **params).samples("all")) == 16
    assert len(list(own_cache.glob("geo-windows-*.npz"))) == 2  # the labels changed
    assert not list(own_cache.glob("*.part"))


def test_a_damaged_index_is_never_a_crash_whichever_byte_is_wrong(one, own_cache):
    from t4spp_recipes.remote_sensing import window_index

    params = {"windows": {"size": 16}}
    index = one((0, 0, 9, 9), (30, 40, 60, 64), **params).index
    (kept,) = own_cache.glob("geo-windows-*.npz")
    whole = kept.read_bytes()
    rebuilt = 0
    for place in range(0, len(whole), 11):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = window_index._load(kept)
        rebuilt += found is None
        assert found is None or np.array_equal(found.box, index.box)
    assert rebuilt > len(whole) // 22
    middle = len(whole) // 2
    kept.write_bytes(whole[:middle] + bytes(b ^ 0xFF for b in whole[middle : middle + 200]))
    again = one_again(one((0, 0, 9, 9), (30, 40, 60, 64), **params)).index
    assert np.array_equal(again.box, index.box)


@pytest.mark.parametrize("notes", ["[]", "{}", '{"limits": 3}', '{"limits": [[1]]}', "null"])
def test_an_index_with_notes_of_another_shape_is_built_again(one, own_cache, notes):
    from t4spp_recipes.remote_sensing import window_index

    assert len(one((0, 0, 9, 9)).samples("all")) == 1
    (kept,) = own_cache.glob("geo-windows-*.npz")
    assert window_index._load(kept) is not None
    with np.load(kept) as stored:
        arrays = dict(stored)
    np.savez_compressed(kept, **(arrays | {"notes": np.array(notes)}))
    assert window_index._load(kept) is None


def test_index_that_cannot_be_kept_costs_time_only_and_is_logged(one, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    recipe = one((0, 0, 9, 9), cache_dir=tmp_path / "file")
    assert len(recipe.samples("all")) == 1
    assert "the index of windows is not kept" in caplog.text


def test_samples_pickle_and_read_nothing_before_pixels_are_asked_for(one, tmp_path):
    recipe = one((0, 0, 9, 9), windows={"size": 32})
    samples = pickle.loads(pickle.dumps(recipe.samples("all")))
    (tmp_path / "scenes" / "a.tif").unlink()
    sample = samples[0]
    assert union(sample).sum() == 81
    with pytest.raises(GeoError, match=r"a\.tif cannot be read"):
        _ = sample.image


def test_scene_rewritten_after_the_index_is_an_error_not_another_picture(one, tmp_path):
    samples = one((0, 0, 9, 9)).samples("all")
    write_scene(tmp_path / "scenes" / "a.tif", np.zeros((4, 64, 64), np.uint8))
    with pytest.raises(GeoError, match="has changed since it was indexed"):
        _ = samples[0].image


def one_again(recipe):
    """The recipe anew, which reads the headers again."""
    params = recipe.config.model_dump(exclude_unset=True)
    return load_catalogue(only=["recipes-remote-sensing"]).build("recipe", "geotiff", params)


def test_verify_names_scenes_whose_pixels_cannot_be_read(one, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    recipe = one((0, 0, 9, 9), scene={"pixels": pixels, "compress": "deflate"})
    assert recipe.verify() == []
    path = tmp_path / "scenes" / "a.tif"
    content = bytearray(path.read_bytes())
    content[2000:6000] = bytes(4000)
    path.write_bytes(content)
    (message,) = one_again(recipe).verify()
    assert "a.tif" in message


def test_view_is_what_predict_reads_scenes_by(one):
    recipe = one(
        (0, 0, 9, 9),
        picture={"bands": [3, 2, 1], "scaling": {"kind": "range", "low": 0, "high": 180}},
        windows={"size": 32, "stride": 16, "resolution": 0.5},
    )
    view = recipe.scene_view()
    assert view == recipe.config.scene_view()
    assert view.picture.bands == (3, 2, 1)
    assert (view.windows.size, view.windows.stride, view.windows.resolution) == (32, 16, 0.5)
    assert recipe.samples("all")[0].image[0, 0].tolist() == [128, 128, 128]  # 90 of 180


def test_missing_folders_bands_and_splits_are_named(build, tmp_path):
    with pytest.raises(RecipeError, match=r"geotiff: scenes: .*scenes does not exist"):
        build()
    (tmp_path / "scenes").mkdir()
    with pytest.raises(RecipeError, match=r"holds no \.tif"):
        build()
    write_scene(tmp_path / "scenes" / "a.tif")
    with pytest.raises(RecipeError, match=r"labels: .*labels\.geojson does not exist"):
        build()
    roof = ({"roof": "tile"},)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9), properties=roof)
    with pytest.raises(GeoError, match=r"3 bands, 'bands' names \[4\]"):
        build(picture={"bands": [4]})
    with pytest.raises(RecipeError, match="no split 'trian'"):
        build().samples("trian")
    with pytest.raises(GeoError, match=r"64 x 64 pixels, a window 100 x 100"):
        build(windows={"size": 100, "edge": "shift"})
    with pytest.raises(RecipeError, match=r"none of the 1 polygons has a label.*'tin'"):
        build(label_property="roof", values=("tin",))


@pytest.mark.parametrize("other", [None, "other roof"])
def test_a_label_column_that_is_missing_is_an_error_that_lists_the_columns(build, tmp_path, other):
    write_scene(tmp_path / "scenes" / "a.tif")
    named = ({"roof": "tin", "kind": 3},)
    write_labels(tmp_path / "labels.geojson", square(0, 0, 9, 9), properties=named)
    reason = r"labels\.geojson: no column 'rof'; choose among 'kind', 'roof', or"
    with pytest.raises(RecipeError, match=reason):
        build(label_property="rof", other=other)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"windows": {"size": 32, "stride": 40}}, "pixels would be lost"),
        ({"max_instances": 3, "targets": "semantic"}, "it bounds targets: instances"),
        ({"other": "roof"}, "label_property"),
        ({"preset": "banepa"}, "needs the dataset's folder"),
        ({"picture": {"bands": [1, 2]}}, "one band"),
        ({"split": {"by": "side", "test_share": 0.2}}, "by: side has one strip"),
        ({"split": {"val_share": 0.6, "test_share": 0.4}}, "nothing would be left"),
        ({"classes": {0: "field"}}, "a value cannot be both"),
        ({"classes": {1: "field"}, "label_property": "roof"}, "belong to vectors"),
        ({"label_suffix": "_map"}, "which need classes"),
        ({"empty_share": 1.0}, "less than 1"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(build, params, reason):
    with pytest.raises(ConfigError, match=reason):
        build(**params)


@pytest.mark.parametrize("label", ["a|b", "", "others"])
def test_label_that_no_descriptor_carries_is_refused(one, label):
    with pytest.raises(RecipeError, match="is no label that a descriptor can carry"):
        one((0, 0, 9, 9), label=label)
