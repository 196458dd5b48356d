"""From samples to predictions, in order, over as many processes as there are."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from t4spp.components import Backbone
from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.decoding.answers import Answer, Watch
from t4spp.decoding.asking import EngineBatch, end_ids, loaded
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.candidates import agreeing
from t4spp.decoding.constraint import SAID_CHARS, Constraint
from t4spp.decoding.engine import Engine, engine_of
from t4spp.decoding.prediction import PROMPT_TOO_LONG, UNWRITABLE_LABEL, Prediction
from t4spp.decoding.processes import Crew
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import SchemeError
from t4spp.schemes.base import Scheme
from t4spp.schemes.labels import copied_labels
from t4spp.types import Sample

logger = logging.getLogger(__name__)

Progress = Callable[[int], object]
"""Told how many prompts have just been answered, by all processes together."""


def generate(
    backbone: Backbone,
    samples: Sequence[Sample],
    scheme: Scheme,
    builder: ConversationBuilder,
    settings: GenerationSettings,
    progress: Progress | None = None,
    *,
    crew: Crew | None = None,
    start: int = 0,
    engine: Engine | None = None,
    watch: Watch | None = None,
) -> Iterator[Prediction]:
    """Answer every sample, in order.

    Samples are cut into chunks of ``settings.batch_size``, always at the same places; each
    process takes every ``crew.size``-th chunk. So the batches, and with them the answers, do not
    depend on the number of processes. Predictions come out on the main process only; the others
    must exhaust the iterator too. A prompt longer than ``settings.max_length``, or for a label that
    the scheme cannot write, is not asked; its prediction is empty and says so in ``refused``.
    Questions of a dialogue stand in the same batches, free of the grammar.

    Args:
        backbone: loaded, or one that answers by itself (``model is None``).
        samples: what to answer.
        scheme: bounds the answers' length.
        builder: asks the questions.
        settings: batch size, bounds, sampling.
        progress: told after each round of chunks.
        crew: the processes; None for the current ones.
        start: samples before it are taken as answered; must lie on a chunk's edge.
        engine: answers a batch of a backbone with a model; None takes what the settings ask for.
        watch: told of every answer of this process while it grows; of candidates, each.

    Raises:
        RecipeError: a picture is missing or damaged.
        ValueError: ``start`` lies inside a chunk.
    """
    crew = crew or Crew.current()
    size = settings.batch_size
    if start % size and start != len(samples):
        raise ValueError(f"start {start} is not a multiple of the batch size {size}")
    engine = engine or engine_of(settings)
    bounds = None
    if backbone.model is not None:
        tokenizer = loaded(backbone)[1]
        bounds = TokenBounds(tokenizer, scheme, bytewise=settings.constrained)
        if settings.constrained:
            bounds.refuse(Constraint.of(tokenizer, end_ids(backbone)).check_labels)
    elif settings.candidates > 1:
        logger.warning(
            "generation.candidates=%d: this backbone has no model to draw from and answers once",
            settings.candidates,
        )
    for first in range(start, len(samples), size * crew.size):
        mine = first + crew.rank * size
        # A process that is left without a chunk repeats the round's first one and drops it:
        # sharded models need every process in every pass.
        begin = mine if mine < len(samples) else first
        chunk = [samples[i] for i in range(begin, min(begin + size, len(samples)))]
        answered = _answer_chunk(
            backbone, chunk, begin, scheme, builder, settings, bounds, engine, watch
        )
        found = crew.gather(answered if begin == mine else [])
        if crew.is_main:
            yield from found
        if progress is not None:
            progress(len(found))


def resume_point(num_done: int, num_samples: int, batch_size: int) -> int:
    """Where to go on: the last chunk's edge that ``num_done`` answers reach.

    A chunk that was cut is answered anew as a whole, so that a resumed run's batches are those
    of an uninterrupted one.
    """
    return num_samples if num_done >= num_samples else num_done - num_done % batch_size


def _answer_chunk(
    backbone: Backbone,
    chunk: Sequence[Sample],
    position: int,
    scheme: Scheme,
    builder: ConversationBuilder,
    settings: GenerationSettings,
    bounds: TokenBounds | None,
    engine: Engine,
    watch: Watch | None = None,
) -> list[Prediction]:
    began = time.perf_counter()
    if bounds is None:
        asked = list(chunk)
        texts = backbone.answer(chunk, scheme)
        answers: list[Answer | None] = [_own_answer(backbone, text) for text in texts]
    else:
        admitted = {s.id: admitted_labels(s, scheme, settings) for s in chunk}
        longest = {
            s.id: bound
            for s in chunk
            if s.kind != "dialogue" and (bound := _bound(s, bounds, admitted[s.id])) is not None
        }
        asked = [s for s in chunk if s.kind == "dialogue" or s.id in longest]
        if settings.candidates > 1:
            engine = agreeing(engine)
        answers = []
        if asked:
            batch = EngineBatch(
                conversations=[_ask(builder, sample) for sample in asked],
                labels=[admitted[sample.id] for sample in asked],
                max_new_tokens=settings.max_new_tokens
                or max(longest.values(), default=0) + said_tokens(settings),
                max_dialogue_tokens=settings.max_dialogue_tokens,
                seed=_batch_seed(settings.seed, position),
                watch=watch,
            )
            answers = list(engine(backbone, batch, scheme, settings))
    if len(answers) != len(asked):
        raise RuntimeError(f"{len(answers)} answers to {len(asked)} prompts")
    seconds = round((time.perf_counter() - began) / len(chunk), 6)
    given = dict(zip((sample.id for sample in asked), answers, strict=True))
    return [
        _prediction(sample, given[sample.id], seconds, settings)
        if sample.id in given
        else _refusal(sample, seconds, UNWRITABLE_LABEL)
        for sample in chunk
    ]


def said_tokens(settings: GenerationSettings) -> int:
    """The most tokens that an answer says before its descriptor, besides an opening."""
    return 4 * SAID_CHARS if settings.talks else 0


def admitted_labels(
    sample: Sample, scheme: Scheme, settings: GenerationSettings
) -> tuple[str, ...] | None:
    """The labels that an answer may bear; None where the prompt leaves them open."""
    if sample.labels or not settings.copies:
        return tuple(sample.labels) or None
    return copied_labels(sample.prompt, scheme.special_tokens) or None


def _bound(sample: Sample, bounds: TokenBounds, labels: tuple[str, ...] | None) -> int | None:
    """The most tokens of an answer; None, and a warning, where the scheme cannot write one."""
    try:
        return bounds.of(labels)
    except SchemeError as error:
        logger.warning("sample %r is not asked: %s", sample.id, error)
        return None


def _prediction(
    sample: Sample, answer: Answer | None, seconds: float, settings: GenerationSettings
) -> Prediction:
    if answer is None:
        logger.warning(
            "the prompt of sample %r takes more than data.max_length=%s tokens, image tokens "
            "counted, and is not asked",
            sample.id,
            settings.max_length,
        )
        return _refusal(sample, seconds, PROMPT_TOO_LONG)
    return Prediction(
        id=sample.id,
        prompt=sample.prompt,
        labels=tuple(sample.labels),
        text=answer.text,
        num_tokens=answer.num_tokens,
        num_passes=answer.num_passes,
        seconds=seconds,
        others=answer.others,
        problem=answer.problem,
        num_drafted=answer.num_drafted,
        num_accepted=answer.num_accepted,
        engine=answer.engine,
    )


def _refusal(sample: Sample, seconds: float, reason: str) -> Prediction:
    """The empty answer of a model that was not asked."""
    return Prediction(
        id=sample.id,
        prompt=sample.prompt,
        labels=tuple(sample.labels),
        text="",
        num_tokens=None,
        num_passes=0,
        seconds=seconds,
        refused=reason,
    )


def _own_answer(backbone: Backbone, text: str) -> Answer:
    """An answer of a backbone without a model: no pass; tokens where it has a tokenizer."""
    tokens = None
    if backbone.tokenizer is not None:
        tokens = len(backbone.tokenizer(text, add_special_tokens=False).input_ids) + 1
    return Answer(text=text, num_tokens=tokens, num_passes=0)


def _ask(builder: ConversationBuilder, sample: Sample) -> Conversation:
    conversation = builder.build(sample, training=False)
    if conversation is None:
        raise RuntimeError(f"no question could be built for the sample {sample.id!r}")
    return conversation


def _batch_seed(seed: int, position: int) -> int:
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
