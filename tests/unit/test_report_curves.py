from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from t4spp.report.curves import (
    MAX_POINTS,
    Series,
    line_chart,
    smoothed,
    thinned,
    tick_text,
    ticks,
    training_charts,
)

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.integers(0, 10**6), numbers), max_size=40))
def test_any_points_give_well_formed_svg_or_nothing(points: list[tuple[float, float]]) -> None:
    svg = line_chart([Series(name="<loss & co>", points=tuple(points))], title='"t" <x>')
    if svg:
        ElementTree.fromstring(svg)
        assert "nan" not in svg and "inf" not in svg.replace("info", "")


def test_no_points_give_no_chart() -> None:
    assert line_chart([Series(name="loss", points=())], title="Loss") == ""
    assert training_charts((), ()) == ()


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]
    assert [tick_text(tick) for tick in ticks(0.0, 1.0)] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert (tick_text(20000), tick_text(0.0002)) == ("20k", "2e-4")


def test_many_points_are_averaged_and_a_constant_stays_itself() -> None:
    points = tuple((float(step), 2.0) for step in range(5 * MAX_POINTS))
    assert len(thinned(points)) == MAX_POINTS
    assert {y for _, y in thinned(points)} == {2.0}
    assert {round(y, 9) for _, y in smoothed(points)} == {2.0}


def test_smoothing_does_not_lag_behind_a_straight_line() -> None:
    points = [(float(step), float(step)) for step in range(100)]
    assert all(abs(x - y) < 1e-9 for x, y in smoothed(points))


def test_training_charts_show_loss_rate_and_scores_with_their_ends_in_words() -> None:
    train = [{"step": step, "loss": 3.0 - step / 100, "lr": 1e-4} for step in (10, 20, 30)]
    evals = [{"step": step, "native/mean_iou": step / 100} for step in (10, 30)]
    charts = training_charts(train, evals)
    assert [chart.title for chart in charts] == [
        "Training loss",
        "Learning rate",
        "Scores while training",
    ]
    assert "loss from 2.9 at 10 to 2.7 at 30" in charts[0].svg


def test_scores_of_one_evaluation_are_no_curve() -> None:
    titles = [chart.title for chart in training_charts((), [{"step": 10, "native/ciou": 0.5}])]
    assert titles == []
