"""What refiners gain: every target written by an oracle, decoded, and refined.

Every picture is read once; all its targets are refined together, as one answer's regions. A
refiner's own thresholds can be chosen, too: for each picture by all other pictures, so that what
is reported was never fitted to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.components import Refiner
from t4spp.errors import SchemeError
from t4spp.evaluation.bootstrap import Terms, bootstrap_intervals
from t4spp.schemes.base import Scheme
from t4spp.types import BoolMask, Decoded, Image, Region, Sample, Target

LARGE = 0.01
"""An object is large when it covers more than this share of its picture."""
LEFT_OUT = "left-one-out"
"""Marks rows whose thresholds were chosen on the other pictures."""

Build = Callable[[Mapping[str, Any]], Any]
"""Makes a refiner's config of its params changed so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A picture and its objects, in the order of their samples.

    Attributes:
        name: unique among the pictures.
        load: reads uint8[H, W, 3].
        truths: label and bool[H, W] of each, none empty.
        num_samples: how many samples it was in.
    """

    name: str
    load: Callable[[], Image]
    truths: tuple[tuple[str, BoolMask], ...]
    num_samples: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrant:
    """A refiner to measure.

    Attributes:
        name: as it was asked for.
        refiner: built.
        configs: its own config first, then those to choose among; only its own where there is
            nothing to choose.
    """

    name: str
    refiner: Refiner
    configs: tuple[Any, ...]


@dataclass(kw_only=True)
class _Scores:
    """IoUs of one scheme and one refiner; a row an object."""

    coarse: list[float] = field(default_factory=list)
    refined: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class RefineBench:
    """What was measured.

    Attributes:
        rows: one a scheme, refiner and size of objects.
        chosen: by refiner, the params chosen where each picture was left out, and on all pictures
            under the empty name.
        refused: objects that a scheme could not write, by scheme; they score 0.
        num_pictures: pictures with an object.
    """

    rows: list[dict[str, Any]]
    chosen: dict[str, dict[str, Any]]
    refused: dict[str, int]
    num_pictures: int


def pictures_of(samples: Iterable[Sample], prefix: str = "") -> Iterator[Picture]:
    """Join samples that follow each other and share a picture.

    Targets without a pixel are left out; a picture without any target left has no objects.
    """
    for name, group in itertools.groupby(samples, key=lambda sample: sample.image_id or sample.id):
        members = list(group)
        yield Picture(
            name=f"{prefix}{name}",
            load=partial(getattr, members[0], "image"),
            truths=tuple(
                (t.label, t.mask) for member in members for t in member.targets if t.mask.any()
            ),
            num_samples=len(members),
        )


def measure_refiners(
    pictures: Iterable[Picture],
    schemes: Mapping[str, Scheme],
    entrants: Sequence[Entrant],
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> RefineBench:
    """Refine every object's oracle descriptor.

    Args:
        pictures: with their objects; of those without any, nothing is read.
        schemes: by what to call them.
        entrants: the refiners.
        resamples: of pictures, for the 95 % intervals.
        seed: of the resampling.
        progress: told after each picture how many samples it was in.

    Raises:
        RecipeError: a picture is missing or damaged.
    """
    scores = {(s, e.name): _Scores() for s in schemes for e in entrants}
    refused = dict.fromkeys(schemes, 0)
    names: list[str] = []
    shares: list[float] = []
    for picture in pictures:
        if not picture.truths:
            continue
        image = picture.load()
        names += [picture.name] * len(picture.truths)
        shares += [float(mask.mean()) for _, mask in picture.truths]
        for title, scheme in schemes.items():
            coarse, places, failed = _oracle(picture, scheme)
            refused[title] += failed
            for entrant in entrants:
                _refine(image, picture, coarse, places, entrant, scores[title, entrant.name])
        if progress is not None:
            progress(picture.num_samples)
    large = np.array(shares) > LARGE
    rows: list[dict[str, Any]] = []
    chosen: dict[str, dict[str, Any]] = {}
    tables = {
        key: (np.array(found.coarse), np.array(found.refined)) for key, found in scores.items()
    }
    for entrant in entrants:
        per_scheme = {title: tables[title, entrant.name] for title in schemes}
        picks = {entrant.name: np.zeros(len(names), dtype=np.int64)}
        if len(entrant.configs) > 1:
            gains = [refined - coarse[:, None] for coarse, refined in per_scheme.values()]
            left_out, best = _choose(names, gains)
            picks[f"{entrant.name}/{LEFT_OUT}"] = np.array([left_out[name] for name in names])
            chosen[entrant.name] = {
                name: _differing(entrant.configs, at) for name, at in {**left_out, "": best}.items()
            }
        for title, (coarse_ious, refined_ious) in per_scheme.items():
            for called, pick in picks.items():
                refined_iou = refined_ious[np.arange(len(names)), pick]
                for objects, wanted in (
                    ("all", np.ones_like(large)),
                    ("large", large),
                    ("small", ~large),
                ):
                    rows.append(
                        {
                            "scheme": title,
                            "refiner": called,
                            "objects": objects,
                            **_summary(names, coarse_ious, refined_iou, wanted, resamples, seed),
                        }
                    )
    return RefineBench(
        rows=rows, chosen=chosen, refused=refused, num_pictures=len(dict.fromkeys(names))
    )


def oracle_regions(picture: Picture, scheme: Scheme) -> tuple[Region, ...]:
    """What an oracle's descriptors of the picture's objects decode to."""
    return _oracle(picture, scheme)[0]


def _oracle(
    picture: Picture, scheme: Scheme
) -> tuple[tuple[Region, ...], list[tuple[int, ...]], int]:
    """All objects' regions, which of them belong to each object, and how many were refused."""
    regions: list[Region] = []
    places: list[tuple[int, ...]] = []
    refused = 0
    for label, mask in picture.truths:
        try:
            text = scheme.encode([Target(label=label, mask=mask)], mask.shape)
        except SchemeError:
            refused += 1
            places.append(())
            continue
        found = scheme.decode(text, mask.shape).regions
        places.append(tuple(range(len(regions), len(regions) + len(found))))
        regions.extend(found)
    return tuple(regions), places, refused


def _refine(
    image: Image,
    picture: Picture,
    coarse: tuple[Region, ...],
    places: Sequence[tuple[int, ...]],
    entrant: Entrant,
    scores: _Scores,
) -> None:
    decoded = Decoded(regions=coarse, status="ok")
    if len(entrant.configs) > 1:
        results = entrant.refiner.refine_under(image, decoded, entrant.configs)
    else:
        results = [entrant.refiner.refine(image, decoded)]
    for (_, truth), own in zip(picture.truths, places, strict=True):
        known: dict[tuple[int, ...], float] = {}
        scores.coarse.append(_iou([coarse[at] for at in own], truth, known))
        scores.refined.append(
            [_iou([result.regions[at] for at in own], truth, known) for result in results]
        )


def _iou(regions: Sequence[Region], truth: BoolMask, known: dict[tuple[int, ...], float]) -> float:
    """Of the regions' union; results of one mask under many configs are computed once."""
    key = tuple(id(region.mask) for region in regions)
    if key not in known:
        found = np.zeros_like(truth)
        for region in regions:
            found |= region.mask
        shared = np.count_nonzero(found & truth)
        known[key] = float(shared / np.count_nonzero(found | truth))
    return known[key]


def _choose(
    names: Sequence[str], gains: Sequence[npt.NDArray[np.float64]]
) -> tuple[dict[str, int], int]:
    """The config whose smallest mean gain over the schemes is largest.

    A refiner does not know which scheme wrote a mask: it must harm none.

    Args:
        names: the picture of each of the N objects.
        gains: a scheme each, refined minus coarse IoU, float64[N, number of configs].

    Returns:
        Positions of configs, the earliest of equals: for each picture the one that does best on
        all others (the first where there are none), and the one that does best on all.
    """
    owner = np.array(names)

    def best(counted: npt.NDArray[np.bool_]) -> int:
        if not counted.any():
            return 0
        return int(np.argmax(np.min([gain[counted].mean(axis=0) for gain in gains], axis=0)))

    left_out = {name: best(owner != name) for name in dict.fromkeys(names)}
    return left_out, best(np.ones(len(names), dtype=np.bool_))


def _differing(configs: Sequence[Any], at: int) -> dict[str, Any]:
    """The params of a config that are not equal in all of them."""
    dumped = [config.model_dump(mode="json") for config in configs]
    return {key: value for key, value in dumped[at].items() if any(d[key] != value for d in dumped)}


def _summary(
    names: Sequence[str],
    coarse: npt.NDArray[np.float64],
    refined: npt.NDArray[np.float64],
    wanted: npt.NDArray[np.bool_],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    weight = wanted.astype(np.float64)
    terms = {
        "coarse": Terms(numerator=coarse * weight, denominator=weight),
        "refined": Terms(numerator=refined * weight, denominator=weight),
        "gain": Terms(numerator=(refined - coarse) * weight, denominator=weight),
    }
    intervals = bootstrap_intervals(names, terms, resamples=resamples, seed=seed)
    values: dict[str, Any] = {"n": int(weight.sum())}
    for key, term in terms.items():
        value = f"{key}_iou" if key != "gain" else "gain"
        values[value] = _finite(term.value())
        values[f"{key}_low"] = _finite(intervals[key].low)
        values[f"{key}_high"] = _finite(intervals[key].high)
    return values


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
