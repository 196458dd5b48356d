"""Guesses of what an answer goes on with, for several tokens a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Drafter(Protocol):
    """Guesses the tokens that follow; a wrong guess costs time and changes no answer."""

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        """Token ids guessed to follow ``written``, at most ``limit``; none where it has no guess.

        Args:
            written: the answer's ids so far, the prompt not included.
            limit: at least 1.
        """


class LookupDrafter:
    """What stood behind the latest earlier place that ends alike (prompt lookup)."""

    def __init__(self, prompt: Sequence[int] = (), longest: int = 6) -> None:
        """Keep where to look besides the answer itself.

        Args:
            prompt: ids that stand before the answer.
            longest: tokens that an ending is compared by, at most.
        """
        self._prompt = list(prompt)
        self._longest = longest

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        """See :class:`Drafter`."""
        known = [*self._prompt, *written]
        for length in range(min(self._longest, len(known) - 1), 0, -1):
            ending = known[-length:]
            for start in range(len(known) - length - 1, -1, -1):
                if known[start : start + length] == ending:
                    return known[start + length : start + length + limit]
        return []
