"""Putting grammars together: text around what a scheme's grammar admits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_INNER = "descriptor_of_the_scheme"
"""What the rule ``start`` of a scheme's grammar is called inside another grammar."""
_OPENING = "OPENING_OF_THE_ANSWER"

_PIECE = re.compile(
    r'"(?:\\.|[^"\\])*"'  # a string
    r"|//[^\n]*"  # a comment
    r"|/(?:\\.|[^/\\\n])+/"  # a regular expression
    r"|<[^<>\s]+>"  # a special token
    r"|@?[A-Za-z_]\w*"  # a name
)


def append_literal(lark: str, ending: str) -> str:
    """A grammar of its texts with ``ending`` behind each."""
    return append_token(lark, json.dumps(ending)) if ending else lark


def append_token(lark: str, token: str) -> str:
    """A grammar of its texts with a token behind each, written as the grammar writes it."""
    return f"start: {_INNER} {token}\n{_renamed(lark)}"


def prepend_one_of(lark: str, openings: Iterable[str], token: str = "") -> str:
    """A grammar of its texts with one of ``openings`` before each, and perhaps a token between."""
    choices = " | ".join(json.dumps(opening) for opening in openings)
    return prepend_pattern(lark, choices, token)


def prepend_pattern(lark: str, pattern: str, token: str = "") -> str:
    """A grammar of its texts with a terminal before each, and perhaps a token between."""
    inner = f"{_INNER}_opened"
    return f"start: {_OPENING} {token} {inner}\n{_OPENING}: {pattern}\n{_renamed(lark, inner)}"


def _renamed(lark: str, name: str = _INNER) -> str:
    """The same grammar, its rule ``start`` under another name; strings stay as they are."""
    return _PIECE.sub(lambda found: name if found.group() == "start" else found.group(), lark)
