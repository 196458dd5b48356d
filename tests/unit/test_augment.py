"""Pictures and masks change together, and repeatably."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.config import AugmentConfig
from t4spp.data.augment import Augmenter, apply, suits
from t4spp.types import GeoRef, Sample, Target

HEIGHT, WIDTH = 12, 20
PLACES = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
PLACES[..., 0], PLACES[..., 1] = np.indices((HEIGHT, WIDTH)) + 1


def sample_of(prompt: str = "tree", **changes: Any) -> Sample:
    """A picture whose colours tell each pixel's place, and masks that follow from them."""
    near = Target(label="tree", mask=PLACES[..., 1] <= 3)
    far = Target(label="car", mask=PLACES[..., 0] > 9)
    sample = Sample(
        id="a",
        size=(HEIGHT, WIDTH),
        prompt=prompt,
        targets=(near, far),
        labels=("tree", "car"),
        load_image=lambda: PLACES,
        ignore=PLACES[..., 1] == 7,
        geo=GeoRef(crs="EPSG:4326", transform=(1, 0, 0, 0, -1, 0)),
    )
    return replace(sample, **changes)


def augmenter(seed: int = 0, **settings: Any) -> Callable[[Sample, int], Sample]:
    drawn = Augmenter(AugmentConfig(**settings), seed)
    return lambda sample, epoch: apply(drawn.draw(sample, epoch), sample)


@given(st.integers(0, 2**31), st.integers(0, 50), st.floats(0.05, 1), st.floats(0, 1))
def test_picture_masks_and_ignored_pixels_stay_together(
    seed: int, epoch: int, min_crop: float, mirror: float
) -> None:
    found = augmenter(seed, min_crop=min_crop, mirror=mirror)(sample_of(), epoch)
    image = found.image
    assert image.shape[:2] == found.size
    assert found.size[0] <= HEIGHT and found.size[1] <= WIDTH
    rules = {"tree": image[..., 1] <= 3, "car": image[..., 0] > 9}
    shown = {target.label: target.mask for target in found.targets}
    assert shown, "something is left"
    for label, expected in rules.items():
        assert np.array_equal(shown.get(label, np.zeros(found.size, dtype=bool)), expected)
    assert found.ignore is not None and np.array_equal(found.ignore, image[..., 1] == 7)
    assert found.geo is None
    steps = np.diff(image[..., 1].astype(int), axis=1)
    assert (steps == 1).all() or (steps == -1).all()
    area = (np.sqrt(min_crop) * HEIGHT - 0.5) * (np.sqrt(min_crop) * WIDTH - 0.5)
    assert found.size[0] * found.size[1] >= area


def test_mirroring_swaps_left_and_right() -> None:
    found = augmenter(mirror=1.0)(sample_of(), 0)
    assert np.array_equal(found.image, PLACES[:, ::-1])
    assert found.targets[0].mask[:, -3:].all() and not found.targets[0].mask[:, :-3].any()


@pytest.mark.parametrize("prompt", ["the tree on the left", "RIGHTMOST car"])
def test_what_speaks_of_left_or_right_is_not_mirrored(prompt: str) -> None:
    found = augmenter(mirror=1.0)(sample_of(prompt), 0)
    assert np.array_equal(found.image, PLACES)
    labelled = augmenter(mirror=1.0)(sample_of("", labels=("left lung", "heart")), 0)
    assert np.array_equal(labelled.image, PLACES)


def test_turning_goes_by_quarters_and_takes_masks_and_sizes_along() -> None:
    shapes = set()
    for epoch in range(20):
        found = augmenter(turn=1.0)(sample_of(), epoch)
        turns = [np.rot90(PLACES, quarters) for quarters in (1, 2, 3)]
        (quarters,) = [
            k for k, turned in enumerate(turns, 1) if np.array_equal(turned, found.image)
        ]
        assert found.size == found.image.shape[:2] == found.targets[0].mask.shape
        assert np.array_equal(found.targets[0].mask, found.image[..., 1] <= 3)
        assert found.ignore is not None and np.array_equal(found.ignore, found.image[..., 1] == 7)
        shapes.add(quarters)
    assert shapes == {1, 2, 3}


@pytest.mark.parametrize("prompt", ["the northern tree", "the car below the bridge", "top left"])
def test_what_names_a_direction_is_not_turned(prompt: str) -> None:
    assert np.array_equal(augmenter(turn=1.0)(sample_of(prompt), 0).image, PLACES)
    drawn = Augmenter(AugmentConfig(turn=1.0), 0)
    assert not suits(drawn.draw(sample_of(), 0), sample_of(prompt))


def test_draws_follow_from_seed_sample_and_epoch_alone() -> None:
    def sizes(seed: int, name: str) -> list[tuple[int, int]]:
        changed = augmenter(seed, min_crop=0.1)
        return [changed(sample_of(id=name), epoch).size for epoch in range(6)]

    assert sizes(0, "a") == sizes(0, "a")
    assert len({tuple(sizes(*key)) for key in ((0, "a"), (1, "a"), (0, "b"))}) == 3
    assert len(set(sizes(0, "a"))) > 2


def test_a_crop_that_leaves_nothing_is_not_taken() -> None:
    dot = np.zeros((HEIGHT, WIDTH), dtype=bool)
    dot[0, 0] = True
    changed = augmenter(min_crop=0.05)
    sizes = set()
    for epoch in range(40):
        found = changed(sample_of(targets=(Target(label="dot", mask=dot),)), epoch)
        assert found.targets[0].mask.sum() == 1
        sizes.add(found.size)
    assert (HEIGHT, WIDTH) in sizes and len(sizes) > 1


def test_a_sample_without_targets_is_cropped_too() -> None:
    changed = augmenter(min_crop=0.2)
    assert any(changed(sample_of(targets=()), epoch).size != (HEIGHT, WIDTH) for epoch in range(5))


def test_colours_change_within_bounds_and_masks_do_not() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 100, dtype=np.uint8)
    changed = augmenter(colour=0.2)
    seen = set()
    for epoch in range(20):
        found = changed(sample_of(load_image=lambda: grey), epoch)
        assert np.array_equal(found.targets[0].mask, PLACES[..., 1] <= 3)
        assert found.image.min() >= 79 and found.image.max() <= 121
        seen.add(int(found.image[0, 0, 0]))
    assert len(seen) > 5


def test_the_picture_is_read_only_when_asked_for() -> None:
    def fail() -> Any:
        raise AssertionError("read")

    assert augmenter(mirror=1.0)(sample_of(load_image=fail), 0).size == (HEIGHT, WIDTH)
    assert augmenter(mirror=1.0)(sample_of(load_image=None), 0).load_image is None


def test_a_change_suits_prompts_that_it_neither_empties_nor_belies() -> None:
    corner = np.zeros((HEIGHT, WIDTH), dtype=bool)
    corner[0, 0] = True
    drawn = Augmenter(AugmentConfig(min_crop=0.3, mirror=1.0), 0)
    changes = [drawn.draw(sample_of(id=str(number)), 0) for number in range(40)]
    emptied = [change for change in changes if change.window[:2] != (0, 0)]
    assert 0 < len(emptied) < len(changes)
    lost = sample_of(targets=(Target(label="dot", mask=corner),))
    assert [suits(change, lost) for change in changes] == [c not in emptied for c in changes]
    assert all(suits(change, sample_of(targets=())) for change in changes)
    assert not any(suits(change, sample_of("the left tree")) for change in changes)


def test_mirroring_may_swap_left_and_right_in_words_as_well() -> None:
    changed = augmenter(mirror=1.0, sides="swap")
    left = Target(label="the left tree", mask=PLACES[..., 1] <= 3)
    sample = sample_of("the left tree", labels=("the left tree", "bright car"), targets=(left,))
    found = changed(sample, 0)
    assert np.array_equal(found.image, PLACES[:, ::-1])
    assert found.prompt == "the right tree"
    assert found.labels == ("the right tree", "bright car")
    assert [target.label for target in found.targets] == ["the right tree"]
    assert found.targets[0].mask[:, -3:].all() and not found.targets[0].mask[:, :-3].any()
    assert np.array_equal(changed(sample_of("the leftover tree"), 0).image, PLACES)


def test_words_stay_where_the_picture_is_not_mirrored() -> None:
    found = augmenter(mirror=0.0, sides="swap")(sample_of("the left tree"), 0)
    assert found.prompt == "the left tree"


def test_companions_are_mirrored_with_their_sample_and_their_words() -> None:
    keep = Augmenter(AugmentConfig(mirror=1.0), 0).draw(sample_of(), 0)
    swap = Augmenter(AugmentConfig(mirror=1.0, sides="swap"), 0).draw(sample_of(), 0)
    sided = sample_of("the left tree")
    assert keep.mirror and not suits(keep, sided)
    assert swap.mirror and suits(swap, sided)
    assert apply(swap, sided).prompt == "the right tree"
    assert not suits(swap, sample_of("the leftover tree"))


def dialogue(prompt: str, *answers: str, **changes: Any) -> Sample:
    plain = {"targets": (), "labels": (), "kind": "dialogue", "answers": answers}
    return sample_of(prompt, **{**plain, **changes})


@pytest.mark.parametrize("sides", ["keep", "swap"])
def test_a_dialogue_is_mirrored_where_nothing_in_it_speaks_of_sides_and_never_cropped(
    sides: str,
) -> None:
    changed = augmenter(mirror=1.0, min_crop=0.1, sides=sides)
    assert np.array_equal(changed(dialogue("What is it?", "a bus"), 0).image, PLACES[:, ::-1])
    for told in (
        dialogue("Is it on the left?", "yes"),
        dialogue("Where is it?", "in the middle", "right of the tree"),
        dialogue("And then?", "a bus", context=(("What is left?", "a tree"),)),
    ):
        found = changed(told, 0)
        assert np.array_equal(found.image, PLACES)
        assert (found.prompt, found.answers) == (told.prompt, told.answers)


def test_a_dialogue_companion_takes_no_crop() -> None:
    drawn = Augmenter(AugmentConfig(min_crop=0.3), 0)
    changes = [drawn.draw(sample_of(id=str(number)), 0) for number in range(20)]
    whole = [change.window == (0, 0, HEIGHT, WIDTH) for change in changes]
    assert [suits(change, dialogue("What?", "a bus")) for change in changes] == whole
    assert not all(whole)


@pytest.mark.parametrize("prompt", ["the tree on the eastern side", "the north-west tower"])
def test_what_names_east_or_west_is_not_mirrored(prompt: str) -> None:
    for sides in ("keep", "swap"):
        found = augmenter(mirror=1.0, sides=sides)(sample_of(prompt), 0)
        assert np.array_equal(found.image, PLACES)
