"""refCLEF, RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO on miniatures in their distributed layouts."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_refer import (
    COCO_PICTURES,
    SIZE,
    UNC_REFS,
    coco_name,
    ref,
    write_instances,
    write_json,
    write_picture,
    write_refer,
)

from t4spp.cli import main
from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue
from t4spp_recipes.natural.referring.published_counts import PUBLISHED

UMD_REFS = [
    ref(1, 1, 1, "train", "a dog that sits"),
    ref(2, 1, 2, "val", "the big dog"),
    ref(3, 2, 4, "test", "a man in red"),
]
GOOGLE_REFS = [ref(1, 1, 1, "train", "a dog that sits"), ref(2, 1, 2, "val", "the big dog")]


@pytest.fixture
def build(catalogue: Catalogue, tmp_path: Path):
    def make(name: str = "refcoco", root: Path = tmp_path, **params: Any):
        return catalogue.build("recipe", name, {"root": str(root), **params})

    return make


def prompts(recipe: Any, split: str) -> list[str]:
    return [sample.prompt for sample in recipe.samples(split)]


def run_check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["data", "check", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


# Layouts and splits


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_each_expression_of_a_split_is_a_sample_with_its_object(build, tmp_path, protocol):
    recipe = build(root=write_refer(tmp_path, protocol=protocol))
    assert recipe.splits == ("train", "val", "testA", "testB")
    samples = recipe.samples("train")
    assert [sample.id for sample in samples] == ["1-1-10", "1-1-11"]
    assert [sample.prompt for sample in samples] == ["dog", "The dog, left"]
    assert [sample.labels for sample in samples] == [("dog",), ("The dog, left",)]
    expected = np.zeros(SIZE, dtype=bool)
    expected[2:6, 2:6] = True
    for sample in samples:
        assert sample.size == SIZE and sample.image_id == "1" and sample.ignore is None
        assert [target.label for target in sample.targets] == [sample.prompt]
        assert np.array_equal(sample.targets[0].mask, expected)
        assert (sample.image == 1).all()


@pytest.mark.parametrize(
    ("name", "dataset", "split_by", "refs", "splits"),
    [
        ("refcoco", "refcoco", "unc", UNC_REFS, ("train", "val", "testA", "testB")),
        ("refcoco", "refcoco", "google", UMD_REFS, ("train", "val", "test")),
        ("refcoco-plus", "refcoco+", "unc", UNC_REFS, ("train", "val", "testA", "testB")),
        ("refcocog", "refcocog", "umd", UMD_REFS, ("train", "val", "test")),
        ("refcocog", "refcocog", "google", GOOGLE_REFS, ("train", "val")),
    ],
)
def test_the_pickle_of_each_split_author_is_read(
    build, tmp_path, name, dataset, split_by, refs, splits
):
    write_refer(tmp_path, dataset, refs, split_by)
    recipe = build(name, split_by=split_by)
    assert recipe.splits == splits
    for split in splits:
        assert len(recipe.samples(split)) == sum(
            len(item["sentences"]) for item in refs if item["split"] == split
        )
        assert all(sample.image.shape == (*SIZE, 3) for sample in recipe.samples(split))


@pytest.mark.parametrize("below", ["", "refer_seg", "dataset/refer_seg", "data"])
def test_the_root_may_be_a_folder_above(build, tmp_path, below):
    write_refer(tmp_path / below)
    assert len(build().samples("val")) == 2


def test_the_root_may_be_the_folder_of_the_dataset_itself(build, tmp_path):
    write_refer(tmp_path)
    sample = build(root=tmp_path / "refcoco").samples("val")[0]
    assert (sample.image == 1).all()


def test_the_folder_of_another_dataset_is_not_taken_for_the_wanted_one(build, tmp_path):
    write_refer(tmp_path, "refcoco")
    with pytest.raises(RecipeError, match=r"lacks refcoco\+/refs\(unc\)\.p"):
        build("refcoco-plus", root=tmp_path / "refcoco")


@pytest.mark.parametrize(
    "folder", ["images/train2014", "images/coco_2014/train2014", "coco/train2014"]
)
def test_pictures_are_found_where_other_published_code_keeps_them(build, tmp_path, folder):
    write_refer(tmp_path, pictures=folder)
    assert (build().samples("val")[0].image == 1).all()


def test_pictures_may_be_named_and_may_have_2017_names(build, tmp_path):
    write_refer(tmp_path, pictures=None)
    write_picture(tmp_path / "elsewhere" / "train2017" / "000000000001.jpg", value=9)
    recipe = build(images=str(tmp_path / "elsewhere"))
    assert (recipe.samples("val")[0].image == 9).all()


def test_masks_need_no_pictures_and_a_missing_one_is_an_error_where_pixels_are_read(
    build, tmp_path
):
    write_refer(tmp_path, pictures=None)
    sample = build().samples("val")[0]
    assert sample.targets[0].mask.any()
    with pytest.raises(RecipeError, match=r"train2014\.zip"):
        _ = sample.image


def test_samples_without_a_picture_may_be_skipped_and_are_counted(build, tmp_path):
    write_refer(tmp_path)
    (tmp_path / COCO_PICTURES / coco_name(1)).unlink()
    recipe = build(missing_pictures="skip")
    with pytest.raises(RecipeError, match="'images_without_picture': 1"):
        recipe.samples("val")
    assert len(recipe.samples("testA")) == 1
    refs = [*UNC_REFS, ref(9, 2, 4, "val", "man")]
    recipe = build(root=write_refer(tmp_path / "b", refs=refs), missing_pictures="skip")
    (tmp_path / "b" / COCO_PICTURES / coco_name(1)).unlink()
    assert prompts(recipe, "val") == ["man"]
    assert recipe.counters() == {"images_without_picture": 1, "expressions_without_picture": 2}


def test_a_ref_of_several_test_parts_belongs_to_each_of_them(build, tmp_path):
    refs = [
        ref(1, 1, 1, "train", "sky"),
        ref(2, 1, 2, "testA", "only a"),
        ref(3, 2, 4, "testAB", "a and b"),
        ref(4, 2, 4, "testBC", "b and c"),
    ]
    recipe = build(root=write_refer(tmp_path, refs=refs))
    assert recipe.splits == ("train", "testA", "testB", "testC")
    assert prompts(recipe, "testA") == ["only a", "a and b"]
    assert prompts(recipe, "testB") == ["a and b", "b and c"]
    assert prompts(recipe, "testC") == ["b and c"]


def test_googles_refcocog_says_why_it_has_no_test(build, tmp_path):
    write_refer(tmp_path, "refcocog", GOOGLE_REFS, "google")
    with pytest.raises(RecipeError, match="never released"):
        build("refcocog", split_by="google").samples("test")


def test_an_unknown_split_is_named_with_the_nearest(build, tmp_path):
    write_refer(tmp_path)
    with pytest.raises(RecipeError, match="testA"):
        build().samples("tesA")


def test_a_split_author_that_a_dataset_lacks_is_refused(build, tmp_path):
    with pytest.raises(ConfigError, match="split_by"):
        build("refcoco-plus", split_by="google")


def test_refclef_reads_lists_of_run_length_codes_and_its_own_pictures(build, tmp_path):
    codes = [
        {"size": [10, 12], "counts": [0, 4, 116]},
        {"size": [10, 12], "counts": [2, 4, 114]},
    ]
    write_json(
        tmp_path / "refclef" / "instances.json",
        {
            "images": [{"id": 37, "file_name": "37.jpg", "height": 10, "width": 12}],
            # Its ids are texts, and its categories need not be listed.
            "annotations": [
                {"id": "37_1", "image_id": 37, "category_id": 7, "segmentation": codes}
            ],
            "categories": [],
        },
    )
    refs = [ref(1, 37, "37_1", "train", "sky"), ref(2, 37, "37_1", "testAB", "blue")]
    (tmp_path / "refclef" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
    write_picture(tmp_path / "images" / "saiapr_tc-12" / "37.jpg", value=37)
    recipe = build("refclef", counts=True)
    assert recipe.splits == ("train", "testA", "testB")
    sample = recipe.samples("train")[0]
    assert (sample.image == 37).all()
    expected = np.zeros((10, 12), dtype=bool)
    expected[0:6, 0] = True
    assert np.array_equal(sample.targets[0].mask, expected)
    assert recipe.verify() == []
    # Text4Seg's and LISA's validation add the codes: where both are 1, the sum is 2, not 1.
    mask = build("refclef", compat="lisa").samples("testA")[0].targets[0].mask
    assert np.flatnonzero(mask[:, 0]).tolist() == [0, 1, 4, 5]


# Quirks: native against compat


def test_overlapping_polygons_of_one_annotation_are_united(build, tmp_path):
    write_refer(tmp_path)
    mask = build().samples("val")[0].targets[0].mask
    expected = np.zeros(SIZE, dtype=bool)
    expected[1:5, 1:7] = True
    assert np.array_equal(mask, expected)
    assert int(mask.sum()) == 24


def test_polygons_that_leave_the_picture_are_clipped(build, tmp_path):
    write_refer(tmp_path, refs=[ref(1, 1, 1, "val", "dog")])
    path = tmp_path / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[9, 7, 40, 7, 40, 40, 9, 40]]
    write_json(path, content)
    mask = build().samples("val")[0].targets[0].mask
    assert np.argwhere(mask).min(axis=0).tolist() == [7, 9]
    assert int(mask.sum()) == 9  # rows 7 to 9, columns 9 to 11


@pytest.mark.parametrize("compat", ["lisa", "text4seg"])
def test_compat_validation_loses_the_pixels_where_polygons_overlap(build, tmp_path, compat):
    # Fault 6 of the published code: the polygons are summed, and 2 is not 1 (times 255 in eight
    # bits: 254, which the evaluation divides by 255).
    write_refer(tmp_path)
    mask = build(compat=compat).samples("val")[0].targets[0].mask
    assert mask[1].astype(int).tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert int(mask.sum()) == 16


@pytest.mark.parametrize("compat", ["lisa", "text4seg"])
def test_compat_training_masks_are_clamped_like_the_published_ones(build, tmp_path, compat):
    refs = [ref(1, 1, 2, "train", "two squares")]
    recipe = build(root=write_refer(tmp_path, refs=refs), compat=compat)
    assert int(recipe.samples("train")[0].targets[0].mask.sum()) == 24


@pytest.mark.parametrize(
    ("compat", "train", "val"),
    [
        (None, "The dog, left", ["Big dog, RIGHT", "two squares"]),
        ("lisa", "the dog, left", ["big dog, right", "two squares"]),
        ("text4seg", "The dog, left", ["big dog right", "two squares"]),
    ],
)
def test_compat_lowers_letters_and_drops_commas_like_the_published_code(
    build, tmp_path, compat, train, val
):
    recipe = build(root=write_refer(tmp_path), compat=compat)
    assert prompts(recipe, "train")[1] == train
    assert prompts(recipe, "val") == val


@pytest.mark.parametrize(("compat", "num"), [(None, 0), ("lisa", 1), ("text4seg", 1)])
def test_an_annotation_without_polygons_is_left_out_or_an_empty_target(
    build, tmp_path, compat, num
):
    refs = [ref(1, 2, 3, "val", "a ghost"), ref(2, 2, 4, "val", "man")]
    recipe = build(root=write_refer(tmp_path, refs=refs), compat=compat)
    samples = recipe.samples("val")
    assert len(samples) == 1 + num
    if compat is None:
        assert recipe.counters() == {"expressions_without_annotation": 1}
    else:
        assert samples[0].prompt == "a ghost" and samples[0].targets == ()
        assert recipe.counters() == {"no_target_prompts": 1}


@pytest.mark.parametrize(("compat", "expected"), [(None, ["man"]), ("lisa", ["object", "man"])])
def test_an_empty_expression_is_left_out_or_kept(build, tmp_path, compat, expected):
    refs = [ref(1, 2, 4, "val", "", "man")]
    recipe = build(root=write_refer(tmp_path, refs=refs), compat=compat)
    assert prompts(recipe, "val") == expected
    assert recipe.counters() == (
        {"expressions_empty": 1} if compat is None else {"labels_sanitised": 1}
    )


def test_labels_that_descriptors_cannot_hold_are_made_writable_and_counted(build, tmp_path):
    # Fault 3 of the published code: such labels break the descriptor.
    recipe = build(root=write_refer(tmp_path))
    assert prompts(recipe, "testB") == ["cup", "small cup", "a/b c"]
    assert recipe.counters() == {"labels_sanitised": 1}


def test_a_long_expression_is_asked_whole_and_its_label_cut(build, tmp_path):
    long = " ".join(["word"] * 60)
    recipe = build(root=write_refer(tmp_path, refs=[ref(1, 1, 1, "val", long)]))
    sample = recipe.samples("val")[0]
    assert sample.prompt == long
    assert len(sample.labels[0]) <= 128 and long.startswith(sample.labels[0])
    assert recipe.counters() == {"labels_cut": 1}


# Parameters


def test_the_raw_expression_may_be_asked(build, tmp_path):
    refs = [ref(1, 1, 1, "val", "dog left", raws=["Dog, LEFT!"])]
    recipe = build(root=write_refer(tmp_path, refs=refs), text="raw")
    assert prompts(recipe, "val") == ["Dog, LEFT!"]


def test_a_dataset_without_raw_text_says_so(build, tmp_path):
    refs = [ref(1, 1, 1, "val", "dog left")]
    del refs[0]["sentences"][0]["raw"]
    recipe = build(root=write_refer(tmp_path, refs=refs), text="raw")
    with pytest.raises(RecipeError, match="has no 'raw' text"):
        recipe.samples("val")


def test_one_expression_a_ref_is_drawn_by_the_seed(build, tmp_path):
    refs = [ref(n, 1, 1, "train", "a", "b", "c") for n in range(1, 41)]
    write_refer(tmp_path, refs=refs)
    first = build(expressions="one-per-ref", seed=1)
    assert len(first.samples("train")) == 40
    assert first.counters() == {"expressions_not_drawn": 80}
    again = build(expressions="one-per-ref", seed=1)
    assert prompts(first, "train") == prompts(again, "train")
    assert prompts(first, "train") != prompts(build(expressions="one-per-ref", seed=2), "train")
    assert set(prompts(first, "train")) == {"a", "b", "c"}


def test_samples_pickle_for_worker_processes(build, tmp_path):
    samples = pickle.loads(pickle.dumps(build(root=write_refer(tmp_path)).samples("val")))
    assert [sample.prompt for sample in samples] == ["Big dog, RIGHT", "two squares"]
    assert (samples[0].image == 1).all()


def test_only_the_annotations_that_are_referred_to_are_checked(build, tmp_path):
    # Elsewhere in the file, damage does not matter: most of its annotations are referred to by
    # nobody.
    write_refer(tmp_path, refs=[ref(1, 1, 1, "val", "dog")])
    path = tmp_path / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["category_id"] = 99
    write_json(path, content)
    assert len(build().samples("val")) == 1


# gRefCOCO


GREFS = [
    ref(1, 1, [1], "train", "the dog"),
    ref(2, 1, [1, 2], "val", "both dogs"),
    ref(3, 1, [-1], "val", "a zebra", "two zebras"),
    ref(4, 2, [4, 5], "val", "Man and crowd"),
    ref(5, 2, [4], "testA", "man"),
    ref(6, 2, [-1], "testB", "nobody"),
]


@pytest.fixture
def grefs(tmp_path: Path) -> Path:
    write_json(tmp_path / "grefcoco" / "grefs(unc).json", GREFS)
    write_instances(tmp_path / "grefcoco" / "instances.json")
    for number in (1, 2):
        write_picture(tmp_path / "images" / "train2014" / coco_name(number), value=number)
    return tmp_path


def test_grefcoco_has_a_target_an_instance_under_one_label_and_none_where_nothing_matches(
    build, grefs
):
    recipe = build("grefcoco")
    assert recipe.splits == ("train", "val", "testA", "testB")
    both, zebra, zebras, crowd = recipe.samples("val")
    assert both.tags == ("multi-target",) and zebra.tags == ("no-target",)
    assert [target.label for target in both.targets] == ["both dogs", "both dogs"]
    assert [int(target.mask.sum()) for target in both.targets] == [16, 24]
    assert zebra.targets == () and zebra.labels == ("a zebra",) and zebras.targets == ()
    assert [int(target.mask.sum()) for target in crowd.targets] == [9, 4]
    assert recipe.samples("testA")[0].tags == ("single-target",)
    assert recipe.counters() == {"no_target_prompts": 2}
    assert (both.image == 1).all()


def test_grefcoco_compat_rela_reads_raw_text_and_leaves_crowds_out(build, grefs):
    recipe = build("grefcoco", compat="rela")
    samples = recipe.samples("val")
    assert [sample.prompt for sample in samples] == [
        "Both Dogs", "A Zebra", "Two Zebras", "Man And Crowd",
    ]  # fmt: skip
    assert [int(target.mask.sum()) for target in samples[3].targets] == [9]
    assert recipe.counters()["targets_dropped_by_compat"] == 1


def test_grefcoco_compat_text4seg_misses_run_length_codes(build, grefs):
    recipe = build("grefcoco", compat="text4seg")
    samples = recipe.samples("val")
    assert [int(target.mask.sum()) for target in samples[3].targets] == [9]
    # Its sum of polygons is clamped, unlike RefCOCO's.
    assert [int(target.mask.sum()) for target in samples[0].targets] == [16, 24]
    assert samples[3].prompt == "Man and crowd"


def test_grefcoco_may_be_a_pickle(build, grefs):
    (grefs / "grefcoco" / "grefs(unc).json").unlink()
    (grefs / "grefcoco" / "grefs(unc).p").write_bytes(pickle.dumps(GREFS, protocol=0))
    assert len(build("grefcoco").samples("val")) == 4


def test_run_lengths_that_are_no_numbers_are_told_where_the_mask_is_painted(build, grefs):
    path = grefs / "grefcoco" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][4]["segmentation"]["counts"] = [0, None, 116]
    write_json(path, content)
    told = build("grefcoco", counts=False).verify()
    assert len(told) == 1 and "annotation 5 has run lengths that do not add up" in told[0]


def test_a_picture_of_an_impossible_size_is_refused_by_name(build, grefs):
    path = grefs / "grefcoco" / "instances.json"
    content = json.loads(path.read_text())
    content["images"][0]["height"] = 10**30
    write_json(path, content)
    with pytest.raises(
        RecipeError, match=r"images\[0\] has the size 10{30} x 12 pixels; sides are"
    ):
        build("grefcoco")


def test_repeated_ids_of_grefcoco_stay_apart(build, grefs):
    write_json(grefs / "grefcoco" / "grefs(unc).json", [GREFS[1], GREFS[1]])
    recipe = build("grefcoco")
    assert [sample.id for sample in recipe.samples("val")] == ["1-2-20", "1-2-20-2"]
    assert recipe.counters() == {"ids_repeated": 1}


def test_an_annotation_that_an_expression_names_twice_is_one_target(build, grefs):
    write_json(grefs / "grefcoco" / "grefs(unc).json", [{**GREFS[0], "ann_id": [1, 2, 1, 1]}])
    recipe = build("grefcoco")
    both = recipe.samples(GREFS[0]["split"])[0]
    assert [int(target.mask.sum()) for target in both.targets] == [16, 24]
    assert both.tags == ("multi-target",)
    assert recipe.counters() == {"annotations_repeated": 2}


# Damage and hostility


class _Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("echo > ran",)


def test_a_hostile_pickle_in_the_dataset_is_refused_and_runs_nothing(
    build, tmp_path, monkeypatch, capsys
):
    write_refer(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "refcoco" / "refs(unc).p"
    path.write_bytes(pickle.dumps([*UNC_REFS, _Hostile()], protocol=2))
    with pytest.raises(RecipeError, match="is refused, nothing in it was run"):
        build()
    assert main(["data", "check", "--recipe", "refcoco", "--param", f"root={tmp_path}"]) == 2
    assert "is refused" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("refs", "reason"),
    [
        ({"refs": []}, "expected a list of refs, found a dict"),
        ([], "found a list without any"),
        ([5], "ref 0 must be a dictionary"),
        ([{"ref_id": 1}], "ref 0 has no 'ann_id'"),
        ([{**UNC_REFS[0], "sentences": "dog"}], "sentences is a str"),
        ([{**UNC_REFS[0], "sentences": [{"sent_id": 1}]}], "sentence 0 has no 'sent'"),
        ([{**UNC_REFS[0], "sentences": [{"sent_id": 1, "sent": 5}]}], "must be texts"),
        ([{**UNC_REFS[0], "image_id": 1.5}], "image_id must be a number or a text, found 1.5"),
        ([{**UNC_REFS[0], "ref_id": ["x"] * 9}], "ref_id must be .*, found a list of 9"),
        ([{**UNC_REFS[0], "split": ["val"]}], "split must be a short text .*, found a list of 1"),
        ([{**UNC_REFS[0], "split": "x" * 99}], "split must be a short text such as train, found"),
        ([{**UNC_REFS[0], "split": f"s{n}"} for n in range(50)], "names 50 splits, s0, s1, s2"),
        ([{"k" * 1000: 1}], "ref 0 has no 'ann_id'; it has k{20}[.]$"),
    ],
)
def test_a_malformed_record_is_named(build, tmp_path, refs, reason):
    write_refer(tmp_path)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    with pytest.raises(RecipeError, match=reason):
        build()


# t4spp data check


def test_data_list_names_the_seven_recipes_with_where_to_get_them(capsys):
    assert main(["data", "list", "--json"]) == 0
    recipes = {item["name"]: item for item in json.loads(capsys.readouterr().out)["recipes"]}
    for name in (
        "refclef", "refcoco", "refcoco-plus", "refcocog", "grefcoco", "reasonseg", "phrasecut",
    ):  # fmt: skip
        assert recipes[name]["sources"]
        assert all(item["url"].startswith("http") for item in recipes[name]["sources"])
        assert all(item["licence"] for item in recipes[name]["sources"])


def test_data_check_of_an_empty_folder_says_what_is_missing_and_where_to_get_it(capsys, tmp_path):
    assert main(["data", "check", "--recipe", "refcoco", "--param", f"root={tmp_path}"]) == 2
    told = capsys.readouterr().err
    for part in (
        "refcoco/refs(unc).p",
        "refcoco/instances.json",
        "images/mscoco/images/train2014/",
        "refcoco.zip",
        "train2014.zip",
        "licence:",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("refclef", "images/saiapr_tc-12/"),
        ("refcoco-plus", "refcoco+.zip"),
        ("refcocog", "refcocog/refs(umd).p"),
        ("grefcoco", "grefcoco/grefs(unc).json"),
    ],
)
def test_data_check_of_every_recipe_tells_its_own_files(capsys, tmp_path, name, part):
    assert main(["data", "check", "--recipe", name, "--param", f"root={tmp_path}"]) == 2
    assert part in capsys.readouterr().err


def test_data_check_compares_counts_with_the_published_ones(capsys, tmp_path):
    write_refer(tmp_path)
    code, told = run_check(capsys, "--recipe", "refcoco", "--param", f"root={tmp_path}")
    assert code == 2
    assert told["splits"]["val"]["num_samples"] == 2
    assert len(told["problems"]) == 4
    assert (
        "the split val in" in told["problems"][1]
        and "has 1 refs instead of 3811, 2 expressions instead of 10834, 1 pictures instead of 1500"
        in told["problems"][1]
    )


def test_data_check_of_a_part_is_clean_with_counts_off(capsys, tmp_path):
    write_refer(tmp_path)
    code, told = run_check(
        capsys, "--recipe", "refcoco", "--param", f"root={tmp_path}", "--param", "counts=false"
    )
    assert (code, told["problems"]) == (0, [])
    assert {name: counts["num_samples"] for name, counts in told["splits"].items()} == {
        "train": 2,
        "val": 2,
        "testA": 1,
        "testB": 3,
    }
    assert told["counters"] == {"labels_sanitised": 3}  # val's blanks, testB's | and *


def test_counts_that_are_as_published_are_no_problem(build, tmp_path, monkeypatch):
    recipe = build(root=write_refer(tmp_path))
    monkeypatch.setitem(PUBLISHED, ("refcoco", "unc"), recipe.found())
    assert recipe.verify() == []


def test_data_check_tells_missing_pictures_and_annotations(capsys, tmp_path):
    refs = [*UNC_REFS, ref(7, 2, 777, "val", "nowhere")]
    write_refer(tmp_path, refs=refs)
    (tmp_path / COCO_PICTURES / coco_name(1)).unlink()
    code, told = run_check(
        capsys, "--recipe", "refcoco", "--param", f"root={tmp_path}", "--param", "counts=false"
    )
    assert code == 2
    assert any("1 of 5 refs" in message for message in told["problems"])
    assert any(coco_name(1) in message for message in told["problems"])
    assert told["counters"]["expressions_without_annotation"] == 1
    shutil.rmtree(tmp_path / "images")
    code, told = run_check(
        capsys, "--recipe", "refcoco", "--param", f"root={tmp_path}", "--param", "counts=false"
    )
    assert any("the folder of pictures" in message for message in told["problems"])


def test_published_expressions_add_up_to_the_papers_totals():
    def total(*key: str) -> int:
        return sum(counts.expressions for counts in PUBLISHED[key].values())

    assert total("refcoco", "unc") == 142_210
    assert total("refcoco+", "unc") == 141_564
    assert total("refcocog", "umd") == total("refcocog", "google") == 95_010
    assert total("grefcoco", "unc") == 259_859
