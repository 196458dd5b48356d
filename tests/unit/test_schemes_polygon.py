"""Polygons: bytes, rings, the vertex budget, filling, repairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.errors import ConfigError, SchemeError
from t4spp.evaluation.ceiling import Candidate, measure_ceiling
from t4spp.plugins import load_catalogue
from t4spp.schemes.outlines import fill, signed_area, trace
from t4spp.schemes.simplifying import collapse, simplify
from t4spp.schemes.tokens import count_tokens
from t4spp.testing import (
    GrammarWalker,
    build_scheme,
    build_tokenizer,
    check_scheme,
)
from t4spp.testing.canvases import draw_mask
from t4spp.types import BoolMask, Box, Target

VARIANTS: list[dict[str, Any]] = [
    {"max_vertices": 8},
    {"coordinates": "digits", "tolerance": 0.1},
    {"bins": 6, "max_vertices": 9, "keep_small": False},
    {"bins": 4, "max_vertices": 3, "coordinates": "digits", "max_label_chars": 12},
    {"max_regions": 2, "keep_small": False},
]


def rectangle(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> BoolMask:
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def iou(one: BoolMask, other: BoolMask) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("params", VARIANTS)
def test_polygon_obeys_every_law(params: dict[str, Any]) -> None:
    check_scheme(build_scheme("polygon", **params), max_examples=40)


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, *VARIANTS])
def test_polygon_obeys_every_law_at_length(params: dict[str, Any]) -> None:
    check_scheme(build_scheme("polygon", **params), max_examples=400)


# The text

SQUARE = Target(label="dog", mask=rectangle((999, 999), 100, 200, 300, 500))
RING = "<|loc100|><|loc200|><|loc100|><|loc500|><|loc300|><|loc500|><|loc300|><|loc200|>"


def test_outline_begins_at_the_top_left_and_runs_clockwise() -> None:
    assert build_scheme("polygon").encode([SQUARE], (999, 999)) == f"dog{RING}"
    digits = build_scheme("polygon", coordinates="digits").encode([SQUARE], (999, 999))
    assert digits == "dog| 100 200 100 500 300 500 300 200\n"


def test_box_comes_before_vertices_that_lie_in_it() -> None:
    tokens = build_scheme("polygon", bins=8)
    box = "<|loc100|><|loc200|><|loc300|><|loc500|>"
    assert tokens.encode([SQUARE], (999, 999)) == (f"dog{box}<|pt0-0|><|pt0-7|><|pt7-7|><|pt7-0|>")
    (region,) = tokens.quantize([SQUARE], (999, 999))
    assert region.box == Box(y0=100, x0=200, y1=300, x1=500)
    assert np.array_equal(region.mask, SQUARE.mask)
    digits = build_scheme("polygon", bins=8, coordinates="digits")
    assert digits.encode([SQUARE], (999, 999)) == "dog| 100 200 300 500; 0 0 0 7 7 7 7 0\n"


def test_hole_runs_the_other_way_behind_its_part_and_parts_follow_from_the_top() -> None:
    size = (999, 999)
    mask = rectangle(size, 300, 0, 900, 600) & ~rectangle(size, 500, 200, 700, 400)
    mask |= rectangle(size, 100, 700, 200, 900)
    text = build_scheme("polygon", coordinates="digits").encode(
        [Target(label="dog", mask=mask)], size
    )
    assert text == (
        "dog| 100 700 100 900 200 900 200 700"
        " part 300 0 300 600 900 600 900 0 hole 500 200 700 200 700 400 500 400\n"
    )
    (region,) = build_scheme("polygon", coordinates="digits").decode(text, size).regions
    assert np.array_equal(region.mask, mask)


def test_special_tokens_in_their_order() -> None:
    plain = build_scheme("polygon").special_tokens
    assert plain[:2] == ("<|loc0|>", "<|loc1|>")
    assert plain[999:] == ("<|loc999|>", "<|part|>", "<|hole|>")
    boxed = build_scheme("polygon", bins=2).special_tokens
    assert boxed[1000:] == (
        "<|pt0-0|>", "<|pt0-1|>", "<|pt1-0|>", "<|pt1-1|>", "<|part|>", "<|hole|>",
    )  # fmt: skip
    assert build_scheme("polygon", coordinates="digits", bins=2).special_tokens == ()


def test_no_target_is_others_and_an_empty_answer_is_invalid() -> None:
    for params in ({}, {"coordinates": "digits"}, {"bins": 8}):
        scheme = build_scheme("polygon", **params)
        empty = Target(label="dog", mask=np.zeros((20, 30), bool))
        assert scheme.encode([], (20, 30)) == scheme.encode([empty], (20, 30)) == "others"
        assert scheme.decode("others", (20, 30)).status == "ok"
        for text in ("", " ", "<seg></seg>", "I cannot see it."):
            assert scheme.decode(text, (20, 30)).status == "invalid", text


@pytest.mark.parametrize(
    "wrong", [{"max_vertices": 2}, {"bins": 1}, {"bins": 65}, {"tolerance": 1.0}, {"grid": 4}]
)
def test_parameters_out_of_range_are_the_users_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_scheme("polygon", **wrong)


def test_more_targets_than_regions_are_refused() -> None:
    with pytest.raises(SchemeError, match="max_regions=1"):
        build_scheme("polygon", max_regions=1).encode([SQUARE, SQUARE], (999, 999))


# Accuracy


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["full", "pixel", "box", "holed", "parts", "noise"]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_rings_around_a_mask_fill_to_that_very_mask(
    kind: str, height: int, width: int, seed: int
) -> None:
    mask = draw_mask(kind, (height, width), np.random.default_rng(seed))
    box = Box.of_mask(mask)
    if box is not None:
        assert np.array_equal(fill(trace(mask, box), mask.shape), mask)  # type: ignore[arg-type]


def test_pixels_that_touch_at_a_corner_are_one_ring() -> None:
    mask = np.eye(6, dtype=np.bool_)
    assert len(trace(mask, Box(y0=0, x0=0, y1=6, x1=6))) == 1


def test_mask_on_every_border_comes_back_whole() -> None:
    for params in ({}, {"bins": 4}, {"coordinates": "digits"}):
        scheme = build_scheme("polygon", **params)
        full = np.ones((480, 640), dtype=np.bool_)
        (region,) = scheme.quantize([Target(label="sky", mask=full)], full.shape)  # type: ignore[arg-type]
        assert region.mask.all()


@pytest.mark.parametrize("params", [{}, {"bins": 16}, {"coordinates": "digits"}])
@pytest.mark.parametrize("place", [(0, 0), (479, 639), (240, 13)])
def test_one_pixel_survives(params: dict[str, Any], place: tuple[int, int]) -> None:
    mask = np.zeros((480, 640), dtype=np.bool_)
    mask[place] = True
    (region,) = build_scheme("polygon", **params).quantize(
        [Target(label="dot", mask=mask)], (480, 640)
    )
    assert np.array_equal(region.mask, mask)


def test_pixel_below_one_step_is_kept_or_lost_as_keep_small_says() -> None:
    mask = np.zeros((8, 5000), dtype=np.bool_)
    mask[4, 2222] = True
    target = [Target(label="dot", mask=mask)]
    (kept,) = build_scheme("polygon").quantize(target, (8, 5000))
    ys, xs = np.nonzero(kept.mask)
    assert 1 <= len(ys) <= 3 and abs(ys - 4).max() <= 1 and abs(xs - 2222).max() <= 6
    assert build_scheme("polygon", keep_small=False).quantize(target, (8, 5000)) == ()


def test_budget_is_kept_and_its_vertices_go_where_the_area_is() -> None:
    size = (200, 200)
    yy, xx = np.mgrid[0:200, 0:200]
    mask = (yy - 90) ** 2 + (xx - 90) ** 2 < 70**2
    specks = rectangle(size, 190, 190, 192, 192) | rectangle(size, 180, 5, 182, 7)
    target = [Target(label="disc", mask=mask | specks)]
    for most, least in ((8, 0.93), (16, 0.98), (32, 0.99)):
        scheme = build_scheme("polygon", max_vertices=most, tolerance=0.0)
        text = scheme.encode(target, size)
        assert text.count("<|loc") <= 2 * most
        (region,) = scheme.quantize(target, size)
        assert iou(region.mask, mask | specks) > least
    assert "<|part|>" not in build_scheme("polygon", max_vertices=8).encode(target, size)


def test_tolerance_leaves_out_vertices_that_the_budget_had_room_for() -> None:
    yy, xx = np.mgrid[0:200, 0:200]
    target = [Target(label="disc", mask=(yy - 90) ** 2 + (xx - 90) ** 2 < 70**2)]
    counts = [
        build_scheme("polygon", tolerance=tolerance).encode(target, (200, 200)).count("<|loc")
        for tolerance in (0.0, 0.002, 0.02)
    ]
    assert counts[0] == 64 and counts[0] > counts[1] > counts[2] >= 6


def test_collapsed_edge_keeps_the_area_and_restores_a_cut_corner() -> None:
    moved, y, x = collapse((4, 0), (1, 0), (0, 1), (0, 4))
    # between the corner (0, 0), which adds 1/2, and the cut: on the line C D
    assert y == pytest.approx(0) and 0 < x < 1
    assert moved == pytest.approx(0.6)
    before = signed_area(np.array([(4, 0), (1, 0), (0, 1), (0, 4)], dtype=float))
    after = signed_area(np.array([(4, 0), (y, x), (0, 4)], dtype=float))
    assert after == pytest.approx(before)


@given(st.integers(0, 2**32 - 1), st.integers(1, 11))
def test_outline_is_thinned_to_the_same_vertices_wherever_its_list_begins(
    seed: int, start: int
) -> None:
    mask = np.random.default_rng(seed).random((6, 6)) < 0.7
    mask[0, 0] = True
    for ring, *_ in trace(mask, Box(y0=0, x0=0, y1=6, x1=6)):
        (plain,) = simplify([ring], len(ring), 0.0)
        (rolled,) = simplify([np.roll(ring, start, axis=0)], len(ring), 0.0)
        assert sorted(plain.tolist()) == sorted(rolled.tolist())


def test_one_ring_stays_however_small_the_budget() -> None:
    square = np.array([(0, 0), (0, 2), (2, 2), (2, 0)], dtype=float)
    small, large = simplify([square, square * 3], 3, 0.0)
    assert len(small) == 0 and len(large) == 3


# Filling


def test_self_crossing_ring_is_filled_by_the_even_odd_rule() -> None:
    # a five-pointed star drawn in one line: its middle is crossed twice
    angles = np.pi * (0.5 + 0.8 * np.arange(5))
    star = np.stack([50 - 45 * np.sin(angles), 50 + 45 * np.cos(angles)], axis=1)
    mask = fill([[star]], (100, 100))
    assert not mask[50, 50]
    assert mask[10, 50] and mask[40, 20] and mask[40, 80]


def test_self_crossing_answer_is_ok() -> None:
    scheme = build_scheme("polygon", coordinates="digits")
    decoded = scheme.decode("bow| 0 0 999 999 999 0 0 999\n", (100, 100))
    assert decoded.status == "ok"
    assert decoded.regions[0].mask.mean() == pytest.approx(0.5, abs=0.02)


def test_part_in_a_hole_is_an_island() -> None:
    scheme = build_scheme("polygon", coordinates="digits")
    text = (
        "atoll| 0 0 0 999 999 999 999 0 hole 200 200 800 200 800 800 200 800"
        " part 400 400 400 600 600 600 600 400\n"
    )
    (region,) = scheme.decode(text, (50, 50)).regions
    assert region.mask[2, 2] and not region.mask[15, 15] and region.mask[25, 25]


# Reading


@pytest.mark.parametrize(
    ("text", "codes", "labels"),
    [
        (f"dog{RING}", [], ["dog"]),
        (f"dog{RING}cat{RING}", [], ["dog", "cat"]),
        (f"dog{RING}<|loc5|>", ["half-vertex"], ["dog"]),
        (f"dog{RING}<|part|><|loc5|><|loc6|>", ["short-ring"], ["dog"]),
        (f"dog{RING}<|part|>", ["short-ring"], ["dog"]),
        (f"dog<|part|>{RING}", ["short-ring"], ["dog"]),
        (f"dog<|hole|>{RING}", ["short-ring", "orphan-hole", "no-outline"], []),
        ("dog<|loc5|><|loc6|>", ["short-ring", "no-outline"], []),
        ("dog<|loc5|><|loc6|><|loc7|><|loc8|>", ["short-ring", "no-outline"], []),
        (f"dog{RING}<|loc1000|><|loc3|>", ["bad-vertex"], ["dog"]),
        (f"dog{RING}<|pt3-4|>", ["bad-token"], ["dog"]),
        (f"dog{RING} and so on", ["unfinished-region"], ["dog"]),
        (RING, ["missing-label"], []),
        (f"<|part|>dog{RING}", ["orphan-token"], ["dog"]),
        (f"dog{RING * 9}", ["too-many-vertices"], ["dog"]),
        (f"others{RING}", ["background-region"], []),
    ],
)
def test_damaged_tokens_are_read_as_far_as_they_go(
    text: str, codes: list[str], labels: list[str]
) -> None:
    decoded = build_scheme("polygon").decode(text, (50, 50))
    assert [problem.code for problem in decoded.problems] == codes
    assert [region.label for region in decoded.regions] == labels


@pytest.mark.parametrize(
    ("text", "codes", "labels"),
    [
        ("dog| 0 0 0 9 9 9", [], ["dog"]),
        ("dog|0 0,0 9 9 9\n", ["stray-text"], ["dog"]),
        ("dog| 0 0 0 9 9 9 9\n", ["half-vertex"], ["dog"]),
        ("dog| 0 0 0 9\n", ["short-ring", "no-outline"], []),
        ("dog| 0 0 0 9 9 9 hole 1 1\n", ["short-ring"], ["dog"]),
        ("dog| 0 0 0 9 9 99999999999\n", ["bad-vertex"], ["dog"]),
        ("dog| 0 0 0 9 9 9\nnonsense\ncat| 0 0 0 9 9 9\n", ["orphan-text"], ["dog", "cat"]),
        ("dog|\n", ["short-ring", "no-outline"], []),
    ],
)
def test_damaged_digits_are_read_as_far_as_they_go(
    text: str, codes: list[str], labels: list[str]
) -> None:
    decoded = build_scheme("polygon", coordinates="digits").decode(text, (50, 50))
    assert [problem.code for problem in decoded.problems] == codes
    assert [region.label for region in decoded.regions] == labels


def test_box_that_is_cut_or_too_far_is_told() -> None:
    scheme = build_scheme("polygon", bins=4)
    cut = scheme.decode("dog<|loc1|><|loc2|><|pt0-0|>", (50, 50))
    assert [problem.code for problem in cut.problems] == ["bad-token", "bad-box"]
    assert cut.status == "invalid"
    digits = build_scheme("polygon", bins=4, coordinates="digits")
    far = digits.decode("dog| 0 0 1000 500; 0 0 0 3 3 3\n", (50, 50))
    assert [problem.code for problem in far.problems] == ["bad-box"]
    unparted = digits.decode("dog| 0 0 999 500 0 0 0 3 3 3\n", (50, 50))
    assert [problem.code for problem in unparted.problems] == ["bad-box"]
    assert np.array_equal(unparted.union("dog", (50, 50)), far.union("dog", (50, 50)))


def test_unknown_word_inside_an_unfinished_ring_does_not_part_it() -> None:
    scheme = build_scheme("polygon")
    text = f"dog{RING[:30]} hm {RING[30:]}"
    assert RING[:30].endswith("|>") and RING[30:].startswith("<|")
    decoded = scheme.decode(text, (50, 50), ["dog"])
    assert [problem.code for problem in decoded.problems] == ["stray-text"]
    assert np.array_equal(
        decoded.union("dog", (50, 50)), scheme.decode(f"dog{RING}", (50, 50)).union("dog", (50, 50))
    )


@pytest.mark.parametrize("params", [{}, {"bins": 4}, {"coordinates": "digits"}])
def test_adversarial_answers_stay_cheap(params: dict[str, Any]) -> None:
    scheme = build_scheme("polygon", **params)
    for text in (
        "dog<|loc1|>" * 50_000,
        "dog" + "<|loc1|><|loc999|><|loc999|><|loc0|>" * 50_000,
        "dog<|loc1|><|loc1|><|loc9|><|loc9|>" + "<|pt0-0|><|part|>" * 50_000,
        "dog| " + "0 0 999 999 999 0 0 999 " * 50_000,
        "dog| 1 1 9 9\n" * 50_000,
        "dog| 1 1 9 9; part hole " * 50_000,
        "<seg>" * 200_000,
    ):
        decoded = scheme.decode(text, (480, 640))
        assert decoded.status != "ok", text[:40]
        assert len(decoded.problems) <= 210


# The grammar


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("dog| 0 0 0 9 9 9\n", True),
        ("dog| 0 0 0 9 9 9 5 5 6 6 7 7\n", True),
        ("dog| 0 0 0 9 9 9 5 5 6 6 7 7 8 8\n", False),
        ("dog| 0 0 0 9\n", False),
        ("dog| 0 0 0 9 9 9 9\n", False),
        ("dog| 0 0 0 9 9 9 part 1 1 2 2 3 3\n", True),
        ("dog| 0 0 0 9 9 9 hole 1 1 2 2 3 3\n", True),
        ("dog| 0 0 0 9 9 9 5 5 hole 1 1 2 2 3 3\n", False),
        ("dog| 0 0 0 9 9 9 part\n", False),
        ("dog| part 0 0 0 9 9 9\n", False),
        ("dog| 0 0 0 9 9 1000\n", False),
        ("dog| 0 0 0 9 9 09\n", False),
        ("dog| 0 0 0 9 9 9\ncat| 0 0 0 9 9 9\n", True),
        ("dog| 0 0 0 9 9 9\n" * 3, False),
        ("others", True),
        ("", False),
    ],
)
def test_grammar_counts_the_vertices_of_a_region(text: str, admitted: bool) -> None:
    scheme = build_scheme("polygon", coordinates="digits", max_vertices=6, max_regions=2)
    for labels in (None, ["dog", "cat"]):
        walker = GrammarWalker(scheme.grammar(labels), build_tokenizer(()))
        assert walker.admits(text) is admitted


def test_largest_budget_and_bins_compile() -> None:
    scheme = build_scheme("polygon", max_vertices=256, bins=64, tolerance=0.0)
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    text = scheme.encode([Target(label="dog", mask=mask)], (64, 64))
    walker = GrammarWalker(scheme.grammar(["dog"]), build_tokenizer(scheme.special_tokens))
    assert text.count("<|pt") > 200
    assert walker.admits(text)


# Drafting


@pytest.mark.parametrize(
    ("params", "text", "ahead"),
    [
        ({}, "", "dog"),
        ({}, "do", "g"),
        ({}, "oth", "ers"),
        ({}, "cat", ""),
        ({}, f"dog{RING}", ""),
        ({"coordinates": "digits"}, "", "dog| "),
        ({"coordinates": "digits"}, "d", "og| "),
        ({"coordinates": "digits"}, "dog| 4 5", ""),
        ({"coordinates": "digits"}, "oth", "ers"),
    ],
)
def test_only_label_and_bar_are_expected(params: dict[str, Any], text: str, ahead: str) -> None:
    assert "".join(build_scheme("polygon", **params).expect(text, ["dog"])) == ahead


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("dog| *0123\n<|loc5|>part<|pt2-1|>;"), max_size=40))
def test_expecting_never_raises(text: str) -> None:
    for params in ({}, {"bins": 3}, {"coordinates": "digits"}):
        scheme = build_scheme("polygon", **params)
        for labels in (("dog",), (), None):
            assert isinstance("".join(scheme.expect(text, labels)), str)


# The figures of the docs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "least", "most_tokens"),
    [({}, 0.98, 48), ({"bins": 32, "max_vertices": 16}, 0.95, 24), ({"bins": 64}, 0.98, 30)],
)
def test_coco_instances_reach_the_figures(
    shared_data: Path, params: dict[str, Any], least: float, most_tokens: float
) -> None:
    annotations = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    recipe = load_catalogue().build("recipe", "coco-instances", {"annotations": str(annotations)})
    scheme = build_scheme("polygon", **params)
    tokenizer = build_tokenizer(scheme.special_tokens)
    candidate = Candidate(
        name="polygon",
        params=params,
        scheme=scheme,
        count_tokens=lambda text: count_tokens(tokenizer, text),
    )
    (found,) = measure_ceiling(recipe.samples(recipe.splits[0]), [candidate]).schemes
    assert found.mean_iou >= least and found.lost == 0
    assert found.mean_tokens <= most_tokens + 3  # the small tokenizer parts longer labels
