"""Prompts for a model that was never trained on a scheme: what it is, and answered examples."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence

from t4spp.data.templates import TEMPLATES
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.seeds import seed_from
from t4spp.types import Sample

logger = logging.getLogger(__name__)

NUM_PROBED = 256
"""Samples that are looked at for the examples of one prompt."""


def explained(
    question: str, scheme: Scheme, sample: Sample, native_boxes: str | None = None
) -> str:
    """A question with the scheme's explanation behind it.

    Args:
        question: templated.
        scheme: explains its descriptor.
        sample: the explanation's example bears its first label.
        native_boxes: how the model writes boxes by itself, as ``Backbone.native_box_format`` says
            it; told apart from the scheme's, where the scheme writes boxes.

    Raises:
        SchemeError: that label cannot be written.
    """
    opening = TEMPLATES[sample.kind].answers[0]
    boxes = ""
    if native_boxes is not None and scheme.writes_boxes:
        boxes = (
            f"Elsewhere you may write a box as {native_boxes}; here write it as told below, in "
            "that order and unit. "
        )
    return (
        f'{question}\n\nAnswer with the sentence "{opening}", a line break, and the mask as text '
        f"between {SEG_OPEN} and {SEG_CLOSE}; write nothing else. "
        f"{boxes}{scheme.explain(sample.labels or None)}"
    )


class ExamplePool:
    """Draws samples to show as answered examples."""

    def __init__(self, samples: Sequence[Sample], shots: int, seed: int) -> None:
        """Keep where to draw from.

        Args:
            samples: the training split.
            shots: examples a prompt.
            seed: the run's.
        """
        self.samples = samples
        self.shots = shots
        self.seed = seed

    def candidates(self, sample: Sample, when: object) -> Iterator[Sample]:
        """Samples of the same kind about other pictures, each about another one.

        Their order follows from the seed, the sample and ``when`` alone; at most ``NUM_PROBED``
        samples are looked at.

        Args:
            sample: the prompt that they are to stand before; never its own picture.
            when: the epoch in training, something constant otherwise.
        """
        source = random.Random(seed_from("shots", self.seed, sample.id, when))
        number = len(self.samples)
        seen = {_picture(sample)}
        for index in source.sample(range(number), min(number, NUM_PROBED)):
            other = self.samples[index]
            if other.kind == sample.kind and _picture(other) not in seen:
                seen.add(_picture(other))
                yield other


def _picture(sample: Sample) -> str:
    return sample.image_id or sample.id


def pool_of(samples: Callable[[], Sequence[Sample]], shots: int, seed: int) -> ExamplePool | None:
    """A pool over ``samples()``, which is only called where examples are asked for."""
    return ExamplePool(samples(), shots, seed) if shots else None
