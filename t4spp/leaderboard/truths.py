"""Which samples' truths are alike: by size, parts, thinness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t4spp.evaluation.bins import BREAKDOWNS
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.shapes import Shape
from t4spp.types import Decoded, Sample

NO_ANSWER = Decoded(regions=(), status="ok", problems=())


@dataclass(frozen=True, kw_only=True)
class Truths:
    """Samples by the bins that their truths fall into.

    Attributes:
        bins: ``{break-down: {bin: ids}}``, every bin in order, those without a sample left out.
        num_mixed: ``{break-down: samples whose labels fall into several bins}``; they are in none.
    """

    bins: dict[str, dict[str, frozenset[str]]]
    num_mixed: dict[str, int]


def read_truths(samples: Sequence[Sample], names: Sequence[str]) -> Truths:
    """Put samples into the bins of some break-downs; samples without a target are in none.

    Args:
        samples: of the split; each is read once.
        names: of break-downs.
    """
    wanted = [one for one in BREAKDOWNS if one.name in names]
    found: dict[str, dict[int, set[str]]] = {one.name: {} for one in wanted}
    mixed = {one.name: 0 for one in wanted}
    for index in range(len(samples)):
        sample = samples[index]
        shapes = _shapes(sample)
        for one in wanted:
            places = {one.place(shape) for shape in shapes}
            if len(places) == 1:
                found[one.name].setdefault(places.pop(), set()).add(sample.id)
            elif places:
                mixed[one.name] += 1
    return Truths(
        bins={
            one.name: {
                one.bins[place]: frozenset(found[one.name][place])
                for place in sorted(found[one.name])
            }
            for one in wanted
        },
        num_mixed={name: number for name, number in mixed.items() if number},
    )


def _shapes(sample: Sample) -> list[Shape]:
    """The shape of each label's true mask, as an evaluation has it."""
    pairs = score_pairs(0, sample, NO_ANSWER)
    return [pair.shape for pair in pairs if pair.shape is not None]
