"""The recipe xyz-tiles: slippy-map tiles with vector labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from t4spp.errors import GeoError, RecipeError
from t4spp_recipes.remote_sensing.xyz_config import XyzTilesConfig

pytest.importorskip("rasterio")

from t4spp_recipes.remote_sensing.xyz_tiles import XyzTiles

Z, X, Y = 12, 2200, 1400


def corner(x: float, y: float, z: int = Z) -> tuple[float, float]:
    """Longitude and latitude of a place in tile coordinates."""
    n = 2.0**z
    longitude = x / n * 360 - 180
    latitude = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * y / n))))
    return float(longitude), float(latitude)


def square(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    ring = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": [[corner(*place) for place in ring]]},
    }


def write_labels(folder: Path, *features: dict[str, Any]) -> Path:
    path = folder / "labels.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
    return path


def write_tile(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)


def recipe(folder: Path, **params: Any) -> XyzTiles:
    given = {
        "tiles": folder / "tiles",
        "labels": folder / "labels.geojson",
        "cache_dir": folder / "cache",
        **params,
    }
    return XyzTiles(XyzTilesConfig.model_validate(given))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tiles side by side; a building covers the first one's eastern half."""
    for column in (X, X + 1):
        write_tile(tmp_path / f"tiles/{Z}/{column}/{Y}.png", np.full((256, 256, 3), 90))
    write_labels(tmp_path, square(X + 0.5, Y, X + 1, Y + 1))
    return tmp_path


def test_polygon_lands_on_the_pixels_that_the_name_says(folder: Path) -> None:
    samples = recipe(folder).samples("all")
    assert [sample.id for sample in samples] == [f"{Z}-{X}-{Y}", f"{Z}-{X + 1}-{Y}"]
    expected = np.zeros((256, 256), dtype=np.bool_)
    expected[:, 128:] = True
    assert np.array_equal(samples[0].targets[0].mask, expected)
    assert samples[1].targets == ()
    assert samples[0].geo is not None
    assert samples[0].geo.crs == "EPSG:3857"


def test_rows_counted_from_the_south_are_turned(folder: Path) -> None:
    tile = folder / f"tiles/{Z}/{X}/{Y}.png"
    tile.rename(tile.with_name(f"{2**Z - 1 - Y}.png"))
    samples = recipe(folder, scheme="tms", labels=folder / "labels.geojson").samples("all")
    with_target = [sample.id for sample in samples if sample.targets]
    assert with_target == [f"{Z}-{X}-{Y}"]


def test_tile_of_512_pixels_shows_the_same_ground(folder: Path) -> None:
    write_tile(folder / f"tiles/{Z}/{X}/{Y}.png", np.full((512, 512, 3), 90))
    sample = recipe(folder).samples("all")[0]
    assert sample.size == (512, 512)
    assert sample.targets[0].mask.mean() == 0.5


def test_transparent_pixels_are_not_scored(folder: Path) -> None:
    pixels = np.full((256, 256, 4), 255)
    pixels[:64, :, 3] = 0
    write_tile(folder / f"tiles/{Z}/{X}/{Y}.png", pixels)
    sample = recipe(folder).samples("all")[0]
    assert sample.ignore is not None
    assert sample.ignore[:64].all()
    assert not sample.ignore[64:].any()
    assert sample.image[0, 0].tolist() == [0, 0, 0]
    assert sample.image[100, 0].tolist() == [255, 255, 255]


def test_jpeg_in_a_file_called_png_is_read(folder: Path) -> None:
    write_tile(folder / f"tiles/{Z}/{X}/{Y}.png", np.full((256, 256, 3), 90), format="JPEG")
    assert abs(int(recipe(folder).samples("all")[0].image[9, 9, 0]) - 90) <= 1


def test_grey_tile_is_grey_in_all_channels(folder: Path) -> None:
    write_tile(folder / f"tiles/{Z}/{X}/{Y}.png", np.full((256, 256), 77))
    assert recipe(folder).samples("all")[0].image[3, 3].tolist() == [77, 77, 77]


def test_tile_with_a_palette_is_refused(folder: Path) -> None:
    Image.new("P", (256, 256)).save(folder / f"tiles/{Z}/{X}/{Y}.png")
    with pytest.raises(RecipeError, match=r"has a palette.*-expand rgb"):
        recipe(folder)


def test_damaged_tile_is_one_clear_error(folder: Path) -> None:
    (folder / f"tiles/{Z}/{X}/{Y}.png").write_bytes(b"no picture")
    with pytest.raises(GeoError, match=rf"{Y}\.png cannot be read as a raster"):
        recipe(folder)


def test_truncated_tile_is_found_by_check(folder: Path) -> None:
    path = folder / f"tiles/{Z}/{X}/{Y}.png"
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3))
    write_tile(path, noise)
    path.write_bytes(path.read_bytes()[:60_000])
    (message,) = recipe(folder).verify()
    assert str(path) in message


def test_labels_elsewhere_are_refused_with_both_places(folder: Path) -> None:
    write_labels(folder, square(X + 90.5, Y, X + 91, Y + 1))
    with pytest.raises(RecipeError, match=r"no label overlaps any of the 2 tiles.*pattern.*tms"):
        recipe(folder)


def test_labels_in_another_crs_are_moved(folder: Path) -> None:
    import pyproj

    feature = square(X + 0.5, Y, X + 1, Y + 1)
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True)
    ring = feature["geometry"]["coordinates"][0]
    feature["geometry"]["coordinates"] = [[to_utm.transform(*place) for place in ring]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    content = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (folder / "labels.geojson").write_text(json.dumps(content))
    mask = recipe(folder).samples("all")[0].targets[0].mask
    assert mask[:, :126].sum() == 0
    assert mask[:, 130:].mean() > 0.99


def test_several_zooms_are_scenes_of_their_own_and_can_be_chosen(folder: Path) -> None:
    write_tile(folder / f"tiles/{Z + 1}/{2 * X + 1}/{2 * Y}.png", np.full((256, 256, 3), 90))
    both = recipe(folder).samples("all")
    assert [sample.id for sample in both if sample.targets] == [
        f"{Z}-{X}-{Y}",
        f"{Z + 1}-{2 * X + 1}-{2 * Y}",
    ]
    assert both[2].targets[0].mask.all()
    fine = recipe(folder, zooms=[Z + 1])
    assert len(fine.samples("all")) == 1
    assert fine.counters()["tiles_of_other_zooms"] == 2


def test_unlabelled_tiles_are_the_split_predict(folder: Path) -> None:
    write_tile(folder / f"more/OAM-{X + 5}-{Y}-{Z}.png", np.full((256, 256, 3), 90))
    made = recipe(folder, unlabelled=folder / "more")
    assert made.splits == ("all", "predict")
    (sample,) = made.samples("predict")
    assert sample.prompt == "building"
    assert "unknown-truth" in sample.tags


def test_counters_tell_tiles_without_polygons(folder: Path) -> None:
    made = recipe(folder)
    made.samples("all")
    assert made.counters()["tiles_without_polygons"] == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pattern": "{z}/{x}"}, "needs {z}, {x} and {y}"),
        ({"zooms": []}, "names no zoom level"),
        ({"zooms": [31]}, "less than or equal to 30"),
    ],
)
def test_config_that_makes_no_sense_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        XyzTilesConfig.model_validate({"tiles": "a", "labels": "b", **params})


class TestRealTiles:
    @pytest.fixture
    def made(self, shared_data: Path, tmp_path: Path) -> XyzTiles:
        folder = shared_data / "rs_xyz_tiles" / "input"
        return recipe(tmp_path, tiles=folder, labels=folder / "labels.geojson")

    def test_138_of_147_tiles_hold_buildings(self, made: XyzTiles) -> None:
        samples = made.samples("all")
        assert len(samples) == 147
        assert sum(bool(sample.targets) for sample in samples) == 138

    def test_masks_cover_what_the_polygons_cover(self, made: XyzTiles) -> None:
        import shapely

        samples = made.samples("all")
        for index in range(0, len(samples), 12):
            sample = samples[index]
            assert sample.geo is not None
            assert sample.geo.scene is not None
            outlines = made.scene_objects(sample.geo.scene, "building")
            assert outlines is not None
            a, _, c, _, e, f = sample.geo.transform
            tile = shapely.box(c, f + 256 * e, c + 256 * a, f)
            area = sum(tile.intersection(outline).area for outline in outlines) / tile.area
            masked = sum(target.mask.sum() for target in sample.targets) / 256**2
            assert masked == pytest.approx(area, abs=0.005)

    def test_data_check_finds_every_file_whole(self, made: XyzTiles) -> None:
        assert made.verify() == []
