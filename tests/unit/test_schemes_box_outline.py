"""``box-outline``: bytes, laws, repairs, grammar, how outlines are fitted, what it reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.errors import ConfigError
from t4spp.schemes.fitting_rings import Lattice, _Fit, fit_rings
from t4spp.testing import (
    GrammarWalker,
    build_scheme,
    build_tokenizer,
    check_decoding_never_raises,
    check_fingerprint,
    check_labels,
    check_round_trip,
    check_scheme,
)
from t4spp.types import BoolMask, Box, Target

BOX = "<|loc0|><|loc0|><|loc999|><|loc999|>"
FULL = "dog" + BOX
SQUARE = "<|at0-0|><|at0-4|><|at4-4|><|at4-0|>"
VARIANTS: list[dict[str, Any]] = [
    {"grid": [5, 3], "worth": 0.02},
    {"grid": 4, "coordinates": "digits", "max_points": 6},
    {"grid": 2},
    {"grid": 32},
]


def mask_of(*rows: str) -> BoolMask:
    return np.array([[cell == "#" for cell in row] for row in rows])


def iou(one: BoolMask, other: BoolMask) -> float:
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def test_outline_is_written_clockwise_from_its_uppermost_point() -> None:
    scheme = build_scheme("box-outline", grid=5)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    mask[10:20, 20:30] = False
    text = scheme.encode([Target(label="dog", mask=mask)], (40, 40))
    assert text == (
        "dog<|loc250|><|loc250|><|loc749|><|loc749|>"
        "<|at0-0|><|at0-2|><|at2-2|><|at2-4|><|at4-4|><|at4-0|>"
    )
    assert np.array_equal(scheme.decode(text, (40, 40)).union("dog", (40, 40)), mask)
    assert scheme.encode([], (40, 40)) == "others"


def test_further_part_and_hole_are_rings_behind_a_mark() -> None:
    scheme = build_scheme("box-outline", grid=9)
    mask = np.zeros((80, 80), bool)
    mask[:, :40] = True
    mask[20:60, 10:30] = False
    mask[60:, 60:] = True
    text = scheme.encode([Target(label="dog", mask=mask)], (80, 80))
    assert text == FULL + (
        "<|at0-0|><|at0-4|><|at8-4|><|at8-0|><|ring|>"
        "<|at2-1|><|at2-3|><|at6-3|><|at6-1|><|ring|>"
        "<|at6-6|><|at6-8|><|at8-8|><|at8-6|>"
    )
    assert np.array_equal(scheme.decode(text, (80, 80)).union("dog", (80, 80)), mask)


def test_boxes_may_be_written_in_digits() -> None:
    scheme = build_scheme("box-outline", grid=2, coordinates="digits")
    full = Target(label="dog", mask=np.ones((4, 4), bool))
    written = "dog| 0 0 999 999<|at0-0|><|at0-1|><|at1-1|><|at1-0|>"
    assert scheme.encode([full], (4, 4)) == written


def test_special_tokens_in_their_order() -> None:
    assert build_scheme("box-outline", grid=[2, 3]).special_tokens[999:] == (
        "<|loc999|>",
        "<|at0-0|>",
        "<|at0-1|>",
        "<|at0-2|>",
        "<|at1-0|>",
        "<|at1-1|>",
        "<|at1-2|>",
        "<|ring|>",
    )


def test_obeys_every_law() -> None:
    check_scheme(build_scheme("box-outline", grid=[3, 4], max_label_chars=12), max_examples=30)


@pytest.mark.parametrize("params", VARIANTS)
def test_every_parameter_keeps_the_laws(params: dict[str, Any]) -> None:
    scheme = build_scheme("box-outline", **params)
    check_round_trip(scheme, max_examples=20)
    check_labels(scheme, max_examples=8)
    check_decoding_never_raises(scheme, max_examples=20)
    check_fingerprint(scheme)


@pytest.mark.parametrize(
    ("text", "cells", "code"),
    [
        (SQUARE, ["####"] * 4, None),
        ("<|at4-0|><|at0-0|><|at0-4|><|at4-4|>", ["####"] * 4, None),
        ("<|at0-0|><|at0-4|><|at4-0|>", ["###.", "##..", "#...", "...."], None),
        (SQUARE + "<|ring|><|at1-1|><|at1-3|><|at3-3|><|at3-1|>",
         ["####", "#..#", "#..#", "####"], None),
        ("<|at0-0|><|at4-4|><|at0-4|><|at4-0|>", ["...#", "#.##", "#.##", "...#"], None),
        ("<|at0-0|><|at0-0|><|at0-0|>", ["#...", "....", "....", "...."], None),
        ("<|at0-0|><|at0-9|><|at4-4|><|at4-0|>", ["####"] * 4, "bad-vertex"),
        ("<|at0|>" + SQUARE, ["####"] * 4, "bad-token"),
        ("<|ring|>" + SQUARE, ["####"] * 4, "bad-token"),
        ("<|ring3|>" + SQUARE, ["####"] * 4, "bad-token"),
        (SQUARE + "<|ring|><|at1-1|><|at2-2|>", ["####"] * 4, "short-ring"),
        (SQUARE + "<|ring|>", ["####"] * 4, "short-ring"),
        (SQUARE + "um", ["####"] * 4, "unfinished-region"),
        ("<|at0-0|>um<|at0-4|><|at4-4|><|at4-0|>", ["####"] * 4, "stray-text"),
        ("<|at0-0|><|at0-4|><|at4-4|>um<|at4-0|>", ["####"] * 4, "stray-text"),
        (SQUARE + "ca<|loc3|>", ["####"] * 4, "bad-box"),
        (SQUARE + "<|loc3|>", ["####"] * 4, "missing-label"),
        (SQUARE + "cat" + BOX, ["####"] * 4, "missing-outline"),
        (SQUARE + "<|at4-0|>" * 9, ["####"] * 4, "extra-vertices"),
        ("", None, "missing-outline"),
        ("<|at0-0|><|at0-4|>", None, "missing-outline"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_listed_and_the_rest_stands(
    text: str, cells: list[str] | None, code: str | None
) -> None:
    scheme = build_scheme("box-outline", grid=5, max_points=12)
    decoded = scheme.decode(FULL + text, (4, 4), ["dog", "cow"])
    assert code in ([problem.code for problem in decoded.problems] or [None])
    assert decoded.status == ("invalid" if cells is None else "repaired" if code else "ok")
    wanted = mask_of(*(cells or ["...."] * 4))
    assert np.array_equal(decoded.union("dog", (4, 4)), wanted)


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("<|at0-0|><|at1-1|><|at0-1|>", True),
        ("<|at0-0|><|at1-1|><|at0-1|><|at1-0|><|at1-0|><|at1-0|><|at1-0|>", True),
        ("<|at0-0|><|at1-1|><|at0-1|><|ring|><|at0-0|><|at1-1|><|at0-1|>", True),
        ("<|at0-0|><|at1-1|><|at0-1|><|ring|><|at0-0|><|at1-1|><|at0-1|><|at1-0|>", False),
        ("<|at0-0|><|at1-1|><|at0-1|><|at1-0|><|at1-0|><|at1-0|><|at1-0|><|at1-0|>", False),
        ("<|at0-0|><|at1-1|>", False),
        ("<|at0-0|><|at1-1|><|at0-1|><|ring|><|at0-0|>", False),
        ("<|at0-0|><|at1-1|><|at0-1|><|ring|>", False),
        ("<|ring|><|at0-0|><|at1-1|><|at0-1|>", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("labels", [None, ["dog"]])
def test_grammar_admits_whole_rings_within_the_budget(
    text: str, admitted: bool, labels: list[str] | None
) -> None:
    scheme = build_scheme("box-outline", grid=2, max_points=7, max_regions=2)
    walker = GrammarWalker(scheme.grammar(labels), build_tokenizer(scheme.special_tokens))
    assert walker.admits(FULL + text) is admitted
    assert walker.admits((FULL + text) * 2) is admitted
    assert not walker.admits((FULL + text) * 3)


def test_largest_lattice_compiles_and_larger_ones_are_refused() -> None:
    scheme = build_scheme("box-outline", grid=43, max_points=128)
    yy, xx = np.mgrid[0:90, 0:90]
    ring = Target(label="dog", mask=abs(np.hypot(yy - 45, xx - 45) - 30) < 12)
    text = scheme.encode([ring], (90, 90))
    tokenizer = build_tokenizer(scheme.special_tokens)
    assert GrammarWalker(scheme.grammar(["dog"]), tokenizer).admits(text)
    with pytest.raises(ConfigError, match="44 x 44 points take 1936 new tokens"):
        build_scheme("box-outline", grid=44)


def test_square_lattice_has_one_fingerprint_however_it_is_written() -> None:
    one, other = build_scheme("box-outline", grid=16), build_scheme("box-outline", grid=[16, 16])
    assert one.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", FULL),
        ("do", "g" + BOX),
        ("dog<|loc5|>", "<|loc0|><|loc999|><|loc999|>"),
        (FULL + "<|at0-0|>", ""),
        (FULL + SQUARE + "do", "g" + BOX),
        (FULL + SQUARE + "dog<|loc5|><|loc6|>", "<|loc999|><|loc999|>"),
        ("oth", "ers"),
        ("cat", ""),
    ],
)
def test_label_and_box_are_expected(text: str, ahead: str) -> None:
    scheme = build_scheme("box-outline", grid=5)
    assert "".join(scheme.expect(text, ["dog"])) == ahead


# Fitting


def disc(size: int) -> BoolMask:
    yy, xx = np.mgrid[0:size, 0:size] + 0.5 - size / 2
    found: BoolMask = np.hypot(yy, xx) < size / 2
    return found


def test_cheaper_tokens_buy_a_better_outline() -> None:
    lattice = Lattice((32, 32), (90, 90))
    found = []
    for worth in (0.05, 0.02, 0.005, 0.001):
        rings = fit_rings(disc(90), (32, 32), worth, 64)
        found.append((sum(map(len, rings)), iou(lattice.fill(rings), disc(90))))
    assert found == sorted(found)
    assert found[0][0] <= 8 and found[-1][1] > 0.98


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 20))
def test_budget_holds_for_any_mask(seed: int, max_points: int) -> None:
    source = np.random.default_rng(seed)
    mask = source.random(tuple(source.integers(1, 120, 2))) < source.random()
    mask[0, 0] = True
    rings = fit_rings(mask, (9, 7), 0.0005, max_points)
    assert all(len(ring) >= 3 for ring in rings)
    assert 3 <= sum(map(len, rings)) + len(rings) - 1 <= max_points
    assert all((ring >= 0).all() and (ring < (9, 7)).all() for ring in rings)
    assert all(ring.tolist()[0] == min(ring.tolist()) for ring in rings)


def test_equal_parts_are_kept_apart() -> None:
    mask = np.zeros((12, 24), bool)
    mask[:, :9] = mask[:, 15:] = True
    rings = fit_rings(mask, (32, 32), 0.002, 48)
    assert len(rings) == 2
    assert np.array_equal(Lattice((32, 32), (12, 24)).fill(rings), mask)


def test_search_ends_where_it_always_did() -> None:
    # descriptors of a trained model's data: a faster search must not write others
    yy, xx = np.mgrid[0:60, 0:80]
    mask = (np.hypot((yy - 30) / 0.8, xx - 40) < 36) & ~(np.hypot(yy - 22, xx - 50) < 9)
    mask[50:58, 60:79] = True
    outer, hole = (ring.tolist() for ring in fit_rings(mask, (12, 12), 0.01, 20))
    assert outer == [[0, 4], [1, 8], [3, 10], [10, 11], [11, 4], [8, 1], [3, 1]]
    assert hole == [[2, 6], [4, 9], [6, 6]]


@given(st.integers(0, 2**32 - 1))
def test_candidates_are_judged_by_the_pixels_that_they_make_right(seed: int) -> None:
    source = np.random.default_rng(seed)
    mask = source.random(tuple(source.integers(1, 30, 2))) < 0.5
    shape = (int(source.integers(2, 9)), int(source.integers(2, 9)))
    fit = _Fit(mask, Lattice(shape, (mask.shape[0], mask.shape[1])), 0.01)
    ring = source.integers(0, shape, (5, 2))
    fit._flip(ring, np.roll(ring, -1, axis=0))
    there = source.integers(0, shape, (1, 3, 2))
    length = int(source.integers(3, 5))
    saved = fit._saved([ring[n : n + 1] for n in range(length)], there)[0]
    for point, found in zip(there[0], saved.tolist(), strict=True):
        moved = np.concatenate([ring[:1], point[None], ring[length - 1 :]])
        wrong = int(np.count_nonzero(fit.lattice.fill([moved]) != mask))
        assert int(np.count_nonzero(fit.inside != mask)) - wrong == found


def test_fill_takes_pixels_whose_centres_an_odd_number_of_rings_encloses() -> None:
    lattice = Lattice((3, 3), (4, 4))
    outer = np.array([(0, 0), (0, 2), (2, 2), (2, 0)])
    assert lattice.fill([outer]).all()
    assert not lattice.fill([outer, outer]).any()
    half = np.array([(0, 0), (0, 2), (2, 0)])
    assert np.array_equal(lattice.fill([half]), mask_of("###.", "##..", "#...", "...."))


def test_thin_and_tiny_masks_survive() -> None:
    scheme = build_scheme("box-outline")
    for rows, columns in ((1, 1), (1, 300), (300, 1), (2, 2), (1000, 3)):
        mask = np.zeros((1000, 400), bool)
        mask[:rows, 400 - columns :] = True
        (region,) = scheme.quantize([Target(label="dot", mask=mask)], (1000, 400))
        assert region.box == Box(y0=0, x0=400 - columns, y1=rows, x1=400)
        assert np.array_equal(region.mask, mask)
    (cell,) = {
        region.cell for region in scheme.quantize([Target(label="a", mask=mask)], mask.shape)
    }
    assert cell == (1000 / 31, 3 / 31)


def test_figures_on_every_fourth_picture_of_coco(shared_data: Path) -> None:
    pytest.importorskip("t4spp_recipes")
    from t4spp.evaluation.ceiling import Candidate, measure_ceiling
    from t4spp.plugins import load_catalogue

    path = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    recipe = load_catalogue().build("recipe", "coco-instances", {"annotations": str(path)})
    samples = recipe.samples(recipe.splits[0])
    candidate = Candidate(
        name="box-outline",
        params={},
        scheme=build_scheme("box-outline"),
        # two for a label: SmolLM2 takes 1.5 on average
        count_tokens=lambda text: 2 + text.count("<|"),
    )
    read = (samples[index] for index in range(0, len(samples), 4))
    (found,) = measure_ceiling(read, [candidate]).schemes
    assert found.lost == 0
    assert found.mean_iou >= 0.97
    assert found.mean_tokens <= 23
