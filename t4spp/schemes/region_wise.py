"""Schemes that write region by region: per region a label, then its outline or its cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pydantic import BaseModel

from t4spp.errors import SchemeError
from t4spp.schemes.base import Scheme
from t4spp.schemes.grammar import lines_of, quote
from t4spp.schemes.grid import check_canvas, visible_mask
from t4spp.schemes.labels import admitted_labels, check_label, label_fault
from t4spp.schemes.parsing import Notes, blocks, shorten
from t4spp.schemes.tokens import count_tokens, longest_label
from t4spp.types import BACKGROUND, BoolMask, Box, Decoded, Region, Target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


class Labelled(Protocol):
    """A region as it stands in the text, of which the label at least is known."""

    @property
    def label(self) -> str:
        """Its name."""


W = TypeVar("W", bound=Labelled)
"""A region as it stands in the text of one scheme."""


def in_order(found: Iterable[tuple[Box, T]]) -> list[T]:
    """What has a box, in the order of regions in the text: by upper edge, then by left edge."""
    return [item for _, item in sorted(found, key=lambda pair: (pair[0].y0, pair[0].x0))]


class RegionWise(Scheme, Generic[W]):
    """What such schemes share: everything but how a region is made, spelt and read."""

    def __init__(self, params: BaseModel, *, max_regions: int, max_label_chars: int) -> None:
        """Keep the parameters.

        Args:
            params: of the scheme.
            max_regions: regions that one descriptor may hold.
            max_label_chars: the longest label.
        """
        super().__init__(params)
        self._max_regions = max_regions
        self._max_label_chars = max_label_chars

    @abstractmethod
    def _write(
        self, label: str, mask: BoolMask, box: Box, ignore: BoolMask | None = None
    ) -> W | None:
        """What is written of a visible mask bool[H, W] with its box; None where nothing is left."""

    @abstractmethod
    def _spell(self, written: W) -> str:
        """One region as text."""

    @abstractmethod
    def _read(self, text: str, notes: Notes) -> Iterator[W]:
        """The regions of one block; sets ``notes.read_something``, lists problems."""

    @abstractmethod
    def _region(self, written: W, size: tuple[int, int]) -> Region:
        """A region's pixels."""

    @abstractmethod
    def _rules(self, names: Sequence[str] | None) -> Sequence[str]:
        """Rules of llguidance's Lark, ``region`` among them; None: free labels."""

    @abstractmethod
    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """A bound on the tokens of one region without its label."""

    def encode(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> str:
        """The bare descriptor; ``others`` when there is nothing to write."""
        return "".join(self._spell(w) for w in self._written(targets, size, ignore)) or BACKGROUND

    def quantize(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> tuple[Region, ...]:
        """What the text keeps of each target."""
        return tuple(self._region(w, size) for w in self._written(targets, size, ignore))

    def decode(
        self,
        text: str,
        size: tuple[int, int],
        labels: Sequence[str] | None = None,
    ) -> Decoded:
        """Read a bare descriptor or a whole answer. Never raises."""
        notes = Notes(labels)
        regions: list[Region] = []
        num_regions = 0
        for block in blocks(text, notes):
            for written in self._read(block, notes):
                num_regions += 1
                if num_regions > self._max_regions:
                    notes.add(
                        "too-many-regions",
                        f"only the first max_regions={self._max_regions} are read",
                    )
                    return notes.decoded(regions)
                if self._admits(written.label, notes):
                    regions.append(self._region(written, size))
        return notes.decoded(regions)

    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The bare descriptor in llguidance's Lark: regions, or ``others`` where there is none."""
        return self.grammar_before("", labels)

    def grammar_before(self, ending: str, labels: Sequence[str] | None = None) -> str:
        """The same with a literal behind it, one terminal with ``others``."""
        names = self._admitted(labels)
        lines = ["start: NOTHING", f"NOTHING: {quote(BACKGROUND + ending)}"]
        if names is None or names:
            lines[0] += f" | region{{1,{self._max_regions}}}"
            lines[0] += f" {quote(ending)}" if ending else ""
            lines += self._rules(names)
        return lines_of(*lines)

    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """``max_regions`` times the longest label and the longest of what follows it."""
        names = self._admitted(labels)
        nothing = count_tokens(tokenizer, BACKGROUND)
        if names is not None and not names:
            return nothing
        label = longest_label(tokenizer, names, self._max_label_chars)
        return max(nothing, self._max_regions * (label + self._most_tokens(tokenizer)))

    def _admitted(self, labels: Sequence[str] | None) -> tuple[str, ...] | None:
        """The prompt's labels, checked; None for free labels."""
        if labels is None:
            return None
        return admitted_labels(labels, self.special_tokens, self._max_label_chars)

    def _admits(self, label: str, notes: Notes) -> bool:
        if label == BACKGROUND:
            notes.add("background-region", f"a region named {BACKGROUND!r} is background")
            return False
        fault = label_fault(label, (), self._max_label_chars)
        if fault is not None:
            notes.add("bad-label", f"a region is left out, its label {shorten(label)}: {fault}")
            return False
        if not notes.admits(label):
            notes.add("unknown-label", f"{shorten(label)} is not asked for: background")
            return False
        return True

    def _written(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
    ) -> list[W]:
        ignore = check_canvas(size, ignore)
        found: list[tuple[Box, W]] = []
        for target in targets:
            check_label(target.label, self.special_tokens, self._max_label_chars)
            mask = visible_mask(target.label, target.mask, size, ignore)
            box = Box.of_mask(mask)
            if box is None:
                continue
            written = self._write(target.label, mask, box, ignore)
            if written is not None:
                found.append((box, written))
        if len(found) > self._max_regions:
            raise SchemeError(
                f"{len(found)} targets do not fit a {self.name} descriptor of "
                f"max_regions={self._max_regions}. Raise max_regions, or ask for fewer."
            )
        return in_order(found)
