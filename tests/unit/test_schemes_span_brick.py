"""``span-brick``: bytes, laws, repairs, grammar, what it expects, what it reaches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.errors import ConfigError, SchemeError
from t4spp.schemes.span_tokens import spans_of, written_rows
from t4spp.testing import (
    GrammarWalker,
    build_scheme,
    build_tokenizer,
    check_damage_stays_in_its_row,
    check_decoding_never_raises,
    check_fingerprint,
    check_labels,
    check_round_trip,
    check_scheme,
)
from t4spp.types import BoolMask, Target

BOX = "<|loc0|><|loc0|><|loc999|><|loc999|>"
VARIANTS: list[dict[str, Any]] = [
    {"grid": [5, 3], "repeats": False},
    {"grid": 4, "coordinates": "digits"},
    {"grid": 4, "coordinates": "digits", "repeats": False},
    {"grid": 6, "downsample": "nearest", "upsample": "nearest"},
    {"grid": 4, "keep_small": False},
    {"grid": 16},
    {"grid": [1, 5]},
    {"grid": 1},
]


def mask_of(*rows: str) -> BoolMask:
    return np.array([[cell == "#" for cell in row] for row in rows])


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, "<|row0-3|><|same1|><|row|><|row1-1|><|and3-3|>"),
        ({"repeats": False}, "<|row0-3|><|row0-3|><|row|><|row1-1|><|and3-3|>"),
    ],
)
def test_spans_of_every_row_are_written_and_nothing_else(
    params: dict[str, Any], wanted: str
) -> None:
    scheme = build_scheme("span-brick", grid=4, **params)
    mask = mask_of("####", "####", "....", ".#.#")
    assert scheme.encode([Target(label="dog", mask=mask)], (4, 4)) == f"dog{BOX}{wanted}"
    assert scheme.encode([], (4, 4)) == "others"


def test_boxes_may_be_written_in_digits() -> None:
    scheme = build_scheme("span-brick", grid=2, coordinates="digits")
    mask = mask_of("....", ".##.", ".#..", "....")
    written = "dog| 250 250 749 749<|row0-1|><|row0-0|>"
    assert scheme.encode([Target(label="dog", mask=mask)], (4, 4)) == written


def test_special_tokens_in_their_order() -> None:
    assert build_scheme("span-brick", grid=3).special_tokens[998:] == (
        "<|loc998|>",
        "<|loc999|>",
        "<|row|>",
        "<|row0-0|>",
        "<|row0-1|>",
        "<|row0-2|>",
        "<|row1-1|>",
        "<|row1-2|>",
        "<|row2-2|>",
        "<|and2-2|>",
        "<|same1|>",
        "<|same2|>",
    )
    tokens = build_scheme("span-brick", grid=[3, 1], repeats=False, coordinates="digits")
    assert tokens.special_tokens == ("<|row|>", "<|row0-0|>")


def test_obeys_every_law() -> None:
    check_scheme(build_scheme("span-brick", grid=[3, 4], max_label_chars=12), max_examples=40)
    check_scheme(build_scheme("span-brick", grid=[3, 4], repeats=False), max_examples=40)


@pytest.mark.parametrize("params", VARIANTS)
def test_every_parameter_keeps_the_laws(params: dict[str, Any]) -> None:
    scheme = build_scheme("span-brick", **params)
    check_round_trip(scheme, max_examples=30)
    check_labels(scheme, max_examples=10)
    check_decoding_never_raises(scheme, max_examples=30)
    check_damage_stays_in_its_row(scheme, max_examples=30)
    check_fingerprint(scheme)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_rows_come_back_from_their_tokens(
    seed: int, rows: int, columns: int, repeats: bool
) -> None:
    source = np.random.default_rng(seed)
    cells = source.random((rows, columns)) < source.random()
    cells = cells[np.sort(source.integers(0, rows, rows))]
    text = "dog" + BOX + "".join(written_rows(spans_of(cells), repeats=repeats))
    scheme = build_scheme("span-brick", grid=[rows, columns], upsample="nearest", repeats=repeats)
    decoded = scheme.decode(text, (rows, columns))
    assert decoded.status == "ok"
    assert np.array_equal(decoded.union("dog", (rows, columns)), cells)


FULL = "dog" + BOX


@pytest.mark.parametrize(
    ("text", "cells", "code"),
    [
        ("<|row0-3|><|row1-3|><|row0-3|>", ["####", ".###", "####"], None),
        ("<|row0-3|><|same2|>", ["####", "####", "####"], None),
        ("<|row0-3|><|same1|><|same1|>", ["####", "####", "####"], None),
        ("<|row0-0|><|and1-1|><|row|><|row|>", ["##..", "....", "...."], None),
        ("<|row0-3|><|row2-1|><|row0-3|>", ["####", ".##.", "####"], "bad-span"),
        ("<|row0-3|><|row2-9|><|row0-3|>", ["####", "..##", "####"], "bad-span"),
        ("<|row0-3|><|row8-9|><|row0-3|>", ["####", "....", "####"], "bad-span"),
        ("<|row0-3|><|row3-3|><|and0-0|><|row0-3|>", ["####", "#..#", "####"], "bad-span"),
        ("<|row0-3|><|row0-2|><|and1-3|><|row0-3|>", ["####", "####", "####"], "bad-span"),
        ("<|row0-3|><|row5|><|row0-3|>", ["####", "....", "####"], "bad-token"),
        ("<|row0-3|><|row1-<|row0-3|>", ["####", "....", "####"], "bad-token"),
        ("<|row0-3|><|and|><|row|><|row0-3|>", ["####", "....", "####"], "bad-token"),
        ("<|same2|><|row0-3|><|same2|>", ["####"] * 3, "bad-token"),
        ("<|row0-3|><|same|><|same2|>", ["####"] * 3, "bad-token"),
        ("<|row0-3|><|same0|><|same2|>", ["####"] * 3, "bad-token"),
        ("<|and0-3|><|same2|>", ["####"] * 3, "missing-row-mark"),
        ("<|row0-3|><|row0-3|>", ["####", "####", "...."], "missing-rows"),
        ("<|row0-3|><|same5|>", ["####"] * 3, "extra-rows"),
        ("<|row0-3|><|same2|><|row1-1|><|and3-3|>", ["####"] * 3, "extra-rows"),
        ("<|row0-3|>um<|same2|>", ["####"] * 3, "stray-text"),
        ("<|row0-3|><|same2|>ca", ["####"] * 3, "unfinished-region"),
        ("<|row0-3|><|same2|>ca<|loc1|>", ["####"] * 3, "bad-box"),
        ("<|row0-3|><|same999999|>", ["####"] * 3, "extra-rows"),
    ],
)
def test_damage_is_repaired_in_its_row(text: str, cells: list[str], code: str | None) -> None:
    scheme = build_scheme("span-brick", grid=[3, 4], upsample="nearest")
    decoded = scheme.decode(FULL + text, (3, 4), ["dog", "cow"])
    assert [problem.code for problem in decoded.problems] == ([code] if code else [])
    assert decoded.status == ("repaired" if code else "ok")
    assert np.array_equal(decoded.union("dog", (3, 4)), mask_of(*cells))


def test_repeat_is_a_problem_where_the_format_has_none() -> None:
    scheme = build_scheme("span-brick", grid=[2, 4], repeats=False, upsample="nearest")
    decoded = scheme.decode(FULL + "<|row0-3|><|same1|>", (2, 4))
    assert [problem.code for problem in decoded.problems] == ["bad-token", "missing-rows"]
    assert np.array_equal(decoded.union("dog", (2, 4)), mask_of("####", "...."))


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("<|row0-3|><|row|><|row1-2|>", True),
        ("<|row0-3|><|same2|>", True),
        ("<|row|><|same2|>", True),
        ("<|row|><|same1|><|row0-0|>", True),
        ("<|row0-0|><|and2-3|><|row0-0|><|row0-0|><|and3-3|>", True),
        ("<|row|><|row|><|row0-0|>", False),
        ("<|row|><|same1|><|row|>", False),
        ("<|row0-3|><|same1|><|same1|>", False),
        ("<|row0-0|><|and1-1|><|row|><|row0-0|>", False),
        ("<|row2-2|><|and0-0|><|row|><|row0-0|>", False),
        ("<|row0-3|><|same3|>", False),
        ("<|row0-3|><|same1|>", False),
        ("<|same1|><|row0-3|><|row0-2|>", False),
        ("<|and2-2|><|row0-3|><|row0-2|>", False),
        ("<|row0-3|><|row0-2|>", False),
        ("<|row0-3|><|row0-2|><|row0-1|><|row0-0|>", False),
    ],
)
@pytest.mark.parametrize("labels", [None, ["dog"]])
def test_grammar_admits_valid_spans_and_exact_rows(
    text: str, admitted: bool, labels: list[str] | None
) -> None:
    scheme = build_scheme("span-brick", grid=[3, 4], max_regions=2)
    walker = GrammarWalker(scheme.grammar(labels), build_tokenizer(scheme.special_tokens))
    assert walker.admits(FULL + text) is admitted
    assert walker.admits((FULL + text) * 2) is admitted
    assert not walker.admits((FULL + text) * 3)


def test_grammar_without_repeats_takes_equal_rows() -> None:
    scheme = build_scheme("span-brick", grid=[2, 4], repeats=False)
    walker = GrammarWalker(scheme.grammar(["dog"]), build_tokenizer(scheme.special_tokens))
    assert walker.admits(FULL + "<|row|><|row|>")
    assert not walker.admits(FULL + "<|row|>")
    assert not walker.admits(FULL + "<|row|>" * 3)


@pytest.mark.parametrize("grid", [43, [160, 16]])
def test_largest_grids_compile(grid: Any) -> None:
    scheme = build_scheme("span-brick", grid=grid)
    mask = np.random.default_rng(0).random(scheme.shape) < 0.5  # type: ignore[attr-defined]
    text = scheme.encode([Target(label="dog", mask=mask)], mask.shape)
    tokenizer = build_tokenizer(scheme.special_tokens)
    assert GrammarWalker(scheme.grammar(["dog"]), tokenizer).admits(text)


def test_grids_that_are_too_large_are_refused() -> None:
    with pytest.raises(SchemeError, match="at most 43 columns"):
        build_scheme("span-brick", grid=44).grammar(["dog"])
    with pytest.raises(SchemeError, match="Take at most 94 rows, or repeats=false, where"):
        build_scheme("span-brick", grid=[95, 43]).grammar(["dog"])
    build_scheme("span-brick", grid=[94, 43]).grammar(["dog"])
    with pytest.raises(SchemeError, match="repeats=false"):
        build_scheme("span-brick", grid=[161, 4]).grammar(["dog"])
    build_scheme("span-brick", grid=[161, 4], repeats=False).grammar(["dog"])
    with pytest.raises(ConfigError, match="65 columns take 4290 new tokens"):
        build_scheme("span-brick", grid=65)


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", f"dog{BOX}<|row|><|same1|><|row|>"),
        ("do", f"g{BOX}<|row|><|same1|><|row|>"),
        ("dog<|loc5|>", "<|loc0|><|loc999|><|loc999|><|row|><|same1|><|row|>"),
        (FULL, "<|row|><|same1|><|row|>"),
        (FULL + "<|row1-2|>", "<|same1|><|row1-2|>"),
        (FULL + "<|row2-2|><|same1|>", "<|row2-2|>"),
        (FULL + "<|row2-2|><|row1-2|>", "<|same1|>"),
        (FULL + "<|row0-0|><|and3-3|><|row0-0|>", "<|and3-3|><|same1|>"),
        (FULL + "<|row1-2|><|same2|>", ""),
        (FULL + "<|row1-2|><|same2|>do", f"g{BOX}<|row|><|same1|><|row|>"),
        (FULL + "<|row1-2|><|same2|>dog<|loc5|>", "<|loc0|><|loc999|><|loc999|>"
         "<|row|><|same1|><|row|>"),
        ("oth", "ers"),
        ("cat", ""),
        (FULL + "<|row2|>", ""),
        (FULL + "<|same1|>", ""),
    ],
)  # fmt: skip
def test_rows_like_those_above_are_expected(text: str, ahead: str) -> None:
    scheme = build_scheme("span-brick", grid=[3, 4])
    assert "".join(scheme.expect(text, ["dog"])) == ahead


def test_boundary_that_moves_goes_on_after_a_repeat() -> None:
    scheme = build_scheme("span-brick", grid=[5, 8])
    text = FULL + "<|row4-5|><|row3-6|><|same1|>"
    assert "".join(scheme.expect(text, ["dog"])).startswith("<|row2-7|>")


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_beginning_and_what_is_expected_behind_it_decode_without_guessing(
    seed: int, share: float, repeats: bool
) -> None:
    scheme = build_scheme("span-brick", grid=5, repeats=repeats)
    source = np.random.default_rng(seed)
    mask = source.random((5, 5)) < source.random()
    mask[0, 0] = True
    text = scheme.encode([Target(label="dog", mask=mask)], (5, 5))
    tokens = ["<|" + piece for piece in text.split("<|")][1:]
    begun = "dog" + "".join(tokens[: 4 + round(share * (len(tokens) - 4))])
    decoded = scheme.decode(begun + "".join(scheme.expect(begun, ["dog"])), (5, 5))
    assert decoded.status == "ok", (begun, decoded.problems)


def test_figures_on_coco(shared_data: Path) -> None:
    pytest.importorskip("t4spp_recipes")
    from t4spp.evaluation.ceiling import Candidate, measure_ceiling
    from t4spp.plugins import load_catalogue

    path = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    recipe = load_catalogue().build("recipe", "coco-instances", {"annotations": str(path)})
    samples = recipe.samples(recipe.splits[0])
    found = measure_ceiling(
        (samples[index] for index in range(len(samples))),
        [
            # two for a label: SmolLM2 takes 1.5 on average
            Candidate(
                name="span-brick",
                params={"grid": grid},
                scheme=build_scheme("span-brick", grid=grid),
                count_tokens=lambda text: 2 + text.count("<|"),
            )
            for grid in (16, 32)
        ],
    )
    coarse, fine = found.schemes
    assert found.num_targets == 830
    assert (coarse.lost, fine.lost) == (0, 0)
    assert coarse.mean_iou >= 0.92 and coarse.mean_tokens <= 23
    assert fine.mean_iou >= 0.965 and fine.mean_tokens <= 37
