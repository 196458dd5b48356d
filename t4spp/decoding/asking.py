"""The prompts of a batch, and the model's own ``generate`` over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from t4spp.components import Backbone, ModelInputs
from t4spp.decoding.answers import Answer, Watch
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import BackboneError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from t4spp.data.conversation import Conversation


@dataclass(frozen=True, kw_only=True)
class EngineBatch:
    """Prompts to answer together.

    Attributes:
        conversations: without answers; the picture of each is read once, however often it is asked
            for.
        labels: for each, the labels that its prompt admits; None where it leaves them open.
        max_new_tokens: bound on every answer of the batch that is a mask.
        max_dialogue_tokens: bound on every answer in words.
        seed: of the sampling, the batch's own, so that it is repeated wherever the batch runs.
        watch: told whenever answers have grown; None where nobody looks on.
    """

    conversations: Sequence[Conversation]
    labels: Sequence[tuple[str, ...] | None]
    max_new_tokens: int
    max_dialogue_tokens: int = 128
    seed: int = 0
    watch: Watch | None = None

    def __post_init__(self) -> None:
        """Keep pictures as long as the batch."""
        read_once = [replace(c, load_image=cache(c.load_image)) for c in self.conversations]
        object.__setattr__(self, "conversations", read_once)

    def limit(self, conversation: Conversation) -> int:
        """Bound on the answer's tokens, however long its prompt is."""
        return self.max_dialogue_tokens if conversation.in_words else self.max_new_tokens


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
        wanted = max((batch.limit(c) for c, _ in kept), default=batch.max_new_tokens)
        return cls(
            batch=batch,
            inputs=inputs,
            conversations=tuple(conversation for conversation, _ in kept),
            labels=tuple(labels for _, labels in kept),
            max_new_tokens=_room(backbone, inputs, [c for c, _ in kept], wanted),
        )

    @property
    def limits(self) -> tuple[int, ...]:
        """Bound on each answer."""
        return tuple(min(self.batch.limit(c), self.max_new_tokens) for c in self.conversations)

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


def picture_tokens(backbone: Backbone) -> frozenset[int]:
    """The ids that stand for parts of pictures, as the model's config names them.

    They belong to prompts: in an answer they would want a picture that is not there.
    """
    config = loaded(backbone)[0].config
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    found = (getattr(config, name, None) for name in names)
    return frozenset(token for token in found if isinstance(token, int))
