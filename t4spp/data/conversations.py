"""From samples to conversations: templates around the scheme's descriptor."""

from __future__ import annotations

import logging
from collections import Counter

from t4spp.data.conversation import Conversation
from t4spp.data.templates import TemplateMode, answer_opening, question
from t4spp.errors import SchemeError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.types import Image, Sample

logger = logging.getLogger(__name__)

NUM_LOGGED_EXAMPLES = 5


class ConversationBuilder:
    """Writes the conversation of a sample; counts the samples that the scheme cannot write.

    Attributes:
        counters: ``built`` and ``unwritable`` conversations so far.
        reasons: how often each reason made a sample unwritable.
    """

    def __init__(self, scheme: Scheme, mode: TemplateMode = "varied", seed: int = 0) -> None:
        """Keep what decides the wording.

        Args:
            scheme: writes the descriptors.
            mode: ``fixed`` (always the first template) or ``varied``.
            seed: the run's seed; together with the sample's id and the epoch it fixes the wording.
        """
        self.scheme = scheme
        self.mode: TemplateMode = mode
        self.seed = seed
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
        """
        answer = None
        if training:
            try:
                descriptor = self.scheme.encode(sample.targets, sample.size, sample.ignore)
            except SchemeError as error:
                self._count_unwritable(sample, str(error))
                return None
            opening = answer_opening(sample, self.mode, seed=self.seed, epoch=epoch)
            answer = wrap(opening, descriptor)
        self.counters["built"] += 1

        def load_image() -> Image:
            return sample.image

        return Conversation(
            id=sample.id,
            question=question(sample, self.mode, seed=self.seed, epoch=epoch if training else None),
            answer=answer,
            size=sample.size,
            load_image=load_image,
            image_id=sample.image_id,
        )

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


def wrap(opening: str, descriptor: str) -> str:
    """A whole answer: the opening sentence, a line break, the descriptor in its tags."""
    return f"{opening}\n{SEG_OPEN}{descriptor}{SEG_CLOSE}"
