"""``column-rle``: image-wise run-length coding along columns.

A row of R-RLE is a row of the picture. Here the picture is laid on its side first, so that a row
of the text is a column of the picture, and back after reading. Every law of a scheme then follows
from the scheme that does the writing: this is the shortest way to a new representation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from t4spp.schemes.base import Scheme
from t4spp.schemes.image_text import ImageRrle
from t4spp.schemes.image_wise import ImageParams
from t4spp.types import BoolMask, Decoded, Region, Target
from t4spp_example.plugin import ColumnRleParams

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ColumnRle(Scheme):
    """Columns of runs, ``label *length``, from left to right."""

    name: ClassVar[str] = "column-rle"
    version: ClassVar[int] = 1  # goes up whenever the text changes that encode writes

    def __init__(self, params: ColumnRleParams) -> None:
        """Make the scheme that writes the picture lying on its side."""
        super().__init__(params)
        grid = params.grid if isinstance(params.grid, int) else (params.grid[1], params.grid[0])
        self._sideways = ImageRrle(
            ImageParams(grid=grid, downsample="majority", keep_small=params.keep_small)
        )

    def encode(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None = None
    ) -> str:
        """The bare descriptor, one line a column of the grid."""
        return self._sideways.encode(*_turned(targets, size, ignore))

    def quantize(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None = None
    ) -> tuple[Region, ...]:
        """What the grid keeps of the targets."""
        regions = self._sideways.quantize(*_turned(targets, size, ignore))
        return tuple(_turned_region(region) for region in regions)

    def decode(
        self, text: str, size: tuple[int, int], labels: Sequence[str] | None = None
    ) -> Decoded:
        """Read a descriptor or a whole answer. Never raises."""
        decoded = self._sideways.decode(text, (size[1], size[0]), labels)
        return Decoded(
            regions=tuple(_turned_region(region) for region in decoded.regions),
            status=decoded.status,
            problems=tuple(
                replace(problem, row=problem.column, column=problem.row)
                for problem in decoded.problems
            ),
        )

    def grammar(self, labels: Sequence[str] | None = None) -> str:
        """The grammar of the scheme that does the writing."""
        return self._sideways.grammar(labels)

    def max_tokens(
        self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
    ) -> int:
        """The bound of the scheme that does the writing."""
        return self._sideways.max_tokens(tokenizer, labels)


def _turned(
    targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
) -> tuple[list[Target], tuple[int, int], BoolMask | None]:
    """Targets, size and ignored pixels with rows and columns swapped."""
    turned = [Target(label=target.label, mask=target.mask.T) for target in targets]
    return turned, (size[1], size[0]), None if ignore is None else ignore.T


def _turned_region(region: Region) -> Region:
    soft = None if region.soft is None else region.soft.T
    return Region(label=region.label, mask=region.mask.T, soft=soft)
