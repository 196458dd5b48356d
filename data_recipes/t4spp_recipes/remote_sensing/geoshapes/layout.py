"""Where things lie in a generated scene, in its pixels: (column, row), corners at whole numbers.

A jittered lattice carries the scene: its rows are roads, its columns roads or rivers, and each
block between them holds fields, a village, a pond, or nothing but trees. Things do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

LATTICE_M = 128.0
"""Metres between the lattice's lines."""
JITTER_M = 12.0
"""Metres that a node of the lattice may be off, along each axis."""
VERGE_M = 3.0
"""Metres between a road or river and what a block holds."""
RIVER_M = 22.0
"""Width, metres."""
RIVER_EVERY = 9
"""Columns of the lattice from one river to the next."""
ROW_ROAD_M, COLUMN_ROAD_M = 8.0, 7.0
"""Widths, metres."""

CROPS = ("wheat", "maize", "meadow", "fallow")
ROOFS = ("clay_tiles", "tin", "concrete", "thatch")
CLASSES = ("building", "field", "road", "water")

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A thing of a scene.

    Attributes:
        polygon: a valid shapely Polygon in pixels.
        label: its class.
        properties: columns of the vector layer that it fills.
        look: what painting goes by: a crop, a roof, a surface or ``water``.
        angle: radians; of a field's furrows.
        shade: of a gabled roof, the half that lies in shade, in pixels.
    """

    polygon: Any
    label: str
    properties: dict[str, str]
    look: str
    angle: float = 0.0
    shade: Any = None


@dataclass(kw_only=True)
class Layout:
    """A scene's things and the trees around them, which are no thing of any class.

    Attributes:
        size: (H, W) in pixels.
        features: in the order of the vector layer.
        trees: shapely Polygons in pixels.
    """

    size: tuple[int, int]
    features: list[Feature] = field(default_factory=list)
    trees: list[Any] = field(default_factory=list)


def make_layout(size: tuple[int, int], pixel: float, seed: tuple[int, ...]) -> Layout:
    """The scene that ``seed`` determines.

    Args:
        size: (H, W) in pixels.
        pixel: metres a pixel.
        seed: entropy, for example (seed, scene).
    """
    return _Builder(size, pixel, np.random.default_rng([*seed, 0])).build()


class _Builder:
    def __init__(self, size: tuple[int, int], pixel: float, rng: np.random.Generator) -> None:
        self.layout = Layout(size=size)
        self.per_metre = 1.0 / pixel
        self.rng = rng
        self.step = LATTICE_M * self.per_metre
        rows, columns = (math.ceil(side / self.step) + 2 for side in size)
        lines = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        jitter = rng.uniform(-JITTER_M, JITTER_M, (rows, columns, 2)) * self.per_metre
        offset = rng.uniform(0.25, 0.75, 2)
        self.nodes = (lines - offset) * self.step + jitter
        """float64[rows, columns, 2]: (column, row) of the lattice's nodes, in pixels."""
        first = int(rng.integers(1, min(columns - 1, RIVER_EVERY)))
        self.rivers = frozenset(range(first, columns - 1, RIVER_EVERY))

    def build(self) -> Layout:
        self._lines()
        rows, columns = self.nodes.shape[:2]
        for row in range(rows - 1):
            for column in range(columns - 1):
                self._block(row, column)
        self._clip()
        return self.layout

    def _lines(self) -> None:
        """Roads along the rows; along the columns roads and rivers, cut where rows cross them."""
        import shapely

        rows, columns = self.nodes.shape[:2]
        across = []
        for row in range(rows):
            line = shapely.LineString(self.nodes[row])
            across.append(line.buffer(ROW_ROAD_M / 2 * self.per_metre, cap_style="flat"))
            self._road(across[-1], row)
        for column in range(columns):
            if column in self.rivers:
                line = shapely.LineString(self._meander(self.nodes[:, column]))
                body = line.buffer(RIVER_M / 2 * self.per_metre, cap_style="flat")
            else:
                line = shapely.LineString(self.nodes[:, column])
                body = line.buffer(COLUMN_ROAD_M / 2 * self.per_metre, cap_style="flat")
            for row in across:
                body = body.difference(row)
            for part in shapely.get_parts(body):
                if column in self.rivers:
                    self._add(part, "water", {"water": "river"}, "water")
                else:
                    self._road(part, column + 1)

    def _road(self, polygon: Any, number: int) -> None:
        surface = "gravel" if number % 3 == 2 else "asphalt"
        self._add(polygon, "road", {"surface": surface}, surface)

    def _meander(self, nodes: Points) -> Points:
        """A smooth line near the nodes: corners cut three times, with bends between them."""
        points = [nodes[0]]
        for start, stop in pairwise(nodes):
            middle = (start + stop) / 2
            middle[0] += self.rng.uniform(-5.0, 5.0) * self.per_metre
            points += [middle, stop]
        line = np.array(points)
        for _ in range(3):
            ahead, behind = 0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]
            cut = np.stack([ahead, behind], axis=1).reshape(-1, 2)
            line = np.concatenate([line[:1], cut, line[-1:]])
        return line

    def _block(self, row: int, column: int) -> None:
        """What stands between four nodes."""
        import shapely

        corners = self.nodes[[row, row, row + 1, row + 1], [column, column + 1, column + 1, column]]
        inside = shapely.Polygon(corners).buffer(
            -(ROW_ROAD_M / 2 + VERGE_M) * self.per_metre, join_style="mitre"
        )
        for side in {column, column + 1} & self.rivers:
            line = shapely.LineString(self.nodes[[row, row + 1], [side, side]])
            reach = (RIVER_M / 2 + 8.0 + VERGE_M) * self.per_metre
            inside = inside.difference(line.buffer(reach, cap_style="square"))
        kind = self.rng.choice(["fields", "village", "pond", "wild"], p=[0.34, 0.5, 0.09, 0.07])
        if kind == "fields":
            self._fields(corners, inside)
        elif kind == "village":
            self._village(corners, inside)
        elif kind == "pond":
            self._pond(inside)
        self._trees(inside, {"fields": 1, "village": 6, "pond": 8, "wild": 26}[str(kind)])

    def _fields(self, corners: Points, inside: Any) -> None:
        import shapely

        splits = [np.linspace(0, 1, int(self.rng.integers(2, 4))) for _ in range(2)]
        angle = float(np.arctan2(*(corners[1] - corners[0])[::-1]))
        for top, bottom in pairwise(splits[0]):
            for left, right in pairwise(splits[1]):
                square = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
                parcel = shapely.Polygon(_within(corners, square)).intersection(inside)
                parcel = parcel.buffer(-0.9 * self.per_metre, join_style="mitre")
                crop = str(self.rng.choice(CROPS))
                turn = float(self.rng.integers(2)) * math.pi / 2
                for part in shapely.get_parts(parcel):
                    self._add(part, "field", {"crop": crop}, crop, angle=angle + turn)

    def _village(self, corners: Points, inside: Any) -> None:
        down, across = (int(self.rng.integers(2, 5)) for _ in range(2))
        placed: list[Any] = []
        east = corners[1] - corners[0]
        direction = math.atan2(east[1], east[0])
        for row in range(down):
            for column in range(across):
                if self.rng.random() < 0.12:
                    continue
                place = np.array([[(column + 0.5) / across, (row + 0.5) / down]])
                place += self.rng.uniform(-0.05, 0.05, (1, 2))
                centre = _within(corners, place)[0]
                angle = direction + self.rng.normal(0, 0.05) + self.rng.integers(2) * math.pi / 2
                feature = self._building(centre, angle, min(30.0, 88.0 / max(down, across)))
                apart = 2.5 * self.per_metre
                if inside.contains(feature.polygon) and all(
                    feature.polygon.distance(other) >= apart for other in placed
                ):
                    placed.append(feature.polygon)
                    self.layout.features.append(feature)

    def _building(self, centre: Points, angle: float, largest: float) -> Feature:
        import shapely
        from shapely.affinity import affine_transform

        long = self.rng.uniform(9.0, largest) * self.per_metre
        short = long * self.rng.uniform(0.5, 1.0)
        roof = str(self.rng.choice(ROOFS))
        shape = str(self.rng.choice(["gabled", "flat", "l-shaped"], p=[0.45, 0.35, 0.2]))
        own = shapely.box(-long / 2, -short / 2, long / 2, short / 2)
        shade = None
        if shape == "l-shaped":
            own = own.difference(shapely.box(0.05 * long, 0.05 * short, long, short))
        elif shape == "gabled":
            shade = shapely.box(-long / 2, 0, long / 2, short / 2)
        cos, sin = math.cos(angle), math.sin(angle)
        place = [cos, -sin, sin, cos, float(centre[0]), float(centre[1])]
        return Feature(
            polygon=affine_transform(own, place),
            label="building",
            properties={
                "roof:material": roof,
                "roof:shape": "gabled" if shape == "gabled" else "flat",
            },
            look=roof,
            shade=None if shade is None else affine_transform(shade, place),
        )

    def _pond(self, inside: Any) -> None:
        import shapely

        if inside.is_empty:
            return
        angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        radius = np.full(48, self.rng.uniform(16.0, 34.0))
        for wave in (2, 3, 5):
            radius *= 1 + self.rng.uniform(0, 0.14) * np.cos(wave * angles + self.rng.uniform(0, 6))
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
        middle = shapely.get_coordinates(inside.centroid)[0]
        pond = shapely.Polygon(middle + around * self.per_metre).intersection(inside)
        for part in shapely.get_parts(pond):
            self._add(part, "water", {"water": "pond"}, "water")

    def _trees(self, inside: Any, num: int) -> None:
        import shapely

        if inside.is_empty:
            return
        left, top, right, bottom = inside.bounds
        for x, y, radius in self.rng.uniform((left, top, 1.5), (right, bottom, 4.5), (num, 3)):
            self.layout.trees.append(shapely.Point(x, y).buffer(radius * self.per_metre))

    def _add(
        self,
        polygon: Any,
        label: str,
        properties: dict[str, str],
        look: str,
        angle: float = 0.0,
    ) -> None:
        if polygon.geom_type == "Polygon" and not polygon.is_empty:
            self.layout.features.append(
                Feature(polygon=polygon, label=label, properties=properties, look=look, angle=angle)
            )

    def _clip(self) -> None:
        """Keep what lies in the scene, cut at its edges; slivers under 4 pixels are dropped."""
        import shapely

        height, width = self.layout.size
        frame = shapely.box(0, 0, width, height)
        self.layout.features = [
            cut for feature in self.layout.features for cut in _cut(feature, frame)
        ]
        self.layout.trees = [tree for tree in self.layout.trees if tree.intersects(frame)]


def _cut(feature: Feature, frame: Any) -> Iterator[Feature]:
    import shapely

    if frame.contains(feature.polygon):
        yield feature
        return
    for part in shapely.get_parts(feature.polygon.intersection(frame)):
        if part.geom_type == "Polygon" and part.area >= 4:
            yield replace(feature, polygon=part)


def _within(corners: Points, places: Points) -> Points:
    """Bilinear places (s, t) of a block, float64[N, 2], as pixels."""
    s, t = places[:, :1], places[:, 1:]
    top = corners[0] * (1 - s) + corners[1] * s
    bottom = corners[3] * (1 - s) + corners[2] * s
    return np.asarray(top * (1 - t) + bottom * t, dtype=np.float64)
