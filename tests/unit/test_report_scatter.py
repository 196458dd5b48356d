"""Scatter plots: points, names, intervals, the runs that no other one beats."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.report.scatter import Level, Point, front, scatter_chart

numbers = st.floats(allow_nan=True, allow_infinity=True)
POINTS = (
    Point(name="next-brick 16", x=40.0, y=0.62, low=0.58, high=0.66),
    Point(name="next-brick 32", x=96.0, y=0.71, low=0.66, high=0.75, style="line-b"),
    Point(name="image-rrle 32", x=554.0, y=0.68, low=0.61, high=0.72, style="line-c"),
)


def chart(points: tuple[Point, ...], **given: object) -> str:
    return scatter_chart(
        points, title="IoU against tokens", x_label="tokens", y_label="IoU", **given
    )  # type: ignore[arg-type]


@settings(max_examples=80)
@given(st.lists(st.tuples(st.text(max_size=12), numbers, numbers), max_size=12))
def test_any_points_give_well_formed_svg_or_nothing(points: list[tuple[str, float, float]]) -> None:
    clean = [(re.sub(r"[^\x20-\x7e]", "?", name), x, y) for name, x, y in points]
    svg = chart(tuple(Point(name=name, x=x, y=y) for name, x, y in clean))
    if svg:
        ElementTree.fromstring(svg)
        assert not re.search(r'="-?(nan|inf)', svg)


def test_no_points_give_no_chart() -> None:
    assert chart(()) == ""


def test_chart_names_every_point_and_says_it_in_words() -> None:
    svg = chart(POINTS)
    for point in POINTS:
        assert f">{point.name}</text>" in svg
    assert svg.count("<circle") == 3
    assert "next-brick 32: 0.71 at 96" in svg
    assert "tokens, log scale" in svg


def test_tokens_of_one_size_stand_on_a_plain_scale() -> None:
    assert "log scale" not in chart(POINTS[:2])


def test_line_joins_the_runs_that_no_other_one_beats() -> None:
    assert [point.name for point in front(POINTS)] == ["next-brick 16", "next-brick 32"]
    beaten = Point(name="worse", x=41.0, y=0.5)
    assert beaten not in front([*POINTS, beaten])


def test_of_runs_that_write_equally_much_the_better_one_counts() -> None:
    twins = (Point(name="a", x=10.0, y=0.4), Point(name="b", x=10.0, y=0.6))
    assert [point.name for point in front(twins)] == ["b"]


def test_names_do_not_lie_on_each_other_where_there_is_room() -> None:
    close = tuple(Point(name=f"run {n}", x=100.0 + n, y=0.5 + n / 100) for n in range(4))
    places = re.findall(r'<text class="tick" x="([\d.]+)" y="([\d.]+)">run', chart(close))
    spots = [(float(x), float(y)) for x, y in places]
    assert len(spots) == 4
    for index, (x, y) in enumerate(spots):
        for other_x, other_y in spots[:index]:
            assert abs(x - other_x) > 6.6 * 5 or abs(y - other_y) > 13


def test_baselines_are_lines_with_names_inside_the_chart() -> None:
    svg = chart(POINTS, levels=(Level(name="everything", y=0.45),))
    (line,) = re.findall(r'<line class="level"[^>]* y1="([\d.]+)"', svg)
    assert 0 < float(line) < 316
    assert ">everything</text>" in svg and "everything: 0.45" in svg


def test_markup_in_a_name_is_escaped() -> None:
    svg = chart((Point(name="<b>&", x=1.0, y=0.5),))
    ElementTree.fromstring(svg)
    assert "&lt;b&gt;&amp;" in svg
