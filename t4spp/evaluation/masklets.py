"""Masks over the frames of a video, and how much of two of them is common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.evaluation.coco_matching import CocoObject, Kind

Box = tuple[float, float, float, float]
"""(x, y, width, height) in pixels; zeros where nothing is seen."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Masklet:
    """One object over F frames.

    Attributes:
        masks: F of COCO's compressed codes, ``{"size": [H, W], "counts": bytes}``; None where the
            object is not seen.
        boxes: F boxes.
        score: of a prediction.
    """

    masks: tuple[Mapping[str, Any] | None, ...]
    boxes: tuple[Box, ...]
    score: float = 1.0

    @classmethod
    def of_object(cls, item: CocoObject) -> Masklet:
        """An object of a picture as a masklet of one frame."""
        return cls(masks=(item.rle,), boxes=(item.box,), score=item.score)


def volume_ious(
    detections: Sequence[Masklet], truths: Sequence[Masklet], kind: Kind
) -> npt.NDArray[np.float64]:
    """float64[D, G]: the sum over frames of intersections over the sum of unions.

    Two masklets that are seen in no frame are equal, 1.

    Args:
        detections: D masklets.
        truths: G masklets, of as many frames.
        kind: ``segm``: pixels of masks; ``bbox``: areas of boxes.
    """
    intersection = np.zeros((len(detections), len(truths)))
    union = np.zeros_like(intersection)
    if intersection.size:
        sides = [zip(*_frames(items, kind), strict=True) for items in (detections, truths)]
        for there, true in zip(*sides, strict=True):
            common, areas, true_areas = _in_frame(there, true, kind)
            intersection += common
            union += areas[:, None] + true_areas[None, :] - common
    return np.where(union > 0, intersection / np.where(union > 0, union, 1), 1.0)


def _frames(masklets: Sequence[Masklet], kind: Kind) -> list[tuple[Any, ...]]:
    return [item.masks if kind == "segm" else item.boxes for item in masklets]


def _in_frame(
    there: Sequence[Any], true: Sequence[Any], kind: Kind
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Intersections [D, G], areas [D] and [G] in one frame."""
    if kind == "bbox":
        first, second = (np.array(boxes, dtype=np.float64) for boxes in (there, true))
        near = np.maximum(first[:, None, :2], second[None, :, :2])
        far = np.minimum(
            (first[:, :2] + first[:, 2:])[:, None], (second[:, :2] + second[:, 2:])[None]
        )
        areas = [boxes[:, 2] * boxes[:, 3] for boxes in (first, second)]
        return np.clip(far - near, 0, None).prod(axis=2), areas[0], areas[1]
    return _mask_overlaps(there, true)


def _mask_overlaps(
    there: Sequence[Any], true: Sequence[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from pycocotools import mask as coco_mask

    seen = [[index for index, mask in enumerate(masks) if mask] for masks in (there, true)]
    areas = [np.zeros(len(masks)) for masks in (there, true)]
    codes = [[masks[i] for i in found] for masks, found in zip((there, true), seen, strict=True)]
    for area, code, found in zip(areas, codes, seen, strict=True):
        if found:
            area[found] = coco_mask.area(code)
    common = np.zeros((len(there), len(true)))
    if seen[0] and seen[1]:
        ious = np.asarray(coco_mask.iou(codes[0], codes[1], [0] * len(codes[1])))
        both = areas[0][seen[0]][:, None] + areas[1][seen[1]][None, :]
        # I / (A + B - I) = IoU, so that I follows; pixels are whole.
        common[np.ix_(*seen)] = np.round(ious * both / (1 + ious))
    return common, areas[0], areas[1]
