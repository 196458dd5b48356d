"""What SA-Co's evaluation of phrases computes from counts: F1, IL_MCC, cgF1.

Source: facebookresearch/sam3, sam3/eval (cgf1_eval.py, demo_eval.py), with its small constants, so
that published values are met. T: IoU thresholds 0.50, 0.55, ..., 0.95.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""T of them, as COCO's code makes them."""
_AT = {"50_95": slice(None), "50": slice(0, 1), "75": slice(5, 6)}
_SMALL = 1e-4
_TINY = 1e-6

PHRASE_SCORES = tuple(
    f"{name}_{at}"
    for at in _AT
    for name in ("precision", "recall", "f1", "pmf1", "cgf1", "micro_f1", "cgf1_micro")
)
"""Names of what :func:`phrase_scores` returns, after ``il_mcc``."""


def phrase_columns(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What is summed over phrases, float64[N, 4 + 5 T].

    Args:
        counts: int64[N, 2 + T]: objects there, objects answered, pairs found.
    """
    true, detected, found = counts[:, :1], counts[:, 1:2], counts[:, 2:].astype(np.float64)
    asked, answered = true > 0, detected > 0
    presence = [asked & answered, asked & ~answered, ~asked & answered, ~asked & ~answered]
    both = presence[0]
    missed, invented = true - found, detected - found
    precision, recall = _share(found, invented), _share(found, missed)
    local = np.where(both, _f1(precision, recall), 0.0)
    parts = [*presence, found, invented, missed, np.where(asked, invented, 0.0), local]
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts], axis=1)


def phrase_scores(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``il_mcc`` and :data:`PHRASE_SCORES`, float64[..., 22]; NaN where nothing counts.

    Args:
        sums: of :func:`phrase_columns` over phrases, float64[..., 4 + 5 T].
    """
    there, missed_all, invented_all, silent = (sums[..., index : index + 1] for index in range(4))
    tables = sums[..., 4:].reshape(*sums.shape[:-1], 5, len(THRESHOLDS))
    found, invented, missed, invented_there, local = (tables[..., index, :] for index in range(5))
    precision, recall = _share(found, invented), _share(found, missed)
    precision_there = _share(found, invented_there)
    margins = (
        (there + invented_all)
        * (there + missed_all)
        * (silent + invented_all)
        * (silent + missed_all)
    )
    mcc = (there * silent - invented_all * missed_all) / (np.sqrt(margins) + _TINY)
    macro = np.where(there > 0, local / np.where(there > 0, there, 1), np.nan)
    micro = _f1(precision_there, recall)
    columns = [precision, recall, _f1(precision, recall), macro, macro * mcc, micro, micro * mcc]
    values = [mcc[..., 0]]
    values += [column[..., at].mean(axis=-1) for at in _AT.values() for column in columns]
    known = (there + missed_all + invented_all + silent)[..., 0] > 0
    return np.where(known[..., None], np.stack(values, axis=-1), np.nan)


def _share(part: npt.NDArray[np.float64], rest: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(part / (part + rest + _SMALL))


def _f1(
    precision: npt.NDArray[np.float64], recall: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.asarray(2 * precision * recall / (precision + recall + _SMALL))


class PhraseScores(Metric):
    """The scores over phrases; equal whatever the order of updates and processes."""

    full_state_update = False
    higher_is_better = True
    counts: list[Tensor]

    def __init__(self) -> None:
        """Start from nothing."""
        super().__init__()
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, counts: Tensor) -> None:
        """Add phrases: objects there, objects answered, pairs found, int64[N, 2 + T]."""
        self.counts.append(counts.to(self.device, torch.int64))

    def compute(self) -> Tensor:
        """float64[22]: ``il_mcc`` and :data:`PHRASE_SCORES`; NaN where nothing counts."""
        none = torch.zeros((0, 2 + len(THRESHOLDS)), dtype=torch.int64)
        counts = (dim_zero_cat(self.counts) if len(self.counts) else none).cpu().numpy()
        columns = phrase_columns(counts)
        ordered = columns[np.lexsort(columns.T)]
        return torch.from_numpy(phrase_scores(ordered.sum(axis=0)))
