"""How a model's tokens become answers. Another engine replaces :func:`plain_engine` as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from t4spp.components import Backbone
from t4spp.data.templates import TEMPLATES
from t4spp.errors import BackboneError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from t4spp.data.conversation import Conversation

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
    """

    batch_size: int = 8
    max_new_tokens: int | None = None
    temperature: float = 0.0
    max_length: int | None = None
    seed: int = 0
    candidates: int = 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: the answer, special tokens kept, without end and padding tokens.
        num_tokens: tokens written, the end token counted; None when nothing tokenised it.
        num_passes: forward passes, the prompt's pass counted.
        others: texts of the candidates that it was chosen before.
    """

    text: str
    num_tokens: int | None
    num_passes: int
    others: tuple[str, ...] = ()


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

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scheme: Scheme) -> None:
        """Measure the longest wrapper."""
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


Engine = Callable[[Backbone, EngineBatch, Scheme, GenerationSettings], Sequence[Answer | None]]
"""An engine answers one batch, in order; None to a prompt of more than ``max_length`` tokens."""


def plain_engine(
    backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
) -> list[Answer | None]:
    """One token a pass by the model's own ``generate``: greedy, or seeded sampling."""
    import torch

    model, tokenizer = loaded(backbone)
    inputs = backbone.collate(batch.conversations, training=False, max_length=settings.max_length)
    if len(inputs.too_long) == len(batch.conversations):
        return [None] * len(batch.conversations)
    tensors = {name: tensor.to(model.device) for name, tensor in inputs.tensors.items()}
    end_ids = _end_ids(model, tokenizer)
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end_ids[0]
    sampling: dict[str, object] = {"do_sample": False}
    if settings.temperature > 0:
        sampling = {"do_sample": True, "temperature": settings.temperature, "top_k": 0}
    was_training = model.training
    model.train(False)
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(batch.seed)
            sequences = model.generate(  # type: ignore[operator]  # transformers' mixin is untyped
                **tensors,
                max_new_tokens=batch.max_new_tokens,
                eos_token_id=end_ids,
                pad_token_id=pad_id,
                num_beams=1,
                **sampling,
            )
    finally:
        model.train(was_training)
    prompt_length = tensors["input_ids"].shape[1]
    answers = (read_answer(row[prompt_length:], tokenizer, end_ids) for row in sequences)
    return [None if c.id in inputs.too_long else next(answers) for c in batch.conversations]


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


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every id that ends an answer: the generation config's and the tokenizer's."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    ids = [*ids, tokenizer.eos_token_id]
    ends = list(dict.fromkeys(i for i in ids if i is not None))
    if not ends:
        raise BackboneError(
            "neither the model's generation config nor its tokenizer names an end token, so "
            "generation could not stop. Give the tokenizer an eos_token."
        )
    return ends
