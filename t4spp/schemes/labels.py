"""Which names a descriptor can carry, and the one rule that makes free text carry-able."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from t4spp.errors import SchemeError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN
from t4spp.types import BACKGROUND

MAX_LABEL_CHARS = 128
"""The default of every scheme's ``max_label_chars``, and what :func:`sanitise_label` cuts to."""

MAX_COPIED_WORDS = 5
"""Words of a label that is copied from a prompt, at most."""

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""Every character that some reader takes for the end of a line."""

_FORBIDDEN = re.compile(rf"[{LINE_BREAKS}|\ud800-\udfff]| \*|{SEG_OPEN}|{SEG_CLOSE}")
_PUNCTUATION = ".,;:!?\"'()[]{}"
_BLANKS = re.compile(r"\s+")
_STARS = re.compile(r" [ *]*\*")
"""A run of stars behind a blank, as a whole: one star at a time, long runs take their square."""


def label_fault(
    label: str,
    special_tokens: Collection[str] = (),
    max_chars: int = MAX_LABEL_CHARS,
) -> str | None:
    """Why ``label`` cannot be written, as the end of a sentence; None when it can.

    ``others`` is not a fault here: a descriptor may carry it, a target may not bear it.
    """
    if not label:
        return "it is empty"
    if label != label.strip():
        return "it starts or ends with a blank"
    if len(label) > max_chars:
        return f"it has {len(label)} characters, more than max_label_chars={max_chars}"
    found = _FORBIDDEN.search(label)
    if found:
        return f"it holds {found.group()!r}, which descriptors use themselves"
    for token in special_tokens:
        if token in label:
            return f"it holds the special token {token!r}"
    return None


def check_label(
    label: str,
    special_tokens: Collection[str] = (),
    max_chars: int = MAX_LABEL_CHARS,
) -> None:
    """Refuse a target's label that no descriptor could give back.

    Args:
        label: the name to write.
        special_tokens: tokens that may not occur inside a name.
        max_chars: the longest name, in characters.

    Raises:
        SchemeError: the label is empty, ``others``, has outer blanks, is too long, or holds a
            line break, ``|``, `` *``, ``<seg>``, ``</seg>`` or a special token.
    """
    fault = label_fault(label, special_tokens, max_chars)
    if fault is None and label == BACKGROUND:
        fault = "that name is the background's"
    if fault is not None:
        shown = label if len(label) <= 80 else label[:77] + "..."
        raise SchemeError(
            f"the label {shown!r} cannot be written: {fault}. Rename it, or pass free text "
            "through t4spp.schemes.labels.sanitise_label first."
        )


def sanitise_label(text: str, max_chars: int = MAX_LABEL_CHARS) -> tuple[str, bool]:
    """Make a label of free text, by the one rule that every recipe shares.

    Line breaks and runs of blanks become one space, ``|`` becomes ``/``, a ``*`` after a space
    and the tags ``<seg>`` and ``</seg>`` are dropped, lone surrogates become ``?``, the ends are
    stripped, what is longer than ``max_chars`` is cut, ``others`` becomes ``other`` and an empty
    text becomes ``object``.

    Returns:
        The label and whether it differs from ``text``, for the recipe's counter.
    """
    label = text.encode("utf-8", "replace").decode("utf-8").replace("|", "/")
    while True:
        before = label
        label = label.replace(SEG_OPEN, " ").replace(SEG_CLOSE, " ")
        label = _STARS.sub(" ", _BLANKS.sub(" ", label))
        label = label.strip()[:max_chars].strip()
        if label == before:
            break
    if label == BACKGROUND:
        label = "other"
    return label or "object", (label or "object") != text


def copied_labels(
    prompt: str,
    special_tokens: Collection[str] = (),
    max_words: int = MAX_COPIED_WORDS,
) -> tuple[str, ...]:
    """Every run of words of a free prompt that can be a label, in their order, each once.

    Args:
        prompt: free text; punctuation at the ends of words is left out.
        special_tokens: tokens that may not occur inside a label.
        max_words: of a label, and of the runs that begin at a word.
    """
    words = [word for word in (part.strip(_PUNCTUATION) for part in prompt.split()) if word]
    found: dict[str, None] = {}
    for start in range(len(words)):
        for stop in range(start + 1, min(len(words), start + max_words) + 1):
            label = " ".join(words[start:stop])
            if label != BACKGROUND and label_fault(label, special_tokens) is None:
                found[label] = None
    return tuple(found)


def admitted_labels(
    labels: Iterable[str],
    special_tokens: Collection[str] = (),
    max_chars: int = MAX_LABEL_CHARS,
) -> tuple[str, ...]:
    """The distinct labels of a prompt that a target may bear: checked, ``others`` left out."""
    kept = tuple(dict.fromkeys(label for label in labels if label != BACKGROUND))
    for label in kept:
        check_label(label, special_tokens, max_chars)
    return kept
