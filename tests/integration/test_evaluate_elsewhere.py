"""``t4spp evaluate --predictions``: other systems' files, through the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from t4spp.cli import main
from t4spp.evaluation.coco_scores import SUMMARY


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4SPP_CACHE", str(tmp_path_factory.mktemp("cache")))


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code = main(["evaluate", "--json", *map(str, arguments)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    metrics: dict[str, Any] = json.loads(printed.out)
    return metrics


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one message of a command that exits with 2."""
    code = main(["evaluate", *map(str, arguments)])
    printed = capsys.readouterr()
    assert code == 2, printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err
    message = printed.err.split("t4spp: error: ", 1)[1]
    assert len(message.strip().splitlines()) == 1
    return message


def values(metrics: dict[str, Any], protocol: str) -> dict[str, float | None]:
    return {name: score["value"] for name, score in metrics["protocols"][protocol].items()}


def _rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def _square(y0: int, x0: int, side: int) -> np.ndarray:
    mask = np.zeros((40, 50), dtype=np.bool_)
    mask[y0 : y0 + side, x0 : x0 + side] = True
    return mask


TRUTH = {
    "images": [
        {"id": 3, "file_name": "a.jpg", "height": 40, "width": 50},
        {"id": 12, "file_name": "b.jpg", "height": 40, "width": 50},
    ],
    "categories": [{"id": 1, "name": "dog"}, {"id": 7, "name": "cat"}],
    "annotations": [
        {
            "id": 0,
            "image_id": 3,
            "category_id": 1,
            "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10]],
            "area": 100,
            "bbox": [0, 0, 10, 10],
            "iscrowd": 0,
        },
        {
            "id": 1,
            "image_id": 12,
            "category_id": 7,
            "segmentation": _rle(_square(5, 5, 20)),
            "area": 400,
            "bbox": [5, 5, 20, 20],
            "iscrowd": 0,
        },
    ],
}


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Writes truth and results; returns the arguments that name them."""

    def write(results: Any, truth: Any = TRUTH, form: str = "coco-results") -> list[str]:
        for name, content in (("truth", truth), ("results", results)):
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
        return [
            *("--predictions", str(tmp_path / "results.json"), "--format", form),
            *("--truth", str(tmp_path / "truth.json")),
        ]

    return write


def _found(image: int, category: int, mask: np.ndarray, score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "score": score, "segmentation": _rle(mask)}


GOOD = [_found(3, 1, _square(0, 0, 10)), _found(12, 7, _square(5, 5, 20))]


# The replay sets


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_coco_replay_gives_the_printed_values(
    shared_data: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = shared_data / "replay_coco"
    printed = (folder / "val2014_fake_eval_res.txt").read_text(encoding="utf-8")
    part = re.split(r"type=(\w+)", printed)
    expected = re.findall(r"= ([\d.]+)$", part[part.index(kind) + 1], re.MULTILINE)
    assert len(expected) == 12
    metrics = evaluate(
        capsys,
        *("--predictions", folder / f"instances_val2014_fake{kind}100_results.json"),
        *("--format", "coco-results", "--truth", folder / "instances_val2014_100.json"),
        *("--protocol", "instances", "--set", "evaluation.bootstrap=20"),
    )
    scores = values(metrics, "instances")
    assert [f"{scores[f'{kind}_{name}']:.3f}" for name in SUMMARY] == expected
    assert metrics["protocol_counts"]["instances"]["true_objects"] == 830
    assert metrics["prediction_counters"] == {"predictions": 734}


def test_sam3_replay_gives_the_published_counts_of_every_phrase(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = shared_data / "replay_sam3"
    name = "toy_saco_veval_sav_test_{}.json"
    output = tmp_path / "scores" / "sam3.json"
    metrics = evaluate(
        capsys,
        *("--predictions", base / name.format("pred"), "--format", "masklets"),
        *("--truth", base / name.format("gt"), "-o", output),
    )
    assert json.loads(output.read_text(encoding="utf-8")) == metrics
    published = json.loads((base / name.format("eval_res")).read_text(encoding="utf-8"))
    truth = json.loads((base / name.format("gt")).read_text(encoding="utf-8"))
    labels = {item["id"]: item["name"] for item in truth["categories"]}
    found = {phrase["label"]: phrase for phrase in metrics["phrases"]}
    for expected in published["video_np_results"]:
        phrase = found[labels[expected["category_id"]]]
        for count in ("tp", "fp", "fn"):
            assert phrase[f"segm_{count}_50"] == expected[f"mask_{count.upper()}_50"]
            assert phrase[f"bbox_{count}_50"] == expected[f"bbox_{count.upper()}_50"]
    assert found["thick gold chain"]["segm_fp_50"] == 0.0
    assert metrics["protocol_counts"]["masklets"]["phrases_without_target"] == 1


def test_ade20k_predictions_that_are_the_truth_score_one(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shared_data / "ade20k_sample"
    metrics = evaluate(
        capsys,
        *("--predictions", root / "sampleData" / "predictions", "--format", "mask-png"),
        *("--recipe", "semantic-folder", "--param", "preset=ade20k", "--param", f"root={root}"),
        *("--protocol", "native", "--protocol", "contour", "--protocol", "instances"),
    )
    assert values(metrics, "native")["mean_iou"] == 1.0
    assert values(metrics, "contour")["contour_score"] == 1.0
    assert values(metrics, "instances")["segm_ap"] == pytest.approx(1.0)
    assert metrics["num_samples"] == 25
    assert metrics["prediction_counters"]["masks_of_no_sample"] == 0


def test_a_missing_mask_is_counted_and_scores_as_empty(
    shared_data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = shared_data / "ade20k_sample"
    folder = tmp_path / "masks"
    shutil.copytree(root / "sampleData" / "predictions", folder)
    (folder / "ADE_val_00000002.png").unlink()
    Image.new("L", (4, 4)).save(folder / "another.png")
    metrics = evaluate(
        capsys,
        *("--predictions", folder, "--format", "mask-png", "--recipe", "semantic-folder"),
        *("--param", "preset=ade20k", "--param", f"root={root}"),
    )
    assert metrics["prediction_counters"]["samples_without_prediction"] == 6
    assert metrics["prediction_counters"]["masks_of_no_sample"] == 1
    assert metrics["answers"]["problems"]["missing-prediction"]["answers"] == 6
    assert metrics["answers"]["invalid"] == 6
    assert values(metrics, "native")["mean_iou"] == pytest.approx(19 / 25)


# Masks by sample


@pytest.fixture
def coco_recipe(tmp_path: Path) -> list[str]:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(TRUTH), encoding="utf-8")
    return ["--recipe", "coco-instances", "--param", f"annotations={path}"]


def test_binary_masks_are_named_by_sample(
    coco_recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    Image.fromarray(_square(0, 0, 10).astype(np.uint8) * 255).save(folder / "3-0.png")
    half = _square(5, 5, 20)
    half[15:] = False
    Image.fromarray(half).save(folder / "12-1.png")
    metrics = evaluate(capsys, "--predictions", folder, "--format", "mask-png", *coco_recipe)
    assert values(metrics, "native")["mean_iou"] == 0.75
    assert values(metrics, "native")["ciou"] == 300 / 500
    assert metrics["recipe"]["name"] == "coco-instances"
    assert metrics["split"] == "all"


def test_several_masks_of_a_label_are_instances(
    coco_recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    (folder / "3-dog" / "dog").mkdir(parents=True)
    for index, mask in enumerate((_square(0, 0, 10), _square(30, 30, 5))):
        Image.fromarray(mask).save(folder / "3-dog" / "dog" / f"{index}.png")
    (folder / "12-cat").mkdir()
    Image.fromarray(_square(5, 5, 20)).save(folder / "12-cat" / "cat.png")
    metrics = evaluate(
        capsys,
        *("--predictions", folder, "--format", "mask-png", *coco_recipe),
        *("--param", "prompts=by-category", "--protocol", "instances"),
    )
    assert metrics["protocol_counts"]["instances"]["detections"] == 3
    assert values(metrics, "instances")["precision"] == pytest.approx(2 / 3)
    assert values(metrics, "instances")["recall"] == 1.0
    assert metrics["prediction_counters"]["masks_of_no_sample"] == 0


def test_ids_that_are_no_file_names_are_sub_folders_or_percent_encoded(
    coco_recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = json.loads(json.dumps(TRUTH).replace('"dog"', '"hot/dog"'))
    (tmp_path / "instances.json").write_text(json.dumps(truth), encoding="utf-8")
    arguments = [*coco_recipe, "--param", "prompts=by-category"]
    for name in ("3-hot/dog.png", "3-hot%2Fdog.png", "3%2Dhot%2fdog.png"):
        folder = tmp_path / f"masks{len(name)}{name[1]}"
        (folder / name).parent.mkdir(parents=True)
        Image.fromarray(_square(0, 0, 10)).save(folder / name)
        metrics = evaluate(capsys, "--predictions", folder, "--format", "mask-png", *arguments)
        assert values(metrics, "native")["mean_iou"] == 0.5, name
        assert metrics["prediction_counters"] == {
            "samples_without_prediction": 1,
            "masks_of_no_sample": 0,
        }


def test_a_mask_of_another_size_or_with_colours_is_refused(
    coco_recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    arguments = ["--predictions", folder, "--format", "mask-png", *coco_recipe]
    Image.new("L", (40, 50)).save(folder / "3-0.png")
    message = refused(capsys, *arguments)
    assert "3-0.png is 50 x 40 pixels (height x width), its picture is 40 x 50" in message
    Image.new("RGB", (50, 40)).save(folder / "3-0.png")
    assert "has colour mode RGB" in refused(capsys, *arguments)
    (folder / "3-0.png").write_bytes(b"no picture")
    assert "cannot be read as a picture" in refused(capsys, *arguments)


def test_a_folder_about_other_samples_is_refused_with_examples(
    coco_recipe: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    arguments = ["--predictions", folder, "--format", "mask-png", *coco_recipe]
    assert "holds no PNG masks" in refused(capsys, *arguments)
    Image.new("L", (50, 40)).save(folder / "wrong.png")
    message = refused(capsys, *arguments)
    assert "the first would be 3-0.png, the folder has 1 PNGs (wrong.png)" in message


# COCO results


def test_perfect_results_score_one_and_ids_may_be_zero(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = values(evaluate(capsys, *files(GOOD)), "instances")
    assert scores["segm_ap"] == pytest.approx(1.0)
    assert scores["bbox_ap"] == pytest.approx(1.0)
    assert scores["f1"] == 1.0
    assert scores["segm_ap_medium"] is None  # nothing of that size: null, not -1


def test_no_results_at_all_find_nothing(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = evaluate(capsys, *files([]))
    assert values(metrics, "instances")["segm_ap"] == 0.0
    assert values(metrics, "instances")["recall"] == 0.0


def test_results_about_unknown_pictures_and_categories_are_left_out_and_counted(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [_found(99, 1, _square(0, 0, 5)), _found(3, 50, _square(0, 0, 5))]
    metrics = evaluate(capsys, *files([*GOOD, *more]))
    assert metrics["prediction_counters"] == {
        "predictions": 4,
        "predictions_of_unknown_images": 1,
        "predictions_of_unknown_categories": 1,
    }
    assert values(metrics, "instances")["precision"] == 1.0


def test_results_that_are_all_about_something_else_are_refused(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, *files([_found(99, 1, _square(0, 0, 5))]))
    assert "none of the 1 predictions" in message
    assert "the first has image_id 99" in message


def test_boxes_alone_are_scored_as_boxes(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    results = [{"image_id": 3, "category_id": 1, "score": 1, "bbox": [0, 0, 10, 10]}]
    scores = values(evaluate(capsys, *files(results)), "instances")
    assert scores["bbox_ap"] == pytest.approx(0.5)  # of two categories one is found
    assert "segm_ap" not in scores


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ('[{"image_id": 3, "category_id": 1,', "no JSON list of objects"),
        ('[{"image_id": 3, "category_id": 1}\n{"image_id": 3}]', "at line 2, column 1"),
        ('{"annotations": []}', "must begin with '['"),
        ("[1, 2]", "expected an object"),
        ('[{"image_id": 3, "category_id": 1}] x', "something stands behind the list"),
        ('[{"image_id": 3, "category_id": 1},]', "behind the comma"),
        ("", "must begin with '['"),
        ([{"category_id": 1}], "record 1: image_id must be"),
        ([{"image_id": 3, "category_id": 1, "score": 1}], "needs segmentation or bbox"),
        ([{**GOOD[0], "score": None}], "record 1: score must be a number"),
        ([GOOD[1], {**GOOD[0], "score": float("nan")}], "record 2: score must be a number"),
        (
            [_found(3, 1, np.ones((50, 40), dtype=np.bool_))],
            "coded for size [50, 40] (height, width), its picture is 40 x 50",
        ),
        (
            [{**GOOD[0], "segmentation": {"size": [40, 50], "counts": "00000000"}}],
            "or is damaged",
        ),
        (
            [{**GOOD[0], "segmentation": {"size": [40, 50], "counts": [5, 5]}}],
            "covers 10 pixels instead of the picture's 40 x 50 = 2000",
        ),
        (
            [GOOD[0], {"image_id": 12, "category_id": 7, "score": 1, "bbox": [1, 2, 3, 4]}],
            "record 2",
        ),
        ([{"image_id": 3, "category_id": 1, "score": 1, "bbox": [1, 2, 3]}], "expected a box"),
        (
            [{**GOOD[0], "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5], [1, 1, 5, 1, 5, 5, 7]]}],
            "record 1: a polygon must be a list x, y, x, y, ...; this one has 7 numbers",
        ),
        ([{**GOOD[0], "score": 10**400}], "record 1: score must be a number, not 1000"),
        ([{**GOOD[0], "segmentation": [[1, 1, 5, 1, 5, 10**400]]}], "flat list of numbers"),
        ('[{"image_id": 1' + "0" * 5000 + "}]", "has too many digits at line 1, column 2"),
        ('[{"a": ' * 100_000, "nested too deeply"),
    ],
)
def test_damaged_results_are_refused_in_one_message(
    files: Any, capsys: pytest.CaptureFixture[str], results: Any, expected: str
) -> None:
    assert expected in refused(capsys, *files(results))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": []}, "has no images"),
        ({"images": None}, "must be an object with the lists images"),
        ({"categories": []}, "is not among the file's categories"),
        ({"images": [{"id": 3, "height": 0, "width": 5}]}, "height must be a whole number"),
        ({"images": [TRUTH["images"][0]] * 2}, "images[1].id 3 occurs twice"),
        ({"categories": TRUTH["categories"] * 2}, "categories[2].id 1 occurs twice"),
        ({"categories": [5]}, "categories[0]: id must be a whole number or a text"),
        ({"images": [{"id": 3, "height": 10**5, "width": 10**5}]}, "cannot count"),
        (
            {"annotations": [{**TRUTH["annotations"][0], "area": "large"}]},
            "annotations[0]: area must be a number, not 'large'",
        ),
    ],
)
def test_damaged_truth_is_refused_in_one_message(
    files: Any, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], expected: str
) -> None:
    assert expected in refused(capsys, *files(GOOD, {**TRUTH, **changes}))


@pytest.mark.parametrize(
    ("truth", "expected"),
    [
        ('{"images": ' * 100_000, "nested too deeply"),
        ('{"images": [{"id": 1' + "0" * 5000 + "}]}", "has too many digits"),
    ],
)
def test_truth_that_python_cannot_hold_is_refused(
    files: Any, capsys: pytest.CaptureFixture[str], truth: str, expected: str
) -> None:
    assert expected in refused(capsys, *files(GOOD, truth))


def test_results_that_are_no_utf8_are_refused(
    files: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = files([{**GOOD[0], "note": "?"}])
    path = tmp_path / "results.json"
    path.write_bytes(path.read_bytes().replace(b'"?"', b'"\xe4"'))
    assert "record 1 is not UTF-8 text" in refused(capsys, *arguments)


def test_runs_of_no_pixels_change_no_score(files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """pycocotools takes masks of 8 and 11 pixels for equal where both have such a run behind 4."""
    first = {"size": [40, 50], "counts": [9, 4, 0, 4, 1983]}
    truth = {**TRUTH, "annotations": [{**TRUTH["annotations"][0], "segmentation": first}]}
    found = [{**GOOD[0], "segmentation": {"size": [40, 50], "counts": [9, 4, 0, 7, 1980]}}]
    metrics = evaluate(capsys, *files(found, truth))
    assert values(metrics, "instances")["segm_ap50"] == pytest.approx(1.0)
    assert values(metrics, "instances")["segm_ap"] == pytest.approx(0.5)  # 8 / 11: to 0.70
    compressed = {"size": [40, 50], "counts": "9400om1"}
    assert coco_mask.decode(compressed).sum() == 8  # 9, 4, 0, 4, 1983 again
    truth["annotations"][0]["segmentation"] = compressed
    metrics = evaluate(capsys, *files(found, truth))
    assert values(metrics, "instances")["segm_ap"] == pytest.approx(0.5)


def test_long_results_are_read_piece_by_piece(
    files: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from t4spp.evaluation.elsewhere import records

    monkeypatch.setattr(records, "_CHUNK", 7)
    note = {**GOOD[0], "note": 'ein Stück "Ä] }{" \\ 犬', "score": 0.1}
    text = json.dumps([GOOD[0], note, GOOD[1]], ensure_ascii=False, indent=1)
    metrics = evaluate(capsys, *files(text))
    assert metrics["prediction_counters"]["predictions"] == 3
    assert values(metrics, "instances")["recall"] == 1.0
    assert values(metrics, "instances")["precision"] == pytest.approx(2 / 3)


# Masklets


def _videos(**changes: Any) -> dict[str, Any]:
    frames = [_rle(_square(0, 0, 10)), None, _rle(_square(2, 0, 10))]
    truth: dict[str, Any] = {
        "videos": [{"id": 0, "height": 40, "width": 50, "length": 3}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [{"id": 1, "video_id": 0, "category_id": 1, "segmentations": frames}],
        "video_np_pairs": [
            {"video_id": 0, "category_id": 1},
            {"video_id": 0, "category_id": 2},
        ],
    }
    return {**truth, **changes}


def test_masklets_without_boxes_get_those_of_their_masks(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = _videos()
    frames = truth["annotations"][0]["segmentations"]
    results = [{"video_id": 0, "category_id": 1, "score": 0.9, "segmentations": frames}]
    metrics = evaluate(capsys, *files(results, truth, "masklets"))
    dog, cat = metrics["phrases"]
    assert (dog["label"], dog["segm_tp_50"], dog["bbox_tp_75"]) == ("dog", 1.0, 1.0)
    assert (cat["label"], cat["segm_fp_50"], cat["segm_fn_50"]) == ("cat", 0.0, 0.0)
    assert values(metrics, "masklets")["segm_il_mcc"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"segmentations": [None]}, "segmentations must be a list of 3 frames"),
        ({"segmentations": [None, None, {"size": [1, 1], "counts": "1"}]}, "frame 2"),
        ({"bboxes": [[0, 0, 1, 1]] * 2}, "bboxes must be a list of 3 frames"),
        ({"score": "high"}, "score must be a number"),
    ],
)
def test_damaged_masklets_are_refused_in_one_message(
    files: Any, capsys: pytest.CaptureFixture[str], change: dict[str, Any], expected: str
) -> None:
    good = {
        "video_id": 0,
        "category_id": 1,
        "score": 0.9,
        "segmentations": _videos()["annotations"][0]["segmentations"],
    }
    assert expected in refused(capsys, *files([{**good, **change}], _videos(), "masklets"))


def test_a_video_of_countless_frames_is_refused_before_they_are_made(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = _videos()
    truth["videos"][0]["length"] = 10**15
    message = refused(capsys, *files([], truth, "masklets"))
    assert f"must be a list of {10**15} frames, as its video; found 3" in message


# Options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing to score"),
        (["--format", "mask-png"], "--format is about predictions of other systems"),
        (["runs/x", "--predictions", "p"], "runs/x and --predictions contradict each other"),
        (["--predictions", "p"], "--format is missing; valid: coco-results, masklets, mask-png"),
        (["--predictions", "p", "--format", "mask-pngs"], "Did you mean 'mask-png'?"),
        (["--predictions", "p", "--format", "coco-results"], "needs --truth"),
        (["--predictions", "p", "--format", "mask-png"], "needs --recipe"),
        (
            ["--predictions", "p", "--format", "mask-png", "--recipe", "r", "--truth", "t"],
            "takes its truth from --recipe; leave --truth out",
        ),
        (
            ["--predictions", "p", "--format", "masklets", "--truth", "t", "--split", "val"],
            "leave --split out",
        ),
        (
            ["--predictions", "p", "--format", "masklets", "--truth", "t", "--generate"],
            "Leave --generate out",
        ),
        (
            ["--predictions", "p", "--format", "masklets", "--truth", "t", "--overwrite"],
            "-o is not given",
        ),
        (
            ["--predictions", "p", "--format", "coco-results", "--truth", "t", "--protocol", "rec"],
            "is scored by --protocol instances alone",
        ),
        (
            ["--predictions", "p", "--format", "coco-results", "--truth", "t", "--set", "seed=x"],
            "only seed and evaluation.* can be set",
        ),
        (
            [
                *("--predictions", "p", "--format", "coco-results", "--truth", "t"),
                *("--set", "seed=-1"),
            ],
            "a seed is a whole number from 0 to 4294967295",
        ),
        (
            [
                *("--predictions", "p", "--format", "coco-results", "--truth", "t"),
                *("--set", "evaluation.bootstraps=3"),
            ],
            "Did you mean 'bootstrap'?",
        ),
        (
            ["--predictions", "p", "--format", "coco-results", "--truth", "t", "-o", "."],
            "is a folder",
        ),
        (
            [
                *("--predictions", "p", "--format", "mask-png", "--recipe", "refshapes"),
                *("--protocol", "dialogue"),
            ],
            "looks at answers in words",
        ),
        (["--predictions", "p", "--format", "coco-results", "--truth", "t"], "cannot be read"),
    ],
)
def test_options_that_do_not_fit_are_refused_one_by_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert expected in refused(capsys, *arguments)


def test_a_file_of_scores_is_replaced_on_request_only(
    files: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "scores.json"
    output.write_text("kept", encoding="utf-8")
    arguments = [*files(GOOD), "-o", output]
    assert "exists. Replace it by --overwrite" in refused(capsys, *arguments)
    assert output.read_text(encoding="utf-8") == "kept"
    evaluate(capsys, *arguments, "--overwrite")
    assert json.loads(output.read_text(encoding="utf-8"))["schema"] == 1


def test_scores_never_replace_what_they_are_made_of(
    files: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = files(GOOD)
    for name in ("results.json", "truth.json"):
        before = (tmp_path / name).read_bytes()
        message = refused(capsys, *arguments, "-o", tmp_path / "." / name, "--overwrite")
        assert "is what --predictions or --truth reads" in message
        assert (tmp_path / name).read_bytes() == before
    message = refused(capsys, *arguments, "-o", tmp_path / "truth.json" / "scores.json")
    assert "cannot be made a folder" in message


def test_people_get_a_table_with_the_phrases(
    files: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *files([], _videos(), "masklets")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"masklets +segm_f1_50 +0\.000", printed)
    assert re.search(r"0 +dog +0 +0 +1", printed)
    assert "2 phrases on 1 videos" in printed
