"""``mask-shapes``: varied, deterministic, never empty."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from t4spp.errors import RecipeError
from t4spp.plugins import load_catalogue
from t4spp.types import Box
from t4spp_recipes.synthetic.mask_shapes import MaskShapes
from t4spp_recipes.synthetic.params import MaskShapesParams
from t4spp_recipes.synthetic.silhouettes import KINDS


def recipe(**params: object) -> MaskShapes:
    return MaskShapes(MaskShapesParams.model_validate(params))


def test_masks_are_never_empty_and_fit_the_canvas() -> None:
    samples = recipe(size=40, num_masks={"train": 150}).samples("train")
    assert len(samples) == 150
    for sample in samples:
        (target,) = sample.targets
        assert target.mask.shape == sample.size == (40, 40)
        assert target.mask.dtype == np.bool_ and target.mask.any()


def test_one_seed_is_one_dataset_and_splits_differ() -> None:
    def digest(seed: int, split: str) -> str:
        samples = recipe(size=32, seed=seed).samples(split)
        masks = np.stack([samples[index].targets[0].mask for index in range(20)])
        return hashlib.sha256(masks.tobytes()).hexdigest()

    assert digest(0, "train") == digest(0, "train")
    assert len({digest(0, "train"), digest(1, "train"), digest(0, "val")}) == 3


def test_sample_does_not_depend_on_those_before_it() -> None:
    samples = recipe(size=32).samples("val")
    forth = [samples[index].targets[0].mask for index in (3, 8)]
    again = [recipe(size=32).samples("val")[index].targets[0].mask for index in (8, 3)]
    assert np.array_equal(forth[0], again[1]) and np.array_equal(forth[1], again[0])
    assert np.array_equal(samples[-1].targets[0].mask, samples[len(samples) - 1].targets[0].mask)


def test_masks_vary_as_objects_in_photographs_do() -> None:
    samples = recipe(size=64).samples("train")
    masks = [samples[index].targets[0].mask for index in range(250)]
    boxes = [box for mask in masks if (box := Box.of_mask(mask)) is not None]
    fill = np.array([m[b.slices].mean() for m, b in zip(masks, boxes, strict=True)])
    parts = np.array([ndimage.label(mask)[1] for mask in masks])
    holes = np.array([ndimage.label(~np.pad(mask, 1))[1] - 1 for mask in masks])
    borders = np.array([b.y0 == 0 or b.x0 == 0 or b.y1 == 64 or b.x1 == 64 for b in boxes])
    sides = np.array([max(b.height, b.width) for b in boxes])
    assert fill.min() < 0.25 and fill.max() > 0.9 and 0.4 < fill.mean() < 0.65
    assert 0.05 < (parts > 1).mean() < 0.5 and 0.03 < (holes > 0).mean() < 0.4
    assert 0.15 < borders.mean() < 0.7
    assert np.percentile(sides, 10) < 12 and np.percentile(sides, 90) > 35


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_draws_something_most_of_the_time(kind: str) -> None:
    y, x = np.meshgrid(*[np.linspace(-1, 1, 24, dtype=np.float32)] * 2, indexing="ij")
    draw, _ = KINDS[kind]
    drawn = [draw(np.random.default_rng(seed), x, y) for seed in range(12)]
    assert all(mask.shape == (24, 24) and mask.dtype == np.bool_ for mask in drawn)
    assert sum(bool(mask.any() and not mask.all()) for mask in drawn) >= 9
    assert len({mask.tobytes() for mask in drawn}) >= 4


def test_unknown_split_and_parameters_are_refused() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'train'"):
        recipe().samples("tran")
    built = load_catalogue().build("recipe", "mask-shapes", {"size": 20})
    assert built.samples("test")[0].size == (20, 20)
    with pytest.raises(ValueError, match="extent"):
        recipe(extent=(0.9, 0.1))


def test_samples_have_no_picture() -> None:
    with pytest.raises(RecipeError, match="has no picture"):
        _ = recipe().samples("train")[0].image
