"""Generated scenes, read as any other GeoTIFF with its GeoPackage: ``geoshapes``.

Resolution: ``scenes.pixel`` metres, 0.5 by default. Classes: building, field, road, water. No-data
rule: with ``scenes.gaps`` a corner of each scene holds none and is not scored. Docs:
docs/recipes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from t4spp.components import Recipe, Source
from t4spp.geo.view import SceneView
from t4spp.types import Sample
from t4spp_recipes.remote_sensing.geoshapes.files import ready_scenes, write_scenes
from t4spp_recipes.remote_sensing.geoshapes.params import GeoShapesConfig
from t4spp_recipes.remote_sensing.scene_lists import read_scenes
from t4spp_recipes.remote_sensing.scene_windows import ALL, SceneWindows
from t4spp_recipes.remote_sensing.sources import GEOSHAPES_SOURCES
from t4spp_recipes.remote_sensing.vector_labels import VectorLabels
from t4spp_recipes.remote_sensing.window_index import default_cache_dir


class GeoShapes(Recipe):
    """Segment roads, fields, buildings and water in scenes that a seed determines."""

    sources: ClassVar[tuple[Source, ...]] = GEOSHAPES_SOURCES

    def __init__(self, config: GeoShapesConfig) -> None:
        """Generate nothing yet: the scenes are written when they are first asked for."""
        self.config = config
        self._windows: SceneWindows | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """``all``, and its parts where ground is held out."""
        return (ALL, *self.config.split.splits)

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split; the first call writes the scenes into the cache.

        Raises:
            RecipeError: unknown split, or the cache cannot be written.
        """
        return self._read().samples(split)

    def counters(self) -> Mapping[str, int]:
        """What the scenes' windows count; empty before the first split."""
        return {} if self._windows is None else self._windows.counters()

    def verify(self) -> list[str]:
        """Generate the scenes where need be, and read every pixel of them."""
        return self._read().verify()

    def scene_view(self) -> SceneView:
        """How scenes become pictures."""
        return self.config.scene_view()

    def scene_objects(self, scene: str, label: str) -> Sequence[Any] | None:
        """The polygons of a class on a scene; see :class:`SceneWindows`."""
        return self._read().scene_objects(scene, label)

    def scene_paths(self) -> tuple[Path, ...]:
        """The GeoTIFFs in the cache, generated where need be; a GeoPackage beside each.

        Raises:
            RecipeError: the cache cannot be written.
        """
        given = self.config.cache_dir
        cache_dir = default_cache_dir() if given is None else given.expanduser()
        return ready_scenes(self.config.scenes, cache_dir)

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write the scenes into a folder: ``geoshapes-00.tif`` and its ``.gpkg``, and so on.

        Raises:
            RecipeError: a file is there already, or the folder cannot be written.
        """
        return write_scenes(self.config.scenes, folder)

    def _read(self) -> SceneWindows:
        if self._windows is None:
            paths = self.scene_paths()
            counters: Counter[str] = Counter()
            layers = [path.with_suffix(".gpkg") for path in paths]
            labels = VectorLabels(layers, self.config, counters)
            scenes = read_scenes(paths, self.config.picture)
            self._windows = SceneWindows(
                "geoshapes", self.config, scenes, labels, counters=counters
            )
        return self._windows
