"""``polygon``: a region is the vertices of its outline, parts and holes one after another.

The idea of VisionLLM (arXiv 2305.11175) and PolyFormer (arXiv 2302.07387), with holes, in this
project's own spelling; see docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from t4spp.schemes.box_wise import STEPS, Steps, box_pixels, box_steps
from t4spp.schemes.explaining import worked_example
from t4spp.schemes.outlines import Part, centres_inside, fill, signed_area, trace
from t4spp.schemes.parsing import Notes
from t4spp.schemes.polygon_spelling import DigitSpelling, PolygonSpelling, TokenSpelling
from t4spp.schemes.region_wise import RegionWise
from t4spp.schemes.simplifying import LEAST, simplify
from t4spp.types import BACKGROUND, BoolMask, Box, Region

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Vertex = tuple[int, int]
"""(y, x) in steps."""
Rings = tuple[tuple[Vertex, ...], ...]
"""One part in steps: its outer ring, then its holes."""


class PolygonParams(BaseModel):
    """Parameters of ``polygon``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_vertices: Annotated[int, Field(ge=LEAST, le=256, strict=True)] = 32
    """Vertices of one region, all its rings together."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.002
    """Steps of simplification that move at most this share of the region's area are made even
    where the budget has room."""
    coordinates: Literal["tokens", "digits"] = "tokens"
    """Vertices as new tokens, or as numbers in digits."""
    bins: Annotated[int, Field(ge=2, le=64, strict=True)] | None = None
    """None: vertices count 1000 steps over the picture, in two tokens. Else each region writes its
    box first, and its vertices count this many steps an axis inside it, in one token."""
    keep_small: bool = True
    """Whether a target that holds no pixel's centre once it is rounded is written all the same."""
    max_label_chars: Annotated[int, Field(ge=1, le=1024, strict=True)] = 128
    """The longest label that is written or admitted, in characters."""
    max_regions: Annotated[int, Field(ge=1, le=1024, strict=True)] = 16
    """Regions that one descriptor may hold."""


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """One region as it stands in the text.

    Attributes:
        label: its name.
        steps: its box, where boxes are written.
        parts: at least one; each ring has at least three vertices.
    """

    label: str
    steps: Steps | None
    parts: tuple[Rings, ...]


class Polygon(RegionWise[Outlined]):
    """Label and vertices; see the module."""

    name: ClassVar[str] = "polygon"
    writes_boxes: ClassVar[bool] = True
    params: PolygonParams

    def __init__(self, params: PolygonParams) -> None:
        """Keep the parameters and name the tokens."""
        super().__init__(
            params, max_regions=params.max_regions, max_label_chars=params.max_label_chars
        )
        self.params = params
        kind = TokenSpelling if params.coordinates == "tokens" else DigitSpelling
        self._spelling: PolygonSpelling = kind(params.bins, params.max_vertices)
        self._steps = STEPS if params.bins is None else params.bins

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """``<|loc0|>`` to ``<|loc999|>``, ``<|pt0-0|>``.. with bins, ``<|part|>``, ``<|hole|>``."""
        return self._spelling.special_tokens

    def explain(self, labels: Sequence[str] | None = None) -> str:
        """What a vertex is, how rings follow each other, and an example; see :class:`Scheme`."""
        params = self.params
        if params.bins is None:
            vertex = (
                "A vertex is two whole numbers from 0 to 999: how far down and how far right it "
                "lies, in thousandths of the picture's height and width."
            )
        else:
            vertex = (
                "A bounding box is four whole numbers from 0 to 999: its upper, left, lower and "
                "right edge, in thousandths of the picture's height and width. A vertex is two "
                f"whole numbers from 0 to {params.bins - 1}: how far down and how far right it "
                f"lies in the box, {params.bins - 1} being the lower or right edge."
            )
        return (
            f"Write each region by itself, at most {params.max_regions}, ordered by their upper "
            f"edges, as the vertices of its outline, at most {params.max_vertices} in all. "
            f"{vertex} An outline begins with its uppermost vertex and runs clockwise, a hole's "
            f"counter-clockwise; each has at least {LEAST} vertices. {self._spelling.explained} "
            f'Where there is nothing, write "{BACKGROUND}" alone.\n'
            f"An example. {worked_example(self.encode, labels)}"
        )

    def _rules(self, names: Sequence[str] | None) -> list[str]:
        """The vertices of a region are counted."""
        return self._spelling.rules(names, self.params.max_label_chars)

    def expect(
        self, text: str, labels: Sequence[str] | None = None, *, digits_follow: bool = True
    ) -> Iterable[str]:
        """The label and what must stand behind it; an outline cannot be guessed."""
        return self._spelling.ahead(text, labels)

    def _spell(self, written: Outlined) -> str:
        return self._spelling.spell(written.label, written.steps, written.parts)

    def _most_tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        return self._spelling.most_tokens()

    def _read(self, text: str, notes: Notes) -> Iterator[Outlined]:
        for draft in self._spelling.drafts(text, notes):
            parts = draft.parts(self._steps, notes)
            if parts is not None:
                notes.read_something = True
                yield Outlined(label=draft.label, steps=draft.steps, parts=parts)

    def _frame(
        self, steps: Steps | None, size: tuple[int, int]
    ) -> tuple[tuple[int, int], tuple[float, float]]:
        """Where the steps are counted from, and how many pixels one takes, each (y, x)."""
        box = Box(y0=0, x0=0, y1=size[0], x1=size[1]) if steps is None else box_pixels(steps, size)
        return (box.y0, box.x0), (box.height / (self._steps - 1), box.width / (self._steps - 1))

    def _pixels(self, written: Outlined, size: tuple[int, int]) -> list[Part]:
        """The rings in pixels."""
        origin, step = self._frame(written.steps, size)
        return [
            [np.array(ring, dtype=np.float64) * step + origin for ring in rings]
            for rings in written.parts
        ]

    def _region(self, written: Outlined, size: tuple[int, int]) -> Region:
        mask = fill(self._pixels(written, size), size)
        box = Box.of_mask(mask) if written.steps is None else box_pixels(written.steps, size)
        return Region(label=written.label, mask=mask, box=box)

    def _write(
        self, label: str, mask: BoolMask, box: Box, ignore: BoolMask | None = None
    ) -> Outlined | None:
        size = (mask.shape[0], mask.shape[1])
        steps = None if self.params.bins is None else box_steps(box, size)
        traced = trace(mask, box)
        area = int(np.count_nonzero(mask[box.slices]))
        simple = iter(
            simplify(
                [ring for part in traced for ring in part],
                self.params.max_vertices,
                self.params.tolerance * area,
            )
        )
        origin, step = self._frame(steps, size)
        parts: list[Rings] = []
        first: tuple[Vertex, ...] = ()
        for part in traced:
            rings = []
            for place, simplified in enumerate([next(simple) for _ in part]):
                counted = np.rint((simplified - origin) / step).clip(0, self._steps - 1)
                vertices = [(int(y), int(x)) for y, x in counted]
                first = first or tuple(vertices[:LEAST])
                ring = _canonical(vertices, clockwise=place == 0)
                if place == 0 and not ring:
                    break
                rings += [ring] if ring else []
            if rings:
                parts.append((rings[0], *sorted(rings[1:])))
        if not parts:
            parts = [(tuple(sorted(first)),)]
        written = Outlined(label=label, steps=steps, parts=tuple(sorted(parts)))
        if self.params.keep_small or centres_inside(self._pixels(written, size), size).any():
            return written
        return None


def _canonical(vertices: Sequence[Vertex], *, clockwise: bool) -> tuple[Vertex, ...]:
    """A ring from its uppermost vertex, of these the leftmost, in its direction; () of no area.

    Vertices that add nothing are left out: doubled ones, those between two neighbours on one line,
    and spikes.
    """
    ring = list(vertices)
    place = 0
    while len(ring) >= LEAST and place < len(ring):
        (ay, ax), (by, bx), (cy, cx) = ring[place - 1], ring[place], ring[(place + 1) % len(ring)]
        if (bx - ax) * (cy - by) == (by - ay) * (cx - bx):
            del ring[place]
            place = max(place - 2, 0)
        else:
            place += 1
    if len(ring) < LEAST:
        return ()
    if (signed_area(np.array(ring, dtype=np.float64)) > 0) != clockwise:
        ring.reverse()
    start = ring.index(min(ring))
    return (*ring[start:], *ring[:start])
