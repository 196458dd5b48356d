"""Referring phrases about a scene. Every phrase names exactly its objects, or none at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from t4spp_recipes.synthetic.params import UNSEEN_PAIRS
from t4spp_recipes.synthetic.scenes import Scene, Shape

Kind = Literal["attribute", "size", "position", "relation", "group", "none"]

SIZE_RATIO = 1.5
"""A phrase about size needs this ratio between the areas of the two candidates."""
MARGIN = 0.06
"""A phrase about place needs centres this share of the picture's side apart."""

_PLURALS = {"dots": "dots", "cross": "crosses"}


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A phrase, its kind, and the scene's objects (by index) that it names."""

    text: str
    kind: Kind
    objects: tuple[int, ...]


def _noun(colour: str | None, shape: str | None) -> str:
    return " ".join(word for word in (colour, shape or "object") if word)


def _plural(colour: str | None, shape: str | None) -> str:
    noun = shape or "object"
    return " ".join(word for word in (colour, _PLURALS.get(noun, f"{noun}s")) if word)


def _matching(objects: Sequence[Shape], colour: str | None, shape: str | None) -> list[int]:
    return [
        index
        for index, thing in enumerate(objects)
        if colour in (None, thing.colour) and shape in (None, thing.shape)
    ]


def _descriptions(thing: Shape) -> list[tuple[str | None, str | None]]:
    return [(thing.colour, thing.shape), (None, thing.shape), (thing.colour, None), (None, None)]


def _attribute(scene: Scene, rng: np.random.Generator) -> Phrase | None:
    """One object by colour and shape, or by one of them where that is enough."""
    index = int(rng.integers(len(scene.objects)))
    thing = scene.objects[index]
    fitting = [
        _noun(*words)
        for words in _descriptions(thing)[:3]
        if _matching(scene.objects, *words) == [index]
    ]
    if not fitting:
        return None
    full, *short = fitting
    text = full if not short or rng.random() < 0.6 else short[int(rng.integers(len(short)))]
    return Phrase(text=f"the {text}", kind="attribute", objects=(index,))


def _several(
    scene: Scene, rng: np.random.Generator
) -> tuple[tuple[str | None, str | None], list[int]] | None:
    """A description that fits two objects or more, with their indices."""
    thing = scene.objects[int(rng.integers(len(scene.objects)))]
    fitting = [
        (words, found)
        for words in _descriptions(thing)
        if len(found := _matching(scene.objects, *words)) >= 2
    ]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None


def _size(scene: Scene, rng: np.random.Generator) -> Phrase | None:
    chosen = _several(scene, rng)
    if chosen is None:
        return None
    words, found = chosen
    found = sorted(found, key=lambda index: scene.objects[index].area)
    areas = [scene.objects[index].area for index in found]
    largest = bool(rng.random() < 0.5)
    pair = (areas[-2], areas[-1]) if largest else (areas[0], areas[1])
    if pair[1] < SIZE_RATIO * pair[0]:
        return None
    word, index = ("largest", found[-1]) if largest else ("smallest", found[0])
    return Phrase(text=f"the {word} {_noun(*words)}", kind="size", objects=(index,))


_SIDES: dict[str, Callable[[tuple[float, float]], float]] = {
    "leftmost": lambda centre: centre[1],
    "rightmost": lambda centre: -centre[1],
    "topmost": lambda centre: centre[0],
    "bottommost": lambda centre: -centre[0],
}


def _position(scene: Scene, rng: np.random.Generator) -> Phrase | None:
    chosen = _several(scene, rng)
    if chosen is None:
        return None
    words, found = chosen
    side = list(_SIDES)[int(rng.integers(len(_SIDES)))]
    found = sorted(found, key=lambda index: _SIDES[side](scene.objects[index].centre))
    first, second = (_SIDES[side](scene.objects[index].centre) for index in found[:2])
    if second - first < MARGIN * scene.difficulty.size:
        return None
    return Phrase(text=f"the {side} {_noun(*words)}", kind="position", objects=(found[0],))


_RELATIONS: dict[str, Callable[[tuple[float, float], tuple[float, float]], float]] = {
    "left of": lambda it, other: other[1] - it[1],
    "right of": lambda it, other: it[1] - other[1],
    "above": lambda it, other: other[0] - it[0],
    "below": lambda it, other: it[0] - other[0],
}


def _relation(scene: Scene, rng: np.random.Generator) -> Phrase | None:
    """An object told apart from its like by where it lies from a unique other object."""
    chosen = _several(scene, rng)
    if chosen is None:
        return None
    words, found = chosen
    others = [
        index
        for index, thing in enumerate(scene.objects)
        if index not in found and _matching(scene.objects, thing.colour, thing.shape) == [index]
    ]
    if not others:
        return None
    anchor = scene.objects[others[int(rng.integers(len(others)))]]
    margin = MARGIN * scene.difficulty.size
    for relation in rng.permutation(list(_RELATIONS)).tolist():
        gaps = [_RELATIONS[relation](scene.objects[index].centre, anchor.centre) for index in found]
        clear = all(abs(gap) >= margin for gap in gaps)
        named = [index for index, gap in zip(found, gaps, strict=True) if gap > 0]
        if clear and len(named) == 1:
            text = f"the {_noun(*words)} {relation} the {_noun(anchor.colour, anchor.shape)}"
            return Phrase(text=text, kind="relation", objects=(named[0],))
    return None


def _group(scene: Scene, rng: np.random.Generator) -> Phrase | None:
    chosen = _several(scene, rng)
    if chosen is None or chosen[0] == (None, None):
        return None
    words, found = chosen
    return Phrase(text=f"all {_plural(*words)}", kind="group", objects=tuple(found))


def _none(scene: Scene, rng: np.random.Generator, *, unseen: bool) -> Phrase | None:
    """A phrase that nothing matches; mostly one word of it is in the scene."""
    difficulty = scene.difficulty
    colour = str(rng.choice(difficulty.colours))
    shape = str(rng.choice(difficulty.shapes))
    thing = scene.objects[int(rng.integers(len(scene.objects)))]
    draw = rng.random()
    if draw < 0.4:
        colour = thing.colour
    elif draw < 0.8:
        shape = thing.shape
    if ((colour, shape) in UNSEEN_PAIRS and not unseen) or _matching(scene.objects, colour, shape):
        return None
    return Phrase(text=f"the {_noun(colour, shape)}", kind="none", objects=())


_MAKERS: dict[str, Callable[[Scene, np.random.Generator], Phrase | None]] = {
    "attribute": _attribute,
    "size": _size,
    "position": _position,
    "relation": _relation,
    "group": _group,
}

KIND_SHARES: dict[str, float] = {
    "attribute": 0.66,
    "position": 0.10,
    "relation": 0.12,
    "size": 0.06,
    "group": 0.06,
}
"""Shares of the kinds among prompts with a target; where a scene has no phrase of the drawn kind
(nothing repeats in it, say) an ``attribute`` phrase stands in, then any other that exists."""


def make_phrases(
    scene: Scene, seed: tuple[int, ...], number: int, *, no_target: float, unseen: bool
) -> tuple[Phrase, ...]:
    """``number`` phrases about a scene, each different from those before it where it can be.

    The first phrases do not depend on ``number``.

    Args:
        scene: the scene to talk about; it has at least one object.
        seed: entropy, for example (seed, split, scene).
        number: of phrases.
        no_target: share of phrases that nothing matches, 0..1.
        unseen: whether a no-target phrase may name a pair of ``UNSEEN_PAIRS``.
    """
    phrases: list[Phrase] = []
    for index in range(number):
        absent = bool(np.random.default_rng([*seed, index, 3]).random() < no_target)
        for attempt in range(6):
            phrase = make_phrase(scene, (*seed, index, attempt), absent=absent, unseen=unseen)
            if all(phrase.text != earlier.text for earlier in phrases):
                break
        phrases.append(phrase)
    return tuple(phrases)


def make_phrase(scene: Scene, seed: tuple[int, ...], *, absent: bool, unseen: bool) -> Phrase:
    """The phrase that ``seed`` determines; see ``make_phrases``.

    Args:
        scene: the scene to talk about.
        seed: entropy.
        absent: whether nothing is to match the phrase; something does all the same where every
            pair of a colour and a shape is in the scene.
        unseen: whether such a phrase may name a pair of ``UNSEEN_PAIRS``.
    """
    rng = np.random.default_rng([*seed, 2])
    if absent:
        for _ in range(50):
            phrase = _none(scene, rng, unseen=unseen)
            if phrase is not None:
                return phrase
    kinds = list(KIND_SHARES)
    kind = kinds[int(rng.choice(len(kinds), p=list(KIND_SHARES.values())))]
    for maker in (kind, "attribute", *kinds):
        for _ in range(8):
            phrase = _MAKERS[maker](scene, rng)
            if phrase is not None:
                return phrase
    return Phrase(text="all objects", kind="group", objects=tuple(range(len(scene.objects))))
