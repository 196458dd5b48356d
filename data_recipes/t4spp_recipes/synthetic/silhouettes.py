"""Varied silhouettes, drawn from a random generator: what a mask tokenizer is trained on.

Every silhouette is a function of the plane: ``x, y`` are float32[h, w] coordinates of pixels'
centres, about -1..1 around the object, and the answer says which of them lie inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask

Plane = npt.NDArray[np.float32]
"""float32[h, w]: one coordinate of every pixel."""
Point = npt.NDArray[np.float64]
"""float64[2]: (x, y)."""
Draw = Callable[[np.random.Generator, Plane, Plane], BoolMask]


def _waves(rng: np.random.Generator, x: Plane, y: Plane, frequency: float, num_waves: int) -> Plane:
    """A smooth random field of about unit variance, ``frequency`` in radians a unit."""
    total = np.zeros_like(x)
    drawn = rng.normal(0, frequency, (num_waves, 2)).tolist()
    phases = rng.uniform(0, 2 * np.pi, num_waves).tolist()
    for (fx, fy), phase in zip(drawn, phases, strict=True):
        total += np.cos(fx * x + fy * y + phase)
    return total * math.sqrt(2 / num_waves)


def _inside(x: Plane, y: Plane, vertices: npt.NDArray[np.float64]) -> BoolMask:
    """Even-odd rule for a polygon float64[n, 2] of (x, y)."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    following = np.roll(vertices, -1, axis=0)
    for (ax, ay), (bx, by) in zip(vertices.tolist(), following.tolist(), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def _capsule(x: Plane, y: Plane, start: Point, end: Point, near: float, far: float) -> BoolMask:
    """A limb from one joint (x, y) to another whose radius goes from ``near`` to ``far``."""
    dx, dy = (end - start).tolist()
    px, py = x - float(start[0]), y - float(start[1])
    along = np.clip((px * dx + py * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    reach = near + (far - near) * along
    return np.asarray((px - along * dx) ** 2 + (py - along * dy) ** 2 < reach * reach)


def _turned(angle: float, length: float) -> npt.NDArray[np.float64]:
    return np.array([np.sin(angle), np.cos(angle)]) * length


def lobes(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A round thing whose radius varies smoothly with the angle."""
    angle = np.arctan2(y, x)
    swell = np.zeros_like(x)
    strength, fall = rng.uniform(0.05, 0.5), rng.uniform(0.8, 2.0)
    for k in range(1, rng.integers(3, 12)):
        swell += strength / k**fall * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(x, y) < 0.8 * np.exp(swell))


def box(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """Anything between a diamond, an ellipse and a box."""
    power = float(rng.choice([1.3, 2.0, 2.0, 3.0, 5.0, 12.0]))
    return np.asarray(np.abs(x) ** power + np.abs(y) ** power < 0.85**power)


def quad(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A box seen askew."""
    corners = np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]])
    return _inside(x, y, corners + rng.normal(0, rng.uniform(0.02, 0.3), (4, 2)))


def polygon(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A star-shaped polygon of 3 to 24 corners, its corners sometimes cut."""
    count = int(rng.integers(3, 25))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    radii = rng.uniform(rng.uniform(0.25, 0.85), 1.0, count)
    vertices = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    if rng.random() < 0.5:
        following = np.roll(vertices, -1, axis=0)
        cut = [0.75 * vertices + 0.25 * following, 0.25 * vertices + 0.75 * following]
        vertices = np.stack(cut, axis=1).reshape(-1, 2)
    return _inside(x, y, vertices)


def cloud(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A thresholded Gaussian field: ragged, often in several parts."""
    field = _waves(rng, x, y, rng.uniform(1.5, 6.0), 20)
    return np.asarray(field - rng.uniform(0.6, 2.5) * (x * x + y * y) + rng.uniform(0, 1.2) > 0)


def body(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """An upright figure: head, trunk, arms and legs that bend."""
    thick = rng.uniform(0.10, 0.24)
    lean = rng.normal(0, 0.15)
    hip = np.array([rng.normal(0, 0.05), rng.uniform(-0.05, 0.25)])
    neck = hip - _turned(lean, rng.uniform(0.45, 0.65))
    inside = _capsule(x, y, neck, hip, thick * rng.uniform(0.9, 1.5), thick * rng.uniform(0.8, 1.3))
    head = neck - _turned(lean + rng.normal(0, 0.3), rng.uniform(0.16, 0.26))
    size = rng.uniform(0.10, 0.17)
    hx, hy = head.tolist()
    inside |= (x - hx) ** 2 + ((y - hy) / rng.uniform(1.0, 1.35)) ** 2 < size * size
    seated = rng.random() < 0.25
    for root, width, length, spread in (
        (neck, 0.55 * thick, 0.34, 0.9),
        (neck, 0.55 * thick, 0.34, 0.9),
        (hip, 0.75 * thick, 0.42, 1.3 if seated else 0.3),
        (hip, 0.75 * thick, 0.42, 1.3 if seated else 0.3),
    ):
        first = rng.normal(0, spread)
        middle = root + _turned(first, length * rng.uniform(0.8, 1.2))
        end = middle + _turned(first + rng.normal(0, 0.7), length * rng.uniform(0.7, 1.2))
        inside |= _capsule(x, y, root, middle, width, 0.8 * width)
        inside |= _capsule(x, y, middle, end, 0.8 * width, width * rng.uniform(0.4, 0.8))
    return inside


def beast(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A figure on four legs: trunk, neck, head, tail."""
    thick = rng.uniform(0.16, 0.34)
    back, front = np.array([-0.45, rng.normal(0, 0.08)]), np.array([0.4, rng.normal(0, 0.08)])
    inside = _capsule(x, y, back, front, thick, thick * rng.uniform(0.8, 1.2))
    head = front + _turned(rng.uniform(1.2, 3.1), rng.uniform(0.25, 0.6))
    inside |= _capsule(x, y, front, head, thick * 0.7, thick * rng.uniform(0.35, 0.6))
    nose = head + _turned(rng.uniform(0.6, 1.9), rng.uniform(0.1, 0.25))
    inside |= _capsule(x, y, head, nose, thick * rng.uniform(0.4, 0.7), thick * 0.3)
    for root in (back, back, front, front):
        start = root + np.array([rng.normal(0, 0.1), 0.0])
        knee = start + _turned(rng.normal(0, 0.35), rng.uniform(0.25, 0.45))
        end = knee + _turned(rng.normal(0, 0.3), rng.uniform(0.1, 0.4))
        inside |= _capsule(x, y, start, knee, thick * 0.45, thick * 0.25)
        inside |= _capsule(x, y, knee, end, thick * 0.25, thick * 0.2)
    if rng.random() < 0.7:
        end = back + _turned(rng.uniform(-2.8, -0.6), rng.uniform(0.2, 0.6))
        inside |= _capsule(x, y, back, end, thick * 0.25, thick * 0.1)
    return inside if rng.random() < 0.5 else inside[:, ::-1]


def strokes(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """Thin bent strokes, one or a few that meet."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    meeting = rng.uniform(-0.3, 0.3, 2)
    width = rng.uniform(0.04, 0.18)
    for number in range(rng.choice([1, 1, 2, 3, 5])):
        ends = rng.uniform(-1, 1, (3, 2))
        if number:
            ends[0] = meeting
        steps = np.linspace(0, 1, 7)[:, None]
        points = (1 - steps) ** 2 * ends[0] + 2 * steps * (1 - steps) * ends[1] + steps**2 * ends[2]
        widths = width * rng.uniform(0.6, 1.4, 7)
        for index in range(6):
            inside |= _capsule(
                x, y, points[index], points[index + 1], *widths[index : index + 2].tolist()
            )
    return inside


def stack(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """Two to five boxes and rounds joined: vehicles, furniture, vessels."""
    inside = np.zeros(x.shape, dtype=np.bool_)
    for _ in range(rng.integers(2, 6)):
        cx, cy = rng.uniform(-0.6, 0.6, 2).tolist()
        w, h = rng.uniform(0.12, 0.9, 2).tolist()
        power = float(rng.choice([2.0, 2.0, 4.0, 12.0]))
        inside |= np.abs((x - cx) / w) ** power + np.abs((y - cy) / h) ** power < 1
    return inside


def ring(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """A thing with a hole, sometimes with spokes."""
    outer = box(rng, x, y) if rng.random() < 0.5 else lobes(rng, x, y)
    scale = rng.uniform(1.15, 3.0)
    hole = lobes(rng, (x - rng.normal(0, 0.1)) * scale, (y - rng.normal(0, 0.1)) * scale)
    if rng.random() < 0.3:
        hole &= ~strokes(rng, x, y)
    return outer & ~hole


KINDS: dict[str, tuple[Draw, float]] = {
    "lobes": (lobes, 2.0),
    "box": (box, 1.2),
    "quad": (quad, 1.2),
    "polygon": (polygon, 2.0),
    "cloud": (cloud, 1.5),
    "body": (body, 4.0),
    "beast": (beast, 2.0),
    "strokes": (strokes, 1.0),
    "stack": (stack, 2.5),
    "ring": (ring, 0.8),
}
"""Name -> how it is drawn, and how often beside the others."""

_NAMES = tuple(KINDS)
_SHARES = np.array([share for _, share in KINDS.values()]) / sum(w for _, w in KINDS.values())


def _placed(rng: np.random.Generator, x: Plane, y: Plane, spread: float) -> tuple[Plane, Plane]:
    """The plane turned, stretched and bent at random."""
    turn = rng.normal(0, 0.2) if rng.random() < 0.65 else rng.uniform(-np.pi, np.pi)
    stretch = math.exp(rng.normal(0, spread))
    cosine, sine = math.cos(turn), math.sin(turn)
    u = (cosine * x + sine * y) * stretch
    v = (cosine * y - sine * x) / stretch
    u = u + rng.normal(0, 0.15) * v
    for strength, frequency in ((rng.uniform(0, 0.12), 2.5), (rng.uniform(0, 0.03), 9.0)):
        u, v = (
            u + strength * _waves(rng, x, y, frequency, 4),
            v + strength * _waves(rng, x, y, frequency, 4),
        )
    return np.asarray(u, dtype=np.float32), np.asarray(v, dtype=np.float32)


def silhouette(rng: np.random.Generator, height: int, width: int) -> BoolMask:
    """One thing on a canvas of its own, bool[height, width], at least one pixel of it.

    A kind of :data:`KINDS`, turned, stretched and bent; often joined with another, cut by what
    stands before it, and by the canvas.
    """
    reach = rng.uniform(1.0, 1.3)
    ys = ((np.arange(height) + 0.5) / height * 2 - 1) * reach
    xs = ((np.arange(width) + 0.5) / width * 2 - 1) * reach
    y, x = np.meshgrid(ys.astype(np.float32), xs.astype(np.float32), indexing="ij")
    inside = _one(rng, x, y)
    if rng.random() < 0.15:
        dx, dy = rng.normal(0, 0.5, 2).tolist()
        scale = np.float32(rng.uniform(1.2, 3.0))
        inside = inside | _one(rng, (x - dx) * scale, (y - dy) * scale)
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2])):
        rest = inside & ~_before(rng, x, y)
        if rest.sum() * 4 >= inside.sum():
            inside = rest
    if not inside.any():
        inside = x * x + y * y < rng.uniform(0.2, 1.0)
    if not inside.any():
        inside[height // 2, width // 2] = True
    return np.asarray(inside)


def _one(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    draw, _ = KINDS[_NAMES[int(rng.choice(len(_NAMES), p=_SHARES))]]
    return draw(rng, *_placed(rng, x, y, 0.25))


def _before(rng: np.random.Generator, x: Plane, y: Plane) -> BoolMask:
    """What hides a part: everything beyond a line, a box's corner, or another thing."""
    angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.8)
    cosine, sine = math.cos(angle), math.sin(angle)
    u = cosine * x + sine * y - distance
    v = cosine * y - sine * x
    kind = rng.random()
    if kind < 0.35:
        bend = rng.normal(0, 0.2) * v * v + rng.uniform(0, 0.08) * _waves(rng, x, y, 5.0, 4)
        return np.asarray(u + bend > 0)
    if kind < 0.6:
        return np.asarray((u > 0) & (v > rng.uniform(-0.8, 0.4)))
    scale = rng.uniform(1.0, 3.0)
    wide, high = (np.asarray(plane * scale, dtype=np.float32) for plane in (u, v))
    return _one(rng, wide, high)
