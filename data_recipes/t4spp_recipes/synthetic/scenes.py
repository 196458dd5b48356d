"""Scenes of RefShapes: where objects lie, which are hidden, and what the picture looks like."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.types import BoolMask, Box, Image
from t4spp_recipes.synthetic.params import COLOURS, UNSEEN_PAIRS, Difficulty
from t4spp_recipes.synthetic.shapes import coverage, unit_area


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    """One object: what it is, and its visible pixels bool[H, W]."""

    colour: str
    shape: str
    mask: BoolMask
    alpha: npt.NDArray[np.float32] = field(repr=False)
    window: tuple[slice, slice] = field(repr=False)

    @cached_property
    def area(self) -> int:
        """Visible pixels."""
        return int(self.mask.sum())

    @cached_property
    def box(self) -> Box:
        """The tightest box around the visible pixels."""
        box = Box.of_mask(self.mask)
        assert box is not None, "a scene keeps no invisible object"
        return box

    @cached_property
    def centre(self) -> tuple[float, float]:
        """(y, x) of the box's centre in pixels."""
        return (self.box.y0 + self.box.y1) / 2, (self.box.x0 + self.box.x1) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Objects in drawing order, and the seed of the picture's texture."""

    difficulty: Difficulty
    objects: tuple[Shape, ...]
    seed: tuple[int, ...]

    def render(self) -> Image:
        """The picture, uint8[size, size, 3]; the same for the same seed."""
        rng = np.random.default_rng([*self.seed, 1])
        size = self.difficulty.size
        picture = _ground(rng, size, self.difficulty.texture)
        for thing in self.objects:
            pure = np.asarray(COLOURS[thing.colour], dtype=np.float32)
            colour = pure * rng.uniform(0.82, 1.08) + rng.normal(0, 7, 3)
            window = picture[thing.window]
            rows, columns = window.shape[:2]
            slope = rng.normal(0, 14, 2)
            light = (
                slope[0] * np.linspace(-1, 1, rows)[:, None]
                + slope[1] * np.linspace(-1, 1, columns)[None]
            )
            grain = rng.normal(0, 5, (rows, columns))
            paint = colour + (light + grain)[..., None]
            alpha = thing.alpha[..., None]
            picture[thing.window] = window * (1 - alpha) + paint * alpha
        picture += rng.normal(0, 2, picture.shape)
        return np.clip(picture, 0, 255).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> npt.NDArray[np.float32]:
    """Bilinear value noise float32[size, size] with ``cells`` cells a side, unit variance."""
    knots = rng.normal(0, 1, (cells + 1, cells + 1)).astype(np.float32)
    position = np.linspace(0, cells, size, endpoint=False, dtype=np.float32)
    low = position.astype(np.intp)
    share = position - low
    rows = knots[low] * (1 - share)[:, None] + knots[low + 1] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share, dtype=np.float32)


def _ground(rng: np.random.Generator, size: int, strength: float) -> npt.NDArray[np.float32]:
    """A dull textured ground, float32[size, size, 3] in 0..255."""
    base = rng.uniform(55, 165) + rng.normal(0, 11, 3)
    field_ = 14 * _smooth_noise(rng, size, 4) + 8 * _smooth_noise(rng, size, 16)
    kind = rng.integers(4)
    axis = np.arange(size, dtype=np.float32)
    period = rng.uniform(6, 24) * size / 128
    if kind == 1:
        turn = rng.uniform(0, np.pi)
        wave = np.cos(turn) * axis[:, None] + np.sin(turn) * axis[None]
        field_ = field_ + 12 * np.sin(2 * np.pi * wave / period)
    elif kind == 2:
        checks = (axis[:, None] // period + axis[None] // period) % 2
        field_ = field_ + 18 * (checks - 0.5)
    elif kind == 3:
        field_ = field_ + rng.normal(0, 14, (size, size))
    tint = 1 + rng.normal(0, 0.12, 3)
    ground = base + strength * np.asarray(field_)[..., None] * tint
    return np.asarray(ground, dtype=np.float32)


def make_scene(difficulty: Difficulty, seed: tuple[int, ...], *, unseen: bool) -> Scene:
    """A scene that ``seed`` determines.

    Args:
        difficulty: what the scene may hold.
        seed: entropy of the scene, for example (seed, split, index).
        unseen: whether colour-shape pairs of ``UNSEEN_PAIRS`` may occur; training says False.

    Raises:
        RecipeError: no object fits.
    """
    rng = np.random.default_rng([*seed, 0])
    size = difficulty.size
    least = difficulty.area[0] * size * size
    wanted = int(rng.integers(difficulty.objects[0], difficulty.objects[1] + 1))
    placed: list[tuple[str, str, BoolMask, npt.NDArray[np.float32], tuple[slice, slice], int]] = []
    for attempt in range(wanted * 60):
        enough = wanted if attempt < wanted * 12 else difficulty.objects[0]
        if len(placed) >= enough:
            break
        pair = _choose_pair(rng, difficulty, [(p[0], p[1]) for p in placed], unseen=unseen)
        if pair is None:
            continue
        colour, shape = pair
        side = rng.uniform(*np.sqrt(difficulty.area)) * size
        radius = side / np.sqrt(unit_area(shape))
        if radius > 0.48 * size:
            continue
        angle = np.deg2rad(rng.uniform(-1, 1) * difficulty.rotation)
        if shape == "bar":
            angle += rng.integers(4) * np.pi / 4
        margin = min(0.8 * radius, size / 2)
        centre = tuple(rng.uniform(margin, size - margin, 2).tolist())
        alpha, window = coverage(shape, (centre[0], centre[1]), radius, float(angle), (size, size))
        mask = np.zeros((size, size), dtype=np.bool_)
        mask[window] = alpha >= 0.5
        area = int(mask.sum())
        if not least <= area <= difficulty.area[1] * size * size:
            continue
        left = [(other[2] & ~mask) for other in placed]
        fits = all(
            kept.sum() >= max(least, (1 - difficulty.hidden) * other[5])
            for kept, other in zip(left, placed, strict=True)
        )
        if not fits:
            continue
        placed = [
            (other[0], other[1], kept, *other[3:]) for kept, other in zip(left, placed, strict=True)
        ]
        placed.append((colour, shape, mask, alpha, window, area))
    if not placed:
        raise RecipeError(
            f"refshapes: no object fits a scene of {difficulty.size} x {difficulty.size} pixels "
            f"with area={difficulty.area}, shapes={', '.join(difficulty.shapes)}. Lower the areas "
            "or add shapes in difficulty."
        )
    objects = tuple(
        Shape(colour=colour, shape=shape, mask=mask, alpha=alpha, window=window)
        for colour, shape, mask, alpha, window, _ in placed
    )
    return Scene(difficulty=difficulty, objects=objects, seed=seed)


def _choose_pair(
    rng: np.random.Generator,
    difficulty: Difficulty,
    taken: list[tuple[str, str]],
    *,
    unseen: bool,
) -> tuple[str, str] | None:
    colour = str(rng.choice(difficulty.colours))
    shape = str(rng.choice(difficulty.shapes))
    if taken and rng.random() < difficulty.repeat:
        other = taken[int(rng.integers(len(taken)))]
        if rng.random() < 0.5:
            colour = other[0]
        else:
            shape = other[1]
    pair = (colour, shape)
    return None if pair in UNSEEN_PAIRS and not unseen else pair
