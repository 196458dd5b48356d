"""What answers without a model score: everything is it, nothing is it, the mean training mask.

A model that cannot beat them has learnt nothing about pictures. Baselines are masks, not
descriptors: no scheme limits them, so they are, if anything, flattered beside a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.data.head import training_samples
from t4spp.decoding.prediction import Prediction
from t4spp.decoding.processes import Crew
from t4spp.errors import RunError
from t4spp.evaluation.baseline_files import SCHEMA
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.pairs import score_pairs, scored_labels, truth_of
from t4spp.evaluation.protocols.base import Answered
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.evaluation.protocols.native import NativeProtocol
from t4spp.evaluation.protocols.panel import Panel
from t4spp.evaluation.spatial_scores import score_space
from t4spp.evaluation.spatial_windows import WindowCollector
from t4spp.geo.blending import resized_levels
from t4spp.types import BoolMask, Decoded, Region, Sample

GRID = 64
"""Cells a side of the mean mask."""
THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Occupancies tried on the training masks."""

Answer = Callable[[Sample, str], BoolMask]
"""The mask, bool[H, W], that a baseline gives for a label of a sample."""
Progress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanMask:
    """How often each place of a picture is covered in training, by label.

    Attributes:
        shares: float64[GRID, GRID] in 0..1 by label; the key ``""`` holds the mean of all labels,
            for labels that training does not show.
        thresholds: the share from which on a place is answered, by label: the one of
            ``THRESHOLDS`` with the best mean IoU on the training masks, of equals the lowest.
        num_masks: training masks by label.
    """

    shares: Mapping[str, npt.NDArray[np.float64]]
    thresholds: Mapping[str, float]
    num_masks: Mapping[str, int]

    def answer(self, sample: Sample, label: str) -> BoolMask:
        """Places covered from the best threshold on, bool[H, W] of a sample's size."""
        key = label if label in self.shares else ""
        return self._from(key, sample.size, self.thresholds[key])

    def majority(self, sample: Sample, label: str) -> BoolMask:
        """Places that at least half of the training masks cover, bool[H, W]."""
        return self._from(label if label in self.shares else "", sample.size, 0.5)

    def _from(self, key: str, size: tuple[int, int], threshold: float) -> BoolMask:
        levels = np.rint(self.shares[key] * 255).astype(np.uint8)
        mask: BoolMask = resized_levels(levels, size) >= round(threshold * 255)
        return mask


def mean_mask(samples: Sequence[Sample], progress: Progress | None = None) -> MeanMask:
    """Learn the mean mask of the samples that have a target.

    Args:
        samples: of the training split.
        progress: told after each sample.

    Raises:
        RunError: no sample has a target.
    """
    masks: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for index in range(len(samples)):
        sample = samples[index]
        for label in scored_labels(sample):
            truth = truth_of(sample, label)
            if sample.ignore is not None:
                truth &= ~sample.ignore
            if truth.any():
                levels = resized_levels(truth.astype(np.uint8) * 255, (GRID, GRID))
                masks.setdefault(label, []).append(levels >= 128)
        if progress is not None:
            progress(1)
    if not masks:
        raise RunError(
            "no training sample has a target, so there is no mean mask. Check data.train_split."
        )
    masks[""] = [mask for own in masks.values() for mask in own]
    shares, thresholds = {}, {}
    for label, own in masks.items():
        stack = np.stack(own)
        shares[label] = stack.mean(axis=0)
        thresholds[label] = _best_threshold(shares[label], stack)
    return MeanMask(
        shares=shares,
        thresholds=thresholds,
        num_masks={label: len(own) for label, own in masks.items() if label},
    )


def _best_threshold(share: npt.NDArray[np.float64], masks: npt.NDArray[np.bool_]) -> float:
    best, chosen = -1.0, THRESHOLDS[0]
    areas = masks.sum(axis=(1, 2))
    for threshold in THRESHOLDS:
        answer = share >= threshold
        shared = (masks & answer).sum(axis=(1, 2))
        union = areas + np.count_nonzero(answer) - shared
        score = float(np.mean(shared / np.maximum(union, 1)))
        if score > best + 1e-12:
            best, chosen = score, threshold
    return chosen


def everything(sample: Sample, label: str) -> BoolMask:
    """Every pixel is it."""
    return np.ones(sample.size, dtype=np.bool_)


def nothing(sample: Sample, label: str) -> BoolMask:
    """No pixel is it."""
    return np.zeros(sample.size, dtype=np.bool_)


def score_baselines(
    experiment: Experiment,
    split: str,
    *,
    learning: Progress | None = None,
    scoring: Progress | None = None,
) -> dict[str, Any]:
    """Score all baselines on a split as a run would be.

    Args:
        experiment: names the data and how they are scored; no backbone is built.
        split: that is scored; the mean mask is of ``data.train_split``.
        learning: told after each training sample.
        scoring: told after each scored sample.

    Returns:
        ``{"schema", "split", "train_split", "num_in_words_left_out", "baselines": {name:
        {"protocols": ...}}}``; questions in words are left out.

    Raises:
        RunError: a split is empty, or no training sample has a target.
    """
    config = experiment.config
    samples = experiment.samples(split)
    mean = mean_mask(training_samples(experiment.recipe, config.data), learning)
    answers: dict[str, Answer] = {
        "everything": everything,
        "mean mask": mean.majority,
        "mean mask, best threshold": mean.answer,
        "nothing": nothing,
    }
    protocol_names = [n for n in config.evaluation.protocols if not PROTOCOLS[n].dialogue]
    panels = {name: Panel(protocol_names or (NativeProtocol.name,)) for name in answers}
    collectors = {name: WindowCollector() for name in answers}
    num_in_words = 0
    for position in range(len(samples)):
        sample = samples[position]
        if sample.kind == "dialogue":  # a mask is no answer to it
            num_in_words += 1
            if scoring is not None:
                scoring(1)
            continue
        for name, answer in answers.items():
            decoded = _decoded(sample, answer)
            own = score_pairs(position, sample, decoded)
            answered = Answered(
                position=position,
                sample=sample,
                prediction=_prediction(sample),
                decoded=decoded,
                pairs=own,
            )
            panels[name].add(panels[name].measure(answered))
            collectors[name](position, sample, answered.prediction, decoded, own)
        if scoring is not None:
            scoring(1)
    scored: dict[str, dict[str, Any]] = {}
    for name in answers:
        protocols, _ = panels[name].scores(
            Crew(), resamples=config.evaluation.bootstrap, seed=config.seed
        )
        if config.evaluation.space and collectors[name].windows:
            space = score_space(
                collectors[name].windows,
                outlines=experiment.recipe.scene_objects,
                iou=config.evaluation.object_iou,
                least_area=config.evaluation.least_area,
                crew=Crew(),
            )
            protocols |= space.protocols(resamples=config.evaluation.bootstrap, seed=config.seed)
        scored[name] = {"protocols": protocols}
    scored["mean mask, best threshold"] |= {
        "thresholds": {label: value for label, value in mean.thresholds.items() if label},
        "num_masks": dict(mean.num_masks),
    }
    return {
        "schema": SCHEMA,
        "split": split,
        "train_split": config.data.train_split,
        "num_in_words_left_out": num_in_words,
        "baselines": scored,
    }


def _decoded(sample: Sample, answer: Answer) -> Decoded:
    regions = (
        Region(label=label, mask=answer(sample, label))
        for label in scored_labels(sample) or ("it",)
    )
    return Decoded(regions=tuple(region for region in regions if region.mask.any()), status="ok")


def _prediction(sample: Sample) -> Prediction:
    return Prediction(
        id=sample.id,
        prompt=sample.prompt,
        labels=sample.labels,
        text="",
        num_tokens=None,
        num_passes=0,
        seconds=0.0,
    )
