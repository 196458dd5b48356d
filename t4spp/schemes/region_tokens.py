"""Reading regions of tokens from untrusted text: which token belongs to which region.

Shared by the box-wise schemes whose masks are tokens; what a mask's tokens are is each one's own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from t4spp.schemes.box_wise import HEADER, NUMBER, STEPS, Steps
from t4spp.schemes.grammar import label_terminal
from t4spp.schemes.parsing import Notes, shorten, strip_blanks
from t4spp.schemes.rows import bounded
from t4spp.schemes.tokens import count_tokens
from t4spp.types import BACKGROUND

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Coordinates = Literal["tokens", "digits"]
"""How a box is written: four of 1000 new tokens, or four numbers in digits."""

FIRST_COORDINATE = "<|loc0|>"
"""The ids that a tokenizer gives the coordinates follow each other, as a scheme lists them."""


@dataclass(kw_only=True)
class RegionDraft:
    """A region while its tokens come in."""

    label: str
    locs: list[int] = field(default_factory=list)


D = TypeVar("D", bound=RegionDraft)


class RegionReader(ABC, Generic[D]):
    """Sorts the tokens of one block into regions."""

    token: re.Pattern[str]
    """A token; its two groups are its kind (``loc`` for coordinates) and its number."""

    def __init__(self, *, tokens: bool, notes: Notes) -> None:
        """Keep what the format says.

        Args:
            tokens: whether boxes are written as tokens; else in digits.
            notes: takes the problems.
        """
        self.tokens = tokens
        self.notes = notes

    @abstractmethod
    def _new(self, label: str, locs: list[int]) -> D:
        """A region that begins."""

    @abstractmethod
    def _begun(self, draft: D) -> bool:
        """Whether a region has any token of its mask."""

    @abstractmethod
    def _complete(self, draft: D) -> bool:
        """Whether a region has all of its mask, so that another may follow."""

    @abstractmethod
    def _take(self, draft: D, kind: str, number: str) -> None:
        """A token of the mask comes in."""

    def _stray(self, draft: D, words: str) -> None:
        """Text where a token of the mask should be."""
        self.notes.add("stray-text", f"{shorten(words)} between tokens is left out")

    def drafts(self, text: str) -> Iterator[D]:
        """The regions of a block in their order, boxes and masks not yet checked."""
        parts = self.token.split(text)
        if len(parts) == 1:
            self._read_plain(text)
            return
        draft: D | None = None
        before = parts[0]
        for kind, number, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            words = strip_blanks(before) if before else ""
            before = after
            if self._opens(draft, words, kind):
                if draft is not None:
                    yield draft
                draft = self._start(words)
            elif words and draft is not None:
                self._stray(draft, words)
            if draft is None:
                self.notes.add("orphan-token", f"<|{kind}{number}|> before any label is left out")
            elif kind == "loc":
                self._take_coordinate(draft, number)
            else:
                self._take(draft, kind, number)
        rest = strip_blanks(before)
        if rest and draft is not None and not self._complete(draft):
            self._stray(draft, rest)
        elif rest:
            self.notes.add("unfinished-region", f"{shorten(rest)} at the end has no box: left out")
        if draft is not None:
            yield draft

    def box(self, draft: D) -> Steps | None:
        """A region's box; None, and a problem, where it has none."""
        name = shorten(draft.label)
        if not draft.label:
            self.notes.add("missing-label", "a region without a label is left out")
            return None
        if len(draft.locs) < 4:
            self.notes.add("bad-box", f"{name} has {len(draft.locs)} of 4 coordinates: left out")
            return None
        if len(draft.locs) > 4:
            self.notes.add("bad-box", f"{name} has {len(draft.locs)} coordinates: 4 count")
        steps = [min(step, STEPS - 1) for step in draft.locs[:4]]
        if steps != draft.locs[:4]:
            self.notes.add("bad-box", f"{name} has coordinates beyond {STEPS - 1}: clipped")
        return steps[0], steps[1], steps[2], steps[3]

    def _read_plain(self, text: str) -> None:
        """A block without a single token."""
        words = strip_blanks(text)
        if words == BACKGROUND:
            self.notes.read_something = True
        elif words:
            self.notes.add("unreadable", f"{shorten(words)} is no descriptor")
        else:
            self.notes.add("empty", "there is no descriptor")

    def _opens(self, draft: D | None, words: str, kind: str) -> bool:
        """Whether this token, with the words before it, begins another region."""
        if draft is None:
            return bool(words) or kind == "loc"
        if kind == "loc":
            return bool(words) or (self._begun(draft) and self._complete(draft))
        return bool(words) and (self._complete(draft) or HEADER.fullmatch(words) is not None)

    def _start(self, words: str) -> D:
        header = HEADER.fullmatch(words)
        if header is None:
            return self._new(words, [])
        if self.tokens:
            self.notes.add("other-coordinates", "a box in digits where tokens are the format")
        label, *numbers = header.groups()
        return self._new(strip_blanks(label), [bounded(number) for number in numbers])

    def _take_coordinate(self, draft: D, digits: str) -> None:
        if not digits.isdigit() or self._begun(draft):
            self.notes.add("bad-token", f"<|loc{digits}|> out of place is left out")
            return
        if not self.tokens:
            self.notes.add("other-coordinates", "a box in tokens where digits are the format")
        draft.locs.append(bounded(digits))


class BoxSpelling:
    """How a region's label and box are written: coordinates as tokens, or in digits."""

    def __init__(self, coordinates: Coordinates) -> None:
        """Name the tokens."""
        self.located = coordinates == "tokens"
        self._loc = tuple(f"<|loc{n}|>" for n in range(STEPS))

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>`` to ``<|loc999|>``; none for digits."""
        return self._loc if self.located else ()

    @property
    def explained(self) -> str:
        """What follows the label, in plain English."""
        if self.located:
            return "its four numbers as <|loc0|> to <|loc999|>"
        return '"| " and the four numbers of its box'

    def spell(self, label: str, steps: Steps) -> str:
        """Label and box."""
        if self.located:
            return label + "".join(self._loc[step] for step in steps)
        return label + "| " + " ".join(str(step) for step in steps)

    def rules(self, names: Sequence[str] | None, max_label_chars: int) -> list[str]:
        """Rules of llguidance's Lark: ``header``, a label and its box."""
        box = "loc loc loc loc" if self.located else '"| " NUMBER " " NUMBER " " NUMBER " " NUMBER'
        return [
            f"header: LABEL {box}",
            label_terminal(names, max_label_chars, background=False),
            "loc: " + " | ".join(self._loc) if self.located else NUMBER,
        ]

    def num_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """A bound on the tokens of a box."""
        return 4 if self.located else count_tokens(tokenizer, "| 999 999 999 999") + 1
