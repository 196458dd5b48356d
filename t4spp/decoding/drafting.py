"""Guesses of what an answer goes on with, for several tokens a pass.

What is likely to follow is the scheme's to say, as text (:meth:`t4spp.schemes.base.Scheme.expect`);
here it becomes tokens. Where the scheme has no guess, the answer's own past is looked up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Protocol

from t4spp.data.templates import TEMPLATES
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAIL = 24
"""Characters before a piece of text that decide how it is cut into tokens; far more than do."""
_KEPT = 1 << 14
"""Pieces whose tokens are remembered."""


class Drafter(Protocol):
    """Guesses the tokens that follow; a wrong guess costs time and changes no answer."""

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        """Token ids guessed to follow ``written``, at most ``limit``; none where it has no guess.

        Args:
            written: the answer's ids so far, the prompt not included.
            limit: at least 1.
        """


class PieceTokenizer:
    """Cuts pieces of text into tokens as the tokenizer would cut them within the whole."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Keep the tokenizer; see whether it has tokens for numbers of several digits."""
        self._tokenizer = tokenizer
        self._known: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self.digits_follow = len(self._cut("*16")) > len(self._cut("*1"))

    def ids(self, before: str, piece: str) -> list[int]:
        """The tokens of ``piece`` behind ``before``.

        Where a token would span the two, the piece is cut by itself: what stands before is written
        already.
        """
        key = (before[-_TAIL:], piece)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        head, both = self._cut(key[0]), self._cut(key[0] + piece)
        found = both[len(head) :] if both[: len(head)] == head else self._cut(piece)
        self._known[key] = found
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens kept."""
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def _cut(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


class SchemeDrafter:
    """The opening, what the scheme expects, the closing tag and the end token."""

    def __init__(
        self,
        pieces: PieceTokenizer,
        scheme: Scheme,
        labels: Sequence[str] | None,
        *,
        end_id: int | None,
        joint: str = "",
        otherwise: Drafter | None = None,
    ) -> None:
        """Keep what guesses are made of.

        Args:
            pieces: the tokenizer; best shared by all answers, as it remembers.
            scheme: of the descriptor.
            labels: the labels that the prompt admits; None where it leaves them open.
            end_id: the token that is guessed to end the answer; None guesses none.
            joint: stands before the opening; see :attr:`t4spp.components.Backbone.answer_joint`.
            otherwise: drafts where the scheme has no guess.
        """
        self._pieces = pieces
        self._scheme = scheme
        self._labels = None if labels is None else tuple(labels)
        self._end_id = end_id
        self._otherwise = otherwise
        openings = dict.fromkeys(opening for kind in TEMPLATES.values() for opening in kind.answers)
        self._openings = [f"{joint}{opening}\n{SEG_OPEN}" for opening in openings]

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        """See :class:`Drafter`."""
        text = self._pieces.text(written)
        ahead = self._ahead(text)
        if ahead is None:
            return [] if self._otherwise is None else self._otherwise.draft(written, limit)
        found: list[int] = []
        for piece in ahead:
            found += self._pieces.ids(text, piece)
            if len(found) >= limit:
                return found[:limit]
            text = text[-_TAIL:] + piece
        return found if self._end_id is None else [*found, self._end_id][:limit]

    def _ahead(self, text: str) -> Iterator[str] | None:
        """What follows a text, piece by piece to the answer's end; None where there is no guess."""
        start = text.rfind(SEG_OPEN)
        if start < 0:
            opening = next((known for known in self._openings if known.startswith(text)), None)
            if opening is None:
                return None
            return chain((opening[len(text) :],), self._expected(""), (SEG_CLOSE,))
        body = text[start + len(SEG_OPEN) :]
        if SEG_CLOSE in body:
            return iter(())
        begun = next(
            (n for n in range(len(SEG_CLOSE) - 1, 0, -1) if body.endswith(SEG_CLOSE[:n])), 0
        )
        if begun:
            return iter((SEG_CLOSE[begun:],))
        expected = iter(self._expected(body))
        first = next(expected, None)
        return None if first is None else chain((first,), expected, (SEG_CLOSE,))

    def _expected(self, body: str) -> Iterable[str]:
        follow = self._pieces.digits_follow
        return self._scheme.expect(body, self._labels, digits_follow=follow)


class LookupDrafter:
    """What stood behind the latest earlier place that ends alike (prompt lookup)."""

    def __init__(
        self, prompt: Sequence[int] = (), longest: int = 6, never: Collection[int] = ()
    ) -> None:
        """Keep where to look besides the answer itself.

        Args:
            prompt: ids that stand before the answer.
            longest: tokens that an ending is compared by, at most.
            never: tokens before which a guess ends: those of pictures.
        """
        self._never = frozenset(never)
        self._prompt = list(prompt)
        self._longest = longest

    def draft(self, written: Sequence[int], limit: int) -> list[int]:
        """See :class:`Drafter`."""
        known = [*self._prompt, *written]
        for length in range(min(self._longest, len(known) - 1), 0, -1):
            ending = known[-length:]
            for start in range(len(known) - length - 1, -1, -1):
                if known[start : start + length] == ending:
                    found = known[start + length : start + length + limit]
                    return list(takewhile(lambda token: token not in self._never, found))
        return []
