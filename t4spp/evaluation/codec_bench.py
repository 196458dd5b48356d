"""How fast schemes encode and decode, beside a plain loop over Python lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t4spp.evaluation.plain_codec import plain_codec
from t4spp.schemes.base import Scheme
from t4spp.schemes.grid import sample as resample
from t4spp.types import Sample, Target


@dataclass(frozen=True, kw_only=True)
class CodecSpeed:
    """Times of one scheme: microseconds of processor time a mask, the best of the repeats.

    ``plain_*`` are the plain loop's; ``*_ratio`` say how many times it is slower. None where the
    scheme has no plain codec.
    """

    name: str
    params: Mapping[str, Any]
    encode_us: float
    decode_us: float
    plain_encode_us: float | None
    plain_decode_us: float | None
    encode_ratio: float | None
    decode_ratio: float | None


def small_masks(samples: Iterable[Sample], side: int, limit: int) -> list[Target]:
    """The first ``limit`` targets, their masks brought to ``side`` x ``side`` pixels by nearest.

    Targets that vanish at that size are left out.
    """
    found: list[Target] = []
    for sample in samples:
        for target in sample.targets:
            mask = resample(target.mask, (side, side)).astype(np.bool_)
            if mask.any():
                found.append(Target(label=target.label, mask=mask))
            if len(found) == limit:
                return found
    return found


def codec_speed(
    name: str,
    params: Mapping[str, Any],
    scheme: Scheme,
    targets: Sequence[Target],
    repeats: int = 3,
) -> CodecSpeed:
    """Time a scheme and its plain codec on the same masks, in turn.

    Args:
        name: the scheme's name.
        params: its parameters as they were given.
        scheme: what to time.
        targets: at least one; each is written alone.
        repeats: passes over all masks; the fastest counts.
    """
    plain = plain_codec(scheme)
    texts = [scheme.encode([target], _size(target)) for target in targets]

    def encode(codec: Scheme) -> Callable[[], None]:
        def run() -> None:
            for target in targets:
                codec.encode([target], _size(target))

        return run

    def decode(codec: Scheme) -> Callable[[], None]:
        def run() -> None:
            for text, target in zip(texts, targets, strict=True):
                codec.decode(text, _size(target))

        return run

    jobs = [encode(scheme), decode(scheme)]
    if plain is not None:
        jobs += [encode(plain), decode(plain)]
    best = [float("inf")] * len(jobs)
    for _ in range(repeats):
        for index, job in enumerate(jobs):
            started = time.process_time()
            job()
            best[index] = min(best[index], time.process_time() - started)
    times = [1e6 * seconds / len(targets) for seconds in best]
    compared = plain is not None
    return CodecSpeed(
        name=name,
        params=dict(params),
        encode_us=times[0],
        decode_us=times[1],
        plain_encode_us=times[2] if compared else None,
        plain_decode_us=times[3] if compared else None,
        encode_ratio=times[2] / times[0] if compared else None,
        decode_ratio=times[3] / times[1] if compared else None,
    )


def _size(target: Target) -> tuple[int, int]:
    height, width = target.mask.shape
    return height, width
