"""Random and mutated strings decode without an exception."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from t4spp.schemes.base import Scheme
from t4spp.testing import assert_sound, build_scheme, mutate
from t4spp.types import Target

SIZE = (6, 7)
PIECES = (
    "<seg>", "</seg>", "others", "dog", "cat", " *", "*", "|", "| ", "\n", "\n ", " ", "1", "2",
    "99999999999999999999", "0", "-1", "²", "٣", "é", "\x00", "\ud800", "<|", "|>", "<|loc",
    "<|loc0|>", "<|loc999|>", "<|loc1000|>", "<|loc|>", "<|bg1|>", "<|bg2|>", "<|fg3|>", "<|fg0|>",
    "<|fg99999|>", "<|row|>", "on", "off", "on1", "off2", "on0", "| 0 0 999 999\n", "1e5", "\u2028",
    "<|row0-2|>", "<|row2-1|>", "<|and2-2|>", "<|and0-9|>", "<|same1|>", "<|same99|>", "<|row1|>",
    "<|row", "<|at0-0|>", "<|at1-2|>", "<|at9-0|>", "<|at|>", "<|ring|>", "<|ring2|>",
    "<|part|>", "<|hole|>", "<|pt0-1|>", "<|pt9-9|>", "part", "hole", ";",
    "<|vq0|>", "<|vq7|>", "<|vq4095|>", "<|vq4096|>", "<|vq9999999999|>", "<|vq|>", "<|vq-1|>",
)  # fmt: skip


def schemes() -> list[Scheme]:
    return [
        build_scheme("image-full", grid=[2, 3]),
        build_scheme("image-irle", grid=[2, 3]),
        build_scheme("image-rrle", grid=[2, 3]),
        build_scheme("semantic-brick", grid=[2, 3]),
        build_scheme("next-brick", grid=[2, 3]),
        build_scheme("next-brick", grid=[2, 3], row_marks=True, upsample="nearest"),
        build_scheme("next-brick", grid=[2, 3], coordinates="digits"),
        build_scheme("polygon", max_vertices=8),
        build_scheme("polygon", max_vertices=8, coordinates="digits"),
        build_scheme("polygon", max_vertices=8, bins=3),
        build_scheme("span-brick", grid=[2, 3]),
        build_scheme("span-brick", grid=[2, 3], repeats=False, coordinates="digits"),
        build_scheme("box-outline", grid=[2, 3], max_points=5),
        build_scheme("vq-mask", num_codes=3),
        build_scheme("vq-mask", num_codes=3, coordinates="digits"),
    ]


def strings(scheme: Scheme, number: int, source: random.Random) -> Iterator[str]:
    """Half of them mutated descriptors, the rest pieces or characters at random."""
    masks = np.random.default_rng(source.randrange(2**32))
    texts = []
    for _ in range(50):
        targets = [
            Target(label=label, mask=masks.random(SIZE) < masks.random())
            for label in source.choices(("dog", "cat", "a bird"), k=source.randrange(4))
        ]
        texts.append(scheme.encode(targets, SIZE))
    for index in range(number):
        noise = "".join(source.choices(PIECES, k=source.randrange(12)))
        if index % 2:
            yield mutate(source.choice(texts), noise, source)
        elif index % 4:
            yield noise
        else:
            yield "".join(chr(source.randrange(0x250)) for _ in range(source.randrange(30)))


def fuzz(total: int) -> dict[str, int]:
    """Decode ``total`` strings; how many came out with which status."""
    source = random.Random(0)
    counts = {"ok": 0, "repaired": 0, "invalid": 0}
    chosen = schemes()
    for scheme in chosen:
        for text in strings(scheme, -(-total // len(chosen)), source):
            decoded = scheme.decode(text, SIZE, None if source.random() < 0.5 else ["dog"])
            assert_sound(decoded, SIZE)
            counts[decoded.status] += 1
    return counts


def test_twenty_thousand_strings_decode_without_an_exception() -> None:
    counts = fuzz(20_000)
    assert sum(counts.values()) >= 20_000
    assert min(counts.values()) > 500, counts


@pytest.mark.slow
def test_two_hundred_thousand_strings_decode_without_an_exception() -> None:
    assert sum(fuzz(200_000).values()) >= 200_000
