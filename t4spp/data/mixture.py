"""Several datasets as one: trained on in shares by weight, scored part by part."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from t4spp.components import Recipe
from t4spp.config import DataConfig, MixturePartConfig
from t4spp.data.head import Parted, head
from t4spp.data.order import GlobalOrder, Share, WeightedOrder
from t4spp.errors import RecipeError
from t4spp.plugins import Catalogue
from t4spp.types import Sample

if TYPE_CHECKING:
    from t4spp.geo.view import SceneView

logger = logging.getLogger(__name__)

PART_TAG = "part:"
"""Before a part's name in its samples' tags."""


@dataclass(frozen=True, kw_only=True)
class MixedPart:
    """A part's samples of one split.

    Attributes:
        name: of the part.
        weight: its share of training, relative to the others'; 0 where it is not trained on.
        samples: as the part's recipe has them.
    """

    name: str
    weight: float
    samples: Sequence[Sample]


class MixedSamples(Parted):
    """The samples of every part, one part after the other.

    A sample's id and its picture's have the part's name and a slash before them, so that they stay
    unique, and its tags name the part. Pictures that parts have in common count as different ones.
    """

    def __init__(self, parts: Sequence[MixedPart]) -> None:
        """Keep the parts; their samples are read when they are asked for."""
        self.parts = tuple(parts)
        self._ends = list(accumulate(len(part.samples) for part in self.parts))

    def __len__(self) -> int:
        """Samples of all parts."""
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """One sample, or a list of several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        part, own = self._at(index % len(self))
        return _named(part.samples[own], part.name)

    def __iter__(self) -> Iterator[Sample]:
        """Each sample in turn."""
        return (self[index] for index in range(len(self)))

    def labels_at(self, index: int) -> tuple[str, ...] | None:
        """A sample's labels where they are known without it; see ``t4spp.data.vocabulary``."""
        part, own = self._at(index)
        told = getattr(part.samples, "labels_at", None)
        return None if told is None else told(own)

    def _at(self, index: int) -> tuple[MixedPart, int]:
        """The part of a sample, and the sample's index in it."""
        place = bisect_right(self._ends, index)
        part = self.parts[place]
        return part, index - self._ends[place] + len(part.samples)

    def spread(self, limit: int) -> MixedSamples:
        """The first samples of every part, ``limit`` together, of each as many or all it has.

        Where ``limit`` is less than there are parts, the last ones are left out, and told.
        """
        taken = [0] * len(self.parts)
        left = limit
        while open_parts := [
            place
            for place, part in enumerate(self.parts)
            if left and taken[place] < len(part.samples)
        ]:
            more = max(1, left // len(open_parts))
            for place in open_parts:
                own = min(more, left, len(self.parts[place].samples) - taken[place])
                taken[place] += own
                left -= own
        without = [
            part.name
            for part, number in zip(self.parts, taken, strict=True)
            if len(part.samples) and not number
        ]
        if without:
            logger.warning(
                "a limit of %d samples leaves none to %s of the mixture's %d parts: %s",
                limit,
                len(without),
                len(self.parts),
                ", ".join(without),
            )
        return MixedSamples(
            [
                replace(part, samples=head(part.samples, number))
                for part, number in zip(self.parts, taken, strict=True)
                if number
            ]
        )

    def shares(self) -> list[Share]:
        """What is drawn by weight."""
        return [
            Share(
                name=part.name,
                first=end - len(part.samples),
                num_samples=len(part.samples),
                weight=part.weight,
            )
            for part, end in zip(self.parts, self._ends, strict=True)
        ]


def _named(sample: Sample, name: str) -> Sample:
    return replace(
        sample,
        id=f"{name}/{sample.id}",
        image_id=f"{name}/{sample.image_id}" if sample.image_id else "",
        tags=(*sample.tags, f"{PART_TAG}{name}"),
    )


class MixedRecipe(Recipe):
    """The datasets of a mixture as one recipe."""

    def __init__(self, data: DataConfig, recipes: Sequence[Recipe]) -> None:
        """Keep the parts.

        Args:
            data: whose ``mixture`` says what is drawn how often.
            recipes: built, one a part.
        """
        self._data = data
        self._parts = tuple(zip(data.mixture, recipes, strict=True))

    @property
    def splits(self) -> tuple[str, ...]:
        """What is trained on, what is scored, and the splits that all evaluated parts have."""
        first, *others = (recipe for part, recipe in self._parts if part.evaluated)
        common = [
            split for split in first.splits if all(split in recipe.splits for recipe in others)
        ]
        return tuple(dict.fromkeys([self._data.train_split, self._data.eval_split, *common]))

    def samples(self, split: str) -> MixedSamples:
        """The samples of every part: of the split that it is trained or scored on, or of that name.

        A part that is not evaluated has none of a split that is not trained on.

        Raises:
            RecipeError: a part that is to be trained on has no samples, has no such split, or its
                files are missing.
        """
        data = self._data
        trains = split == data.train_split
        found = []
        for part, recipe in self._parts:
            if trains and split != data.eval_split:
                if not part.weight:
                    continue
                own, limit = part.train_split or split, part.max_train_samples
            elif split == data.eval_split:
                if not part.evaluated:
                    continue
                own, limit = part.eval_split or split, part.max_eval_samples
            else:
                if not part.evaluated:
                    continue
                own, limit = split, None
            samples = head(_opened(part, recipe, own), limit)
            if trains and not len(samples):
                raise RecipeError(
                    f"the part {part.title!r} of the mixture has no samples in its split {own!r}, "
                    f"and is to be drawn with weight {part.weight}. Choose another split, or set "
                    "its weight to 0."
                )
            if not len(samples):
                logger.warning(
                    "the part %r of the mixture has no samples in its split %r: it is not scored",
                    part.title,
                    own,
                )
            found.append(MixedPart(name=part.title, weight=part.weight, samples=samples))
        return MixedSamples(found)

    def verify(self) -> list[str]:
        """What is missing or damaged in any part."""
        return [
            f"{part.title}: {message}"
            for part, recipe in self._parts
            for message in recipe.verify()
        ]

    def counters(self) -> Mapping[str, int]:
        """Each part's, behind its name."""
        return {
            f"{part.title}.{name}": number
            for part, recipe in self._parts
            for name, number in recipe.counters().items()
        }

    def scene_objects(self, scene: str, label: str) -> Sequence[Any] | None:
        """As the first part says that knows the scene's objects."""
        for _, recipe in self._parts:
            found = recipe.scene_objects(scene, label)
            if found is not None:
                return found
        return None

    def scene_view(self) -> SceneView | None:
        """That of the first part that reads scenes."""
        for _, recipe in self._parts:
            view = recipe.scene_view()
            if view is not None:
                return view
        return None


def _opened(part: MixturePartConfig, recipe: Recipe, split: str) -> Sequence[Sample]:
    try:
        return recipe.samples(split)
    except RecipeError as error:
        raise RecipeError(f"the part {part.title!r} of the mixture: {error}") from error


def build_recipe(data: DataConfig, catalogue: Catalogue) -> Recipe:
    """The dataset of a config, or the mixture of several.

    Raises:
        T4sppError: a recipe is unknown, or its parameters or files are wrong.
    """
    built: list[Recipe] = [
        catalogue.build("recipe", part.name, part.params, f"{where}.params")
        for where, part in data.recipes
    ]
    return MixedRecipe(data, built) if data.mixture else built[0]


def order_of(samples: Sequence[Sample], batch_size: int, seed: int) -> GlobalOrder:
    """The order in which samples are trained on: by weight where they are a mixture."""
    if isinstance(samples, MixedSamples):
        return WeightedOrder(samples.shares(), batch_size, seed)
    return GlobalOrder(len(samples), batch_size, seed)
