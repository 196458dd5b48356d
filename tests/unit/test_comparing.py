"""Paired comparisons from sums of samples' parts, against hand-made values and plain loops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.errors import RunError
from t4spp.evaluation.comparing import compare_sums
from t4spp.evaluation.pairs import PairScore
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.open_vocabulary import OpenVocabularyProtocol
from t4spp.evaluation.sums import ProtocolSums, read_sums, sums_lines
from t4spp.types import Box

COLUMNS = ("mean_iou/above", "mean_iou/below", "ciou/above", "ciou/below")


def sums(ious: list[float], images: list[str] | None = None) -> ProtocolSums:
    """Samples a, b, ... of 100 pixels' union each."""
    ids = tuple("abcdefghijklmnopqrstuvwxyz"[: len(ious)])
    return ProtocolSums(
        columns=COLUMNS,
        ids=ids,
        image_ids=tuple(images or ids),
        values=np.array([[iou, 1, round(100 * iou), 100] for iou in ious]),
    )


def compared(first: ProtocolSums, second: ProtocolSums, **options: int):
    kept = frozenset(first.ids) & frozenset(second.ids)
    found = list(compare_sums({"native": first}, {"native": second}, kept, **options))
    return {each.metric: each for each in found[0].differences}, found[0]


def pair(position: int, **values: object) -> PairScore:
    given_values = {
        "position": position,
        "id": f"s{position}",
        "image_id": f"i{position // 2}",
        "label": "dog",
        "has_target": True,
        "intersection": 3,
        "union": 4,
        "predicted_area": 4,
        "predicted_box": Box(y0=0, x0=0, y1=2, x1=2),
        "true_box": Box(y0=0, x0=0, y1=2, x1=2),
        "status": "ok",
        "tags": (),
        **values,
    }
    return PairScore(**given_values)  # type: ignore[arg-type]


def test_difference_is_the_second_runs_score_minus_the_firsts() -> None:
    found, whole = compared(sums([0.5, 0.5]), sums([0.5, 0.9]))
    assert found["mean_iou"].first == 0.5
    assert found["mean_iou"].second == pytest.approx(0.7)
    assert found["mean_iou"].difference == pytest.approx(0.2)
    assert (whole.num_samples, whole.num_images) == (2, 2)


def test_equal_runs_have_no_difference_and_a_p_value_of_one() -> None:
    found, _ = compared(sums([0.2, 0.9, 0.4]), sums([0.2, 0.9, 0.4]), resamples=50, shuffles=50)
    assert (found["ciou"].interval.low, found["ciou"].interval.high) == (0.0, 0.0)
    assert found["ciou"].p_value == 1.0


def test_gain_on_every_picture_leaves_zero_out_though_the_runs_own_intervals_overlap() -> None:
    ious = [number / 20 for number in range(1, 19)]
    found, _ = compared(sums(ious), sums([iou + 0.05 for iou in ious]))
    assert found["mean_iou"].interval.low == pytest.approx(0.05)
    assert found["mean_iou"].interval.high == pytest.approx(0.05)
    assert found["mean_iou"].p_value < 0.001


def test_p_value_is_the_share_of_swaps_with_at_least_so_large_a_difference() -> None:
    """Three pictures that gain alike: of 8 ways to swap, 2 give as large a difference."""
    found, _ = compared(sums([0.1, 0.1, 0.1]), sums([0.3, 0.3, 0.3]), shuffles=20_000)
    assert found["mean_iou"].p_value == pytest.approx(0.25, abs=0.02)


def test_prompts_of_one_picture_are_swapped_together() -> None:
    """Four prompts about one picture: each shuffle swaps all or none, so nothing can be told."""
    found, whole = compared(sums([0.1] * 4, ["x"] * 4), sums([0.9] * 4, ["x"] * 4), shuffles=100)
    assert whole.num_images == 1
    assert found["mean_iou"].p_value == 1.0


def test_equal_seeds_give_equal_draws_and_others_do_not() -> None:
    runs = sums([0.1, 0.5, 0.9, 0.3]), sums([0.2, 0.4, 0.7, 0.8])
    first, again, other = (
        compared(*runs, seed=seed, resamples=20, shuffles=20)[0]["ciou"].interval
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_samples_that_only_one_run_has_are_left_out() -> None:
    found, whole = compared(sums([0.5, 0.5, 0.0]), sums([0.6, 0.6]))
    assert whole.num_samples == 2
    assert found["mean_iou"].first == 0.5


def test_score_that_counts_nothing_has_neither_interval_nor_p_value() -> None:
    empty = ProtocolSums(columns=COLUMNS, ids=("a",), image_ids=("a",), values=np.zeros((1, 4)))
    found, _ = compared(empty, empty, resamples=10, shuffles=10)
    assert math.isnan(found["mean_iou"].first)
    assert math.isnan(found["mean_iou"].interval.low)
    assert math.isnan(found["mean_iou"].p_value)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 50), st.booleans(), st.integers(0, 5)),
        min_size=1,
        max_size=12,
    )
)
def test_sums_on_disk_give_the_protocols_own_scores(rows: list[tuple[int, int, bool, int]]) -> None:
    pairs = [
        pair(
            number,
            intersection=min(both, either),
            union=either,
            predicted_area=area,
            has_target=there,
            predicted_box=Box(y0=0, x0=0, y1=1 + area, x1=2),
        )
        for number, (both, either, there, area) in enumerate(rows)
    ]
    protocol = NativeProtocol()
    protocol.update(pairs)
    names, values = protocol.summands(pairs)
    found = protocol.of_sums(names, values.sum(axis=0, keepdims=True))
    for metric, value in protocol.compute().items():
        assert found[metric][0] == pytest.approx(value, nan_ok=True)


def test_sums_file_reads_back_what_was_written(tmp_path: Path) -> None:
    pairs = [pair(0), pair(0, label="cat", union=8), pair(1, has_target=False, union=0)]
    lines = sums_lines({0: "s0", 1: "s1"}, {"native": NativeProtocol()}, {"native": pairs})
    path = tmp_path / "val.sums.jsonl"
    path.write_text("".join(lines))
    found = read_sums(path)["native"]
    assert found.ids == ("s0", "s1")
    assert found.image_ids == ("i0", "i0")
    assert dict(zip(found.columns, found.values[0].tolist(), strict=True)) == {
        "mean_iou/above": 0.75 + 0.375,
        "mean_iou/below": 2,
        "ciou/above": 6,
        "ciou/below": 12,
        "acc@0.5/above": 2,
        "acc@0.5/below": 2,
        "n_acc/above": 0,
        "n_acc/below": 0,
    }
    assert json.loads(path.read_text().splitlines()[2])["sums"]["native"][-2:] == [0, 1]


HEAD = '{"schema": 1, "columns": {"native": ["a/above", "a/below"]}}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}\n",
        '{"schema": 2, "columns": {}}\n',
        "no json\n",
        HEAD + '{"id": "s", "image_id": "i", "sums": {"native": [1]}}\n',
        HEAD + '{"id": "s", "image_id": "i", "sums": {"native": [1, null]}}\n',
        HEAD + '{"id": "s", "image_id": "i", "sums": {"native": [1, NaN]}}\n',
        HEAD + '{"id": "s", "image_id": "i", "sums": {"other": [1, 2]}}\n',
        HEAD + '{"id": "s", "image_id": "i", "su',
    ],
)
def test_damaged_sums_file_says_how_to_write_it_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "val.sums.jsonl"
    path.write_text(text)
    with pytest.raises(RunError, match="t4spp evaluate RUN"):
        read_sums(path)


def test_mean_over_classes_is_formed_anew_from_the_sums_of_both_runs() -> None:
    """Run A never wrote about cats: the class counts in its mean all the same."""
    protocol = OpenVocabularyProtocol()
    rest = ("unlabelled", "missed")
    sides = ("/intersection", "/union", "/published union")
    names = (*(f"cat{side}" for side in sides), *(f"dog{side}" for side in sides), *rest)
    found = protocol.of_sums(names, np.array([[1, 4, 4, 3, 4, 4, 10, 0.0]]))
    assert found["miou"][0] == pytest.approx((0.25 + 0.75) / 2)
    shuffled = protocol.of_sums(names[::-1], np.array([[0.0, 10, 4, 4, 3, 4, 4, 1]]))
    assert shuffled["miou"][0] == found["miou"][0]


def test_class_that_one_run_does_not_name_has_no_pixels_there() -> None:
    """Without a pixel on either side it counts in no mean; with the other run's it does."""
    sides = ("/intersection", "/union", "/published union")
    rest = ("unlabelled", "missed")

    def run(labels: str, values: list[float]) -> ProtocolSums:
        columns = tuple(f"{label}{side}" for label in labels for side in sides)
        return ProtocolSums(
            columns=(*columns, *rest), ids=("s",), image_ids=("i",), values=np.array([values])
        )

    first, second = run("a", [2, 4, 4, 0, 0]), run("ab", [2, 4, 4, 0, 8, 8, 0, 0])
    (whole,) = compare_sums(
        {"open-vocab": first}, {"open-vocab": second}, frozenset("s"), resamples=0, shuffles=0
    )
    found = {each.metric: each for each in whole.differences}
    assert (found["miou"].first, found["miou"].second) == (0.5, 0.25)
