"""Box-wise schemes: bytes, coordinates, order, small boxes, repairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.schemes.box_wise import edge_pixels, edge_steps
from t4spp.schemes.labels import check_label, sanitise_label
from t4spp.testing import build_scheme
from t4spp.types import BoolMask, Box, Target


def mask_of(*rows: str) -> BoolMask:
    return np.array([[cell == "#" for cell in row] for row in rows])


CORNER = Target(label="dog", mask=mask_of("....", ".##.", ".#..", "...."))
BRICKS = "dog<|loc250|><|loc250|><|loc749|><|loc749|>"


def test_next_brick_bytes() -> None:
    scheme = build_scheme("next-brick", grid=2)
    assert scheme.encode([CORNER], (4, 4)) == BRICKS + "<|fg2|><|fg1|><|bg1|>"
    assert scheme.encode([], (4, 4)) == "others"
    marked = build_scheme("next-brick", grid=2, row_marks=True)
    assert marked.encode([CORNER], (4, 4)) == BRICKS + "<|row|><|fg2|><|row|><|fg1|><|bg1|>"
    digits = build_scheme("next-brick", grid=2, coordinates="digits")
    assert digits.encode([CORNER], (4, 4)) == "dog| 250 250 749 749<|fg2|><|fg1|><|bg1|>"


def test_semantic_brick_bytes() -> None:
    scheme = build_scheme("semantic-brick", grid=2)
    assert scheme.encode([CORNER], (4, 4)) == "dog| 250 250 749 749\non2\non1 off1\n"
    assert scheme.encode([], (4, 4)) == "others"


def test_special_tokens_in_their_order() -> None:
    tokens = build_scheme("next-brick", grid=[3, 2], row_marks=True).special_tokens
    assert tokens[:2] == ("<|loc0|>", "<|loc1|>")
    assert tokens[999:] == (
        "<|loc999|>",
        "<|bg1|>",
        "<|bg2|>",
        "<|fg1|>",
        "<|fg2|>",
        "<|row|>",
    )
    assert build_scheme("next-brick", grid=1, coordinates="digits").special_tokens == (
        "<|bg1|>",
        "<|fg1|>",
    )
    assert build_scheme("semantic-brick").special_tokens == ()


@given(st.integers(1, 1000), st.data())
def test_edges_come_back_exactly_up_to_a_thousand_pixels(size: int, data: st.DataObject) -> None:
    near = data.draw(st.integers(0, size - 1))
    far = data.draw(st.integers(near + 1, size))
    steps = edge_steps(near, far, size)
    assert 0 <= steps[0] <= steps[1] <= 999
    assert edge_pixels(*steps, size) == (near, far)
    assert edge_pixels(steps[1], steps[0], size) == (near, far)


@given(st.integers(1, 20_000), st.integers(0, 999), st.integers(0, 999))
def test_any_two_steps_are_at_least_one_pixel_inside(size: int, one: int, other: int) -> None:
    low, high = edge_pixels(one, other, size)
    assert 0 <= low < high <= size


@given(st.integers(1001, 20_000), st.data())
def test_large_boxes_are_never_cut(size: int, data: st.DataObject) -> None:
    near = data.draw(st.integers(0, size - 1))
    far = data.draw(st.integers(near + 1, size))
    low, high = edge_pixels(*edge_steps(near, far, size), size)
    assert near - size / 1000 <= low <= near < far <= high <= far + size / 1000


def test_regions_are_ordered_by_top_then_left_and_keep_their_instances() -> None:
    scheme = build_scheme("next-brick", grid=2)
    right = Target(label="dog", mask=mask_of("...#", "...."))
    left = Target(label="dog", mask=mask_of("#...", "...."))
    low = Target(label="cat", mask=mask_of("....", "#..."))
    regions = scheme.quantize([low, right, left], (2, 4))
    assert [(region.label, region.box) for region in regions] == [
        ("dog", Box(y0=0, x0=0, y1=1, x1=1)),
        ("dog", Box(y0=0, x0=3, y1=1, x1=4)),
        ("cat", Box(y0=1, x0=0, y1=2, x1=1)),
    ]


@pytest.mark.parametrize("name", ["next-brick", "semantic-brick"])
def test_one_pixel_survives_any_grid(name: str) -> None:
    for grid in (1, 2, 16, 32):
        scheme = build_scheme(name, grid=grid)
        mask = np.zeros((480, 640), bool)
        mask[479, 639] = True
        (region,) = scheme.quantize([Target(label="dot", mask=mask)], (480, 640))
        assert np.array_equal(region.mask, mask)


def test_set_cell_never_vanishes_between_pixels() -> None:
    text = "dog<|loc0|><|loc0|><|loc199|><|loc199|>" + "<|bg16|>" * 15 + "<|bg15|><|fg1|>"
    for upsample in ("nearest", "bilinear"):
        decoded = build_scheme("next-brick", upsample=upsample).decode(text, (10, 10))
        assert decoded.status == "ok"
        assert decoded.regions[0].mask.sum() >= 1
        assert not decoded.regions[0].mask[2:].any()


def test_soft_occupancy_is_half_on_the_edge_between_cells() -> None:
    decoded = build_scheme("next-brick", grid=[1, 2]).decode(
        "dog<|loc0|><|loc0|><|loc999|><|loc999|><|bg1|><|fg1|>", (1, 8)
    )
    (region,) = decoded.regions
    assert region.soft is not None and region.soft.dtype == np.float32
    assert region.soft[0].tolist() == [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]
    assert region.mask[0].tolist() == [False] * 4 + [True] * 4


def test_swapped_corners_are_sorted() -> None:
    scheme = build_scheme("next-brick", grid=1)
    one = scheme.decode("dog<|loc900|><|loc800|><|loc100|><|loc200|><|fg1|>", (50, 50))
    other = scheme.decode("dog<|loc100|><|loc200|><|loc900|><|loc800|><|fg1|>", (50, 50))
    assert one.status == "ok" and one.regions[0].box == other.regions[0].box


FULL = "dog<|loc0|><|loc0|><|loc999|><|loc999|>"


@pytest.mark.parametrize(
    ("text", "cells", "code"),
    [
        (FULL + "<|fg4|><|bg1|><|fg3|><|fg4|>", ["####", ".###", "####"], None),
        (FULL + "<|fg1|><|fg3|><|fg4|><|fg4|>", ["####", "####", "####"], None),
        (FULL + "<|fg4|><|fg3|><|fg4|>", ["####", "###.", "####"], "missing-cells"),
        (FULL + "<|fg4|><|fg3|><|bg3|><|fg4|>", ["####", "###.", "####"], "extra-cells"),
        (FULL + "<|fg4|><|fg4|>", ["####", "####", "...."], "missing-rows"),
        (FULL + "<|fg4|><|fg4|><|fg4|><|fg4|>", ["####"] * 3, "extra-rows"),
        (FULL + "<|fg4|><|bg1|>um<|fg1|><|fg4|>", ["####", "...#", "####"], "stray-text"),
        (FULL + "<|fg4|><|fg9|><|fg4|>", ["####"] * 3, "extra-cells"),
        (FULL + "<|fg0|><|fg4|><|fg4|><|fg4|>", ["####"] * 3, "bad-token"),
        (FULL + "<|row|><|fg4|><|fg4|><|fg4|>", ["####"] * 3, "bad-token"),
        (FULL + "<|fg4|><|fg4|><|fg4|>ca", ["####"] * 3, "unfinished-region"),
        (FULL + "<|fg4|><|fg4|><|fg4|>ca<|loc1|>", ["####"] * 3, "bad-box"),
        (FULL + "<|loc3|><|fg4|><|fg4|><|fg4|>", ["####"] * 3, "bad-box"),
        ("others" + FULL[3:] + "<|fg4|>" * 3 + FULL + "<|fg4|>" * 3, ["####"] * 3,
         "background-region"),
        ("cat" + FULL[3:] + "<|fg4|>" * 3 + FULL + "<|fg4|>" * 3, ["####"] * 3, "unknown-label"),
        ("<|fg1|>" + FULL + "<|fg4|>" * 3, ["####"] * 3, "orphan-token"),
    ],
)  # fmt: skip
def test_next_brick_repair(text: str, cells: list[str], code: str | None) -> None:
    scheme = build_scheme("next-brick", grid=[3, 4], upsample="nearest")
    decoded = scheme.decode(text, (3, 4), ["dog", "cow"])
    assert [problem.code for problem in decoded.problems] == ([code] if code else [])
    assert decoded.status == ("repaired" if code else "ok")
    assert np.array_equal(decoded.union("dog", (3, 4)), mask_of(*cells))


def test_row_marks_hold_rows_in_place() -> None:
    scheme = build_scheme("next-brick", grid=[3, 4], upsample="nearest", row_marks=True)
    row = "<|row|>"
    for text, cells in (
        (f"{row}<|fg4|>{row}<|fg1|>{row}<|fg4|>", ["####", "#...", "####"]),
        (f"{row}<|fg4|>{row}{row}<|fg4|>", ["####", "....", "####"]),
        (f"{row}<|fg4|>{row}<|fg4|><|fg4|>{row}<|bg4|>", ["####", "####", "...."]),
        (f"{row}<|fg4|>{row}<|fg2|>junk<|fg1|>{row}<|fg4|>", ["####", "##.#", "####"]),
        (f"<|fg4|>{row}<|fg4|>{row}<|fg4|>", ["####", "####", "####"]),
    ):
        decoded = scheme.decode(FULL + text, (3, 4))
        assert decoded.status == "repaired"
        assert np.array_equal(decoded.union("dog", (3, 4)), mask_of(*cells)), text


@pytest.mark.parametrize(
    ("text", "cells", "code"),
    [
        ("dog| 0 0 999 999\non4\noff1 on3\non4\n", ["####", ".###", "####"], None),
        ("dog| 0 0 999 999\non4\noff1\non4\n", ["####", "....", "####"], "missing-cells"),
        ("dog| 0 0 999 999\non4\non1 o on1\non4\n", ["####", "#..#", "####"], "bad-run"),
        ("dog| 0 0 999 999\non4\non9\non4\n", ["####", "####", "####"], "extra-cells"),
        ("dog| 0 0 999 999\non4\n\non4\n", ["####", "....", "####"], "missing-cells"),
        ("dog| 0 0 999 999\non4\n", ["####", "....", "...."], "missing-rows"),
        ("dog| 0 0 999 9999\non4\non4\non4\n", ["####"] * 3, "bad-box"),
        ("hm\ndog| 0 0 999 999\non4\non4\non4\n", ["####"] * 3, "orphan-text"),
        ("dog| 0 0\non4\non4\non4\ndog| 0 0 999 999\non4\non4\non4\n", ["####"] * 3, "bad-box"),
    ],
)
def test_semantic_brick_repair(text: str, cells: list[str], code: str | None) -> None:
    decoded = build_scheme("semantic-brick", grid=[3, 4], upsample="nearest").decode(text, (3, 4))
    assert [problem.code for problem in decoded.problems] == ([code] if code else [])
    assert decoded.status == ("repaired" if code else "ok")
    assert np.array_equal(decoded.union("dog", (3, 4)), mask_of(*cells))


@given(st.text(max_size=200))
def test_sanitised_text_is_a_label_and_stays_one(text: str) -> None:
    label, changed = sanitise_label(text)
    check_label(label)
    assert changed == (label != text)
    assert sanitise_label(label) == (label, False)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("the dog", "the dog"),
        ("  a \n b\t ", "a b"),
        ("a|b", "a/b"),
        ("a *3", "a 3"),
        ("a</seg>b", "a b"),
        ("<</seg>/seg>", "< /seg>"),
        ("others", "other"),
        ("", "object"),
        ("x" * 200, "x" * 128),
    ],
)
def test_free_text_is_sanitised_by_one_rule(text: str, label: str) -> None:
    assert sanitise_label(text) == (label, label != text)
