"""Which regions of overlapping or neighbouring windows are one and the same thing.

Every region that a window's answer holds is a *piece*. Pieces of two windows are the same thing

- where both windows see the same pixels: if they fit each other best and their masks agree there
  (IoU of at least ``SAME_IOU``); or if a window's border cuts a piece, and the other window's
  piece covers most of what there is of it (``SAME_COVER``);
- where the windows only touch: if both reach the common border and lie side by side along it,
  give or take a pixel (at least ``SAME_CONTACT`` of the shorter one).

Nothing here knows about pixels that are finished: the stitcher says what may be forgotten.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t4spp.geo.blending import INSIDE, Levels, Weights
from t4spp.types import BoolMask, Box

SAME_IOU = 0.3
"""Least agreement of two pieces that fit each other best, where both windows look."""
SAME_COVER = 0.6
"""Least share of a cut piece that the other window's piece covers, where both windows look."""
SAME_CONTACT = 0.5
"""Least share of the shorter of two contacts with a common border that they face each other on."""


@dataclass(kw_only=True, eq=False, slots=True)
class View:
    """A window as far as it lies in the scene, and what weighs there."""

    number: int
    box: Box
    rows: Weights
    columns: Weights
    pieces: list[Piece] = field(default_factory=list)


@dataclass(kw_only=True, eq=False, slots=True)
class Piece:
    """One region of one window, on the scene's pixels.

    Attributes:
        number: unique in the scene, from 1.
        label: index of its phrase.
        box: around its levels, in the scene.
        levels: uint8 of the box's size.
        tight: around its mask, in the scene.
        view: the window.
        cut: whether its mask reaches a border of the window that is not the scene's.
        mask: bool of the tight box's size.
    """

    number: int
    label: int
    box: Box
    levels: Levels
    tight: Box
    view: View
    cut: bool
    mask: BoolMask = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Threshold once: every window that meets this one asks for parts of the mask."""
        rows = slice(self.tight.y0 - self.box.y0, self.tight.y1 - self.box.y0)
        columns = slice(self.tight.x0 - self.box.x0, self.tight.x1 - self.box.x0)
        self.mask = self.levels[rows, columns] >= INSIDE

    def mask_in(self, box: Box) -> BoolMask:
        """The mask in a box that lies in the tight one, bool of its size."""
        rows = slice(box.y0 - self.tight.y0, box.y1 - self.tight.y0)
        return self.mask[rows, box.x0 - self.tight.x0 : box.x1 - self.tight.x0]

    def area_in(self, box: Box) -> int:
        """Pixels of the mask in ``box``."""
        part = common(self.tight, box)
        return int(np.count_nonzero(self.mask_in(part))) if part is not None else 0


@dataclass(kw_only=True, eq=False, slots=True)
class Thing:
    """Pieces that are one thing, and what is known of it so far.

    Attributes:
        number: its lowest piece's.
        label: index of its phrase.
        bottom: the row behind its last one.
        windows: numbers of the windows that wrote it.
        pieces: those with rows that are not finished yet.
        parts: polygons of finished rows, in the scene's pixels.
        num_pixels: finished ones.
        occupancy: sum of their blended occupancy.
    """

    number: int
    label: int
    bottom: int
    windows: set[int] = field(default_factory=set)
    pieces: list[Piece] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    num_pixels: int = 0
    occupancy: float = 0.0

    def absorb(self, other: Thing) -> None:
        """Take over everything of another thing."""
        self.number = min(self.number, other.number)
        self.bottom = max(self.bottom, other.bottom)
        self.windows |= other.windows
        self.pieces += other.pieces
        self.parts += other.parts
        self.num_pixels += other.num_pixels
        self.occupancy += other.occupancy


class Things:
    """Things that are not finished, by the number of any of their pieces."""

    def __init__(self) -> None:
        self._of: dict[int, Thing] = {}
        self._numbers: dict[int, list[int]] = {}

    def __iter__(self) -> Iterator[Thing]:
        """Each thing once."""
        for key in list(self._numbers):
            yield self._of[key]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Thing:
        return self._of[number]

    def add(self, number: int, thing: Thing) -> None:
        """A thing that is known by ``number`` alone."""
        self._of[number] = thing
        self._numbers[number] = [number]
        thing.number = number

    def join(self, one: int, other: int) -> Thing:
        """The things that two numbers belong to become one."""
        a, b = self._of[one], self._of[other]
        if a is b:
            return a
        kept, gone = self._numbers.pop(a.number), self._numbers.pop(b.number)
        if len(kept) < len(gone):
            a, b, kept, gone = b, a, gone, kept
        for name in gone:
            self._of[name] = a
        kept += gone
        a.absorb(b)
        self._numbers[a.number] = kept
        return a

    def remove(self, thing: Thing) -> None:
        """Forget a finished thing."""
        for name in self._numbers.pop(thing.number):
            del self._of[name]


class Neighbours:
    """Windows that later ones may still meet, found by their columns."""

    def __init__(self, width: int) -> None:
        """Keep buckets of ``width`` columns; about a window's width is best."""
        self._width = max(width, 1)
        self._buckets: defaultdict[int, list[View]] = defaultdict(list)

    def _keys(self, box: Box) -> range:
        return range((box.x0 - 1) // self._width, box.x1 // self._width + 1)

    def add(self, view: View) -> None:
        """Remember a window."""
        for key in self._keys(view.box):
            self._buckets[key].append(view)

    def of(self, view: View) -> list[View]:
        """Remembered windows that overlap or touch ``view``, in the order they came."""
        found: dict[int, View] = {}
        for key in self._keys(view.box):
            for other in self._buckets.get(key, ()):
                if other.number not in found and _meet(view.box, other.box):
                    found[other.number] = other
        return [found[number] for number in sorted(found)]

    def forget(self, row: int) -> None:
        """Drop the windows that end above ``row``."""
        for key in list(self._buckets):
            kept = [view for view in self._buckets[key] if view.box.y1 >= row]
            if kept:
                self._buckets[key] = kept
            else:
                del self._buckets[key]


def same_things(new: View, old: View) -> Iterator[tuple[Piece, Piece]]:
    """Pairs (of ``new``, of ``old``) that are one thing."""
    shared = common(new.box, old.box)
    if shared is None:
        yield from _touching(new, old)
        return
    mine = [piece for piece in new.pieces if _overlap(piece.tight, shared)]
    theirs = [piece for piece in old.pieces if _overlap(piece.tight, shared)]
    if mine and theirs:
        yield from _agreeing(mine, theirs, shared)


def common(one: Box, other: Box) -> Box | None:
    """The intersection of two boxes; None where it has no pixel."""
    y0, y1 = max(one.y0, other.y0), min(one.y1, other.y1)
    x0, x1 = max(one.x0, other.x0), min(one.x1, other.x1)
    return Box(y0=y0, x0=x0, y1=y1, x1=x1) if y0 < y1 and x0 < x1 else None


def _overlap(one: Box, other: Box) -> bool:
    """Whether boxes have a pixel in common."""
    return one.y0 < other.y1 and other.y0 < one.y1 and one.x0 < other.x1 and other.x0 < one.x1


def _meet(one: Box, other: Box) -> bool:
    """Whether boxes overlap, or touch along a side."""
    rows = min(one.y1, other.y1) - max(one.y0, other.y0)
    columns = min(one.x1, other.x1) - max(one.x0, other.x0)
    return min(rows, columns) >= 0 and max(rows, columns) > 0


def _agreeing(
    mine: Sequence[Piece], theirs: Sequence[Piece], shared: Box
) -> Iterator[tuple[Piece, Piece]]:
    overlaps: list[tuple[float, int, Piece, Piece]] = []
    areas: dict[int, int] = {}
    for a in mine:
        for b in theirs:
            if a.label != b.label or not _overlap(a.tight, b.tight):
                continue
            both = common(a.tight, b.tight)
            both = None if both is None else common(both, shared)
            if both is None:
                continue
            inside = int(np.count_nonzero(a.mask_in(both) & b.mask_in(both)))
            if inside:
                for piece in (a, b):
                    if piece.number not in areas:
                        areas[piece.number] = piece.area_in(shared)
                union = areas[a.number] + areas[b.number] - inside
                overlaps.append((inside / union, inside, a, b))
    taken: set[int] = set()
    for iou, _, a, b in sorted(overlaps, key=lambda o: (-o[0], o[2].number, o[3].number)):
        if iou >= SAME_IOU and a.number not in taken and b.number not in taken:
            taken |= {a.number, b.number}
            yield a, b
    best: dict[int, tuple[int, Piece, Piece]] = {}
    for _, inside, a, b in overlaps:
        for piece in (a, b):
            if piece.cut and inside > best.get(piece.number, (0,))[0]:
                best[piece.number] = (inside, a, b)
    for number, (inside, a, b) in best.items():
        if inside >= SAME_COVER * areas[number]:
            yield a, b


def _touching(new: View, old: View) -> Iterator[tuple[Piece, Piece]]:
    """Pairs that face each other across the common side of windows that do not overlap."""
    side = _sides(new.box, old.box)
    if side is None:
        return
    here, there = side
    mine = [(p, line) for p in new.pieces if (line := _along(p, here)) is not None]
    theirs = [(p, line) for p in old.pieces if (line := _along(p, there)) is not None]
    pairs = [(a, one, b, other) for a, one in mine for b, other in theirs if a.label == b.label]
    faced: set[int] = set()
    for a, one, b, other in pairs:
        if (one & other).any():
            faced |= {a.number, b.number}
            if _face(one, other):
                yield a, b
    for a, one, b, other in pairs:  # descriptors round: a pixel off is no gap, if nothing is nearer
        if not {a.number, b.number} & faced and _face(one, other, give=True):
            yield a, b


def _face(one: BoolMask, other: BoolMask, *, give: bool = False) -> bool:
    """Whether most of the shorter of two contacts, bool[length], faces the other; a pixel given."""
    if np.count_nonzero(one) > np.count_nonzero(other):
        one, other = other, one
    facing = np.count_nonzero(one & (_widened(other) if give else other))
    return bool(facing and facing >= SAME_CONTACT * np.count_nonzero(one))


def _widened(line: BoolMask) -> BoolMask:
    """By a pixel on either side."""
    wide = line.copy()
    wide[1:] |= line[:-1]
    wide[:-1] |= line[1:]
    return wide


def _sides(new: Box, old: Box) -> tuple[Box, Box] | None:
    """The line of pixels of each window along their common side."""
    y0, y1 = max(new.y0, old.y0), min(new.y1, old.y1)
    x0, x1 = max(new.x0, old.x0), min(new.x1, old.x1)
    if y0 < y1 and new.x0 == old.x1:
        ours, others = new.x0, old.x1 - 1
    elif y0 < y1 and new.x1 == old.x0:
        ours, others = new.x1 - 1, old.x0
    elif x0 < x1 and new.y0 == old.y1:
        return (
            Box(y0=new.y0, x0=x0, y1=new.y0 + 1, x1=x1),
            Box(y0=old.y1 - 1, x0=x0, y1=old.y1, x1=x1),
        )
    else:
        return None
    return Box(y0=y0, x0=ours, y1=y1, x1=ours + 1), Box(y0=y0, x0=others, y1=y1, x1=others + 1)


def _along(piece: Piece, line: Box) -> BoolMask | None:
    """Where a piece's mask lies on a line of pixels, bool[length]; None where nowhere."""
    part = common(piece.tight, line)
    if part is None:
        return None
    found = np.zeros((line.height, line.width), dtype=np.bool_)
    rows = slice(part.y0 - line.y0, part.y1 - line.y0)
    found[rows, part.x0 - line.x0 : part.x1 - line.x0] = piece.mask_in(part)
    return found.ravel() if found.any() else None
