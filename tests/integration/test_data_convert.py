"""`t4spp data convert`: what it writes, and that coco-instances reads the same samples back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from t4spp.cli import main
from t4spp.components import Recipe
from t4spp.errors import RunError
from t4spp.evaluation.coco_file import write_coco
from t4spp.plugins import load_catalogue
from t4spp.types import Sample, Target

SIZE = (6, 7)
masks = hnp.arrays(np.bool_, st.just(SIZE))


def sample(number: int, label: str, *found: np.ndarray, picture: str = "p", **values) -> Sample:
    return Sample(
        id=f"s{number}",
        size=SIZE,
        prompt=label,
        labels=(label,),
        targets=tuple(Target(label=label, mask=mask) for mask in found),
        image_id=picture,
        **values,
    )


def square(y: int, x: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.bool_)
    mask[y : y + 2, x : x + 2] = True
    return mask


def read_back(path: Path, **params: object) -> Recipe:
    return load_catalogue().build("recipe", "coco-instances", {"annotations": str(path), **params})


def test_file_is_coco_with_codes_boxes_and_crowds(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    ignore = np.zeros(SIZE, dtype=np.bool_)
    ignore[5] = True
    counters = write_coco(
        [
            sample(0, "dog", square(0, 0), square(2, 4), ignore=ignore),
            sample(1, "dog", square(2, 4), square(0, 0), ignore=ignore),
            sample(2, "cat"),
            sample(3, "dog", square(1, 1), picture="q"),
        ],
        path,
        description="test",
    )
    written = json.loads(path.read_text())
    assert [(c["id"], c["name"]) for c in written["categories"]] == [(1, "dog"), (2, "cat")]
    assert [
        (a["image_id"], a["category_id"], a["bbox"], a["area"], a["iscrowd"])
        for a in written["annotations"]
    ] == [
        (1, 1, [0.0, 0.0, 2.0, 2.0], 4, 0),
        (1, 1, [4.0, 2.0, 2.0, 2.0], 4, 0),
        (1, 1, [0.0, 5.0, 7.0, 1.0], 7, 1),
        (2, 1, [1.0, 1.0, 2.0, 2.0], 4, 0),
    ]
    assert written["annotations"][0]["segmentation"] == {"size": [6, 7], "counts": "0240n0"}
    assert written["images"][0]["neg_category_ids"] == [2]
    assert [(e["expression"], e["annotation_ids"]) for e in written["expressions"]] == [
        ("dog", [1, 2, 3]),
        ("dog", [2, 1, 3]),
        ("cat", []),
        ("dog", [4]),
    ]
    assert written["expressions"][2]["no_target"] is True
    assert counters == {
        "images": 2,
        "annotations": 3,
        "crowd_annotations": 1,
        "categories": 2,
        "expressions": 4,
        "expressions_without_target": 1,
    }


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a dog", "a cat"]), st.lists(masks, max_size=3), masks),
        min_size=1,
        max_size=4,
    )
)
def test_expressions_read_back_have_identical_masks(
    tmp_path: Path, drawn: list[tuple[str, list[np.ndarray], np.ndarray]]
) -> None:
    path = tmp_path / "round.json"
    given_samples = []
    for number, (label, found, ignored) in enumerate(drawn):
        kept = [mask for mask in found if mask.any()]
        under = np.logical_or.reduce(kept) if kept else np.zeros(SIZE, dtype=np.bool_)
        ignore = ignored & ~under if kept and (ignored & ~under).any() else None
        given_samples.append(sample(number, label, *kept, picture=f"p{number % 2}", ignore=ignore))
    write_coco(given_samples, path, description="test")
    samples = read_back(path, expressions=str(path)).samples("all")
    by_id = {one.id.split("-", 1)[1]: one for one in (samples[i] for i in range(len(samples)))}
    assert sorted(by_id) == sorted(one.id for one in given_samples)
    for one in given_samples:
        other = by_id[one.id]
        assert other.prompt == one.prompt
        assert len(other.targets) == len(one.targets)
        for mine, theirs in zip(one.targets, other.targets, strict=True):
            assert np.array_equal(mine.mask, theirs.mask)
        if one.targets:
            nothing = np.zeros(SIZE, dtype=np.bool_)
            mine, theirs = (s.ignore if s.ignore is not None else nothing for s in (one, other))
            assert np.array_equal(mine, theirs)


def test_prompts_for_several_labels_are_read_back_by_category(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    listed = Sample(
        id="s",
        size=SIZE,
        prompt="dog|cat|gnu",
        labels=("dog", "cat", "gnu"),
        kind="conditioned",
        targets=(Target(label="dog", mask=square(0, 0)), Target(label="cat", mask=square(3, 3))),
        image_id="p",
    )
    counters = write_coco([listed], path, description="test")
    assert counters["prompts_for_several_labels"] == 1
    assert json.loads(path.read_text())["expressions"] == []
    found = read_back(path, no_target_share=0.34).samples("all")
    told = [(one.prompt, [t.mask.sum() for t in one.targets]) for one in found]
    assert told == [("dog", [4]), ("cat", [4]), ("gnu", [])]


def test_what_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    counters = write_coco(
        [
            sample(0, "dog", np.zeros(SIZE, dtype=np.bool_)),
            sample(1, "dog", square(0, 0), ignore=square(0, 0)),
            sample(2, "dog", kind="dialogue", answers=("yes",)),
        ],
        tmp_path / "a.json",
        description="test",
    )
    assert counters["targets_without_pixel"] == 1
    assert counters["samples_with_targets_under_ignore"] == 1
    assert counters["dialogues_left_out"] == 1


def test_picture_of_two_sizes_is_refused(tmp_path: Path) -> None:
    other = Sample(id="t", size=(9, 9), prompt="dog", targets=(), image_id="p")
    with pytest.raises(RunError, match="one size a picture"):
        write_coco([sample(0, "dog"), other], tmp_path / "a.json", description="test")


def test_command_writes_file_and_pictures_that_the_recipe_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "shapes.json", tmp_path / "pictures"
    options = ["--recipe", "refshapes", "--split", "val", "--limit", "12"]
    capsys.readouterr()
    code = main(["data", "convert", *options, "-o", str(path), "--pictures", str(folder), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["num_samples"] == 12
    original = load_catalogue().build("recipe", "refshapes", {}).samples("val")
    read = read_back(path, expressions=str(path), images=str(folder)).samples("all")
    assert len(read) == 12
    by_id = {one.id.split("-", 1)[1]: one for one in (read[index] for index in range(12))}
    for index in range(12):
        one = original[index]
        other = by_id[one.id]
        assert np.array_equal(one.image, other.image)
        assert [t.mask.tolist() for t in one.targets] == [t.mask.tolist() for t in other.targets]


@pytest.mark.parametrize("output", [None, "file.txt", "missing/file.json"])
def test_place_that_cannot_be_written_is_the_users_error(
    tmp_path: Path, output: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [] if output is None else ["-o", str(tmp_path / output)]
    assert main(["data", "convert", "--recipe", "refshapes", *place]) == 2
