"""What a dataset is like: sizes, targets, labels, prompts, and what its answers cost in tokens."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t4spp.data.conversations import ConversationBuilder
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN
from t4spp.types import BACKGROUND, Sample

MAX_LABELS = 1000
"""Most frequent labels that are told; the others are counted together."""
MAX_SIZES = 20
SMALL, LARGE = 32**2, 96**2
"""COCO's bounds of small, medium and large objects, in pixels of area."""


@dataclass(frozen=True, kw_only=True)
class TokenCost:
    """A scheme whose answers are counted.

    Attributes:
        name: as it was asked for.
        builder: writes the whole answers.
        count: the tokens of a text, by a tokenizer that has learnt the scheme's.
    """

    name: str
    builder: ConversationBuilder
    count: Callable[[str], int]


@dataclass(kw_only=True)
class _Lengths:
    """Tokens of one scheme's texts."""

    questions: array[int] = field(default_factory=lambda: array("l"))
    answers: array[int] = field(default_factory=lambda: array("l"))
    descriptors: array[int] = field(default_factory=lambda: array("l"))
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Counts and lengths; arrays have an entry a sample or a target.

    Attributes:
        num_samples: samples that were read.
        kinds: samples by kind of prompt.
        tags: samples by tag.
        num_images: distinct pictures.
        sizes: pictures by (height, width).
        targets: targets of each sample, dialogues left out.
        without_target: samples that ask for a mask and have no target.
        ignored: samples with pixels that are not scored.
        empty_targets: targets without a pixel.
        labels: targets by label.
        absent: prompts by a label that they ask for and the picture does not show.
        areas: pixels of each target, those without any left out.
        shares: of its picture, 0..1.
        words: words of each prompt.
        lengths: by scheme.
    """

    num_samples: int
    kinds: Counter[str]
    tags: Counter[str]
    num_images: int
    sizes: Counter[tuple[int, int]]
    targets: Sequence[int]
    without_target: int
    ignored: int
    empty_targets: int
    labels: Counter[str]
    absent: Counter[str]
    areas: Sequence[int]
    shares: Sequence[float]
    words: Sequence[int]
    lengths: dict[str, _Lengths]

    def to_json(self) -> dict[str, Any]:
        """For ``t4spp data stats --json``."""
        asked = sum(number for kind, number in self.kinds.items() if kind != "dialogue")
        areas = np.asarray(self.areas)
        return {
            "num_samples": self.num_samples,
            "num_images": self.num_images,
            "num_targets": len(self.areas) + self.empty_targets,
            "num_labels": len(self.labels),
            "kinds": dict(self.kinds.most_common()),
            "tags": dict(self.tags.most_common(MAX_LABELS)),
            "without_target": self.without_target,
            "no_target_share": self.without_target / asked if asked else None,
            "with_ignored_pixels": self.ignored,
            "empty_targets": self.empty_targets,
            "picture_sizes": {
                f"{height}x{width}": number
                for (height, width), number in self.sizes.most_common(MAX_SIZES)
            },
            "other_picture_sizes": sum(
                number for _, number in self.sizes.most_common()[MAX_SIZES:]
            ),
            "targets_a_sample": summary(self.targets),
            "target_pixels": summary(self.areas),
            "target_share": summary(self.shares),
            "object_sizes": {
                "small": int((areas < SMALL).sum()),
                "medium": int(((areas >= SMALL) & (areas < LARGE)).sum()),
                "large": int((areas >= LARGE).sum()),
            },
            "prompt_words": summary(self.words),
            "labels": dict(self.labels.most_common(MAX_LABELS)),
            "other_labels": sum(number for _, number in self.labels.most_common()[MAX_LABELS:]),
            "absent_labels": dict(self.absent.most_common(MAX_LABELS)),
            "schemes": {
                name: {
                    "question_tokens": summary(own.questions),
                    "answer_tokens": summary(own.answers),
                    "descriptor_tokens": summary(own.descriptors),
                    "refused": sum(own.refused.values()),
                    "refused_because": dict(own.refused.most_common(10)),
                }
                for name, own in self.lengths.items()
            },
        }


def measure(samples: Iterable[Sample], costs: Sequence[TokenCost] = ()) -> Statistics:
    """Read every sample once; no picture is read.

    Args:
        samples: of a split.
        costs: schemes whose answers are counted.
    """
    kinds: Counter[str] = Counter()
    tags: Counter[str] = Counter()
    sizes: dict[str, tuple[int, int]] = {}
    labels: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    targets, areas, words = array("l"), array("l"), array("l")
    shares = array("d")
    num_samples = without = ignored = empty = 0
    lengths = {cost.name: _Lengths() for cost in costs}
    for sample in samples:
        num_samples += 1
        kinds[sample.kind] += 1
        tags.update(sample.tags)
        sizes.setdefault(sample.image_id or sample.id, (sample.size[0], sample.size[1]))
        ignored += sample.ignore is not None
        words.append(len(sample.prompt.split()))
        for cost in costs:
            _add_lengths(lengths[cost.name], cost, sample)
        if sample.kind == "dialogue":
            continue
        targets.append(len(sample.targets))
        without += not sample.targets
        shown = set()
        for target in sample.targets:
            shown.add(target.label)
            labels[target.label] += 1
            area = int(np.count_nonzero(target.mask))
            if not area:
                empty += 1
                continue
            areas.append(area)
            shares.append(area / target.mask.size)
        absent.update(label for label in sample.labels if label not in shown | {BACKGROUND})
    return Statistics(
        num_samples=num_samples,
        kinds=kinds,
        tags=tags,
        num_images=len(sizes),
        sizes=Counter(sizes.values()),
        targets=targets,
        without_target=without,
        ignored=ignored,
        empty_targets=empty,
        labels=labels,
        absent=absent,
        areas=areas,
        shares=shares,
        words=words,
        lengths=lengths,
    )


def summary(values: Sequence[float]) -> dict[str, float] | None:
    """Least, quantiles, mean and most; None without values."""
    if not len(values):
        return None
    numbers = np.asarray(values, dtype=np.float64)
    least, low, median, high, most = np.percentile(numbers, [0, 5, 50, 95, 100]).tolist()
    return {
        "min": least,
        "p5": low,
        "median": median,
        "mean": float(numbers.mean()),
        "p95": high,
        "max": most,
    }


def unwrap(answer: str) -> str:
    """The bare descriptor of a written answer."""
    return answer.partition(SEG_OPEN)[2].removesuffix(SEG_CLOSE)


def _add_lengths(lengths: _Lengths, cost: TokenCost, sample: Sample) -> None:
    """Count a sample's conversation, or the reason why the scheme cannot write it."""
    conversation = cost.builder.build(sample, training=True)
    if conversation is None or conversation.answer is None:
        reasons = cost.builder.drain_unwritable()
        lengths.refused[reasons[0][1] if reasons else "it has no answer"] += 1
        return
    lengths.questions.append(cost.count(conversation.question))
    lengths.answers.append(cost.count(conversation.answer))
    if sample.kind != "dialogue":
        lengths.descriptors.append(cost.count(unwrap(conversation.answer)))
