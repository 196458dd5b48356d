"""Plain loops over Python lists that do what ``image-rrle`` and ``next-brick`` do by arrays.

They obey the same laws (a test holds them to it) and are what ``t4spp bench codec`` measures the
schemes against. Grammar, token bounds and the reading of damaged text are the schemes' own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from t4spp.errors import SchemeError
from t4spp.schemes.base import SEG_OPEN, Scheme
from t4spp.schemes.box_wise import Steps, box_pixels, box_steps
from t4spp.schemes.grid import check_canvas, visible_mask
from t4spp.schemes.image_text import ImageRrle
from t4spp.schemes.labels import check_label, label_fault
from t4spp.schemes.next_brick import NextBrick
from t4spp.types import BACKGROUND, BoolMask, Box, Decoded, Region, Target

Rows = list[list[bool]]
Areas = list[list[int]]

_ROUNDING = 1e-9

_RUN = re.compile(r"(.+) \*([1-9][0-9]{0,5})", re.DOTALL)
_HEAD = re.compile(r"([^<|]+)<\|loc(\d+)\|><\|loc(\d+)\|><\|loc(\d+)\|><\|loc(\d+)\|>")
_BRICK = re.compile(r"<\|(bg|fg)([1-9][0-9]{0,5})\|>")


def plain_codec(scheme: Scheme) -> Scheme | None:
    """The plain codec of a scheme; None where there is none for it or for its parameters."""
    if type(scheme) is ImageRrle:
        fits = scheme.params.downsample == "nearest" and scheme.params.upsample == "nearest"
        return PlainRrle(scheme.params) if fits and not scheme.params.keep_small else None
    if type(scheme) is NextBrick:
        fits = scheme.params.downsample == "majority" and scheme.params.upsample == "bilinear"
        tokens = scheme.params.coordinates == "tokens" and not scheme.params.row_marks
        return PlainNextBrick(scheme.params) if fits and tokens else None
    return None


def pick(source: int, wanted: int) -> list[int]:
    """Which of ``source`` samples PIL's nearest resize picks."""
    step = source / wanted
    at = step * 0.5
    picked = []
    for _ in range(wanted):
        picked.append(min(int(at), source - 1))
        at += step
    return picked


def shares(pixels: int, cells: int) -> list[list[tuple[int, int]]]:
    """For each cell the pixels under it with the shared length, in 1/cells of a pixel."""
    found = []
    for cell in range(cells):
        first, last = cell * pixels, (cell + 1) * pixels
        under = []
        for pixel in range(first // cells, -(-last // cells)):
            shared = min(last, (pixel + 1) * cells) - max(first, pixel * cells)
            if shared > 0:
                under.append((pixel, shared))
        found.append(under)
    return found


def areas(mask: Rows, shape: tuple[int, int]) -> Areas:
    """How much of each cell is covered, out of H * W."""
    down = shares(len(mask), shape[0])
    across = shares(len(mask[0]), shape[1])
    found = []
    for rows in down:
        line = []
        for columns in across:
            total = 0
            for y, tall in rows:
                pixels = mask[y]
                for x, wide in columns:
                    if pixels[x]:
                        total += tall * wide
            line.append(total)
        found.append(line)
    return found


def weights(pixels: int, cells: int) -> list[tuple[int, int, float]]:
    """For each pixel the two cells beside it and the second one's bilinear weight."""
    found = []
    for pixel in range(pixels):
        at = min(max((pixel + 0.5) * (cells / pixels) - 0.5, 0.0), cells - 1.0)
        low = min(int(at), max(cells - 2, 0))
        found.append((low, min(low + 1, cells - 1), at - low))
    return found


def visible_rows(target: Target, ignore: BoolMask | None) -> Rows | None:
    """A target's visible pixels; None where there are none."""
    mask: Rows = target.mask.tolist()
    if ignore is not None:
        hidden: Rows = ignore.tolist()
        for line, covered in zip(mask, hidden, strict=True):
            for x, is_hidden in enumerate(covered):
                if is_hidden:
                    line[x] = False
    return mask if any(True in line for line in mask) else None


def check_targets(
    scheme: Scheme, targets: Sequence[Target], size: tuple[int, int], max_chars: int
) -> None:
    """Refuse what the scheme refuses."""
    for target in targets:
        check_label(target.label, scheme.special_tokens, max_chars)
        visible_mask(target.label, target.mask, size, None)


def legible(label: str, asked: Sequence[str] | None, max_chars: int) -> bool:
    """Whether a written label is read without a problem."""
    if label_fault(label, (), max_chars) is not None:
        return False
    return asked is None or label == BACKGROUND or label in asked


class PlainRrle(ImageRrle):
    """``image-rrle`` with nearest sampling, cell by cell and pixel by pixel."""

    def encode(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> str:
        """The bare descriptor."""
        rows = []
        for line in self._plain_cells(targets, size, ignore):
            runs = []
            start = 0
            for column in range(1, len(line) + 1):
                if column == len(line) or line[column] != line[start]:
                    runs.append(f"{line[start]} *{column - start}")
                    start = column
            rows.append("| ".join(runs))
        return "\n ".join(rows) + "\n"

    def quantize(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> tuple[Region, ...]:
        """What the grid keeps."""
        return self._plain_regions(self._plain_cells(targets, size, ignore), size)

    def decode(
        self,
        text: str,
        size: tuple[int, int],
        labels: Sequence[str] | None = None,
    ) -> Decoded:
        """Read what is well-formed; leave the rest to the scheme."""
        cells = None if SEG_OPEN in text else self._plain_read(text, labels)
        if cells is None:
            return super().decode(text, size, labels)
        return Decoded(regions=self._plain_regions(cells, size), status="ok")

    def _plain_read(self, text: str, asked: Sequence[str] | None) -> list[list[str]] | None:
        lines = text.split("\n")
        if len(lines) != self.shape[0] + 1 or lines[-1]:
            return None
        cells = []
        for line in lines[:-1]:
            row: list[str] = []
            for part in line.split("|"):
                run = _RUN.fullmatch(part.strip(" "))
                if run is None or not legible(run[1], asked, self.params.max_label_chars):
                    return None
                if len(row) + int(run[2]) > self.shape[1]:
                    return None
                for _ in range(int(run[2])):
                    row.append(run[1])
            if len(row) != self.shape[1]:
                return None
            cells.append(row)
        return cells

    def _plain_cells(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
    ) -> list[list[str]]:
        ignore = check_canvas(size, ignore)
        check_targets(self, targets, size, self.params.max_label_chars)
        merged: dict[str, Rows] = {}
        for target in targets:
            rows = visible_rows(target, ignore)
            if rows is None:
                continue
            before = merged.get(target.label)
            if before is not None:
                for line, other in zip(rows, before, strict=True):
                    for x, is_set in enumerate(other):
                        if is_set:
                            line[x] = True
            merged[target.label] = rows
        if self.params.max_regions is not None and len(merged) > self.params.max_regions:
            raise SchemeError(f"{len(merged)} labels are more than max_regions")
        covered = {} if len(merged) < 2 else {k: areas(v, self.shape) for k, v in merged.items()}
        hidden = None if ignore is None else areas(ignore.tolist(), self.shape)
        columns = pick(size[1], self.shape[1])
        cells = []
        for r, y in enumerate(pick(size[0], self.shape[0])):
            row = []
            for c, x in enumerate(columns):
                chosen, most = BACKGROUND, -1
                for label, rows in merged.items():
                    if rows[y][x]:
                        area = covered[label][r][c] if covered else 0
                        if area > most:
                            chosen, most = label, area
                if hidden is not None and 2 * hidden[r][c] > size[0] * size[1]:
                    chosen = BACKGROUND
                row.append(chosen)
            cells.append(row)
        return cells

    def _plain_regions(self, cells: list[list[str]], size: tuple[int, int]) -> tuple[Region, ...]:
        columns = pick(self.shape[1], size[1])
        found: dict[str, Rows] = {}
        for line in cells:
            for label in line:
                if label != BACKGROUND and label not in found:
                    found[label] = [[False] * size[1] for _ in range(size[0])]
        for y, r in enumerate(pick(self.shape[0], size[0])):
            line = cells[r]
            for x, c in enumerate(columns):
                if line[c] != BACKGROUND:
                    found[line[c]][y][x] = True
        for label, rows in found.items():
            if not any(True in line for line in rows):
                r, c = next(
                    (r, c)
                    for r, line in enumerate(cells)
                    for c, at in enumerate(line)
                    if at == label
                )
                y = min(int((r + 0.5) * size[0] / self.shape[0]), size[0] - 1)
                rows[y][min(int((c + 0.5) * size[1] / self.shape[1]), size[1] - 1)] = True
        regions = []
        for label, rows in found.items():
            mask = np.array(rows, dtype=np.bool_)
            regions.append(Region(label=label, mask=mask, soft=mask.astype(np.float32)))
        return tuple(regions)


class PlainNextBrick(NextBrick):
    """``next-brick`` with majority and bilinear sampling, cell by cell and pixel by pixel."""

    def encode(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> str:
        """The bare descriptor."""
        pieces = []
        for label, steps, cells in self._plain_regions(targets, size, ignore):
            pieces.append(label)
            for step in steps:
                pieces.append(f"<|loc{step}|>")
            for line in cells:
                start = 0
                for column in range(1, len(line) + 1):
                    if column == len(line) or line[column] != line[start]:
                        kind = "fg" if line[start] else "bg"
                        pieces.append(f"<|{kind}{column - start}|>")
                        start = column
        return "".join(pieces) or BACKGROUND

    def quantize(
        self,
        targets: Sequence[Target],
        size: tuple[int, int],
        ignore: BoolMask | None = None,
    ) -> tuple[Region, ...]:
        """What the grid in the box keeps."""
        found = self._plain_regions(targets, size, ignore)
        return tuple(self._plain_region(label, steps, cells, size) for label, steps, cells in found)

    def decode(
        self,
        text: str,
        size: tuple[int, int],
        labels: Sequence[str] | None = None,
    ) -> Decoded:
        """Read what is well-formed; leave the rest to the scheme."""
        found = None if SEG_OPEN in text else self._plain_read(text, labels)
        if found is None:
            return super().decode(text, size, labels)
        regions = tuple(
            self._plain_region(label, steps, cells, size) for label, steps, cells in found
        )
        return Decoded(regions=regions, status="ok")

    def _plain_read(
        self, text: str, asked: Sequence[str] | None
    ) -> list[tuple[str, Steps, Rows]] | None:
        found: list[tuple[str, Steps, Rows]] = []
        at = 0
        while at < len(text) and len(found) < self.params.max_regions:
            head = _HEAD.match(text, at)
            if head is None or head[1] == BACKGROUND:
                return None
            if not legible(head[1], asked, self.params.max_label_chars):
                return None
            y0, x0, y1, x1 = (int(head[n]) for n in range(2, 6))
            if max(y0, x0, y1, x1) > 999:
                return None
            at = head.end()
            cells: Rows = []
            for _ in range(self.shape[0]):
                line: list[bool] = []
                while len(line) < self.shape[1]:
                    brick = _BRICK.match(text, at)
                    if brick is None or len(line) + int(brick[2]) > self.shape[1]:
                        return None
                    for _ in range(int(brick[2])):
                        line.append(brick[1] == "fg")
                    at = brick.end()
                cells.append(line)
            found.append((head[1], (y0, x0, y1, x1), cells))
        return found if found and at == len(text) else None

    def _plain_regions(
        self, targets: Sequence[Target], size: tuple[int, int], ignore: BoolMask | None
    ) -> list[tuple[str, Steps, Rows]]:
        ignore = check_canvas(size, ignore)
        check_targets(self, targets, size, self.params.max_label_chars)
        found: list[tuple[Box, str, Steps, Rows]] = []
        for target in targets:
            rows = visible_rows(target, ignore)
            if rows is None:
                continue
            box = self._plain_box(rows)
            steps = box_steps(box, size)
            inner = box_pixels(steps, size)
            part = [line[inner.x0 : inner.x1] for line in rows[inner.y0 : inner.y1]]
            area = areas(part, self.shape)
            whole = inner.height * inner.width
            cells = [[2 * covered > whole for covered in line] for line in area]
            if ignore is not None:
                for r, line in enumerate(areas(ignore[inner.slices].tolist(), self.shape)):
                    for c, covered in enumerate(line):
                        if 2 * covered > whole:
                            cells[r][c] = False
            if self.params.keep_small and not any(True in line for line in cells):
                most = max(max(line) for line in area)
                r = next(r for r, line in enumerate(area) if most in line)
                cells[r][area[r].index(most)] = True
            if any(True in line for line in cells):
                found.append((box, target.label, steps, cells))
        if len(found) > self.params.max_regions:
            raise SchemeError(f"{len(found)} targets are more than max_regions")
        found.sort(key=lambda item: (item[0].y0, item[0].x0))
        return [(label, steps, cells) for _, label, steps, cells in found]

    @staticmethod
    def _plain_box(rows: Rows) -> Box:
        y0 = y1 = x0 = x1 = -1
        for y, line in enumerate(rows):
            for x, is_set in enumerate(line):
                if is_set:
                    y0 = y if y0 < 0 else y0
                    y1 = y
                    x0 = x if x0 < 0 else min(x, x0)
                    x1 = max(x, x1)
        return Box(y0=y0, x0=x0, y1=y1 + 1, x1=x1 + 1)

    def _plain_region(self, label: str, steps: Steps, cells: Rows, size: tuple[int, int]) -> Region:
        box = box_pixels(steps, size)
        across = weights(box.width, self.shape[1])
        soft = [[0.0] * size[1] for _ in range(size[0])]
        mask = [[False] * size[1] for _ in range(size[0])]
        peak = 0.0
        for y, (top, bottom, down) in enumerate(weights(box.height, self.shape[0]), box.y0):
            above, below = cells[top], cells[bottom]
            for x, (left, right, part) in enumerate(across, box.x0):
                value = (above[left] * (1 - part) + above[right] * part) * (1 - down)
                value += (below[left] * (1 - part) + below[right] * part) * down
                soft[y][x] = value
                mask[y][x] = value >= 0.5 - _ROUNDING
                peak = max(peak, value)
        if peak > 0 and not any(True in line for line in mask):
            mask = [[value >= peak - _ROUNDING for value in line] for line in soft]
        elif peak == 0:
            for r, line in enumerate(cells):
                if True in line:
                    y = min(int((r + 0.5) * box.height / self.shape[0]), box.height - 1)
                    x = int((line.index(True) + 0.5) * box.width / self.shape[1])
                    mask[box.y0 + y][box.x0 + min(x, box.width - 1)] = True
                    break
        return Region(
            label=label,
            mask=np.array(mask, dtype=np.bool_),
            soft=np.array(soft, dtype=np.float32),
            box=box,
        )
