"""Rings with fewer vertices: a budget over all rings of a region, spent where it saves most area.

Two passes. Removal of single vertices, the smallest triangle first (Visvalingam and Whyatt, "Line
generalisation by repeated elimination of points", The Cartographic Journal 30(1), 1993), thins a
long contour cheaply. Then edges are collapsed: the edge B C of A B C D becomes one vertex E, set
so that the area does not change and the outline moves least (Kronenfeld, Stanislawski, Buttenfield
and Brockmeyer, "Simplification of polylines by segment collapse", International Journal of
Cartography 6(1), 2020). A ring of three vertices goes as a whole, at the price of its area.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from t4spp.schemes.outlines import Ring, signed_area

LEAST = 3
"""Vertices of a ring."""
ROOM = 4
"""Vertices that the first pass leaves, as a multiple of the budget."""

Plan = tuple[float, float, float]
"""Square pixels that a step moves, and where the vertex that stays comes to lie (y, x)."""


def simplify(rings: Sequence[Ring], budget: int, tolerance: float) -> list[Ring]:
    """The same rings with at most ``budget`` vertices together; a ring left out has none.

    Args:
        rings: in pixels, of at least three vertices each.
        budget: at least three, so that one ring always stays.
        tolerance: square pixels; steps that move no more are made although the budget has room.
    """
    thinned = _Removing(rings).run(budget * ROOM, 0.0)
    kept = [place for place, ring in enumerate(thinned) if len(ring)]
    found = _Collapsing([thinned[place] for place in kept]).run(budget, tolerance)
    none = np.zeros((0, 2), dtype=np.float64)
    simple = dict(zip(kept, found, strict=True))
    return [simple.get(place, none) for place in range(len(rings))]


class _Steps:
    """Rings as linked vertices, and a heap of the steps that take one vertex each."""

    def __init__(self, rings: Sequence[Ring]) -> None:
        self.y: list[float] = []
        self.x: list[float] = []
        self.before: list[int] = []
        self.after: list[int] = []
        self.ring: list[int] = []
        self.sizes = [len(ring) for ring in rings]
        self.areas = [abs(signed_area(ring)) for ring in rings]
        for number, ring in enumerate(rings):
            first, length = len(self.y), len(ring)
            self.y += ring[:, 0].tolist()
            self.x += ring[:, 1].tolist()
            self.ring += [number] * length
            self.before += [first + (index - 1) % length for index in range(length)]
            self.after += [first + (index + 1) % length for index in range(length)]
        self.alive = [True] * len(self.y)
        self.version = [0] * len(self.y)
        self.plans = [self.planned(index) for index in range(len(self.y))]
        self.heap = [(plan[0], index, 0) for index, plan in enumerate(self.plans)]
        heapq.heapify(self.heap)

    def plan(self, index: int) -> Plan:
        """The step at a vertex of a ring of four or more."""
        raise NotImplementedError

    def take(self, index: int, plan: Plan) -> None:
        """Make the step at a vertex, and plan those around it anew."""
        raise NotImplementedError

    def planned(self, index: int) -> Plan:
        number = self.ring[index]
        if self.sizes[number] > LEAST:
            return self.plan(index)
        return self.areas[number], self.y[index], self.x[index]

    def anew(self, indices: Sequence[int], least: float = 0.0) -> None:
        """Plan steps again; none is to cost less than ``least``, what was paid before it."""
        for index in dict.fromkeys(indices):
            plan = self.planned(index)
            self.plans[index] = max(plan[0], least), plan[1], plan[2]
            self.version[index] += 1
            heapq.heappush(self.heap, (self.plans[index][0], index, self.version[index]))

    def unlink(self, index: int) -> None:
        """Take a vertex out of its ring."""
        before, after = self.before[index], self.after[index]
        self.after[before], self.before[after] = after, before
        self.alive[index] = False
        self.sizes[self.ring[index]] -= 1

    def run(self, budget: int, tolerance: float) -> list[Ring]:
        left = sum(self.sizes)
        num_rings = len(self.sizes)
        while self.heap and (left > budget or self.heap[0][0] <= tolerance):
            _, index, version = heapq.heappop(self.heap)
            if not self.alive[index] or version != self.version[index]:
                continue
            if self.sizes[self.ring[index]] > LEAST:
                self.take(index, self.plans[index])
                left -= 1
            elif num_rings > 1:
                for other in (self.before[index], self.after[index], index):
                    self.unlink(other)
                left -= LEAST
                num_rings -= 1
        found: list[list[tuple[float, float]]] = [[] for _ in self.sizes]
        for index, number in enumerate(self.ring):
            if self.alive[index]:
                found[number].append((self.y[index], self.x[index]))
        return [np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in found]


class _Removing(_Steps):
    """A step takes a vertex away, at the price of the triangle with its neighbours."""

    def plan(self, index: int) -> Plan:
        before, after = self.before[index], self.after[index]
        y, x = self.y[index], self.x[index]
        cross = (self.x[before] - x) * (self.y[after] - y) - (self.x[after] - x) * (
            self.y[before] - y
        )
        return 0.5 * abs(cross), y, x

    def take(self, index: int, plan: Plan) -> None:
        self.unlink(index)
        # an outline is not worn down step by small step: what was paid once is the least
        self.anew((self.before[index], self.after[index]), least=plan[0])


class _Collapsing(_Steps):
    """A step turns the edge behind a vertex into one vertex, which takes this one's place."""

    def plan(self, index: int) -> Plan:
        b, c = index, self.after[index]
        a, d = self.before[b], self.after[c]
        return collapse(
            (self.y[a], self.x[a]),
            (self.y[b], self.x[b]),
            (self.y[c], self.x[c]),
            (self.y[d], self.x[d]),
        )

    def take(self, index: int, plan: Plan) -> None:
        self.unlink(self.after[index])
        _, self.y[index], self.x[index] = plan
        before = self.before[index]
        self.anew((self.before[before], before, index, self.after[index]))


Point = tuple[float, float]
IMPOSSIBLE = float("inf")


def collapse(a: Point, b: Point, c: Point, d: Point) -> Plan:
    """The vertex E for which A E D encloses what A B C D does, and the area that lies between.

    E lies on the line A B or on C D: on that of the two whose outer end is farther from A D, or,
    where B and C lie on both sides of A D, on the side on which E must lie.
    """
    uy, ux = d[0] - a[0], d[1] - a[1]
    by, bx, cy, cx = b[0] - a[0], b[1] - a[1], c[0] - a[0], c[1] - a[1]
    side_b, side_c = ux * by - uy * bx, ux * cy - uy * cx
    side_e = -(bx * cy - cx * by) - (cx * uy - ux * cy)
    on_ab = abs(side_b) > abs(side_c) if side_b * side_c >= 0 else side_e * side_b >= 0
    # from here on E = start + t (end - start), and the new edge E far crosses the old one
    start, end, near, far = (a, b, b, d) if on_ab else (d, c, c, a)
    other = c if on_ab else b
    side = side_b if on_ab else side_c
    if side == 0:
        if side_e != 0:
            return IMPOSSIBLE, b[0], b[1]
        t = 0.0
    else:
        t = side_e / side
    ey, ex = start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])
    cross = _crossing((ey, ex), far, near, other)
    moved = _triangle((ey, ex), near, cross) + _triangle(cross, other, far)
    return moved, ey, ex


def _crossing(e: Point, far: Point, near: Point, other: Point) -> Point:
    """Where the edge from E to ``far`` meets the line ``near``-``other``, or the end nearest it."""
    down, across = other[0] - near[0], other[1] - near[1]
    span_y, span_x = far[0] - e[0], far[1] - e[1]
    parallel = span_x * down - span_y * across
    if parallel == 0:
        return near
    t = ((near[1] - e[1]) * down - (near[0] - e[0]) * across) / parallel
    t = min(1.0, max(0.0, t))
    return e[0] + t * span_y, e[1] + t * span_x


def _triangle(a: Point, b: Point, c: Point) -> float:
    return 0.5 * abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
