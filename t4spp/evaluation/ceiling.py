"""The best that schemes can reach on a dataset, and what they cost, without a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t4spp.errors import SchemeError
from t4spp.schemes.base import Scheme
from t4spp.types import Decoded, Sample, Target

CountTokens = Callable[[str], int]
"""Tokens of a bare descriptor."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One scheme to measure, as it was asked for, with its tokenizer."""

    name: str
    params: Mapping[str, Any]
    scheme: Scheme
    count_tokens: CountTokens


@dataclass(frozen=True, kw_only=True)
class SchemeCeiling:
    """What one scheme can reach.

    Attributes:
        name: the scheme's name.
        params: its parameters as they were given.
        mean_iou: IoU of each target with what its descriptor decodes to, at the picture's
            resolution; 0 for a target that cannot be written. NaN without targets.
        mean_tokens: tokens of the bare descriptor.
        p95_tokens: their 95th percentile.
        lost: share of the targets of which no pixel is left.
        encode_us: microseconds to write one target.
        decode_us: microseconds to read one target.
        refused: how many targets the scheme could not write.
    """

    name: str
    params: Mapping[str, Any]
    mean_iou: float
    mean_tokens: float
    p95_tokens: float
    lost: float
    encode_us: float
    decode_us: float
    refused: int = 0


@dataclass(kw_only=True)
class _Tally:
    """What is counted of one scheme on the way."""

    ious: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    num_lost: int = 0
    num_refused: int = 0


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The ceilings of several schemes on one dataset.

    Attributes:
        num_targets: targets measured, each alone.
        num_empty: targets without a pixel, which are left out.
        num_small: targets below the asked share of their picture, which are left out.
        num_in_words: samples that ask for words, which are left out.
        schemes: one entry a scheme, in the order asked for.
    """

    num_targets: int
    num_empty: int
    num_small: int
    num_in_words: int
    schemes: tuple[SchemeCeiling, ...]


def measure_ceiling(
    samples: Iterable[Sample], candidates: Sequence[Candidate], min_share: float = 0.0
) -> Ceiling:
    """Write and read every target of every sample alone, by every scheme.

    Args:
        samples: pictures are not read, and ``ignore`` is not looked at.
        candidates: the schemes.
        min_share: targets that cover less of their picture, 0..1, are left out.
    """
    tallies = [_Tally() for _ in candidates]
    num_targets = num_empty = num_small = num_in_words = 0
    for sample in samples:
        num_in_words += sample.kind == "dialogue"
        for target in sample.targets:
            share = share_of(target)
            if not share:
                num_empty += 1
                continue
            if share < min_share:
                num_small += 1
                continue
            num_targets += 1
            for candidate, tally in zip(candidates, tallies, strict=True):
                _measure(candidate, tally, target, sample.size)
    return Ceiling(
        num_targets=num_targets,
        num_empty=num_empty,
        num_small=num_small,
        num_in_words=num_in_words,
        schemes=tuple(
            _summary(candidate, tally) for candidate, tally in zip(candidates, tallies, strict=True)
        ),
    )


def share_of(target: Target) -> float:
    """How much of its picture a target covers, 0..1."""
    return int(np.count_nonzero(target.mask)) / target.mask.size


def _measure(candidate: Candidate, tally: _Tally, target: Target, size: tuple[int, int]) -> None:
    started = time.perf_counter()
    try:
        text = candidate.scheme.encode([target], size)
    except SchemeError:
        tally.num_refused += 1
        tally.num_lost += 1
        tally.ious.append(0.0)
        return
    encoded = time.perf_counter()
    decoded = candidate.scheme.decode(text, size)
    tally.decode_seconds += time.perf_counter() - encoded
    tally.encode_seconds += encoded - started
    tally.tokens.append(candidate.count_tokens(text))
    iou, kept = _overlap(decoded, target, size)
    tally.ious.append(iou)
    tally.num_lost += int(not kept)


def _overlap(decoded: Decoded, target: Target, size: tuple[int, int]) -> tuple[float, bool]:
    """IoU, and whether any pixel of the answer is the target's."""
    found = decoded.union(target.label, size)
    shared = int(np.count_nonzero(found & target.mask))
    union = int(np.count_nonzero(found | target.mask))
    return shared / union, shared > 0


def _summary(candidate: Candidate, tally: _Tally) -> SchemeCeiling:
    num_written = len(tally.tokens)
    return SchemeCeiling(
        name=candidate.name,
        params=dict(candidate.params),
        mean_iou=_mean(tally.ious),
        mean_tokens=_mean(tally.tokens),
        p95_tokens=float(np.percentile(tally.tokens, 95)) if tally.tokens else float("nan"),
        lost=tally.num_lost / len(tally.ious) if tally.ious else float("nan"),
        encode_us=1e6 * tally.encode_seconds / num_written if num_written else float("nan"),
        decode_us=1e6 * tally.decode_seconds / num_written if num_written else float("nan"),
        refused=tally.num_refused,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
