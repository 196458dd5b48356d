"""What recipes of scenes share: windows indexed, split by ground, asked for, read on demand."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.components import Recipe
from t4spp.errors import RecipeError
from t4spp.geo.scenes import Scene
from t4spp.geo.view import SceneView
from t4spp.geo.windows import WindowGrid, plan_windows
from t4spp.seeds import digest_of
from t4spp.types import Sample
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.remote_sensing.configs import WindowsConfig
from t4spp_recipes.remote_sensing.label_sources import Labels
from t4spp_recipes.remote_sensing.prompt_config import class_phrase
from t4spp_recipes.remote_sensing.prompts import (
    Asked,
    Thing,
    absent_of,
    choose_absent,
    classes_asked,
    prompts_of,
    vocabulary_of,
)
from t4spp_recipes.remote_sensing.splitting import NOWHERE, split_windows
from t4spp_recipes.remote_sensing.window_index import WindowIndex, index_windows, scene_faults
from t4spp_recipes.remote_sensing.window_samples import Entry, SampleMaker, score_things
from t4spp_recipes.splits import unknown_split

_log = logging.getLogger(__name__)

ALL = "all"
PREDICT = "predict"
TRAINING = (ALL, "train")
"""Splits in which ``empty_share`` bounds the windows that show nothing."""


class SceneWindows(Recipe):
    """Windows of scenes with labels; a recipe says where scenes and labels come from."""

    def __init__(
        self,
        name: str,
        config: WindowsConfig,
        scenes: Sequence[Scene],
        labels: Labels,
        *,
        unlabelled: Sequence[Scene] = (),
        counters: Mapping[str, int] | None = None,
    ) -> None:
        """Plan the windows; reads no pixels.

        Args:
            name: the recipe's, for messages.
            config: its parameters.
            scenes: labelled ones, at least one.
            labels: their truth.
            unlabelled: scenes of the split ``predict``.
            counters: of what was left out so far.

        Raises:
            GeoError: the windows do not fit a scene.
            RecipeError: the prompts' templates fit nothing.
        """
        self.name = name
        self.config = config
        self._scenes = tuple(scenes)
        self._labels = labels
        self._unlabelled = tuple(unlabelled)
        self._counters = Counter(counters or {})
        self._grids = tuple(plan_windows(scene, config.windows) for scene in self._scenes)
        self._vocabulary = vocabulary_of(labels.named(), config.prompts)
        self._counters.update(self._vocabulary.counters)
        self._index: WindowIndex | None = None
        self._split_of: npt.NDArray[np.str_] | None = None
        self._built: dict[str, tuple[LazySamples[Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``all``; its parts, where ground is held out; ``predict``, of unlabelled scenes."""
        return (ALL, *self.config.split.splits, *((PREDICT,) if self._unlabelled else ()))

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The labelled scenes."""
        return self._scenes

    def scene_objects(self, scene: str, label: str) -> Sequence[Any] | None:
        """The polygons of a class that is asked for by ``label``, where the truth is polygons."""
        prompts = self.config.prompts
        if prompts.classes == "together":
            named = {name: name for name in self._vocabulary.classes}
        else:
            named = {class_phrase(name, prompts): name for name in self._vocabulary.classes}
        own = next((each for each in self._scenes if str(each.path) == scene), None)
        if own is None or label not in named:
            return None
        return self._labels.outlines(own, named[label])

    def scene_view(self) -> SceneView:
        """How scenes become pictures."""
        return self.config.scene_view()

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, scene by scene, then row by row.

        The first call looks at every window, or loads the index of having done so.

        Raises:
            RecipeError: unknown split, or no sample is in it.
            GeoError: a scene cannot be read.
        """
        if split not in self.splits:
            raise unknown_split(self.name, split, self.splits)
        if split not in self._built:
            self._built[split] = self._predict() if split == PREDICT else self._build(split)
        return self._built[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out, changed or padded, over the files and the splits opened so far."""
        parts: Counter[str] = Counter()
        for name, (_, counted) in self._built.items():
            if name != ALL:
                parts.update(counted)
        whole = self._built.get(ALL, (None, Counter()))[1]
        return dict(+(self._counters + (parts | whole)))

    def verify(self) -> list[str]:
        """Read every pixel of every scene, labelled or not; the labels were read already."""
        return scene_faults((*self._scenes, *self._unlabelled), self.config.scene_view())

    @property
    def index(self) -> WindowIndex:
        """What every window shows; found out, or loaded, when first asked for."""
        if self._index is None:
            self._index = index_windows(
                self._scenes,
                self._grids,
                self._labels,
                self.config.scene_view(),
                self.config.cache_dir,
            )
            self._counters.update(self._index.counters)
            self._counters.update(self._labels.count_outside(self._index.feature))
            if not len(self._index):
                raise RecipeError(
                    f"{self.name}: none of the {sum(map(len, self._grids))} windows of "
                    f"{len(self._scenes)} scenes holds data: every pixel is without (no-data "
                    f"value, alpha, mask or NaN). The first scene is {self._scenes[0].path}."
                )
        return self._index

    def _splits_of_windows(self) -> npt.NDArray[np.str_]:
        if self._split_of is None:
            index = self.index
            self._split_of = split_windows(
                self._scenes,
                self._grids,
                index.scene,
                index.number,
                self.config.split,
                self.config.seed,
            )
            self._counters["windows_in_gap"] = int(np.count_nonzero(self._split_of == NOWHERE))
            self._counters["targets_in_train_and_held_out"] = self._num_shared(self._split_of)
        return self._split_of

    def _num_shared(self, split_of: npt.NDArray[np.str_]) -> int:
        """Polygons that lie across a border, one part in each split."""
        if not self._labels.single or not self._labels.lasting:
            return 0
        index = self.index
        window = np.repeat(np.arange(len(index)), np.diff(index.offsets))
        train = np.unique(index.feature[split_of[window] == "train"])
        held = np.unique(index.feature[np.isin(split_of[window], ("val", "test"))])
        return int(np.intersect1d(train, held).size)

    def _build(self, split: str) -> tuple[LazySamples[Entry], Counter[str]]:
        index = self.index
        rows = np.arange(len(index))
        if split != ALL:
            rows = np.flatnonzero(self._splits_of_windows() == split)
        counters: Counter[str] = Counter()
        asked: dict[int, list[Asked]] = {}
        empty: list[int] = []
        absent: dict[int, tuple[Asked, ...]] = {}
        shows_nothing = np.diff(index.offsets) == 0
        for row in rows.tolist():
            things = self._things(row, counters)
            seed = (self.config.seed, self._window_name(row))
            grid = self._grids[index.scene[row]]
            found = prompts_of(things, grid.out_size, self.config.prompts, self._vocabulary, seed)
            asked[row] = list(found)
            if shows_nothing[row]:
                empty.append(row)
            if shows_nothing[row] or self.config.prompts.no_target_share:
                absent[row] = absent_of(things, self.config.prompts, self._vocabulary, seed)
        counters["windows_without_target"] = len(empty)
        kept = self._keep_empty(split, empty, len(rows))
        counters["windows_empty_left_out"] = len(empty) - len(kept)
        for row in empty:
            if row not in kept:
                asked.pop(row)
                absent.pop(row)
        self._ask_absent(asked, absent, kept, counters)
        entries = [
            entry for row, items in sorted(asked.items()) for entry in self._entries(row, items)
        ]
        counters["windows_without_prompt"] = sum(not items for items in asked.values())
        if not entries:
            raise RecipeError(
                f"{self.name}: the split {split!r} has no sample: {len(rows)} windows, "
                f"{dict(+counters)}. Choose another split, or a larger empty_share."
            )
        maker = SampleMaker(self.config, self._scenes, self._grids, index.limits, self._labels)
        return LazySamples(entries, maker), +counters

    def _things(self, row: int, counters: Counter[str]) -> list[Thing]:
        things, small, beyond = score_things(self.index.things(row, self._labels), self.config)
        counters["targets_below_min_area"] += small
        counters["instances_beyond_max"] += beyond
        return things

    def _keep_empty(self, split: str, empty: Sequence[int], num: int) -> frozenset[int]:
        """The windows without anything that stay, chosen by a hash of their names."""
        share = self.config.empty_share
        if share is None or split not in TRAINING:
            return frozenset(empty)
        wanted = int(share * (num - len(empty)) / (1.0 - share))
        ranked = sorted(
            empty, key=lambda row: digest_of("empty", self.config.seed, self._window_name(row))
        )
        return frozenset(ranked[:wanted])

    def _ask_absent(
        self,
        asked: dict[int, list[Asked]],
        absent: dict[int, tuple[Asked, ...]],
        empty: frozenset[int],
        counters: Counter[str],
    ) -> None:
        """Ask every empty window for one thing in vain, others until the share is reached."""
        share = self.config.prompts.no_target_share
        num_present = sum(bool(item.targets) for items in asked.values() for item in items)
        num_absent = 0
        for row in sorted(empty):
            if absent[row] and not asked[row]:
                digest = digest_of("absent", self.config.seed, self._window_name(row))
                asked[row].append(absent[row][digest[0] % len(absent[row])])
                num_absent += 1
        wanted = round(num_present * share / (1.0 - share)) - num_absent if share else 0
        if wanted > 0:
            candidates = {row: items for row, items in absent.items() if row not in empty}
            rest = wanted / (num_present + wanted)
            chosen, lacking = choose_absent(candidates, num_present, rest, self.config.seed)
            counters["no_target_prompts_lacking"] = lacking
            for row, items in chosen.items():
                asked[row] += items
                num_absent += len(items)
        counters["no_target_prompts"] = num_absent

    def _entries(self, row: int, items: Sequence[Asked]) -> Iterator[Entry]:
        name = self._window_name(row)
        features = tuple(self.index.features(row))
        for asked in items:
            yield Entry(
                id=name if self._one_prompt else f"{name}-{asked.prompt}",
                image_id=name,
                scene=int(self.index.scene[row]),
                window=int(self.index.number[row]),
                asked=asked,
                features=features,
            )

    @property
    def _one_prompt(self) -> bool:
        """Whether a window has one prompt at most, so that its name serves as the sample's."""
        prompts = self.config.prompts
        if prompts.attributes or prompts.relations:
            return False
        return prompts.classes == "together" or len(self._vocabulary.classes) == 1

    def _window_name(self, row: int) -> str:
        index = int(self.index.scene[row])
        return self._name(self._grids[index], int(self.index.number[row]))

    def _name(self, grid: WindowGrid, number: int) -> str:
        name = grid.scene.name
        if self.config.windows.size is None and self.config.windows.size_m is None:
            return name
        box = grid[number].box
        return f"{name}-y{box.y0}-x{box.x0}"

    def _predict(self) -> tuple[LazySamples[Entry], Counter[str]]:
        """Unlabelled scenes: each window asked for every class, nothing scored."""
        grids = [plan_windows(scene, self.config.windows) for scene in self._unlabelled]
        asked = classes_asked(self.config.prompts, self._vocabulary)
        entries = []
        for index, grid in enumerate(grids):
            for number in range(len(grid)):
                name = self._name(grid, number)
                entries += [
                    Entry(
                        id=name if len(asked) == 1 else f"{name}-{item.prompt}",
                        image_id=name,
                        scene=index,
                        window=number,
                        asked=item,
                        features=(),
                    )
                    for item in asked
                ]
        maker = SampleMaker(self.config, self._unlabelled, grids, (None,) * len(grids), None)
        return LazySamples(entries, maker), Counter()
