"""Counting tokens of descriptor pieces, for the bounds that generation relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Tokens of ``text`` alone, without what a tokenizer adds around a sequence."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def longest_label(
    tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None, max_chars: int
) -> int:
    """A bound on the tokens of one label: measured, or for free labels its bytes.

    A character takes at most four bytes and a byte at most one token in every tokenizer that
    falls back to bytes; one more token allows for a tokenizer that marks a word's start.
    """
    if labels is None:
        return 4 * max_chars + 1
    return max((count_tokens(tokenizer, label) for label in labels), default=0) + 1


def repeated_tokens(tokenizer: PreTrainedTokenizerBase, piece: str) -> int:
    """A bound on the tokens that ``piece`` takes among its like: alone, or in a row of eight."""
    in_a_row = -(-count_tokens(tokenizer, piece * 8) // 8)
    return max(count_tokens(tokenizer, piece), in_a_row)
