"""Which windows train and which are held out, by where they lie.

Neighbouring windows show the same streets and the same light, so a random split of windows
flatters a model. Here whole blocks of ground, or a strip at one side, are held out. A window
belongs to the block of its centre; train windows that would show ground of a held-out one are
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t4spp.errors import RecipeError
from t4spp.geo.crs import ground_distance, reproject_points
from t4spp.geo.scenes import Scene
from t4spp.geo.windows import WindowGrid
from t4spp.seeds import digest_of
from t4spp.types import Box
from t4spp_recipes.remote_sensing.configs import SplitConfig
from t4spp_recipes.remote_sensing.strips import held_out

NOWHERE = ""
"""The split of windows that are left out."""
BLOCKS = 8
"""Blocks along the area's longer side, unless ``block_m`` says otherwise."""
EDGE = 0.02
"""Pixels by which windows of two splits may overlap: rounding of the transforms."""


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """Positions in metres, near enough for parting ground: the first scene's CRS, scaled."""

    crs: str
    scale: tuple[float, float]

    @classmethod
    def of(cls, scene: Scene) -> _Plane:
        centre = scene.to_map(np.array([[scene.size[1] / 2, scene.size[0] / 2]]))
        step = float(np.hypot(*(scene.outline()[0] - scene.outline()[2]))) / 100
        metres = [
            float(ground_distance(centre, centre + np.array([offset]), scene.crs)[0]) / step
            for offset in ((step, 0.0), (0.0, step))
        ]
        return cls(crs=scene.crs, scale=(metres[0], metres[1]))

    def bounds(self, scene: Scene, boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64[N, 4] of (left, bottom, right, top) around windows, metres."""
        y0, x0, y1, x1 = (boxes[:, i].astype(np.float64) for i in range(4))
        corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 2)
        points = reproject_points(scene.to_map(corners), scene.crs, self.crs)
        points = (points * np.array(self.scale)).reshape(-1, 4, 2)
        return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def split_windows(
    scenes: Sequence[Scene],
    grids: Sequence[WindowGrid],
    scene_of: npt.NDArray[np.int32],
    number: npt.NDArray[np.int64],
    config: SplitConfig,
    seed: int,
) -> npt.NDArray[np.str_]:
    """The split of each window, str[N]: train, val, test, or ``NOWHERE``.

    Args:
        scenes: all of them.
        grids: their windows.
        scene_of: int32[N], number of each window's scene.
        number: int64[N], of each window in its grid.
        config: how to part the ground.
        seed: of the blocks' choice.

    Raises:
        RecipeError: the ground cannot be parted so.
    """
    if config.by == "side":
        return _by_side(scenes, grids, scene_of, number, config)
    plane = _Plane.of(scenes[0])
    bounds = np.zeros((len(number), 4))
    pixel = np.zeros(len(number))
    for index, (scene, grid) in enumerate(zip(scenes, grids, strict=True)):
        rows = np.flatnonzero(scene_of == index)
        if rows.size:
            boxes = grid.boxes(number[rows])  # what is padded shows no ground
            boxes = np.minimum(boxes, np.array([*scene.size, *scene.size]))
            bounds[rows] = plane.bounds(scene, boxes)
            pixel[rows] = min(scene.pixel_size)
    return _by_blocks(bounds, pixel * EDGE, config, seed)


def _by_blocks(
    bounds: npt.NDArray[np.float64],
    slack: npt.NDArray[np.float64],
    config: SplitConfig,
    seed: int,
) -> npt.NDArray[np.str_]:
    origin = np.array([bounds[:, 0].min(), bounds[:, 3].max()])  # the north-western corner
    extent = np.array([bounds[:, 2].max() - origin[0], origin[1] - bounds[:, 1].min()])
    window = np.median(bounds[:, 2:] - bounds[:, :2], axis=0)
    if config.block_m is None:  # a whole number of windows, so that few straddle a border
        side = window * np.maximum(np.round(extent.max() / BLOCKS / window), 2)
    else:
        side = np.full(2, config.block_m)

    centres = (bounds[:, :2] + bounds[:, 2:]) / 2
    of_window = np.floor(
        np.stack([centres[:, 0] - origin[0], origin[1] - centres[:, 1]], axis=1) / side
    ).astype(np.int64)
    blocks, block_of, counts = np.unique(of_window, axis=0, return_inverse=True, return_counts=True)
    names = _choose(blocks, counts, config, seed)
    found = names[block_of.reshape(-1)]
    # Windows reach over the borders of blocks: those that would show ground of a split that is
    # held out harder are left out, so that no held-out window is lost to its neighbours.
    for held, others in (("test", ("train", "val")), ("val", ("train",))):
        for name in others:
            gap = config.gap_m if name == "train" else 0.0
            rows = np.flatnonzero(found == name)
            near = _meeting(bounds, rows, np.flatnonzero(found == held), gap - slack)
            found[rows[near]] = NOWHERE
    for name in config.splits:
        if not (found == name).any():
            raise RecipeError(
                f"split: no window is left in {name!r}: {len(blocks)} blocks of "
                f"{side[0]:.0f} x {side[1]:.0f} m, windows of {window[0]:.0f} x {window[1]:.0f} m. "
                "Choose larger blocks (block_m), a smaller gap_m, or another share."
            )
    return found


def _meeting(
    bounds: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    margin: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """bool[N]: which of ``rows`` come nearer than ``margin`` metres to one of ``others``."""
    import shapely

    near = np.zeros(len(rows), dtype=np.bool_)
    if not len(rows) or not len(others):
        return near
    tree = shapely.STRtree(shapely.box(*bounds[others].T))
    own, m = bounds[rows], margin[rows]
    wide = shapely.box(own[:, 0] - m, own[:, 1] - m, own[:, 2] + m, own[:, 3] + m)
    near[np.unique(tree.query(wide)[0])] = True
    return near


def _choose(
    blocks: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    config: SplitConfig,
    seed: int,
) -> npt.NDArray[np.str_]:
    """The split of each block: ranked by a hash, until each has about its share of windows."""
    held = config.splits[1:]
    if len(blocks) <= len(held):
        raise RecipeError(
            f"split: the area has {len(blocks)} blocks, too few to hold out {' and '.join(held)}. "
            "Choose smaller blocks (block_m)."
        )
    ranked = sorted(range(len(blocks)), key=lambda i: digest_of("block", seed, *blocks[i].tolist()))
    shares = {"val": config.val_share, "test": config.test_share}
    chosen = np.full(len(blocks), "train", dtype="<U5")
    for place, name in enumerate(held):
        wanted, taken = shares[name] * counts.sum(), 0
        reserve = len(held) - place  # blocks that the later splits and train need
        while ranked and len(ranked) > reserve and (not taken or taken < wanted):
            index = ranked[0]
            if taken and taken + counts[index] - wanted > wanted - taken:
                break
            ranked.pop(0)
            taken += int(counts[index])
            chosen[index] = name
    return chosen


def _by_side(
    scenes: Sequence[Scene],
    grids: Sequence[WindowGrid],
    scene_of: npt.NDArray[np.int32],
    number: npt.NDArray[np.int64],
    config: SplitConfig,
) -> npt.NDArray[np.str_]:
    strip = held_out(scenes, config.val_share, config.side, config.gap_m)
    found = np.full(len(number), NOWHERE, dtype="<U5")
    for row, (index, which) in enumerate(zip(scene_of.tolist(), number.tolist(), strict=True)):
        if index in strip.val:
            found[row] = "val"
        elif strip.admits(scenes[index], _shown(scenes[index], grids[index][which].box)):
            found[row] = "train"
    if not (found == "train").any():
        raise RecipeError(
            f"split: no window of 'train' ends before the strip at the {config.side}: the scenes "
            "overlap too far, or gap_m is too wide. Choose another side, by: blocks, or a smaller "
            "gap_m."
        )
    return found


def _shown(scene: Scene, box: Box) -> Box:
    """A window without its padding."""
    return Box(y0=box.y0, x0=box.x0, y1=min(box.y1, scene.size[0]), x1=min(box.x1, scene.size[1]))
