"""nano's tokenizer: byte-level BPE, made from generated text only, the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from t4spp.data.templates import TEMPLATES
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, IMAGE, USER, ASSISTANT, END = "<|pad|>", "<|image|>", "<|user|>", "<|assistant|>", "<|end|>"
CONTROL_TOKENS = (PAD, IMAGE, USER, ASSISTANT, END)
VOCABULARY_SIZE = 1024

# Word lists are kept as prose: a list literal would be one word a line.
# ruff: noqa: SIM905

_COLOURS = "red green blue yellow purple cyan orange white black brown grey pink dark light".split()
_SHAPES = "circle square triangle diamond star cross ring frame bar dots object shape".split()
_PLACES = ["left of", "right of", "above", "below", "on the left", "on the right", "in front of"]
_EXTREMES = "leftmost rightmost topmost bottommost largest smallest".split()
_THINGS = (
    "person people man woman child dog cat horse cow sheep bird car bus truck train bicycle boat "
    "plane road pavement path bridge building house roof wall fence pole sign symbol light tree "
    "grass plant flower field forest water river lake sea sand sky cloud mountain rock ground "
    "floor ceiling door window table chair bed sofa lamp screen book bottle cup bowl plate food "
    "fruit bag box hat shoe shirt hand head face pedestrian bicyclist vehicle background others"
).split()


def corpus(seed: int = 0) -> Iterator[str]:
    """Phrases, templates and plain-text descriptors, generated; the vocabulary's training text."""
    rng = np.random.default_rng(seed)

    def noun() -> str:
        return f"{rng.choice(_COLOURS)} {rng.choice(_SHAPES)}"

    for number in range(3000):
        thing = str(rng.choice(_THINGS))
        yield f"the {noun()}"
        yield f"the {rng.choice(_EXTREMES)} {noun()}"
        yield f"the {noun()} {rng.choice(_PLACES)} the {noun()}"
        yield f"all {noun()}s"
        yield f"the {thing} {rng.choice(_PLACES)} the {rng.choice(_THINGS)}"
        yield "|".join(str(word) for word in rng.choice(_THINGS, 4))
        runs = rng.integers(1, 33, 4)
        yield f"others *{runs[0]}| the {noun()} *{runs[1]}| others *{runs[2]}\n others *{runs[3]}\n"
        yield f"others| others| {thing}| {thing}\n"
        yield f"{thing}: {runs[0]} off {runs[1]} on"
        if number % 10 == 0:
            yield f"[{rng.integers(1000)}, {rng.integers(1000)}]"
    for kind in TEMPLATES.values():
        for _ in range(200):
            yield from kind.questions
            yield from kind.answers


def build_tokenizer(scheme_tokens: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer, trained anew on :func:`corpus`; ``scheme_tokens`` follow the base vocabulary.

    Text never loses a byte: unknown words fall to bytes. The wrapper's tags are one token each.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    wrapper = [AddedToken(tag, normalized=False) for tag in (SEG_OPEN, SEG_CLOSE)]
    tokenizer.add_tokens(wrapper)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    add_scheme_tokens(fast, scheme_tokens)
    return fast


def add_scheme_tokens(tokenizer: PreTrainedTokenizerFast, tokens: Sequence[str]) -> int:
    """Teach ``tokens`` in order, those already known left as they are; returns how many are new."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    new = [
        AddedToken(token, normalized=False, special=True) for token in tokens if token not in known
    ]
    return int(tokenizer.add_tokens(new, special_tokens=True)) if new else 0
