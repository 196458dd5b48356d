"""Several answers to a prompt, and the one on which they agree most.

The likeliest text can be a poor mask: where a model doubts each row of an object a little, the
likeliest row is background, and so is the whole answer. Minimum Bayes risk decoding (Kumar and
Byrne 2004, section 2) asks for the answer with the highest expected score instead: answers are
drawn from the model, and the one with the highest mean IoU with the others is kept; of answers in
words, the one that is given most often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from t4spp.components import Backbone
from t4spp.decoding.answers import Answer
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.engine import Engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.schemes.base import Scheme
from t4spp.seeds import seed_from
from t4spp.types import Decoded

COMPARED_SIDE = 256
"""Pixels of the longer side at which answers are compared, at most."""


def agreeing(engine: Engine) -> Engine:
    """An engine that draws ``settings.candidates`` answers by ``engine`` and keeps one of them.

    ``engine`` answers the batch so many times, each time with a seed of its own. The answer kept is
    a text that the model wrote; its ``num_passes`` counts those of all candidates, ``others`` holds
    their texts. Pictures are read once.
    """

    def answer(
        backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
    ) -> list[Answer | None]:
        rounds = []
        for number in range(settings.candidates):
            seed = seed_from(batch.seed, "candidate", number)
            again = replace(batch, seed=seed)
            rounds.append(engine(backbone, again, scheme, settings))
        kept: list[Answer | None] = []
        for conversation, labels, *drawn in zip(
            batch.conversations, batch.labels, *rounds, strict=True
        ):
            answers = [answer for answer in drawn if answer is not None]
            if not answers:
                kept.append(None)
            elif conversation.in_words:
                kept.append(choose_words(answers))
            else:
                kept.append(choose(answers, scheme, conversation.size, labels))
        return kept

    return answer


def choose(
    answers: Sequence[Answer],
    scheme: Scheme,
    size: tuple[int, int],
    labels: tuple[str, ...] | None,
) -> Answer:
    """The answer with the highest mean IoU with the others, the first one of equals.

    Invalid answers have no vote, and one is kept only where all are.

    Args:
        answers: to one prompt, at least one.
        scheme: decodes them.
        size: (H, W) of the picture in pixels.
        labels: what was asked for; None where the prompt leaves it open.
    """
    scale = min(1.0, COMPARED_SIDE / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    decoded = [scheme.decode(answer.text, (height, width), labels) for answer in answers]
    valid = [i for i, found in enumerate(decoded) if found.status != "invalid"] or [0]
    score = agreement([decoded[i] for i in valid], (height, width), labels)
    return _kept(answers, valid[int(np.argmax(score))])


def choose_words(answers: Sequence[Answer]) -> Answer:
    """The answer that is given most often but for case, blanks and a full stop; first of equals.

    Args:
        answers: in words, to one question, at least one.
    """
    texts = [" ".join(answer.text.casefold().split()).rstrip(".") for answer in answers]
    return _kept(answers, texts.index(Counter(texts).most_common(1)[0][0]))


def _kept(answers: Sequence[Answer], best: int) -> Answer:
    """One of several answers, with what all of them cost and the others' texts."""
    return replace(
        answers[best],
        num_passes=sum(answer.num_passes for answer in answers),
        num_drafted=sum(answer.num_drafted for answer in answers),
        num_accepted=sum(answer.num_accepted for answer in answers),
        others=tuple(answer.text for i, answer in enumerate(answers) if i != best),
    )


def agreement(
    decoded: Sequence[Decoded], size: tuple[int, int], labels: tuple[str, ...] | None
) -> NDArray[np.float64]:
    """float64[K] in 0..1: the mean over the other answers of the mean IoU over labels.

    A label counts where one of the two answers bears it; two answers without any agree by 1.

    Args:
        decoded: K answers.
        size: (H, W) of their masks.
        labels: those that count; None for all.
    """
    number = len(decoded)
    if number == 1:
        return np.ones(1)
    found = {region.label for d in decoded for region in d.regions}
    total = np.zeros((number, number))
    counted = np.zeros((number, number))
    for label in sorted(found if labels is None else found & set(labels)):
        masks = np.stack([d.union(label, size).ravel() for d in decoded]).astype(np.float32)
        both = (masks @ masks.T).astype(np.float64)
        areas = np.diag(both)
        either = areas[:, None] + areas[None, :] - both
        total += np.divide(both, either, out=np.zeros_like(both), where=either > 0)
        counted += either > 0
    pairs = np.divide(total, counted, out=np.ones_like(total), where=counted > 0)
    return np.asarray((pairs.sum(axis=1) - np.diag(pairs)) / (number - 1))
