"""A plugin file for tests: the backbone ``threshold`` looks at the picture and needs no model.

It marks red pixels for the first label asked for, blue ones for the second, green for the third.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from t4spp.components import Backbone, Component
from t4spp.hookspecs import hookimpl
from t4spp.schemes.base import Scheme
from t4spp.types import Sample, Target


class ThresholdParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Threshold(Backbone):
    def __init__(self, params: ThresholdParams) -> None:
        self.params = params

    def load(self, scheme_tokens: Sequence[str]) -> None:
        pass

    def fingerprint(self) -> str:
        return "threshold"

    def answer(self, samples: Sequence[Sample], scheme: Scheme) -> list[str]:
        return [self._answer(sample, scheme) for sample in samples]

    def _answer(self, sample: Sample, scheme: Scheme) -> str:
        image = sample.image.astype(int)
        targets = []
        for label, channel in zip(sample.labels, (0, 2, 1), strict=False):
            mask = 2 * image[..., channel] - image.sum(axis=2) > 60
            if mask.any():
                targets.append(Target(label=label, mask=mask))
        return f"Here.\n<seg>{scheme.encode(targets, sample.size)}</seg>"


@hookimpl
def t4spp_backbones() -> list[Component]:
    return [Component(name="threshold", config=ThresholdParams, build=Threshold)]
