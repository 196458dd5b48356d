"""GeoTIFF scenes with vectors or class rasters as labels: ``geotiff``.

Preset: buildings of Banepa, Nepal (aerial, 512 x 512 tiles of 0.13 m a pixel, EPSG:4326; pictures
by OpenAerialMap, polygons by OpenStreetMap; one class, building). No-data rule: pixels without
data or beyond the scene, unlabelled cells, and what is too small or of an unknown class, are the
samples' ``ignore``. Docs: docs/recipes.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from t4spp.components import Source
from t4spp.errors import RecipeError
from t4spp.geo.scenes import Scene
from t4spp_recipes.remote_sensing.class_maps import ClassMapLabels
from t4spp_recipes.remote_sensing.configs import GeoTiffConfig, Paths, SplitConfig
from t4spp_recipes.remote_sensing.label_sources import Labels
from t4spp_recipes.remote_sensing.scene_lists import (
    SCENE_SUFFIXES,
    VECTOR_SUFFIXES,
    find_files,
    find_scenes,
    read_scenes,
)
from t4spp_recipes.remote_sensing.scene_windows import SceneWindows
from t4spp_recipes.remote_sensing.sources import GEOTIFF_SOURCES
from t4spp_recipes.remote_sensing.vector_labels import VectorLabels

BANEPA_SPLIT = SplitConfig(by="side", val_share=0.2)
"""Of the preset, unless ``split`` is given: the eastern one of six columns of tiles."""


class GeoTiff(SceneWindows):
    """Segment what vectors or class rasters say about scenes, window by window."""

    sources: ClassVar[tuple[Source, ...]] = GEOTIFF_SOURCES

    def __init__(self, config: GeoTiffConfig) -> None:
        """Read the headers of the scenes and the vectors, no pixels.

        Raises:
            GeoError: a file is damaged, has no georeference, or contradicts itself.
            RecipeError: files are missing, labels have no usable name, or lie elsewhere.
        """
        given, labels_given, unlabelled_given = _paths(config)
        if config.preset == "banepa" and "split" not in config.model_fields_set:
            config = config.model_copy(update={"split": BANEPA_SPLIT})
        counters: Counter[str] = Counter()
        scenes = _read(given, "scenes", config, counters)
        unlabelled: tuple[Scene, ...] = ()
        if unlabelled_given is not None:
            unlabelled = _read(unlabelled_given, "unlabelled", config, counters)
        labels: Labels
        if config.classes is not None:
            rasters = find_files(labels_given, SCENE_SUFFIXES, "geotiff: labels")
            labels = ClassMapLabels(rasters, scenes, config)
        else:
            files = find_files(labels_given, VECTOR_SUFFIXES, "geotiff: labels")
            vectors = VectorLabels(files, config, counters, config.layer)
            _check_overlap(scenes, vectors)
            counters["scenes_without_polygons"] = sum(not vectors.meets(each) for each in scenes)
            labels = vectors
        super().__init__(
            "geotiff", config, scenes, labels, unlabelled=unlabelled, counters=counters
        )


def _read(
    given: Paths, what: str, config: GeoTiffConfig, counters: Counter[str]
) -> tuple[Scene, ...]:
    paths, counted = find_scenes(given, f"geotiff: {what}", config.stac_asset)
    counters.update(counted)
    return read_scenes(paths, config.picture)


def _check_overlap(scenes: tuple[Scene, ...], vectors: VectorLabels) -> None:
    """Refuse labels that meet no scene at all."""
    if any(vectors.meets(scene) for scene in scenes):
        return
    scene = scenes[0]
    corners = scene.outline()
    low, high = corners.min(axis=0), corners.max(axis=0)
    raise RecipeError(
        f"geotiff: no label overlaps any of the {len(scenes)} scenes. The first, {scene.path}, "
        f"covers x {low[0]:.6g} to {high[0]:.6g}, y {low[1]:.6g} to {high[1]:.6g} in "
        f"{scene.crs:.40}; the labels lie at {vectors.bounds()}. Check that both declare the right "
        "CRS, and that they belong together."
    )


def _paths(config: GeoTiffConfig) -> tuple[Paths, Paths, Paths | None]:
    """Labelled scenes, labels, unlabelled scenes."""
    if config.preset is None:
        assert config.scenes is not None and config.labels is not None  # the config says so
        return config.scenes, config.labels, config.unlabelled
    assert config.root is not None
    root: Path = config.root.expanduser()
    scenes, labels = root / "train" / "oam", root / "train" / "osm"
    for folder in (scenes, labels):
        if not folder.is_dir():
            raise RecipeError(
                f"geotiff: the preset banepa expects the folder {folder}, which does not exist. "
                "'root' is the folder that holds train/oam, train/osm and predict/oam; get it from "
                f"data/sample of {GEOTIFF_SOURCES[0].url}."
            )
    unlabelled = root / "predict" / "oam"
    return scenes, labels, unlabelled if unlabelled.is_dir() else None
