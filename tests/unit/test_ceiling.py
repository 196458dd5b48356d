"""The ceiling and the codec bench, on masks whose scores are known."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from t4spp.evaluation.ceiling import Candidate, measure_ceiling
from t4spp.evaluation.codec_bench import codec_speed, small_masks
from t4spp.evaluation.plain_codec import plain_codec
from t4spp.schemes.base import Scheme
from t4spp.testing import (
    assert_same_regions,
    build_scheme,
    check_damage_stays_in_its_row,
    check_decoding_never_raises,
    check_labels,
    check_round_trip,
)
from t4spp.types import Sample, Target


def candidate(scheme: Scheme) -> Candidate:
    return Candidate(name=scheme.name, params={"grid": 4}, scheme=scheme, count_tokens=len)


def sample(*targets: Target) -> Sample:
    return Sample(id="s", size=(40, 40), prompt="", targets=targets)


def box(label: str, y0: int, x0: int, y1: int, x1: int) -> Target:
    mask = np.zeros((40, 40), bool)
    mask[y0:y1, x0:x1] = True
    return Target(label=label, mask=mask)


def test_each_target_is_measured_alone() -> None:
    exact, half, lost = box("a", 0, 0, 10, 10), box("a", 0, 0, 10, 5 + 1), box("b", 0, 0, 2, 2)
    found = measure_ceiling(
        [sample(exact, half), sample(), sample(lost)],
        [candidate(build_scheme("image-irle", grid=4))],
    )
    assert found.num_targets == 3
    (scheme,) = found.schemes
    assert scheme.mean_iou == pytest.approx((1 + 0.6 + 0) / 3)
    assert scheme.lost == pytest.approx(1 / 3)
    texts = ["a *1| others *15", "a *1| others *15", "others *16"]
    assert scheme.mean_tokens == pytest.approx(np.mean([len(text) for text in texts]))
    assert scheme.p95_tokens == 16
    assert scheme.encode_us > 0 and scheme.decode_us > 0


def test_targets_that_cannot_be_written_score_nothing_and_are_counted() -> None:
    found = measure_ceiling(
        [sample(box("a|b", 0, 0, 10, 10)), sample(box("a", 0, 0, 10, 10))],
        [candidate(build_scheme("next-brick", grid=4))],
    )
    (scheme,) = found.schemes
    assert (scheme.mean_iou, scheme.lost, scheme.refused) == (0.5, 0.5, 1)


def test_empty_masks_are_left_out_and_counted() -> None:
    found = measure_ceiling([sample(box("a", 0, 0, 0, 0))], [candidate(build_scheme("next-brick"))])
    assert (found.num_targets, found.num_empty) == (0, 1)
    assert math.isnan(found.schemes[0].mean_iou)


def test_targets_below_the_asked_share_are_left_out_and_counted() -> None:
    exact, small = box("a", 0, 0, 10, 40), box("a", 0, 0, 4, 4)  # 25 % and 1 % of the picture
    coarse = [candidate(build_scheme("image-irle", grid=4))]
    every = measure_ceiling([sample(exact, small)], coarse)
    assert (every.num_targets, every.num_small) == (2, 0)
    at_least = measure_ceiling([sample(exact, small)], coarse, 0.01)
    assert (at_least.num_targets, at_least.num_small) == (2, 0)
    large = measure_ceiling([sample(exact, small)], coarse, 0.011)
    assert (large.num_targets, large.num_small) == (1, 1)
    assert large.schemes[0].mean_iou == 1.0 > every.schemes[0].mean_iou


@pytest.mark.parametrize(("name", "grid"), [("image-rrle", [5, 4]), ("next-brick", [5, 4])])
def test_plain_codec_passes_the_same_laws(name: str, grid: list[int]) -> None:
    plain = plain_codec(build_scheme(name, grid=grid))
    assert plain is not None
    check_round_trip(plain, max_examples=50)
    check_labels(plain, max_examples=20)
    check_decoding_never_raises(plain, max_examples=50)
    check_damage_stays_in_its_row(plain, max_examples=20)


@pytest.mark.parametrize(("name", "grid"), [("image-rrle", [5, 4]), ("next-brick", [5, 4])])
def test_plain_codec_says_what_the_scheme_says(name: str, grid: list[int]) -> None:
    scheme = build_scheme(name, grid=grid)
    plain = plain_codec(scheme)
    assert plain is not None
    source = np.random.default_rng(3)
    for _ in range(50):
        size = (int(source.integers(1, 30)), int(source.integers(1, 30)))
        targets = [Target(label=label, mask=source.random(size) < 0.4) for label in ("a", "b", "a")]
        ignore = source.random(size) < 0.3
        text = scheme.encode(targets, size, ignore)
        assert plain.encode(targets, size, ignore) == text
        if name == "image-rrle":
            assert_same_regions(plain.decode(text, size).regions, scheme.decode(text, size).regions)


def test_speed_is_compared_on_the_same_masks() -> None:
    targets = small_masks([sample(box("a", 0, 0, 30, 30), box("b", 5, 5, 9, 9))], 16, 10)
    assert [target.mask.shape for target in targets] == [(16, 16), (16, 16)]
    speed = codec_speed("next-brick", {}, build_scheme("next-brick"), targets, repeats=1)
    assert speed.encode_ratio == pytest.approx((speed.plain_encode_us or 0) / speed.encode_us)
    assert codec_speed("x", {}, build_scheme("image-full"), targets, 1).encode_ratio is None


def executed_lines(job: Callable[[], object]) -> int:
    """Lines of Python that a job executes: its cost without a clock."""
    count = 0

    def trace(frame: object, event: str, arg: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        job()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", ["image-rrle", "next-brick"])
def test_a_larger_picture_makes_a_scheme_run_no_more_python(name: str) -> None:
    """Pixels are the work of arrays; the plain loop beside it shows what a loop would cost."""
    scheme = build_scheme(name)
    plain = plain_codec(scheme)
    assert plain is not None
    small, large = (
        Target(label="a", mask=np.kron(box("a", 8, 8, 24, 30).mask, np.ones((n, n))) > 0)
        for n in (1, 4)
    )
    text = scheme.encode([small], (40, 40))
    assert scheme.encode([large], (160, 160)) == text

    def growth(codec: Scheme) -> tuple[float, float]:
        jobs: tuple[Callable[[Target], object], ...] = (
            lambda target: codec.encode([target], target.mask.shape),
            lambda target: codec.decode(text, target.mask.shape),
        )
        for job in jobs:  # what is computed once, is
            job(small), job(large)
        encode, decode = (
            executed_lines(partial(job, large)) / executed_lines(partial(job, small))
            for job in jobs
        )
        return encode, decode

    assert growth(scheme) == pytest.approx((1, 1), abs=0.05)
    assert growth(plain)[1] > 3
