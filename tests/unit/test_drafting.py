"""What schemes expect, and how it becomes tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from t4spp.data.conversations import wrap
from t4spp.decoding.drafting import LookupDrafter, PieceTokenizer, SchemeDrafter
from t4spp.schemes.base import Scheme
from t4spp.schemes.expecting import cells_ahead, expected_row
from t4spp.testing import build_scheme, build_tokenizer
from t4spp.testing.canvases import Canvas, canvas_strategy, written
from t4spp.types import Decoded, Region, Target

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
)


def expected(
    scheme: Scheme, text: str, labels: Sequence[str] | None = ("dog",), **more: Any
) -> str:
    return "".join(scheme.expect(text, labels, **more))


# Rows


@pytest.mark.parametrize(
    ("rows", "below"),
    [
        (["aaaaaaaa"], "aaaaaaaa"),
        (["aaabbbaa", "aaabbbaa"], "aaabbbaa"),
        (["aaaaaabb", "aaaabbbb", "aabbbbbb"], "aabbbbbb"),  # it would leave no cell
        (["aaaaaaab", "aaaaabbb", "aaabbbbb"], "abbbbbbb"),
        (["aaaaabbb", "aaaabbbb", "aaaabbbb"], "aaabbbbb"),
        (["aaaaabbb", "aaaabbbb"], "aaaabbbb"),
        (["aabbbbbb", "aabbbbbb", "aaabbbbb", "aaabbbbb", "aaabbbbb"], "aaabbbbb"),
        (["abbbbbbb", "aabbbbbb", "aabbbbbb", "aabbbbbb", "aaabbbbb"], "aaabbbbb"),
    ],
    ids=["blank", "still", "no-room", "two-a-row", "every-other", "once", "pauses", "began-late"],
)
def test_boundaries_go_on_as_they_moved(rows: list[str], below: str) -> None:
    runs = [_runs(row) for row in rows]
    assert "".join(value * length for value, length in expected_row(runs)) == below


def _runs(row: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for cell in row:
        if found and found[-1][0] == cell:
            found[-1] = (cell, found[-1][1] + 1)
        else:
            found.append((cell, 1))
    return found


def test_cells_follow_those_above() -> None:
    cells = list("aabbab")
    assert "".join(cells_ahead(cells, (3, 4), "a", ["a", "b"])) == "bbabbb"
    assert "".join(cells_ahead([], (2, 2), "a", ["a"])) == "aaaa"


# Schemes: what follows a text


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "others *4\n others *4\n others *4\n"),
        ("oth", "ers *4\n others *4\n others *4\n"),
        ("others *4\n", " others *4\n others *4\n"),
        ("others *4\n others *1", "| dog *1| others *2\n others *1| dog *1| others *2\n"),
        ("others *4\n others *3|", " dog *1\n others *3| dog *1\n"),
        ("others *4\n others *1| d", "og *1| others *2\n others *1| dog *1| others *2\n"),
        (
            "others *1| dog *2| others *1\n others *2|",
            " dog *1| others *1\n others *2| dog *1| others *1\n",
        ),
        ("others *1| dog *2| others *1\n dog", " *3| others *1\n dog *3| others *1\n"),
        ("others *4\n" + " others *4\n" * 2, ""),
        ("something else", ""),
        ("others *4\n nonsense\n", ""),
    ],
)  # fmt: skip
def test_rrle_goes_on_with_rows_like_the_one_above(text: str, ahead: str) -> None:
    assert expected(build_scheme("image-rrle", grid=[3, 4]), text) == ahead


def test_number_that_its_token_ends_does_not_go_on() -> None:
    scheme = build_scheme("image-rrle", grid=[1, 16])
    assert expected(scheme, "others *1") == "6\n"
    assert expected(scheme, "others *1", digits_follow=False) == "| dog *1| others *14\n"


def test_run_that_ended_neither_where_it_was_nor_beside_goes_to_the_end_of_a_later_one() -> None:
    scheme = build_scheme("image-rrle", grid=[2, 16])
    above = "others *3| dog *2| others *11\n"
    assert expected(scheme, above + " others *1") == "6\n"  # not 10: the dog has ended
    assert expected(scheme, above + " others *2|") == " dog *3| others *11\n"


def test_label_that_comes_far_before_its_place_above_is_taken_for_a_new_small_one() -> None:
    scheme = build_scheme("image-rrle", grid=[2, 16])
    above = "others *9| dog *4| others *3\n"
    assert expected(scheme, above + " others *2|") == " dog *1| others *6| dog *4| others *3\n"


def test_labels_left_open_are_those_that_were_written() -> None:
    scheme = build_scheme("image-rrle", grid=[3, 4])
    text = "others *2| red cat *2\n others *4\n others *1|"
    assert expected(scheme, text, None) == " red cat *1| others *2\n"
    assert expected(scheme, "others *4\n others *1|", None) == ""


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "others *12"),
        ("others *5|", " dog *1| others *3| dog *1| others *2"),
        ("others *5| dog *2| o", "thers *2| dog *2| others *1"),
        ("others *12", ""),
        ("what", ""),
    ],
)
def test_irle_goes_on_with_cells_like_those_above(text: str, ahead: str) -> None:
    assert expected(build_scheme("image-irle", grid=[3, 4]), text) == ahead


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "others| others| others| others"),
        ("others|", " others| others| others"),
        ("others| d", "og| others| dog"),
        ("others| dog| others| dog", ""),
    ],
)
def test_full_goes_on_with_cells_like_those_above(text: str, ahead: str) -> None:
    assert expected(build_scheme("image-full", grid=[2, 2]), text) == ahead


EMPTY = "off4\noff4\noff4\n"


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "dog| 0 0 999 999\n" + EMPTY),
        ("do", "g| 0 0 999 999\n" + EMPTY),
        ("ot", "hers"),
        ("cat", ""),
        ("dog| 5", " 0 999 999\n" + EMPTY),
        ("dog| 5 6 ", "999 999\n" + EMPTY),
        ("dog| 5 6 7 8\n", EMPTY),
        ("dog| 5 6 7 8\noff1 o", "n1 off2\noff1 on1 off2\noff1 on1 off2\n"),
        ("dog| 5 6 7 8\non2", " off2\non2 off2\non2 off2\n"),
        ("dog| 5 6 7 8\noff1 on3\noff2", " on2\noff2 on2\n"),
        ("dog| 5 6 7 8\non4\non4\non4\n", ""),
        ("dog| 5 6 7 8\non4\non4\non4\ndog| 1", " 0 999 999\n" + EMPTY),
        ("dog| 5 6 7 8\noh dear\n", ""),
    ],
)
def test_semantic_brick_goes_on_with_rows_like_the_one_above(text: str, ahead: str) -> None:
    assert expected(build_scheme("semantic-brick", grid=[3, 4]), text) == ahead


BOX = "<|loc5|><|loc6|><|loc7|><|loc8|>"


@pytest.mark.parametrize("mark", ["", "<|row|>"], ids=["plain", "marked"])
@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "dog<|loc0|><|loc0|><|loc999|><|loc999|>=<|bg4|>=<|bg4|>"),
        ("dog<|loc5|>", "<|loc0|><|loc999|><|loc999|>=<|bg4|>=<|bg4|>"),
        ("dog" + BOX, "=<|bg4|>=<|bg4|>"),
        ("dog" + BOX + "=<|fg1|>", "<|bg3|>=<|fg1|><|bg3|>"),
        ("dog" + BOX + "=<|bg1|><|fg3|>=<|bg2|>", "<|fg2|>"),
        ("dog" + BOX + "=<|fg4|>=<|fg4|>", ""),
        (
            "dog" + BOX + "=<|fg4|>=<|fg4|>dog" + BOX + "=<|bg1|>",
            "<|fg1|><|bg2|>=<|bg1|><|fg1|><|bg2|>",
        ),
        ("oth", "ers"),
        ("cat", ""),
    ],
)
def test_next_brick_goes_on_with_rows_like_the_one_above(mark: str, text: str, ahead: str) -> None:
    scheme = build_scheme("next-brick", grid=[2, 4], row_marks=bool(mark))
    assert expected(scheme, text.replace("=", mark)) == ahead.replace("=", mark)


def test_mark_of_a_row_that_has_begun_is_not_written_again() -> None:
    scheme = build_scheme("next-brick", grid=[2, 4], row_marks=True)
    assert expected(scheme, f"dog{BOX}<|row|>") == "<|bg4|><|row|><|bg4|>"
    assert expected(scheme, f"dog{BOX}<|row|><|fg4|><|row|>") == "<|fg4|>"


def test_next_brick_expects_digits_where_boxes_are_written_in_digits() -> None:
    scheme = build_scheme("next-brick", grid=[1, 2], coordinates="digits")
    assert expected(scheme, "dog| 3 4") == " 999 999<|bg2|>"
    assert expected(scheme, "dog| 3 4 5 6<|bg1|>") == "<|fg1|>"


PIECES = (
    "dog", "d", "|", "12", " ", "\n", "on2", "<|loc5|>", "<|loc", "<|bg1|>", "<|fg2|>", "<|vq7|>",
    "<|row0-1|>", "<|row2-9|>", "<|and2-2|>", "<|row|>", "<|same1|>", "<|same9|>", "<|at0-1|>",
)  # fmt: skip


@pytest.mark.parametrize("name", [*SCHEMES, "vq-mask"])
@settings(max_examples=150, deadline=None)
@given(
    text=st.text(st.sampled_from("dog| *0123\nonf<|loc5|>bg<|fg2|>"), max_size=40)
    | st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
)
def test_expecting_never_raises(name: str, text: str) -> None:
    scheme = drafting(name, **({} if name == "vq-mask" else {"grid": 3}))[0]
    for labels in (("dog",), (), None):
        assert isinstance(expected(scheme, text, labels), str)


@pytest.mark.parametrize("name", ["image-full", "image-irle", "image-rrle", "semantic-brick"])
def test_beginning_and_what_is_expected_behind_it_decode_without_guessing(name: str) -> None:
    scheme = build_scheme(name, grid=5)

    @settings(max_examples=150, deadline=None)
    @given(canvas=canvas_strategy(scheme), share=st.floats(0, 1))
    def check(canvas: Canvas, share: float) -> None:
        text = written(scheme, canvas)
        labels = tuple(dict.fromkeys(target.label for target in canvas.targets))
        assume(text is not None and labels)
        assert text is not None
        begun = text[: int(share * len(text))]
        pieces = list(scheme.expect(begun, labels))
        assume(pieces)
        decoded = scheme.decode(begun + "".join(pieces), canvas.size, labels)
        assert decoded.status == "ok", (begun, pieces, decoded.problems)

    check()


# Answers: what follows some tokens


@cache
def drafting(name: str, **params: Any) -> tuple[Scheme, Any, PieceTokenizer]:
    scheme = build_scheme(name, **params)
    tokenizer = build_tokenizer(scheme.special_tokens)
    return scheme, tokenizer, PieceTokenizer(tokenizer)


def drafted(name: str, text: str, limit: int = 1000, labels: Any = ("dog",), **options: Any) -> str:
    """The text that is drafted behind a text."""
    scheme, tokenizer, pieces = drafting(name, grid=2)
    options.setdefault("end_id", tokenizer.eos_token_id)
    drafter = SchemeDrafter(pieces, scheme, labels, **options)
    found = drafter.draft(tokenizer(text, add_special_tokens=False)["input_ids"], limit)
    assert len(found) <= limit
    return str(tokenizer.decode(found))


@pytest.mark.parametrize(
    ("text", "ahead"),
    [
        ("", "Here it is.\n<seg>others *2\n others *2\n</seg><|end|>"),
        ("Here t", "hey are.\n<seg>others *2\n others *2\n</seg><|end|>"),
        ("The m", "ask is below.\n<seg>others *2\n others *2\n</seg><|end|>"),
        ("Certainly! ", ""),
        ("Certainly! <seg>others *1|", " dog *1\n others *1| dog *1\n</seg><|end|>"),
        ("It is.\n<seg>others *2\n dog *2\n", "</seg><|end|>"),
        ("It is.\n<seg>others *2\n dog *2\n</s", "eg><|end|>"),
        ("It is.\n<seg>others *2\n dog *2\n</seg>", "<|end|>"),
        ("<seg>dog *2\n dog *2\n</seg> and <seg>dog *2\n", " dog *2\n</seg><|end|>"),
        ("<seg>nonsense", ""),
    ],
)
def test_answer_is_opened_filled_closed_and_ended(text: str, ahead: str) -> None:
    assert drafted("image-rrle", text) == ahead


def test_opening_begins_behind_the_joint() -> None:
    assert drafted("image-rrle", "", joint=" ").startswith(" Here it is.\n<seg>")
    assert drafted("image-rrle", " Here th", joint=" ").startswith("ey are.")


def test_without_an_end_token_none_is_guessed() -> None:
    assert drafted("image-rrle", "<seg>dog *2\n dog *2\n", end_id=None) == "</seg>"


def test_draft_is_cut_at_the_limit() -> None:
    _, tokenizer, _ = drafting("image-rrle", grid=2)
    whole = drafted("image-rrle", "")
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    for limit in (1, 5, len(ids) - 1, len(ids)):
        assert drafted("image-rrle", "", limit) == tokenizer.decode(ids[:limit])


class Silent(Scheme):
    """A scheme of somebody who knows nothing of drafting."""

    name = "silent"

    def encode(self, targets: Any, size: Any, ignore: Any = None) -> str:
        return ""

    def decode(self, text: str, size: Any, labels: Any = None) -> Decoded:
        return Decoded(regions=(), status="invalid", problems=())

    def quantize(self, targets: Any, size: Any, ignore: Any = None) -> tuple[Region, ...]:
        return ()

    def grammar(self, labels: Any = None) -> str:
        return 'start: "x"'

    def max_tokens(self, tokenizer: Any, labels: Any = None) -> int:
        return 1


def test_scheme_without_guesses_is_looked_up_instead() -> None:
    _, tokenizer, pieces = drafting("image-rrle", grid=2)
    written = tokenizer("<seg>dog *1 cat *2 dog *", add_special_tokens=False)["input_ids"]
    silent = Silent(build_scheme("image-rrle").params)
    lone = SchemeDrafter(pieces, silent, ("dog",), end_id=0)
    helped = SchemeDrafter(pieces, silent, ("dog",), end_id=0, otherwise=LookupDrafter())
    assert lone.draft(written, 9) == []
    assert tokenizer.decode(helped.draft(written, 9)).startswith("1 cat")


def test_lookup_goes_on_as_behind_the_longest_latest_like_ending() -> None:
    assert LookupDrafter().draft([1, 2, 3, 9, 2, 3, 7, 5, 2, 3], 3) == [7, 5, 2]
    assert LookupDrafter().draft([1, 2, 3, 9, 2, 8, 3, 1, 2, 3], 2) == [9, 2]
    assert LookupDrafter([4, 5, 6]).draft([5], 3) == [6, 5]
    assert LookupDrafter().draft([1, 2, 3], 3) == []
    assert LookupDrafter().draft([], 3) == []
    assert LookupDrafter([4, 5, 6, 9, 9], never={9}).draft([5], 3) == [6]


@pytest.mark.parametrize("name", SCHEMES)
@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_pieces_are_cut_as_the_tokenizer_cuts_the_whole(name: str, rows: int, share: float) -> None:
    scheme, tokenizer, pieces = drafting(name, grid=6)
    mask = np.random.default_rng(rows).random((6, 6)) < 0.5
    text = wrap("Here it is.", scheme.encode([Target(label="dog", mask=mask)], (6, 6)))
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    begun = ids[: int(share * len(ids))]
    before = tokenizer.decode(begun)
    assume(text.startswith(before))
    found = pieces.ids(before, text[len(before) :])
    assert found == ids[len(begun) :]
    assert pieces.ids(before, text[len(before) :]) == found


def test_tokenizer_tells_whether_it_cuts_numbers_into_digits() -> None:
    assert drafting("image-rrle", grid=2)[2].digits_follow is (
        len(build_tokenizer(())("*16")["input_ids"]) > len(build_tokenizer(())("*1")["input_ids"])
    )
