"""Left and right in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.data.sides import can_be_swapped, speaks_of_sides, swap_sides

PIECES = [
    "left", "Left", "LEFT", "right", "Right", "RIGHT", "leftmost", "right-most", "Lefthand",
    "right-hand", "lefthanded", "leftwards", "top-left", "topright", "FAR LEFT", "lower right",
    "bright", "copyright", "upright", "leftover", "righteous", "cleft", "dog", "left's", "a", "é",
    " ", "-", "_", ".", ",", "|", "\n", "2", "lEFT",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the dog on the left", "the dog on the right"),
        ("Rightmost car, then the leftmost", "Leftmost car, then the rightmost"),
        ("left-hand side; lefthand; right-handed", "right-hand side; righthand; left-handed"),
        ("RIGHT|left lung|Left eye", "LEFT|right lung|Right eye"),
        ("top-left and bottomright", "top-right and bottomleft"),
        ("upperleft, farRight, midleft", "upperright, farLeft, midright"),
        ("left's and 'right'", "right's and 'left'"),
        ("a bright copyright sign held upright", "a bright copyright sign held upright"),
        ("leftover rightful clefts", "leftover rightful clefts"),
        ("left2 rights", "left2 rights"),
    ],
)
def test_whole_words_are_swapped_and_letters_within_others_are_not(
    text: str, expected: str
) -> None:
    assert swap_sides(text) == expected
    assert swap_sides(expected) == text


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_swapping_twice_gives_the_text_back(text: str) -> None:
    assert swap_sides(swap_sides(text)) == text


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_whether_a_text_can_be_swapped_does_not_change_with_it(text: str) -> None:
    assert can_be_swapped(swap_sides(text)) == can_be_swapped(text)


@given(st.text())
def test_any_text_survives(text: str) -> None:
    assert swap_sides(swap_sides(text)) == text
    assert can_be_swapped(text) or speaks_of_sides(text)


@pytest.mark.parametrize(
    ("text", "swaps"),
    [
        ("the left dog", True),
        ("a bright copyright notice, upright", True),
        ("a dog", True),
        ("the leftover food", False),
        ("theleft one", False),
        ("lEFT", False),
        ("the eastern wing", False),
        ("north-west corner", False),
        ("turned clockwise", False),
        ("the beast, at least", True),
    ],
)
def test_words_of_sides_that_are_not_known_keep_a_picture_from_being_mirrored(
    text: str, swaps: bool
) -> None:
    assert can_be_swapped(text) is swaps
