from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import load_catalogue
from t4spp.types import Sample
from t4spp_recipes.synthetic.params import RefShapesParams
from t4spp_recipes.synthetic.phrases import make_phrase
from t4spp_recipes.synthetic.refshapes import RefShapes, RefShapesSplit
from t4spp_recipes.synthetic.scenes import Scene, Shape

SHAPES = "circle square triangle diamond star cross ring frame bar dots".split()  # noqa: SIM905
RGB = {
    "red": (214, 44, 44),
    "green": (46, 168, 66),
    "blue": (52, 84, 222),
    "yellow": (236, 214, 48),
    "purple": (150, 58, 186),
    "cyan": (64, 204, 212),
    "orange": (242, 138, 36),
    "white": (240, 240, 240),
}
UNSEEN = {
    ("red", "star"),
    ("green", "ring"),
    ("blue", "triangle"),
    ("yellow", "cross"),
    ("purple", "square"),
    ("white", "circle"),
}
PLURALS = {"dots": "dots", "crosses": "cross", "objects": "object"} | {
    f"{shape}s": shape for shape in SHAPES if shape not in ("dots", "cross")
}
SPLITS = ("train", "val", "test")


def refshapes(**params: Any) -> RefShapes:
    return RefShapes(RefShapesParams.model_validate(params))


def split_of(name: str = "train", **params: Any) -> RefShapesSplit:
    split = refshapes(**params).samples(name)
    assert isinstance(split, RefShapesSplit)
    return split


def digest(sample: Sample) -> str:
    content = hashlib.sha256(repr((sample.id, sample.prompt, sample.tags)).encode())
    for target in sample.targets:
        content.update(target.label.encode() + np.packbits(target.mask).tobytes())
    content.update(sample.image.tobytes())
    return content.hexdigest()


def objects_seen(name: str, num_scenes: int) -> list[Shape]:
    split = split_of(name)
    return [thing for index in range(num_scenes) for thing in split.scene(index).objects]


def whole(thing: Shape) -> bool:
    """Nothing hides it, and the picture's border does not cut it."""
    hidden = (thing.alpha >= 0.5).sum() > thing.mask.sum()
    rim = thing.mask[0].any() or thing.mask[-1].any()
    return not (hidden or rim or thing.mask[:, 0].any() or thing.mask[:, -1].any())


# The meaning of a phrase, read from its words and from pixels alone.


class Thing:
    def __init__(self, thing: Shape) -> None:
        rows, columns = np.nonzero(thing.mask)
        self.colour, self.shape, self.area = thing.colour, thing.shape, rows.size
        self.y = (rows.min() + rows.max() + 1) / 2
        self.x = (columns.min() + columns.max() + 1) / 2


def called(words: list[str], things: list[Thing]) -> list[int]:
    *colour, shape = words
    assert len(colour) <= 1 and (shape in SHAPES or shape == "object"), words
    assert not colour or colour[0] in RGB, words
    return [
        index
        for index, thing in enumerate(things)
        if shape in (thing.shape, "object") and (not colour or colour[0] == thing.colour)
    ]


EXTREMES = {
    "leftmost": lambda thing: thing.x,
    "rightmost": lambda thing: -thing.x,
    "topmost": lambda thing: thing.y,
    "bottommost": lambda thing: -thing.y,
    "smallest": lambda thing: thing.area,
    "largest": lambda thing: -thing.area,
}
RELATIONS = {
    " left of the ": lambda one, other: one.x < other.x,
    " right of the ": lambda one, other: one.x > other.x,
    " above the ": lambda one, other: one.y < other.y,
    " below the ": lambda one, other: one.y > other.y,
}


def meaning(text: str, things: list[Thing]) -> list[int]:
    """The objects that ``text`` names; several only where it says all of them."""
    if text.startswith("all "):
        *colour, plural = text.split()[1:]
        return called([*colour, PLURALS[plural]], things)
    assert text.startswith("the ")
    for relation, holds in RELATIONS.items():
        if relation in text:
            noun, anchor = text[4:].split(relation)
            (other,) = called(anchor.split(), things)
            candidates = called(noun.split(), things)
            assert other not in candidates
            return [index for index in candidates if holds(things[index], things[other])]
    first, *rest = text[4:].split()
    if first in EXTREMES:
        candidates = called(rest, things)
        keys = [EXTREMES[first](things[index]) for index in candidates]
        return [index for index, key in zip(candidates, keys, strict=True) if key == min(keys)]
    return called([first, *rest], things)


def says_kind(text: str) -> str:
    if text.startswith("all "):
        return "group"
    if any(relation in text for relation in RELATIONS):
        return "relation"
    word = text.split()[1]
    if word in ("largest", "smallest"):
        return "size"
    return "position" if word in EXTREMES else "attribute"


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scene=st.integers(0, 10**7),
    split=st.sampled_from(SPLITS),
    preset=st.sampled_from(["standard", "standard", "easy", "hard"]),
)
def test_every_phrase_names_exactly_its_objects(
    seed: int, scene: int, split: str, preset: str
) -> None:
    samples = split_of(split, seed=seed, preset=preset, prompts_per_scene=8)
    things = [Thing(thing) for thing in samples.scene(scene).objects]
    for phrase in samples.phrases(scene):
        assert sorted(phrase.objects) == meaning(phrase.text, things), phrase.text
        if phrase.kind == "none":
            assert phrase.objects == ()
            assert says_kind(phrase.text) == "attribute"
        else:
            assert says_kind(phrase.text) == phrase.kind
            assert (len(phrase.objects) > 1) == (phrase.kind == "group")


def test_extremes_and_relations_leave_a_margin_that_an_eye_can_see() -> None:
    samples = split_of("val")
    checked: Counter[str] = Counter()
    for scene in range(250):
        things = [Thing(thing) for thing in samples.scene(scene).objects]
        for phrase in samples.phrases(scene):
            words = phrase.text.split()
            if phrase.kind == "size":
                areas = sorted(things[index].area for index in called(words[2:], things))
                low, high = areas[:2] if words[1] == "smallest" else areas[-2:]
                assert high >= 1.5 * low
            elif phrase.kind == "position":
                key = EXTREMES[words[1]]
                first, second, *_ = sorted(key(things[i]) for i in called(words[2:], things))
                assert second - first >= 0.06 * 128
            checked[phrase.kind] += 1
    assert checked["size"] > 10 and checked["position"] > 30


def test_all_kinds_of_phrases_occur() -> None:
    samples = split_of("train")
    kinds = Counter(phrase.kind for scene in range(400) for phrase in samples.phrases(scene))
    assert set(kinds) == {"attribute", "size", "position", "relation", "group", "none"}
    assert min(kinds.values()) > 30
    assert kinds["attribute"] > sum(kinds.values()) / 2


def test_about_a_tenth_of_the_standard_prompts_has_no_target() -> None:
    samples = split_of("val")
    empty = [not phrase.objects for scene in range(600) for phrase in samples.phrases(scene)]
    assert 0.085 <= np.mean(empty) <= 0.115
    tags = [sample.tags for sample in samples[:400]]
    assert [("no-target" in found) for found in tags] == empty[:400]
    assert all(("kind:none" in found) == ("no-target" in found) for found in tags)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_share_of_prompts_without_target_is_settable(share: float) -> None:
    samples = split_of("val", no_target=share)
    assert {sample.targets == () for sample in samples[:80]} == {share == 1.0}


def test_standard_scenes_are_128_pixels_with_two_to_six_objects() -> None:
    samples = split_of("val")
    counts = Counter(len(samples.scene(index).objects) for index in range(300))
    assert set(counts) == {2, 3, 4, 5, 6}
    assert min(counts.values()) > 30
    assert samples[0].size == (128, 128)
    assert samples[0].image.shape == (128, 128, 3) and samples[0].image.dtype == np.uint8


def test_visible_areas_stay_within_their_bounds_even_after_occlusion() -> None:
    shares = np.array([thing.mask.mean() for thing in objects_seen("train", 600)])
    assert 0.003 <= shares.min() < 0.004
    assert 0.15 < shares.max() <= 0.20


def test_objects_of_a_scene_do_not_overlap() -> None:
    samples = split_of("test")
    for index in range(100):
        drawn = np.sum([thing.mask for thing in samples.scene(index).objects], axis=0)
        assert drawn.max() == 1


def test_training_never_shows_nor_names_an_unseen_pair() -> None:
    samples = split_of("train")
    named = {f"{colour} {shape}" for colour, shape in UNSEEN}
    for index in range(800):
        assert not {(t.colour, t.shape) for t in samples.scene(index).objects} & UNSEEN
        for phrase in samples.phrases(index):
            assert not any(pair in phrase.text for pair in named), phrase.text


@pytest.mark.parametrize("split", ["val", "test"])
def test_unseen_pairs_occur_outside_training_and_are_tagged(split: str) -> None:
    samples = split_of(split)
    shown = {
        (t.colour, t.shape) for index in range(250) for t in samples.scene(index).objects
    } & UNSEEN
    assert shown == UNSEEN
    tagged = 0
    for position, sample in enumerate(samples[:1000]):
        number, prompt = divmod(position, 4)
        objects = samples.scene(number).objects
        named = [objects[index] for index in samples.phrases(number)[prompt].objects]
        expected = any((thing.colour, thing.shape) in UNSEEN for thing in named)
        assert ("unseen-pair" in sample.tags) == expected
        tagged += expected
    assert 30 < tagged < 200


def test_rings_and_frames_have_a_hole() -> None:
    for thing in objects_seen("val", 120):
        if thing.shape in ("ring", "frame") and whole(thing) and thing.area > 150:
            holes = ndimage.binary_fill_holes(thing.mask) & ~thing.mask
            assert holes.sum() > 0.1 * thing.area


def test_bars_are_thin() -> None:
    bars = [t for t in objects_seen("val", 120) if t.shape == "bar" and whole(t)]
    assert len(bars) > 10
    for bar in bars:
        thickness = 2 * ndimage.distance_transform_edt(bar.mask).max()
        length = np.hypot(bar.box.height, bar.box.width)
        assert thickness <= 0.22 * length + 2


def test_dots_have_four_parts() -> None:
    dots = [t for t in objects_seen("val", 120) if t.shape == "dots" and whole(t)]
    assert len(dots) > 10
    assert {ndimage.label(thing.mask)[1] for thing in dots} == {4}


def test_some_objects_are_partly_hidden_but_never_by_more_than_a_quarter() -> None:
    shares = [1 - t.area / (t.alpha >= 0.5).sum() for t in objects_seen("train", 200)]
    assert 0.05 < np.mean(np.array(shares) > 0.02) < 0.6
    assert max(shares) <= 0.25


def test_all_shapes_and_colours_occur_about_equally_often() -> None:
    things = objects_seen("val", 400)
    for found, names in (
        (Counter(t.shape for t in things), SHAPES),
        (Counter(t.colour for t in things), list(RGB)),
    ):
        assert set(found) == set(names)
        assert max(found.values()) < 2 * min(found.values())


def test_masks_are_what_is_drawn() -> None:
    plain = {"objects": (1, 1), "texture": 0.0, "area": (0.01, 0.2)}
    samples = split_of("val", difficulty=plain)
    agreements = []
    for index in range(40):
        scene = samples.scene(index)
        picture = scene.render().astype(float)
        (thing,) = scene.objects
        ground = np.median(picture[~thing.mask], axis=0)
        paint = np.median(picture[thing.mask], axis=0)
        nearer = np.linalg.norm(picture - paint, axis=2) < np.linalg.norm(picture - ground, axis=2)
        agreements.append((nearer & thing.mask).sum() / (nearer | thing.mask).sum())
    assert min(agreements) > 0.8
    assert np.median(agreements) > 0.97


def test_objects_wear_the_colour_that_phrases_call_them() -> None:
    names, nominal = list(RGB), np.array(list(RGB.values()), dtype=float)
    samples = split_of("val")
    right = []
    for index in range(60):
        scene = samples.scene(index)
        picture = scene.render().astype(float)
        for thing in scene.objects:
            paint = np.median(picture[thing.mask], axis=0)
            nearest = np.linalg.norm(nominal - paint, axis=1).argmin()
            right.append(names[nearest] == thing.colour)
    assert np.mean(right) > 0.97


def test_targets_bear_the_prompt_as_label_and_share_the_scene() -> None:
    samples = split_of("train")
    for position, sample in enumerate(samples[:200]):
        scene = samples.scene(position // 4)
        assert sample.id == f"train-{position // 4:06d}-{position % 4}"
        assert sample.image_id == f"train-{position // 4:06d}"
        assert sample.labels == (sample.prompt,)
        assert sample.kind == "partial" and sample.ignore is None
        for target in sample.targets:
            assert target.label == sample.prompt
            assert any(np.array_equal(target.mask, thing.mask) for thing in scene.objects)


def test_first_standard_scenes_are_what_published_scores_mean() -> None:
    samples = split_of("val")
    assert [sample.prompt for sample in samples[:8]] == [
        "the cyan triangle",
        "the orange triangle",
        "the cyan object",
        "the white object",
        "the white bar",
        "the green square",
        "the purple cross",
        "the purple triangle",
    ]
    assert [thing.area for thing in samples.scene(0).objects] == [2140, 180, 764, 1536]


def test_samples_do_not_depend_on_the_order_of_access() -> None:
    forward, backward = split_of("val"), split_of("val")
    first = [digest(forward[index]) for index in range(24)]
    second = [digest(backward[index]) for index in reversed(range(24))]
    assert first == second[::-1]


def test_samples_are_the_same_in_another_process() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_refshapes import digest, split_of\n"
        "print(*(digest(split_of('test', seed=5)[i]) for i in (17, 3, 8)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(__file__).rsplit("/", 1)[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    samples = split_of("test", seed=5)
    assert done.stdout.split() == [digest(samples[index]) for index in (17, 3, 8)]


def test_seeds_and_splits_differ() -> None:
    prompts = {
        (name, seed): tuple(sample.prompt for sample in split_of(name, seed=seed)[:12])
        for name in SPLITS
        for seed in (0, 1)
    }
    assert len(set(prompts.values())) == 6


def test_more_prompts_a_scene_leave_the_first_ones_as_they_are() -> None:
    few, many = split_of("val", prompts_per_scene=2), split_of("val", prompts_per_scene=6)
    for scene in range(20):
        assert [p.text for p in few.phrases(scene)] == [p.text for p in many.phrases(scene)][:2]


def test_a_scene_seldom_repeats_a_phrase() -> None:
    samples = split_of("train")
    repeats = [len({p.text for p in samples.phrases(scene)}) < 4 for scene in range(200)]
    assert np.mean(repeats) < 0.1


def test_a_split_that_was_pickled_gives_the_same_samples() -> None:
    samples = split_of("val")
    before = digest(samples[5])
    copy = pickle.loads(pickle.dumps(samples))
    assert digest(copy[5]) == before
    assert len(copy) == len(samples)


def test_pickling_leaves_cached_scenes_behind() -> None:
    fresh, used = split_of("val"), split_of("val")
    used[:40]
    assert len(pickle.dumps(used)) == len(pickle.dumps(fresh))


def test_slices_and_negative_indices_work_as_in_a_list() -> None:
    samples = split_of("val", num_scenes={"val": 3})
    assert len(samples) == 12
    ids = [sample.id for sample in samples]
    assert samples[-1].id == ids[-1] == "val-000002-3"
    assert samples[-12].id == ids[0] == "val-000000-0"
    assert [sample.id for sample in samples[2:9:3]] == ids[2:9:3]
    assert [sample.id for sample in samples[::-1]] == ids[::-1]
    assert samples[20:] == []
    assert all(one < other for one, other in pairwise(ids))


@pytest.mark.parametrize("index", [12, -13])
def test_index_outside_the_split_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError, match=r"refshapes val: -?1[23] of 12 samples"):
        split_of("val", num_scenes={"val": 3})[index]


def test_a_split_without_scenes_is_empty() -> None:
    assert len(split_of("test", num_scenes={"val": 3})) == 0


def test_nothing_is_rendered_until_the_picture_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_scene: Scene) -> None:
        raise RuntimeError("rendered")

    monkeypatch.setattr(Scene, "render", refuse)
    samples = split_of("val")[:8]
    assert all(sample.size == (128, 128) for sample in samples)
    with pytest.raises(RuntimeError, match="rendered"):
        _ = samples[0].image


def test_nothing_is_generated_until_a_sample_is_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    from t4spp_recipes.synthetic import refshapes as module

    real = module.make_scene
    monkeypatch.setattr(
        module, "make_scene", lambda *args, **more: calls.append(args) or real(*args, **more)
    )
    samples = split_of("train", num_scenes={"train": 10**9})
    assert len(samples) == 4 * 10**9 and not calls
    _ = samples[-1]
    assert len(calls) == 1
    _ = samples[-2]
    assert len(calls) == 1, "prompts about one scene share it"


def test_own_difficulty_replaces_the_preset() -> None:
    own = {"size": 64, "objects": (1, 2), "shapes": ("ring",), "colours": ("red", "cyan")}
    samples = split_of("val", preset="hard", difficulty=own)
    for index in range(30):
        scene = samples.scene(index)
        assert 1 <= len(scene.objects) <= 2
        assert {thing.shape for thing in scene.objects} == {"ring"}
        assert {thing.colour for thing in scene.objects} <= {"red", "cyan"}
    assert samples[0].image.shape == (64, 64, 3)


def test_presets_order_by_difficulty() -> None:
    easy, hard = split_of("val", preset="easy"), split_of("val", preset="hard")
    assert easy[0].size == (128, 128) and hard[0].size == (256, 256)
    assert max(len(easy.scene(index).objects) for index in range(30)) == 3
    assert min(len(hard.scene(index).objects) for index in range(30)) >= 5


def test_prompt_blind_hides_every_name_and_changes_nothing_else() -> None:
    seeing, blind = split_of("val"), split_of("val", prompt_blind=True)
    for one, other in zip(seeing[:24], blind[:24], strict=True):
        assert other.prompt == "the object" and other.labels == ("the object",)
        assert {target.label for target in other.targets} <= {"the object"}
        assert (other.id, other.tags) == (one.id, one.tags)
        for target, same in zip(one.targets, other.targets, strict=True):
            assert np.array_equal(target.mask, same.mask)


def test_recipe_is_registered_and_takes_params_from_a_config() -> None:
    catalogue = load_catalogue(only=["recipes-synthetic"])
    recipe = catalogue.build("recipe", "refshapes", {"seed": 3, "num_scenes": {"val": 2}})
    assert recipe.splits == ("train", "val", "test")
    assert len(recipe.samples("val")) == 8
    with pytest.raises(ConfigError, match="preset"):
        catalogue.build("recipe", "refshapes", {"presett": "easy"})


def test_sources_say_that_nothing_is_downloaded() -> None:
    (source,) = RefShapes.sources
    assert source.licence == "CC0-1.0"
    assert refshapes().verify() == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "standart"}, "preset"),
        ({"seed": -1}, "seed"),
        ({"no_target": 1.5}, "no_target"),
        ({"num_scenes": {"val": -1}}, "num_scenes.val"),
        ({"prompts_per_scene": 0}, "prompts_per_scene"),
        ({"difficulty": {"objects": (3, 2)}}, r"objects: \(3, 2\) must be \(least, most\)"),
        ({"difficulty": {"objects": (0, 2)}}, "within 1..12"),
        ({"difficulty": {"area": (0.0, 0.2)}}, r"area: \(0.0, 0.2\)"),
        ({"difficulty": {"area": (0.3, 0.2)}}, r"area: \(0.3, 0.2\)"),
        ({"difficulty": {"shapes": ("circel",)}}, r"circel.*valid: circle, square"),
        ({"difficulty": {"colours": ()}}, "none given"),
        ({"difficulty": {"size": 16}}, "size"),
        ({"difficulty": {"shapes": ("star",), "colours": ("red",)}}, "training scenes leave out"),
        ({"difficulty": {"weight": 1}}, "weight"),
    ],
)
def test_bad_params_are_refused_by_name(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RefShapesParams.model_validate(params)


def test_unknown_splits_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match=r"no split 'vall'; valid: train, val, test.*val"):
        refshapes().samples("vall")
    with pytest.raises(RecipeError, match=r"num_scenes names the split 'tran'.*train"):
        refshapes(num_scenes={"tran": 5})


def test_a_difficulty_that_no_object_fits_says_so() -> None:
    impossible = {"shapes": ("bar",), "area": (0.45, 0.5)}
    with pytest.raises(RecipeError, match="no object fits a scene of 128 x 128"):
        split_of("val", difficulty=impossible)[0]


def test_a_phrase_is_found_even_where_nothing_repeats_or_nothing_is_missing() -> None:
    single = {"objects": (1, 1), "shapes": ("ring",), "colours": ("red",)}
    scene = split_of("val", difficulty=single).scene(0)
    phrase = make_phrase(scene, (1, 2, 3), absent=True, unseen=True)
    assert phrase.objects == (0,)
