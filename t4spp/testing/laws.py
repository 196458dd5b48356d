"""Laws of encoding and decoding that every scheme obeys."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from t4spp.errors import SchemeError, T4sppError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.testing.canvases import Canvas, canvas_strategy, for_all, written
from t4spp.types import BACKGROUND, Decoded, Region, Target

REFUSED_LABELS = ("", BACKGROUND, " dog", "dog ", "a\nb", "a|b", "a *b", f"a{SEG_CLOSE}")
"""Labels that every scheme refuses for a target."""


def assert_same_regions(found: Sequence[Region], wanted: Sequence[Region]) -> None:
    """Same labels, masks, occupancies, boxes and order."""
    assert [region.label for region in found] == [region.label for region in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.mask.dtype == np.bool_ and one.mask.shape == other.mask.shape
        assert np.array_equal(one.mask, other.mask), f"the masks of {one.label!r} differ"
        assert one.box == other.box
        assert (one.soft is None) == (other.soft is None)
        if one.soft is not None and other.soft is not None:
            assert one.soft.dtype == np.float32
            assert np.allclose(one.soft, other.soft, rtol=0, atol=1e-6)


def assert_sound(decoded: Decoded, size: tuple[int, int]) -> None:
    """What holds of every decoded answer, whatever was in it."""
    assert decoded.status in ("ok", "repaired", "invalid")
    assert (decoded.status == "ok") == (not decoded.problems), decoded.problems
    assert decoded.status != "invalid" or not decoded.regions
    for region in decoded.regions:
        assert region.mask.shape == size and region.mask.dtype == np.bool_
        assert region.label and region.label != BACKGROUND


def check_round_trip(scheme: Scheme, *, max_examples: int = 100) -> None:
    """``decode(encode(t))`` equals ``quantize(t)``, bare and in an answer, with status ok."""

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None:
            return
        wanted = scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        answer = f"Here it is.\n{SEG_OPEN}{text}{SEG_CLOSE}"
        asked = [target.label for target in canvas.targets]
        for given_text in (text, answer):
            for labels in (None, asked):
                decoded = scheme.decode(given_text, canvas.size, labels)
                assert_sound(decoded, canvas.size)
                assert decoded.status == "ok", (text, decoded.problems)
                assert_same_regions(decoded.regions, wanted)

    for_all(canvas_strategy(scheme), max_examples)(check)


def check_decoding_never_raises(scheme: Scheme, *, max_examples: int = 100) -> None:
    """``decode`` takes any string: random text, and descriptors with pieces cut, put in, moved."""
    from hypothesis import strategies as st

    def check(case: tuple[Canvas, str, int]) -> None:
        canvas, noise, seed = case
        assert_sound(scheme.decode(noise, canvas.size), canvas.size)
        text = written(scheme, canvas)
        if text is None:
            return
        mutated = mutate(text, noise, random.Random(seed))
        assert_sound(scheme.decode(mutated, canvas.size), canvas.size)
        assert_sound(scheme.decode(mutated, canvas.size, ["dog"]), canvas.size)

    pieces = ["<seg>", "</seg>", "|", "| ", " *", "*3", "\n", "others", "dog", "99999999999", "²"]
    pieces += [*scheme.special_tokens[:2], *scheme.special_tokens[-2:]]
    noise = st.text() | st.lists(st.sampled_from(pieces), max_size=20).map("".join)
    cases = st.tuples(canvas_strategy(scheme, 12), noise, st.integers(0, 2**32 - 1))
    for_all(cases, max_examples)(check)


def mutate(text: str, noise: str, source: random.Random) -> str:
    """A descriptor with one to four pieces removed, doubled, moved, or replaced by ``noise``."""
    for _ in range(source.randint(1, 4)):
        first = source.randint(0, len(text))
        last = min(len(text), first + source.choice((0, 1, 2, 5, 20)))
        kind = source.randrange(4)
        piece = text[first:last]
        if kind == 0:
            text = text[:first] + text[last:]
        elif kind == 1:
            text = text[:first] + piece + piece + text[last:]
        elif kind == 2:
            text = text[last:] + text[:last]
        else:
            text = text[:first] + noise[: source.randint(0, 12)] + text[last:]
    return text


def check_labels(scheme: Scheme, *, max_examples: int = 100) -> None:
    """Labels are matched by name; unasked ones are background; unwritable ones are refused."""
    size = (8, 8)
    full = np.ones(size, dtype=np.bool_)
    tokens = scheme.special_tokens
    for label in (*REFUSED_LABELS, *(f"a {token}" for token in (*tokens[:1], *tokens[-1:]))):
        for write in (scheme.encode, scheme.quantize):
            try:
                write([Target(label=label, mask=full)], size)
            except SchemeError:
                continue
            raise AssertionError(f"{write.__name__} took the label {label!r}")

    def check(canvas: Canvas) -> None:
        text = written(scheme, canvas)
        if text is None:
            return
        wanted = scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        kept = wanted[0].label if wanted else "dog"
        decoded = scheme.decode(text, canvas.size, [kept, "never written"])
        assert_same_regions(decoded.regions, [r for r in wanted if r.label == kept])
        strangers = any(region.label != kept for region in wanted)
        codes = {problem.code for problem in decoded.problems}
        assert codes == ({"unknown-label"} if strangers else set())
        assert decoded.status == ("repaired" if strangers else "ok")

    for_all(canvas_strategy(scheme), max_examples)(check)


def check_damage_stays_in_its_row(scheme: Scheme, *, max_examples: int = 100) -> None:
    """Where rows are marked, whatever happens between two marks leaves the other rows alone."""
    from hypothesis import strategies as st

    mark: str | None = getattr(scheme, "row_mark", None)
    shape: tuple[int, int] | None = getattr(scheme, "shape", None)
    if mark is None or shape is None:
        return
    rows, columns = shape
    size = (rows * 4, columns * 4)
    letters = st.text(st.sampled_from("dogx *0123456789"), max_size=6)

    def check(case: tuple[int, int, str]) -> None:
        seed, row, noise = case
        source = np.random.default_rng(seed)
        cells = source.random(shape) < 0.5
        cells[0, 0] = cells[-1, -1] = True
        mask = np.repeat(np.repeat(cells, 4, axis=0), 4, axis=1)
        text = scheme.encode([Target(label="dog", mask=mask)], size)
        whole = scheme.decode(text, size).union("dog", size)
        opened = text.endswith(mark)
        pieces = (text[: -len(mark)] if opened else text).split(mark)
        at = len(pieces) - rows + row
        pieces[at] = mutate(pieces[at], noise, random.Random(seed)).replace(mark, "")
        damaged = mark.join(pieces) + (mark if opened else "")
        decoded = scheme.decode(damaged, size)
        assert_sound(decoded, size)
        differs = np.flatnonzero((decoded.union("dog", size) != whole).any(axis=1))
        # bilinear upsampling reaches half a cell into the rows above and below
        assert all(4 * row - 2 <= y < 4 * row + 6 for y in differs), (text, damaged, differs)

    cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, rows - 1), letters)
    for_all(cases, max_examples)(check)


def check_fingerprint(scheme: Scheme) -> None:
    """The fingerprint is stable and tells every parameter's values apart.

    Parameters that name files are left out: not their place but their content must count, which a
    scheme with such a parameter holds in a test of its own.
    """
    assert type(scheme)(scheme.params).fingerprint() == scheme.fingerprint()
    assert scheme.fingerprint().startswith(f"{scheme.name}@{scheme.version}:")
    for name, field in type(scheme.params).model_fields.items():
        if Path in (field.annotation, *get_args(field.annotation)):
            continue
        for value in _other_values(scheme, name):
            params = {**scheme.params.model_dump(), name: value}
            try:
                other = type(scheme)(type(scheme.params).model_validate(params))
            except (ValueError, T4sppError):
                continue
            if getattr(other.params, name) != getattr(scheme.params, name):
                assert other.fingerprint() != scheme.fingerprint(), (
                    f"{name}={value!r} does not change the fingerprint"
                )
                break
        else:
            raise AssertionError(f"no other valid value of {name!r} was found")


def _other_values(scheme: Scheme, name: str) -> list[Any]:
    """Guesses at valid values of a parameter that it does not have now."""
    value = getattr(scheme.params, name)
    annotation = type(scheme.params).model_fields[name].annotation
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value * 2]
    return [choice for choice in get_args(annotation) if choice != value] + [
        f"{value}x",
        1,
        3,
        [2, 3],
    ]
