"""From samples to conversations: templates around the scheme's descriptor, or plain words."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

import numpy as np

from t4spp.data.conversation import Conversation
from t4spp.data.prompting import ExamplePool, explained
from t4spp.data.templates import TemplateMode, answer_opening, question
from t4spp.errors import SchemeError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.types import BoolMask, Image, Sample

logger = logging.getLogger(__name__)

NUM_LOGGED_EXAMPLES = 5


class ConversationBuilder:
    """Writes the conversation of a sample; counts the samples that the scheme cannot write.

    Attributes:
        counters: ``built`` and ``unwritable`` conversations so far, and ``short_of_shots``, those
            with fewer examples than asked for.
        reasons: how often each reason made a sample unwritable.
    """

    def __init__(
        self,
        scheme: Scheme,
        mode: TemplateMode = "varied",
        seed: int = 0,
        *,
        explain: bool = False,
        pool: ExamplePool | None = None,
        native_boxes: str | None = None,
    ) -> None:
        """Keep what decides the wording.

        Args:
            scheme: writes the descriptors.
            mode: ``fixed`` (always the first template) or ``varied``.
            seed: the run's seed; together with the sample's id and the epoch it fixes the wording.
            explain: whether the first turn explains the scheme.
            pool: gives each question answered examples; None: none.
            native_boxes: how the model that is asked writes boxes by itself; see
                :func:`t4spp.data.prompting.explained`.
        """
        self.scheme = scheme
        self.mode: TemplateMode = mode
        self.seed = seed
        self.explain = explain
        self.pool = pool
        self.native_boxes = native_boxes
        self.counters: Counter[str] = Counter(built=0, unwritable=0)
        self.reasons: Counter[str] = Counter()
        self._pending: list[tuple[str, str]] = []

    def build(self, sample: Sample, training: bool = False, epoch: int = 0) -> Conversation | None:
        """The conversation of ``sample``; None when the scheme cannot write its targets.

        Args:
            sample: any sample; its picture is read only when the conversation's is.
            training: with the answer, and with wording that changes from epoch to epoch.
                Otherwise the answer is None and the wording is always the same.
            epoch: which pass over the data this is; ignored unless ``training``.

        Raises:
            SchemeError: without ``training``, a label that the explanation's example would bear
                cannot be written.
        """
        when = epoch if training else None
        try:
            answer = self._answer(sample, epoch) if training else None
            built = self._asked(sample, when, answer)
        except SchemeError as error:
            if not training:
                raise
            self._count_unwritable(sample, str(error))
            return None
        self.counters["built"] += 1
        return built

    def _asked(self, sample: Sample, when: int | None, answer: str | None) -> Conversation:
        """The conversation; its first turn explains the scheme where that is asked for."""
        asked = question(sample, self.mode, seed=self.seed, epoch=when)
        examples = self._examples(sample, when)
        explain = self.explain and sample.kind != "dialogue"
        if explain and examples:
            first = explained(examples[0].question, self.scheme, sample, self.native_boxes)
            examples = (replace(examples[0], question=first), *examples[1:])
        elif explain:
            asked = explained(asked, self.scheme, sample, self.native_boxes)
        return _conversation(sample, asked, answer, examples)

    def _answer(self, sample: Sample, epoch: int) -> str:
        if sample.kind == "dialogue":
            if not sample.answers:
                raise SchemeError("the question has no answer to learn")
            return sample.answers[0]
        descriptor = self.scheme.encode(sample.targets, sample.size, sample.ignore)
        return wrap(answer_opening(sample, self.mode, seed=self.seed, epoch=epoch), descriptor)

    def _examples(self, sample: Sample, when: int | None) -> tuple[Conversation, ...]:
        """Answered conversations about other pictures, in the same words."""
        if self.pool is None or not self.pool.shots:
            return ()
        found: list[Conversation] = []
        for other in self.pool.candidates(sample, when):
            try:
                answer = self._answer(other, 0 if when is None else when)
            except SchemeError as error:
                logger.debug("sample %r is no example, it cannot be written: %s", other.id, error)
                continue
            asked = question(other, self.mode, seed=self.seed, epoch=when)
            found.append(_conversation(other, asked, answer, ()))
            if len(found) == self.pool.shots:
                return tuple(found)
        if self.counters["short_of_shots"] < NUM_LOGGED_EXAMPLES:
            logger.warning(
                "sample %r is asked with %d of %d examples: the training split has no more about "
                "other pictures, of its kind, among those looked at",
                sample.id,
                len(found),
                self.pool.shots,
            )
        self.counters["short_of_shots"] += 1
        return tuple(found)

    def drain_unwritable(self) -> tuple[tuple[str, str], ...]:
        """``(sample id, reason)`` of what could not be written since the last call."""
        pending = tuple(self._pending)
        self._pending.clear()
        return pending

    def _count_unwritable(self, sample: Sample, reason: str) -> None:
        if self.counters["unwritable"] < NUM_LOGGED_EXAMPLES:
            logger.warning("sample %r cannot be written and is left out: %s", sample.id, reason)
        self.counters["unwritable"] += 1
        self.reasons[reason] += 1
        self._pending.append((sample.id, reason))


def _conversation(
    sample: Sample, asked: str, answer: str | None, examples: tuple[Conversation, ...]
) -> Conversation:
    in_words = sample.kind == "dialogue"

    def load_image() -> Image:
        return sample.image

    def load_target() -> BoolMask:
        union = np.zeros(sample.size, dtype=np.bool_)
        for target in sample.targets:
            union |= target.mask
        return union

    return Conversation(
        id=sample.id,
        question=asked,
        answer=answer,
        size=sample.size,
        load_image=load_image,
        image_id=sample.image_id,
        in_words=in_words,
        turns=sample.context,
        examples=examples,
        load_target=None if answer is None or in_words else load_target,
    )


def wrap(opening: str, descriptor: str) -> str:
    """A whole answer: the opening sentence, a line break, the descriptor in its tags."""
    return f"{opening}\n{SEG_OPEN}{descriptor}{SEG_CLOSE}"
