"""How a model's tokens become answers; :func:`engine_of` says which engine a config asks for.

Another engine replaces :func:`plain_engine` or :func:`constrained_engine` as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from t4spp.components import Backbone
from t4spp.decoding.answers import GRAMMAR_STUCK, Answer, Growing, Watch, read_answer, text_so_far
from t4spp.decoding.asking import Asked, EngineBatch, end_ids, loaded, run_generate
from t4spp.decoding.settings import GenerationSettings
from t4spp.schemes.base import Scheme

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Engine = Callable[[Backbone, EngineBatch, Scheme, GenerationSettings], Sequence[Answer | None]]
"""An engine answers one batch, in order; None to a prompt of more than ``max_length`` tokens."""

Processor = Callable[["Tensor", "Tensor"], "Tensor"]
"""Of logits: ids int64[B, L] and logits float[B, V] to logits."""


def engine_of(settings: GenerationSettings) -> Engine:
    """The engine that the settings ask for."""
    if settings.engine == "fast" or (settings.engine == "auto" and settings.constrained):
        from t4spp.decoding.speculative import fast_engine

        return fast_engine
    return constrained_engine if settings.constrained else plain_engine


def plain_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """One token a pass by the model's own ``generate``: greedy, or seeded sampling.

    Raises:
        BackboneError: a prompt leaves no room for an answer in the model's context.
    """
    asked = Asked.of(backbone, batch, settings)
    return asked.in_order(generated(backbone, asked, settings, None))


def constrained_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """The same, each row within the grammar of whole answers about its prompt's labels.

    An answer that the grammar can go on with no token is cut there: its ``problem`` says so.

    Raises:
        SchemeError: the scheme has no grammar, or it does not compile.
        BackboneError: the tokenizer is of a kind that llguidance does not read, or a prompt leaves
            no room for an answer in the model's context.
    """
    asked = Asked.of(backbone, batch, settings)
    return asked.in_order(generated(backbone, asked, settings, scheme))


def generated(
    backbone: Backbone,
    asked: Asked,
    settings: GenerationSettings,
    scheme: Scheme | None,
    around: Callable[[Processor], Processor] | None = None,
) -> list[Answer]:
    """Answers by the model's own ``generate``; within the grammar of ``scheme``, if there is one.

    Answers in words are free of it.

    Args:
        backbone: loaded.
        asked: the prompts.
        settings: of the generation.
        scheme: whose grammar holds; None for none.
        around: what stands in for the grammar's processor of logits and calls it, to measure it.

    Raises:
        SchemeError: the scheme has no grammar, or it does not compile.
        BackboneError: the tokenizer is of a kind that llguidance does not read.
    """
    from t4spp.decoding.constraint import Constraint, GrammarMask

    if not asked.inputs.tensors:
        return []
    if scheme is None or all(conversation.in_words for conversation in asked.conversations):
        return _written(backbone, asked, settings, None)
    constraint = Constraint.of(loaded(backbone)[1], end_ids(backbone))
    joint = backbone.answer_joint
    matchers = [
        None
        if conversation.in_words
        else constraint.matcher(scheme, labels, joint, talks=settings.talks)
        for conversation, labels in zip(asked.conversations, asked.labels, strict=True)
    ]
    mask = GrammarMask(matchers, constraint)
    written = _written(backbone, asked, settings, mask if around is None else around(mask))
    for place, reason in mask.stuck.items():
        logger.warning("the answer to %r is cut: %s", asked.conversations[place].id, reason)
        written[place] = replace(written[place], problem=GRAMMAR_STUCK)
    return written


def _written(
    backbone: Backbone, asked: Asked, settings: GenerationSettings, mask: Processor | None
) -> list[Answer]:
    from transformers import LogitsProcessorList

    tokenizer, ends = loaded(backbone)[1], end_ids(backbone)
    prompt_length = asked.inputs.tensors["input_ids"].shape[1]
    processors: list[Any] = [] if mask is None else [mask]
    if len(set(asked.limits)) > 1:
        processors.append(_Ending(asked.limits, prompt_length, ends))
    if asked.batch.watch is not None:
        watch, names = asked.batch.watch, [c.id for c in asked.conversations]
        processors.append(_Looking(watch, names, prompt_length, tokenizer, ends))
    sequences = run_generate(
        backbone, asked, settings, logits_processor=LogitsProcessorList(processors)
    )
    answers = [
        read_answer(
            row[prompt_length : prompt_length + limit].tolist(),
            tokenizer,
            ends,
            closing=mask is not None,
            in_words=conversation.in_words,
        )
        for row, limit, conversation in zip(
            sequences, asked.limits, asked.conversations, strict=True
        )
    ]
    for conversation, answer in zip(asked.conversations, answers, strict=True):
        if asked.batch.watch is not None:
            asked.batch.watch(
                Growing(
                    id=conversation.id,
                    text=answer.text,
                    num_tokens=answer.num_tokens or 0,
                    num_passes=answer.num_passes,
                    ended=True,
                )
            )
    return answers


class _Ending:
    """A logits processor that ends rows which have written as many tokens as they may."""

    def __init__(self, limits: Sequence[int], prompt_length: int, ends: Sequence[int]) -> None:
        self._limits = limits
        self._prompt_length = prompt_length
        self._ends = list(ends)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        num_written = input_ids.shape[1] - self._prompt_length
        over = [place for place, limit in enumerate(self._limits) if num_written >= limit]
        if over:
            scores = scores.clone()
            scores[over] = float("-inf")
            for end in self._ends:
                scores[over, end] = 0.0
        return scores


class _Looking:
    """A logits processor that changes nothing and tells what has been written."""

    def __init__(
        self,
        watch: Watch,
        names: Sequence[str],
        prompt_length: int,
        tokenizer: PreTrainedTokenizerBase,
        ends: Sequence[int],
    ) -> None:
        self._watch = watch
        self._names = names
        self._prompt_length = prompt_length
        self._tokenizer = tokenizer
        self._ends = set(ends)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for name, row in zip(self._names, input_ids[:, self._prompt_length :], strict=True):
            written = row.tolist()
            if written and not self._ends.intersection(written):
                text = text_so_far(written, self._tokenizer)
                number = len(written)
                self._watch(
                    Growing(id=name, text=text, num_tokens=number, num_passes=number, ended=False)
                )
        return scores
