"""Every colour mode becomes RGB by one rule, or is refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support_pictures import png_chunk, write_bomb, write_odd_pictures, write_png, write_turned

from t4spp.errors import RecipeError
from t4spp.pictures import as_image, is_turned, picture_size, read_picture, read_values


def column(path):
    """The pixels of a picture of one column, as tuples."""
    image = read_picture(path)
    assert image.dtype == np.uint8
    assert image.shape[1:] == (1, 3)
    return [tuple(int(value) for value in pixel) for pixel in image[:, 0]]


def test_alpha_is_laid_over_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 255]], [[200, 0, 0, 0]], [[200, 0, 0, 51]]], dtype=np.uint8)
    path = write_png(tmp_path / "a.png", pixels)
    assert column(path) == [(200, 0, 0), (255, 255, 255), (244, 204, 204)]


def test_grey_with_alpha_is_laid_over_white(tmp_path):
    pixels = np.array([[[100, 255]], [[100, 0]]], dtype=np.uint8)
    assert column(write_png(tmp_path / "a.png", pixels)) == [(100, 100, 100), (255, 255, 255)]


def test_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path):
    picture = Image.fromarray(np.array([[0], [1], [2]], dtype=np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "clear.png", transparency=1)
    picture.save(tmp_path / "clear.gif", transparency=1)
    assert column(tmp_path / "plain.png") == [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    for name in ("clear.png", "clear.gif"):
        assert column(tmp_path / name) == [(10, 20, 30), (255, 255, 255), (70, 80, 90)]


def test_colour_that_a_png_names_as_transparent_is_white(tmp_path):
    pixels = np.array([[[9, 8, 7]], [[1, 2, 3]]], dtype=np.uint8)
    extra = png_chunk(b"tRNS", struct.pack(">HHH", 9, 8, 7))
    assert column(write_png(tmp_path / "a.png", pixels, extra)) == [(255, 255, 255), (1, 2, 3)]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, name):
    grey = np.array([[0], [255], [256], [40000], [65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / name)
    assert [pixel[0] for pixel in column(tmp_path / name)] == [0, 0, 1, 156, 255]


def test_sixteen_bit_colours_are_scaled_by_the_same_rule(tmp_path):
    pixels = np.array([[[0, 255, 256]], [[40000, 65535, 511]]], dtype=np.uint16)
    assert column(write_png(tmp_path / "a.png", pixels)) == [(0, 0, 1), (156, 255, 1)]


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.array([[True], [False]])).save(tmp_path / "a.png")
    assert column(tmp_path / "a.png") == [(255, 255, 255), (0, 0, 0)]


def test_cmyk_becomes_rgb(tmp_path):
    inks = np.array([[[0, 0, 0, 0]], [[255, 0, 0, 0]], [[0, 0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    assert column(tmp_path / "a.tif") == [(255, 255, 255), (0, 255, 255), (0, 0, 0)]


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    inks = np.zeros((16, 16, 4), dtype=np.uint8)
    inks[..., 1:3] = 255  # magenta and yellow: red
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.jpg", quality=100)
    red, green, blue = (int(v) for v in read_picture(tmp_path / "a.jpg")[8, 8])
    assert red > 240 and green < 15 and blue < 15


STORED = np.array([[[1], [2], [3]], [[4], [5], [6]]], dtype=np.uint8).repeat(3, axis=2)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "packed.tif"])
def test_person_sees_a_picture_upright_a_dataset_as_stored(tmp_path, orientation, upright, name):
    path = write_turned(tmp_path / name, STORED, orientation)
    assert read_picture(path)[..., 0].tolist() == upright
    assert as_image(Image.open(path))[..., 0].tolist() == upright
    assert read_picture(path, upright=False)[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    values, mode = read_values(path)
    assert (values[..., 0].tolist(), mode) == ([[1, 2, 3], [4, 5, 6]], "RGB")
    assert picture_size(path) == (2, 3)
    assert is_turned(path) == (orientation >= 5)


def test_damaged_exif_is_a_warning_and_the_picture_is_read(tmp_path, caplog):
    path = tmp_path / "a.png"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path, exif=b"Exif\0\0MM\0*\0")
    assert read_picture(path).shape == (8, 8, 3)
    assert "a.png: its EXIF data are damaged (unpack requires a buffer" in caplog.text


def test_first_frame_of_an_animation_counts(tmp_path):
    frames = [Image.fromarray(np.full((4, 1, 3), v, np.uint8)) for v in (50, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert column(tmp_path / "a.gif") == [(50, 50, 50)] * 4


def test_thin_picture_keeps_its_size(tmp_path):
    Image.fromarray(np.zeros((1, 4000, 3), np.uint8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").shape == (1, 4000, 3)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[0.5]], np.float32), "floating-point numbers"),
        (np.array([[70000]], np.int32), "from 70000 to 70000, beyond 16 bits"),
        (np.array([[-1]], np.int32), "from -1 to -1, beyond 16 bits"),
    ],
)
def test_pixels_without_a_known_range_are_refused(tmp_path, array, reason):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(RecipeError, match=rf"a\.tif cannot be read as a picture: .*{reason}"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("read", [read_picture, picture_size, is_turned])
def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, read):
    with pytest.raises(RecipeError, match=r"bomb\.png cannot .*900000000 pixels"):
        read(write_bomb(tmp_path / "bomb.png"))


def test_file_of_another_kind_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").write_text("a letter")
    with pytest.raises(RecipeError, match=r"a\.png cannot .*: it has no format that PIL knows\."):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_picture, picture_size, is_turned])
def test_what_is_no_file_is_refused_by_name(tmp_path, read):
    with pytest.raises(RecipeError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(RecipeError, match=r"none\.png does not exist"):
        read(tmp_path / "none.png")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_file_cut_anywhere_is_read_or_refused_never_a_traceback(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(whole, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
    content = whole.getvalue()
    path = tmp_path / "cut"
    refused = 0
    for length in {*range(0, min(200, len(content))), *range(0, len(content), 97)}:
        path.write_bytes(content[:length])
        try:
            assert read_picture(path).shape == (40, 40, 3)
        except RecipeError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100


def test_odd_pictures_are_all_read(tmp_path):
    sizes = {path.name: read_picture(path).shape for path in write_odd_pictures(tmp_path)}
    assert sizes.pop("thin.png") == (1, 4000, 3)
    assert sizes.pop("tall.png") == (4000, 1, 3)
    assert sizes.pop("turned.jpg") == (48, 32, 3)
    assert len(sizes) == 8
    assert set(sizes.values()) == {(32, 48, 3)}
