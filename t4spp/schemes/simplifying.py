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

Point = tuple[float, float]
"""(y, x)."""
Plan = tuple[float, float, float]
"""Square pixels that a step moves, and where the vertex that stays comes to lie (y, x)."""


def simplify(rings: Sequence[Ring], budget: int, tolerance: float) -> list[Ring]:
    """The same rings with at most ``budget`` vertices together; a ring left out has none.

    Args:
        rings: in pixels, of at least three vertices each.
        budget: at least three, so that one ring always stays.
        tolerance: square pixels; steps that move no more are made although the budget has room.
    """
    thinned = _Removing([_cornered(ring) for ring in rings]).run(budget * ROOM, 0.0)
    kept = [place for place, ring in enumerate(thinned) if len(ring)]
    found = _Collapsing([thinned[place] for place in kept]).run(budget, tolerance)
    none = np.zeros((0, 2), dtype=np.float64)
    simple = dict(zip(kept, found, strict=True))
    return [simple.get(place, none) for place in range(len(rings))]


def _cornered(ring: Ring) -> Ring:
    """A ring without the vertices inside its straight stretches.

    The first pass would take just these first, one by one. A ring with a spike, or of which hardly
    a corner is left, is left to it.
    """
    back, on = ring[np.arange(-1, len(ring) - 1)] - ring, ring[np.arange(1 - len(ring), 1)] - ring
    straight = back[:, 0] * on[:, 1] == back[:, 1] * on[:, 0]
    spikes = straight & (back[:, 0] * on[:, 0] + back[:, 1] * on[:, 1] >= 0)
    kept = ring[~straight]
    return ring if spikes.any() or len(kept) <= LEAST else kept


class _Steps:
    """Rings as linked vertices, and a heap of the steps that take one vertex each."""

    def __init__(self, rings: Sequence[Ring]) -> None:
        self.at: list[Point] = []
        self.before: list[int] = []
        self.after: list[int] = []
        self.ring: list[int] = []
        self.sizes = [len(ring) for ring in rings]
        self.areas = [abs(signed_area(ring)) for ring in rings]
        for number, ring in enumerate(rings):
            first, end = len(self.at), len(self.at) + len(ring)
            self.at += zip(ring[:, 0].tolist(), ring[:, 1].tolist(), strict=True)
            self.ring += [number] * len(ring)
            self.before += [end - 1, *range(first, end - 1)]
            self.after += [*range(first + 1, end), first]
        self.alive = [True] * len(self.at)
        self.version = [0] * len(self.at)
        self.plans = self.first_plans(rings)
        self.heap = [(plan[0], index, 0) for index, plan in enumerate(self.plans)]
        heapq.heapify(self.heap)

    def first_plans(self, rings: Sequence[Ring]) -> list[Plan]:
        """The step at every vertex of the rings as they are given."""
        return [self.planned(index) for index in range(len(self.at))]

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
        return (self.areas[number], *self.at[index])

    def anew(self, indices: Sequence[int], least: float = 0.0) -> None:
        """Plan steps again; none is to cost less than ``least``, what was paid before it."""
        plans, versions = self.plans, self.version
        for index in dict.fromkeys(indices):
            plan = self.planned(index)
            if plan[0] < least:
                plan = least, plan[1], plan[2]
            plans[index] = plan
            version = versions[index] = versions[index] + 1
            heapq.heappush(self.heap, (plan[0], index, version))

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
                found[number].append(self.at[index])
        return [np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in found]


class _Removing(_Steps):
    """A step takes a vertex away, at the price of the triangle with its neighbours."""

    def first_plans(self, rings: Sequence[Ring]) -> list[Plan]:
        """As :meth:`plan`, a ring at once: nearly all vertices of a traced outline go this way."""
        plans: list[Plan] = []
        for number, ring in enumerate(rings):
            (y, x), (y0, x0), (y1, x1) = (np.roll(ring, shift, axis=0).T for shift in (0, 1, -1))
            prices = 0.5 * abs((x0 - x) * (y1 - y) - (x1 - x) * (y0 - y))
            if len(ring) <= LEAST:
                prices[:] = self.areas[number]
            plans += zip(prices.tolist(), y.tolist(), x.tolist(), strict=True)
        return plans

    def plan(self, index: int) -> Plan:
        (y0, x0), (y1, x1) = self.at[self.before[index]], self.at[self.after[index]]
        y, x = self.at[index]
        return 0.5 * abs((x0 - x) * (y1 - y) - (x1 - x) * (y0 - y)), y, x

    def take(self, index: int, plan: Plan) -> None:
        self.unlink(index)
        # an outline is not worn down step by small step: what was paid once is the least
        self.anew((self.before[index], self.after[index]), least=plan[0])


class _Collapsing(_Steps):
    """A step turns the edge behind a vertex into one vertex, which takes this one's place."""

    def plan(self, index: int) -> Plan:
        b, c = index, self.after[index]
        at = self.at
        return collapse(at[self.before[b]], at[b], at[c], at[self.after[c]])

    def take(self, index: int, plan: Plan) -> None:
        self.unlink(self.after[index])
        self.at[index] = plan[1], plan[2]
        before = self.before[index]
        self.anew((self.before[before], before, index, self.after[index]))


IMPOSSIBLE = float("inf")


def collapse(a: Point, b: Point, c: Point, d: Point) -> Plan:
    """The vertex E for which A E D encloses what A B C D does, and the area that lies between.

    E lies on the line A B or on C D: on that of the two whose outer end is farther from A D, or,
    where B and C lie on both sides of A D, on the side on which E must lie.
    """
    (ay, ax), (by, bx), (cy, cx), (dy, dx) = a, b, c, d
    uy, ux = dy - ay, dx - ax
    from_b, from_c = ux * (by - ay) - uy * (bx - ax), ux * (cy - ay) - uy * (cx - ax)
    from_e = -((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) - ((cx - ax) * uy - ux * (cy - ay))
    on_ab = abs(from_b) > abs(from_c) if from_b * from_c >= 0 else from_e * from_b >= 0
    # from here on E = start + t * (near - start), and the new edge from E to far crosses the old
    # one from near to other
    if on_ab:
        side, sy, sx, ny, nx, fy, fx, oy, ox = from_b, ay, ax, by, bx, dy, dx, cy, cx
    else:
        side, sy, sx, ny, nx, fy, fx, oy, ox = from_c, dy, dx, cy, cx, ay, ax, by, bx
    if side == 0:
        if from_e != 0:
            return IMPOSSIBLE, by, bx
        t = 0.0
    else:
        t = from_e / side
    ey, ex = sy + t * (ny - sy), sx + t * (nx - sx)
    # where E far meets the line near other, or the end of E far that is nearest it
    my, mx = ny, nx
    down, across = oy - ny, ox - nx
    span_y, span_x = fy - ey, fx - ex
    parallel = span_x * down - span_y * across
    if parallel != 0:
        t = ((nx - ex) * down - (ny - ey) * across) / parallel
        t = 0.0 if t < 0 else 1.0 if t > 1 else t
        my, mx = ey + t * span_y, ex + t * span_x
    first = 0.5 * abs((ny - ey) * (mx - ex) - (nx - ex) * (my - ey))
    second = 0.5 * abs((oy - my) * (fx - mx) - (ox - mx) * (fy - my))
    return first + second, ey, ex
