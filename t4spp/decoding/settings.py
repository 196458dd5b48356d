"""How answers are generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How answers are generated.

    Attributes:
        batch_size: prompts a forward pass, in each process.
        max_new_tokens: bound on an answer's tokens; None takes what the scheme says for the
            prompt's labels, and the wrapper.
        max_dialogue_tokens: bound on the tokens of an answer in words.
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
        forced: whether tokens that the grammar forces are appended without being chosen; where
            ``drafts`` are, they are.
        shared: whether what prompts about one picture have in common is read once a batch.
        cache: ``static`` keeps the shape of the cache of the fast engine.
        compiled: whether the fast engine compiles its passes; needs a static cache.
    """

    batch_size: int = 8
    max_new_tokens: int | None = None
    max_dialogue_tokens: int = 128
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
    shared: bool = True
    cache: Literal["dynamic", "static"] = "dynamic"
    compiled: bool = False
