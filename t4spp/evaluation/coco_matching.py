"""Detections of one (picture, label) against its truth, by the rules of COCO's own code.

pycocotools matches (``COCOeval.evaluateImg``); this module brings it the objects, and keeps what it
found in few bytes. Axes: A area ranges (all, small, medium, large), T IoU thresholds (0.50, 0.55,
..., 0.95), D detections by falling score (100 at most), G true objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask

Kind = Literal["segm", "bbox"]
KINDS: tuple[Kind, ...] = ("segm", "bbox")
NUM_RANGES = 4
"""A."""
NUM_THRESHOLDS = 10
"""T."""
MOST_DETECTIONS = 100
"""D at most, as COCO has it; of (picture, label)."""
_CELL = 0
"""The one picture, and the one category, that pycocotools is told of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CocoObject:
    """A true object or a detection, as COCO's JSON has it.

    Attributes:
        box: (x, y, width, height) in pixels.
        area: square pixels, which decides the area range. Of COCO's truth it is the polygons'.
        rle: COCO's compressed code of the mask, ``{"size": [H, W], "counts": bytes}``; None where
            only the box is known.
        score: of a detection; the higher ones are matched first.
        crowd: of a truth, a region of many objects: detections in it are neither right nor wrong.
        box_area: square pixels, which decides the area range where boxes are compared; None: as
            ``area``.
    """

    box: tuple[float, float, float, float]
    area: float
    rle: Mapping[str, Any] | None = None
    score: float = 1.0
    crowd: bool = False
    box_area: float | None = None

    @classmethod
    def of_mask(cls, mask: BoolMask, *, crowd: bool = False, score: float = 1.0) -> CocoObject:
        """The object of a mask, bool[H, W]: its pixels are its area, its tightest box its box."""
        from pycocotools import mask as coco_mask

        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        x, y, width, height = (float(value) for value in coco_mask.toBbox(rle))
        area = float(np.count_nonzero(mask))
        return cls(box=(x, y, width, height), area=area, rle=rle, score=score, crowd=crowd)


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What matching found, packed.

    Attributes:
        num_detections: D.
        num_truths: G.
        scores: float64[D], falling, as bytes.
        flags: bits of matched[A, T, D], ignored[A, T, D], truth_ignored[A, G], one after another.
    """

    num_detections: int
    num_truths: int
    scores: bytes
    flags: bytes

    def entries(self) -> list[dict[str, Any] | None]:
        """An item an area range, as ``COCOeval.evaluateImg`` returns it, for ``accumulate``."""
        if not self.num_detections and not self.num_truths:
            return [None] * NUM_RANGES
        size = NUM_RANGES * NUM_THRESHOLDS * self.num_detections
        bits = np.unpackbits(np.frombuffer(self.flags, dtype=np.uint8)).astype(np.bool_)
        shape = (NUM_RANGES, NUM_THRESHOLDS, self.num_detections)
        matched, ignored = bits[:size].reshape(shape), bits[size : 2 * size].reshape(shape)
        truths = bits[2 * size : 2 * size + NUM_RANGES * self.num_truths]
        scores = np.frombuffer(self.scores, dtype=np.float64)
        return [
            {
                "dtScores": scores,
                "dtMatches": matched[index],
                "dtIgnore": ignored[index],
                "gtIgnore": truths.reshape(NUM_RANGES, self.num_truths)[index],
            }
            for index in range(NUM_RANGES)
        ]

    @staticmethod
    def num_flag_bytes(num_detections: int, num_truths: int) -> int:
        """The length of ``flags``."""
        bits = 2 * NUM_RANGES * NUM_THRESHOLDS * num_detections + NUM_RANGES * num_truths
        return -(-bits // 8)


def object_ious(
    detections: Sequence[CocoObject], truths: Sequence[CocoObject], kind: Kind
) -> npt.NDArray[np.float64]:
    """float64[D, G]: IoU of masks or of boxes; with a crowd, the share of the detection in it."""
    from pycocotools import mask as coco_mask

    if not detections or not truths:
        return np.zeros((len(detections), len(truths)))
    crowd = [int(truth.crowd) for truth in truths]
    if kind == "bbox":
        # Arrays, since pycocotools takes four numbers for four polygons.
        there = np.array([item.box for item in detections], dtype=np.float64)
        true = np.array([item.box for item in truths], dtype=np.float64)
        return np.asarray(coco_mask.iou(there, true, crowd), dtype=np.float64)
    codes = [[item.rle for item in items] for items in (detections, truths)]
    return np.asarray(coco_mask.iou(codes[0], codes[1], crowd), dtype=np.float64)


def match_objects(
    detections: Sequence[CocoObject],
    truths: Sequence[CocoObject],
    ious: npt.NDArray[np.float64],
    kind: Kind = "segm",
) -> Matches:
    """Match greedily by score, for every area range and IoU threshold, as COCO does.

    Args:
        detections: in any order; equal scores keep it. Beyond the 100 best they are left out.
        truths: of the same picture and label.
        ious: float64[D, G] in these orders.
        kind: which area decides the area range.
    """
    areas = [
        item.area if kind == "segm" or item.box_area is None else item.box_area
        for item in detections
    ]
    scores = [item.score for item in detections]
    order = np.argsort([-score for score in scores], kind="mergesort")[:MOST_DETECTIONS]
    evaluation = _evaluation()
    # Ids count from 1: COCO's code takes a match with the id 0 for none.
    evaluation._gts = {
        (_CELL, _CELL): [
            {"id": number, "area": truth.area, "ignore": truth.crowd, "iscrowd": truth.crowd}
            for number, truth in enumerate(truths, start=1)
        ]
    }
    evaluation._dts = {
        (_CELL, _CELL): [
            {"id": number, "area": areas[index], "score": detections[index].score}
            for number, index in enumerate(order, start=1)
        ]
    }
    evaluation.ious = {(_CELL, _CELL): ious[order] if len(truths) and len(detections) else []}
    found = [
        evaluation.evaluateImg(_CELL, _CELL, limits, MOST_DETECTIONS)
        for limits in evaluation.params.areaRng
    ]
    if found[0] is None:
        return Matches(num_detections=0, num_truths=0, scores=b"", flags=b"")
    bits = [
        np.concatenate([np.asarray(item[key], dtype=np.bool_).ravel() for item in found])
        for key in ("dtMatches", "dtIgnore", "gtIgnore")
    ]
    return Matches(
        num_detections=len(order),
        num_truths=len(truths),
        scores=np.array([scores[index] for index in order], dtype=np.float64).tobytes(),
        flags=np.packbits(np.concatenate(bits)).tobytes(),
    )


def pair_up(ious: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The IoUs of the one-to-one pairs with the largest sum of IoUs, float64[min(D, G)].

    Args:
        ious: float64[D, G].
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-ious)
    return np.asarray(ious[rows, columns], dtype=np.float64)


@lru_cache(maxsize=1)
def _evaluation() -> Any:
    """COCO's evaluation without any dataset; its parameters are COCO's own."""
    from pycocotools.cocoeval import COCOeval

    return COCOeval(iouType="segm")
