"""Drawn cases for the laws of schemes: labels, masks, canvases.

``hypothesis`` is imported inside what needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t4spp.errors import SchemeError
from t4spp.schemes.base import Scheme
from t4spp.types import BACKGROUND, BoolMask, Target

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

PROMPT = ("dog", "cat on the left", "no", "é*[x]")
"""Labels of the grammars that are checked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """One drawn case: what ``encode`` and ``quantize`` take."""

    size: tuple[int, int]
    targets: tuple[Target, ...]
    ignore: BoolMask | None = None


def labels_strategy(scheme: Scheme) -> SearchStrategy[str]:
    """Labels that a target may bear."""
    from hypothesis import strategies as st

    from t4spp.schemes.labels import label_fault

    longest = int(getattr(scheme.params, "max_label_chars", 128))
    free = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=min(longest, 12))
    legal = free.filter(
        lambda label: (
            label != BACKGROUND and label_fault(label, scheme.special_tokens, longest) is None
        )
    )
    common = [label for label in (*PROMPT, "the dog on the left") if len(label) <= longest]
    return st.sampled_from(common) | legal if common else legal


def canvas_strategy(scheme: Scheme, max_side: int = 40) -> SearchStrategy[Canvas]:
    """Pictures with no to five targets: full, one pixel, holed, many parts, overlapping, noise."""
    from hypothesis import strategies as st

    labels = labels_strategy(scheme)

    @st.composite
    def canvases(draw: DrawFn) -> Canvas:
        size = (draw(st.integers(1, max_side)), draw(st.integers(1, max_side)))
        source = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        kinds = st.sampled_from(["full", "pixel", "box", "holed", "parts", "noise", "empty"])
        targets = tuple(
            Target(label=label, mask=draw_mask(kind, size, source))
            for label, kind in draw(st.lists(st.tuples(labels, kinds), max_size=5))
        )
        ignore = draw(st.none() | st.sampled_from(["box", "noise", "full", "pixel"]))
        return Canvas(
            size=size,
            targets=targets,
            ignore=None if ignore is None else draw_mask(ignore, size, source),
        )

    return canvases()


def draw_mask(kind: str, size: tuple[int, int], source: np.random.Generator) -> BoolMask:
    """A mask bool[H, W] of a kind: full, pixel, box, holed, parts, noise or empty."""
    height, width = size
    mask = np.zeros(size, dtype=np.bool_)
    if kind == "full":
        mask[:] = True
    elif kind == "noise":
        mask[:] = source.random(size) < source.random()
    elif kind == "parts":
        for _ in range(6):
            mask |= draw_mask("box", size, source) & draw_mask("box", size, source)
    elif kind in ("pixel", "box", "holed"):
        y0, x0 = int(source.integers(height)), int(source.integers(width))
        y1 = y0 + 1 if kind == "pixel" else int(source.integers(y0, height)) + 1
        x1 = x0 + 1 if kind == "pixel" else int(source.integers(x0, width)) + 1
        mask[y0:y1, x0:x1] = True
        if kind == "holed":
            mask[y0 + (y1 - y0) // 3 : y1 - (y1 - y0) // 3, (x0 + x1) // 2] = False
    return mask


def written(scheme: Scheme, canvas: Canvas) -> str | None:
    """The descriptor; None where the scheme refuses, which ``quantize`` must do as well."""
    try:
        return scheme.encode(canvas.targets, canvas.size, canvas.ignore)
    except SchemeError:
        try:
            scheme.quantize(canvas.targets, canvas.size, canvas.ignore)
        except SchemeError:
            return None
        raise AssertionError("encode refuses what quantize takes") from None


def for_all(strategy: SearchStrategy[Any], max_examples: int) -> Callable[..., None]:
    """Run a check on drawn cases."""
    from hypothesis import HealthCheck, given, settings

    def run(check: Callable[[Any], None]) -> None:
        given(strategy)(
            settings(
                max_examples=max_examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )(check)
        )()

    return run
