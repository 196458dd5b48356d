from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t4spp.errors import RecipeError
from t4spp.plugins import Catalogue

SEGMENTS = [
    {"id": 5, "category_id": 1, "iscrowd": 0, "area": 6, "bbox": [0, 0, 3, 2]},
    {"id": 70000, "category_id": 1, "iscrowd": 0, "area": 4, "bbox": [3, 0, 2, 2]},
    {"id": 300, "category_id": 2, "iscrowd": 0, "area": 9, "bbox": [0, 2, 3, 3]},
    {"id": 9, "category_id": 1, "iscrowd": 1, "area": 2, "bbox": [3, 2, 2, 1]},
]


def _write(folder: Path, **changes: Any) -> dict[str, str]:
    """A picture of 6 x 5 pixels; its last row is unlabelled, and columns 3 and 4 from row 3 on."""
    numbers = np.zeros((6, 5), dtype=np.int64)
    numbers[0:2, 0:3], numbers[0:2, 3:5], numbers[2:5, 0:3], numbers[2:3, 3:5] = 5, 70000, 300, 9
    colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2)
    masks = folder / "panoptic"
    masks.mkdir()
    Image.fromarray(colours.astype(np.uint8)).save(masks / "a.png")
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 6, "width": 5}],
        "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": SEGMENTS}],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1},
            {"id": 2, "name": "sky-other-merged", "isthing": 0},
        ],
        **changes,
    }
    path = folder / "panoptic_val2017.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return {"annotations": str(path), "masks": str(masks)}


@pytest.fixture
def build(catalogue: Catalogue, tmp_path: Path) -> Callable[..., Any]:
    def make(changes: dict[str, Any] | None = None, **params: Any) -> Any:
        written = _write(tmp_path, **(changes or {}))
        return catalogue.build("recipe", "coco-panoptic", {**written, **params})

    return make


def test_a_category_is_asked_for_with_all_its_segments(build: Any) -> None:
    samples = build().samples("all")
    assert [(sample.id, sample.prompt) for sample in samples] == [
        ("7-person", "person"),
        ("7-sky-other-merged", "sky-other-merged"),
    ]
    person = samples[0]
    assert [int(target.mask.sum()) for target in person.targets] == [6, 4]
    assert person.targets[1].mask[0, 3]
    assert person.image_id == "7"
    assert person.load_image is None


def test_unlabelled_pixels_and_crowds_of_the_category_are_not_scored(build: Any) -> None:
    recipe = build()
    person, sky = recipe.samples("all")
    assert int(person.ignore.sum()) == 5 + 4 + 2
    assert int(sky.ignore.sum()) == 5 + 4
    assert recipe.counters() == {"crowd_ignored": 1}


def test_crowds_are_kept_or_skipped_on_request(build: Any) -> None:
    recipe = build(crowd="keep")
    assert [int(target.mask.sum()) for target in recipe.samples("all")[0].targets] == [6, 4, 2]
    assert recipe.counters() == {"crowd_kept": 1}


def test_a_segment_or_a_whole_picture_is_asked_for(build: Any, tmp_path: Path) -> None:
    recipe = build(prompts="per-segment")
    assert [sample.id for sample in recipe.samples("all")] == ["7-5", "7-70000", "7-300"]


def test_the_whole_picture_is_asked_for_by_its_categories(build: Any) -> None:
    (sample,) = build(prompts="segment-all").samples("all")
    assert sample.id == "7"
    assert sample.labels == ("person", "sky-other-merged")
    assert sample.kind == "conditioned"
    assert len(sample.targets) == 3


def test_verify_counts_the_pixels_of_every_segment(build: Any) -> None:
    assert build().verify() == []


def test_verify_names_a_wrong_area_and_unlisted_colours(build: Any) -> None:
    wrong = [{**SEGMENTS[0], "area": 7}, *SEGMENTS[1:3]]
    annotations = [{"image_id": 7, "file_name": "a.png", "segments_info": wrong}]
    messages = build({"annotations": annotations}).verify()
    assert len(messages) == 2
    assert "the segment 5 (person) has 6 pixels, the JSON says 7" in messages[0]
    assert "1 colours (2 pixels) are no segment" in messages[1]


def test_a_mask_of_another_size_is_refused(build: Any) -> None:
    images = [{"id": 7, "file_name": "a.jpg", "height": 5, "width": 6}]
    recipe = build({"images": images})
    with pytest.raises(RecipeError, match=r"a\.png is 6 x 5 pixels .* the JSON says 5 x 6"):
        recipe.samples("all")[0]


def test_an_instances_file_is_told_apart(build: Any) -> None:
    with pytest.raises(RecipeError, match="belongs to coco-instances"):
        build({"annotations": [{"image_id": 7, "id": 1, "category_id": 1}]})


def test_real_segments_have_the_areas_of_the_json(catalogue: Catalogue, shared_data: Path) -> None:
    folder = shared_data / "coco" / "panopticapi"
    path = folder / "panoptic_examples.json"
    params = {
        "annotations": str(path),
        "masks": str(folder / "panoptic_examples"),
        "images": str(folder / "input_images"),
        "prompts": "per-segment",
        "crowd": "keep",
    }
    recipe = catalogue.build("recipe", "coco-panoptic", params)
    content = json.loads(path.read_text(encoding="utf-8"))
    areas = {
        f"{record['image_id']}-{segment['id']}": segment["area"]
        for record in content["annotations"]
        for segment in record["segments_info"]
    }
    found = {sample.id: int(sample.targets[0].mask.sum()) for sample in recipe.samples("all")}
    assert found == areas
    assert len(areas) == 50
    assert recipe.verify() == []
