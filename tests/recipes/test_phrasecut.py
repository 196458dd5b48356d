from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_refer import write_json, write_picture

from t4spp.cli import main
from t4spp.errors import RecipeError
from t4spp.plugins import Catalogue

SIZE = (20, 30)


def box(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def task(
    image_id: int,
    number: int,
    phrase: str,
    polygons: Any,
    attributes: tuple[str, ...] = (),
    relations: tuple[tuple[str, str], ...] = (),
    kind: str = "name",
) -> dict[str, Any]:
    return {
        "task_id": f"{image_id}__{number}",
        "image_id": image_id,
        "ann_ids": [number],
        "instance_boxes": [[0, 0, 1, 1]] * len(polygons),
        "Polygons": polygons,
        "phrase": phrase,
        "phrase_structure": {
            "name": phrase,
            "attributes": list(attributes),
            "relation_ids": [],
            "relation_descriptions": [list(pair) for pair in relations],
            "type": kind,
        },
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "VGPhraseCut_v0"
    write_json(
        folder / "image_data_split.json",
        [
            {"image_id": number, "width": 30, "height": 20, "split": split, "coco_id": None}
            for number, split in ((1, "train"), (2, "val"), (3, "miniv"), (4, "test"))
        ],
    )
    write_json(
        folder / "refer_train.json",
        [
            task(1, 1, "red cup on table", [[box(2, 2, 5, 5)]], ("red",), (("on", "table"),),
                 "relation"),
            task(1, 2, "cups", [[box(2, 2, 5, 5), box(4, 4, 6, 6)], [box(10.9, 2.9, 12, 4)]],
                 kind="verbose"),
        ],
    )  # fmt: skip
    write_json(folder / "refer_val.json", [task(2, 1, "man", [[box(0, 0, 1, 1)]])])
    write_json(folder / "refer_miniv.json", [task(3, 1, "dog", [[box(0, 0, 1, 1)]])])
    write_json(folder / "refer_test.json", [task(4, 1, "sky|clouds", [[box(0, 0, 29, 9)]])])
    for number in (1, 2, 3, 4):
        write_picture(folder / "images" / f"{number}.jpg", SIZE, value=10 * number)
    return tmp_path


@pytest.fixture
def build(catalogue: Catalogue, root: Path):
    def make(where: Path = root, **params: Any):
        return catalogue.build("recipe", "phrasecut", {"root": str(where), **params})

    return make


def test_each_phrase_is_a_sample_with_a_target_an_instance(build):
    recipe = build()
    assert recipe.splits == ("train", "val", "miniv", "test", "val_miniv")
    one, many = recipe.samples("train")
    assert (one.id, one.prompt, one.image_id) == ("1__1", "red cup on table", "1")
    expected = np.zeros(SIZE, dtype=bool)
    expected[2:6, 2:6] = True  # PIL paints the outline, too
    assert np.array_equal(one.targets[0].mask, expected)
    assert [int(target.mask.sum()) for target in many.targets] == [16 + 9 - 4, 9]
    assert [target.label for target in many.targets] == ["cups", "cups"]
    assert np.argwhere(many.targets[1].mask).min(axis=0).tolist() == [2, 10]  # 2.9, 10.9: cut off
    assert (one.image == 10).all()


def test_instances_may_be_one_target(build):
    many = build(targets="together").samples("train")[1]
    assert [int(target.mask.sum()) for target in many.targets] == [30]


def test_the_whole_validation_set_is_val_and_miniv(build):
    recipe = build()
    assert [sample.prompt for sample in recipe.samples("val")] == ["man"]
    assert [sample.prompt for sample in recipe.samples("val_miniv")] == ["man", "dog"]


def test_the_subsets_that_the_phrase_decides_are_tags(build):
    one, many = build().samples("train")
    assert one.tags == ("p_att", "p_rel", "p_att_rel", "p_rel+", "i_single")
    assert many.tags == ("p_verbose", "i_multi")


def test_many_instances_are_tagged(build, root):
    folder = root / "data" / "VGPhraseCut_v0"
    write_json(
        folder / "refer_val.json", [task(2, 1, "men", [[box(n, 0, n, 2)] for n in range(5)])]
    )
    assert "i_many" in build().samples("val")[0].tags


def test_labels_are_made_writable_and_counted(build):
    recipe = build()
    assert recipe.samples("test")[0].labels == ("sky/clouds",)
    assert recipe.counters() == {"labels_sanitised": 1}


def test_polygons_of_two_points_are_left_out_or_lines(build, root):
    folder = root / "data" / "VGPhraseCut_v0"
    line = [[1, 1], [1, 6]]
    tasks = [task(2, 1, "a", [[line]]), task(2, 2, "b", [[line, box(3, 3, 4, 4)]])]
    write_json(folder / "refer_val.json", tasks)
    recipe = build()
    samples = recipe.samples("val")
    assert [sample.id for sample in samples] == ["2__2"]
    assert int(samples[0].targets[0].mask.sum()) == 4
    assert recipe.counters() == {"polygons_under_3_points": 2, "phrases_without_polygon": 1}
    samples = build(compat="phrasecut").samples("val")
    assert [int(sample.targets[0].mask.sum()) for sample in samples] == [6, 10]


@pytest.mark.parametrize("below", ["", "VGPhraseCut_v0", "PhraseCutDataset/data/VGPhraseCut_v0"])
def test_the_root_may_be_the_folder_above_or_the_datasets_own(build, root, tmp_path, below):
    target = tmp_path / "moved" / below
    target.parent.mkdir(parents=True, exist_ok=True)
    (root / "data" / "VGPhraseCut_v0").rename(target)
    assert len(build(tmp_path / "moved").samples("train")) == 2


def test_a_part_of_the_splits_is_enough(build, root):
    for split in ("train", "test", "val"):
        (root / "data" / "VGPhraseCut_v0" / f"refer_{split}.json").unlink()
    assert build().splits == ("miniv",)


def test_the_files_without_truth_are_told_apart(build, root):
    record = task(2, 1, "man", [])
    del record["Polygons"]
    write_json(root / "data" / "VGPhraseCut_v0" / "refer_val.json", [record])
    with pytest.raises(RecipeError, match="refer_input"):
        build().samples("val")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (5, "must be an object"),
        ({**task(2, 1, "a", []), "phrase": 5}, "phrase must be a text"),
        ({**task(2, 1, "a", []), "Polygons": 5}, "list of polygons an instance"),
        (task(2, 1, "a", [[[[1, 2, 3]]]]), "list of \\[x, y\\]"),
        (task(2, 1, "a", [[[["x", 1]]]]), "list of \\[x, y\\]"),
        (task(2, 1, "a", [[[[1e300, 1]]]]), "list of \\[x, y\\]"),
    ],
)
def test_damage_is_named(build, root, record, reason):
    write_json(root / "data" / "VGPhraseCut_v0" / "refer_val.json", [record])
    with pytest.raises(RecipeError, match=rf"refer_val\.json: task 0.*{reason}"):
        build().samples("val")


def test_data_check_compares_counts_and_reads_every_picture(capsys, root):
    arguments = ["data", "check", "--recipe", "phrasecut", "--param", f"root={root}"]
    assert main([*arguments, "--param", "counts=false"]) == 0
    assert "train: samples 2, images 1, targets 3" in capsys.readouterr().out
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "2 expressions instead of 310816, 1 pictures instead of 71746" in told
    assert "the split val_miniv" in told
    (root / "data" / "VGPhraseCut_v0" / "images" / "2.jpg").unlink()
    assert main([*arguments, "--param", "counts=false"]) == 2
    assert "2.jpg" in capsys.readouterr().err


def test_data_check_of_an_empty_folder_says_what_is_missing_and_where_to_get_it(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    where = f"root={tmp_path / 'empty'}"
    assert main(["data", "check", "--recipe", "phrasecut", "--param", where]) == 2
    told = capsys.readouterr().err
    for part in ("image_data_split.json", "refer_train.json", "images/", "PhraseCutDataset"):
        assert part in told


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("width", 0, "picture 1 has the size 20 x 0 pixels"),
        ("height", -5, "picture 1 has the size -5 x 30 pixels"),
        ("width", 10**12, "picture 1 has the size 20 x 1000000000000 pixels"),
        ("width", float("inf"), "each picture needs image_id, width and height"),
        ("image_id", float("nan"), "each picture needs image_id, width and height"),
    ],
)
def test_a_picture_of_an_impossible_size_is_refused_by_name(build, root, key, value, reason):
    path = root / "data" / "VGPhraseCut_v0" / "image_data_split.json"
    content = json.loads(path.read_text())
    content[0][key] = value
    write_json(path, content)
    with pytest.raises(RecipeError, match=reason):
        build()


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [("attributes", 1.5, "list"), ("relation_descriptions", 3, "list"), ("type", ["name"], "str")],
)
def test_a_structure_of_another_kind_is_refused_by_name(build, root, key, value, kind):
    path = root / "data" / "VGPhraseCut_v0" / "refer_test.json"
    content = json.loads(path.read_text())
    content[0]["phrase_structure"][key] = value
    write_json(path, content)
    with pytest.raises(RecipeError, match=f"task 0: phrase_structure.{key} must be a {kind}"):
        build().samples("test")
