"""Windows' answers become one answer about the scene; finished rows leave at once.

Masks: at every pixel the occupancy that the windows state is averaged, each window weighed by how
far the pixel lies from its borders; a pixel is inside from a half. Objects: regions that are one
thing (:mod:`t4spp.geo.instances`) form one object; where several claim a pixel of the mask, it goes
to the one with the most weight. So the objects of a phrase never overlap, and together they are
its mask.

Memory: the rows that windows of two grid rows cover, times the scene's width; and the outlines of
objects that reach into rows to come.

Legend: ``H, W`` the scene, ``P`` phrases, ``R`` rows of a strip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from t4spp.geo.blending import INSIDE, border_weights, clipped, levels_in, mask_in
from t4spp.geo.instances import Neighbours, Piece, Thing, Things, View, common, same_things
from t4spp.geo.tracing import Numbers, joined, trace
from t4spp.types import BoolMask, Box, Region

Objects = Literal["regions", "parts"]
"""What an object is: what a model wrote as one region, or each connected part of the mask."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """Finished rows of a scene.

    Attributes:
        top: the first row.
        masks: bool[P, R, W].
        valid: bool[R, W], where the scene has data and a window has looked.
    """

    top: int
    masks: npt.NDArray[np.bool_]
    valid: BoolMask


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneObject:
    """One finished object.

    Attributes:
        label: its phrase's.
        outline: shapely Polygon or MultiPolygon along pixel edges, x the column and y the row.
        num_pixels: of the scene.
        num_windows: windows that wrote it.
        score: mean blended occupancy of its pixels, 0.5..1.
    """

    label: str
    outline: Any
    num_pixels: int
    num_windows: int
    score: float


class PlacedWindow(Protocol):
    """What the stitcher needs to know of a window."""

    @property
    def box(self) -> Box:
        """In the scene's pixels; may reach beyond the scene."""


class Sink(Protocol):
    """Takes what is finished, from the top of the scene to its bottom."""

    def rows(self, strip: Strip) -> None:
        """Rows that will not change any more; each row once, in order."""

    def objects(self, objects: Sequence[SceneObject]) -> None:
        """Objects that will not change any more."""


class Stitcher:
    """Blends windows in row order and hands finished rows and objects to a sink.

    Attributes:
        counters: ``objects_outvoted``: regions that no pixel of the blended mask was left for;
            ``regions_joined``: how often a region turned out to be one with another window's.
    """

    def __init__(
        self,
        size: tuple[int, int],
        labels: Sequence[str],
        sink: Sink,
        *,
        objects: Objects = "regions",
    ) -> None:
        """Begin a scene.

        Args:
            size: (H, W) of the scene.
            labels: the phrases' labels; regions with other ones are not looked at.
            sink: takes what is finished.
            objects: what one object is.
        """
        self.size = size
        self.labels = tuple(labels)
        self.counters: Counter[str] = Counter()
        self._sink = sink
        self._by_region = objects == "regions"
        self._index = {label: number for number, label in enumerate(self.labels)}
        self._row = 0
        self._sum = np.zeros((len(self.labels), 0, size[1]), dtype=np.float32)
        self._weight = np.zeros((0, size[1]), dtype=np.float32)
        self._valid = np.zeros((0, size[1]), dtype=np.bool_)
        self._things = Things()
        self._neighbours: Neighbours | None = None
        self._views: list[View] = []
        self._num_views = 0
        self._num_pieces = 0
        self._edge = np.zeros((len(self.labels), size[1]), dtype=np.int64)

    def add(
        self, window: PlacedWindow, regions: Sequence[Region], valid: BoolMask | None = None
    ) -> None:
        """Take one window's answer to all phrases. Windows come by rows, from the top.

        Args:
            window: where it lies.
            regions: masks of the window's picture, of whatever resolution.
            valid: bool[h, w] of the window's picture, where it shows data; None: everywhere.

        Raises:
            ValueError: the window lies above an earlier one, or outside the scene.
        """
        box = clipped(window.box, self.size)
        if box.height <= 0 or box.width <= 0:
            raise ValueError(f"the window {window.box} lies outside a scene of {self.size}")
        if box.y0 < self._row:
            raise ValueError(f"the window {window.box} comes after rows below it were begun")
        self._advance(box.y0)
        self._hold(box.y1)
        height, width = self.size
        view = View(
            number=self._num_views,
            box=box,
            rows=border_weights(window.box.y0, window.box.y1, height),
            columns=border_weights(window.box.x0, window.box.x1, width),
        )
        self._num_views += 1
        place = slice(box.y0 - self._row, box.y1 - self._row), slice(box.x0, box.x1)
        self._weight[place] += view.rows[:, None] * view.columns
        self._valid[place] |= True if valid is None else mask_in(valid, window.box, box)
        for region in regions:
            self._take(region, window.box, view)
        self._blend(view)
        if view.pieces:
            self._remember(view)

    def finish(self) -> None:
        """Hand over everything that is left; rows that no window covered are not valid."""
        self._hold(self.size[0])
        self._advance(self.size[0])
        self._close(self.size[0] + 1)

    def _take(self, region: Region, window: Box, view: View) -> None:
        """Make a piece of a region."""
        label = self._index.get(region.label)
        found = None if label is None else levels_in(region, window, self.size)
        if label is None or found is None:
            return
        tight = found.tight
        height, width = self.size
        inside = view.box
        cut = (
            (0 < inside.y0 == tight.y0)
            or (0 < inside.x0 == tight.x0)
            or (tight.y1 == inside.y1 < height)
            or (tight.x1 == inside.x1 < width)
        )
        self._num_pieces += 1
        view.pieces.append(
            Piece(
                number=self._num_pieces,
                label=label,
                box=found.box,
                levels=found.levels,
                tight=tight,
                view=view,
                cut=cut,
            )
        )

    def _blend(self, view: View) -> None:
        """Add the window's occupancy of each phrase, of overlapping regions the higher."""
        for label in {piece.label for piece in view.pieces}:
            pieces = [piece for piece in view.pieces if piece.label == label]
            span = Box(
                y0=min(p.box.y0 for p in pieces),
                x0=min(p.box.x0 for p in pieces),
                y1=max(p.box.y1 for p in pieces),
                x1=max(p.box.x1 for p in pieces),
            )
            levels = np.zeros((span.height, span.width), dtype=np.uint8)
            for piece in pieces:
                part = levels[_within(piece.box, span)]
                np.maximum(part, piece.levels, out=part)
            rows = slice(span.y0 - self._row, span.y1 - self._row)
            self._sum[label, rows, span.x0 : span.x1] += _weighted(levels, span, view)

    def _remember(self, view: View) -> None:
        if self._by_region:
            for piece in view.pieces:
                thing = Thing(number=piece.number, label=piece.label, bottom=piece.box.y1)
                thing.windows.add(view.number)
                thing.pieces.append(piece)
                self._things.add(piece.number, thing)
            if self._neighbours is None:
                self._neighbours = Neighbours(view.box.width)
            for other in self._neighbours.of(view):
                for mine, theirs in same_things(view, other):
                    if self._things[mine.number] is not self._things[theirs.number]:
                        self._things.join(mine.number, theirs.number)
                        self.counters["regions_joined"] += 1
            self._neighbours.add(view)
        else:
            self._views.append(view)

    def _hold(self, bottom: int) -> None:
        """Have room for the rows above ``bottom``."""
        more = bottom - self._row - self._weight.shape[0]
        if more > 0:
            width = self.size[1]
            layers = np.zeros((len(self.labels), more, width), dtype=np.float32)
            self._sum = np.concatenate([self._sum, layers], axis=1)
            self._weight = np.concatenate([self._weight, np.zeros((more, width), np.float32)])
            self._valid = np.concatenate([self._valid, np.zeros((more, width), np.bool_)])

    def _advance(self, row: int) -> None:
        """Finish the rows above ``row``."""
        if row <= self._row:
            return
        self._hold(row)
        num, top = row - self._row, self._row
        total, weight, valid = self._sum[:, :num], self._weight[:num], self._valid[:num]
        valid &= weight > 0
        masks = np.empty(total.shape, dtype=np.bool_)
        least = weight * (INSIDE - 0.5)
        for label in range(len(self.labels)):
            mask = np.greater_equal(total[label], least, out=masks[label])
            mask &= valid
            if mask.any():
                number = self._by_claims if self._by_region else self._by_contact
                numbers, things = number(label, mask, top)
                self._gather(numbers, things, top, total[label], weight)
            else:
                self._edge[label] = 0
        self._sink.rows(Strip(top=top, masks=masks, valid=valid.copy()))
        self._sum, self._weight = self._sum[:, num:].copy(), self._weight[num:].copy()
        self._valid = self._valid[num:].copy()
        self._row = row
        self._close(row)

    def _by_claims(self, label: int, mask: BoolMask, top: int) -> tuple[Numbers, list[Thing]]:
        """Every pixel of the mask goes to the thing with the most weight there."""
        rows = Box(y0=top, x0=0, y1=top + mask.shape[0], x1=mask.shape[1])
        numbers = np.zeros(mask.shape, dtype=np.int32)
        best = np.zeros(mask.shape, dtype=np.float32)
        things: list[Thing] = []
        for thing in self._things:
            if thing.label != label:
                continue
            pieces = [(p, box) for p in thing.pieces if (box := common(p.box, rows)) is not None]
            if not pieces:
                continue
            things.append(thing)
            boxes = [box for _, box in pieces]
            span = Box(
                y0=min(b.y0 for b in boxes),
                x0=min(b.x0 for b in boxes),
                y1=max(b.y1 for b in boxes),
                x1=max(b.x1 for b in boxes),
            )
            claim = np.zeros((span.height, span.width), dtype=np.float32)
            for piece, box in pieces:
                claim[_within(box, span)] += _weighted(
                    piece.levels[_within(box, piece.box)], box, piece.view
                )
            place = _within(span, rows)
            wins = claim > best[place]
            best[place][wins] = claim[wins]
            numbers[place][wins] = len(things)
        numbers[~mask] = 0
        return numbers, things

    def _by_contact(self, label: int, mask: BoolMask, top: int) -> tuple[Numbers, list[Thing]]:
        """Every connected part of the mask is a thing, over strips too."""
        from scipy import ndimage

        numbers, count = ndimage.label(mask, output=np.int32)
        spans = ndimage.find_objects(numbers)
        named = np.zeros(count + 1, dtype=np.int64)
        for local, (rows, _) in enumerate(spans, start=1):
            self._num_pieces += 1
            named[local] = self._num_pieces
            thing = Thing(number=self._num_pieces, label=label, bottom=top + rows.stop)
            self._things.add(self._num_pieces, thing)
        above, here = self._edge[label], named[numbers[0]]
        facing = (above > 0) & (here > 0)
        for one, other in np.unique(np.stack([above[facing], here[facing]]), axis=1).T:
            self._things.join(int(one), int(other))
        self._edge[label] = named[numbers[-1]]
        things = [self._things[int(name)] for name in named[1:]]
        rows = Box(y0=top, x0=0, y1=top + mask.shape[0], x1=mask.shape[1])
        for view in self._views:
            for piece in view.pieces:
                box = common(piece.tight, rows) if piece.label == label else None
                if box is not None:
                    inside = numbers[_within(box, rows)][piece.mask_in(box)]
                    for local in np.unique(inside):
                        if local:
                            things[local - 1].windows.add(view.number)
        return numbers, things

    def _gather(
        self,
        numbers: Numbers,
        things: Sequence[Thing],
        top: int,
        total: npt.NDArray[np.float32],
        weight: npt.NDArray[np.float32],
    ) -> None:
        """Add a strip's pixels and outlines to its things."""
        filled = np.flatnonzero(numbers)
        owners = numbers.ravel()[filled]
        occupancy = total.ravel()[filled] / (255.0 * weight.ravel()[filled])
        pixels = np.bincount(owners, minlength=len(things) + 1)
        sums = np.bincount(owners, weights=occupancy, minlength=len(things) + 1)
        for local, thing in enumerate(things, start=1):
            thing.num_pixels += int(pixels[local])
            thing.occupancy += float(sums[local])
        for local, parts in trace(numbers, top).items():
            things[local - 1].parts.extend(parts)

    def _close(self, row: int) -> None:
        """Hand over the things that end above ``row``; forget what no window can meet."""
        if self._neighbours is not None:
            self._neighbours.forget(row)
        self._views = [view for view in self._views if view.box.y1 > row]
        done: list[SceneObject] = []
        for thing in self._things:
            if thing.bottom >= row:
                thing.pieces = [piece for piece in thing.pieces if piece.box.y1 > row]
                continue
            self._things.remove(thing)
            outline = joined(thing.parts)
            if outline is None:
                self.counters["objects_outvoted"] += 1
                continue
            done.append(
                SceneObject(
                    label=self.labels[thing.label],
                    outline=outline,
                    num_pixels=thing.num_pixels,
                    num_windows=len(thing.windows),
                    score=thing.occupancy / thing.num_pixels,
                )
            )
        if done:
            self._sink.objects(done)


def _within(box: Box, outer: Box) -> tuple[slice, slice]:
    """A box as an index into an array that covers ``outer``."""
    rows = slice(box.y0 - outer.y0, box.y1 - outer.y0)
    return rows, slice(box.x0 - outer.x0, box.x1 - outer.x0)


def _weighted(levels: npt.NDArray[np.uint8], box: Box, view: View) -> npt.NDArray[np.float32]:
    """Levels of a box times the window's weights there, float32."""
    rows, columns = _within(box, view.box)
    weights: npt.NDArray[np.float32] = view.rows[rows][:, None] * view.columns[columns]
    return weights * levels
