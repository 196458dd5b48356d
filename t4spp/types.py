"""The values that every part of t4spp exchanges. Arrays are (H, W); boxes are half-open pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError

BoolMask = npt.NDArray[np.bool_]
"""bool[H, W]: True inside."""
SoftMask = npt.NDArray[np.float32]
"""float32[H, W] in 0..1: occupancy before thresholding."""
Image = npt.NDArray[np.uint8]
"""uint8[H, W, 3], RGB."""

Status = Literal["ok", "repaired", "invalid"]
PromptKind = Literal["partial", "conditioned", "open", "dialogue"]

BACKGROUND = "others"
"""The label that is background by name, in every scheme."""

UNKNOWN_TRUTH = "unknown-truth"
"""Tag of a sample whose ``targets`` are empty because nobody knows them (``t4spp predict``)."""

FURTHER_PHRASE = "further-phrase"
"""Tag of a sample that asks for the same targets as an earlier one of its picture, in other words;
protocols of papers that score the first question only leave it out."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A half-open pixel box: rows ``y0 <= y < y1``, columns ``x0 <= x < x1``."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def height(self) -> int:
        """Rows in the box."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns in the box."""
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """The box as an index into an array of shape (H, W, ...)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @classmethod
    def of_mask(cls, mask: BoolMask) -> Box | None:
        """The tightest box around the True pixels of bool[H, W]; None for an empty mask."""
        rows = np.flatnonzero(mask.any(axis=1))
        if rows.size == 0:
            return None
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(mask[y0:y1].any(axis=0))
        return cls(y0=y0, x0=int(columns[0]), y1=y1, x1=int(columns[-1]) + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """One thing to segment. Several targets may share a label (instances)."""

    label: str
    mask: BoolMask


@dataclass(frozen=True, kw_only=True)
class GeoRef:
    """Where a picture lies.

    Attributes:
        crs: WKT or ``EPSG:n``.
        transform: affine (a, b, c, d, e, f): x = a * column + b * row + c,
            y = d * column + e * row + f, corners of pixels at whole numbers.
        nodata: value of pixels without data; None without one.
        scene: path of the scene that the picture is a window of; None where it is no window.
        box: the window in the scene's own pixels. It may reach beyond the scene, where the picture
            was padded; the picture may have been resampled, so that its size is another one.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    nodata: float | None = None
    scene: str | None = None
    box: Box | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One prompt about one picture, with its truth.

    Attributes:
        id: unique within a recipe's split; stable between runs.
        size: (H, W) of the picture in pixels; known without reading the picture.
        prompt: the bare phrase ("the dog on the left") or class names joined with ``|``.
            Conversation templates turn it into a question.
        targets: the truth; ``()`` is legal and means that nothing matches the prompt.
        load_image: reads uint8[H, W, 3]; None where the recipe has no pixels for this sample.
        labels: every label that the prompt asks for, found or not, in the prompt's order.
        kind: which family of templates fits: partial (segment these), conditioned (segment by
            this list), open (segment all) or dialogue (answer in words, no mask is asked for).
        ignore: bool[H, W], True where pixels must not be scored; None when none.
        image_id: equal for samples that share a picture.
        tags: break-down keys of the evaluation, for example ``("unseen-pair",)``.
        answers: of a dialogue, the reference answers, the first is the one that is learnt; several
            where several people were asked. Empty for every other kind.
        context: of a dialogue, the turns before this one about the same picture, as (question,
            answer), in order.
        geo: georeference of the picture, when it has one.
    """

    id: str
    size: tuple[int, int]
    prompt: str
    targets: tuple[Target, ...]
    load_image: Callable[[], Image] | None = field(default=None, repr=False)
    labels: tuple[str, ...] = ()
    kind: PromptKind = "partial"
    ignore: BoolMask | None = None
    image_id: str = ""
    tags: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    context: tuple[tuple[str, str], ...] = ()
    geo: GeoRef | None = None

    @property
    def image(self) -> Image:
        """The picture, uint8[H, W, 3], read now.

        Raises:
            RecipeError: the recipe has no pixels for this sample, they cannot be read, or their
                size is not ``size``.
        """
        if self.load_image is None:
            raise RecipeError(
                f"sample {self.id!r} has no picture: its recipe found none on disk. "
                "Point the recipe at the folder of pictures, or use what needs none (ceiling, "
                "data check, data preview --no-pictures)."
            )
        image = self.load_image()
        if image.shape[:2] != tuple(self.size):
            raise RecipeError(
                f"sample {self.id!r}: the picture is {image.shape[0]} x {image.shape[1]} pixels, "
                f"its masks say {self.size[0]} x {self.size[1]}. Mend the dataset: masks and "
                "pictures must have one size."
            )
        return image


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """One decoded region.

    Attributes:
        label: the name that was written.
        mask: bool[H, W].
        soft: float32[H, W] in 0..1, what the descriptor's grid says before thresholding; refiners
            use it. None where a scheme has no such notion.
        box: the box that was written, for box-wise schemes.
        cell: (height, width) in pixels of the grid's cells that the mask was written in; refiners
            trust its edge no further than that. None where a scheme has no grid.
    """

    label: str
    mask: BoolMask
    soft: SoftMask | None = None
    box: Box | None = None
    cell: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that decoding had to guess. ``row`` and ``column`` count grid cells, or -1."""

    code: str
    message: str
    row: int = -1
    column: int = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """What an answer says.

    ``ok``: every cell was written exactly once and nothing was guessed. ``repaired``: something
    was guessed and is listed, the rest stands. ``invalid``: nothing could be read.
    """

    regions: tuple[Region, ...]
    status: Status
    problems: tuple[Problem, ...] = ()

    def union(self, label: str, size: tuple[int, int]) -> BoolMask:
        """The union of the regions that bear ``label``, bool[H, W]."""
        mask = np.zeros(size, dtype=np.bool_)
        for region in self.regions:
            if region.label == label:
                mask |= region.mask
        return mask
