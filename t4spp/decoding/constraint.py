"""What a whole answer may be, as llguidance compiles it, and the tokens that it admits next.

Shapes: B rows, V columns of the logits.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from t4spp.data.templates import TEMPLATES
from t4spp.decoding.spelling import Speller
from t4spp.errors import BackboneError, SchemeError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.schemes.lark import append_token, prepend_one_of, prepend_pattern
from t4spp.types import BACKGROUND, Target

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

KEPT_GRAMMARS = 256
"""Compiled grammars that are remembered; each prompt's labels have one of their own."""
SAID_CHARS = 400
"""Characters that an answer which talks may say before its descriptor."""
LEXER_FUEL = 50_000_000
"""llguidance's bound on the work of one mask. A free label of up to 128 characters needs more than
its default of 200,000 at a few masks, which then take milliseconds."""
MAX_ITEMS = 8192
"""Choices that one place of a grammar may have, four times llguidance's own bound: a polygon's
vertex is one of up to 64 x 64 tokens."""


def answer_grammar(
    scheme: Scheme,
    labels: Sequence[str] | None,
    joint: str = "",
    tag_tokens: Collection[str] = (),
    *,
    talks: bool = False,
) -> str:
    """A whole answer without its end token: an opening, ``<seg>``, the descriptor, ``</seg>``.

    Args:
        scheme: writes the descriptor.
        labels: the labels that the prompt admits; None leaves them free.
        joint: stands before the opening; see :attr:`t4spp.components.Backbone.answer_joint`.
        tag_tokens: those of ``<seg>`` and ``</seg>`` that are tokens and no text to llguidance.
        talks: whether any text of up to :data:`SAID_CHARS` characters, without ``<``, may stand
            before ``<seg>``, instead of an opening of the templates.

    Raises:
        SchemeError: the scheme has no grammar for this grid, or cannot write a label.
    """
    openings = dict.fromkeys(opening for kind in TEMPLATES.values() for opening in kind.answers)
    if SEG_CLOSE in tag_tokens:
        closed = append_token(scheme.grammar(labels), SEG_CLOSE)
    else:
        closed = scheme.grammar_before(SEG_CLOSE, labels)
    if talks:
        said = f"/[^<]{{0,{SAID_CHARS}}}/"
        if SEG_OPEN in tag_tokens:
            return prepend_pattern(closed, said, SEG_OPEN)
        return prepend_pattern(closed, f"{said} {json.dumps(SEG_OPEN)}")
    if SEG_OPEN in tag_tokens:
        return prepend_one_of(closed, [f"{joint}{opening}\n" for opening in openings], SEG_OPEN)
    return prepend_one_of(closed, [f"{joint}{opening}\n{SEG_OPEN}" for opening in openings])


def compiled(tokenizer: Any, lark: str) -> Any:
    """Llguidance's matcher of a grammar in its Lark; whether it compiled, ``is_error`` says.

    Args:
        tokenizer: llguidance's own.
        lark: with the rule ``start``.
    """
    import llguidance

    limits = llguidance.LLParserLimits(
        initial_lexer_fuel=LEXER_FUEL,
        step_lexer_fuel=LEXER_FUEL,
        max_items_in_row=MAX_ITEMS,
        verbose_errors=False,
    )
    grammar = llguidance.LLMatcher.grammar_from_lark(lark)
    return llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=limits)


class Constraint:
    """The grammars of answers for one tokenizer, compiled on first use and kept."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int]) -> None:
        """Read the tokenizer's vocabulary, which takes about a second for a large one.

        Args:
            tokenizer: a fast one that has learnt the scheme's tokens.
            end_ids: what ends an answer; each is admitted at its end.

        Raises:
            BackboneError: llguidance cannot read this tokenizer.
        """
        from llguidance.hf import from_tokenizer

        learnt: Any = tokenizer
        try:
            self._inner = from_tokenizer(learnt, eos_token=list(end_ids))
        except ValueError as error:
            raise BackboneError(
                f"generation.constrained: llguidance cannot read a {type(tokenizer).__name__} "
                f"({error}). Use a backbone with a fast tokenizer, or set "
                "generation.constrained=false."
            ) from error
        self.end_ids = tuple(end_ids)
        self.vocabulary = int(self._inner.vocab_size)
        known = learnt.get_vocab()
        # llguidance takes every added token that stands in angle brackets for more than text.
        self._tag_tokens = tuple(
            tag
            for tag in (SEG_OPEN, SEG_CLOSE)
            if tag in known and self._inner.is_special_token(known[tag])
        )
        self._speller = Speller(self._inner)
        self._kind = type(tokenizer).__name__
        self._spelt: set[tuple[str, ...]] = set()
        self._speaks = False
        self._compiled: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int]) -> Constraint:
        """The constraint of a tokenizer, made anew where it has learnt tokens since."""
        key = (len(tokenizer), tuple(end_ids))
        known = _CONSTRAINTS.get(tokenizer)
        if known is None or known[0] != key:
            known = (key, cls(tokenizer, end_ids))
            _CONSTRAINTS[tokenizer] = known
        return known[1]

    def check_labels(self, labels: tuple[str, ...] | None) -> None:
        """Refuse labels that no answer of this tokenizer could bear, before any is written.

        Args:
            labels: the labels that the prompt admits; None leaves them free.

        Raises:
            SchemeError: there are none, or no sequence of tokens spells one of them.
            BackboneError: no sequence of tokens spells what stands in every answer.
        """
        if labels is not None and not labels:
            raise SchemeError(
                "the list of labels is empty, so nothing could be answered. Name at least one, or "
                "give no list at all, which leaves labels open."
            )
        if not self._speaks:
            self._check_frame()
        if labels is None or labels in self._spelt:
            return
        for label in labels:
            missing = self._speller.missing(label)
            if missing is not None:
                raise SchemeError(self._unspelt(f"the label {label!r}", label, missing))
        self._spelt.add(labels)

    def _check_frame(self) -> None:
        """Refuse a tokenizer that cannot spell what stands in every answer."""
        openings = [opening for kind in TEMPLATES.values() for opening in kind.answers]
        lost = [(opening, self._speller.missing(opening)) for opening in openings]
        tags = {SEG_OPEN, SEG_CLOSE} - set(self._tag_tokens)
        frame = [(text, self._speller.missing(text)) for text in ("\n", *sorted(tags), BACKGROUND)]
        if all(missing is not None for _, missing in lost):
            frame += lost
        for text, missing in frame:
            if missing is not None:
                raise BackboneError(self._unspelt(f"{text!r} of every answer", text, missing))
        self._speaks = True

    def _unspelt(self, what: str, text: str, missing: str) -> str:
        return (
            f"no sequence of this {self._kind}'s tokens spells {what}: it has none for "
            f"{missing[:1]!r} in {text!r}, and no tokens for bytes to fall back on. Name it "
            "otherwise, or take a backbone whose tokenizer falls back on bytes."
        )

    def _check_scheme(self, scheme: Scheme) -> None:
        """The same for the signs of descriptors: those of nothing and of something on the left."""
        left = np.zeros((16, 16), dtype=np.bool_)
        left[:, :8] = True
        plain = scheme.encode((), (16, 16))
        plain += scheme.encode((Target(label=BACKGROUND[-1], mask=left),), (16, 16))
        for token in sorted(scheme.special_tokens, key=len, reverse=True):
            plain = plain.replace(token, "")
        for sign in dict.fromkeys(plain):
            if self._speller.missing(sign) is not None:
                what = f"{sign!r}, which {scheme.name!r} writes"
                raise BackboneError(self._unspelt(what, sign, sign))

    def lark(
        self,
        scheme: Scheme,
        labels: tuple[str, ...] | None,
        joint: str = "",
        *,
        talks: bool = False,
    ) -> str:
        """The grammar of whole answers as this tokenizer writes their tags.

        Args:
            scheme: writes the descriptor.
            labels: the labels that the prompt admits; None leaves them free.
            joint: stands before the opening.
            talks: see :func:`answer_grammar`.

        Raises:
            SchemeError: the scheme has no such grammar.
        """
        return answer_grammar(scheme, labels, joint, self._tag_tokens, talks=talks)

    def matcher(
        self,
        scheme: Scheme,
        labels: tuple[str, ...] | None,
        joint: str = "",
        *,
        talks: bool = False,
    ) -> Any:
        """A fresh matcher of whole answers (llguidance's ``LLMatcher``).

        Args:
            scheme: writes the descriptor.
            labels: the labels that the prompt admits; None leaves them free.
            joint: stands before the opening.
            talks: see :func:`answer_grammar`.

        Raises:
            SchemeError: the scheme has no such grammar, it does not compile, or the labels are
                none or cannot be spelt.
        """
        self.check_labels(labels)
        key = (scheme.fingerprint(), labels, joint, talks)
        if key not in self._compiled:
            self._check_scheme(scheme)
            made = compiled(self._inner, self.lark(scheme, labels, joint, talks=talks))
            if made.is_error():
                asked = "free labels" if labels is None else f"{len(labels)} labels"
                raise SchemeError(
                    f"the grammar of {scheme.name!r} for {asked} does not compile "
                    f"({made.get_error().splitlines()[0]}). Take a smaller grid, ask for fewer "
                    "labels at a time, or set generation.constrained=false."
                )
            self._compiled[key] = made
            if len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return self._compiled[key].deep_copy()


_CONSTRAINTS: WeakKeyDictionary[Any, tuple[Any, Constraint]] = WeakKeyDictionary()
"""One a tokenizer that is in use; forgotten with it."""


class GrammarMask:
    """A logits processor that admits only what each row's grammar does, and all in rows without.

    A row whose grammar can go on with no token, or whose matcher fails, ends: its end tokens are
    admitted, and its place is in ``stuck``.
    """

    def __init__(self, matchers: Sequence[Any], constraint: Constraint) -> None:
        """Keep a fresh matcher of ``constraint`` for each of B rows; None: the row is free."""
        self._matchers = list(matchers)
        self._free = [place for place, matcher in enumerate(matchers) if matcher is None]
        self._end_ids = list(constraint.end_ids)
        self._vocabulary = constraint.vocabulary
        self._ended = [False] * len(self._matchers)
        words = -(-self._vocabulary // 32)
        self._words = np.zeros((len(self._matchers), words), dtype=np.int32)
        self._length: int | None = None
        self.stuck: dict[int, str] = {}
        """Rows, by place, whose answer the grammar could not go on with, and why."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits float[B, V] with what is not admitted at minus infinity.

        Args:
            input_ids: int64[B, L], the prompt and what has been written.
            scores: the logits of the next token.
        """
        import torch

        if self._length is not None:
            self._consume(input_ids[:, self._length :].tolist())
        self._length = input_ids.shape[1]
        refused = torch.from_numpy(self._refused(scores.shape[1]))
        return scores.masked_fill(refused.to(scores.device), -torch.inf)

    def _consume(self, written: Sequence[Sequence[int]]) -> None:
        for place, (matcher, tokens) in enumerate(zip(self._matchers, written, strict=True)):
            if self._ended[place] or matcher is None:
                continue
            if any(token in self._end_ids for token in tokens):
                self._ended[place] = True
            elif not matcher.consume_tokens(list(tokens)):
                self._end(place, matcher.get_error())

    def _refused(self, width: int) -> npt.NDArray[np.bool_]:
        """bool[B, V], what is not admitted; rows that have ended admit end tokens only."""
        # One row after the other: llguidance's own threads would take the cores from torch's.
        for place, matcher in enumerate(self._matchers):
            if self._ended[place] or matcher is None:
                continue
            row = self._words[place]
            matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
            if matcher.is_error():
                self._end(place, matcher.get_error())
            elif not row.any():
                self._end(place, "no token of the vocabulary goes on")
        bits = np.unpackbits(self._words.view(np.uint8), axis=1, bitorder="little")
        refused = np.ones((len(bits), width), dtype=np.bool_)
        # Padded embeddings give logits more columns than there are tokens.
        known = min(width, bits.shape[1])
        np.equal(bits[:, :known], 0, out=refused[:, :known])
        for place, ended in enumerate(self._ended):
            if ended:
                refused[place] = True
                refused[place, self._end_ids] = False
        refused[self._free] = False
        return refused

    def _end(self, place: int, reason: str) -> None:
        self._ended[place] = True
        self.stuck[place] = reason.splitlines()[0] if reason else "the matcher stopped"
