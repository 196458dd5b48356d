"""How a model's tokens become answers; :func:`engine_of` says which engine a config asks for.

Another engine replaces :func:`plain_engine` or :func:`constrained_engine` as a whole.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from t4spp.components import Backbone, ModelInputs
from t4spp.data.templates import TEMPLATES
from t4spp.errors import BackboneError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from t4spp.data.conversation import Conversation
    from t4spp.decoding.constraint import GrammarMask

logger = logging.getLogger(__name__)

GRAMMAR_STUCK = "grammar-stuck"
"""``problem`` of an answer that its grammar could go on with no token."""
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
    """

    batch_size: int = 8
    max_new_tokens: int | None = None
    temperature: float = 0.0
    max_length: int | None = None
    seed: int = 0
    candidates: int = 1
    constrained: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: the answer, special tokens kept, without end and padding tokens.
        num_tokens: tokens written, the end token counted; None when nothing tokenised it.
        num_passes: forward passes, the prompt's pass counted.
        others: texts of the candidates that it was chosen before.
        problem: code of what ended it before its end; empty where nothing did.
    """

    text: str
    num_tokens: int | None
    num_passes: int
    others: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineBatch:
    """Prompts to answer together.

    Attributes:
        conversations: without answers.
        labels: for each, the labels that its prompt admits; None where it leaves them open.
        max_new_tokens: bound on every answer of the batch.
        seed: of the sampling, the batch's own, so that it is repeated wherever the batch runs.
    """

    conversations: Sequence[Conversation]
    labels: Sequence[tuple[str, ...] | None]
    max_new_tokens: int
    seed: int = 0


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

    def of(self, labels: tuple[str, ...] | None) -> int:
        """The most tokens that an answer about ``labels`` takes; None: about any label."""
        if labels not in self._by_labels:
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
    return constrained_engine if settings.constrained else plain_engine


def plain_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """One token a pass by the model's own ``generate``: greedy, or seeded sampling."""
    inputs = backbone.collate(batch.conversations, training=False, max_length=settings.max_length)
    answers = iter(_written(backbone, inputs, batch, settings, None))
    return [None if c.id in inputs.too_long else next(answers) for c in batch.conversations]


def constrained_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """The same, each row within the grammar of whole answers about its prompt's labels.

    An answer that the grammar can go on with no token is cut there: its ``problem`` says so.

    Raises:
        SchemeError: the scheme has no grammar, or it does not compile.
        BackboneError: the tokenizer is of a kind that llguidance does not read.
    """
    from t4spp.decoding.constraint import Constraint, GrammarMask

    inputs = backbone.collate(batch.conversations, training=False, max_length=settings.max_length)
    asked = [
        (conversation, labels)
        for conversation, labels in zip(batch.conversations, batch.labels, strict=True)
        if conversation.id not in inputs.too_long
    ]
    constraint = Constraint.of(loaded(backbone)[1], end_ids(backbone))
    joint = backbone.answer_joint
    matchers = [constraint.matcher(scheme, labels, joint) for _, labels in asked]
    mask = GrammarMask(matchers, constraint)
    written = _written(backbone, inputs, batch, settings, mask)
    for place, reason in mask.stuck.items():
        logger.warning("the answer to %r is cut: %s", asked[place][0].id, reason)
        written[place] = replace(written[place], problem=GRAMMAR_STUCK)
    answers = iter(written)
    return [None if c.id in inputs.too_long else next(answers) for c in batch.conversations]


def _written(
    backbone: Backbone,
    inputs: ModelInputs,
    batch: EngineBatch,
    settings: GenerationSettings,
    mask: GrammarMask | None,
) -> list[Answer]:
    """The answers to the conversations in ``inputs``, in their order."""
    if not inputs.tensors:
        return []
    import torch
    from transformers import LogitsProcessorList

    model, tokenizer = loaded(backbone)
    tensors = {name: tensor.to(model.device) for name, tensor in inputs.tensors.items()}
    ends = end_ids(backbone)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    model.train(False)
    try:
        with (
            torch.random.fork_rng(devices=devices),
            _generation_config(model, settings, batch.max_new_tokens, ends, pad_id),
        ):
            torch.manual_seed(batch.seed)
            sequences = model.generate(  # type: ignore[operator]  # transformers' mixin is untyped
                **tensors, logits_processor=LogitsProcessorList([] if mask is None else [mask])
            )
    finally:
        model.train(was_training)
    prompt_length = tensors["input_ids"].shape[1]
    return [read_answer(row[prompt_length:], tokenizer, ends) for row in sequences]


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


def read_answer(ids: Tensor, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int]) -> Answer:
    """The answer in int64[L] new ids: cut at the first end token, special tokens kept."""
    written = ids.tolist()
    ends = [position for position, token in enumerate(written) if token in end_ids]
    num_tokens = ends[0] + 1 if ends else len(written)
    body = written[: ends[0]] if ends else written
    text = tokenizer.decode(
        body,
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    return Answer(text=str(text), num_tokens=num_tokens, num_passes=num_tokens)


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
