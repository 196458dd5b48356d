"""Windows of scenes as pictures: bands, scaling, resampling, what holds no data, open files."""

from __future__ import annotations

import multiprocessing
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support_geo import drawn, write_scene

from t4spp.errors import GeoError
from t4spp.geo import open_files, pictures
from t4spp.geo.open_files import open_paths
from t4spp.geo.pictures import PictureView, Scaling, SceneReader, find_limits
from t4spp.geo.resampling import Resampler, axis_weights
from t4spp.geo.scenes import read_scene
from t4spp.types import Box

pytest.importorskip("rasterio", reason="scenes need the extra 'geo'")


def reader_of(path: Path, bands=None, **scaling) -> SceneReader:
    return SceneReader(read_scene(path), PictureView(bands=bands, scaling=Scaling(**scaling)))


def noise(dtype="uint8", bands=3, side=64):
    return np.random.default_rng(0).integers(0, 200, (bands, side, side)).astype(dtype)


def test_bytes_are_taken_as_they_are(tmp_path):
    pixels = noise()
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels))
    image, valid = reader.read(Box(y0=3, x0=5, y1=20, x1=40), (17, 35))
    assert np.array_equal(image, np.moveaxis(pixels[:, 3:20, 5:40], 0, 2))
    assert image.dtype == np.uint8 and valid.all()


def test_bands_are_chosen_in_order_and_one_is_grey(tmp_path):
    pixels = noise(bands=4)
    path = write_scene(tmp_path / "a.tif", pixels, photometric="minisblack", alpha="no")
    box = Box(y0=0, x0=0, y1=64, x1=64)
    image, _ = reader_of(path, bands=(4, 1, 1)).read(box, (64, 64))
    assert np.array_equal(image, np.moveaxis(pixels[[3, 0, 0]], 0, 2))
    image, _ = reader_of(path, bands=(2,)).read(box, (64, 64))
    assert np.array_equal(image[..., 2], pixels[1])
    two = write_scene(tmp_path / "b.tif", pixels[:2])
    image, _ = reader_of(two).read(box, (64, 64))
    assert np.array_equal(image, np.moveaxis(pixels[[0, 0, 0]], 0, 2))
    with pytest.raises(GeoError, match=r"has 4 bands, 'bands' names \[5\]"):
        reader_of(path, bands=(5,))


def test_alpha_that_is_asked_for_is_a_band_like_others(tmp_path):
    pixels = noise(bands=4)
    pixels[3, :8] = 0
    path = write_scene(tmp_path / "a.tif", pixels, photometric="rgb", alpha="yes")
    box = Box(y0=0, x0=0, y1=64, x1=64)
    assert not reader_of(path).read(box, (64, 64))[1][:8].any()
    image, valid = reader_of(path, bands=(4, 1, 2)).read(box, (64, 64))
    assert valid.all()
    assert np.array_equal(image, np.moveaxis(pixels[[3, 0, 1]], 0, 2))


def test_what_lies_beyond_the_scene_is_black_and_not_valid(tmp_path):
    pixels = noise() + 1
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels))
    image, valid = reader.read(Box(y0=50, x0=-6, y1=82, x1=26), (32, 32))
    assert np.array_equal(valid, drawn((6, 0, 32, 14), size=(32, 32)))
    assert np.array_equal(image[:14, 6:], np.moveaxis(pixels[:, 50:, :26], 0, 2))
    assert not image[~valid].any()
    image, valid = reader.read(Box(y0=100, x0=0, y1=132, x1=32), (16, 16))
    assert not valid.any() and not image.any()


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
)
def test_any_dtype_is_scaled_between_percentiles_of_the_scene_not_the_window(tmp_path, dtype):
    values = np.broadcast_to(np.arange(64), (64, 64)) + 10
    path = write_scene(tmp_path / "a.tif", values.astype(dtype)[None])
    reader = reader_of(path, low=0, high=100)
    left, _ = reader.read(Box(y0=0, x0=0, y1=32, x1=32), (32, 32))
    right, _ = reader.read(Box(y0=0, x0=32, y1=32, x1=64), (32, 32))
    expected = np.rint(np.arange(64) * 255 / 63).astype(np.uint8)
    assert left[0, :, 0].tolist() == expected[:32].tolist()
    assert right[5, :, 2].tolist() == expected[32:].tolist()


def test_large_integers_keep_their_differences(tmp_path):
    values = (4_000_000_000 + np.arange(64)).astype(np.uint32)
    path = write_scene(tmp_path / "a.tif", np.broadcast_to(values, (1, 64, 64)))
    image, _ = reader_of(path, low=0, high=100).read(Box(y0=0, x0=0, y1=64, x1=64), (64, 64))
    assert np.unique(image).size == 64


def test_limits_follow_the_kind_of_scaling(tmp_path):
    values = np.zeros((1, 64, 64), dtype=np.uint16)
    values[0, :, :32], values[0, :, 32:] = 100, 300
    scene = read_scene(write_scene(tmp_path / "a.tif", values))

    def limits(**scaling):
        return find_limits(scene, PictureView(scaling=Scaling(**scaling)))

    assert limits() == ((100.0, 300.0),)
    assert limits(kind="range", low=50, high=250) == ((50.0, 250.0),)
    assert limits(kind="percentiles", low=0, high=50) == ((100.0, 200.0),)
    assert limits(kind="std") == ((0.0, 400.0),)
    assert limits(kind="std", low=-1, high=3) == ((100.0, 500.0),)
    assert find_limits(read_scene(write_scene(tmp_path / "b.tif")), PictureView()) is None


def test_sample_is_every_nth_pixel_and_skips_what_holds_no_data(tmp_path):
    values = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64) + 1
    values[0, :, :8] = 0
    scene = read_scene(write_scene(tmp_path / "a.tif", values, nodata=0))
    view = PictureView(scaling=Scaling(kind="percentiles", low=0, high=100, sample=16))
    assert find_limits(scene, view) == ((9.0, 3901.0),)  # rows and columns 0, 4, 8, ... 60
    taken = values[0, ::4, ::4]
    assert (taken[taken > 0].min(), taken.max()) == (9, 3901)


def test_scene_without_data_has_limits_all_the_same(tmp_path):
    scene = read_scene(write_scene(tmp_path / "a.tif", noise("uint16") * 0, nodata=0))
    assert find_limits(scene, PictureView()) == ((0.0, 1.0),) * 3
    image, valid = SceneReader(scene, PictureView()).read(scene.whole, scene.size)
    assert not valid.any() and not image.any()


def test_nan_and_infinity_are_black_and_not_valid(tmp_path):
    pixels = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64).copy()
    pixels[0, 3, 4], pixels[0, 3, 5] = np.nan, np.inf
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels))
    image, valid = reader.read(reader.scene.whole, (64, 64))
    assert np.array_equal(~valid, drawn((4, 3, 6, 4)))
    assert not image[3, 4:6].any()
    assert (image.min(), image.max()) == (0, 255)
    _, half = reader.read(reader.scene.whole, (32, 32))
    assert half.all()  # of four source pixels one is missing: the others count


def test_no_data_in_one_band_only_is_data(tmp_path):
    pixels = noise() + 1
    pixels[0, :5] = 0
    pixels[:, 10] = 0
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels, nodata=0))
    _, valid = reader.read(reader.scene.whole, (64, 64))
    assert np.array_equal(~valid, drawn((0, 10, 64, 11)))
    assert np.array_equal(reader.valid(reader.scene.whole, (64, 64)), valid)


def test_shrinking_averages_and_leaves_out_what_holds_no_data(tmp_path):
    pixels = np.full((1, 64, 64), 100, dtype=np.uint8)
    pixels[0, :, 1::2] = 50
    pixels[0, :2, :2] = [[200, 255], [200, 255]]
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels, nodata=255))
    image, valid = reader.read(reader.scene.whole, (32, 32))
    assert image[0, 0].tolist() == [200] * 3  # half of it holds data, and counts alone
    assert set(np.unique(image[1:])) == {75}
    assert valid.all()
    image, _ = reader.read(Box(y0=8, x0=8, y1=12, x1=12), (1, 1))
    assert image.tolist() == [[[75] * 3]]


def test_growing_interpolates_between_centres(tmp_path):
    pixels = np.zeros((1, 64, 64), dtype=np.uint8)
    pixels[0, :, 1] = 100
    reader = reader_of(write_scene(tmp_path / "a.tif", pixels))
    image, _ = reader.read(Box(y0=0, x0=0, y1=2, x1=2), (4, 4))
    assert image[0, :, 0].tolist() == [0, 25, 75, 100]


@given(length=st.integers(1, 80), out=st.integers(1, 80))
def test_weights_sum_to_one_and_keep_a_ramps_mean(length, out):
    weights = axis_weights(length, out).toarray()
    assert weights.shape == (out, length)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    ramp = weights @ np.arange(length, dtype=np.float64)
    assert np.isclose(ramp.mean(), (length - 1) / 2, atol=1e-3)


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    out=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    cut=st.integers(0, 30),
)
@settings(deadline=None)
def test_resampling_in_parts_is_resampling_at_once(height, width, out, cut):
    generator = np.random.default_rng(height * 31 + width)
    bands = generator.integers(0, 255, (2, height, width))
    valid = generator.random((height, width)) > 0.3
    cut = min(cut, height)
    once, parts = Resampler(2, (height, width), out), Resampler(2, (height, width), out)
    once.add(0, 0, bands, valid)
    parts.add(0, 0, bands[:, :cut], valid[:cut])
    parts.add(cut, 0, bands[:, cut:], valid[cut:])
    assert np.array_equal(once.result()[1], parts.result()[1])
    assert np.allclose(once.result()[0], parts.result()[0], atol=1e-2)


def test_resampled_windows_of_one_scene_fit_together(tmp_path, monkeypatch):
    """Whatever size the parts have in which the source is read."""
    path = write_scene(tmp_path / "a.tif", noise("uint16"))
    reader = reader_of(path)
    whole, _ = reader.read(reader.scene.whole, (32, 32))
    left, _ = reader.read(Box(y0=0, x0=0, y1=64, x1=32), (32, 16))
    assert np.array_equal(whole[:, :16], left)
    monkeypatch.setattr(pictures, "PART_PIXELS", 64 * 3)
    assert np.array_equal(reader.read(reader.scene.whole, (32, 32))[0], whole)


def test_files_stay_open_up_to_a_bound_and_close_on_request(tmp_path, monkeypatch):
    monkeypatch.setattr(open_files, "MAX_OPEN", 4)
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.exists() else None
    readers = [reader_of(write_scene(tmp_path / f"{n}.tif")) for n in range(9)]
    for _ in range(2):
        for reader in readers:
            reader.read(reader.scene.whole, (64, 64))
            assert len(open_paths()) <= 4
    assert open_paths() == [reader.scene.path for reader in readers[-4:]]
    for reader in readers:
        reader.close()
    assert not set(open_paths()) & {reader.scene.path for reader in readers}
    if before is not None:
        assert len(list(handles.iterdir())) <= before


def read_in_child(reader, queue):
    queue.put((open_paths(), reader.read(reader.scene.whole, (64, 64))[0].sum(), open_paths()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_open_files_of_their_own(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    reader = reader_of(write_scene(tmp_path / "a.tif", noise()))
    expected = reader.read(reader.scene.whole, (64, 64))[0].sum()
    assert reader.scene.path in open_paths()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=read_in_child, args=(reader, queue))
    child.start()
    before, total, after = queue.get(timeout=60)
    child.join(60)
    assert before == []  # the parent's handle is not used: they would share its place in the file
    assert after == [reader.scene.path]
    assert total == expected


def test_reader_pickles_with_the_limits_it_has_found(tmp_path):
    reader = reader_of(write_scene(tmp_path / "a.tif", noise("float32")))
    limits = reader.limits()
    assert pickle.loads(pickle.dumps(reader))._limits == limits


def test_scene_that_changes_between_two_reads_is_an_error(tmp_path):
    path = write_scene(tmp_path / "a.tif", noise())
    reader = reader_of(path)
    reader.read(reader.scene.whole, (64, 64))
    write_scene(path, noise() + 1, compress="deflate")
    with pytest.raises(GeoError, match="has changed since it was indexed"):
        reader.read(reader.scene.whole, (64, 64))


def test_truncated_jpeg_is_an_error_not_grey(tmp_path):
    path = write_scene(tmp_path / "a.jpg", noise(), driver="JPEG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reader = reader_of(path)
    with pytest.raises(GeoError, match=r"a\.jpg cannot be read as a raster: .*[Pp]remature end"):
        reader.read(reader.scene.whole, (64, 64))


@pytest.mark.parametrize(
    ("scaling", "reason"),
    [
        ({"kind": "range"}, "range needs both"),
        ({"kind": "range", "low": 3, "high": 3}, "is not below"),
        ({"low": -1}, "percentiles lie in 0..100"),
        ({"kind": "std", "low": 3}, "is not below"),
        ({"sample": 3}, "greater than or equal to 16"),
        ({"kind": "minmax"}, "Input should be"),
    ],
)
def test_scalings_that_contradict_themselves_are_refused(scaling, reason):
    with pytest.raises(ValidationError, match=reason):
        Scaling(**scaling)
    with pytest.raises(ValidationError, match="one band"):
        PictureView(bands=(1, 2))


@pytest.mark.parametrize("nodata", [None, 7])
def test_statistics_hold_the_sample_and_not_the_scene(tmp_path, monkeypatch, nodata):
    monkeypatch.setattr(pictures, "PART_PIXELS", 2**16)
    pixels = np.random.default_rng(0).integers(8, 4000, (3, 1024, 1024)).astype("uint16")
    scene = read_scene(write_scene(tmp_path / "a.tif", pixels, nodata=nodata))
    view = PictureView(scaling=Scaling(sample=64))
    find_limits(scene, view)  # imports and caches
    tracemalloc.start()
    limits = find_limits(scene, view)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = [np.percentile(band, (2, 98)) for band in pixels[:, ::16, ::16]]
    assert np.allclose(limits, expected)
    assert peak < pixels.nbytes / 3  # one part is a sixteenth of the scene
