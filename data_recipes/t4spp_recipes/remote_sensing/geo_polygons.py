"""GeoTIFF tiles with GeoJSON polygons: ``geo-polygons``.

Preset: buildings of Banepa, Nepal (aerial, 512 x 512 tiles of 0.13 m a pixel, EPSG:4326; pictures
by OpenAerialMap, polygons by OpenStreetMap). No-data rule: pixels without data, and polygons that
are too small or without a label, are the samples' ``ignore``. Docs: docs/recipes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from t4spp.components import Recipe, Source
from t4spp.errors import RecipeError
from t4spp.schemes.labels import label_fault, sanitise_label
from t4spp.types import BACKGROUND, Box, Sample
from t4spp_recipes.lazy_samples import LazySamples
from t4spp_recipes.progress import with_progress
from t4spp_recipes.remote_sensing.configs import GeoPolygonsConfig
from t4spp_recipes.remote_sensing.polygons import Rasteriser, read_polygons
from t4spp_recipes.remote_sensing.sources import POLYGON_SOURCES
from t4spp_recipes.remote_sensing.strips import Strip, held_out
from t4spp_recipes.remote_sensing.tiles import (
    TILE_SUFFIXES,
    Tile,
    cut,
    find_files,
    read_tiles,
    read_valid,
    read_window,
)
from t4spp_recipes.remote_sensing.windows import Entry, SampleMaker, find_truth
from t4spp_recipes.splits import unknown_split

ALL = "all"
PREDICT = "predict"
LABEL_SUFFIXES = (".geojson", ".json")
BANEPA_VAL_SHARE = 0.2
"""One of the six columns of tiles."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Window:
    """A window and what the scan found in it. ``split``: train, val, or None in the gap."""

    tile: Tile
    box: Box
    split: str | None
    labels: frozenset[str]
    polygons: frozenset[int]
    counters: Counter[str]


class GeoPolygons(Recipe):
    """Segment what polygons outline in georeferenced tiles, window by window."""

    sources: ClassVar[tuple[Source, ...]] = POLYGON_SOURCES

    def __init__(self, config: GeoPolygonsConfig) -> None:
        """Read the headers of the tiles and the polygons, no pixels.

        Raises:
            RecipeError: a file is missing or damaged, or the tiles cannot be split.
        """
        self.config = config
        _check_names(config)
        images, labels, unlabelled = _paths(config)
        self._tiles = _tiles(images, "images", config)
        self._unlabelled = () if unlabelled is None else _tiles(unlabelled, "unlabelled", config)
        self._counters: Counter[str] = Counter()
        self._label_files = find_files(labels, LABEL_SUFFIXES, "labels")
        polygons, counted = read_polygons(self._label_files, self._label_of)
        self._counters.update(counted)
        self._rasteriser = Rasteriser(polygons, all_touched=config.all_touched)
        self._labels = tuple(sorted({p.label for p in polygons if p.label is not None}))
        if not self._labels:
            raise RecipeError(
                f"geo-polygons: none of the {len(polygons)} polygons has a label: "
                f"label_property={config.label_property!r}, values={config.values}. Check both, or "
                "give 'other' a name."
            )
        share = config.val_share
        if share is None:
            share = BANEPA_VAL_SHARE if config.preset == "banepa" else 0.0
        self._strip: Strip | None = (
            held_out(self._tiles, share, config.val_side, config.gap) if share else None
        )
        self._windows: tuple[_Window, ...] | None = None
        self._built: dict[str, tuple[LazySamples[Entry], Counter[str]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``all``, its parts ``train`` and ``val``, and ``predict``: the unlabelled tiles."""
        return (
            ALL,
            *(("train", "val") if self._strip is not None else ()),
            *((PREDICT,) if self._unlabelled else ()),
        )

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, by the tiles' names, then row by row.

        The first call lays every polygon over its tiles, to know what each window shows.

        Raises:
            RecipeError: unknown split, no window is left in it, or a tile cannot be read.
        """
        if split not in self.splits:
            raise unknown_split("geo-polygons", split, self.splits)
        if split not in self._built:
            self._built[split] = self._predict() if split == PREDICT else self._build(split)
        return self._built[split][0]

    def counters(self) -> Mapping[str, int]:
        """What was left out or changed, over the files and the splits opened so far."""
        parts: Counter[str] = Counter()
        for name, (_, counted) in self._built.items():
            if name != ALL:
                parts.update(counted)
        whole = self._built.get(ALL, (None, Counter()))[1]
        return dict(+(self._counters + (parts | whole)))

    def verify(self) -> list[str]:
        """Read every pixel of every tile, labelled or not; the polygons were read already."""
        messages = []
        for tile in with_progress((*self._tiles, *self._unlabelled), "reading", "tile"):
            try:
                for box in cut(tile.size, self.config.window, None):
                    read_window(tile, box, self.config.stretch)
                    read_valid(tile, box)
            except RecipeError as error:
                messages.append(str(error))
        return messages

    def _label_of(self, properties: Mapping[str, Any]) -> str | None:
        config = self.config
        if config.label_property is None:
            return config.label
        value = properties.get(config.label_property)
        text = "" if value is None else str(value).strip()
        label: str | None = config.rename.get(text, text)
        if label:
            label, changed = sanitise_label(label)
            self._counters["labels_sanitised"] += changed
        if not label or (config.values is not None and label not in config.values):
            self._counters["polygons_without_label"] += 1
            label = config.other
        return label

    def _scan(self) -> tuple[_Window, ...]:
        """Every window that holds data, and what it shows."""
        if self._windows is not None:
            return self._windows
        windows = []
        split_of: dict[str, set[int]] = {"train": set(), "val": set()}
        touched: set[int] = set()
        numbered = tuple(enumerate(self._tiles))
        for number, tile in with_progress(numbered, "laying polygons over tiles", "tile"):
            for box in cut(tile.size, self.config.window, self.config.stride):
                if tile.has_gaps and not read_valid(tile, box).any():
                    self._counters["windows_without_data"] += 1
                    continue
                truth = find_truth(tile, box, self._rasteriser, self.config)
                split = self._split_of(number, box)
                touched |= truth.polygons
                if split is not None:
                    split_of[split] |= truth.polygons
                windows.append(
                    _Window(
                        tile=tile,
                        box=box,
                        split=split,
                        labels=frozenset(truth.targets),
                        polygons=truth.polygons,
                        counters=truth.counters,
                    )
                )
        self._counters["polygons_outside_tiles"] = len(self._rasteriser.polygons) - len(touched)
        if self._strip is not None:
            self._counters["polygons_in_train_and_val"] = len(split_of["train"] & split_of["val"])
            self._counters["windows_in_gap"] = sum(item.split is None for item in windows)
        self._windows = tuple(windows)
        return self._windows

    def _split_of(self, number: int, box: Box) -> str | None:
        if self._strip is None:
            return "train"
        if number in self._strip.val:
            return "val"
        return "train" if self._strip.admits(self._tiles[number], box) else None

    def _build(self, split: str) -> tuple[LazySamples[Entry], Counter[str]]:
        windows = [item for item in self._scan() if split in (ALL, item.split)]
        counters: Counter[str] = Counter()
        entries: list[Entry] = []
        for item in windows:
            counters.update(item.counters)
            if not item.labels:
                counters["windows_without_target"] += 1
                if self.config.empty == "skip":
                    counters["windows_skipped"] += 1
                    continue
            found = list(self._entries(item.tile, item.box, item.labels))
            counters["windows_skipped"] += not found
            entries += found
        if not entries:
            raise RecipeError(
                f"geo-polygons: the split {split!r} has no sample: {len(windows)} windows, "
                f"{dict(+counters)}. Choose a smaller gap, another val_share, or empty: keep."
            )
        return LazySamples(
            entries, SampleMaker(self.config, self._labels, self._rasteriser)
        ), +counters

    def _predict(self) -> tuple[LazySamples[Entry], Counter[str]]:
        entries = [
            entry
            for tile in self._unlabelled
            for box in cut(tile.size, self.config.window, self.config.stride)
            for entry in self._entries(tile, box, frozenset(self._labels))
        ]
        return LazySamples(entries, SampleMaker(self.config, self._labels, None)), Counter()

    def _entries(self, tile: Tile, box: Box, present: frozenset[str]) -> Iterator[Entry]:
        """The samples of a window; none where several labels exist and no one is shown."""
        name = tile.name if self.config.window is None else f"{tile.name}-y{box.y0}-x{box.x0}"
        if self.config.prompts == "segment-all":
            yield Entry(tile=tile, box=box, id=name, image_id=name, label=None)
        elif len(self._labels) == 1:
            yield Entry(tile=tile, box=box, id=name, image_id=name, label=self._labels[0])
        else:
            for label in self._labels:
                if label in present:
                    yield Entry(
                        tile=tile, box=box, id=f"{name}-{label}", image_id=name, label=label
                    )


def _check_names(config: GeoPolygonsConfig) -> None:
    for key, name in (("label", config.label), ("other", config.other)):
        if name is None:
            continue
        fault = "that name is the background's" if name == BACKGROUND else label_fault(name)
        if fault is not None:
            raise RecipeError(
                f"geo-polygons: {key}={name!r} is no label that a descriptor can carry: {fault}. "
                "Rename it."
            )


def _paths(config: GeoPolygonsConfig) -> tuple[Path, Path, Path | None]:
    """Labelled tiles, polygons, unlabelled tiles."""
    if config.preset is None:
        assert config.images is not None and config.labels is not None  # the config says so
        return config.images, config.labels, config.unlabelled
    assert config.root is not None
    root = config.root.expanduser()
    images, labels = root / "train" / "oam", root / "train" / "osm"
    for folder in (images, labels):
        if not folder.is_dir():
            raise RecipeError(
                f"geo-polygons: the preset banepa expects the folder {folder}, which does not "
                "exist. 'root' is the folder that holds train/oam, train/osm and predict/oam; get "
                f"it from data/sample of {POLYGON_SOURCES[0].url}."
            )
    unlabelled = root / "predict" / "oam"
    return images, labels, unlabelled if unlabelled.is_dir() else None


def _tiles(given: Path, what: str, config: GeoPolygonsConfig) -> tuple[Tile, ...]:
    return read_tiles(find_files(given, TILE_SUFFIXES, what), config.bands)
