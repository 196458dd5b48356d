"""What a model wrote, whole or so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from t4spp.types import Decoded

GRAMMAR_STUCK = "grammar-stuck"
"""``problem`` of an answer that its grammar could go on with no token."""
BUDGET_ENDED = "budget-ended"
"""``problem`` of an answer within a grammar, or in words, that took all its tokens and was not
complete."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: the answer, special tokens kept, without end and padding tokens.
        num_tokens: tokens written, the end token counted; None when nothing tokenised it.
        num_passes: forward passes in which it had a part, the prompt's pass counted.
        others: texts of the candidates that it was chosen before.
        problem: code of what ended it before its end; empty where nothing did.
        num_drafted: tokens that passes were given as guesses.
        num_accepted: those of them that the model would have written.
        engine: ``fast``, or ``generate`` where a model that was to be driven fast could not be;
            empty where nobody asked for ``fast``.
    """

    text: str
    num_tokens: int | None
    num_passes: int
    others: tuple[str, ...] = ()
    problem: str = ""
    num_drafted: int = 0
    num_accepted: int = 0
    engine: Literal["", "fast", "generate"] = ""


@dataclass(frozen=True, kw_only=True)
class Growing:
    """An answer while it is written.

    Attributes:
        id: of the conversation.
        text: so far; special tokens stand in it.
        num_tokens: so far.
        num_passes: so far.
        ended: whether this is all of it.
    """

    id: str
    text: str
    num_tokens: int
    num_passes: int
    ended: bool

    def decode(
        self, scheme: Scheme, size: tuple[int, int], labels: Sequence[str] | None = None
    ) -> Decoded:
        """The masks so far, read as if the descriptor ended here; see :meth:`Scheme.decode`."""
        return scheme.decode(closed_text(self.text), size, labels)


Watch = Callable[[Growing], object]
"""Told of one answer at a time; what it does takes part of the generation's time."""


def closed_text(text: str) -> str:
    """An answer with its last block closed, if it has an open one."""
    return f"{text}{SEG_CLOSE}" if text.rfind(SEG_OPEN) > text.rfind(SEG_CLOSE) else text


def read_answer(
    written: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    end_ids: Sequence[int],
    *,
    closing: bool = False,
    in_words: bool = False,
) -> Answer:
    """The answer in new ids: cut at the first end token, special tokens kept; a pass a token.

    Args:
        written: ids behind the prompt.
        tokenizer: reads them.
        end_ids: each ends an answer.
        closing: whether an answer without an end is closed, so that what it says counts.
        in_words: whether it answers in words: without an end it is told to have none, and stays.
    """
    ends = [position for position, token in enumerate(written) if token in end_ids]
    num_tokens = ends[0] + 1 if ends else len(written)
    text = text_of(written[: ends[0]] if ends else written, tokenizer)
    if ends or not (closing or in_words):
        return Answer(text=text, num_tokens=num_tokens, num_passes=num_tokens)
    return Answer(
        text=text if in_words else closed_text(text),
        num_tokens=num_tokens,
        num_passes=num_tokens,
        problem=BUDGET_ENDED,
    )


def text_so_far(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of an answer that goes on: without a last character that is not whole yet."""
    return text_of(ids, tokenizer).rstrip("\ufffd")


def text_of(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of ids, special tokens kept."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
