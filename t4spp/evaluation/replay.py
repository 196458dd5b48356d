"""How far drafting gets, without a model: true answers are replayed through it.

The true answer plays the model: at every place its next token is the choice. What the passes carry
and what is kept of them is decided by the code that decodes with a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from t4spp.data.conversations import wrap
from t4spp.data.templates import answer_opening
from t4spp.decoding.constraint import Constraint
from t4spp.decoding.drafting import PieceTokenizer, SchemeDrafter
from t4spp.decoding.planning import Row
from t4spp.errors import BackboneError, SchemeError
from t4spp.schemes.base import Scheme
from t4spp.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANY_LENGTH = 1 << 30
"""Stands for no bound on the tokens that a pass drafts."""


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One scheme to replay, as it was asked for, with a tokenizer that has learnt its tokens."""

    name: str
    params: Mapping[str, Any]
    scheme: Scheme
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class ReplayedAnswer:
    """One answer.

    Attributes:
        tokens: ids of the answer as the grammar lets it be written, the end token included.
        num_passes: forward passes, the prompt's counted.
        num_drafted: tokens that were guessed, right or wrong.
    """

    tokens: tuple[int, ...]
    num_passes: int
    num_drafted: int


@dataclass(frozen=True, kw_only=True)
class SchemeReplay:
    """What one scheme's answers take.

    Attributes:
        name: the scheme's name.
        params: its parameters as they were given.
        mean_tokens: tokens of an answer: opening, tags, descriptor and end token.
        mean_passes: forward passes of an answer, the prompt's counted.
        tokens_per_pass: all tokens over all passes.
        mean_drafted: tokens guessed for an answer.
        num_answers: answers that were replayed.
        refused: those among them that the grammar does not admit, by reason; each takes a pass for
            every token.
        unwritable: samples that the scheme cannot write, by reason; they count nowhere else.
    """

    name: str
    params: Mapping[str, Any]
    mean_tokens: float
    mean_passes: float
    tokens_per_pass: float
    mean_drafted: float
    num_answers: int
    refused: Mapping[str, int]
    unwritable: Mapping[str, int]


class RefusedError(Exception):
    """A true answer that the grammar does not admit; the message says where."""


def replay(
    samples: Iterable[Sample], entrants: Sequence[Replayed], *, max_draft: int | None = None
) -> list[SchemeReplay]:
    """Replay the true answers to samples, by every scheme.

    Args:
        samples: pictures are not read; the first opening of each kind is the answers'.
        entrants: the schemes.
        max_draft: tokens that a pass drafts at most; None for any number.

    Returns:
        A result a scheme, in their order; its means are NaN where no answer could be written.

    Raises:
        SchemeError: a grammar is missing or does not compile.
        BackboneError: a tokenizer is of a kind that llguidance does not read.
    """
    players = [
        _Player(entrant, ANY_LENGTH if max_draft is None else max_draft) for entrant in entrants
    ]
    for sample in samples:
        for player in players:
            player.play(sample)
    return [player.result() for player in players]


@dataclass(kw_only=True)
class _Sums:
    num_tokens: int = 0
    num_passes: int = 0
    num_drafted: int = 0
    num_answers: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unwritable: Counter[str] = field(default_factory=Counter)


class _Player:
    """Replays the answers of one scheme."""

    def __init__(self, entrant: Replayed, limit: int) -> None:
        self._entrant = entrant
        self._limit = limit
        self._end_id = _end_id(entrant)
        self._constraint = Constraint.of(entrant.tokenizer, [self._end_id])
        self._pieces = PieceTokenizer(entrant.tokenizer)
        self._sums = _Sums()

    def play(self, sample: Sample) -> None:
        """Replay the true answer to a sample."""
        scheme, sums = self._entrant.scheme, self._sums
        labels = tuple(sample.labels) or None
        try:
            descriptor = scheme.encode(sample.targets, sample.size, sample.ignore)
        except SchemeError as error:
            sums.unwritable[str(error)] += 1
            return
        text = wrap(answer_opening(sample, "fixed", seed=0, epoch=0), descriptor)
        sums.num_answers += 1
        try:
            answer = self._replayed(text, labels)
        except RefusedError as error:
            sums.refused[str(error)] += 1
            num_tokens = len(_ids(self._entrant.tokenizer, text)) + 1
            sums.num_tokens += num_tokens
            sums.num_passes += num_tokens
            return
        sums.num_tokens += len(answer.tokens)
        sums.num_passes += answer.num_passes
        sums.num_drafted += answer.num_drafted

    def _replayed(self, text: str, labels: tuple[str, ...] | None) -> ReplayedAnswer:
        scheme, constraint = self._entrant.scheme, self._constraint
        tokens = spelt_under_grammar(
            text, self._entrant.tokenizer, constraint.matcher(scheme, labels), self._end_id
        )
        drafter = SchemeDrafter(self._pieces, scheme, labels, end_id=self._end_id)
        row = Row(
            constraint.matcher(scheme, labels),
            drafter,
            [self._end_id],
            vocabulary=constraint.vocabulary,
        )
        return replay_answer(row, tokens, self._limit)

    def result(self) -> SchemeReplay:
        """Means over what was played."""
        sums, entrant = self._sums, self._entrant
        number = sums.num_answers or float("nan")
        return SchemeReplay(
            name=entrant.name,
            params=dict(entrant.params),
            mean_tokens=sums.num_tokens / number,
            mean_passes=sums.num_passes / number,
            tokens_per_pass=sums.num_tokens / sums.num_passes if sums.num_passes else float("nan"),
            mean_drafted=sums.num_drafted / number,
            num_answers=sums.num_answers,
            refused=dict(sums.refused),
            unwritable=dict(sums.unwritable),
        )


def replay_answer(row: Row, tokens: Sequence[int], limit: int) -> ReplayedAnswer:
    """Write an answer as a model would that is certain of it.

    Args:
        row: fresh.
        tokens: what the model would write token by token under the row's grammar, its end included.
        limit: drafted tokens a pass.

    Raises:
        RuntimeError: the row wrote something else, which would be a fault of ours.
    """
    num_passes = num_drafted = 0
    plan = None  # the prompt's pass carries nothing more
    while not row.ended:
        num_planned = 0 if plan is None else len(plan.tokens)
        start = len(row.written)
        # Behind the answer's end nothing counts.
        choices = [*tokens[start : start + num_planned + 1]]
        row.accept(choices + [tokens[-1]] * (num_planned + 1 - len(choices)))
        num_passes += 1
        num_drafted += 0 if plan is None else plan.num_drafted
        if row.written != list(tokens[: len(row.written)]):
            raise RuntimeError(f"the replay departs from the answer behind {start} tokens")
        plan = row.plan(limit)
    if len(row.written) != len(tokens):
        raise RuntimeError(f"the replay ends after {len(row.written)} of {len(tokens)} tokens")
    return ReplayedAnswer(tokens=tuple(row.written), num_passes=num_passes, num_drafted=num_drafted)


def spelt_under_grammar(
    text: str, tokenizer: PreTrainedTokenizerBase, matcher: Any, end_id: int
) -> tuple[int, ...]:
    """The tokens of an answer, each as the grammar lets it be written, and the end token.

    They are the tokenizer's own, but where the grammar forces another way to cut the text.

    Args:
        text: of the answer.
        tokenizer: cuts it.
        matcher: fresh, of the answer's grammar; it is used up.
        end_id: ends the answer.

    Raises:
        RefusedError: the grammar does not admit the text.
    """
    written: list[int] = []
    left = _ids(tokenizer, text)
    while left:
        forced = matcher.compute_ff_tokens() if matcher.compute_ff_bytes() else []
        token = forced[0] if forced else left[0]
        written.append(token)
        if token == left[0]:
            left = left[1:]
        else:
            so_far = _text(tokenizer, written)
            if not text.startswith(so_far):
                raise RefusedError(f"it forces {so_far[-20:]!r}, which the answer does not hold")
            left = _ids(tokenizer, text[len(so_far) :])
        if not matcher.try_consume_tokens([token]):
            raise RefusedError(f"it does not admit {_text(tokenizer, written)[-20:]!r}")
    if not matcher.is_accepting():
        raise RefusedError("it does not admit the answer's end")
    return (*written, end_id)


def _end_id(entrant: Replayed) -> int:
    """The token that ends answers.

    Raises:
        BackboneError: the tokenizer names none.
    """
    end = entrant.tokenizer.eos_token_id
    if not isinstance(end, int):
        raise BackboneError(
            "the tokenizer names no end token (eos_token), so answers would have no end. Give it "
            "one, or take another tokenizer."
        )
    return end


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
