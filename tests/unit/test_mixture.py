"""Several datasets in one run: who is drawn when, and how samples are told apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.components import Recipe
from t4spp.config import DataConfig, load_config
from t4spp.data.head import head
from t4spp.data.mixture import MixedPart, MixedRecipe, MixedSamples, order_of
from t4spp.data.order import Draw, GlobalOrder, Share, WeightedOrder
from t4spp.data.vocabulary import MAX_READ, labels_of
from t4spp.errors import ConfigError, RecipeError
from t4spp.plugins import load_catalogue
from t4spp.training.binding import binding_config
from t4spp.types import Sample


def shares_of(*parts: tuple[int, float]) -> list[Share]:
    """Parts of (samples, weight)."""
    found, first = [], 0
    for number, (size, weight) in enumerate(parts):
        found.append(Share(name=f"p{number}", first=first, num_samples=size, weight=weight))
        first += size
    return found


def parts_of(order: WeightedOrder, draws: Sequence[Draw]) -> list[int]:
    """Which part each draw is of."""
    return [
        next(n for n, s in enumerate(order.shares) if s.first <= d.index < s.first + s.num_samples)
        for d in draws
    ]


SHARES = st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 100)), min_size=1, max_size=5).map(
    lambda parts: shares_of(*parts)
)


def test_the_first_draws_of_a_mixture_are_pinned() -> None:
    order = WeightedOrder(shares_of((5, 1), (3, 3)), 8, seed=0)
    assert parts_of(order, order.batch(0)) == [1, 0, 1, 0, 1, 1, 1, 0]


@settings(deadline=None, max_examples=40)
@given(SHARES, st.integers(0, 2**31), st.integers(1, 6))
def test_shares_of_the_stream_converge_to_the_weights(
    shares: list[Share], seed: int, num_blocks: int
) -> None:
    order = WeightedOrder(shares, 1, seed)
    length = num_blocks * WeightedOrder.BLOCK
    total = sum(share.weight for share in shares)
    for share, drawn in zip(shares, order.num_drawn(length), strict=True):
        assert abs(drawn - share.weight / total * length) <= num_blocks + 1e-6
    assert sum(order.num_drawn(length)) == length


def test_the_papers_ratio_is_kept_in_every_block() -> None:
    order = WeightedOrder(shares_of((700, 1), (900, 3), (400, 6)), 64, seed=3)
    for step in (16, 160, 1600):
        drawn = order.num_drawn(step * 64)
        assert [round(10 * n / sum(drawn), 1) for n in drawn] == [1.0, 3.0, 6.0]


@settings(deadline=None, max_examples=40)
@given(SHARES, st.integers(0, 2**31), st.integers(1, 30), st.integers(0, 300), st.integers(1, 5))
def test_a_run_resumed_at_any_step_sees_what_an_uninterrupted_one_does(
    shares: list[Share], seed: int, batch_size: int, step: int, num_processes: int
) -> None:
    ahead = WeightedOrder(shares, batch_size, seed)
    for earlier in range(max(0, step - 3), step):
        ahead.batch(earlier)
    resumed = WeightedOrder(shares, batch_size, seed)
    assert resumed.batch(step) == ahead.batch(step)
    assert resumed.batch(0) == WeightedOrder(shares, batch_size, seed).batch(0)
    split = [resumed.share(step, rank, num_processes) for rank in range(num_processes)]
    joined = [split[place % num_processes][place // num_processes] for place in range(batch_size)]
    assert tuple(joined) == ahead.batch(step)


@settings(deadline=None, max_examples=40)
@given(SHARES, st.integers(0, 2**31))
def test_each_part_is_gone_through_epoch_by_epoch(shares: list[Share], seed: int) -> None:
    order = WeightedOrder(shares, 50, seed)
    draws = [draw for step in range(30) for draw in order.batch(step)]
    parts = parts_of(order, draws)
    for number, share in enumerate(shares):
        own = [draw for draw, part in zip(draws, parts, strict=True) if part == number]
        indices = range(share.first, share.first + share.num_samples)
        for epoch in range(len(own) // share.num_samples):
            seen = own[epoch * share.num_samples : (epoch + 1) * share.num_samples]
            assert [draw.epoch for draw in seen] == [epoch] * share.num_samples
            assert sorted(draw.index for draw in seen) == list(indices)
        assert order.epochs(30)[share.name] == len(own) / share.num_samples


def test_parts_of_one_size_do_not_go_in_step() -> None:
    order = WeightedOrder(shares_of((50, 1), (50, 1)), 100, seed=0)
    draws = order.batch(0)
    own = [[d.index % 50 for d in draws if (d.index >= 50) == part] for part in (False, True)]
    assert own[0][:10] != own[1][:10]


@pytest.mark.parametrize("part", [(0, 1.0), (3, 0.0)])
def test_a_part_without_samples_or_weight_cannot_be_drawn(part: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="both must be above 0"):
        WeightedOrder(shares_of((2, 1), part), 4, seed=0)


class Numbers(Recipe):
    """So many samples in every split, two a picture."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def samples(self, split: str) -> Sequence[Sample]:
        if split not in self.sizes:
            raise RecipeError(f"no split {split!r}")
        return [
            Sample(
                id=f"{split}{number}",
                size=(4, 4),
                prompt="dog",
                targets=(),
                image_id=str(number // 2) if number else "",
                tags=("odd",) if number % 2 else (),
            )
            for number in range(self.sizes[split])
        ]

    def counters(self) -> dict[str, int]:
        return {"dropped": len(self.sizes)}

    def verify(self) -> list[str]:
        return ["a picture is missing"]


ONLY_LEARNT = {"train_split": "all", "evaluated": False}


def mixed(*sizes: dict[str, int], **data: Any) -> MixedRecipe:
    parts = data.pop("parts", [{}] * len(sizes))
    mixture = [
        {"name": f"p{number}", "recipe": {"name": "x"}, **part} for number, part in enumerate(parts)
    ]
    config = DataConfig.model_validate({"mixture": mixture, **data})
    return MixedRecipe(config, [Numbers(**one) for one in sizes])


def test_samples_are_told_apart_by_their_parts_name() -> None:
    samples = mixed({"train": 2, "val": 1}, {"train": 3, "val": 1}).samples("train")
    assert [sample.id for sample in samples] == [
        "p0/train0", "p0/train1", "p1/train0", "p1/train1", "p1/train2",
    ]  # fmt: skip
    assert [sample.image_id for sample in samples] == ["", "p0/0", "", "p1/0", "p1/1"]
    assert samples[1].tags == ("odd", "part:p0")
    assert samples[-1].id == "p1/train2"
    assert [sample.id for sample in samples[1:3]] == ["p0/train1", "p1/train0"]
    with pytest.raises(IndexError):
        samples[5]


def test_a_part_has_splits_of_its_own_and_may_be_trained_on_or_scored_alone() -> None:
    recipe = mixed(
        {"train": 2, "val": 1},
        {"all": 4},
        {"test": 5},
        {"train": 9, "val": 9},
        parts=[
            {},
            {"train_split": "all", "eval_split": "all", "max_eval_samples": 2},
            {"eval_split": "test", "weight": 0},
            {"evaluated": False, "max_train_samples": 3},
        ],
    )
    trained, scored = recipe.samples("train"), recipe.samples("val")
    assert Counter(s.id.split("/")[0] for s in trained) == {"p0": 2, "p1": 4, "p3": 3}
    assert Counter(s.id.split("/")[0] for s in scored) == {"p0": 1, "p1": 2, "p2": 5}
    assert isinstance(order_of(trained, 4, 0), WeightedOrder)
    assert [share.weight for share in trained.shares()] == [1, 1, 1]


def test_a_split_that_a_part_lacks_is_an_error_that_names_the_part() -> None:
    recipe = mixed({"train": 2, "val": 1, "test": 3}, {"train": 3, "val": 1})
    assert recipe.splits == ("train", "val")
    with pytest.raises(RecipeError, match="the part 'p1' of the mixture: no split 'test'"):
        recipe.samples("test")


def test_another_split_is_scored_on_the_parts_that_are_scored_at_all() -> None:
    recipe = mixed({"train": 2, "val": 1, "test": 3}, {"all": 4}, parts=[{}, ONLY_LEARNT])
    assert recipe.splits == ("train", "val", "test")
    assert [sample.id for sample in recipe.samples("test")] == ["p0/test0", "p0/test1", "p0/test2"]


def test_a_part_that_is_to_be_scored_and_has_no_samples_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    samples = mixed({"train": 2, "val": 1}, {"train": 3, "val": 0}).samples("val")
    assert [sample.id for sample in samples] == ["p0/val0"]
    assert "the part 'p1' of the mixture has no samples in its split 'val'" in caplog.text


def test_an_empty_part_cannot_be_trained_on() -> None:
    with pytest.raises(RecipeError, match="'p1' of the mixture has no samples"):
        mixed({"train": 2, "val": 1}, {"train": 0, "val": 1}).samples("train")


def test_counters_and_problems_name_the_part() -> None:
    recipe = mixed({"train": 1, "val": 1}, {"train": 1, "val": 1, "test": 1})
    assert recipe.counters() == {"p0.dropped": 2, "p1.dropped": 3}
    assert recipe.verify() == ["p0: a picture is missing", "p1: a picture is missing"]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 50))
def test_the_first_samples_are_spread_over_the_parts(sizes: list[int], limit: int) -> None:
    parts = [
        MixedPart(name=f"p{n}", weight=1, samples=Numbers(train=size).samples("train"))
        for n, size in enumerate(sizes)
    ]
    samples = MixedSamples(parts)
    found = head(samples, limit)
    taken = Counter(sample.id.split("/")[0] for sample in found)
    assert len(found) == min(limit, sum(sizes))
    short = [taken[f"p{n}"] for n, size in enumerate(sizes) if taken[f"p{n}"] < size]
    assert not short or max(taken.values(), default=0) - min(short) <= 1


def test_a_limit_that_leaves_parts_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    samples = mixed({"train": 2, "val": 1}, {"train": 3, "val": 1}).samples("train")
    assert len(head(samples, 2)) == 2 and not caplog.text
    assert [sample.id for sample in head(samples, 1)] == ["p0/train0"]
    assert "a limit of 1 samples leaves none to 1 of the mixture's 2 parts: p1" in caplog.text


def test_labels_of_a_mixture_are_told_without_reading_its_samples() -> None:
    class Told(list[Sample]):
        def labels_at(self, index: int) -> tuple[str, ...]:
            return (f"label {index}", "others")

    samples = MixedSamples(
        [
            MixedPart(name="a", weight=1, samples=Told([None] * (MAX_READ + 1))),  # type: ignore[list-item]
            MixedPart(name="b", weight=1, samples=Numbers(train=2).samples("train")),
        ]
    )
    assert samples.labels_at(MAX_READ) == (f"label {MAX_READ}", "others")
    assert samples.labels_at(MAX_READ + 1) is None
    assert labels_of(samples) == {f"label {index}" for index in range(MAX_READ + 1)}


def test_without_a_mixture_the_order_is_the_plain_one() -> None:
    order = order_of(Numbers(train=5).samples("train"), 3, seed=1)
    assert type(order) is GlobalOrder and order.epochs(4) == {}


def config_of(folder: Path, **data: Any) -> Path:
    path = folder / "mix.yaml"
    path.write_text(
        json.dumps(
            {
                "name": "mix",
                "scheme": {"name": "next-brick"},
                "backbone": {"name": "oracle"},
                "data": data,
            }
        )
    )
    return path


SHAPES = {"name": "refshapes", "params": {"preset": "standard"}}


def test_parts_params_are_checked_filled_in_and_located(tmp_path: Path) -> None:
    good = config_of(tmp_path, mixture=[{"recipe": SHAPES, "weight": 3}])
    (part,) = load_config(good, ["data.mixture.0.weight=6"]).data.mixture
    assert (part.title, part.weight) == ("refshapes", 6)
    assert len(part.recipe.params) > 1, "defaults are written out"
    wrong = [
        {"recipe": {"name": "refshape"}},
        {"recipe": {"name": "refshapes", "params": {"sed": 1}}, "name": "b"},
        {"recipe": SHAPES, "wight": 2, "name": "c"},
    ]
    with pytest.raises(ConfigError) as error:
        load_config(config_of(tmp_path, mixture=wrong))
    text = str(error.value)
    assert "data.mixture.0.recipe.name: unknown recipe 'refshape'" in text
    assert "data.mixture.1.recipe.params.sed: unknown key" in text
    assert "data.mixture.2.wight: unknown key" in text and "Did you mean 'weight'?" in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"recipe": SHAPES, "mixture": [{"recipe": SHAPES}]}, "both given"),
        ({}, "recipe is required, and missing; or name several in mixture"),
        ({"mixture": [{"recipe": SHAPES}, {"recipe": SHAPES}]}, "2 parts are called 'refshapes'"),
        ({"mixture": [{"recipe": SHAPES, "weight": 0}]}, "every weight is 0"),
        ({"mixture": [{"recipe": SHAPES, "evaluated": False}]}, "no part is evaluated"),
        ({"mixture": [{"recipe": SHAPES, "name": "a/b"}]}, "data.mixture.0.name"),
        (
            {
                "mixture": [{"recipe": SHAPES, "eval_split": "val"}],
                "train_split": "all",
                "eval_split": "all",
            },
            "name the two apart",
        ),
        (
            {
                "mixture": [{"recipe": SHAPES, "max_train_samples": 4}],
                "train_split": "all",
                "eval_split": "all",
            },
            "not trained on and scored alike",
        ),
    ],
)
def test_a_mixture_that_contradicts_itself_is_refused(
    tmp_path: Path, data: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        load_config(config_of(tmp_path, **data))


def test_what_is_only_scored_does_not_bind_what_was_learnt(tmp_path: Path) -> None:
    def bound(training: str, **changes: Any) -> dict[str, Any]:
        path = config_of(tmp_path, mixture=[{"recipe": SHAPES, **changes}])
        override = ["training.mode=lora", "training.steps=3"] if training else []
        return binding_config(load_config(path, override, load_catalogue()))

    assert bound("lora") == bound("lora", eval_split="x", max_eval_samples=3)
    assert bound("lora") != bound("lora", weight=2)
    assert bound("lora") != bound("lora", max_train_samples=2)
    assert bound("") == bound("", weight=2, max_train_samples=2, eval_split="x")


def test_checkpoints_from_before_mixtures_and_swapped_sides_still_bind(tmp_path: Path) -> None:
    path = config_of(tmp_path, recipe=SHAPES)
    override = ["training.mode=lora", "training.steps=3"]
    bound = binding_config(load_config(path, override))["data"]
    assert "mixture" not in bound and "sides" not in bound["augment"]
    swapped = binding_config(load_config(path, [*override, "data.augment.sides=swap"]))["data"]
    assert swapped["augment"]["sides"] == "swap"
