"""One answer while it is written: what to append in the next pass, and what of it to keep.

A pass reads tokens that nobody has chosen yet: those that the grammar forces, and a drafter's
guesses. The model's own choice at each place then says how many of them it would have written
itself; these are kept, and its choice behind them comes on top (speculative decoding with greedy
verification; Leviathan et al. 2023, section 2, with a draft of probability one). So the answer is
the one that would have been written token by token under the same grammar.

Shapes: K planned tokens, W = ceil(V / 32) words of a bit mask over V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from t4spp.decoding.drafting import Drafter

BitMask = npt.NDArray[np.int32]
"""int32[W]: bit i of word w is set where token ``32 w + i`` is admitted."""

Again = Callable[[int, BitMask], int]
"""Given a place of the pass (0..K) and the mask there: the model's choice among what it admits."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the next pass appends to an answer.

    Attributes:
        tokens: ids, forced ones and drafted ones in the order of the answer.
        forced: for each, whether the grammar admits nothing else behind those before it and this
            was looked at; such a token needs no agreement.
    """

    tokens: tuple[int, ...] = ()
    forced: tuple[bool, ...] = ()

    @property
    def num_forced(self) -> int:
        """Tokens that the grammar forces."""
        return sum(self.forced)

    @property
    def num_drafted(self) -> int:
        """Tokens that are guessed."""
        return len(self.tokens) - self.num_forced


class Row:
    """One answer of a batch.

    Per pass: :meth:`plan`, a pass over the last token written and the plan's, then :meth:`accept`
    with the model's K + 1 choices over the whole vocabulary; ``again`` is asked where one is not
    admitted, which a trained model seldom needs.

    Attributes:
        written: ids accepted so far, the end token included.
        ended: whether the answer is complete.
        stuck: why the grammar could not go on; empty where it could. Only end tokens follow.
    """

    def __init__(
        self,
        matcher: Any | None,
        drafter: Drafter | None,
        end_ids: Sequence[int],
        *,
        vocabulary: int = 0,
    ) -> None:
        """Start an answer.

        Args:
            matcher: a fresh one of llguidance (:meth:`t4spp.decoding.constraint.Constraint.matcher`
                makes it), the row's own from now on; None admits everything.
            drafter: guesses; None drafts nothing.
            end_ids: each ends the answer.
            vocabulary: V of the matcher's tokenizer; needed with a matcher only.
        """
        self.written: list[int] = []
        self.ended = False
        self.stuck = ""
        self._matcher = matcher
        self._drafter = drafter
        self._end_ids = tuple(end_ids)
        self._words = -(-vocabulary // 32)
        self._plan = Plan()

    @property
    def constrained(self) -> bool:
        """Whether a grammar says what may follow."""
        return self._matcher is not None

    def plan(self, limit: int, longest: int | None = None) -> Plan:
        """What to append in the next pass; it holds until the next :meth:`accept`.

        Args:
            limit: drafted tokens at most. Forced ones come in any case.
            longest: tokens at most, forced ones counted; None for no bound.
        """
        tokens: list[int] = []
        forced: list[bool] = []
        room = (1 << 30) if longest is None else longest
        if not self.ended and not self.stuck:
            consumed = self._fill(tokens, forced, limit, room)
            if consumed:
                self._matcher_of().rollback(consumed)
        self._plan = Plan(tokens=tuple(tokens), forced=tuple(forced))
        return self._plan

    def _fill(self, tokens: list[int], forced: list[bool], limit: int, room: int) -> int:
        """Gather a plan; how many of its tokens the matcher has consumed."""
        consumed = 0
        while len(tokens) < room:
            token = self._forced_token()
            if token is not None:
                tokens.append(token)
                forced.append(True)
                if token in self._end_ids:
                    break
                self._matcher_of().consume_token(token)
                consumed += 1
                continue
            left = min(limit - (len(tokens) - sum(forced)), room - len(tokens))
            drafted = self._drafted(tokens, left)
            admitted = self._num_admitted(drafted)
            tokens += drafted[:admitted]
            forced += [False] * admitted
            if admitted == len(drafted) or (admitted and tokens[-1] in self._end_ids):
                break
            # The draft left the grammar: what that forces there may lead on.
            if self._matcher is None or not self._matcher.consume_tokens(drafted[:admitted]):
                break
            consumed += admitted
            if self._forced_token() is None:
                break
        return consumed

    def _drafted(self, tokens: Sequence[int], limit: int) -> list[int]:
        """At most ``limit`` guesses behind what is written and ``tokens``, to the end at most."""
        if self._drafter is None or limit <= 0:
            return []
        drafted = self._drafter.draft([*self.written, *tokens], limit)[:limit]
        ends = [place for place, token in enumerate(drafted) if token in self._end_ids]
        return drafted[: ends[0] + 1] if ends else drafted

    def _num_admitted(self, drafted: Sequence[int]) -> int:
        """How many of the guesses the grammar admits one after the other."""
        if self._matcher is None or not drafted:
            return len(drafted)
        ends = drafted[-1] in self._end_ids
        admitted = int(self._matcher.validate_tokens(list(drafted[:-1] if ends else drafted)))
        if not ends or admitted < len(drafted) - 1:
            return admitted
        consumed = self._matcher.try_consume_tokens(list(drafted[:-1]))
        complete = self._matcher.is_accepting()
        self._matcher.rollback(consumed)
        return admitted + bool(complete)

    def accept(self, choices: Sequence[int], again: Again | None = None) -> int:
        """Keep what agrees with the model, and its own next token.

        Args:
            choices: K + 1 ids: the model's choice at each place of the pass over the last plan.
            again: chooses under a mask, where the grammar does not admit a choice.

        Returns:
            How many tokens were added to ``written``. Where the answer goes on, all but the last of
            them were in the pass; the last is the first of the next.

        Raises:
            ValueError: the answer has ended, the number of choices is wrong, or a choice is not
                admitted and there is no ``again``.
        """
        plan, self._plan = self._plan, Plan()
        if self.ended:
            raise ValueError("the answer has ended: nothing more can be accepted")
        if len(choices) != len(plan.tokens) + 1:
            raise ValueError(f"{len(choices)} choices for a pass over {len(plan.tokens)} tokens")
        before = len(self.written)
        for place, choice in enumerate(choices):
            token = self._choice(place, int(choice), plan, again)
            self._take(token)
            if self.ended or place == len(plan.tokens) or token != plan.tokens[place]:
                break
        if not self.ended:
            self._finish()
        return len(self.written) - before

    def _choice(self, place: int, choice: int, plan: Plan, again: Again | None) -> int:
        """What greedy decoding under the grammar writes at a place, everything before it taken."""
        if self._matcher is None:
            return choice
        if place < len(plan.forced) and plan.forced[place]:
            return plan.tokens[place]
        if not self.stuck and self._admits(choice):
            return choice
        if self.stuck and choice in self._end_ids:
            return choice
        mask = self._mask()
        allowed = _ids_of(mask)
        if len(allowed) == 1:
            return int(allowed[0])
        if again is None:
            raise ValueError(
                f"the grammar does not admit the choice {choice} at place {place}; give again"
            )
        return again(place, mask)

    def _admits(self, token: int) -> bool:
        """Whether the grammar's mask would admit a token now."""
        matcher = self._matcher_of()
        if token in self._end_ids:
            return bool(matcher.is_accepting())
        # Where bytes are forced, llguidance admits only the way in which the tokenizer cuts them.
        if matcher.compute_ff_bytes():
            forced = matcher.compute_ff_tokens()
            if forced:
                return bool(forced[0] == token)
        return bool(matcher.validate_tokens([token]) == 1)

    def _forced_token(self) -> int | None:
        """The only token that is admitted now; None where there is a choice."""
        if self._matcher is None or self.stuck:
            return None
        if self._matcher.is_error():
            self.stuck = _first_line(self._matcher.get_error())
            return None
        if self._matcher.is_stopped():
            return self._end_ids[0] if len(self._end_ids) == 1 else None
        if not self._matcher.compute_ff_bytes():
            return None
        forced = self._matcher.compute_ff_tokens()
        return int(forced[0]) if forced else None

    def _mask(self) -> BitMask:
        """What is admitted now; end tokens alone where the grammar is stuck."""
        matcher = self._matcher_of()
        if not self.stuck:
            found = np.frombuffer(matcher.compute_bitmask(), dtype=np.int32)[: self._words].copy()
            if matcher.is_error():
                self.stuck = _first_line(matcher.get_error())
            elif not found.any():
                self.stuck = "no token of the vocabulary goes on"
            else:
                return found
        ends = np.zeros(self._words, dtype=np.uint32)
        for token in self._end_ids:
            ends[token // 32] |= np.uint32(1 << (token % 32))
        return ends.view(np.int32)

    def _take(self, token: int) -> None:
        self.written.append(token)
        if token in self._end_ids:
            self.ended = True
        elif self._matcher is not None and not self._matcher.consume_token(token):
            self.stuck = _first_line(self._matcher.get_error())

    def _finish(self) -> None:
        """Write the rest without a pass where the grammar forces all of it, the end included."""
        if self._matcher is None or self.stuck:
            return
        rest: list[int] = []
        while (token := self._forced_token()) is not None:
            rest.append(token)
            if token in self._end_ids:
                self.written += rest
                self.ended = True
                return
            self._matcher.consume_token(token)
        if rest:
            self._matcher.rollback(len(rest))

    def _matcher_of(self) -> Any:
        if self._matcher is None:
            raise ValueError("the answer has no grammar")
        return self._matcher


def _ids_of(mask: BitMask) -> npt.NDArray[np.int64]:
    """The admitted ids, int64[N], in order."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def _first_line(reason: str) -> str:
    return reason.splitlines()[0] if reason else "the matcher stopped"
