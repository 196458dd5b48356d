"""Phrases about size and place in a window's picture: "the building left of the largest one".

Up, down, left and right are those of the picture, not compass points: a scene may be turned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from t4spp_recipes.remote_sensing.prompts import Thing

SIZE_RATIO = 1.5
"""The largest (smallest) thing is named where the next one's area differs by this ratio."""
MARGIN = 0.03
"""Places closer than this share of the picture's side are not told apart."""
LEAST_SHARE = 0.002
"""Things that cover less of the picture, slivers at its edge mostly, are not pointed at."""


@dataclass(frozen=True, kw_only=True)
class RelationPhrase:
    """A phrase and the indices of the things that it names."""

    text: str
    kind: Literal["size", "position", "relation"]
    things: tuple[int, ...]


def relation_phrases(
    things: Sequence[Thing],
    size: tuple[int, int],
    plurals: Mapping[str, str],
    related: Collection[str] | None = None,
) -> list[RelationPhrase]:
    """Every phrase about size and place whose answer is beyond doubt.

    Args:
        things: what the window shows. Those that are not scored, of unknown class or tiny, are
            rivals: a phrase that might mean one of them is not made. Classes with a thing that is
            not ``single`` are left out.
        size: (H, W) of the picture.
        plurals: of each class.
        related: the classes that phrases point at; others may be what they point from. None: all.
    """
    unknown = [index for index, thing in enumerate(things) if thing.label is None]
    phrases: list[RelationPhrase] = []
    for label in plurals if related is None else related:
        own = [index for index, thing in enumerate(things) if thing.label == label]
        rivals = [*own, *unknown]
        if len(own) < 2 or not all(things[index].single for index in rivals):
            continue
        phrases += _sizes(things, rivals, size, label)
        phrases += _places(things, rivals, size, label)
        anchor = _largest(things, rivals)
        if anchor is not None:
            others = [index for index in rivals if index != anchor]
            phrases += _around(things, others, things[anchor], size, label, plurals, "largest one")
        if unknown:
            continue  # one of them may be of the anchor's class
        for name in plurals:
            anchors = [index for index, thing in enumerate(things) if thing.label == name]
            if name != label and len(anchors) == 1 and things[anchors[0]].single:
                phrases += _around(things, own, things[anchors[0]], size, label, plurals, name)
    least = LEAST_SHARE * size[0] * size[1]

    def pointed_at(thing: Thing) -> bool:
        return thing.scored and thing.label is not None and thing.area >= least

    return [p for p in phrases if all(pointed_at(things[index]) for index in p.things)]


def _largest(things: Sequence[Thing], indices: Sequence[int]) -> int | None:
    first, second = sorted(indices, key=lambda index: -things[index].area)[:2]
    clear = things[first].area >= SIZE_RATIO * things[second].area
    return first if clear and things[first].label is not None else None


def _sizes(
    things: Sequence[Thing], indices: Sequence[int], size: tuple[int, int], label: str
) -> list[RelationPhrase]:
    phrases = []
    largest = _largest(things, indices)
    if largest is not None:
        phrases.append(RelationPhrase(text=f"the largest {label}", kind="size", things=(largest,)))
    first, second = sorted(indices, key=lambda index: things[index].area)[:2]
    box = things[first].box
    cut = box.y0 == 0 or box.x0 == 0 or box.y1 == size[0] or box.x1 == size[1]
    clear = things[second].area >= SIZE_RATIO * things[first].area
    if clear and not cut and things[first].label is not None:
        phrases.append(RelationPhrase(text=f"the smallest {label}", kind="size", things=(first,)))
    return phrases


_SIDES: tuple[tuple[str, int, int], ...] = (
    ("leftmost", 1, 1),
    ("rightmost", 1, -1),
    ("topmost", 0, 1),
    ("bottommost", 0, -1),
)
"""Word, axis of the centre, and the sign that makes the named thing's place the least."""


def _places(
    things: Sequence[Thing], indices: Sequence[int], size: tuple[int, int], label: str
) -> list[RelationPhrase]:
    phrases = []
    for word, axis, sign in _SIDES:
        places = sorted((sign * things[index].centre[axis], index) for index in indices)
        (least, first), (second, _) = places[:2]
        if second - least >= MARGIN * size[axis] and things[first].label is not None:
            phrases.append(
                RelationPhrase(text=f"the {word} {label}", kind="position", things=(first,))
            )
    return phrases


_BESIDE: tuple[tuple[str, int, Callable[[Thing], int], int], ...] = (
    ("left of", 1, lambda anchor: anchor.box.x0, 1),
    ("right of", 1, lambda anchor: anchor.box.x1, -1),
    ("above", 0, lambda anchor: anchor.box.y0, 1),
    ("below", 0, lambda anchor: anchor.box.y1, -1),
)
"""Words, axis, the anchor's edge on that side, and the sign that points away from the anchor."""


def _around(
    things: Sequence[Thing],
    candidates: Sequence[int],
    anchor: Thing,
    size: tuple[int, int],
    label: str,
    plurals: Mapping[str, str],
    anchor_name: str,
) -> list[RelationPhrase]:
    """What is nearest to the anchor; what lies beyond its edges, where no candidate is in doubt.

    A centre beyond the anchor's edge is beside it, one beyond the anchor's centre is not; between
    the two, or nearer than the margin, nobody can tell.
    """
    phrases = _nearest(things, candidates, anchor, size, label, anchor_name)
    for words, axis, edge_of, sign in _BESIDE:
        margin = MARGIN * size[axis]
        edge, middle = sign * edge_of(anchor), sign * anchor.centre[axis]
        places = {index: sign * things[index].centre[axis] for index in candidates}
        beside = [index for index, place in places.items() if place <= edge - margin]
        clear = all(index in beside or place >= middle + margin for index, place in places.items())
        if clear and beside:
            noun = label if len(beside) == 1 else plurals[label]
            phrases.append(
                RelationPhrase(
                    text=f"the {noun} {words} the {anchor_name}",
                    kind="relation",
                    things=tuple(beside),
                )
            )
    return phrases


def _nearest(
    things: Sequence[Thing],
    candidates: Sequence[int],
    anchor: Thing,
    size: tuple[int, int],
    label: str,
    anchor_name: str,
) -> list[RelationPhrase]:
    """The one of several candidates whose centre is nearest to the anchor's box, by the margin."""
    box = anchor.box

    def distance(index: int) -> float:
        y, x = things[index].centre
        down = max(box.y0 - y, 0.0, y - box.y1)
        across = max(box.x0 - x, 0.0, x - box.x1)
        return float((down**2 + across**2) ** 0.5)

    ranked = sorted((distance(index), index) for index in candidates)
    if len(ranked) < 2 or ranked[1][0] - ranked[0][0] < MARGIN * min(size):
        return []
    text = f"the {label} nearest to the {anchor_name}"
    return [RelationPhrase(text=text, kind="relation", things=(ranked[0][1],))]
