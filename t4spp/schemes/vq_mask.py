"""``vq-mask``: a mask is the codes of a learned tokenizer, one new token each.

The image layout is LlamaSeg's idea (arXiv 2505.19422): a mask as a small picture, its codes
row-major. The box layout writes the bounding box first and few codes of what stands in it, as
PaliGemma does (arXiv 2407.07726); a prefix of them is a coarser mask. The tokenizer is this
project's own; see docs/mask-tokenizer.md and docs/formats.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from t4spp.errors import SchemeError
from t4spp.mask_tokenizer.shape import Layout
from t4spp.mask_tokenizer.tokenizer import MaskTokenizer, load_tokenizer
from t4spp.schemes.box_wise import Steps, box_pixels, box_steps
from t4spp.schemes.expecting import label_ahead
from t4spp.schemes.expecting_boxes import header_ahead, located_ahead
from t4spp.schemes.explaining import worked_example
from t4spp.schemes.grammar import label_terminal
from t4spp.schemes.grid import cell_size, visible_mask
from t4spp.schemes.mask_codes import BOX_TOKEN, IMAGE_TOKEN, CodeReader, code_token
from t4spp.schemes.mask_fields import field_of, spread_logits
from t4spp.schemes.parsing import Notes, shorten
from t4spp.schemes.region_tokens import BoxSpelling, Coordinates
from t4spp.schemes.region_wise import RegionWise
from t4spp.types import BACKGROUND, BoolMask, Box, Region, Target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class VqMaskParams(BaseModel):
    """Parameters of ``vq-mask``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Layout = "box"
    """`box`: a bounding box and codes of what stands in it; `image`: codes of the whole picture."""
    tokenizer: Path | None = None
    """A folder that `t4spp tokenizer train` wrote; null: the one that ships for the layout. Its
    content enters the fingerprint, not its place."""
    num_codes: Annotated[int, Field(ge=1, le=65536, strict=True)] | None = None
    """Codes of a region, the first ones, so that fewer make a coarser mask; null: all that the
    tokenizer has. Of the box layout only."""
    coordinates: Coordinates = "tokens"
    """How the box is written: four of 1000 new tokens, or four numbers in digits."""
    max_label_chars: Annotated[int, Field(ge=1, le=1024, strict=True)] = 128
    """The longest label that is written or admitted, in characters."""
    max_regions: Annotated[int, Field(ge=1, le=1024, strict=True)] = 16
    """Regions that one descriptor may hold."""


@dataclass(frozen=True, kw_only=True)
class Coded:
    """One region as it stands in the text.

    Attributes:
        label: its name.
        steps: its box; None in the image layout.
        codes: at most as many as a region has; ``UNKNOWN`` for one that could not be read.
    """

    label: str
    steps: Steps | None
    codes: tuple[int, ...]


class VqMask(RegionWise[Coded]):
    """Label, in the box layout four coordinates, and codes; see the module."""

    name: ClassVar[str] = "vq-mask"
    params: VqMaskParams

    def __init__(self, params: VqMaskParams) -> None:
        """Read the tokenizer.

        Raises:
            SchemeError: there is no such tokenizer, it is damaged, of the other layout, or has
                fewer codes than asked for.
        """
        super().__init__(
            params, max_regions=params.max_regions, max_label_chars=params.max_label_chars
        )
        self.params = params
        self.tokenizer: MaskTokenizer = load_tokenizer(params.tokenizer, params.layout)
        shape = self.tokenizer.shape
        self._boxes = params.layout == "box"
        if params.num_codes is not None and (shape.grid > 1 or params.num_codes > shape.num_codes):
            reason = (
                f"has {shape.num_codes} codes"
                if shape.grid == 1
                else f"gives each of {shape.grid} x {shape.grid} places its own codes, all needed"
            )
            raise SchemeError(
                f"vq-mask: num_codes={params.num_codes}, but the tokenizer {reason}. Leave "
                f"num_codes out{f', or take 1 to {shape.num_codes}' if shape.grid == 1 else ''}."
            )
        self.num_codes = params.num_codes or shape.num_codes
        self._box = BoxSpelling(params.coordinates)
        self._codes = tuple(code_token(code) for code in range(shape.codebook))
        self._special_tokens = (*(self._box.special_tokens if self._boxes else ()), *self._codes)

    @property
    def writes_boxes(self) -> bool:  # type: ignore[override]
        """Whether the layout has boxes."""
        return self._boxes

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>``.. where boxes are tokens, then ``<|vq0|>`` to the last code."""
        return self._special_tokens

    def fingerprint(self) -> str:
        """Name, version, every parameter and, in place of its folder, the tokenizer's content."""
        params = self.params.model_dump(mode="json", exclude={"tokenizer"})
        text = json.dumps({**params, "tokenizer": self.tokenizer.identity}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f"{self.name}@{self.version}:{digest}:tokenizer-{self.tokenizer.identity[:12]}"

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """What stands where, and an example; the codes themselves only training can teach."""
        last = len(self._codes) - 1
        if self._boxes:
            form = (
                "A box is four whole numbers from 0 to 999: its upper, left, lower and right edge, "
                "in thousandths of the picture's height and width. A region is its label, "
                f"{self._box.explained}, then {self.num_codes} codes of what stands in the box, "
                f"<|vq0|> to <|vq{last}|>."
            )
        else:
            form = (
                f"A region is its label, then {self.num_codes} codes of the picture's places, row "
                f"by row, <|vq0|> to <|vq{last}|>."
            )
        return (
            f"Write each region by itself, at most {self.params.max_regions}, ordered by the upper "
            f"edges of their bounding boxes. {form} Codes are a learned tokenizer's. Where there "
            f'is nothing, write "{BACKGROUND}" alone.\n'
            f"An example. {worked_example(self.encode, labels)}"
        )

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """Every region is of one length."""
        longest = self.params.max_label_chars
        if self._boxes:
            header = self._box.rules(names, longest)
        else:
            header = ["header: LABEL", label_terminal(names, longest, background=False)]
        return [
            f"region: header code{{{self.num_codes}}}",
            *header,
            "code: " + " | ".join(self._codes),
        ]

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """Label and box; codes cannot be guessed. See :class:`Scheme`."""
        tokens = list((BOX_TOKEN if self._boxes else IMAGE_TOKEN).finditer(text))
        num_codes = 0
        end = len(text)
        for found in reversed(tokens):
            if found.end() != end or found[1] != "vq":
                break
            end = found.start()
            num_codes += 1
        if num_codes:
            return ("",) if num_codes >= self.num_codes else ()
        begun = text[max((found.end() for found in tokens if found[1] == "vq"), default=0) :]
        if self._boxes:
            ahead = located_ahead if self._box.located else partial(header_ahead, end="")
            header = ahead(begun, labels)
        else:
            label = label_ahead(begun, labels)
            header = None if label is None else label[len(begun) :]
        return () if header is None else (header,)

    def _spell(self, written: Coded) -> str:
        head = written.label
        if written.steps is not None:
            head = self._box.spell(written.label, written.steps)
        return head + "".join(self._codes[code] for code in written.codes)

    def _read(self, text: str, notes: Notes) -> Iterator[Coded]:
        reader = CodeReader(
            boxes=self._boxes,
            tokens=self._box.located,
            num_codes=self.num_codes,
            codebook=len(self._codes),
            notes=notes,
        )
        for draft in reader.drafts(text):
            steps = reader.box(draft) if self._boxes else None
            if self._boxes and steps is None:
                continue
            if not draft.label:
                notes.add("missing-label", "a region without a label is left out")
                continue
            notes.read_something = True
            codes = reader.codes(draft)
            if not codes:
                notes.add("unfinished-region", f"{shorten(draft.label)} has no code: left out")
                continue
            yield Coded(label=draft.label, steps=steps, codes=codes)

    def _region(self, written: Coded, size: tuple[int, int]) -> Region:
        side = self.tokenizer.shape.side
        logits = self.tokenizer.decode(written.codes)
        if written.steps is None:
            mask, soft = spread_logits(logits, size)
            cell = cell_size(size, (side, side))
            return Region(label=written.label, mask=mask, soft=soft, cell=cell)
        box = box_pixels(written.steps, size)
        mask = np.zeros(size, dtype=np.bool_)
        soft = np.zeros(size, dtype=np.float32)
        mask[box.slices], soft[box.slices] = spread_logits(logits, (box.height, box.width))
        cell = cell_size((box.height, box.width), (side, side))
        return Region(label=written.label, mask=mask, soft=soft, box=box, cell=cell)

    def _write(
        self, label: str, mask: BoolMask, box: Box, ignore: BoolMask | None = None
    ) -> Coded | None:
        steps = None
        if self._boxes:
            size = (mask.shape[0], mask.shape[1])
            steps = box_steps(box, size)
            within = box_pixels(steps, size).slices
            mask = mask[within]
        codes = self.tokenizer.encode(field_of(mask, self.tokenizer.shape.side))
        return Coded(label=label, steps=steps, codes=tuple(codes[: self.num_codes].tolist()))

    def _written(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
    ) -> list[Coded]:
        """In the image layout, targets of one label are one region."""
        if self._boxes:
            return super()._written(targets, size, ignore)
        merged: dict[str, BoolMask] = {}
        for target in targets:
            mask = visible_mask(target.label, target.mask, size, None)
            known = merged.get(target.label)
            merged[target.label] = mask if known is None else known | mask
        return super()._written(
            [Target(label=label, mask=mask) for label, mask in merged.items()], size, ignore
        )

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        return self.num_codes + (self._box.num_tokens(tokenizer) if self._boxes else 0)
