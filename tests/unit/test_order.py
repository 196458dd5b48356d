"""The order of samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.data.order import GlobalOrder, epoch_order, num_micro_batches, split_share
from t4spp.training.schedule import learning_rate


def test_an_epoch_is_a_pinned_permutation() -> None:
    assert epoch_order(8, seed=0, epoch=0).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]
    assert epoch_order(8, seed=0, epoch=1).tolist() == [1, 3, 7, 6, 0, 4, 2, 5]


@given(st.integers(1, 60), st.integers(0, 2**31), st.integers(0, 5))
def test_an_epoch_holds_every_sample_once(num_samples: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(num_samples, seed, epoch).tolist()) == list(range(num_samples))


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 5), st.integers(0, 8))
def test_processes_share_the_global_batch_whatever_their_number(
    num_samples: int, batch_size: int, num_processes: int, step: int
) -> None:
    order = GlobalOrder(num_samples, batch_size, seed=5)
    whole = order.batch(step)
    shares = [order.share(step, rank, num_processes) for rank in range(num_processes)]
    assert len(whole) == batch_size
    assert sorted((d.epoch, d.index) for share in shares for d in share) == sorted(
        (d.epoch, d.index) for d in whole
    )
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_batches_run_on_from_epoch_to_epoch_without_a_gap() -> None:
    order = GlobalOrder(5, 3, seed=1)
    seen = [draw for step in range(5) for draw in order.batch(step)]
    assert [draw.epoch for draw in seen] == [0] * 5 + [1] * 5 + [2] * 5
    for epoch in range(3):
        indices = [draw.index for draw in seen if draw.epoch == epoch]
        assert indices == epoch_order(5, 1, epoch).tolist()


def test_a_batch_can_be_asked_for_in_any_order() -> None:
    forwards = GlobalOrder(7, 4, seed=2)
    backwards = GlobalOrder(7, 4, seed=2)
    there = [forwards.batch(step) for step in range(9)]
    back = [backwards.batch(step) for step in reversed(range(9))]
    assert there == back[::-1]


@given(st.integers(1, 64), st.integers(1, 6), st.one_of(st.none(), st.integers(1, 16)))
def test_micro_batches_cover_every_share(
    batch_size: int, num_processes: int, micro: int | None
) -> None:
    order = GlobalOrder(10, batch_size, seed=0)
    count = num_micro_batches(batch_size, num_processes, micro)
    size = micro or -(-batch_size // num_processes)
    for rank in range(num_processes):
        share = order.share(0, rank, num_processes)
        parts = split_share(share, size, count)
        assert len(parts) == count
        assert [draw for part in parts for draw in part] == list(share)


@pytest.mark.parametrize(("num_samples", "batch_size"), [(0, 1), (1, 0)])
def test_an_order_of_nothing_is_refused(num_samples: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        GlobalOrder(num_samples, batch_size, seed=0)


def test_the_learning_rate_warms_up_and_decays_linearly() -> None:
    rates = [learning_rate(step, peak=1.0, num_steps=10, warmup_ratio=0.2) for step in range(11)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0])


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert learning_rate(0, peak=2e-4, num_steps=4, warmup_ratio=0.0) == 2e-4


def test_warm_up_alone_never_divides_by_zero() -> None:
    rates = [learning_rate(step, peak=1.0, num_steps=2, warmup_ratio=1.0) for step in range(3)]
    assert rates == [0.5, 1.0, 0.0]


PINNED_1: list[int] = []
