"""Laws of a scheme's tokens and grammar; ``tokenizers`` and ``llguidance`` load late."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from t4spp.decoding.constraint import compiled
from t4spp.schemes.base import Scheme
from t4spp.testing.canvases import PROMPT, Canvas, canvas_strategy, for_all, written

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def build_tokenizer(special_tokens: Sequence[str]) -> PreTrainedTokenizerBase:
    """A small byte-level tokenizer that has learnt ``special_tokens``; made, not downloaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    inner.train_from_iterator(["dog *3| others *16\n on12 off4 cat on the left"] * 4, trainer)
    make: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = make(tokenizer_object=inner, eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(special_tokens)})
    return tokenizer


def check_tokenizer(
    scheme: Scheme, tokenizer: PreTrainedTokenizerBase, *, max_examples: int = 100
) -> None:
    """The tokenizer gives descriptors back unchanged, each added token is one id, bounds hold."""
    for added in (*scheme.special_tokens[:3], *scheme.special_tokens[-3:]):
        assert len(_ids(tokenizer, added)) == 1, f"{added} is not one token"
    free_bound = scheme.max_tokens(tokenizer)

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None or not _knows_labels(tokenizer, canvas):
            return
        ids = _ids(tokenizer, text)
        assert _text(tokenizer, ids) == text
        asked = [target.label for target in canvas.targets]
        assert len(ids) <= scheme.max_tokens(tokenizer, asked), "longer than max_tokens(labels)"
        assert len(ids) <= free_bound, "longer than max_tokens()"

    for_all(canvas_strategy(scheme), max_examples)(check)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of ids, nothing left out and nothing tidied."""
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _knows_labels(tokenizer: PreTrainedTokenizerBase, canvas: Canvas) -> bool:
    """Whether a tokenizer has all characters of the labels: some lack bytes of rare scripts."""
    return all(
        _text(tokenizer, _ids(tokenizer, target.label)) == target.label for target in canvas.targets
    )


def check_grammar(
    scheme: Scheme, tokenizer: PreTrainedTokenizerBase, *, max_examples: int = 100
) -> None:
    """The grammar admits every ``encode(t)``; what it admits decodes with status ok."""
    free = GrammarWalker(scheme.grammar(), tokenizer)

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None or not _knows_labels(tokenizer, canvas):
            return
        assert free.admits(text), f"the free grammar refuses {text!r}"

    for_all(canvas_strategy(scheme), max_examples)(check)

    def check_prompt(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is not None and _knows_labels(tokenizer, canvas):
            asked = list(dict.fromkeys(target.label for target in canvas.targets))
            walker = GrammarWalker(scheme.grammar(asked), tokenizer)
            assert walker.admits(text), f"the grammar of {asked} refuses {text!r}"

    for_all(canvas_strategy(scheme), min(max_examples, 25))(check_prompt)
    longest = int(getattr(scheme.params, "max_label_chars", 128))
    asked = [label for label in PROMPT if len(label) <= longest]
    for labels in (None, asked, asked[:1], []):
        walker = GrammarWalker(scheme.grammar(labels), tokenizer) if labels is not None else free
        bound = scheme.max_tokens(tokenizer, labels)
        for seed in range(min(max_examples, 20)):
            text = walker.walk(random.Random(seed))
            if text is None:
                continue
            decoded = scheme.decode(text, (24, 24), labels)
            assert decoded.status == "ok", (labels, text, decoded.problems)
            assert len(_ids(tokenizer, text)) <= bound, (labels, text)


class GrammarWalker:
    """Asks llguidance what a grammar admits."""

    def __init__(self, lark: str, tokenizer: PreTrainedTokenizerBase) -> None:
        """Compile a grammar of llguidance's Lark.

        Raises:
            AssertionError: the grammar does not compile.
        """
        from llguidance.hf import from_tokenizer

        self._tokenizer = tokenizer
        learnt: Any = tokenizer
        self._inner = from_tokenizer(learnt)
        self._matcher = compiled(self._inner, lark)
        error = self._matcher.get_error()
        assert not error, f"the grammar does not compile: {error}"

    def admits(self, text: str) -> bool:
        """Whether a whole text is in the language."""
        self._matcher.reset()
        ids = _ids(self._tokenizer, text)
        taken = self._matcher.try_consume_tokens(ids)
        return bool(taken == len(ids) and self._matcher.is_accepting())

    def walk(self, source: random.Random, max_steps: int = 2000) -> str | None:
        """A random text of the language; None when it is not at an end after ``max_steps``."""
        self._matcher.reset()
        ids: list[int] = []
        end = self._tokenizer.eos_token_id
        for _ in range(max_steps):
            if self._matcher.is_accepting() and source.random() < 0.5:
                break
            packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            assert not self._matcher.is_error(), self._matcher.get_error()
            allowed = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
            allowed = allowed[allowed != end]
            if not allowed.size:
                break
            ids.append(int(source.choice(allowed)))
            assert self._matcher.consume_token(ids[-1]), self._matcher.get_error()
        if not self._matcher.is_accepting():
            return None
        return _text(self._tokenizer, ids)
