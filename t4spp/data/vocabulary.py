"""Which labels a run was trained on, without decoding a mask where the samples can tell."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from t4spp.data.head import training_samples
from t4spp.errors import T4sppError
from t4spp.types import BACKGROUND, Sample

if TYPE_CHECKING:
    from t4spp.components import Recipe
    from t4spp.config import DataConfig

logger = logging.getLogger(__name__)

MAX_READ = 2000
"""Samples that are read, masks and all, where the sequence does not tell labels by itself."""


def trained_labels(recipe: Recipe, data: DataConfig) -> frozenset[str] | None:
    """Every label that the training samples ask for or show.

    Returns:
        None where it would take too long to say, or the training split is not to be had.
    """
    try:
        samples = training_samples(recipe, data)
        return labels_of(samples)
    except T4sppError as error:
        logger.info("no break-down by labels seen in training: %s", error)
        return None


def labels_of(samples: Sequence[Sample]) -> frozenset[str] | None:
    """Every label of some samples, ``others`` left out.

    A sequence may have a method ``labels_at(index)`` that gives a sample's labels without making
    the sample, or None; samples of others are read, up to ``MAX_READ`` of them.

    Returns:
        None where more samples would have to be read.
    """
    told = getattr(samples, "labels_at", None)
    found: set[str] = set()
    num_read = 0
    for index in range(len(samples)):
        labels: Iterable[str] | None = None if told is None else told(index)
        if labels is None:
            num_read += 1
            if num_read > MAX_READ:
                logger.info(
                    "no break-down by labels seen in training: the %d samples tell their labels "
                    "only with their masks",
                    len(samples),
                )
                return None
            sample = samples[index]
            labels = {*sample.labels, *(target.label for target in sample.targets)}
        found.update(labels)
    return frozenset(found - {BACKGROUND})
