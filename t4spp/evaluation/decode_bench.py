"""What a model's decoding costs in different ways, on the same prompts, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from t4spp.components import Backbone
from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.decoding.answers import Answer, read_answer
from t4spp.decoding.asking import (
    Asked,
    EngineBatch,
    end_ids,
    loaded,
    picture_tokens,
    run_generate,
)
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.constraint import Constraint
from t4spp.decoding.engine import (
    Engine,
    Processor,
    constrained_engine,
    generated,
    plain_engine,
)
from t4spp.decoding.generate import admitted_labels, said_tokens
from t4spp.decoding.settings import GenerationSettings
from t4spp.decoding.speculative import fast_engine
from t4spp.errors import ConfigError
from t4spp.schemes.base import Scheme
from t4spp.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

PROMPT_LOOKUP_TOKENS = 10
"""Tokens that transformers' prompt lookup guesses, as its documentation advises."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to answer.

    Attributes:
        name: in the table.
        engine: that answers.
        settings: what it differs in from the run's settings.
        like: the way whose texts it must write, too; empty where it is the first of its kind.
        alone: whether it takes one prompt at a time only.
        several: whether it differs from others only where it takes several.
    """

    name: str
    engine: Engine
    settings: dict[str, Any]
    like: str = ""
    alone: bool = False
    several: bool = False

    def fits(self, size: int) -> bool:
        """Whether batches of ``size`` prompts are measured."""
        return not (self.alone and size > 1) and not (self.several and size == 1)


def lookup_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """Transformers' prompt lookup: guesses copied from the prompt and the answer; one prompt.

    It takes no grammar: a processor of logits that follows what is written cannot follow guesses
    that are taken back.
    """
    asked = Asked.of(backbone, batch, settings)
    tokenizer, ends = loaded(backbone)[1], end_ids(backbone)
    found = run_generate(
        backbone,
        asked,
        settings,
        prompt_lookup_num_tokens=PROMPT_LOOKUP_TOKENS,
        logits_processor=_without(picture_tokens(backbone), loaded(backbone)[0].device),
    )
    start = asked.inputs.tensors["input_ids"].shape[1]
    return asked.in_order([read_answer(row[start:].tolist(), tokenizer, ends) for row in found])


def _without(tokens: Collection[int], device: Any) -> Any:
    """A processor of logits that refuses tokens, guessed ones too."""
    from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

    refuse: Any = SuppressTokensLogitsProcessor  # untyped
    return LogitsProcessorList([refuse(sorted(tokens), device=device)] if tokens else [])


class _Stopwatch:
    """Adds up the seconds that a processor of logits takes."""

    def __init__(self, processor: Processor, taken: list[float]) -> None:
        self._processor = processor
        self._taken = taken

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        began = time.perf_counter()
        found = self._processor(input_ids, scores)
        self._taken.append(time.perf_counter() - began)
        return found


def held_engine(
    backbone: Backbone,
    batch: EngineBatch,
    scheme: Scheme,
    settings: GenerationSettings,
    taken: list[float],
) -> list[Answer | None]:
    """:func:`~t4spp.decoding.engine.constrained_engine`; what each of its masks takes is noted."""
    asked = Asked.of(backbone, batch, settings)
    answers = generated(
        backbone, asked, settings, scheme, lambda processor: _Stopwatch(processor, taken)
    )
    return asked.in_order(answers)


PLAIN, HELD = "generate", "generate, grammar"
WAYS = (
    Way(name=PLAIN, engine=plain_engine, settings={}),
    Way(name="generate, prompt lookup", engine=lookup_engine, settings={}, like=PLAIN, alone=True),
    Way(name=HELD, engine=constrained_engine, settings={"constrained": True}),
    Way(
        name="fast, one token a pass",
        engine=fast_engine,
        settings={"constrained": True, "drafts": 0, "forced": False},
        like=HELD,
    ),
    Way(
        name="fast, forced tokens",
        engine=fast_engine,
        settings={"constrained": True, "drafts": 0},
        like=HELD,
    ),
    Way(
        name="fast, forced tokens and drafts",
        engine=fast_engine,
        settings={"constrained": True},
        like=HELD,
    ),
    Way(
        name="fast, prompts apart",
        engine=fast_engine,
        settings={"constrained": True, "shared": False},
        like=HELD,
        several=True,
    ),
    Way(
        name="fast, drafts without grammar",
        engine=fast_engine,
        settings={"constrained": False},
        like=PLAIN,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one way cost, a mask.

    Attributes:
        way: its name.
        batch_size: prompts together.
        num_masks: answers.
        tokens: mean, end tokens counted.
        passes: mean of the forward passes in which an answer had a part.
        tokens_per_pass: sums over sums.
        drafted: mean of the tokens guessed.
        accepted: mean of those that held.
        seconds: wall time over answers.
        decode_seconds: the same without collating and the prompt's pass.
        masks_per_second: answers over wall time.
        well_formed: share that decodes with status ``ok``.
        grammar: share of the seconds of decoding that the masks of the grammar take, their
            application to the logits counted; None but for ``generate`` with a grammar.
        equal: share with the text of the way it must equal; None where there is none.
        left: answers that were left to the model's own ``generate``.
    """

    way: str
    batch_size: int
    num_masks: int
    tokens: float
    passes: float
    tokens_per_pass: float
    drafted: float
    accepted: float
    seconds: float
    decode_seconds: float
    masks_per_second: float
    well_formed: float
    grammar: float | None
    equal: float | None
    left: int

    def as_dict(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


class DecodeBench:
    """The prompts of a benchmark, and the texts that each way wrote."""

    def __init__(
        self,
        backbone: Backbone,
        scheme: Scheme,
        builder: ConversationBuilder,
        samples: Sequence[Sample],
        settings: GenerationSettings,
    ) -> None:
        """Ask about every sample.

        Raises:
            ConfigError: the backbone has no model, the run draws its answers, or there are no
                samples.
            SchemeError: the scheme has no grammar for a sample's labels, or cannot write one.
        """
        if backbone.model is None:
            raise ConfigError(
                "bench decode: this backbone answers without a model, so there is no decoding to "
                "measure. Name a run or config of another one, or use --replay."
            )
        if settings.temperature > 0:
            raise ConfigError(
                f"bench decode: generation.temperature is {settings.temperature}, and drawn "
                "answers cannot be compared. Add --set generation.temperature=0 and "
                "generation.candidates=1."
            )
        self._backbone = backbone
        self._scheme = scheme
        self._samples = list(samples)
        self._settings = settings
        if not self._samples:
            raise ConfigError("bench decode: there is no sample. Choose another --split.")
        asked = [builder.build(sample, training=False) for sample in self._samples]
        self._talks: list[Conversation] = [talk for talk in asked if talk is not None]
        if len(self._talks) < len(asked):  # answers would stand beside others' samples
            raise RuntimeError("a question could not be built")
        tokenizer = loaded(backbone)[1]
        bounds = TokenBounds(tokenizer, scheme, bytewise=True)
        labels = [admitted_labels(sample, scheme, settings) for sample in self._samples]
        self._labels = labels
        constraint = Constraint.of(tokenizer, end_ids(backbone))
        for each in dict.fromkeys(labels):  # what has no grammar is refused before the first pass
            constraint.matcher(scheme, each, backbone.answer_joint, talks=settings.talks)
        longest = max(map(bounds.of, labels)) + said_tokens(settings)
        self._bound = settings.max_new_tokens or longest
        self._texts: dict[tuple[str, int], list[str]] = {}
        self._taken: list[float] = []

    def costs(
        self,
        batch_sizes: Sequence[int] = (1, 8),
        ways: Sequence[Way] = WAYS,
        told: Callable[[int], object] | None = None,
    ) -> Iterator[Cost]:
        """Measure each way at each batch size, after one batch that is not counted.

        Args:
            batch_sizes: prompts together.
            ways: to compare, those that others must equal first.
            told: how many answers have just been written.
        """
        for size in batch_sizes:
            for way in ways:
                if not way.fits(size):
                    continue
                self._answers(way, size, self._talks[:size], self._labels[:size])
                yield self._cost(way, size, told)

    def _cost(self, way: Way, size: int, told: Callable[[int], object] | None) -> Cost:
        answers: list[Answer] = []
        seconds = decoding = 0.0
        self._taken.clear()
        for first in range(0, len(self._talks), size):
            part = slice(first, first + size)
            found, whole, decode = self._answers(way, size, self._talks[part], self._labels[part])
            answers += found
            seconds += whole
            decoding += decode
            if told is not None:
                told(len(found))
        texts = [answer.text for answer in answers]
        self._texts[way.name, size] = texts
        number = len(answers)
        tokens = sum(answer.num_tokens or 0 for answer in answers)
        passes = sum(answer.num_passes for answer in answers)
        sound = sum(
            self._scheme.decode(text, sample.size, labels).status == "ok"
            for text, sample, labels in zip(texts, self._samples, self._labels, strict=True)
        )
        expected = self._texts.get((way.like, size))
        return Cost(
            way=way.name,
            batch_size=size,
            num_masks=number,
            tokens=tokens / number,
            passes=passes / number,
            tokens_per_pass=tokens / max(passes, 1),
            drafted=sum(answer.num_drafted for answer in answers) / number,
            accepted=sum(answer.num_accepted for answer in answers) / number,
            seconds=seconds / number,
            decode_seconds=decoding / number,
            masks_per_second=number / seconds,
            well_formed=sound / number,
            grammar=sum(self._taken) / decoding if way.name == HELD else None,
            equal=None
            if expected is None
            else sum(a == b for a, b in zip(texts, expected, strict=True)) / number,
            left=sum(answer.engine == "generate" for answer in answers),
        )

    def _answers(
        self,
        way: Way,
        size: int,
        talks: Sequence[Conversation],
        labels: Sequence[tuple[str, ...] | None],
    ) -> tuple[list[Answer], float, float]:
        """Answers, the seconds they took, and those after the prompt's pass."""
        settings = replace(self._settings, batch_size=size, **way.settings)
        batch = EngineBatch(
            conversations=talks, labels=labels, max_new_tokens=self._bound, seed=settings.seed
        )
        model, _ = loaded(self._backbone)
        engine = partial(held_engine, taken=self._taken) if way.name == HELD else way.engine
        with _watched(model) as passes:
            began = time.perf_counter()
            found = engine(self._backbone, batch, self._scheme, settings)
            ended = time.perf_counter()
        answers = [answer for answer in found if answer is not None]
        if len(answers) < len(talks):
            raise ConfigError(
                f"bench decode: {len(talks) - len(answers)} prompts take more than data.max_length="
                f"{settings.max_length} tokens. Raise it by --set data.max_length=..."
            )
        if way.alone:
            answers = [replace(answer, num_passes=len(passes)) for answer in answers]
        return answers, ended - began, ended - passes[0]


@contextmanager
def _watched(model: Any) -> Iterator[list[float]]:
    """When each forward pass of the model ended."""
    import torch

    ended: list[float] = []

    def note(*_: Any) -> None:
        if not ended and torch.cuda.is_available():
            torch.cuda.synchronize()
        ended.append(time.perf_counter())

    hook = model.register_forward_hook(note)
    try:
        yield ended
    finally:
        hook.remove()
