"""The fast engine: several tokens a forward pass, and the answers of one token a pass.

Tokens that the grammar forces are appended without being chosen; a drafter's guesses are read in
the same pass, and those that the model would have written itself are kept. Rows of a batch accept
different numbers of tokens; each goes on from where it stands (:mod:`t4spp.decoding.slots`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from t4spp.components import Backbone
from t4spp.decoding.answers import GRAMMAR_STUCK, Answer, Growing, read_answer, text_of, text_so_far
from t4spp.decoding.asking import (
    Asked,
    EngineBatch,
    end_ids,
    loaded,
    picture_tokens,
    run_generate,
)
from t4spp.decoding.engine import generated
from t4spp.decoding.planning import BitMask, Plan, Row
from t4spp.decoding.settings import GenerationSettings
from t4spp.schemes.base import Scheme

if TYPE_CHECKING:
    from torch import Tensor

    from t4spp.decoding.choosing import Chooser
    from t4spp.decoding.constraint import Constraint
    from t4spp.decoding.drafting import Drafter, PieceTokenizer
    from t4spp.decoding.driving import Driver
    from t4spp.decoding.pace import Pace
    from t4spp.decoding.sharing import Shared

logger = logging.getLogger(__name__)

_DEPENDS = 0.01
"""Share of the largest key by which one may change for rounding. A prefix that is read both ways
changes by a fifth; others do not change at all."""


def fast_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """Answer a batch in few passes; by the model's ``generate`` where it cannot be driven so.

    Greedy answers are those of ``generate`` under the same grammar. Drawn ones follow the same
    distribution, and depend on the batch's seed and the row's place, not on what is drafted.

    Raises:
        SchemeError: the scheme has no grammar, or it does not compile.
        BackboneError: the tokenizer is of a kind that llguidance does not read, or a prompt leaves
            no room for an answer in the model's context.
    """
    from t4spp.decoding.driving import CannotDriveError

    asked = Asked.of(backbone, batch, settings)
    if not asked.inputs.tensors:
        return asked.in_order([])
    writing = Writing(backbone, asked, scheme, settings)
    try:
        answers = writing.answers()
    except CannotDriveError as error:
        _tell(backbone, str(error))
        slow = generated(backbone, asked, settings, scheme if settings.constrained else None)
        answers = [replace(answer, engine="generate") for answer in slow]
    return asked.in_order(answers)


@dataclass(kw_only=True)
class _Written:
    """A row of the batch: its answer so far, the most tokens it may have, what it has cost."""

    row: Row
    place: int
    limit: int
    plan: Plan = field(default_factory=Plan)
    num_passes: int = 0
    num_drafted: int = 0
    num_accepted: int = 0
    stopped: bool = False


class Writing:
    """The answers to one batch while they are written."""

    def __init__(
        self, backbone: Backbone, asked: Asked, scheme: Scheme, settings: GenerationSettings
    ) -> None:
        """Make what each row needs; nothing is passed through the model yet.

        Raises:
            SchemeError: the scheme has no grammar, or it does not compile.
            BackboneError: the tokenizer is of a kind that llguidance does not read.
        """
        from t4spp.decoding.choosing import Chooser
        from t4spp.decoding.constraint import Constraint

        self._backbone = backbone
        self._asked = asked
        self._settings = settings
        self._model, self._tokenizer = loaded(backbone)
        self._ends = end_ids(backbone)
        self._constraint: Constraint | None = None
        if settings.constrained and not all(c.in_words for c in asked.conversations):
            self._constraint = Constraint.of(self._tokenizer, self._ends)
        prompts = asked.inputs.tensors["input_ids"].tolist()
        self._rows = [
            _Written(row=self._row(scheme, place, prompt), place=place, limit=limit)
            for place, (prompt, limit) in enumerate(zip(prompts, asked.limits, strict=True))
        ]
        self._shared: Shared | None = None
        self._chooser: Chooser = Chooser(
            temperature=settings.temperature,
            seed=asked.batch.seed,
            num_rows=len(self._rows),
            max_new_tokens=asked.max_new_tokens,
        )

    def _row(self, scheme: Scheme, place: int, prompt: Sequence[int]) -> Row:
        labels, in_words = self._asked.labels[place], self._asked.conversations[place].in_words
        drafter = self._drafter(None if in_words else scheme, labels, prompt)
        if self._constraint is None or in_words:
            return Row(None, drafter, self._ends)
        matcher = self._constraint.matcher(
            scheme, labels, self._backbone.answer_joint, talks=self._settings.talks
        )
        return Row(matcher, drafter, self._ends, vocabulary=self._constraint.vocabulary)

    def _drafter(
        self, scheme: Scheme | None, labels: tuple[str, ...] | None, prompt: Sequence[int]
    ) -> Drafter | None:
        """Guesses what the scheme expects; without one, what the prompt and the past say."""
        from t4spp.decoding.drafting import LookupDrafter, PieceTokenizer, SchemeDrafter

        if self._settings.drafts == 0:
            return None
        lookup = LookupDrafter(prompt, never=picture_tokens(self._backbone))
        if scheme is None:
            return lookup
        pieces = _PIECES.get(self._tokenizer)
        if pieces is None:
            pieces = _PIECES[self._tokenizer] = PieceTokenizer(self._tokenizer)
        return SchemeDrafter(
            pieces,
            scheme,
            labels,
            end_id=self._ends[0],
            joint=self._backbone.answer_joint,
            otherwise=lookup,
        )

    def answers(self) -> list[Answer]:
        """Write all of them.

        Raises:
            CannotDriveError: the model has to be left to its own ``generate``.
        """
        self._shared = self._sharing()
        read = self._asked if self._shared is None else self._shared.asked
        run_generate(self._backbone, read, self._settings, custom_generate=self._decode)
        return [self._answer(written) for written in self._rows]

    def _sharing(self) -> Shared | None:
        """What prompts have in common, where it can be read once; tried out once a model."""
        import torch

        from t4spp.decoding.driving import FAULTS
        from t4spp.decoding.sharing import Shared, decide, verdict

        known = verdict(self._model)
        if self._settings.cache == "static" or not self._settings.shared or known is False:
            return None
        shared = Shared.of(self._backbone, self._asked, self._settings.max_length)
        if shared is None or known:
            return shared
        if not any(shared.rest):  # the same prompt again and again proves nothing
            return None
        try:
            shares = self._begins_alone(shared) and self._starts_alike(shared)
        except torch.OutOfMemoryError:
            raise
        except FAULTS as error:
            logger.info("prompts of this model are not shared: %s", error)
            shares = False
        decide(self._model, shares)
        return shared if shares else None

    def _begins_alone(self, shared: Shared) -> bool:
        """Whether what is read of a prompt does not depend on how it ends, to rounding."""
        from t4spp.decoding.sharing import other_ending

        def keys(driver: Driver) -> Tensor:
            driver.prompt()
            return driver.keys()[:, :, :-1].float()

        other = other_ending(self._backbone, shared.asked)
        own, theirs = self._read(shared.asked, keys), self._read(other, keys)
        return bool((own - theirs).abs().max() <= _DEPENDS * own.abs().max())

    def _starts_alike(self, shared: Shared) -> bool:
        """Whether answers start as they do where every prompt is read in full."""
        from t4spp.decoding.driving import close

        alone = self._read(self._asked, lambda driver: driver.prompt())
        return close(self._read(shared.asked, shared.prompt), alone)

    def _read(self, asked: Asked, read: Callable[[Driver], Tensor]) -> Tensor:
        """What ``read`` makes of prompts that ``generate`` has prepared; nothing is written."""
        found: list[Tensor] = []

        def look(model: Any, input_ids: Tensor, **kwargs: Any) -> Tensor:
            found.append(read(self._driver(model, input_ids, kwargs)))
            return input_ids

        run_generate(self._backbone, asked, self._settings, custom_generate=look)
        return found[0]

    def _answer(self, written: _Written) -> Answer:
        row = written.row
        conversation = self._asked.conversations[written.place]
        answer = read_answer(
            row.written,
            self._tokenizer,
            self._ends,
            closing=row.constrained,
            in_words=conversation.in_words,
        )
        if row.stuck:
            name = conversation.id
            logger.warning("the answer to %r is cut: %s", name, row.stuck)
            answer = replace(answer, problem=GRAMMAR_STUCK)
        return replace(
            answer,
            num_passes=written.num_passes,
            num_drafted=written.num_drafted,
            num_accepted=written.num_accepted,
            engine="fast",
        )

    def _decode(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **model_kwargs: Any,
    ) -> Tensor:
        """What ``generate`` calls once it has prepared the prompts (its ``custom_generate``)."""
        from t4spp.decoding.pace import Pace

        driver = self._driver(model, input_ids, model_kwargs)
        shared = self._shared
        if shared is None:
            logits = driver.prompt()
        else:
            logits = shared.prompt(driver)
            for written in self._rows:
                written.num_passes += bool(shared.rest[written.place])
        self._accept(self._rows, logits[:, None])
        pace = Pace.of(model)
        rows = list(self._rows)
        while True:
            going_on = [place for place, written in enumerate(rows) if not written.stopped]
            if not going_on:
                return input_ids
            if len(going_on) < len(rows) and driver.keep(going_on):
                rows = [rows[place] for place in going_on]
            self._pass(driver, rows, pace)

    def _driver(self, model: Any, input_ids: Tensor, model_kwargs: dict[str, Any]) -> Driver:
        from t4spp.decoding.driving import Driver

        pad_id = self._tokenizer.pad_token_id
        return Driver(
            model,
            input_ids,
            model_kwargs,
            max_new_tokens=self._asked.max_new_tokens,
            pad_id=self._ends[0] if pad_id is None else pad_id,
            static=self._settings.cache == "static",
            compiled=self._settings.compiled,
        )

    def _pass(self, driver: Driver, rows: Sequence[_Written], pace: Pace) -> None:
        """One pass over the last token of each row and what is planned behind it."""
        drafts = self._settings.drafts
        limit = pace.limit(len(rows)) if drafts is None else drafts
        tokens, starts = [], []
        for written in rows:
            row = written.row
            if written.stopped:  # its place in a static cache stays
                tokens.append([self._ends[0]])
                starts.append(0)
                continue
            left = min(written.limit - len(row.written), driver.most)
            alone = not self._settings.forced and limit == 0
            written.plan = row.plan(limit, longest=0 if alone else left - 1)
            tokens.append([row.written[-1], *written.plan.tokens])
            starts.append(len(row.written) - 1)
        began = time.perf_counter()
        logits = driver.step(tokens, starts)
        self._accept(rows, logits, pace)
        pace.passed(len(rows) * max(map(len, tokens)), time.perf_counter() - began)

    def _accept(self, rows: Sequence[_Written], logits: Tensor, pace: Pace | None = None) -> None:
        """Take what agrees from float[B, Q, V], and each row's own next token."""
        whole = logits
        if self._constraint is not None:
            logits = logits[..., : self._constraint.vocabulary]
        likeliest = None if self._chooser.draws else logits.float().argmax(dim=-1).tolist()
        for number, written in enumerate(rows):
            if written.stopped:
                continue
            row, own = written.row, logits[number]
            if not row.constrained:
                own = whole[number]
            before = len(row.written)

            def choose(
                place: int,
                mask: BitMask | None = None,
                own: Tensor = own,
                row: Row = row,
                number: int = written.place,
            ) -> int:
                return self._choice(own[place], number, len(row.written), mask)

            width = len(written.plan.tokens) + 1
            if likeliest is None:
                choices: Sequence[int] = _Drawn(choose, width)
            elif row.constrained:
                choices = likeliest[number][:width]
            else:
                choices = own[:width].float().argmax(dim=-1).tolist()
            row.accept(choices, choose)
            written.num_passes += 1
            self._count(written, before, pace)
            self._look(written)

    def _choice(self, logits: Tensor, row: int, place: int, mask: BitMask | None = None) -> int:
        from t4spp.decoding.choosing import admitted

        scores = logits.float()
        if mask is not None:
            scores = admitted(scores, mask)
        return self._chooser.choose(scores, row, place, again=mask is not None)

    def _count(self, written: _Written, before: int, pace: Pace | None) -> None:
        row, plan = written.row, written.plan
        added = row.written[before:]
        kept = 0
        for token, planned, forced in zip(added, plan.tokens, plan.forced, strict=False):
            if token != planned:
                break
            kept += not forced
        written.num_drafted += plan.num_drafted
        written.num_accepted += kept
        if pace is not None and plan.num_drafted:
            pace.drafted(plan.num_drafted, kept)
        if len(row.written) >= written.limit:
            del row.written[written.limit :]
        written.stopped = row.ended or len(row.written) >= written.limit

    def _look(self, written: _Written) -> None:
        watch = self._asked.batch.watch
        if watch is None:
            return
        ids = [token for token in written.row.written if token not in self._ends]
        watch(
            Growing(
                id=self._asked.conversations[written.place].id,
                text=text_of(ids, self._tokenizer)
                if written.row.ended
                else text_so_far(ids, self._tokenizer),
                num_tokens=len(written.row.written),
                num_passes=written.num_passes,
                ended=written.stopped,
            )
        )


class _Drawn(Sequence[int]):
    """Choices that are drawn when they are asked for: most behind a wrong guess never are."""

    def __init__(self, choose: Callable[[int], int], length: int) -> None:
        self._choose = choose
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        if not 0 <= place < self._length:
            raise IndexError(place)
        return self._choose(place)


_PIECES: WeakKeyDictionary[Any, PieceTokenizer] = WeakKeyDictionary()
"""One a tokenizer that is in use, as it remembers how pieces are cut."""
_TOLD: set[tuple[int, str]] = set()


def _tell(backbone: Backbone, reason: str) -> None:
    """Say once a model why it is left to its ``generate``."""
    key = (id(backbone.model), reason)
    if key not in _TOLD:
        _TOLD.add(key)
        logger.warning(
            "generation.engine=fast: this model is left to its own generate, a token a pass: %s",
            reason,
        )
