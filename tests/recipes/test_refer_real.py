"""The REFER recipes on real COCO annotations and RefCOCOs' real expressions."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from support_refer import ref, write_json

from t4spp.plugins import Catalogue
from t4spp.schemes.labels import sanitise_label
from t4spp_recipes.natural.coco_annotations import read_coco
from t4spp_recipes.natural.expressions import read_expressions


@pytest.fixture
def annotations(shared_data: Path) -> Path:
    return shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"


def refer_root(root: Path, annotations: Path, shared_data: Path) -> Path:
    """A RefCOCO whose refs are the categories of every real annotation."""
    content = json.loads(annotations.read_text(encoding="utf-8"))
    names = {item["id"]: item["name"] for item in content["categories"]}
    refs = [
        ref(number, item["image_id"], item["id"], "val", names[item["category_id"]])
        for number, item in enumerate(content["annotations"])
    ]
    (root / "refcoco").mkdir()
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
    shutil.copy(annotations, root / "refcoco" / "instances.json")
    pictures = root / "images" / "train2014"
    pictures.mkdir(parents=True)
    for path in (shared_data / "coco" / "coco_val100").glob("*.jpg"):
        shutil.copy(path, pictures / f"COCO_val2014_{path.stem[-12:]}.jpg")
    return root


def test_real_masks_equal_pycocotools_and_compat_loses_what_overlaps(
    catalogue: Catalogue, annotations, shared_data, tmp_path, capsys
):
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    coco = COCO(str(annotations))
    capsys.readouterr()
    params = {"root": str(refer_root(tmp_path, annotations, shared_data)), "counts": False}
    native = catalogue.build("recipe", "refcoco", params).samples("val")
    lisa = catalogue.build("recipe", "refcoco", {**params, "compat": "lisa"}).samples("val")
    assert len(native) == len(lisa) == 839
    damaged = []
    for number, annotation in enumerate(coco.dataset["annotations"]):
        mask, faulty = (samples[number].targets[0].mask for samples in (native, lisa))
        assert np.array_equal(mask, coco.annToMask(annotation).astype(bool))
        if isinstance(annotation["segmentation"], list):
            codes = coco_mask.frPyObjects(annotation["segmentation"], *mask.shape)
            assert np.array_equal(faulty, coco_mask.decode(codes).sum(axis=2) == 1)
        if not np.array_equal(mask, faulty):
            damaged.append(1 - faulty.sum() / mask.sum())
    # docs/datasets-referring.md quotes both.
    assert len(damaged) == 5
    assert max(damaged) == pytest.approx(0.0275, abs=5e-4)


def test_real_pictures_are_read_and_missing_ones_counted(
    catalogue: Catalogue, annotations, shared_data, tmp_path
):
    root = refer_root(tmp_path, annotations, shared_data)
    recipe = catalogue.build(
        "recipe", "refcoco", {"root": str(root), "counts": False, "missing_pictures": "skip"}
    )
    samples = recipe.samples("val")
    assert {sample.image_id for sample in samples} == {"139", "724"}
    assert samples[0].image.shape == (*samples[0].size, 3)
    assert recipe.counters()["images_without_picture"] == 98


def test_refcocos_expressions_give_grefcoco_and_coco_instances_the_same_samples(
    catalogue: Catalogue, annotations, shared_data, tmp_path
):
    path = shared_data / "coco" / "refcocos" / "results" / "refcocos_test.json"
    known = catalogue.build(
        "recipe", "coco-instances", {"annotations": str(annotations), "expressions": str(path)}
    ).samples("all")
    expressions, _ = read_expressions(path, read_coco(annotations), sanitise_label)
    refs = [
        ref(n, item.image_id, [i.id for i in item.instances] or [-1], "val", item.text)
        for n, item in enumerate(expressions)
    ]
    write_json(tmp_path / "grefcoco" / "grefs(unc).json", refs)
    shutil.copy(annotations, tmp_path / "grefcoco" / "instances.json")
    found = catalogue.build("recipe", "grefcoco", {"root": str(tmp_path)}).samples("val")
    assert len(found) == len(known) == 5
    assert [len(sample.targets) for sample in found].count(0) == 3
    # One follows the file of expressions, the other the pictures.
    ordered = [sorted(samples, key=lambda sample: sample.prompt) for samples in (found, known)]
    for first, second in zip(*ordered, strict=True):
        assert (first.prompt, first.labels, first.size) == (
            second.prompt, second.labels, second.size,
        )  # fmt: skip
        assert [target.mask.tolist() for target in first.targets] == [
            target.mask.tolist() for target in second.targets
        ]
