"""How a model's tokens become answers; :func:`engine_of` says which engine a config asks for.

Another engine replaces :func:`plain_engine` or :func:`constrained_engine` as a whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from t4spp.components import Backbone, ModelInputs
from t4spp.data.templates import TEMPLATES
from t4spp.errors import BackboneError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from t4spp.data.conversation import Conversation
    from t4spp.decoding.constraint import GrammarMask
    from t4spp.types import Decoded

logger = logging.getLogger(__name__)

GRAMMAR_STUCK = "grammar-stuck"
"""``problem`` of an answer that its grammar could go on with no token."""
BUDGET_ENDED = "budget-ended"
"""``problem`` of an answer within a grammar that took ``max_new_tokens`` and was not complete."""
_SPARE_TOKENS = 16
"""Tokens beyond the longest expected wrapper, for an answer worded another way."""


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How answers are generated.

    Attributes:
        batch_size: prompts a forward pass, in each process.
        max_new_tokens: bound on an answer's tokens; None takes what the scheme says for the
            prompt's labels, and the wrapper.
        temperature: 0 is greedy; above, tokens are sampled.
        max_length: longest prompt in tokens, image tokens counted; None for no bound.
        seed: of the sampling.
        candidates: answers drawn for each prompt; more than one need a temperature.
        constrained: whether answers follow the grammar of their prompt's labels.
        talks: whether constrained answers may say anything before the descriptor.
        copies: whether a prompt that leaves labels open is answered with its own words as labels.
        engine: ``fast``: several tokens a pass where the model can be driven so (see
            :mod:`t4spp.decoding.speculative`); ``generate``: the model's own; ``auto``: ``fast``
            for constrained answers.
        drafts: tokens to guess a pass in each row; None lets what passes cost decide, 0 drafts
            nothing.
        forced: whether tokens that the grammar forces are appended without being chosen.
        cache: ``static`` keeps the shape of the cache of the fast engine.
        compiled: whether the fast engine compiles its passes; needs a static cache.
    """

    batch_size: int = 8
    max_new_tokens: int | None = None
    temperature: float = 0.0
    max_length: int | None = None
    seed: int = 0
    candidates: int = 1
    constrained: bool = False
    talks: bool = False
    copies: bool = False
    engine: Literal["auto", "fast", "generate"] = "auto"
    drafts: int | None = None
    forced: bool = True
    cache: Literal["dynamic", "static"] = "dynamic"
    compiled: bool = False


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
class EngineBatch:
    """Prompts to answer together.

    Attributes:
        conversations: without answers.
        labels: for each, the labels that its prompt admits; None where it leaves them open.
        max_new_tokens: bound on every answer of the batch.
        seed: of the sampling, the batch's own, so that it is repeated wherever the batch runs.
        watch: told whenever answers have grown; None where nobody looks on.
    """

    conversations: Sequence[Conversation]
    labels: Sequence[tuple[str, ...] | None]
    max_new_tokens: int
    seed: int = 0
    watch: Watch | None = None


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


class TokenBounds:
    """Bounds on whole answers (opening, tags, descriptor, end token), remembered by labels."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, scheme: Scheme, *, bytewise: bool = False
    ) -> None:
        """Measure the longest wrapper.

        Args:
            tokenizer: counts.
            scheme: bounds its descriptors.
            bytewise: count bytes, the scheme's tokens as one each. A grammar admits every way to
                cut a text into tokens, so only this bounds whatever a model may write.
        """
        if bytewise:
            tokenizer = cast("PreTrainedTokenizerBase", _ByteCounter(scheme.special_tokens))
        openings = [opening for kind in TEMPLATES.values() for opening in kind.answers]
        wrappers = [f"{opening}\n{SEG_OPEN}{SEG_CLOSE}" for opening in openings]
        longest = max(len(tokenizer(w, add_special_tokens=False).input_ids) for w in wrappers)
        self._wrapper = longest + _SPARE_TOKENS
        self._tokenizer = tokenizer
        self._scheme = scheme
        self._by_labels: dict[tuple[str, ...] | None, int] = {}
        self._check: Callable[[tuple[str, ...] | None], object] | None = None

    def refuse(self, check: Callable[[tuple[str, ...] | None], object]) -> None:
        """Let ``check`` raise a SchemeError for labels that must not be asked for."""
        self._check = check

    def of(self, labels: tuple[str, ...] | None) -> int:
        """The most tokens that an answer about ``labels`` takes; None: about any label.

        Raises:
            SchemeError: the scheme cannot write a label, or it is refused.
        """
        if labels not in self._by_labels:
            if self._check is not None:
                self._check(labels)
            descriptor = self._scheme.max_tokens(self._tokenizer, labels)
            self._by_labels[labels] = self._wrapper + descriptor
        return self._by_labels[labels]


class _ByteCounter:
    """Counts as a tokenizer that knows nothing but bytes and the scheme's tokens."""

    def __init__(self, special_tokens: Sequence[str]) -> None:
        """Keep the tokens, the longest first."""
        ordered = sorted(special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str, **_: object) -> BatchEncoding:
        """A zero for each byte and for each of the scheme's tokens."""
        from transformers import BatchEncoding

        plain = text if self._special is None else self._special.sub("*", text)
        return BatchEncoding({"input_ids": [0] * len(plain.encode())})


Engine = Callable[[Backbone, EngineBatch, Scheme, GenerationSettings], Sequence[Answer | None]]
"""An engine answers one batch, in order; None to a prompt of more than ``max_length`` tokens."""


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


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The prompts of a batch that are asked, collated.

    Attributes:
        batch: all of it.
        inputs: of the prompts that fit ``max_length``.
        conversations: those prompts.
        labels: theirs.
        max_new_tokens: bound on every answer, with which all fit the model's context.
    """

    batch: EngineBatch
    inputs: ModelInputs
    conversations: tuple[Conversation, ...]
    labels: tuple[tuple[str, ...] | None, ...]
    max_new_tokens: int

    @classmethod
    def of(cls, backbone: Backbone, batch: EngineBatch, settings: GenerationSettings) -> Asked:
        """Collate a batch.

        Raises:
            BackboneError: a prompt leaves no room for an answer in the model's context.
        """
        inputs = backbone.collate(
            batch.conversations, training=False, max_length=settings.max_length
        )
        kept = [
            (conversation, labels)
            for conversation, labels in zip(batch.conversations, batch.labels, strict=True)
            if conversation.id not in inputs.too_long
        ]
        return cls(
            batch=batch,
            inputs=inputs,
            conversations=tuple(conversation for conversation, _ in kept),
            labels=tuple(labels for _, labels in kept),
            max_new_tokens=_room(backbone, inputs, [c for c, _ in kept], batch.max_new_tokens),
        )

    def in_order(self, answers: Sequence[Answer]) -> list[Answer | None]:
        """Answers to the prompts that were asked, and None to the others."""
        given = iter(answers)
        too_long = self.inputs.too_long
        return [None if c.id in too_long else next(given) for c in self.batch.conversations]


def _room(
    backbone: Backbone, inputs: ModelInputs, asked: Sequence[Conversation], wanted: int
) -> int:
    """How many of the ``wanted`` tokens the model's context has room for behind every prompt."""
    if not inputs.tensors:
        return wanted
    model, _ = loaded(backbone)
    config = model.config.get_text_config(decoder=True)
    context = getattr(config, "max_position_embeddings", None)
    if not isinstance(context, int):
        return wanted
    mask = inputs.tensors.get("attention_mask")
    ids = inputs.tensors["input_ids"]
    lengths = [ids.shape[1]] * len(ids) if mask is None else mask.sum(dim=1).tolist()
    longest = max(lengths)
    if longest >= context:
        name = asked[lengths.index(longest)].id
        raise BackboneError(
            f"the prompt of {name!r} takes {longest} tokens, image tokens counted, and the model "
            f"reads at most {context}: there is no room for an answer. Set data.max_length below "
            f"{context}, or show smaller pictures or fewer examples."
        )
    return min(wanted, context - int(longest))


def generated(
    backbone: Backbone, asked: Asked, settings: GenerationSettings, scheme: Scheme | None
) -> list[Answer]:
    """Answers by the model's own ``generate``; within the grammar of ``scheme``, if there is one.

    Raises:
        SchemeError: the scheme has no grammar, or it does not compile.
        BackboneError: the tokenizer is of a kind that llguidance does not read.
    """
    from t4spp.decoding.constraint import Constraint, GrammarMask

    if not asked.inputs.tensors:
        return []
    if scheme is None:
        return _written(backbone, asked, settings, None)
    constraint = Constraint.of(loaded(backbone)[1], end_ids(backbone))
    joint = backbone.answer_joint
    matchers = [
        constraint.matcher(scheme, labels, joint, talks=settings.talks) for labels in asked.labels
    ]
    mask = GrammarMask(matchers, constraint)
    written = _written(backbone, asked, settings, mask)
    for place, reason in mask.stuck.items():
        logger.warning("the answer to %r is cut: %s", asked.conversations[place].id, reason)
        written[place] = replace(written[place], problem=GRAMMAR_STUCK)
    return written


def _written(
    backbone: Backbone, asked: Asked, settings: GenerationSettings, mask: GrammarMask | None
) -> list[Answer]:
    from transformers import LogitsProcessorList

    tokenizer, ends = loaded(backbone)[1], end_ids(backbone)
    prompt_length = asked.inputs.tensors["input_ids"].shape[1]
    processors: list[Any] = [] if mask is None else [mask]
    if asked.batch.watch is not None:
        watch, names = asked.batch.watch, [c.id for c in asked.conversations]
        processors.append(_Looking(watch, names, prompt_length, tokenizer, ends))
    sequences = run_generate(
        backbone, asked, settings, logits_processor=LogitsProcessorList(processors)
    )
    written = [row[prompt_length:].tolist() for row in sequences]
    answers = [read_answer(ids, tokenizer, ends, closing=mask is not None) for ids in written]
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


def run_generate(
    backbone: Backbone, asked: Asked, settings: GenerationSettings, **options: Any
) -> Any:
    """What the model's ``generate`` makes of the prompts, seeded, as the run's config says.

    Args:
        backbone: loaded.
        asked: at least one prompt.
        settings: of the sampling.
        options: further arguments of ``generate``.
    """
    import torch

    model, tokenizer = loaded(backbone)
    tensors = {name: tensor.to(model.device) for name, tensor in asked.inputs.tensors.items()}
    ends = end_ids(backbone)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    model.train(False)
    try:
        with (
            torch.random.fork_rng(devices=devices),
            _generation_config(model, settings, asked.max_new_tokens, ends, pad_id),
        ):
            torch.manual_seed(asked.batch.seed)
            generate: Any = model.generate
            return generate(**tensors, **options)
    finally:
        model.train(was_training)


@contextmanager
def _generation_config(
    model: PreTrainedModel,
    settings: GenerationSettings,
    max_new_tokens: int,
    ends: Sequence[int],
    pad_id: int,
) -> Iterator[None]:
    """Let the model generate as the run's config says, and nothing else.

    ``generate`` fills whatever is left open from the checkpoint's own generation config, in which
    vendors ship a temperature, ``top_p``, a repetition penalty, suppressed tokens. So that greedy
    is greedy and sampling is from the model's distribution, only its kind of cache is kept.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    sampling: dict[str, object] = {"do_sample": False}
    if settings.temperature > 0:
        sampling = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_k": 0,
            "top_p": 1.0,
        }
    make: Any = GenerationConfig  # untyped
    model.generation_config = make(
        max_new_tokens=max_new_tokens,
        eos_token_id=list(ends),
        pad_token_id=pad_id,
        bos_token_id=getattr(own, "bos_token_id", None),
        cache_implementation=getattr(own, "cache_implementation", None),
        num_beams=1,
        repetition_penalty=1.0,
        **sampling,
    )
    try:
        yield
    finally:
        model.generation_config = own


def read_answer(
    written: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    end_ids: Sequence[int],
    *,
    closing: bool = False,
) -> Answer:
    """The answer in new ids: cut at the first end token, special tokens kept; a pass a token.

    Args:
        written: ids behind the prompt.
        tokenizer: reads them.
        end_ids: each ends an answer.
        closing: whether an answer without an end is closed, so that what it says counts.
    """
    ends = [position for position, token in enumerate(written) if token in end_ids]
    num_tokens = ends[0] + 1 if ends else len(written)
    text = text_of(written[: ends[0]] if ends else written, tokenizer)
    if ends or not closing:
        return Answer(text=text, num_tokens=num_tokens, num_passes=num_tokens)
    return Answer(
        text=closed_text(text),
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


def loaded(backbone: Backbone) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and the tokenizer that ``load`` made.

    Raises:
        BackboneError: ``load`` has not been called.
    """
    if backbone.model is None or backbone.tokenizer is None:
        raise BackboneError(
            f"{type(backbone).__name__} has no model in memory: call load() before generating."
        )
    return backbone.model, backbone.tokenizer


def end_ids(backbone: Backbone) -> list[int]:
    """Every id that ends an answer: the backbone's, the generation config's and the tokenizer's.

    Raises:
        BackboneError: there is none.
    """
    model, tokenizer = loaded(backbone)
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*backbone.end_ids, *ids, tokenizer.eos_token_id]
    ends = list(dict.fromkeys(i for i in ids if i is not None))
    if not ends:
        raise BackboneError(
            "neither the model's generation config nor its tokenizer names an end token, so "
            "generation could not stop. Give the tokenizer an eos_token."
        )
    return ends
