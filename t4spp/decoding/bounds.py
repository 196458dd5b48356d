"""How many tokens an answer may take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from t4spp.data.templates import TEMPLATES
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

_SPARE_TOKENS = 16
"""Tokens beyond the longest expected wrapper, for an answer worded another way."""


class TokenBounds:
    """Bounds on whole answers (opening, tags, descriptor, end token), remembered by labels."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, scheme: Scheme, *, bytewise: bool = False
    ) -> None:
        """Measure the longest wrapper.

        Args:
            tokenizer: counts.
            scheme: bounds its descriptors.
            bytewise: count bytes, the scheme's tokens as one each. A grammar admits every way to
                cut a text into tokens, so only this bounds whatever a model may write.
        """
        if bytewise:
            tokenizer = cast("PreTrainedTokenizerBase", _ByteCounter(scheme.special_tokens))
        openings = [opening for kind in TEMPLATES.values() for opening in kind.answers]
        wrappers = [f"{opening}\n{SEG_OPEN}{SEG_CLOSE}" for opening in openings]
        longest = max(len(tokenizer(w, add_special_tokens=False).input_ids) for w in wrappers)
        self._wrapper = longest + _SPARE_TOKENS
        self._tokenizer = tokenizer
        self._scheme = scheme
        self._by_labels: dict[tuple[str, ...] | None, int] = {}
        self._check: Callable[[tuple[str, ...] | None], object] | None = None

    def refuse(self, check: Callable[[tuple[str, ...] | None], object]) -> None:
        """Let ``check`` raise a SchemeError for labels that must not be asked for."""
        self._check = check

    def of(self, labels: tuple[str, ...] | None) -> int:
        """The most tokens that an answer about ``labels`` takes; None: about any label.

        Raises:
            SchemeError: the scheme cannot write a label, or it is refused.
        """
        if labels not in self._by_labels:
            if self._check is not None:
                self._check(labels)
            descriptor = self._scheme.max_tokens(self._tokenizer, labels)
            self._by_labels[labels] = self._wrapper + descriptor
        return self._by_labels[labels]


class _ByteCounter:
    """Counts as a tokenizer that knows nothing but bytes and the scheme's tokens."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        """Keep the tokens, the longest first."""
        ordered = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str, **_: object) -> BatchEncoding:
        """A zero for each byte and for each of the scheme's tokens."""
        from transformers import BatchEncoding

        plain = text if self._special is None else self._special.sub("*", text)
        return BatchEncoding({"input_ids": [0] * len(plain.encode())})
