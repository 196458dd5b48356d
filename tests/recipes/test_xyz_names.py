"""Which ground a slippy-map tile shows, and which files are tiles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.errors import RecipeError
from t4spp_recipes.remote_sensing.xyz_names import TileFile, check_pattern, find_tiles

WORLD = 20037508.342789244


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_bounds_of_known_tiles() -> None:
    world = TileFile(z=0, x=0, y=0, path=Path())
    assert world.bounds == (-WORLD, -WORLD, WORLD, WORLD)
    north_east = TileFile(z=1, x=1, y=0, path=Path())
    assert north_east.bounds == (0.0, 0.0, WORLD, WORLD)


def test_bounds_agree_with_longitude_and_latitude() -> None:
    import pyproj

    left, bottom, right, top = TileFile(z=19, x=309612, y=261632, path=Path()).bounds
    to_degrees = pyproj.Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True)
    west, south = to_degrees.transform(left, bottom)
    east, north = to_degrees.transform(right, top)
    assert west == pytest.approx(309612 / 2**19 * 360 - 180, abs=1e-9)
    assert east == pytest.approx(309613 / 2**19 * 360 - 180, abs=1e-9)
    assert 0.3508 < south < north < 0.3522


@given(st.integers(0, 24), st.data())
def test_a_tile_is_the_union_of_its_four_children(z: int, data: st.DataObject) -> None:
    x, y = (data.draw(st.integers(0, 2**z - 1)) for _ in range(2))
    parent = TileFile(z=z, x=x, y=y, path=Path()).bounds
    children = [
        TileFile(z=z + 1, x=2 * x + i, y=2 * y + j, path=Path()).bounds
        for i in (0, 1)
        for j in (0, 1)
    ]
    lows, highs = [c[:2] for c in children], [c[2:] for c in children]
    joined = (
        min(c[0] for c in lows),
        min(c[1] for c in lows),
        max(c[0] for c in highs),
        max(c[1] for c in highs),
    )
    assert joined == pytest.approx(parent, abs=1e-6)


def test_folders_of_zoom_and_column_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "3/5/2.png", "3/5/1.jpg", "2/0/0.PNG", "3/5/readme.txt", "logo.png")
    tiles, counters = find_tiles(tmp_path, "tiles")
    assert [tile.name for tile in tiles] == ["2-0-0", "3-5-1", "3-5-2"]
    assert counters == {"files_not_tiles": 1}


def test_names_that_end_in_x_y_z_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "OAM-5-2-3.png", "OAM-old-5-1-3.png")
    assert [tile.name for tile in find_tiles(tmp_path, "tiles")[0]] == ["3-5-1", "3-5-2"]


def test_own_pattern_and_rows_counted_from_the_south(tmp_path: Path) -> None:
    touch(tmp_path, "z3_y2_x5.png")
    tiles, _ = find_tiles(tmp_path, "tiles", pattern="z{z}_y{y}_x{x}", scheme="tms")
    assert [tile.name for tile in tiles] == ["3-5-5"]


def test_other_zooms_are_left_out_and_counted(tmp_path: Path) -> None:
    touch(tmp_path, "3/5/2.png", "4/5/2.png", "5/5/2.png")
    tiles, counters = find_tiles(tmp_path, "tiles", zooms=(4,))
    assert [tile.name for tile in tiles] == ["4-5-2"]
    assert counters == {"tiles_of_other_zooms": 2}
    with pytest.raises(RecipeError, match=r"3 tiles under .*, none of zoom 19"):
        find_tiles(tmp_path, "tiles", zooms=(19,))


def test_number_beyond_the_zoom_says_which_order_was_read(tmp_path: Path) -> None:
    touch(tmp_path, "OAM-19-309612-261632.png")
    with pytest.raises(RecipeError, match=r"zoom 261632, column 19, row 309612.*which order"):
        find_tiles(tmp_path, "tiles")


def test_two_files_of_one_tile_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "3/5/2.png", "3/5/2.jpg")
    with pytest.raises(RecipeError, match=r"2\.jpg and .*2\.png are both tile 3-5-2"):
        find_tiles(tmp_path, "tiles")


def test_folder_without_tiles_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="none of the 0 pictures"):
        find_tiles(tmp_path, "tiles")
    touch(tmp_path, "aerial.png")
    with pytest.raises(RecipeError, match=r"for example 'aerial'. Tried '\{z\}/\{x\}/\{y\}'"):
        find_tiles(tmp_path, "tiles")
    with pytest.raises(RecipeError, match=r"tiles: .*none is no folder"):
        find_tiles(tmp_path / "none", "tiles")


@pytest.mark.parametrize(
    "pattern", ["{z}/{x}", "{z}/{x}/{y}/{y}", "{z}/{x}/{y}.png", "{z}/{q}/{y}"]
)
def test_pattern_that_names_no_tile_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern: "):
        check_pattern(pattern)
