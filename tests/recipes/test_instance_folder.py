"""``instance-folder``: folders of pictures and instance-id masks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t4spp.components import Recipe
from t4spp.errors import RecipeError
from t4spp.plugins import Catalogue


def save(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 4 x 6. a: instances 1 and 7, and void; b: one instance of a single pixel."""
    first = np.zeros((4, 6), int)
    first[:2, :2], first[2:, 3:], first[3, 5] = 1, 7, 255
    second = np.zeros((4, 6), int)
    second[1, 1] = 3
    for stem, mask in (("a", first), ("b", second)):
        save(tmp_path / "both" / f"{stem}_mask.png", mask)
        save(tmp_path / "both" / f"{stem}.png", np.full((4, 6, 3), 9))
    return tmp_path


@pytest.fixture
def build(catalogue: Catalogue, folder: Path) -> Any:
    def make(**params: Any) -> Recipe:
        both = str(folder / "both")
        given = {"images": both, "masks": both, "mask_suffix": "_mask", "void": [255], **params}
        return catalogue.build("recipe", "instance-folder", given)

    return make


def test_every_instance_is_a_sample_of_its_own(build: Any) -> None:
    samples = build(label="walker").samples("all")
    assert [sample.id for sample in samples] == ["a-1", "a-7", "b-3"]
    assert [sample.image_id for sample in samples] == ["a", "a", "b"]
    second = samples[1]
    assert (second.prompt, second.labels, len(second.targets)) == ("walker", ("walker",), 1)
    assert second.targets[0].mask.sum() == 5
    assert second.image.shape == (4, 6, 3)


def test_instances_together_are_targets_of_one_sample(build: Any) -> None:
    samples = build(prompts="together").samples("all")
    assert [(sample.id, len(sample.targets)) for sample in samples] == [("a", 2), ("b", 1)]


def test_void_pixels_are_ignored_and_belong_to_no_instance(build: Any) -> None:
    ignore = build().samples("all")[0].ignore
    assert ignore.sum() == 1
    assert ignore[3, 5]
    assert build().samples("all")[2].ignore is None


def test_small_instances_are_left_out_and_counted(build: Any) -> None:
    recipe = build(min_pixels=5)
    assert [sample.id for sample in recipe.samples("all")] == ["a-7"]
    assert recipe.counters() == {"instances_below_min_pixels": 2}


def test_what_has_no_partner_is_counted(build: Any, folder: Path) -> None:
    (folder / "both" / "a.png").unlink()
    save(folder / "both" / "c.png", np.full((4, 6, 3), 9))
    recipe = build()
    samples = recipe.samples("all")
    assert recipe.counters() == {"masks_without_picture": 1, "pictures_without_mask": 1}
    with pytest.raises(RecipeError, match=r"picture a \(\.jpg"):
        _ = samples[0].image


def test_a_share_of_images_becomes_val(build: Any) -> None:
    recipe = build(val_share=0.5, seed=1)
    train, val = recipe.samples("train"), recipe.samples("val")
    assert {sample.image_id for sample in train} | {s.image_id for s in val} == {"a", "b"}
    assert not {sample.image_id for sample in train} & {sample.image_id for sample in val}


def test_samples_travel_to_worker_processes(build: Any) -> None:
    samples = pickle.loads(pickle.dumps(build().samples("all")))
    assert samples[2].targets[0].mask[1, 1]


def test_a_folder_without_masks_is_an_error_that_names_it(build: Any, folder: Path) -> None:
    with pytest.raises(RecipeError, match="holds no masks"):
        build(mask_suffix="_labels").samples("all")
    with pytest.raises(RecipeError, match="does not exist"):
        build(masks=str(folder / "gone"))


def test_verify_names_a_picture_of_another_size(build: Any, folder: Path) -> None:
    assert build().verify() == []
    save(folder / "both" / "b.png", np.full((4, 7, 3), 9))
    (message,) = build().verify()
    assert "b.png" in message


def test_real_penn_fudan_and_voc_masks_are_read(catalogue: Catalogue, shared_data: Path) -> None:
    fudan = shared_data / "coco" / "torchvision_pennfudan"
    params = {"images": str(fudan), "masks": str(fudan), "mask_suffix": "_mask"}
    samples = catalogue.build("recipe", "instance-folder", params).samples("all")
    assert [int(sample.targets[0].mask.sum()) for sample in samples] == [14595, 9201, 9293]
    assert samples[0].image.shape == (498, 533, 3)
    voc = shared_data / "voc_labelme" / "instance_segmentation" / "data_dataset_voc"
    params = {
        "images": str(voc / "JPEGImages"),
        "masks": str(voc / "SegmentationObject"),
        "void": [255],
    }
    recipe = catalogue.build("recipe", "instance-folder", params)
    assert len(recipe.samples("all")) == 12
    assert recipe.verify() == []
