"""Grammars compile in llguidance and say exactly what the descriptors are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from t4spp.errors import SchemeError
from t4spp.schemes.grammar import MAX_ALTERNATIVES
from t4spp.testing import GrammarWalker, build_scheme, build_tokenizer
from t4spp.types import Target

CASES: list[tuple[str, dict[str, Any]]] = [
    ("image-full", {"grid": [2, 3]}),
    ("image-irle", {"grid": [2, 3]}),
    ("image-rrle", {"grid": [2, 3]}),
    ("semantic-brick", {"grid": [2, 3], "max_regions": 2}),
    ("next-brick", {"grid": [2, 3], "max_regions": 2}),
    ("next-brick", {"grid": [2, 3], "row_marks": True, "coordinates": "digits"}),
    ("polygon", {"max_vertices": 7, "bins": 4, "max_regions": 2}),
    ("polygon", {"max_vertices": 7, "coordinates": "digits", "max_regions": 2}),
    ("vq-mask", {"num_codes": 2, "max_regions": 2}),
    ("span-brick", {"grid": [2, 3], "max_regions": 2}),
    ("span-brick", {"grid": [2, 3], "repeats": False, "coordinates": "digits"}),
    ("box-outline", {"grid": [2, 3], "max_regions": 2, "max_points": 6}),
]


def walker(name: str, labels: list[str] | None, **params: Any) -> GrammarWalker:
    scheme = build_scheme(name, **params)
    return GrammarWalker(scheme.grammar(labels), build_tokenizer(scheme.special_tokens))


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("labels", [None, ["dog", "cat"], []])
def test_what_the_grammar_admits_decodes_ok(
    name: str, params: dict[str, Any], labels: list[str] | None
) -> None:
    scheme = build_scheme(name, max_label_chars=10, **params)
    tokenizer = build_tokenizer(scheme.special_tokens)
    walks = GrammarWalker(scheme.grammar(labels), tokenizer)
    texts = [walks.walk(random.Random(seed)) for seed in range(30)]
    found = [text for text in texts if text is not None]
    assert len(found) >= 20
    for text in found:
        decoded = scheme.decode(text, (13, 17), labels)
        assert decoded.status == "ok", (text, decoded.problems)
        assert walks.admits(text)


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("dog *3\n others *1| dog *2\n", True),
        ("dog *3\n others *3\n", True),
        ("dog *3\n others *1| dog *1\n", False),
        ("dog *4\n others *3\n", False),
        ("dog *1| dog *2\n others *3\n", False),
        ("dog *3\n", False),
        ("cow *3\n others *3\n", False),
        ("dog *3\n others *3", False),
        ("dog *03\n others *3\n", False),
    ],
)
def test_rrle_rows_sum_exactly_and_neighbours_differ(text: str, admitted: bool) -> None:
    assert walker("image-rrle", ["dog", "cat"], grid=[2, 3]).admits(text) is admitted


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("a dog *3\n others *1| é *2\n", True),
        ("a *1| a *2\n others *3\n", True),
        (" a *3\n others *3\n", False),
        ("a  *3\n others *3\n", False),
        ("a *2 *1\n others *3\n", False),
        ("a</seg> *3\n others *3\n", False),
        ("a*2 *3\n others *3\n", True),
        ("123456 *3\n others *3\n", True),
        ("1234567 *3\n others *3\n", False),
    ],
)
def test_free_labels_are_those_that_can_be_written(text: str, admitted: bool) -> None:
    assert walker("image-rrle", None, grid=[2, 3], max_label_chars=6).admits(text) is admitted


@pytest.mark.parametrize(
    ("text", "admitted"),
    [
        ("dog<|loc0|><|loc1|><|loc2|><|loc999|><|fg3|><|bg1|><|fg2|>", True),
        ("dog<|loc0|><|loc1|><|loc2|><|loc999|><|fg3|><|bg1|><|bg2|>", False),
        ("dog<|loc0|><|loc1|><|loc2|><|loc999|><|fg3|><|bg3|><|bg3|>", False),
        ("dog<|loc0|><|loc1|><|loc2|><|fg3|><|bg3|>", False),
        ("<|loc0|><|loc1|><|loc2|><|loc999|><|fg3|><|bg3|>", False),
        ("others", True),
        ("others<|loc0|><|loc1|><|loc2|><|loc999|><|fg3|><|bg3|>", False),
        ("", False),
        ("dog<|loc0|><|loc1|><|loc2|><|loc9|><|fg3|><|bg3|>" * 2, True),
        ("dog<|loc0|><|loc1|><|loc2|><|loc9|><|fg3|><|bg3|>" * 3, False),
    ],
)
@pytest.mark.parametrize("labels", [None, ["dog"]])
def test_next_brick_rows_sum_exactly(text: str, admitted: bool, labels: list[str] | None) -> None:
    grammar = walker("next-brick", labels, grid=[2, 3], max_regions=2)
    assert grammar.admits(text) is admitted


def test_many_labels_leave_the_neighbour_rule_out() -> None:
    labels = [f"class {n}" for n in range(150)]
    lark = build_scheme("image-rrle", grid=32).grammar(labels)
    assert len(lark) < 50_000
    few = build_scheme("image-rrle", grid=32).grammar(labels[:11])
    assert few.count("|") <= MAX_ALTERNATIVES
    assert "after" in few and "after" not in lark


@pytest.mark.parametrize("grid", [16, 24, 32])
def test_irle_sums_exactly_over_the_whole_image(grid: int) -> None:
    scheme = build_scheme("image-irle", grid=grid)
    grammar = GrammarWalker(scheme.grammar(["dog"]), build_tokenizer(()))
    total = grid * grid
    assert grammar.admits(f"others *{total}")
    assert grammar.admits(f"others *{total - 123}| dog *23| others *100")
    assert not grammar.admits(f"others *{total + 1}")
    assert not grammar.admits(f"others *{total - 1}")
    assert not grammar.admits(f"others *{total}| dog *1")


def test_irle_beyond_what_llguidance_takes_is_refused() -> None:
    with pytest.raises(SchemeError, match=r"1024 cells.*image-rrle"):
        build_scheme("image-irle", grid=33).grammar(["dog"])


@pytest.mark.parametrize("name", ["image-full", "image-rrle", "semantic-brick", "next-brick"])
def test_large_grids_compile(name: str) -> None:
    scheme = build_scheme(name, grid=64)
    size = (64, 64)
    mask = np.random.default_rng(0).random(size) < 0.5
    text = scheme.encode([Target(label="dog", mask=mask)], size)
    tokenizer = build_tokenizer(scheme.special_tokens)
    assert GrammarWalker(scheme.grammar(["dog", "cat"]), tokenizer).admits(text)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_labels_that_cannot_be_written_have_no_grammar(name: str, params: dict[str, Any]) -> None:
    scheme = build_scheme(name, **params)
    with pytest.raises(SchemeError, match=r"a\|b"):
        scheme.grammar(["dog", "a|b"])
    assert scheme.grammar(["dog", "others", "dog"]) == scheme.grammar(["dog"])


@pytest.mark.parametrize(("name", "params"), CASES)
def test_longest_text_of_the_grammar_is_within_max_tokens(
    name: str, params: dict[str, Any]
) -> None:
    scheme = build_scheme(name, **params)
    tokenizer = build_tokenizer(scheme.special_tokens)
    labels = ["a rather long label with words", "x", "é*[x] ünïcödé ☂ 漢字"]
    bound = scheme.max_tokens(tokenizer, labels)
    checks = np.indices((2, 3)).sum(axis=0) % 2 == 0
    texts = []
    for label in labels:
        masks = [checks, ~checks]
        targets = [Target(label=label, mask=mask) for mask in masks]
        if name.startswith("image"):
            targets = [Target(label=label, mask=checks), Target(label=labels[0], mask=~checks)]
        texts.append(scheme.encode(targets[:2], (2, 3)))
    longest = max(len(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts)
    assert longest <= bound
    free = scheme.max_tokens(tokenizer)
    assert bound <= free
