"""The contract of a descriptor scheme: target masks <-> text."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from t4spp.schemes.explaining import worked_example
from t4spp.schemes.lark import append_literal
from t4spp.types import BoolMask, Decoded, Region, Target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEG_OPEN = "<seg>"
SEG_CLOSE = "</seg>"


class Scheme(ABC):
    """A way to write masks as text.

    Laws (held by :func:`t4spp.testing.check_scheme`): ``decode(encode(t)).regions`` equals
    ``quantize(t)`` with status ``ok``; ``decode`` never raises; every string that ``grammar``
    admits decodes with status ``ok`` and ``encode(t)`` is one of them.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    writes_boxes: ClassVar[bool] = False
    """Whether the descriptor holds bounding boxes, which a model may write in a way of its own."""

    def __init__(self, params: BaseModel) -> None:
        """Keep the validated parameters."""
        self.params = params

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Tokens that the tokenizer must learn; ``()`` for plain text."""
        return ()

    @abstractmethod
    def encode(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> str:
        """The bare descriptor of ``targets`` on a picture of ``size`` (H, W).

        Raises:
            SchemeError: a label or a mask cannot be written.
        """

    @abstractmethod
    def decode(
        self,
        text: str,
        size: tuple[int, int],
        labels: Sequence[str] | None = None,
    ) -> Decoded:
        """Read a bare descriptor or a whole answer (every ``<seg>`` block). Never raises.

        Args:
            text: untrusted model output.
            size: (H, W) in pixels of the masks to make.
            labels: the labels that the prompt admits; another name is the problem
                ``unknown-label`` and counts as background. None admits any label.
        """

    @abstractmethod
    def quantize(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> tuple[Region, ...]:
        """What a perfect model could express at best.

        Raises:
            SchemeError: a label or a mask cannot be written.
        """

    @abstractmethod
    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor in llguidance's Lark, rule ``start``; None: free labels."""

    def grammar_before(self, ending: str, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor and the literal ``ending`` behind it, in llguidance's Lark.

        The default puts ``ending`` behind what ``grammar`` says. llguidance's lexer is greedy: a
        scheme whose descriptor may end with a free label, which ``ending`` would seem to go on,
        overrides this and writes label and ending as one terminal.
        """
        return append_literal(self.grammar(labels), ending)

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Guess how a bare descriptor that begins with ``text`` goes on, piece by piece.

        What decoding drafts from: the model checks several guessed tokens in one pass, so a good
        guess saves time, and a wrong one changes no answer. Never raises; the default guesses
        nothing.

        Args:
            text: untrusted, perhaps cut inside a word or a number; of a descriptor with other
                text around it, what stands behind the last ``<seg>``.
            labels: the labels that the prompt admits; None where it leaves them open.
            digits_follow: whether a number at the end of ``text`` may go on; not so where the
                tokenizer has a token for it as a whole.

        Returns:
            Pieces of the text that follows, about a row each. None at all where it has no guess;
            an empty one behind a descriptor that is complete.
        """
        return ()

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """The wire format in plain English, for a model that was never trained on it.

        It says what the grammar demands, and ends with a worked example that ``encode`` wrote. The
        default knows only the example: a scheme of yours should say more.

        Args:
            labels: of the prompt; the example shows the first.

        Raises:
            SchemeError: that label cannot be written.
        """
        return f"Masks are written as text. {worked_example(self.encode, labels)}"

    @abstractmethod
    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """A bound on the tokens of a bare descriptor that generation can rely on."""

    def fingerprint(self) -> str:
        """Name, version and every parameter, as ``name@version:hash``."""
        params = json.dumps(self.params.model_dump(mode="json"), sort_keys=True)
        digest = hashlib.sha256(params.encode()).hexdigest()[:16]
        return f"{self.name}@{self.version}:{digest}"
