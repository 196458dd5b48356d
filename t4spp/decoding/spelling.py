"""Whether any sequence of a tokenizer's tokens spells a text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any


class Speller:
    """The texts of a vocabulary's tokens, as bytes."""

    def __init__(self, tokenizer: Any) -> None:
        """Keep the tokenizer; its vocabulary is read when it is first needed.

        Args:
            tokenizer: llguidance's own.
        """
        self._tokenizer = tokenizer

    @cached_property
    def _pieces(self) -> frozenset[bytes]:
        known = self._tokenizer
        ids = (i for i in range(known.vocab_size) if not known.is_special_token(i))
        return frozenset(known.decode_bytes([i]) for i in ids) - {b""}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._pieces), default=0)

    @cached_property
    def has_bytes(self) -> bool:
        """Whether every byte is a token, so that every text can be spelt."""
        return all(bytes([value]) in self._pieces for value in range(256))

    def missing(self, text: str) -> str | None:
        """What of a text no sequence of tokens spells; None where the whole can be spelt.

        A token may begin before the text and end behind it, as the text is a part of a longer one.

        Returns:
            The text from the first character on that no sequence reaches.
        """
        if self.has_bytes:
            return None
        wanted = text.encode()
        length = len(wanted)
        reached = [False] * (length + 1)
        reached[0] = True
        self._spread(wanted, reached, 0)
        if reached[length]:
            return None
        for place in range(1, length + 1):  # a token that begins before the text
            if not reached[place] and self._some(partial(_ends_with, wanted[:place])):
                reached[place] = True
                self._spread(wanted, reached, place)
        if reached[length]:
            return None
        for place in range(length):  # a token that ends behind it
            rest = wanted[place:]
            if reached[place] and self._some(partial(_starts_with, rest)):
                return None
        if self._some(partial(_holds, wanted)):
            return None
        furthest = max(place for place in range(length + 1) if reached[place])
        return wanted[furthest:].decode(errors="replace")

    def _spread(self, wanted: bytes, reached: list[bool], start: int) -> None:
        for place in range(start, len(wanted)):
            if reached[place]:
                for end in range(place + 1, min(len(wanted), place + self._longest) + 1):
                    if wanted[place:end] in self._pieces:
                        reached[end] = True

    def _some(self, fits: Callable[[bytes], bool]) -> bool:
        return any(map(fits, self._pieces))


def _ends_with(text: bytes, piece: bytes) -> bool:
    return piece.endswith(text)


def _starts_with(text: bytes, piece: bytes) -> bool:
    return piece.startswith(text)


def _holds(text: bytes, piece: bytes) -> bool:
    return text in piece
