"""COCO's AP and AR over matches: pycocotools accumulates and summarises."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from t4spp.evaluation.coco_matching import Matches

SUMMARY = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""The twelve values that COCO's code prints, in its order."""
POOLED = ("phrase_ap", "phrase_ap50", "phrase_ap75")
"""The first three over all labels as one category."""

_HEAD = struct.Struct("<qiii")
"""Position, bytes of the label, detections, truths."""
Record = tuple[int, str, Matches]
"""Position of the sample, label, matches."""


class CocoScores(Metric):
    """The twelve scores by label, then the pooled three; see :data:`SUMMARY`.

    Detections of equal score keep the order of their samples' positions, as pycocotools keeps that
    of image ids; no order of updates or processes matters.
    """

    full_state_update = False
    higher_is_better = True
    records: list[Tensor]

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("records", [], dist_reduce_fx="cat")

    def update(self, records: Tensor) -> None:
        """Add records as :func:`write_records` wrote them, uint8[N]; N may be 0."""
        self.records.append(records.to(self.device))

    def compute(self) -> Tensor:
        """float64[15] in 0..1; NaN where no truth counts."""
        joined = dim_zero_cat(self.records) if len(self.records) else _NOTHING
        found = sorted(read_records(joined.cpu().numpy().tobytes()), key=lambda item: item[:2])
        by_label = summarise(found, by_label=True)
        pooled = summarise(found, by_label=False)[: len(POOLED)]
        return torch.from_numpy(np.concatenate([by_label, pooled]))


def write_records(records: Iterable[Record]) -> Tensor:
    """Records as uint8[N], one after another."""
    parts: list[bytes] = []
    for position, label, matches in records:
        text = label.encode("utf-8", "surrogatepass")
        head = _HEAD.pack(position, len(text), matches.num_detections, matches.num_truths)
        parts += [head, text, matches.scores, matches.flags]
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8) if parts else _NOTHING


_NOTHING = torch.zeros(0, dtype=torch.uint8)


def read_records(data: bytes) -> list[Record]:
    """What :func:`write_records` wrote."""
    records: list[Record] = []
    start = 0
    while start < len(data):
        position, length, detections, truths = _HEAD.unpack_from(data, start)
        start += _HEAD.size
        text = data[start : start + length].decode("utf-8", "surrogatepass")
        start += length
        middle = start + 8 * detections
        end = middle + Matches.num_flag_bytes(detections, truths)
        matches = Matches(
            num_detections=detections,
            num_truths=truths,
            scores=data[start:middle],
            flags=data[middle:end],
        )
        records.append((position, text, matches))
        start = end
    return records


def summarise(records: Sequence[Record], *, by_label: bool) -> npt.NDArray[np.float64]:
    """The twelve values, float64[12]; NaN where no truth counts.

    Args:
        records: in the order in which detections of equal score count.
        by_label: average over labels, else take all for one.
    """
    grouped: dict[str, list[Matches]] = {}
    for _, label, matches in records:
        grouped.setdefault(label if by_label else "", []).append(matches)
    if not grouped:
        return np.full(len(SUMMARY), np.nan)
    with contextlib.redirect_stdout(io.StringIO()):
        parts = [_accumulate(grouped[label]) for label in sorted(grouped)]
        whole = _evaluation()
        whole.eval = {
            "precision": np.concatenate([part["precision"] for part in parts], axis=2),
            "recall": np.concatenate([part["recall"] for part in parts], axis=1),
        }
        whole.summarize()
    values = np.array(whole.stats, dtype=np.float64)
    return np.where(values < 0, np.nan, values)


def _accumulate(matches: Sequence[Matches]) -> dict[str, npt.NDArray[np.float64]]:
    """One category's precision[T, R, 1, A, M] and recall[T, 1, A, M]; -1 where no truth counts.

    Only the pictures that have the label are looked at, so that many labels cost little.
    """
    evaluation = _evaluation()
    evaluation.params.imgIds = list(range(len(matches)))
    evaluation.params.catIds = [0]
    ranges = zip(*(item.entries() for item in matches), strict=True)
    evaluation.evalImgs = [entry for entries in ranges for entry in entries]
    evaluation._paramsEval = evaluation.params
    evaluation.accumulate()
    return {"precision": evaluation.eval["precision"], "recall": evaluation.eval["recall"]}


def _evaluation() -> Any:
    from pycocotools.cocoeval import COCOeval

    return COCOeval(iouType="segm")
