from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue

CLASSES = ["sky", "road", "car"]


def save(path: Path, array: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    if mode == "P":
        image.putpalette([value for number in range(256) for value in (number, 255 - number, 9)])
    image.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 4 x 6; a: sky over road with void; b: road alone, with one pixel of car."""
    first = np.zeros((4, 6), int)
    first[2:] = 1
    first[3, 5] = 255
    second = np.ones((4, 6), int)
    second[1, 1] = 2
    for stem, mask in (("a", first), ("b", second)):
        save(tmp_path / "masks" / f"{stem}.png", mask)
        save(tmp_path / "images" / f"{stem}.jpg", np.full((4, 6, 3), 9))
    return tmp_path


@pytest.fixture
def build(catalogue: Catalogue, folder: Path):
    def make(**params: Any):
        given = {
            "images": str(folder / "images"),
            "masks": str(folder / "masks"),
            "classes": CLASSES,
            "void": [255],
            **params,
        }
        kept = {key: value for key, value in given.items() if value is not None}
        return catalogue.build("recipe", "semantic-folder", kept)

    return make


def test_by_class_asks_for_each_class_that_an_image_shows(build):
    samples = build().samples("all")
    assert [sample.id for sample in samples] == ["a-sky", "a-road", "b-road", "b-car"]
    sky = samples[0]
    assert (sky.prompt, sky.labels, sky.kind) == ("sky", ("sky",), "partial")
    assert (sky.size, sky.image_id) == ((4, 6), "a")
    assert [target.label for target in sky.targets] == ["sky"]
    expected = np.zeros((4, 6), bool)
    expected[:2] = True
    assert (sky.targets[0].mask == expected).all()
    assert sky.image.shape == (4, 6, 3)


def test_void_pixels_are_ignored_and_belong_to_no_target(build):
    road, alone = build().samples("all")[1], build().samples("all")[2]
    expected = np.zeros((4, 6), bool)
    expected[3, 5] = True
    assert (road.ignore == expected).all()
    assert not (road.targets[0].mask & road.ignore).any()
    assert alone.ignore is None


@pytest.mark.parametrize("kind", ["conditioned", "open"])
def test_segment_all_asks_for_every_class_at_once(build, kind):
    recipe = build(prompts="segment-all", segment_all_kind=kind)
    first, second = recipe.samples("all")
    assert (first.id, first.prompt, first.kind) == ("a", "sky|road|car", kind)
    assert first.labels == ("sky", "road", "car")
    assert [target.label for target in first.targets] == ["sky", "road"]
    assert [target.label for target in second.targets] == ["road", "car"]


def test_specks_get_no_prompt_and_are_counted(build):
    recipe = build(min_pixels=2, no_target_share=0.4)
    assert [s.id for s in recipe.samples("all") if s.targets] == ["a-sky", "a-road", "b-road"]
    assert recipe.counters()["classes_below_min_pixels"] == 1
    assert "b-no-car" not in [s.id for s in recipe.samples("all")]


def test_absent_classes_are_asked_for_at_the_share_that_is_set(build):
    recipe = build(no_target_share=0.2, seed=1)
    absent = [sample for sample in recipe.samples("all") if not sample.targets]
    assert len(absent) == 1
    assert absent[0].id in ("a-no-car", "b-no-sky")
    assert absent[0].labels == (absent[0].prompt,)
    again = build(no_target_share=0.2, seed=1)
    assert [s.id for s in again.samples("all")] == [s.id for s in recipe.samples("all")]


def test_too_few_absent_classes_are_counted_not_hidden(build):
    recipe = build(no_target_share=0.8)
    assert len(recipe.samples("all")) == 6
    assert recipe.counters() == {"no_target_prompts": 2, "no_target_prompts_lacking": 14}


def test_background_is_scored_but_never_asked_for(build):
    recipe = build(classes=["background", "road", "car"])
    assert [s.id for s in recipe.samples("all")] == ["a-road", "b-road", "b-car"]
    recipe = build(background=[1])
    assert [s.id for s in recipe.samples("all")] == ["a-sky", "b-car"]
    assert recipe.samples("all")[0].ignore.sum() == 1


def test_a_mapping_of_ids_may_merge_classes(build):
    recipe = build(classes={0: "sky", 1: "ground", 2: "ground"})
    assert [s.id for s in recipe.samples("all")] == ["a-sky", "a-ground", "b-ground"]
    assert recipe.samples("all")[2].targets[0].mask.all()


def test_class_names_are_carried_as_written(build, tmp_path):
    (tmp_path / "names.txt").write_text("__ignore__\n_background_\nno\ntv/monitor\n\n")
    recipe = build(classes=str(tmp_path / "names.txt"))
    assert recipe.classes == ("no", "tv/monitor")


def test_palette_masks_are_read_as_indices(build, folder):
    save(folder / "masks" / "a.png", np.full((4, 6), 2), mode="P")
    assert build().samples("all")[0].id == "a-car"


def test_colour_masks_are_an_error_that_says_so(build, folder):
    save(folder / "masks" / "a.png", np.zeros((4, 6, 3)))
    with pytest.raises(RecipeError, match=r"a\.png has colour mode RGB, not one class id a pixel"):
        build().samples("all")


def test_a_class_id_beyond_the_list_is_an_error_with_its_place(build, folder):
    with pytest.raises(
        RecipeError, match=r"a\.png holds the class id 255 in 1 pixels.*3 classes \(ids up to 2\)"
    ):
        build(void=[]).samples("all")


def test_a_mask_of_another_size_than_its_picture_is_an_error(build, folder):
    save(folder / "images" / "b.jpg", np.zeros((4, 7, 3)))
    with pytest.raises(RecipeError, match=r"b\.jpg is 4 x 7 .* b\.png are 4 x 6|4 x 6"):
        build().samples("all")
    assert len(build().verify()) == 1


def test_a_truncated_mask_is_an_error_that_names_the_file(build, folder):
    path = folder / "masks" / "b.png"
    save(path, np.random.default_rng(0).integers(0, 3, (40, 60)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RecipeError, match=r"b\.png cannot be read as a picture"):
        build().samples("all")


def test_a_missing_picture_is_an_error_only_when_read(build, folder):
    (folder / "images" / "a.jpg").unlink()
    recipe = build()
    sample = recipe.samples("all")[0]
    assert sample.targets[0].mask.sum() == 12
    assert recipe.counters() == {"masks_without_picture": 1}
    with pytest.raises(RecipeError, match=r"the picture a \(\.jpg, \.png, \.\.\.\) was not found"):
        _ = sample.image


def test_pictures_are_optional_and_those_without_a_mask_are_counted(build, folder):
    assert build(images=None).samples("all")[0].load_image is None
    save(folder / "images" / "c.png", np.zeros((4, 6, 3)))
    recipe = build()
    recipe.samples("all")
    assert recipe.counters() == {"pictures_without_mask": 1}


def test_a_share_of_images_becomes_val(build, folder):
    for number in range(8):
        save(folder / "masks" / f"n{number}.png", np.ones((4, 6)))
    recipe = build(val_share=0.3)
    assert recipe.splits == ("all", "train", "val")
    train = {s.image_id for s in recipe.samples("train")}
    val = {s.image_id for s in recipe.samples("val")}
    assert (len(train), len(val), train & val) == (7, 3, set())
    with pytest.raises(RecipeError, match=r"no split 'vall'. Did you mean 'val'\?"):
        recipe.samples("vall")


def test_the_index_is_cached_outside_the_dataset(build, folder, own_cache, monkeypatch):
    before = sorted(path.name for path in folder.rglob("*"))
    build().samples("all")
    assert len(list(own_cache.iterdir())) == 1
    monkeypatch.setattr(
        "t4spp_recipes.natural.mask_index._scan", lambda *_: pytest.fail("scanned again")
    )
    assert len(build().samples("all")) == 4
    assert sorted(path.name for path in folder.rglob("*")) == before
    monkeypatch.undo()


def test_a_changed_mask_is_scanned_again(build, folder):
    assert len(build().samples("all")) == 4
    save(folder / "masks" / "b.png", np.ones((4, 6)))
    assert len(build().samples("all")) == 3


def test_a_damaged_or_unwritable_cache_costs_time_only(build, folder, own_cache, tmp_path, caplog):
    build().samples("all")
    (cached,) = own_cache.iterdir()
    cached.write_text("[[1,", encoding="utf-8")
    assert len(build().samples("all")) == 4
    assert "scanning the masks again" in caplog.text
    (tmp_path / "file").write_text("")
    assert len(build(cache_dir=str(tmp_path / "file" / "below")).samples("all")) == 4
    assert "the index of masks is not kept" in caplog.text


def test_samples_pickle_for_worker_processes(build):
    again = pickle.loads(pickle.dumps(build().samples("all")))  # our own object, in a test
    assert again[3].targets[0].mask.sum() == 1
    assert again[3].image.shape == (4, 6, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "camvid"}, "root"),
        ({"root": "/data"}, "preset"),
        ({"preset": "camvids", "root": "/data"}, "camvid"),
        ({"masks": "m"}, "classes"),
        ({"preset": "voc", "root": "/d", "masks": "m"}, "images, masks"),
        ({"masks": "m", "classes": ["a"], "prompts": "segment-all", "no_target_share": 0.1}, "no_"),
    ],
)
def test_contradicting_parameters_are_refused(catalogue, params, message):
    with pytest.raises(ConfigError, match=message):
        catalogue.build("recipe", "semantic-folder", params)


@pytest.mark.parametrize("prompts", ["by-class", "segment-all"])
def test_a_class_twice_and_one_that_no_descriptor_can_carry_are_refused(build, prompts):
    with pytest.raises(RecipeError, match="'sky' occurs twice"):
        build(classes=["sky", "road", "sky"])
    with pytest.raises(RecipeError, match=r"class 2 is called 'a\|b'.*it holds '\|'.*Rename it"):
        build(classes=["sky", "road", "a|b"], prompts=prompts)


def test_a_missing_root_says_where_to_get_the_dataset(catalogue, tmp_path):
    with pytest.raises(
        RecipeError, match=r"root of camvid: .*none cannot be used, it does not exist.*CC BY-NC"
    ):
        catalogue.build(
            "recipe", "semantic-folder", {"preset": "camvid", "root": str(tmp_path / "none")}
        )
    with pytest.raises(RecipeError, match=r"none of the folders.*train/ with trainannot/"):
        catalogue.build("recipe", "semantic-folder", {"preset": "camvid", "root": str(tmp_path)})


# Layouts of the real downloads


def test_voc2012s_layout_with_its_lists(catalogue, tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    mask = np.zeros((4, 6), int)
    mask[1] = 15
    mask[2] = 255
    for stem in ("2007_1", "2007_2", "2007_3"):
        save(root / "SegmentationClass" / f"{stem}.png", mask, mode="P")
        save(root / "JPEGImages" / f"{stem}.jpg", np.zeros((4, 6, 3)))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_3\n2007_1\n")
    (lists / "val.txt").write_text("2007_2\n")
    recipe = catalogue.build("recipe", "semantic-folder", {"preset": "voc", "root": str(tmp_path)})
    assert recipe.splits == ("train", "val")
    assert [s.id for s in recipe.samples("train")] == ["2007_3-person", "2007_1-person"]
    assert recipe.samples("val")[0].ignore.sum() == 6
    (lists / "val.txt").write_text("2007_9\n")
    again = catalogue.build("recipe", "semantic-folder", {"preset": "voc", "root": str(tmp_path)})
    with pytest.raises(RecipeError, match="split 'val' lists '2007_9'"):
        again.samples("val")


def test_ade20ks_layout_with_its_table_of_classes(catalogue, tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for split, stem in (("training", "ADE_train_1"), ("validation", "ADE_val_1")):
        save(root / "annotations" / split / f"{stem}.png", [[0, 1], [2, 2]])
        save(root / "images" / split / f"{stem}.jpg", np.zeros((2, 2, 3)))
    params = {"preset": "ade20k", "root": str(tmp_path)}
    with pytest.raises(RecipeError, match=r"objectInfo150\.txt, is not in"):
        catalogue.build("recipe", "semantic-folder", params)
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tName\n1\t0\t1\t1\twall\n2\t0\t1\t1\tbed \n3\t0\t1\t1\tcar, auto\n"
    )
    recipe = catalogue.build("recipe", "semantic-folder", params)
    assert recipe.splits == ("train", "val")
    assert recipe.classes == ("wall", "bed", "car")
    assert [s.id for s in recipe.samples("val")] == ["ADE_val_1-wall", "ADE_val_1-bed"]
    assert recipe.samples("val")[0].ignore.sum() == 1


# Real data


def real(catalogue: Catalogue, root: Path, preset: str, **params: Any):
    return catalogue.build(
        "recipe", "semantic-folder", {"preset": preset, "root": str(root), **params}
    )


def test_camvid_has_367_and_101_frames_of_11_classes(catalogue, shared_data):
    recipe = real(catalogue, shared_data / "camvid", "camvid", prompts="segment-all")
    assert recipe.splits == ("train", "val")
    assert (len(recipe.samples("train")), len(recipe.samples("val"))) == (367, 101)
    assert len(recipe.classes) == 11
    sample = recipe.samples("val")[0]
    covered = sum(target.mask.astype(int) for target in sample.targets) + sample.ignore
    assert (covered == 1).all()
    assert sample.image.shape == (360, 480, 3)
    by_class = real(catalogue, shared_data / "camvid", "camvid")
    assert (len(by_class.samples("train")), len(by_class.samples("val"))) == (3534, 1111)


def test_ade20ks_predictions_equal_its_truth(catalogue, shared_data):
    base = shared_data / "ade20k_sample"
    truth = real(catalogue, base, "ade20k")
    assert len(truth.classes) == 150
    predicted = catalogue.build(
        "recipe",
        "semantic-folder",
        {
            "masks": str(base / "sampleData" / "predictions"),
            "classes": dict(enumerate(truth.classes, start=1)),
            "void": [0],
        },
    )
    pairs = list(zip(truth.samples("all"), predicted.samples("all"), strict=True))
    assert len(pairs) == 25
    for left, right in pairs:
        assert left.id == right.id
        assert (left.targets[0].mask == right.targets[0].mask).all()


def test_voc_masks_match_labelmes_polygons(catalogue, shared_data):
    """labelme painted the PNGs from the polygons with PIL, outlines included, in their order."""
    base = shared_data / "voc_labelme" / "semantic_segmentation"
    recipe = real(catalogue, base / "data_dataset_voc", "voc")
    assert len(recipe.classes) == 20
    samples = list(recipe.samples("all"))
    assert len(samples) == 7
    for sample in samples:
        path = base / "data_annotated" / f"{sample.image_id}.json"
        drawn = np.zeros(sample.size, bool)
        for shape in json.loads(path.read_text(encoding="utf-8"))["shapes"]:
            canvas = Image.new("L", sample.size[::-1])
            points = [tuple(point) for point in shape["points"]]
            ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
            inside = np.asarray(canvas) == 1
            drawn = drawn | inside if shape["label"] == sample.prompt else drawn & ~inside
        # One outline pixel of 2011_000006 is rounded otherwise by today's PIL.
        assert (sample.targets[0].mask != drawn).sum() <= 1, sample.id
