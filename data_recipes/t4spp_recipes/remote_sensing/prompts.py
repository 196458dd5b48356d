"""What a window is asked for: classes, attributes, relations in the picture, and what is absent.

A recipe tells what a window shows as :class:`Thing` items and gets :class:`Asked` items back, which
name things by index. A phrase is only made where its answer is beyond doubt: things that are in the
window but not scored, or whose class or attribute nobody knows, count as rivals.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from t4spp.errors import RecipeError, nearest
from t4spp.schemes.labels import sanitise_label
from t4spp.seeds import seed_from
from t4spp.types import BoolMask, Box, PromptKind
from t4spp_recipes.remote_sensing.prompt_config import (
    PromptsConfig,
    class_phrase,
    filled,
    is_known,
    plural_of,
    properties_of,
)
from t4spp_recipes.remote_sensing.relations import RelationPhrase, relation_phrases
from t4spp_recipes.splits import absent_pairs

MAX_ABSENT = 16
"""Absent phrases that a window offers to choose from, at most."""
NO_TARGET = "no-target"

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that a window shows.

    Attributes:
        label: its class; None where nobody knows it.
        properties: of the vector feature.
        area: its pixels in the window.
        centre: (y, x) of these pixels' mean, pixels of the window.
        box: around these pixels.
        scored: False for what prompts must not point at (too small, beyond a bound).
        single: False for what is not one thing, as a class of a raster.
    """

    label: str | None
    properties: Mapping[str, Any]
    area: int
    centre: tuple[float, float]
    box: Box
    scored: bool = True
    single: bool = True

    @classmethod
    def of_mask(
        cls,
        mask: BoolMask,
        label: str | None,
        properties: Mapping[str, Any] | None = None,
        *,
        scored: bool = True,
        single: bool = True,
    ) -> Thing | None:
        """What a mask bool[H, W] of a window shows; None for an empty one."""
        import numpy as np

        box = Box.of_mask(mask)
        if box is None:
            return None
        inside = mask[box.slices]
        area = int(np.count_nonzero(inside))
        rows = inside.sum(axis=1) @ np.arange(box.height)
        columns = inside.sum(axis=0) @ np.arange(box.width)
        return cls(
            label=label,
            properties=properties or {},
            area=area,
            centre=(box.y0 + float(rows) / area, box.x0 + float(columns) / area),
            box=box,
            scored=scored,
            single=single,
        )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One prompt about a window.

    Attributes:
        prompt: unique in its window.
        labels: what a sample's ``labels`` are.
        targets: indices of the things that answer it; empty for a no-target prompt.
        names: the label of each of ``targets``.
        ignored: indices of things whose pixels are not scored: those that are never scored, those
            of an unknown class, and those that may answer the prompt or not.
        kind: of the sample.
        tags: ``kind:...``, and ``no-target`` for a prompt made of what is absent.
    """

    prompt: str
    labels: tuple[str, ...]
    targets: tuple[int, ...]
    names: tuple[str, ...]
    ignored: tuple[int, ...] = ()
    kind: PromptKind = "partial"
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What a dataset's things may be asked for.

    Attributes:
        classes: every class, sorted.
        attributes: template -> phrase -> the classes whose things it may name.
        counters: ``labels_sanitised``: phrases that no descriptor could carry as they were.
    """

    classes: tuple[str, ...]
    attributes: Mapping[str, Mapping[str, frozenset[str]]]
    counters: Mapping[str, int]


def vocabulary_of(
    things: Iterable[tuple[str | None, Mapping[str, Any]]], config: PromptsConfig
) -> Vocabulary:
    """The classes and phrases that (class, properties) of a whole dataset give.

    Raises:
        RecipeError: a template names a property that nothing with a class has, or ``related`` a
            class that is not there.
    """
    classes: set[str] = set()
    known: set[str] = set()
    phrases: dict[str, dict[str, set[str]]] = {template: {} for template in config.attributes}
    sanitised: set[str] = set()
    for label, properties in things:
        if label is None:
            continue
        classes.add(label)
        if not config.attributes:
            continue
        known.update(name for name, value in properties.items() if is_known(value))
        for template, found in phrases.items():
            phrase = filled(template, label, properties, config)
            if phrase is not None:
                found.setdefault(phrase, set()).add(label)
                if phrase != filled(template, label, properties, config, raw=True):
                    sanitised.add(phrase)
    unknown = sorted(set(config.related or ()) - classes)
    if unknown:
        raise RecipeError(
            f"prompts.related: there is no class {unknown[0]!r}.{nearest(unknown[0], classes)} "
            f"The classes are: {', '.join(sorted(classes))}."
        )
    for template, found in phrases.items():
        if not found:
            missing = [name for name in properties_of(template) if name not in known]
            raise RecipeError(
                f"prompts.attributes: {template!r} fits nothing: "
                + (
                    f"no feature has the property {missing[0]!r}.{nearest(missing[0], known)} "
                    f"Properties with values: {', '.join(sorted(known)[:30]) or 'none'}."
                    if missing
                    else "no feature has all of its properties. Name fewer in one template."
                )
            )
    return Vocabulary(
        classes=tuple(sorted(classes)),
        attributes={
            template: {phrase: frozenset(of) for phrase, of in sorted(found.items())}
            for template, found in phrases.items()
        },
        counters=dict(+Counter(labels_sanitised=len(sanitised))),
    )


def prompts_of(
    things: Sequence[Thing],
    size: tuple[int, int],
    config: PromptsConfig,
    vocabulary: Vocabulary,
    seed: object,
) -> tuple[Asked, ...]:
    """The prompts that a window answers, each text once: classes, attributes, relations.

    ``classes: together`` asks every window, also one that shows nothing.

    Args:
        things: what the window shows, scored or not.
        size: (H, W) of the window's picture.
        config: the parameters.
        vocabulary: of the dataset.
        seed: anything that tells this window from others and runs apart; it chooses relations.
    """
    asked: list[Asked] = []
    if config.classes == "together":
        asked.append(_together(things, vocabulary))
    elif config.classes == "each":
        for label in vocabulary.classes:
            named = [i for i, thing in enumerate(things) if thing.label == label and thing.scored]
            if named:
                asked.append(_one_name(class_phrase(label, config), named, "class"))
    for template, phrases in vocabulary.attributes.items():
        asked += _by_attribute(template, phrases, things, config)
    if config.relations:
        plurals = {label: plural_of(label, config) for label in vocabulary.classes}
        offered = relation_phrases(things, size, plurals, config.related)
        chosen = _by_turns(offered, config.relations, seed)
        asked += [_one_name(sanitise_label(p.text)[0], p.things, p.kind) for p in chosen]
    found: dict[str, Asked] = {}
    for item in asked:
        found.setdefault(item.prompt, _with_unscored(item, things))
    return tuple(found.values())


def classes_asked(config: PromptsConfig, vocabulary: Vocabulary) -> tuple[Asked, ...]:
    """A prompt for every class, or one for all of them, about a window that nobody labelled."""
    if config.classes == "together":
        return (_together((), vocabulary),)
    return tuple(
        _one_name(class_phrase(label, config), (), "class") for label in vocabulary.classes
    )


def absent_of(
    things: Sequence[Thing], config: PromptsConfig, vocabulary: Vocabulary, seed: object
) -> tuple[Asked, ...]:
    """Prompts that nothing in a window answers for certain, at most ``MAX_ABSENT``, seeded.

    Classes that the window does not show (none where something of an unknown class is in it), and
    phrases of attributes that none of their classes' things there has, all of them known.
    """
    if any(thing.label is None for thing in things):
        return ()
    shown = {thing.label for thing in things}
    found: dict[str, str] = {}
    if config.classes == "each":
        for label in vocabulary.classes:
            if label not in shown:
                found[class_phrase(label, config)] = "class"
    for template, phrases in vocabulary.attributes.items():
        present = [
            (thing.label, filled(template, str(thing.label), thing.properties, config))
            for thing in things
        ]
        for phrase, classes in phrases.items():
            if not any(label in classes and text in (None, phrase) for label, text in present):
                found.setdefault(phrase, "attribute")
    texts = sorted(found)
    if len(texts) > MAX_ABSENT:
        texts = sorted(random.Random(seed_from("absent", seed)).sample(texts, MAX_ABSENT))
    asked = [_with_unscored(_one_name(text, (), found[text]), things) for text in texts]
    return tuple(replace(item, tags=(*item.tags, NO_TARGET)) for item in asked)


def choose_absent(
    candidates: Mapping[Key, Sequence[Asked]], num_present: int, share: float, seed: int
) -> tuple[dict[Key, tuple[Asked, ...]], int]:
    """Choose no-target prompts so that they are ``share`` of all; windows take turns.

    Args:
        candidates: of each window, what :func:`absent_of` gives.
        num_present: prompts with a target.
        share: no-target prompts over all prompts, 0 <= share < 1.
        seed: of the choice.

    Returns:
        The chosen prompts of each chosen window, and how many more ``share`` asks for than there
        are.
    """
    texts = {key: [item.prompt for item in items] for key, items in candidates.items()}
    chosen, lacking = absent_pairs(texts, num_present, share, seed)
    by_text = {key: {item.prompt: item for item in candidates[key]} for key in chosen}
    return {
        key: tuple(by_text[key][text] for text in names) for key, names in chosen.items()
    }, lacking


def _together(things: Sequence[Thing], vocabulary: Vocabulary) -> Asked:
    named = [i for i, thing in enumerate(things) if thing.label is not None and thing.scored]
    return Asked(
        prompt="|".join(vocabulary.classes),
        labels=vocabulary.classes,
        targets=tuple(named),
        names=tuple(str(things[index].label) for index in named),
        kind="conditioned",
        tags=("kind:classes",),
    )


def _one_name(text: str, named: Sequence[int], kind: str, unknown: Sequence[int] = ()) -> Asked:
    return Asked(
        prompt=text,
        labels=(text,),
        targets=tuple(named),
        names=(text,) * len(named),
        ignored=tuple(unknown),
        tags=(f"kind:{kind}",),
    )


def _by_turns(offered: Sequence[RelationPhrase], num: int, seed: object) -> list[RelationPhrase]:
    """At most ``num`` phrases; kinds take turns, since some are offered far more often."""
    rng = random.Random(seed_from("relations", seed))
    pools: dict[str, list[RelationPhrase]] = {}
    for phrase in rng.sample(offered, len(offered)):
        pools.setdefault(phrase.kind, []).append(phrase)
    chosen: list[RelationPhrase] = []
    while pools and len(chosen) < num:
        for kind in list(pools):
            chosen.append(pools[kind].pop())
            if not pools[kind]:
                del pools[kind]
    return chosen[:num]


def _with_unscored(asked: Asked, things: Sequence[Thing]) -> Asked:
    """A prompt whose ``ignored`` has everything that is not scored or of an unknown class."""
    never = {i for i, thing in enumerate(things) if thing.label is None or not thing.scored}
    return replace(asked, ignored=tuple(sorted({*asked.ignored, *never} - set(asked.targets))))


def _by_attribute(
    template: str,
    phrases: Mapping[str, frozenset[str]],
    things: Sequence[Thing],
    config: PromptsConfig,
) -> list[Asked]:
    texts = [
        None if thing.label is None else filled(template, thing.label, thing.properties, config)
        for thing in things
    ]
    asked = []
    for phrase in sorted({text for text in texts if text is not None and text in phrases}):
        classes = phrases[phrase]
        matching = [index for index, text in enumerate(texts) if text == phrase]
        named = [index for index in matching if things[index].scored]
        unknown = [
            index
            for index, text in enumerate(texts)
            if text is None and things[index].label in classes
        ]
        if named:
            asked.append(_one_name(phrase, named, "attribute", unknown))
    return asked
