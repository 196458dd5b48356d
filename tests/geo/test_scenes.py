"""What headers say, and the files that are refused."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support_geo import NORTH, UTM, WEST, write_scene

from t4spp.errors import GeoError
from t4spp.geo.scenes import Scene, check_unchanged, read_scene
from t4spp.types import Box

pytest.importorskip("rasterio", reason="scenes need the extra 'geo'")


def scene_with(transform, crs=UTM, size=(64, 48)) -> Scene:
    return Scene(
        path=Path("scene.tif"),
        name="scene",
        size=size,
        crs=crs,
        transform=transform,
        nodata=None,
        num_bands=3,
        dtypes=("uint8",) * 3,
        has_gaps=False,
        stamp=(0, 0),
    )


def test_header_is_what_the_file_says(tmp_path):
    pixels = np.zeros((4, 30, 40), dtype=np.uint16)
    path = write_scene(tmp_path / "a.tif", pixels, nodata=7)
    scene = read_scene(path)
    assert (scene.name, scene.size, scene.num_bands) == ("a", (30, 40), 4)
    assert (scene.crs, scene.nodata, scene.has_gaps, scene.alpha) == (UTM, 7.0, True, None)
    assert scene.transform == (0.5, 0.0, WEST, 0.0, -0.5, NORTH)
    assert scene.dtypes == ("uint16",) * 4
    assert scene.stamp[0] == path.stat().st_size
    assert pickle.loads(pickle.dumps(scene)) == scene
    assert len({scene, read_scene(path)}) == 1


def test_alpha_is_found_and_makes_gaps(tmp_path):
    pixels = np.full((4, 16, 16), 255, dtype=np.uint8)
    scene = read_scene(write_scene(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes"))
    assert (scene.alpha, scene.has_gaps) == (4, True)
    assert not read_scene(write_scene(tmp_path / "b.tif")).has_gaps


@pytest.mark.parametrize(
    ("transform", "crs", "expected"),
    [
        ((0.5, 0, WEST, 0, -0.25, NORTH), UTM, (0.25, 0.5)),
        ((0.5, 0, WEST, 0, 0.25, NORTH), UTM, (0.25, 0.5)),
        ((3, 4, WEST, -4, 3, NORTH), UTM, (5.0, 5.0)),
        ((2, 0, 6_000_000, 0, -2, 2_000_000), "EPSG:2264", (2 * 1200 / 3937, 2 * 1200 / 3937)),
        ((1e-5, 0, 10, 0, -1e-5, 0.0), "EPSG:4326", (1.105743, 1.113195)),
        ((1e-5, 0, 10, 0, -1e-5, 60.0), "EPSG:4326", (1.114121, 0.558002)),
        ((1, 0, 1e6, 0, -1, 8_399_737.89), "EPSG:3857", (0.500418, 0.501260)),
    ],
    ids=["north-up", "south-up", "rotated", "feet", "equator", "60 north", "mercator"],
)
def test_pixels_have_their_size_on_the_ground(transform, crs, expected):
    """Degrees and Web Mercator are measured on the ellipsoid, metric CRSs taken at their word."""
    assert scene_with(transform, crs).pixel_size == pytest.approx(expected, rel=1e-5)


@given(
    a=st.floats(-5, 5),
    b=st.floats(-5, 5),
    d=st.floats(-5, 5),
    e=st.floats(-5, 5),
    points=st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=5),
)
def test_map_and_pixels_are_inverse_under_any_transform(a, b, d, e, points):
    if abs(a * e - b * d) < 1e-2:
        return
    scene = scene_with((a, b, WEST, d, e, NORTH))
    pixels = np.array(points, dtype=np.float64)
    assert np.allclose(scene.to_pixels(scene.to_map(pixels)), pixels, atol=1e-3)


@given(
    y0=st.integers(-20, 50),
    x0=st.integers(-20, 50),
    side=st.integers(1, 60),
    out=st.integers(1, 90),
)
def test_windows_georeference_puts_its_corners_where_the_scene_has_them(y0, x0, side, out):
    scene = scene_with((0.3, 0.1, WEST, 0.2, -0.4, NORTH))
    box = Box(y0=y0, x0=x0, y1=y0 + side, x1=x0 + side)
    geo = scene.geo(box, (out, out))
    assert (geo.scene, geo.box, geo.crs) == ("scene.tif", box, UTM)
    a, b, c, d, e, f = geo.transform
    far = scene.to_map(np.array([[box.x1, box.y1]], dtype=np.float64))[0]
    assert np.allclose((a * out + b * out + c, d * out + e * out + f), far, atol=1e-6)


def test_scene_that_changed_since_its_header_was_read_is_refused(tmp_path):
    path = write_scene(tmp_path / "a.tif")
    scene = read_scene(path)
    check_unchanged(scene)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(GeoError, match=r"a\.tif has changed since it was indexed"):
        check_unchanged(scene)
    path.unlink()
    with pytest.raises(GeoError, match="No such file"):
        check_unchanged(scene)


def noise(dtype="uint8", bands=3):
    return np.random.default_rng(0).integers(0, 255, (bands, 200, 300)).astype(dtype)


@pytest.mark.parametrize(
    "profile", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}]
)
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_tiff_is_refused_by_its_header(tmp_path, profile, kept):
    path = write_scene(tmp_path / "a.tif", noise(), **profile)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(GeoError, match=r"a\.tif (is truncated|cannot be read)"):
        read_scene(path)


def test_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise())
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack("<I", content[4:8])
    (num,) = struct.unpack("<H", content[start : start + 2])
    for place in range(start + 2, start + 2 + 12 * num, 12):
        if struct.unpack("<H", content[place : place + 2])[0] in (256, 257):  # width, height
            content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 2_000_000_000)
    path.write_bytes(content)
    with pytest.raises(GeoError, match=r"promises 2000000000 x 2000000000 pixels"):
        read_scene(path)


def test_sparse_scene_is_read_but_not_one_beyond_all_measure(tmp_path):
    import rasterio

    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "crs": UTM,
        "transform": rasterio.Affine(0.5, 0, WEST, 0, -0.5, NORTH),
        "tiled": True,
        "SPARSE_OK": True,
        "BIGTIFF": "YES",
    }
    sparse = {"height": 20_000, "width": 20_000, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **sparse):
        pass
    assert read_scene(tmp_path / "a.tif").size == (20_000, 20_000)
    bomb = {"height": 2_000_000, "width": 2_000_000, "blockxsize": 16384, "blockysize": 16384}
    with rasterio.open(tmp_path / "b.tif", "w", **profile, **bomb):
        pass
    with pytest.raises(GeoError, match=r"b\.tif promises 2000000 x 2000000 pixels"):
        read_scene(tmp_path / "b.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"crs": None}, r"a\.tif has no CRS"),
        ({"transform": (1, 0, 0, 0, 1, 0)}, r"has no affine transform"),
        ({"transform": (1, 1, WEST, 1, 1, NORTH)}, r"cannot be inverted"),
        ({"pixels": noise("complex64")}, r"holds complex numbers \(complex64\)"),
    ],
)
def test_rasters_that_are_no_scenes_are_refused(tmp_path, change, reason):
    path = write_scene(tmp_path / "a.tif", **change)
    with pytest.raises(GeoError, match=reason):
        read_scene(path)


@pytest.mark.parametrize("content", [b"", b"hello", None])
def test_what_is_no_raster_is_named(tmp_path, content):
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GeoError, match=r"a\.tif cannot be read"):
        read_scene(path)
