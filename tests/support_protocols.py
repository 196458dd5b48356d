"""What the tests of evaluation protocols share: answers beside their truth, made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.protocols.base import Answered, EvaluationProtocol
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.types import BoolMask, Decoded, Problem, Region, Sample, Target

SIZE = (20, 20)

Labelled = Sequence[tuple[str, BoolMask]]


def rectangle(y0: int, x0: int, y1: int, x1: int, size: tuple[int, int] = SIZE) -> BoolMask:
    """A half-open rectangle of foreground, bool[H, W]."""
    mask = np.zeros(size, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def answered(
    truth: Labelled = (),
    answer: Labelled = (),
    *,
    labels: tuple[str, ...] = ("dog",),
    position: int = 0,
    status: str = "ok",
    size: tuple[int, int] = SIZE,
    **fields: Any,
) -> Answered:
    """One answer beside its truth; ``fields`` are the sample's."""
    sample = Sample(
        id=f"s{position}",
        size=size,
        prompt="|".join(labels),
        labels=labels,
        targets=tuple(Target(label=label, mask=mask) for label, mask in truth),
        **fields,
    )
    problems = (Problem(code="no-seg", message="nothing to read"),) if status == "invalid" else ()
    decoded = Decoded(
        regions=tuple(Region(label=label, mask=mask) for label, mask in answer),
        status=status,  # type: ignore[arg-type]
        problems=problems,
    )
    prediction = Prediction(
        id=sample.id,
        prompt=sample.prompt,
        labels=sample.labels,
        text="",
        num_tokens=None,
        num_passes=1,
        seconds=0.0,
    )
    return Answered(
        position=position,
        sample=sample,
        prediction=prediction,
        decoded=decoded,
        pairs=score_pairs(position, sample, decoded),
    )


def rows_of(protocol: EvaluationProtocol[Any], answers: Sequence[Answered]) -> list[Any]:
    """The rows of answers, in their order."""
    return [row for one in answers for row in protocol.measure(one)]


def scores(name: str, *answers: Answered) -> dict[str, float | None]:
    """A protocol's scores of answers; None where nothing counts."""
    protocol = PROTOCOLS[name]()
    protocol.update(rows_of(protocol, answers))
    values = protocol.compute()
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def counts(name: str, *answers: Answered) -> dict[str, Any]:
    """What a protocol tells of answers beside its scores."""
    protocol = PROTOCOLS[name]()
    return dict(protocol.counts(rows_of(protocol, answers)))
