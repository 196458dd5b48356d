from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


def coco_dict(annotations: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Two pictures of 10 x 12 pixels, categories dog and cat."""
    complete = [
        {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0, **annotation}
        for number, annotation in enumerate(annotations, start=1)
    ]
    return {
        "images": [
            {"id": 1, "file_name": "COCO_val2014_000000000001.jpg", "height": 10, "width": 12},
            {"id": 2, "file_name": "COCO_val2014_000000000002.jpg", "height": 10, "width": 12},
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": complete,
        **changes,
    }


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_picture(path: Path, size: tuple[int, int] = (10, 12), value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def build(catalogue: Catalogue, tmp_path: Path):
    def make(annotations: Any, **params: Any):
        content = annotations if isinstance(annotations, dict) else coco_dict(annotations)
        path = write_json(tmp_path / "annotations.json", content)
        return catalogue.build("recipe", "coco-instances", {"annotations": str(path), **params})

    return make


def mask_of(recipe: Any, index: int = 0) -> np.ndarray:
    return recipe.samples("all")[index].targets[0].mask


def test_polygon_becomes_its_pixels(build):
    mask = mask_of(build([{"segmentation": [SQUARE]}]))
    expected = np.zeros((10, 12), bool)
    expected[2:6, 2:6] = True
    assert mask.dtype == np.bool_
    assert (mask == expected).all()


def test_overlapping_polygons_of_one_annotation_are_united_not_summed(build):
    second = [4, 2, 9, 2, 9, 6, 4, 6]
    mask = mask_of(build([{"segmentation": [SQUARE, second]}]))
    expected = np.zeros((10, 12), bool)
    expected[2:6, 2:9] = True
    assert (mask == expected).all()


def test_uncompressed_and_compressed_run_lengths_give_one_mask(build):
    from pycocotools import mask as coco_mask

    truth = np.zeros((10, 12), bool)
    truth[3:7, 1:5] = True
    truth[4, 2] = False
    flat = truth.flatten(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    compressed = coco_mask.encode(np.asfortranarray(truth.astype(np.uint8)))["counts"].decode()
    recipe = build(
        [
            {"segmentation": {"size": [10, 12], "counts": counts}},
            {"segmentation": {"size": [10, 12], "counts": compressed}},
        ]
    )
    assert (mask_of(recipe, 0) == truth).all()
    assert (mask_of(recipe, 1) == truth).all()


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [10, 13], "counts": [130]},
        {"size": [10, 12], "counts": [1, 500]},
        {"size": [10, 12], "counts": "0" * 500},
        {"size": [10, 12], "counts": "~~~~"},
    ],
)
def test_damaged_run_lengths_are_an_error_that_names_the_annotation(build, segmentation):
    with pytest.raises(RecipeError, match=r"annotations\.json: annotation 1 "):
        mask_of(build([{"segmentation": segmentation}]))


def test_per_instance_prompts_for_one_instance_by_its_category(build):
    recipe = build(
        [
            {"segmentation": [SQUARE]},
            {"segmentation": [SQUARE], "category_id": 2},
        ]
    )
    samples = recipe.samples("all")
    assert [sample.id for sample in samples] == ["1-1", "1-2"]
    assert [sample.prompt for sample in samples] == ["dog", "cat"]
    assert samples[0].labels == ("dog",)
    assert samples[0].kind == "partial"
    assert samples[0].size == (10, 12)
    assert samples[0].load_image is None


def test_by_category_gathers_the_instances_of_an_image(build):
    recipe = build(
        [{"segmentation": [SQUARE]}, {"segmentation": [[7, 7, 9, 7, 9, 9, 7, 9]]}],
        prompts="by-category",
    )
    (sample,) = recipe.samples("all")
    assert sample.id == "1-dog"
    assert [target.label for target in sample.targets] == ["dog", "dog"]


CROWD = {"iscrowd": 1, "segmentation": {"size": [10, 12], "counts": [20, 40, 60]}}


def test_crowd_region_is_ignored_in_samples_of_its_category_except_under_the_target(build):
    recipe = build(
        [{"segmentation": [SQUARE]}, CROWD, {"segmentation": [SQUARE], "category_id": 2}]
    )
    dog, cat = recipe.samples("all")
    expected = np.zeros((10, 12), bool)
    expected[:, 2:6] = True
    expected[2:6, 2:6] = False
    assert (dog.ignore == expected).all()
    assert cat.ignore is None
    assert recipe.counters() == {"crowd_ignored": 1}


def test_crowd_can_be_skipped_or_kept(build):
    skipped = build([{"segmentation": [SQUARE]}, CROWD], crowd="skip")
    assert [sample.ignore for sample in skipped.samples("all")] == [None]
    assert skipped.counters() == {"crowd_skipped": 1}
    kept = build([{"segmentation": [SQUARE]}, CROWD], crowd="keep")
    assert [sample.id for sample in kept.samples("all")] == ["1-1", "1-2"]


def test_degenerate_annotations_are_left_out_and_counted(build):
    recipe = build(
        [
            {"segmentation": [SQUARE]},
            {"segmentation": []},
            {},
            {"segmentation": [[1, 1, 5, 5]]},
            {"segmentation": [[1, 1, 5, 5, 3, 3]]},
            {"segmentation": {"size": [10, 12], "counts": [120]}},
            {"segmentation": "nonsense"},
            {"segmentation": [[1, "a", 5, 5, 3, 3]]},
            {"segmentation": [[1, 1, 5e12, 5, 3, 9]]},
            {"segmentation": [[1, 1, float("nan"), 5, 3, 9]]},
            {"segmentation": [SQUARE], "image_id": 99},
        ]
    )
    assert [sample.id for sample in recipe.samples("all")] == ["1-1"]
    assert recipe.counters() == {
        "annotations_without_segmentation": 2,
        "annotations_with_under_6_coordinates": 1,
        "annotations_with_zero_area": 2,
        "annotations_malformed": 4,
        "annotations_without_image": 1,
    }


def test_no_target_prompts_ask_for_what_the_image_lacks_and_are_seeded(build):
    annotations = [
        {"segmentation": [SQUARE]},
        {"segmentation": [SQUARE], "category_id": 2, "image_id": 2},
    ]
    recipe = build(annotations, prompts="by-category", no_target_share=0.5, seed=3)
    samples = list(recipe.samples("all"))
    assert sorted((s.image_id, s.prompt) for s in samples if not s.targets) == [
        ("1", "cat"),
        ("2", "dog"),
    ]
    again = build(annotations, prompts="by-category", no_target_share=0.5, seed=3)
    assert [s.id for s in again.samples("all")] == [s.id for s in samples]
    assert len({s.id for s in samples}) == len(samples)


def test_a_share_of_images_becomes_val(build):
    images = [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": 10, "width": 12}
        for number in range(20)
    ]
    annotations = [{"segmentation": [SQUARE], "image_id": number} for number in range(20)]
    recipe = build(coco_dict(annotations, images=images), val_share=0.25)
    assert recipe.splits == ("all", "train", "val")
    train = {sample.image_id for sample in recipe.samples("train")}
    val = {sample.image_id for sample in recipe.samples("val")}
    assert (len(train), len(val)) == (15, 5)
    assert not train & val


def test_a_split_in_the_file_name_names_the_split(catalogue, tmp_path):
    path = write_json(tmp_path / "instances_train2017.json", coco_dict([]))
    recipe = catalogue.build("recipe", "coco-instances", {"annotations": str(path)})
    assert recipe.splits == ("all", "train")


def test_a_file_a_split(catalogue, tmp_path):
    paths = {
        name: str(write_json(tmp_path / name / "a.json", coco_dict([{"segmentation": [SQUARE]}])))
        for name in ("train", "val")
    }
    recipe = catalogue.build("recipe", "coco-instances", {"annotations": paths})
    assert recipe.splits == ("train", "val")
    assert len(recipe.samples("val")) == 1


def test_unknown_split_is_an_error_with_the_nearest_name(build):
    with pytest.raises(RecipeError, match=r"no split 'al'. Did you mean 'all'\?"):
        build([]).samples("al")


@pytest.mark.parametrize(
    "name",
    [
        "COCO_val2014_000000000001.jpg",
        "000000000001.jpg",
        "val2017/000000000001.jpg",
        "val2014/COCO_val2014_000000000001.jpg",
        "COCO_train2014_000000000001.png",
    ],
)
def test_pictures_are_found_under_either_naming(build, tmp_path, name):
    write_picture(tmp_path / "pictures" / name)
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    assert recipe.samples("all")[0].image.shape == (10, 12, 3)
    (message,) = recipe.verify()
    assert "COCO_val2014_000000000002.jpg was not found" in message


def test_a_missing_picture_is_an_error_only_when_read(build, tmp_path):
    write_picture(tmp_path / "pictures" / "000000000002.jpg")
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    sample = recipe.samples("all")[0]
    assert sample.targets[0].mask.sum() == 16
    with pytest.raises(RecipeError, match=r"COCO_val2014_000000000001\.jpg was not found under"):
        _ = sample.image


def test_missing_pictures_can_be_skipped_and_are_counted(build, tmp_path):
    write_picture(tmp_path / "pictures" / "000000000001.jpg")
    recipe = build(
        [{"segmentation": [SQUARE]}, {"segmentation": [SQUARE], "image_id": 2}],
        images=str(tmp_path / "pictures"),
        missing_pictures="skip",
    )
    assert [sample.image_id for sample in recipe.samples("all")] == ["1"]
    assert recipe.counters() == {"images_without_picture": 1}


def test_a_picture_of_another_size_than_its_masks_is_an_error(build, tmp_path):
    write_picture(tmp_path / "pictures" / "000000000001.jpg", size=(10, 14))
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    with pytest.raises(RecipeError, match=r"000000000001\.jpg is 10 x 14 .* are 10 x 12"):
        _ = recipe.samples("all")[0].image


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_an_error_that_names_the_file(build, tmp_path, suffix):
    path = tmp_path / "pictures" / f"000000000001{suffix}"
    path.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (10, 12, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    assert len([text for text in recipe.verify() if "cannot be read" in text]) == 1
    with pytest.raises(RecipeError, match=rf"000000000001\{suffix} cannot be read as a picture"):
        _ = recipe.samples("all")[0].image


def test_changing_a_returned_picture_does_not_change_the_next_one(build, tmp_path):
    write_picture(tmp_path / "pictures" / "000000000001.png")
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    sample = recipe.samples("all")[0]
    sample.image[:] = 0
    assert sample.image.max() == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.json is not valid JSON: .* at line 1, column 2"),
        ("[]", r"expected an object with images, annotations and categories, found a list"),
        ('{"images": []}', r"the list 'annotations' is missing"),
        (
            json.dumps(coco_dict([{"segmentation": [SQUARE], "category_id": 9}])),
            r"annotations\[0\] has category_id 9",
        ),
        (
            json.dumps(coco_dict([{"segmentation": [SQUARE], "id": 1}, {"id": 1}])),
            r"annotations\[1\]\.id 1 occurs twice",
        ),
        (
            json.dumps(coco_dict([], images=[{"id": 1, "file_name": "a.jpg", "width": 3}])),
            r"images\[0\]\.height must be int, found None",
        ),
    ],
)
def test_malformed_annotations_are_one_clear_error(catalogue, tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        catalogue.build("recipe", "coco-instances", {"annotations": str(path)})


def test_missing_files_and_folders_say_where_to_get_them(catalogue, tmp_path):
    with pytest.raises(RecipeError, match=r"none\.json cannot be read: .*cocodataset\.org"):
        catalogue.build("recipe", "coco-instances", {"annotations": str(tmp_path / "none.json")})
    path = write_json(tmp_path / "a.json", coco_dict([]))
    with pytest.raises(RecipeError, match=r"pictures cannot be used, it does not exist.*CC BY"):
        catalogue.build(
            "recipe",
            "coco-instances",
            {"annotations": str(path), "images": str(tmp_path / "pictures")},
        )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"val_share": 1.0}, "val_share"),
        ({"missing_pictures": "skip"}, "missing_pictures"),
        ({"crowds": "skip"}, "crowd"),
        ({"expressions": "e.json", "prompts": "by-category"}, "prompts"),
        ({"expressions": "e.json", "no_target_share": 0.1}, "no_target_share"),
    ],
)
def test_contradicting_parameters_are_refused(catalogue, params, message):
    with pytest.raises(ConfigError, match=message):
        catalogue.build("recipe", "coco-instances", {"annotations": "a.json", **params})


def test_samples_pickle_for_worker_processes(build, tmp_path):
    write_picture(tmp_path / "pictures" / "000000000001.png")
    recipe = build([{"segmentation": [SQUARE]}], images=str(tmp_path / "pictures"))
    again = pickle.loads(pickle.dumps(recipe.samples("all")))  # our own object, in a test
    assert again[0].image.shape == (10, 12, 3)
    assert len(again[0:1]) == 1


# Expressions


@pytest.fixture
def referring(build, tmp_path):
    def make(entries: Any, annotations: Any = None, **params: Any):
        path = write_json(tmp_path / "expressions.json", entries)
        if annotations is None:
            annotations = [
                {"segmentation": [SQUARE], "bbox": [2, 2, 4, 4]},
                {"segmentation": [[7, 1, 11, 1, 11, 9, 7, 9]], "bbox": [7, 1, 4, 8]},
            ]
        return build(annotations, expressions=str(path), **params)

    return make


def test_an_expression_refers_to_its_annotations(referring):
    recipe = referring(
        [
            {"expression": "the small one", "annotation_ids": [1], "tags": ["size"]},
            {"expression": "both", "annotation_ids": [1, 2], "id": "b"},
            {"expression": "a zebra", "annotation_ids": [], "image_id": 1},
            {"expression": "a horse", "no_target": True, "image_id": 2},
        ]
    )
    samples = list(recipe.samples("all"))
    assert [(s.id, s.prompt, len(s.targets)) for s in samples] == [
        ("1-0", "the small one", 1),
        ("1-b", "both", 2),
        ("1-2", "a zebra", 0),
        ("2-3", "a horse", 0),
    ]
    assert samples[0].labels == ("the small one",)
    assert samples[0].targets[0].label == "the small one"
    assert samples[0].tags == ("size",)
    assert recipe.counters()["no_target_prompts"] == 2


def test_grefcoco_entries_are_read(referring):
    recipe = referring(
        [
            {
                "image_id": 1,
                "split": "val",
                "ann_id": [2],
                "sentences": [{"sent": "right", "sent_id": 10}, {"sent": "tall", "sent_id": 11}],
                "no_target": False,
            },
            {
                "image_id": 1,
                "split": "testA",
                "ann_id": [-1],
                "sentences": [{"sent": "bus", "sent_id": 12}],
                "no_target": True,
            },
        ]
    )
    assert recipe.splits == ("all", "val", "testA")
    assert [s.id for s in recipe.samples("val")] == ["1-s10", "1-s11"]
    assert [len(s.targets) for s in recipe.samples("testA")] == [0]


def test_a_box_stands_for_the_annotation_that_it_overlaps_most(referring):
    recipe = referring(
        [
            {
                "normal_caption": "the tall one",
                "image": "val2017/000000000001.jpg",
                "solution": [7, 1, 11, 8],
                "annotation_id": "000000000001_17",
                "categories": {"empty_case": False},
            },
            {
                "normal_caption": "a bus",
                "image": "val2017/000000000001.jpg",
                "solution": None,
                "categories": {"empty_case": True},
            },
            {"expression": "nothing there", "image_id": 1, "box": [0, 0, 1, 1]},
        ]
    )
    samples = recipe.samples("all")
    assert [(s.prompt, len(s.targets)) for s in samples] == [("the tall one", 1), ("a bus", 0)]
    assert samples[0].targets[0].mask[:, 7:11].any()
    assert recipe.counters()["expressions_without_annotation"] == 1


def test_expressions_are_sanitised_and_counted(referring):
    recipe = referring(
        [
            {"expression": "the dog|cat\non top", "annotation_ids": [1]},
            {"expression": "  ", "annotation_ids": [1]},
        ]
    )
    (sample,) = recipe.samples("all")
    assert sample.prompt == "the dog/cat on top"
    assert sample.labels == (sample.targets[0].label,) == ("the dog/cat on top",)
    assert recipe.counters() == {"labels_sanitised": 1, "expressions_empty": 1}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": 1}, "expected a list of expressions"),
        ([3], "entry 0 must be an object"),
        ([{"annotation_ids": [1]}], "entry 0 has no phrase"),
        ([{"expression": "x", "image_id": 1}], "What does it refer to"),
        ([{"expression": "x", "annotation_ids": [77]}], "Do the two files belong together"),
        ([{"expression": "x", "annotation_ids": [1], "image_id": 2}], "lies in image 1"),
        (
            [{"expression": "x", "annotation_ids": [1], "id": 5}] * 2,
            "the id '1-5' occurs twice",
        ),
    ],
)
def test_malformed_expressions_are_one_clear_error(referring, entries, message):
    with pytest.raises(RecipeError, match=message):
        referring(entries)


# Real data


def real(catalogue: Catalogue, shared_data: Path, **params: Any):
    path = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    return catalogue.build("recipe", "coco-instances", {"annotations": str(path), **params})


def test_coco_val100_has_830_instances_and_839_with_crowd(catalogue, shared_data):
    samples = real(catalogue, shared_data).samples("val")
    assert len(samples) == 830
    shares = [sample.targets[0].mask.mean() for sample in samples]
    assert sum(len(sample.targets) for sample in samples) == 830
    assert min(shares) > 0
    assert np.median(shares) == pytest.approx(0.00375, abs=5e-6)
    assert len(real(catalogue, shared_data, crowd="keep").samples("all")) == 839


def test_coco_masks_equal_pycocotools(catalogue, shared_data, capsys):
    from pycocotools.coco import COCO

    path = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    coco = COCO(str(path))
    capsys.readouterr()
    for sample in real(catalogue, shared_data, crowd="keep").samples("all"):
        annotation = coco.anns[int(sample.id.split("-")[1])]
        assert (sample.targets[0].mask == coco.annToMask(annotation).astype(bool)).all()


def test_coco_pictures_of_139_and_724_are_found_under_another_name(catalogue, shared_data):
    recipe = real(catalogue, shared_data, images=str(shared_data / "coco"), missing_pictures="skip")
    samples = recipe.samples("all")
    assert {sample.image_id for sample in samples} == {"139", "724"}
    assert samples[0].image.shape == (*samples[0].size, 3)


def test_lvis_is_read_and_absent_prompts_are_known_negatives(catalogue, shared_data):
    path = shared_data / "coco" / "coco_val100" / "lvis_val_100.json"
    recipe = catalogue.build(
        "recipe",
        "coco-instances",
        {"annotations": str(path), "prompts": "by-category", "no_target_share": 0.1},
    )
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {item["id"]: item["name"] for item in content["categories"]}
    negatives = {
        (str(image["id"]), names[number])
        for image in content["images"]
        for number in image["neg_category_ids"]
    }
    absent = [s for s in recipe.samples("all") if not s.targets]
    assert absent
    assert {(s.image_id, s.prompt) for s in absent} <= negatives


def test_refcocos_expressions_are_read_with_their_no_target_prompts(catalogue, shared_data):
    path = shared_data / "coco" / "refcocos" / "results" / "refcocos_test.json"
    recipe = real(catalogue, shared_data, expressions=str(path))
    samples = recipe.samples("all")
    assert [len(sample.targets) for sample in samples].count(0) == 3
    assert len(samples) == 5
    assert len(recipe.samples("val")) == 5
    assert recipe.counters()["expressions_without_image"] == 501
