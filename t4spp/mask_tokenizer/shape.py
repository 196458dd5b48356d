"""What a mask tokenizer is made of: its sizes, as a config says them and a saved one records them.

Legend: ``S`` side of the square field that the networks see, ``G`` patches along a side, ``N``
codes of a mask, ``D`` numbers behind one code.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from t4spp.config import ConfigModel

Layout = Literal["box", "image"]
"""What the field shows: an object's bounding box, or the whole picture."""

MAX_CODEBOOK = 65536
"""Entries of a codebook, each of them a new token of the language model."""


MAX_CODES = 4096
"""Codes of a mask, each of them a token of an answer."""


class TokenizerShape(ConfigModel):
    """The sizes of encoder, quantiser and decoder.

    Both networks are the same: the field is cut into patches, each becomes a vector, residual
    blocks mix it with its neighbours, and each vector gives or takes ``codes_per_patch`` codes. One
    patch that is the whole field makes a global code; many make codes in their places.
    """

    layout: Layout = "box"
    """`box`: codes of what stands in a bounding box; `image`: of the whole picture."""
    side: Annotated[int, Field(ge=8, le=512)] = 32
    """Rows and columns of the field; masks of any size are averaged into it."""
    patch: Annotated[int, Field(ge=1, le=64)] = 32
    """Rows and columns of a patch; `side` for a global code."""
    codes_per_patch: Annotated[int, Field(ge=1, le=256)] = 16
    """Codes that each patch gives, coarse to fine."""
    levels: tuple[int, ...] = (8, 8, 8, 8)
    """Values that each number behind a code can take (FSQ); their product is the codebook."""
    width: Annotated[int, Field(ge=8, le=2048)] = 384
    """Features of a patch inside the networks."""
    blocks: Annotated[int, Field(ge=0, le=16)] = 1
    """Residual blocks of each network."""
    kernel: Literal[1, 3] = 1
    """Patches along a side that a block looks at: 1 the patch alone, 3 its neighbours too."""

    @field_validator("levels")
    @classmethod
    def _codebook_has_tokens(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels or min(levels) < 2:
            raise ValueError("levels: name at least one number of levels, each 2 or more")
        if math.prod(levels) > MAX_CODEBOOK:
            raise ValueError(
                f"levels: their product, {math.prod(levels)}, is the number of new tokens; at most "
                f"{MAX_CODEBOOK} are allowed"
            )
        return levels

    @model_validator(mode="after")
    def _patches_fill_the_field(self) -> Self:
        if self.side % self.patch:
            raise ValueError(
                f"patch {self.patch} does not divide side {self.side}: take a divisor of it"
            )
        if self.num_codes > MAX_CODES:
            raise ValueError(
                f"(side / patch)² x codes_per_patch is {self.num_codes} codes of a mask; at most "
                f"{MAX_CODES} are allowed"
            )
        return self

    @property
    def grid(self) -> int:
        """G, patches along a side."""
        return self.side // self.patch

    @property
    def num_codes(self) -> int:
        """N, codes of a mask."""
        return self.grid**2 * self.codes_per_patch

    @property
    def code_size(self) -> int:
        """D, numbers behind a code."""
        return len(self.levels)

    @property
    def codebook(self) -> int:
        """Codes that there are."""
        return math.prod(self.levels)
