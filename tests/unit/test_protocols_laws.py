"""Laws of every protocol that scores referring masks and classes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_protocols import answered, rows_of

from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.types import FURTHER_PHRASE

NAMES = ("text4seg", "lisa", "grefcoco", "reasonseg", "rmsin", "segearth", "open-vocab", "rec")
LABELS = ("cat", "dog")


@st.composite
def an_answer(draw: st.DrawFn, position: int, perfect: bool = False) -> Answered:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([(6, 6), (3, 11), (12, 5)]))

    def masks() -> list[tuple[str, np.ndarray]]:
        return [
            (label, generator.random(size) < generator.choice([0.1, 0.5, 0.9]))
            for label in LABELS
            if generator.random() < 0.7
        ]

    truth = masks()
    return answered(
        truth,
        truth if perfect else masks(),
        labels=LABELS,
        position=position,
        size=size,
        kind=draw(st.sampled_from(["partial", "conditioned", "open"])),
        image_id=f"image-{position // 2}",
        tags=draw(st.sampled_from([(), (FURTHER_PHRASE,)])),
        ignore=generator.random(size) < 0.2 if draw(st.booleans()) else None,
        status=draw(st.sampled_from(["ok", "repaired"])),
    )


@st.composite
def answers(draw: st.DrawFn, perfect: bool = False) -> list[Answered]:
    number = draw(st.integers(1, 7))
    return [draw(an_answer(position, perfect)) for position in range(number)]


def computed(name: str, shards: list[list[Any]]) -> dict[str, float]:
    """Scores after one update a shard."""
    protocol = PROTOCOLS[name]()
    for shard in shards:
        protocol.update(shard)
    return protocol.compute()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(answers(), st.data())
def test_no_sharding_and_no_order_changes_a_score(
    name: str, given_answers: list[Answered], data: st.DataObject
) -> None:
    rows = rows_of(PROTOCOLS[name](), given_answers)
    expected = computed(name, [rows])
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    shards = [list(shuffled[a:b]) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    np.testing.assert_equal(computed(name, shards), expected)  # exactly; NaN equals NaN


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(answers())
def test_scores_lie_between_0_and_1(name: str, given_answers: list[Answered]) -> None:
    for value in computed(name, [rows_of(PROTOCOLS[name](), given_answers)]).values():
        assert np.isnan(value) or 0.0 <= value <= 1.0


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(st.data())
def test_no_answer_beats_the_truth(name: str, data: st.DataObject) -> None:
    perfect = data.draw(answers(perfect=True))
    other = [
        answered(
            [(target.label, target.mask) for target in one.sample.targets],
            [
                (region.label, np.roll(region.mask, 1, axis=1))
                for region in one.decoded.regions[data.draw(st.integers(0, 2)) :]
            ],
            labels=LABELS,
            position=one.position,
            size=one.sample.size,
            kind=one.sample.kind,
            image_id=one.sample.image_id,
            tags=one.sample.tags,
            ignore=one.sample.ignore,
        )
        for one in perfect
    ]
    protocol = PROTOCOLS[name]()
    best = computed(name, [rows_of(protocol, perfect)])
    worse = computed(name, [rows_of(protocol, other)])
    for metric, value in worse.items():
        assert np.isnan(value) or np.isnan(best[metric]) or value <= best[metric], metric


@pytest.mark.parametrize("name", [name for name in NAMES if name != "open-vocab"])
@settings(max_examples=40)
@given(answers())
def test_bootstrap_terms_give_the_scores(name: str, given_answers: list[Answered]) -> None:
    protocol = PROTOCOLS[name]()
    rows = rows_of(protocol, given_answers)
    terms = protocol.terms(rows)
    expected = computed(name, [rows])
    assert set(terms) == set(expected)
    for metric, value in expected.items():
        assert terms[metric].value() == pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
@given(given_answer=an_answer(0))
@settings(max_examples=10)
def test_rows_survive_pickling(name: str, given_answer: Answered) -> None:
    rows = PROTOCOLS[name]().measure(given_answer)
    assert pickle.loads(pickle.dumps(rows)) == rows


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_score_is_no_score_and_no_fault(name: str) -> None:
    protocol = PROTOCOLS[name]()
    protocol.update([])
    assert all(np.isnan(value) for value in protocol.compute().values())
    intervals = protocol.intervals([], resamples=10, seed=0)
    assert all(np.isnan(interval.low) for interval in intervals.values())
    assert not any(value for value in protocol.counts([]).values())
