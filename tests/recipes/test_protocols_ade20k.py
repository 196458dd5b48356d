"""``open-vocab`` on ADE20K's sample, whose folder of predictions equals the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_protocols import answered, counts, scores

from t4spp.plugins import Catalogue
from t4spp.types import BoolMask


@pytest.fixture
def recipes(catalogue: Catalogue, shared_data: Path) -> tuple[Any, Any]:
    """The sample's annotations and its predictions, read alike."""
    base = shared_data / "ade20k_sample"
    common = {"prompts": "segment-all"}
    truth = catalogue.build(
        "recipe", "semantic-folder", {"preset": "ade20k", "root": str(base), **common}
    )
    predicted = catalogue.build(
        "recipe",
        "semantic-folder",
        {
            "masks": str(base / "sampleData" / "predictions"),
            "classes": dict(enumerate(truth.classes, start=1)),
            "void": [0],
            **common,
        },
    )
    return truth, predicted


def as_answers(truth: Any, predicted: Any, shift: int = 0) -> list[Any]:
    """The predicted masks, moved to the right, as answers about the true samples."""

    def moved(mask: BoolMask) -> BoolMask:
        return np.roll(mask, shift, axis=1)

    return [
        answered(
            [(target.label, target.mask) for target in sample.targets],
            [(target.label, moved(target.mask)) for target in other.targets],
            labels=sample.labels,
            position=position,
            size=sample.size,
            kind=sample.kind,
            image_id=sample.image_id,
            ignore=sample.ignore,
        )
        for position, (sample, other) in enumerate(
            zip(truth.samples("all"), predicted.samples("all"), strict=True)
        )
    ]


def test_miou_of_the_samples_predictions_is_one(recipes: tuple[Any, Any]) -> None:
    answers = as_answers(*recipes)
    assert [len(one.sample.labels) for one in answers] == [150, 150, 150]
    got = scores("open-vocab", *answers)
    assert got["miou"] == 1.0
    told = counts("open-vocab", *answers)
    seen = told["classes"] - told["classes_without_pixels"]
    assert (told["classes"], seen, told["prompts"]) == (150, len(told["class_iou"]), 3)
    # As published, class 0 counts one and every class that three pictures do not show counts zero.
    assert got["miou_published"] == pytest.approx((seen + 1) / 151, abs=1e-9)


def test_miou_of_moved_predictions_equals_numpys(recipes: tuple[Any, Any]) -> None:
    answers = as_answers(*recipes, shift=9)
    both: dict[str, int] = {}
    either: dict[str, int] = {}
    for one in answers:
        counted = (
            np.ones(one.sample.size, bool) if one.sample.ignore is None else ~one.sample.ignore
        )
        true = {target.label: target.mask & counted for target in one.sample.targets}
        predicted = {region.label: region.mask & counted for region in one.decoded.regions}
        nothing = np.zeros(one.sample.size, bool)
        for label in {*true, *predicted}:
            first, second = true.get(label, nothing), predicted.get(label, nothing)
            both[label] = both.get(label, 0) + int((first & second).sum())
            either[label] = either.get(label, 0) + int((first | second).sum())
    expected = np.mean([both[label] / either[label] for label in both if either[label]])
    got = scores("open-vocab", *answers)["miou"]
    assert got == pytest.approx(expected, abs=1e-12)
    assert 0.1 < got < 0.99
