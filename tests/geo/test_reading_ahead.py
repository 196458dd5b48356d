"""Windows read together are the windows read alone."""

from __future__ import annotations

import numpy as np
import pytest
from support_geo import write_scene

from t4spp.geo.pictures import PictureView, Scaling, SceneReader
from t4spp.geo.predicting import read_chunks
from t4spp.geo.scenes import read_scene
from t4spp.geo.windows import WindowView, plan_windows
from t4spp.types import Box

pytest.importorskip("rasterio", reason="scenes need the extra 'geo'")


def scene_with_gaps(path):
    values = np.random.default_rng(0).normal(100, 30, (3, 90, 130)).astype(np.float32)
    values[:, 20:50, 30:70] = np.nan
    return read_scene(write_scene(path, values))


@pytest.mark.parametrize(
    "view",
    [
        WindowView(size=32, stride=24),
        WindowView(size=32, stride=32),
        WindowView(size=32, stride=20, edge="shift"),
        WindowView(size=200),
        WindowView(size=32, stride=24, resolution=0.8),
        WindowView(),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 50])
def test_windows_of_a_chunk_equal_windows_read_alone(tmp_path, view, chunk):
    scene = scene_with_gaps(tmp_path / "scene.tif")
    picture = PictureView(scaling=Scaling(kind="percentiles"))
    grid = plan_windows(scene, view)
    told = []
    chunks = read_chunks(
        SceneReader(scene, picture), grid, chunk, lambda box, image, valid: told.append(box)
    )
    pictures = [picture for some in chunks for picture in some]
    alone = SceneReader(scene, picture)
    assert [picture.number for picture in pictures] == list(range(len(grid)))
    for found, window in zip(pictures, grid, strict=True):
        image, valid = alone.read(window.box, window.out_size)
        assert found.window == window
        assert np.array_equal(found.image, image) and np.array_equal(found.valid, valid)
        assert found.image.flags["C_CONTIGUOUS"]
    for window in grid:
        assert any(_holds(box, window.box) for box in told)


def test_what_overlaps_within_a_row_is_read_once(tmp_path):
    scene = scene_with_gaps(tmp_path / "scene.tif")
    grid = plan_windows(scene, WindowView(size=32, stride=24))
    told = []
    reader = SceneReader(scene, PictureView())
    for _ in read_chunks(reader, grid, 100, lambda box, image, valid: told.append(box)):
        pass
    assert [(box.y0, box.x0, box.y1, box.x1) for box in told] == [
        (0, 0, 32, 152),
        (24, 0, 56, 152),
        (48, 0, 80, 152),
        (72, 0, 104, 152),
    ]


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
        and outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
    )
