"""COCO's ways to write a mask, checked before pycocotools sees them.

A damaged run-length code would make it read or write past its buffers.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RunError

Rle = dict[str, Any]
"""``{"size": [H, W], "counts": bytes}``, COCO's compressed code."""
MAX_OUTSIDE = 100
"""Polygons may reach so many times the picture's longer side beyond it; far ones cost much."""


def read_rle(value: Any, size: tuple[int, int], where: str) -> Rle:
    """A run-length code, compressed or as a list of runs, as the compressed one.

    Args:
        value: what the JSON has.
        size: (H, W) of the picture.
        where: it stands, for errors.

    Raises:
        RunError: it is damaged, or made for another size.
    """
    from pycocotools import mask as coco_mask

    height, width = size
    if not isinstance(value, dict) or not isinstance(value.get("counts"), str | list):
        raise RunError(
            f"{where}: expected a run-length code with size and counts, not {value!r:.60}."
        )
    if value.get("size") != [height, width]:
        raise RunError(
            f"{where}: the mask is run-length coded for size {value.get('size')} (height, width), "
            f"its picture is {height} x {width}. Predictions must be written at the picture's own "
            "size."
        )
    counts = value["counts"]
    if isinstance(counts, list):
        if any(not isinstance(run, int) or isinstance(run, bool) or run < 0 for run in counts):
            raise RunError(f"{where}: run lengths must be whole numbers from 0 on.")
        covered, gaps = sum(counts), 0 in counts[1:]
    else:
        runs = _runs(counts)
        covered, gaps = int(runs.sum()), not runs[1:].all()
    if covered != height * width:
        raise RunError(
            f"{where}: the run-length code covers {covered} pixels instead of the picture's "
            f"{height} x {width} = {height * width}, or is damaged. Write it again."
        )
    if isinstance(counts, list):
        uncompressed = {"size": [height, width], "counts": counts}
        rle = dict(coco_mask.frPyObjects(uncompressed, height, width))
    else:
        rle = {"size": [height, width], "counts": counts.encode("ascii")}
    # pycocotools ends an intersection early where both codes have a run of 0 at one place.
    return dict(coco_mask.encode(coco_mask.decode(rle))) if gaps else rle


def read_shape(value: Any, size: tuple[int, int], where: str) -> Rle | None:
    """The code of polygons or of a run-length code; None where no polygon has three corners.

    Raises:
        RunError: it is neither, or damaged.
    """
    from pycocotools import mask as coco_mask

    if isinstance(value, dict):
        return read_rle(value, size, where)
    if not isinstance(value, list):
        raise RunError(f"{where}: expected polygons or a run-length code, not {value!r:.60}.")
    parts = [value] if value and not isinstance(value[0], list) else value
    for part in parts:
        if not isinstance(part, list) or not all(map(_is_number, part)):
            raise RunError(f"{where}: a polygon must be a flat list of numbers.")
        if len(part) % 2:
            raise RunError(
                f"{where}: a polygon must be a list x, y, x, y, ...; this one has {len(part)} "
                "numbers. Write it again."
            )
        if any(abs(number) > MAX_OUTSIDE * max(size) for number in part):
            raise RunError(
                f"{where}: a polygon reaches far beyond its picture of {size[0]} x {size[1]} "
                "pixels. Coordinates are pixels, x before y."
            )
    kept = [part for part in parts if len(part) >= 6]
    if not kept:
        return None
    return dict(coco_mask.merge(coco_mask.frPyObjects(kept, *size)))


def read_box(value: Any, where: str) -> tuple[float, float, float, float]:
    """A box as COCO has it: x, y, width, height.

    Raises:
        RunError: it is none.
    """
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(map(_is_number, value))
        or min(value[2:]) < 0
    ):
        raise RunError(f"{where}: expected a box [x, y, width, height], not {value!r:.60}.")
    x, y, width, height = (float(number) for number in value)
    return x, y, width, height


def box_of(rle: Rle) -> tuple[float, float, float, float]:
    """The tightest box around a mask: x, y, width, height."""
    from pycocotools import mask as coco_mask

    x, y, width, height = (float(value) for value in coco_mask.toBbox(rle))
    return x, y, width, height


def read_score(value: Any, where: str, what: str = "score") -> float:
    """A score, or another number.

    Raises:
        RunError: it is no number.
    """
    if not _is_number(value):
        raise RunError(f"{where}: {what} must be a number, not {_shown(value)}.")
    return float(value)


def _is_number(value: Any) -> bool:
    """Whether a value is finite, and small enough for a float."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"


def _runs(text: str) -> npt.NDArray[np.int64]:
    """The runs of a compressed code, int64[N]; none where it is damaged.

    Runs are written as differences to the run two before, five bits a character, low ones first,
    with a bit for "more follows" and the sign in the last one's fifth bit.
    """
    damaged = np.zeros(0, dtype=np.int64)
    if not text or not text.isascii():
        return damaged
    parts = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if parts.min() < 0 or parts.max() > 63 or parts[-1] & 0x20:
        return damaged
    ends = np.flatnonzero((parts & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # a run beyond 2^34 pixels
        return damaged
    shifts = 5 * (np.arange(len(parts)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((parts & 0x1F) << shifts, starts)
    runs -= np.where(parts[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    runs = _summed(runs)
    return damaged if runs.min() < 0 else runs


def _summed(runs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each run from the fourth on is a difference to the one two before."""
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
