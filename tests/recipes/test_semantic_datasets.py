"""Semantic datasets known by name: miniature folders as downloads make them, and real ones."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from t4spp.cli import main
from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import Catalogue
from t4spp_recipes.natural.semantic.draws import draw_prompt
from t4spp_recipes.natural.semantic.params import PromptKinds
from t4spp_recipes.natural.semantic.published import published_classes
from t4spp_recipes.natural.semantic.tiling import Tiling

SEMANTIC = "t4spp_recipes.natural.semantic"
RECIPES = ("coco-stuff", "ade20k-150", "pascal-voc", "pascal-context")


def save(path: Path, array: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


def picture(path: Path, size: tuple[int, int] = (2, 3)) -> Path:
    return save(path, np.full((*size, 3), 99))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def pixels(sample: Any) -> dict[str, list[tuple[int, int]]]:
    """The pixels (row, column) of each target, by label."""
    return {
        target.label: [(int(y), int(x)) for y, x in np.argwhere(target.mask)]
        for target in sample.targets
    }


@pytest.fixture
def make(catalogue: Catalogue, tmp_path: Path):
    def build(name: str, **params: Any) -> Any:
        return catalogue.build("recipe", name, {"root": str(tmp_path), **params})

    return build


# Class lists


@pytest.mark.parametrize(
    ("name", "num", "first", "last"),
    [
        ("coco-stuff", 171, (0, "person"), (181, "wood")),
        ("ade20k-150", 150, (1, "wall"), (150, "flag")),
        ("pascal-voc", 20, (1, "aeroplane"), (20, "tvmonitor")),
        ("pascal-context", 59, (2, "aeroplane"), (458, "wood")),
    ],
)
def test_a_class_list_is_the_published_one(name, num, first, last):
    names = published_classes(SEMANTIC, name)
    assert len(names) == len(set(names.values())) == num
    assert (min(names.items()), max(names.items())) == (first, last)


def test_coco_stuff_has_no_id_for_the_eleven_things_that_nobody_labelled():
    ids = published_classes(SEMANTIC, "coco-stuff")
    assert set(range(182)) - set(ids) == {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    assert (ids[10], ids[12], ids[91], ids[92]) == (
        "fire hydrant",
        "stop sign",
        "banner",
        "blanket",
    )


# COCO-Stuff


@pytest.fixture
def coco_stuff(tmp_path: Path) -> Path:
    for year, stem in (("train2017", "000000000009"), ("val2017", "000000000139")):
        save(tmp_path / "annotations" / year / f"{stem}.png", [[0, 0, 181], [12, 255, 255]])
        picture(tmp_path / "images" / year / f"{stem}.jpg")
    return tmp_path


def test_coco_stuff_reads_the_ids_of_stuffthingmaps(make, coco_stuff):
    recipe = make("coco-stuff")
    assert recipe.splits == ("train", "val")
    samples = recipe.samples("val")
    assert [sample.id for sample in samples] == [
        "000000000139-person",
        "000000000139-stop sign",
        "000000000139-wood",
    ]
    assert pixels(samples[2]) == {"wood": [(0, 2)]}
    assert samples[0].ignore.tolist() == [[False, False, False], [False, True, True]]
    assert samples[0].image.shape == (2, 3, 3)


def test_coco_stuff_reads_masks_that_a_converter_renumbered(make, tmp_path):
    path = tmp_path / "annotations" / "val2017" / "000000000139_labelTrainIds.png"
    save(path, [[0, 0, 170], [11, 255, 255]])
    picture(tmp_path / "images" / "val2017" / "000000000139.jpg")
    samples = make("coco-stuff").samples("val")
    assert [sample.prompt for sample in samples] == ["person", "stop sign", "wood"]
    assert samples[0].image.shape == (2, 3, 3)


def test_coco_stuff_reads_the_published_masks_where_renumbered_ones_lie_beside(make, coco_stuff):
    save(coco_stuff / "annotations" / "val2017" / "000000000139_labelTrainIds.png", [[5, 5, 5]] * 2)
    assert [s.prompt for s in make("coco-stuff").samples("val")] == ["person", "stop sign", "wood"]


def test_coco_stuff_reads_masks_and_pictures_unpacked_into_one_folder(make, tmp_path):
    save(tmp_path / "train2017" / "000000000009.png", [[0, 0, 0]])
    picture(tmp_path / "train2017" / "000000000009.jpg", (1, 3))
    recipe = make("coco-stuff")
    assert [sample.image.tolist()[0][0] for sample in recipe.samples("train")] == [[99, 99, 99]]
    assert recipe.counters() == {}


def test_coco_stuff_without_pictures_counts_them_and_still_has_masks(make, tmp_path):
    save(tmp_path / "annotations" / "val2017" / "000000000139.png", [[0, 0, 0]])
    (tmp_path / "images" / "val2017").mkdir(parents=True)
    recipe = make("coco-stuff")
    assert pixels(recipe.samples("val")[0]) == {"person": [(0, 0), (0, 1), (0, 2)]}
    assert recipe.counters() == {"masks_without_picture": 1}
    with pytest.raises(RecipeError, match="000000000139"):
        _ = recipe.samples("val")[0].image


def test_masks_are_read_where_the_folder_of_pictures_is_not_there(make, coco_stuff, voc):
    """Masks without pictures are enough for ceiling, and what data check finds half-way."""
    for folder in (coco_stuff / "images", voc / "VOCdevkit" / "VOC2012" / "JPEGImages"):
        shutil.rmtree(folder)
    recipe = make("coco-stuff", counts=False)
    assert [sample.prompt for sample in recipe.samples("val")] == ["person", "stop sign", "wood"]
    assert recipe.counters() == {"masks_without_picture": 1}
    told = recipe.verify()
    assert len(told) == 2
    assert "1 of 1 pictures of the split 'train' are not in " in told[0]
    assert "images/train2017 (which is not there), the first is 000000000009" in told[0]
    assert "https://cocodataset.org/#download" in told[0] and "val2017" in told[1]
    voc_told = make("pascal-voc", counts=False).verify()
    assert "2 of 2 pictures of the split 'trainval' are not in " in voc_told[2]


def test_coco_stuff_10k_reads_matlab_files_whose_labels_are_one_higher(make, tmp_path):
    from scipy.io import savemat

    (tmp_path / "annotations").mkdir()
    labels = np.array([[1, 1, 182], [13, 0, 0]], np.uint16)
    savemat(tmp_path / "annotations" / "COCO_train2014_000000000077.mat", {"S": labels})
    picture(tmp_path / "images" / "COCO_train2014_000000000077.jpg")
    text(tmp_path / "imageLists" / "test.txt", "COCO_train2014_000000000077\n")
    recipe = make("coco-stuff", variant="10k")
    samples = recipe.samples("test")
    assert [sample.prompt for sample in samples] == ["person", "stop sign", "wood"]
    assert samples[0].ignore.tolist() == [[False, False, False], [False, True, True]]
    assert samples[0].image.shape == (2, 3, 3)
    told = recipe.verify()
    assert any("'test' has 1 pictures, the published dataset has 1000 pictures" in t for t in told)


# ADE20K


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    base = tmp_path / "ADEChallengeData2016"
    for folder, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        save(base / "annotations" / folder / f"{stem}.png", [[0, 1, 1], [150, 150, 13]])
        picture(base / "images" / folder / f"{stem}.jpg")
    return tmp_path


def test_ade20k_needs_no_table_of_classes_and_ignores_id_0(make, ade20k):
    sample = make("ade20k-150", prompts="segment-all").samples("val")[0]
    assert pixels(sample) == {
        "wall": [(0, 1), (0, 2)],
        "person": [(1, 2)],
        "flag": [(1, 0), (1, 1)],
    }
    assert sample.ignore.tolist() == [[True, False, False], [False, False, False]]
    assert (len(sample.labels), sample.kind, sample.id) == (150, "conditioned", "ADE_val_00000001")
    assert sample.prompt.startswith("wall|building|sky|") and sample.prompt.endswith("|clock|flag")


def test_open_vocabulary_evaluation_has_one_conditioned_sample_a_picture(make, ade20k):
    recipe = make("ade20k-150", prompts="segment-all")
    assert [len(recipe.samples(split)) for split in recipe.splits] == [1, 1]
    assert recipe.samples("val")[0].labels == recipe.classes


# Pascal VOC


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    save(base / "SegmentationClass" / "2007_000001.png", [[0, 255, 12], [0, 255, 12]])
    save(base / "SegmentationClass" / "2007_000002.png", [[15, 15, 15]])
    picture(base / "JPEGImages" / "2007_000001.jpg")
    picture(base / "JPEGImages" / "2007_000002.jpg", (1, 3))
    lists = base / "ImageSets" / "Segmentation"
    text(lists / "train.txt", "2007_000001\n")
    text(lists / "val.txt", "2007_000002\n")
    text(lists / "trainval.txt", "2007_000001\n2007_000002\n")
    return tmp_path


def test_voc_has_the_splits_of_its_lists(make, voc):
    recipe = make("pascal-voc")
    assert recipe.splits == ("train", "val", "trainval")
    assert [[s.id for s in recipe.samples(name)] for name in recipe.splits] == [
        ["2007_000001-dog"],
        ["2007_000002-person"],
        ["2007_000001-dog", "2007_000002-person"],
    ]


@pytest.mark.parametrize(
    ("params", "ignored"),
    [
        ({}, [[False, True, False]] * 2),
        ({"prompts": "segment-all"}, [[True, True, False]] * 2),
        ({"prompts": "segment-all", "background": "scored"}, [[False, True, False]] * 2),
        ({"background": "void"}, [[True, True, False]] * 2),
        ({"compat": "text4seg"}, [[True, False, False]] * 2),
        ({"prompts": "segment-all", "compat": "text4seg"}, [[True, False, False]] * 2),
    ],
)
def test_voc_ignores_contours_and_what_bears_no_class_by_the_rule_of_the_benchmark(
    make, voc, params, ignored
):
    """Natively 255; PAS-20 also 0; Text4Seg's evaluation scores 255 as background and drops 0."""
    assert make("pascal-voc", **params).samples("train")[0].ignore.tolist() == ignored


@pytest.mark.parametrize("listing", ["trainaug.txt", "train_aug.txt"])
def test_voc_has_the_split_trainaug_where_sbds_masks_are(make, voc, listing):
    base = voc / "VOCdevkit" / "VOC2012"
    save(base / "SegmentationClassAug" / "2008_000001.png", [[8, 0, 0]])
    picture(base / "JPEGImages" / "2008_000001.jpg", (1, 3))
    line = "/JPEGImages/2008_000001.jpg /SegmentationClassAug/2008_000001.png\n"
    text(base / "ImageSets" / "Segmentation" / listing, line)
    recipe = make("pascal-voc")
    assert [sample.id for sample in recipe.samples("trainaug")] == ["2008_000001-cat"]
    assert any("'trainaug' has 1 pictures" in message for message in recipe.verify())


def test_voc_lists_a_picture_without_a_mask_as_an_error_that_names_it(make, voc):
    text(voc / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "2007_000009\n")
    with pytest.raises(RecipeError, match="the split 'val' lists '2007_000009'"):
        make("pascal-voc").samples("val")


# PASCAL Context


@pytest.fixture
def context_png(tmp_path: Path) -> Path:
    base = tmp_path / "VOC2010"
    save(base / "SegmentationClassContext" / "2008_000002.png", [[0, 1, 2], [59, 59, 6]])
    picture(base / "JPEGImages" / "2008_000002.jpg")
    text(base / "ImageSets" / "SegmentationContext" / "val.txt", "2008_000002\n")
    return tmp_path


def test_context_names_the_pngs_ids_in_the_order_in_which_the_converter_writes_them(
    make, context_png
):
    sample = make("pascal-context", prompts="segment-all").samples("val")[0]
    assert pixels(sample) == {
        "aeroplane": [(0, 1)],
        "bag": [(0, 2)],
        "bicycle": [(1, 2)],
        "wood": [(1, 0), (1, 1)],
    }
    assert sample.ignore.tolist() == [[True, False, False], [False, False, False]]


def test_context_under_compat_has_mmsegmentations_misplaced_names(make, context_png):
    sample = make("pascal-context", prompts="segment-all", compat="mmseg").samples("val")[0]
    assert pixels(sample) == {
        "aeroplane": [(0, 1)],
        "bicycle": [(0, 2)],
        "bus": [(1, 2)],
        "wood": [(1, 0), (1, 1)],
    }


def test_context_scores_the_background_where_one_class_is_asked_for(make, context_png):
    sample = make("pascal-context").samples("val")[0]
    assert (sample.id, sample.ignore) == ("2008_000002-aeroplane", None)


@pytest.fixture
def context_mat(tmp_path: Path) -> Path:
    from scipy.io import savemat

    (tmp_path / "trainval").mkdir()
    labels = np.array([[1, 2, 9], [458, 458, 23]], np.uint16)
    savemat(tmp_path / "trainval" / "2008_000002.mat", {"LabelMap": labels})
    picture(tmp_path / "JPEGImages" / "2008_000002.jpg")
    text(tmp_path / "ImageSets" / "Main" / "val.txt", "2008_000002\n")
    return tmp_path


def test_context_reads_the_authors_label_maps_as_the_pngs(make, context_mat):
    sample = make("pascal-context", prompts="segment-all").samples("val")[0]
    assert pixels(sample) == {
        "aeroplane": [(0, 1)],
        "bag": [(0, 2)],
        "bicycle": [(1, 2)],
        "wood": [(1, 0), (1, 1)],
    }
    assert sample.ignore.tolist() == [[True, False, False], [False, False, False]]
    assert sample.image.shape == (2, 3, 3)


def test_context_refuses_a_damaged_label_map_by_its_name(make, context_mat):
    (context_mat / "trainval" / "2008_000002.mat").write_bytes(b"MATLAB no more")
    problems = make("pascal-context", counts=False).verify()
    assert len(problems) == 1 and "2008_000002.mat cannot be read as a MATLAB file" in problems[0]


# Prompts


def test_mixed_prompts_ask_by_kind(make, ade20k):
    recipe = make("ade20k-150", prompts="mixed", rounds=40)
    samples = recipe.samples("val")
    assert samples[0].id == "ADE_val_00000001-0"
    kinds = Counter(sample.kind for sample in samples)
    assert set(kinds) == {"open", "partial", "conditioned"}
    assert recipe.counters() == {f"prompts_{kind}": number for kind, number in kinds.items()}
    shown = {"wall", "person", "flag"}
    for sample in samples:
        assert sample.prompt == "|".join(sample.labels)
        assert {target.label for target in sample.targets} == shown & set(sample.labels)
        if sample.kind == "partial":
            assert set(sample.labels) <= shown
        if sample.kind == "open":
            assert sample.labels == recipe.classes


def test_mixed_prompts_repeat_by_seed(make, ade20k):
    def prompts(**params: Any) -> list[str]:
        recipe = make("ade20k-150", prompts="mixed", rounds=5, **params)
        return [sample.prompt for sample in recipe.samples("train")]

    assert prompts() == prompts(seed=0) != prompts(seed=1)


def test_mixed_prompts_leave_out_and_count_pictures_that_show_no_class(make, ade20k):
    save(ade20k / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png", [[0, 0, 0]])
    picture(ade20k / "ADEChallengeData2016/images/validation/ADE_val_00000002.jpg", (1, 3))
    recipe = make("ade20k-150", prompts="mixed", kinds={"open": 0, "partial": 1, "conditioned": 0})
    assert len(recipe.samples("val")) == 1
    assert recipe.counters() == {"pictures_without_class": 1, "prompts_partial": 1}


def test_kinds_are_drawn_in_the_ratio_of_the_paper():
    kinds = Counter(
        draw_prompt(PromptKinds(), ["a", "b"], ["c"], f"0:{number}")[0] for number in range(10_000)
    )
    # 1 : 3 : 6; four standard deviations of 10,000 draws are 120, 183 and 196.
    assert abs(kinds["open"] - 1000) < 120
    assert abs(kinds["partial"] - 3000) < 184
    assert abs(kinds["conditioned"] - 6000) < 196


@given(
    shown=st.integers(1, 6),
    absent=st.integers(0, 6),
    key=st.text(max_size=8),
    weights=st.tuples(*[st.sampled_from([0.0, 1.0, 5.0])] * 3).filter(any),
)
def test_a_drawn_prompt_names_what_its_kind_says(shown, absent, key, weights):
    kinds = PromptKinds(open=weights[0], partial=weights[1], conditioned=weights[2])
    here = [f"s{number}" for number in range(shown)]
    away = [f"a{number}" for number in range(absent)]
    kind, names = draw_prompt(kinds, here, away, key)
    assert getattr(kinds, kind) > 0
    assert len(names) == len(set(names))
    if kind == "open":
        assert names == ()
    else:
        assert set(names) & set(here)
        assert set(names) <= {*here, *away}
        assert kind == "conditioned" or set(names) <= set(here)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kinds": {"open": 1}}, "kinds: belongs to prompts: mixed"),
        ({"prompts": "mixed", "no_target_share": 0.1}, "names absent ones already"),
        (
            {"prompts": "mixed", "kinds": {"open": 0, "partial": 0, "conditioned": 0}},
            "one weight at least",
        ),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(make, ade20k, params, message):
    with pytest.raises(ConfigError, match=message):
        make("ade20k-150", **params)


def test_renamed_classes_are_asked_for_by_their_new_names_and_merged(make, coco_stuff):
    recipe = make("coco-stuff", rename={"person": "human", "wood": "human"}, prompts="segment-all")
    assert len(recipe.classes) == 170
    assert pixels(recipe.samples("val")[0])["human"] == [(0, 0), (0, 1), (0, 2)]
    with pytest.raises(RecipeError, match="'persn', which the dataset does not have"):
        make("coco-stuff", rename={"persn": "human"})


def test_samples_pickle_for_workers(make, context_mat):
    samples = make("pascal-context").samples("val")
    again = pickle.loads(pickle.dumps(samples))
    assert pixels(again[0]) == pixels(samples[0])


# data check


@pytest.mark.parametrize("name", RECIPES)
def test_check_of_an_empty_folder_says_what_is_missing_and_where_to_get_it(tmp_path, capsys, name):
    assert main(["data", "check", "--recipe", name, "--param", f"root={tmp_path}"]) == 2
    told = capsys.readouterr().err
    assert f"{name}: {tmp_path} holds none of what the dataset's download makes" in told
    assert "http" in told
    assert any(word in told for word in ("licence", "CC BY", "non-commercial", "terms"))


@pytest.mark.parametrize(
    ("name", "fixture", "train", "val"),
    [
        ("coco-stuff", "coco_stuff", 118287, 5000),
        ("ade20k-150", "ade20k", 20210, 2000),
        ("pascal-voc", "voc", 1464, 1449),
        ("pascal-context", "context_png", "4996 or 4998", "5104 or 5105"),
        ("pascal-context", "context_mat", 4998, 5105),
    ],
)
def test_check_compares_the_number_of_pictures_with_the_published_one(
    make, request, name, fixture, train, val
):
    request.getfixturevalue(fixture)
    problems = make(name).verify()
    state = "is not there" if name == "pascal-context" else "has 1 pictures"
    assert any(
        f"{name}: the split 'train' {state}, the published dataset has {train} pictures" in told
        for told in problems
    )
    assert any(
        f"{name}: the split 'val' has 1 pictures, the published dataset has {val} pictures" in told
        for told in problems
    )
    assert make(name, counts=False).verify() == []


def test_check_passes_where_the_numbers_are_the_published_ones(make, ade20k, monkeypatch):
    monkeypatch.setattr(f"{SEMANTIC}.ade20k.PUBLISHED", {"train": 1, "val": 1})
    assert make("ade20k-150").verify() == []


def test_check_prints_counts_and_problems_as_json(ade20k, capsys):
    code = main(["data", "check", "--recipe", "ade20k-150", "--param", f"root={ade20k}", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert (code, content["ok"], len(content["problems"])) == (2, False, 2)
    assert content["splits"]["val"]["num_samples"] == 3


def test_check_names_a_mask_with_an_id_beyond_the_list(make, ade20k):
    save(
        ade20k / "ADEChallengeData2016/annotations/training/ADE_train_00000001.png", [[151] * 3] * 2
    )
    problems = make("ade20k-150", counts=False).verify()
    assert len(problems) == 1 and "holds the class id 151 in 6 pixels" in problems[0]


# Windows


def test_windows_cover_a_picture_and_the_last_ones_are_moved_back():
    boxes = Tiling(size=4, overlap=1).boxes((6, 9))
    assert [(box.y0, box.x0) for box in boxes] == [(0, 0), (2, 0), (0, 3), (2, 3), (0, 5), (2, 5)]


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(2, 16), data=st.data())
def test_every_pixel_lies_in_a_window(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    covered = np.zeros((height, width), bool)
    boxes = Tiling(size=size, overlap=overlap).boxes((height, width))
    for box in boxes:
        assert (box.height, box.width) == (size, size)
        covered[box.slices] = True
    assert covered.all()
    assert len(boxes) == len(set(boxes))


def test_mmsegmentations_windows_lose_rows_where_the_other_side_fits_exactly():
    """896 columns, 800 rows: its converter cuts rows -96 to 800, which are the last 96."""
    native = Tiling(size=896, overlap=384).boxes((800, 896))
    published = Tiling(size=896, overlap=384, compat="mmseg").boxes((800, 896))
    assert [(b.y0, b.y1, b.x0, b.x1) for b in native] == [(0, 896, 0, 896)]
    assert [(b.y0, b.y1, b.x0, b.x1) for b in published] == [(704, 800, 0, 896)]
    columns = Tiling(size=896, overlap=384, compat="mmseg").boxes((896, 800))
    assert [(b.y0, b.y1, b.x0, b.x1) for b in columns] == [(0, 896, 704, 800)]


def test_the_devkits_windows_leave_a_picture_whole_unless_both_sides_exceed_them():
    devkit = Tiling(size=800, overlap=200, compat="devkit")
    assert [(b.height, b.width) for b in devkit.boxes((700, 5000))] == [(700, 5000)]
    native = Tiling(size=800, overlap=200).boxes((700, 5000))
    assert [(b.height, b.width) for b in native] == [(800, 800)] * 8
    assert devkit.boxes((900, 900)) == Tiling(size=800, overlap=200).boxes((900, 900))


# Real data


def test_real_ade20k_photographs_load(make, shared_data):
    recipe = make("ade20k-150", root=str(shared_data / "ade20k_sample"), prompts="segment-all")
    samples = recipe.samples("all")
    assert [sample.id for sample in samples] == [f"ADE_val_0000000{n}" for n in (1, 2, 3)]
    assert [len(sample.targets) for sample in samples] == [7, 6, 12]
    assert all(sample.image.shape[:2] == sample.size for sample in samples)


def test_real_voc_photographs_load(make, shared_data):
    root = shared_data / "voc_labelme" / "semantic_segmentation"
    recipe = make("pascal-voc", root=str(root), counts=False)
    assert recipe.verify() == []
    assert {sample.prompt for sample in recipe.samples("all")} <= set(recipe.classes)
    assert all(sample.image.shape[:2] == sample.size for sample in recipe.samples("all"))
