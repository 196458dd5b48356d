"""Left and right in prompts, exchanged where a picture is mirrored.

Whole words are exchanged: *left*, *right*, with *-most*, *-hand*, *-handed*, *-side*, *-ward(s)*
behind them and *top*, *bottom*, *upper*, *lower*, *far*, *mid*, *middle*, *front*, *back* before
them, with or without a hyphen (``top-left``, ``lefthand``, ``Rightmost``); in small letters, with a
capital, or in capitals. Words that merely hold the letters (*bright*, *copyright*, *upright*) stay.
Known limits: *right* is also what is correct, and *left* what somebody has done: they are exchanged
too. Short forms (``l``, ``rt``) are not known.
"""

from __future__ import annotations

import re

_BEFORE = "|".join(("top", "bottom", "upper", "lower", "far", "mid", "middle", "front", "back"))
_SWAPPED = re.compile(
    rf"(?<![^\W_])(?P<before>(?:(?i:{_BEFORE})-?)?)(?P<side>left|right|Left|Right|LEFT|RIGHT)"
    r"(?=(?:-?(?i:most|hand|handed|side|ward|wards))?(?![^\W_]))"
)
_INNOCENT = re.compile(
    r"(?<![^\W_])(?:c(?=left)|(?:play|ship|wheel|cart)?w(?=right)"
    r"|(?:a|al|b|f|up|out|down|forth|birth|copy)-?(?=right))\w*",
    re.IGNORECASE,
)
_LETTERS = re.compile("left|right", re.IGNORECASE)
_OTHER_SIDES = re.compile(r"\b(?:mid|(?:north|south)[- ]?)?(?:east|west)|clockwise", re.IGNORECASE)
_OPPOSITE = {
    "left": "right", "Left": "Right", "LEFT": "RIGHT",
    "right": "left", "Right": "Left", "RIGHT": "LEFT",
}  # fmt: skip


def swap_sides(text: str) -> str:
    """The text with left and right exchanged; done twice, it is the text again."""
    return _SWAPPED.sub(lambda found: found["before"] + _OPPOSITE[found["side"]], text)


def speaks_of_sides(text: str) -> bool:
    """Whether a mirrored picture might belie the text: it has the letters, or east or west."""
    return bool(_LETTERS.search(text) or _OTHER_SIDES.search(text))


def can_be_swapped(text: str) -> bool:
    """Whether all that the text says of sides is what :func:`swap_sides` exchanges."""
    rest = _INNOCENT.sub("", _SWAPPED.sub("", text))
    return not (_LETTERS.search(rest) or _OTHER_SIDES.search(rest))
