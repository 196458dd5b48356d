from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support_refer import write_json, write_picture

from t4spp.cli import main
from t4spp.errors import RecipeError
from t4spp.plugins import Catalogue
from t4spp.types import FURTHER_PHRASE

SIZE = (20, 30)


def box(x0: int, y0: int, x1: int, y1: int) -> list[list[int]]:
    """Painted with its outline: rows y0..y1 and columns x0..x1."""
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def shape(label: str, points: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": points}


def write(folder: Path, name: str, shapes: list[Any], texts: Any, is_sentence: bool = True) -> Path:
    write_picture(folder / f"{name}.jpg", SIZE, value=50)
    return write_json(
        folder / f"{name}.json", {"text": texts, "is_sentence": is_sentence, "shapes": shapes}
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "ReasonSeg"
    write(base / "train", "a", [shape("target", box(2, 2, 9, 9)),
                                shape("ignore", box(12, 2, 15, 5))],
          ["What is it?", "Which thing?"])  # fmt: skip
    write(base / "train", "b", [shape("target", box(0, 0, 3, 3))], ["The Red Cup"], False)
    write(base / "val", "c", [shape("target", box(2, 2, 9, 9))], ["First?", "Second?", "Third?"])
    write(base / "test", "d", [shape("target", box(4, 4, 6, 6))], ["Where to sit?"])
    return tmp_path


@pytest.fixture
def build(catalogue: Catalogue, root: Path):
    def make(where: Path = root, **params: Any):
        return catalogue.build("recipe", "reasonseg", {"root": str(where), **params})

    return make


def test_every_wording_is_a_sample_of_the_painted_target(build):
    recipe = build()
    assert recipe.splits == ("train", "val", "test")
    first, second, cup = recipe.samples("train")
    assert [sample.id for sample in (first, second, cup)] == ["a-0", "a-1", "b-0"]
    assert [first.prompt, second.prompt, cup.prompt] == [
        "What is it?", "Which thing?", "The Red Cup",
    ]  # fmt: skip
    assert first.labels == ("target",) and first.targets[0].label == "target"
    expected = np.zeros(SIZE, dtype=bool)
    expected[2:10, 2:10] = True
    assert np.array_equal(first.targets[0].mask, expected)
    assert first.tags == ("long-query",) and cup.tags == ("short-query",)
    assert first.size == SIZE and first.image.shape == (*SIZE, 3)
    assert first.image_id == second.image_id == "a"


@pytest.mark.parametrize("below", ["ReasonSeg", "reason_seg/ReasonSeg"])
def test_the_root_may_be_the_folder_above_or_the_datasets_own(build, root, tmp_path, below):
    (tmp_path / "moved").mkdir()
    target = tmp_path / "moved" / below
    target.parent.mkdir(exist_ok=True)
    (root / "ReasonSeg").rename(target)
    assert len(build(tmp_path / "moved").samples("val")) == 3
    assert len(build(target).samples("val")) == 3


def test_further_wordings_are_tagged_for_evaluation_and_all_alike_for_training(build):
    recipe = build()
    assert [FURTHER_PHRASE in sample.tags for sample in recipe.samples("val")] == [
        False, True, True,
    ]  # fmt: skip
    assert not any(FURTHER_PHRASE in sample.tags for sample in recipe.samples("train"))


def test_compat_lisa_evaluates_the_first_wording_only(build):
    recipe = build(compat="lisa")
    assert [sample.prompt for sample in recipe.samples("val")] == ["First?"]
    assert len(recipe.samples("train")) == 3
    assert recipe.counters() == {"further_phrases_left_out": 2}


def test_ignored_shapes_are_not_scored(build):
    sample = build().samples("train")[0]
    expected = np.zeros(SIZE, dtype=bool)
    expected[2:6, 12:16] = True
    assert np.array_equal(sample.ignore, expected)


def test_compat_lisa_trains_on_ignored_pixels_as_background(build):
    assert build(compat="lisa").samples("train")[0].ignore is None


def test_compat_lisa_lowers_the_letters_of_phrases_in_training_only(build, root):
    write(root / "ReasonSeg" / "val", "e", [shape("target", box(1, 1, 2, 2))], ["The Cup"], False)
    assert build(compat="lisa").samples("train")[2].prompt == "the red cup"
    assert build(compat="lisa").samples("train")[0].prompt == "What is it?"
    assert build(compat="lisa").samples("val")[1].prompt == "The Cup"
    assert build().samples("train")[2].prompt == "The Red Cup"


@pytest.mark.parametrize(
    ("shapes", "targets", "ignored"),
    [
        # A small target on a large ignored region is scored, in whichever order they are written.
        ([shape("ignore", box(0, 0, 9, 9)), shape("target", box(2, 2, 4, 4))], 9, 91),
        ([shape("target", box(2, 2, 4, 4)), shape("ignore", box(0, 0, 9, 9))], 9, 91),
        # A small ignored region on a large target is not.
        ([shape("ignore", box(2, 2, 4, 4)), shape("target", box(0, 0, 9, 9))], 91, 9),
        # Of equal areas the earlier lies on top.
        ([shape("ignore", box(0, 0, 2, 2)), shape("target", box(1, 1, 3, 3))], 5, 9),
        ([shape("target", box(0, 0, 2, 2)), shape("ignore", box(1, 1, 3, 3))], 9, 5),
        # Flags are no shapes; labels with "ignore" in them are ignored.
        ([shape("target", box(0, 0, 2, 2)), shape("flag", box(1, 1, 3, 3))], 9, 0),
        ([shape("target", box(0, 0, 2, 2)), shape("Flag", box(5, 5, 9, 9))], 9, 0),
        ([shape("target", box(0, 0, 2, 2)), shape("Ignored area", box(5, 5, 9, 9))], 9, 25),
    ],
)
def test_polygons_are_painted_by_falling_area(build, root, shapes, targets, ignored):
    write(root / "ReasonSeg" / "val", "c", shapes, ["First?"])
    sample = build().samples("val")[0]
    assert int(sample.targets[0].mask.sum()) == targets
    assert (0 if sample.ignore is None else int(sample.ignore.sum())) == ignored


def test_a_target_that_is_covered_by_ignored_shapes_is_no_target(build, root):
    shapes = [shape("target", box(0, 0, 5, 5)), *[shape("ignore", box(0, 0, 5, 2))],
              shape("ignore", box(0, 2, 5, 5))]  # fmt: skip
    write(root / "ReasonSeg" / "val", "c", shapes, ["First?"])
    sample = build().samples("val")[0]
    assert sample.targets == () and int(sample.ignore.sum()) == 36


def test_an_annotation_without_target_is_left_out_or_an_empty_truth(build, root):
    # Two files of the distributed test set are like this.
    write(root / "ReasonSeg" / "test", "e", [], ["Where?"])
    recipe = build()
    assert [sample.id for sample in recipe.samples("test")] == ["d-0"]
    assert recipe.counters() == {"annotations_without_target": 1}
    samples = build(compat="lisa").samples("test")
    assert samples[1].id == "e-0" and samples[1].targets == ()


def test_the_label_may_be_the_question_itself_and_is_cut_and_counted(build, root):
    long = "Where " + "would one " * 20 + "sit?"
    write(root / "ReasonSeg" / "val", "c", [shape("target", box(1, 1, 2, 2))], ["Which?", long])
    recipe = build(label=None)
    samples = recipe.samples("val")
    assert samples[0].labels == ("Which?",)
    assert samples[1].prompt == long and len(samples[1].labels[0]) <= 128
    assert recipe.counters() == {"labels_cut": 1}
    assert build(label="region").samples("val")[0].labels == ("region",)


def test_a_file_in_windows_code_page_is_read_and_counted(build, root):
    path = root / "ReasonSeg" / "test" / "d.json"
    content = json.dumps(json.loads(path.read_text()), ensure_ascii=False)
    path.write_bytes(content.replace("Where", "Caf\u00e9").encode("cp1252"))
    recipe = build()
    assert recipe.samples("test")[0].prompt == "Caf\u00e9 to sit?"
    assert recipe.counters() == {"annotations_not_utf8": 1}


def test_the_text_of_an_older_file_may_be_one_string(build, root):
    write(root / "ReasonSeg" / "test", "d", [shape("target", box(1, 1, 2, 2))], "Where?")
    assert build().samples("test")[0].prompt == "Where?"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not valid JSON"),
        ("[]", "expected an object, found a list"),
        ('{"shapes": []}', "'text' must be a list"),
        ('{"text": ["a"]}', "'shapes' must be a list"),
        ('{"text": ["a"], "shapes": [{"points": []}]}', "shape 0 has no label"),
        ('{"text": ["a"], "shapes": [{"label": "target", "points": [[1], [2, 3]]}]}', "points"),
        ('{"text": ["a"], "shapes": [{"label": "target", "points": [[1, NaN]]}]}', "points"),
    ],
)
def test_damage_is_named_with_its_file(build, root, content, reason):
    (root / "ReasonSeg" / "val" / "c.json").write_text(content)
    with pytest.raises(RecipeError, match=r"c\.json") as caught:
        build().samples("val")
    assert reason in str(caught.value)
    assert any(reason in message for message in build(counts=False).verify())


def test_data_check_compares_counts_and_reads_every_file(capsys, root):
    arguments = ["data", "check", "--recipe", "reasonseg", "--param", f"root={root}"]
    assert main([*arguments, "--param", "counts=false"]) == 0
    assert "val: samples 3, images 1" in capsys.readouterr().out
    assert main(arguments) == 2
    told = capsys.readouterr().err
    for part in ("2 pictures instead of 239", "1 pictures instead of 200", "instead of 779"):
        assert part in told
    (root / "ReasonSeg" / "val" / "c.jpg").unlink()
    assert main([*arguments, "--param", "counts=false"]) == 2
    assert "has no picture" in capsys.readouterr().err


def test_data_check_of_an_empty_folder_says_what_is_missing_and_where_to_get_it(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    where = f"root={tmp_path / 'empty'}"
    assert main(["data", "check", "--recipe", "reasonseg", "--param", where]) == 2
    told = capsys.readouterr().err
    assert "lacks train/, val/ and test/" in told and "drive.google.com" in told
    assert "licence" in told


def test_a_picture_that_is_turned_is_told(build, root):
    path = root / "ReasonSeg" / "val" / "c.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path, exif=exif)
    assert any("EXIF orientation" in message for message in build(counts=False).verify())
