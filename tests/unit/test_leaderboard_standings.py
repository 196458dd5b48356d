"""Means over seeds, their intervals, differences and verdicts, on numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.errors import ConfigError
from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals
from t4spp.evaluation.protocols.base import ABOVE, BELOW
from t4spp.evaluation.sums import ProtocolSums
from t4spp.leaderboard.standings import Draws, difference, verdict


def run_of(ious: Sequence[float], names: Sequence[str] | None = None) -> ProtocolSums:
    """A run whose samples, one a picture, scored these IoUs."""
    ids = tuple(names or (f"s{number}" for number in range(len(ious))))
    return ProtocolSums(
        columns=(f"mean_iou{ABOVE}", f"mean_iou{BELOW}"),
        ids=ids,
        image_ids=ids,
        values=np.array([[value, 1.0] for value in ious]),
    )


def draws_of(resamples: int = 2000, **runs: Sequence[ProtocolSums]) -> Draws:
    return Draws(runs, protocol="native", metric="mean_iou", resamples=resamples)


def test_the_score_is_the_mean_over_seeds() -> None:
    draws = draws_of(a=[run_of([0.2, 0.4]), run_of([0.6, 0.8])])
    assert draws.of("a").by_seed.tolist() == pytest.approx([0.3, 0.7])
    assert draws.of("a").value == pytest.approx(0.5)


def test_one_seed_has_the_interval_of_its_own_evaluation() -> None:
    ious = np.random.default_rng(0).random(40)
    found = draws_of(1000, a=[run_of(ious.tolist())]).of("a").interval
    own = bootstrap_intervals(
        [f"s{number}" for number in range(40)],
        {"x": Terms(numerator=ious, denominator=np.ones(40))},
        resamples=1000,
    )["x"]
    assert (found.low, found.high) == pytest.approx((own.low, own.high))


def test_seeds_that_differ_widen_the_interval() -> None:
    same = draws_of(a=[run_of([0.5] * 30)] * 3).of("a").interval
    apart = draws_of(a=[run_of([0.4] * 30), run_of([0.5] * 30), run_of([0.6] * 30)])
    assert (same.low, same.high) == (0.5, 0.5)
    assert apart.of("a").interval.low == pytest.approx(0.4)
    assert apart.of("a").interval.high == pytest.approx(0.6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_draws_of_seeds_have_the_unbiased_variance_of_a_mean(means: list[float]) -> None:
    draws = draws_of(4000, a=[run_of([mean] * 4) for mean in means]).of("a").draws
    wanted = np.var(means, ddof=1) / len(means)
    assert np.var(draws) == pytest.approx(wanted, rel=0.15, abs=1e-4)


def test_pictures_are_drawn_alike_for_both_schemes_of_a_difference() -> None:
    ious = np.random.default_rng(1).random(50) * 0.5
    draws = draws_of(a=[run_of((ious + 0.01).tolist())], b=[run_of(ious.tolist())])
    found = difference(draws.of("a"), draws.of("b"))
    assert found["difference"] == pytest.approx(0.01)
    assert (found["low"], found["high"]) == pytest.approx((0.01, 0.01))
    assert verdict(found) == "holds"
    assert verdict(difference(draws.of("b"), draws.of("a"))) == "reversed"


def test_a_difference_below_the_seeds_spread_is_inside_the_interval() -> None:
    draws = draws_of(
        a=[run_of([0.4] * 9), run_of([0.6] * 9)], b=[run_of([0.39] * 9), run_of([0.59] * 9)]
    )
    assert verdict(difference(draws.of("a"), draws.of("b"))) == "inside the interval"


def test_only_samples_that_every_run_answered_count_and_the_rest_is_counted() -> None:
    draws = draws_of(
        a=[run_of([1.0, 0.0, 0.5], ["x", "y", "z"])], b=[run_of([0.25, 1.0], ["z", "y"])]
    )
    assert draws.ids == ("y", "z")
    assert draws.num_left_out == 1
    assert draws.of("a").value == 0.25
    assert draws.of("b").value == 0.625


def test_a_part_of_the_samples_is_scored_alone() -> None:
    draws = draws_of(a=[run_of([1.0, 0.0, 0.5])])
    assert draws.of("a", frozenset({"s0", "s2"})).value == 0.75
    nothing = draws.of("a", frozenset())
    assert nothing.num_samples == 0
    assert np.isnan(nothing.value)


def test_a_metric_that_sums_do_not_give_is_refused_with_those_that_they_do() -> None:
    with pytest.raises(ConfigError, match=r"give mean_iou\. Did you mean 'mean_iou'"):
        Draws({"a": [run_of([1.0])]}, protocol="native", metric="mean-iou", resamples=100)


def test_nothing_finished_is_nothing_drawn() -> None:
    draws = draws_of()
    assert draws.ids == ()
    assert draws.num_left_out == 0
