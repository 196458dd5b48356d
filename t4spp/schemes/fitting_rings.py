"""Rings of few lattice points that enclose almost what a mask does: rate against distortion.

A ring's vertices lie on a lattice over the mask's box; a region is the pixels that an odd number
of rings enclose. The search starts from the mask's own outline, thinned and put on the lattice,
and then goes on while the price falls, which is the pixels that are wrong, plus ``worth`` times the
mask's area for each token: it moves a vertex to the best of the lattice points around it, and makes
one vertex of two. What either would change is the exact number of pixels between the old edges and
the new ones, read from sums along the rows, so that rings that touch or cross are no exception.

Legend: ``h, w`` pixels of the mask that is fitted, ``R, C`` rows and columns of the lattice, ``N``
vertices, ``K`` candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from t4spp.schemes.grid import sample
from t4spp.schemes.outlines import signed_area, trace
from t4spp.schemes.simplifying import simplify
from t4spp.types import BoolMask, Box

Points = npt.NDArray[np.int64]
"""int64[N, 2]: a ring as (row, column) of lattice points."""

LEAST = 3
"""Vertices of a ring."""
SIDE = 96
"""Rows and columns of the mask that is fitted, at most; larger ones are sampled."""
_START = 2.0
"""The outline that the search starts from is thinned by steps that cost at most so many prices."""
_REACH = 2
"""Lattice steps that a vertex is moved at once, at most, up, down and to the sides."""
_FAR = 4.0
"""How many times longer an edge may become where it meets the edge behind the next."""
_ROUNDS = 30
"""Rounds of moves and removals, at most."""
_STEPS = np.array(list(product(range(-_REACH, _REACH + 1), repeat=2)), dtype=np.int64)


class Lattice:
    """Where the points of a lattice lie on (h, w) pixels, and what rings of them enclose."""

    def __init__(self, shape: tuple[int, int], size: tuple[int, int]) -> None:
        """Lay (R, C) points over (h, w) pixels, the outer ones on its edges."""
        self.shape = shape
        self.size = size
        self.y = np.arange(shape[0]) * (size[0] / (shape[0] - 1))
        self.x = np.arange(shape[1]) * (size[1] / (shape[1] - 1))
        self.first_row = np.ceil(self.y - 0.5).astype(np.int64)
        """int64[R]: the first row of pixels whose centres are not above a lattice row."""
        self._rows = np.arange(size[0])

    def crossings(self, points: Points, starts: Points, ends: Points, rows: Points) -> Points:
        """Where edges cross rows of pixels: the first pixel whose centre is not left of them.

        Args:
            points: int64[M, ..., 2], lattice points.
            starts: int64[E], the edges' first points, counted along M.
            ends: int64[E], their last points.
            rows: int64[..., L], rows of pixels; they need not lie on the picture.

        Returns:
            int64[E, ..., L]; w where an edge does not cross the row of centres.
        """
        row, y, x = points[..., 0], self.y[points[..., 0]], self.x[points[..., 1]]
        first = self.first_row[row]
        above, below = first[starts], first[ends]
        y0, x0 = y[starts], x[starts]
        down = y[ends] - y0
        down[down == 0] = 1.0
        slope = (x[ends] - x0) / down
        at = slope[..., None] * (rows + 0.5)
        at += (x0 - slope * y0 - 0.5)[..., None]
        np.ceil(at, out=at)
        low, high = np.minimum(above, below)[..., None], np.maximum(above, below)[..., None]
        crossed: Points = at.astype(np.int64)
        np.minimum(crossed, self.size[1], out=crossed)
        np.maximum(crossed, 0, out=crossed)
        np.putmask(crossed, (rows < low) | (rows >= high), self.size[1])
        return crossed

    def enclosed(self, starts: Points, ends: Points) -> BoolMask:
        """The pixels, bool[h, w], with an odd number of edges int64[N, 2] at their left."""
        height, width = self.size
        num = len(starts)
        first = np.arange(num)
        crossed = self.crossings(np.concatenate([starts, ends]), first, first + num, self._rows)
        flat = (crossed + self._rows * (width + 1)).ravel()
        counts = np.bincount(flat, minlength=height * (width + 1)).reshape(height, width + 1)
        odd: BoolMask = (np.cumsum(counts[:, :width], axis=1) & 1).astype(np.bool_)
        return odd

    def fill(self, rings: Sequence[Points]) -> BoolMask:
        """The pixels that an odd number of rings enclose, bool[h, w]; maybe none."""
        starts = np.concatenate(rings)
        return self.enclosed(starts, np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]))


def fit_rings(
    mask: BoolMask, shape: tuple[int, int], worth: float, max_tokens: int
) -> list[Points]:
    """Rings on a lattice over a mask's box, the largest first.

    Args:
        mask: bool[h, w] with at least one pixel.
        shape: rows and columns of the lattice, two at least.
        worth: share of the mask's area that a token must save.
        max_tokens: vertices of all rings and one token before each further ring, at most.

    Returns:
        At least one ring of at least three vertices, clockwise from its uppermost (of these the
        leftmost) point.
    """
    small = sample(mask, (min(mask.shape[0], SIDE), min(mask.shape[1], SIDE))).astype(np.bool_)
    if not small.any():
        small = np.ones_like(small)
    fit = _Fit(small, Lattice(shape, (small.shape[0], small.shape[1])), worth)
    for ring in _outline(small, shape, fit.price, max_tokens):
        fit.add(ring, max_tokens)
    fit.simplest()
    rings = sorted(fit.rings, key=lambda ring: -abs(signed_area(ring.astype(np.float64))))
    return [_canonical(ring) for ring in rings]


def _outline(mask: BoolMask, shape: tuple[int, int], price: float, max_tokens: int) -> list[Points]:
    """The mask's outline, thinned and put on the lattice, the largest rings first."""
    box = Box(y0=0, x0=0, y1=mask.shape[0], x1=mask.shape[1])
    rings = [ring for part in trace(mask, box) for ring in part]
    rings = [ring for ring in rings if abs(signed_area(ring)) > LEAST * price] or rings[:1]
    rings = simplify(rings, 2 * max_tokens, _START * price)
    scale = (np.array(shape) - 1) / np.array(mask.shape)
    last = np.array(shape) - 1
    rings = sorted((ring for ring in rings if len(ring)), key=lambda ring: -abs(signed_area(ring)))
    return [np.clip(np.rint(ring * scale), 0, last).astype(np.int64) for ring in rings]


def _canonical(ring: Points) -> Points:
    """The same ring clockwise from its uppermost point, of these the leftmost."""
    if signed_area(ring.astype(np.float64)) < 0:
        ring = ring[::-1]
    first = int(np.lexsort((ring[:, 1], ring[:, 0]))[0])
    return np.roll(ring, -first, axis=0)


def _distinct(ring: Points) -> Points:
    """Without points that repeat the one before."""
    kept: Points = ring[(ring != ring[np.arange(-1, len(ring) - 1)]).any(axis=1)]
    return kept


def _interleaved(one: Sequence[Points], other: Sequence[Points]) -> list[Points]:
    """Two sorted sequences of arrays as one, element by element (Batcher's odd-even merge, 1968).

    Args:
        one: arrays that broadcast, none greater anywhere than the one behind it.
        other: the same.
    """
    if not one or not other:
        return [*one, *other]
    if len(one) == len(other) == 1:
        return [np.minimum(one[0], other[0]), np.maximum(one[0], other[0])]
    odd, even = _interleaved(one[::2], other[::2]), _interleaved(one[1::2], other[1::2])
    merged = [odd[0]]
    for left, right in zip(odd[1:], even, strict=False):
        merged += [np.minimum(left, right), np.maximum(left, right)]
    return merged + odd[1 + len(even) :] + even[len(odd) - 1 :]


@lru_cache(maxsize=8)
def _detours(num_old: int, num_new: int) -> tuple[Points, Points]:
    """Edges as the places of their points, which are a chain's and those of its detours.

    Returns:
        starts and ends: the chain's own edges, those from its start to each further point, and
        those from there to its end.
    """
    further = list(range(num_old + 1, num_old + 1 + num_new))
    starts = [*range(num_old), *[0] * num_new, *further]
    ends = [*range(1, num_old + 1), *further, *[num_old] * num_new]
    return np.array(starts), np.array(ends)


class _Fit:
    """Rings that are fitted to a mask, one after the other."""

    def __init__(self, mask: BoolMask, lattice: Lattice, worth: float) -> None:
        self.mask = mask
        self.lattice = lattice
        self.price = worth * float(np.count_nonzero(mask))
        """Pixels that a token must save."""
        self.rings: list[Points] = []
        self.num_tokens = 0
        self.inside = np.zeros_like(mask)
        self._sums = np.zeros((mask.shape[0], mask.shape[1] + 1), dtype=np.int32)
        self._at = np.arange(mask.shape[0]) * (mask.shape[1] + 1)
        self._flip(np.zeros((0, 2), dtype=np.int64), np.zeros((0, 2), dtype=np.int64))

    def add(self, ring: Points, max_tokens: int) -> None:
        """Fit one more ring, where it saves what it costs."""
        further = int(bool(self.rings))
        room = max_tokens - self.num_tokens - further
        ring = _distinct(ring)
        if len(ring) < LEAST or room < LEAST:
            return
        before = self._num_wrong()
        self._flip(ring, np.roll(ring, -1, axis=0))
        ring = _distinct(self._polished(ring, room))
        num_tokens = len(ring) + further
        if len(ring) < LEAST or before - self._num_wrong() <= num_tokens * self.price:
            self._flip(ring, np.roll(ring, -1, axis=0))
            return
        self.num_tokens += num_tokens
        self.rings.append(ring)

    def simplest(self) -> None:
        """Take the whole box in place of all rings, where there are none or they cost more."""
        rows, columns = self.lattice.shape
        corners = [(0, 0), (0, columns - 1), (rows - 1, columns - 1), (rows - 1, 0)]
        price = self._num_wrong() + self.num_tokens * self.price
        num_outside = int(np.count_nonzero(~self.mask))
        if not self.rings or num_outside + len(corners) * self.price < price:
            self.rings = [np.array(corners, dtype=np.int64)]
            self.num_tokens = len(corners)

    def _num_wrong(self) -> int:
        return int(np.count_nonzero(self.inside != self.mask))

    def _flip(self, starts: Points, ends: Points) -> None:
        """Turn the pixels between closed chains of edges inside out."""
        self.inside ^= self.lattice.enclosed(starts, ends)
        saved = 2 * (self.inside ^ self.mask).astype(np.int32) - 1
        np.cumsum(saved, axis=1, out=self._sums[:, 1:])

    def _saved(self, chain: Sequence[Points], there: Points) -> Points:
        """Pixels that would be right if chains of edges went by way of one point instead.

        Only the rows that a chain or its candidates reach are looked at.

        Args:
            chain: int64[N, 2] each, the vertices of the chains, both ends included.
            there: int64[N, K, 2], the points between the ends.

        Returns:
            int64[N, K].
        """
        height, width = self.mask.shape
        num_old, num_new = len(chain) - 1, there.shape[1]
        points = np.concatenate([np.stack(chain), there.swapaxes(0, 1)])
        reached = self.lattice.first_row[points[..., 0]]
        low, high = reached.min(axis=0), reached.max(axis=0)
        rows = low[:, None] + np.arange(max(int((high - low).max()), 1))
        starts, ends = _detours(num_old, num_new)
        crossed = self.lattice.crossings(points, starts, ends, rows)
        # below the picture nothing crosses anything, whichever row of sums is read
        base = np.minimum(rows, height - 1) * (width + 1)
        crossed += base
        old: list[Points] = []
        for edge in crossed[:num_old]:
            old = _interleaved(old, [edge])
        first, second = crossed[num_old : num_old + num_new], crossed[num_old + num_new :]
        columns = _interleaved(old, _interleaved([first], [second]))
        if len(columns) % 2:
            columns.append(base + width)
        sums = self._sums.ravel()
        total = sums.take(columns[1])
        total -= sums.take(columns[0])
        for place in range(2, len(columns), 2):
            total += sums.take(columns[place + 1])
            total -= sums.take(columns[place])
        found: Points = total.sum(axis=-1, dtype=np.int64).T
        return found

    def _polished(self, ring: Points, room: int) -> Points:
        """Move and merge vertices while that lowers the price; the ring is drawn already."""
        active = np.ones(len(ring), dtype=np.bool_)
        for _ in range(_ROUNDS):
            ring, active = self._moved(ring, active)
            num = len(ring)
            ring, active = self._merged(ring, active, self.price)
            if len(ring) == num and not active.any():
                break
        while len(ring) > room:
            ring, active = self._merged(ring, active, float("inf"), len(ring) - room)
        return ring

    def _moved(self, ring: Points, active: BoolMask) -> tuple[Points, BoolMask]:
        """Every second vertex that is active to the best place around it, then the others."""
        after = np.zeros_like(active)
        num = len(ring)
        last = np.array(self.lattice.shape) - 1
        for parity in (0, 1):
            places = np.arange(parity, num - num % 2 if parity == 0 and num % 2 else num, 2)
            places = places[active[places]]
            if not len(places):
                continue
            before, here, behind = ring[places - 1], ring[places], ring[(places + 1) % num]
            there = np.clip(here[:, None] + _STEPS, 0, last)
            saved = self._saved((before, here, behind), there)
            best = saved.argmax(axis=1)
            gain = saved[np.arange(len(places)), best]
            better = np.flatnonzero(gain > 0)
            if not len(better):
                continue
            moved = self._tried(ring, places[better], there[better, best[better]])
            if moved is None and len(better) > 1:
                better = better[[int(np.argmax(gain[better]))]]
                moved = self._tried(ring, places[better], there[better, best[better]])
            if moved is not None:
                ring = moved
                changed = places[better]
                for near in (-1, 0, 1):
                    after[(changed + near) % num] = True
        return ring, after

    def _tried(self, ring: Points, places: Points, points: Points) -> Points | None:
        """The ring with some vertices elsewhere; None, and nothing done, where that saves nothing.

        Vertices that do not follow each other are moved at once; where they reach over each other,
        together they may save less than each alone.
        """
        wrong = self._num_wrong()
        before, here, behind = ring[places - 1], ring[places], ring[(places + 1) % len(ring)]
        starts = np.concatenate([before, here, before, points])
        ends = np.concatenate([here, behind, points, behind])
        self._flip(starts, ends)
        if self._num_wrong() >= wrong:
            self._flip(starts, ends)
            return None
        moved = ring.copy()
        moved[places] = points
        return moved

    def _merged(
        self, ring: Points, active: BoolMask, price: float, most: int | None = None
    ) -> tuple[Points, BoolMask]:
        """Edges drawn together into one vertex each, where that costs less than a price.

        Those that cost least come first; edges near each other wait for the next round.

        Args:
            ring: three vertices or more.
            active: bool[N], vertices around which something changed.
            price: in pixels.
            most: vertices to save; without it, a fifth of all.
        """
        num = len(ring)
        most = min(max(1, num // 5) if most is None else most, num - LEAST)
        if most < 1:
            return ring, active
        places = np.arange(num)
        before, after, last = (ring[(places + shift) % num] for shift in (-1, 1, 2))
        there = self._between(before, ring, after, last)
        saved = self._saved((before, ring, after, last), there)
        best = saved.argmax(axis=1)
        saved = saved.max(axis=1)
        chosen: list[int] = []
        for place in np.argsort(-saved, kind="stable").tolist():
            if len(chosen) == most or -saved[place] >= price:
                break
            if all(min((place - one) % num, (one - place) % num) > 2 for one in chosen):
                chosen.append(place)
        if not chosen:
            return ring, active
        at = np.array(chosen)
        points = there[at, best[at]]
        self._flip(
            np.concatenate([before[at], ring[at], after[at], before[at], points]),
            np.concatenate([ring[at], after[at], last[at], points, last[at]]),
        )
        ring, active = ring.copy(), active.copy()
        ring[at] = points
        for near in (-1, 0, 2):
            active[(at + near) % num] = True
        gone = (at + 1) % num
        return np.delete(ring, gone, axis=0), np.delete(active, gone)

    def _between(self, before: Points, one: Points, two: Points, last: Points) -> Points:
        """Lattice points that might stand for both ends of an edge, int64[N, 5, 2].

        Either end, the middle, where the edges before and after would meet, and halfway there.
        """
        along, back = (one - before).astype(np.float64), (last - two).astype(np.float64)
        chord = (last - before).astype(np.float64)
        cross = along[:, 0] * back[:, 1] - along[:, 1] * back[:, 0]
        reach = chord[:, 0] * back[:, 1] - chord[:, 1] * back[:, 0]
        reach = np.clip(reach / np.where(cross == 0, 1.0, cross), -_FAR, _FAR)
        middle = (one + two) / 2
        meeting = np.where(
            ((cross != 0) & (reach >= 1))[:, None], before + reach[:, None] * along, middle
        )
        points = np.stack([one, two, middle, meeting, (meeting + middle) / 2], axis=1)
        last_point = np.array(self.lattice.shape) - 1
        found: Points = np.clip(np.rint(points), 0, last_point).astype(np.int64)
        return found
