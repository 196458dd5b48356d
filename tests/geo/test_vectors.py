"""Vector layers: what is read, mended, counted, refused; areas; rasterising."""

from __future__ import annotations

import json
import sqlite3
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_geo import NORTH, UTM, WEST, drawn, square, write_labels, write_scene

from t4spp.errors import GeoError
from t4spp.geo.crs import area_m2, check_coordinates, metres_per_unit, reproject
from t4spp.geo.rasterising import SceneShapes, mask_of, to_map, to_pixels
from t4spp.geo.scenes import read_scene
from t4spp.geo.vectors import read_layer
from t4spp.types import Box

shapely = pytest.importorskip("shapely", reason="vectors need the extra 'geo'")
pyogrio = pytest.importorskip("pyogrio", reason="vectors need the extra 'geo'")


def write_vectors(path, *shapes, crs=UTM, layer=None, append=False, **columns):
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(np.array(shapes, dtype=object)),
        field_data=[np.array(values) for values in columns.values()],
        fields=list(columns),
        geometry_type="Unknown" if path.suffix == ".gpkg" else "Polygon",
        crs=crs,
        layer=layer,
        append=append,
    )
    return path


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_formats_say_the_same(tmp_path, suffix):
    shapes = (shapely.box(3e5, 4e6, 3e5 + 9, 4e6 + 9), shapely.box(3e5, 4e6, 3e5 + 1, 4e6 + 1))
    path = write_vectors(tmp_path / f"a{suffix}", *shapes, kind=["house", "shed"], n=[1.5, np.nan])
    layer = read_layer(path)
    assert layer.crs == UTM
    order = np.argsort([-shape.area for shape in layer.geometries])
    assert [layer.geometries[i].area for i in order] == [81, 1]
    assert [dict(layer.properties[i]) for i in order] == [
        {"kind": "house", "n": 1.5},
        {"kind": "shed", "n": None},
    ]
    assert layer.counters == {}


def test_what_is_no_sound_polygon_is_mended_or_left_out_and_counted(tmp_path):
    bow = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
    flat = [[[0, 0], [1, 0], [2, 0], [0, 0]]]
    line = {"type": "LineString", "coordinates": bow[0]}
    geometries = [
        {"type": "Polygon", "coordinates": square(0, 0, 1, 1, "EPSG:4326")},
        {"type": "Polygon", "coordinates": bow},
        {"type": "Polygon", "coordinates": flat},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": 7},
        {"type": "GeometryCollection", "geometries": [line]},
        line,
        None,
    ]
    features = [
        {"type": "Feature", "properties": {"n": n}, "geometry": geometry}
        for n, geometry in enumerate(geometries)
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    layer = read_layer(path)
    assert [item["n"] for item in layer.properties] == [0, 1]
    assert layer.geometries[1].area == pytest.approx(0.5)
    assert layer.geometries[1].is_valid
    assert layer.counters == {
        "polygons_repaired": 1,
        "polygons_without_area": 1,
        "features_without_geometry": 3,
        "features_not_polygons": 2,
    }


def test_curved_polygons_become_lines_and_are_counted(tmp_path):
    path = write_vectors(tmp_path / "a.gpkg", shapely.box(0, 0, 1, 1), crs="EPSG:3857", layer="c")
    points = [(0, 0), (1, 1), (2, 0), (1, -1), (0, 0)]
    arc = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<dd", *point) for point in points)
    curve = struct.pack("<BII", 1, 10, 1) + arc  # CURVEPOLYGON (CIRCULARSTRING ...), radius 1
    database = sqlite3.connect(path)
    names = database.execute("select name from sqlite_master where type = 'trigger'").fetchall()
    for (name,) in names:
        database.execute(f'drop trigger "{name}"')
    (blob,) = database.execute("select geom from c").fetchone()
    header = blob[:3] + bytes([blob[3] & 0xF1]) + blob[4:8]  # without an envelope
    database.execute("update c set geom = ?", (header + curve,))
    database.commit()
    database.close()
    layer = read_layer(path)
    assert layer.geometries[0].area == pytest.approx(np.pi, rel=2e-3)
    assert layer.counters == {"geometries_linearised": 1}


def test_layers_must_be_named_where_there_are_several(tmp_path):
    path = write_vectors(tmp_path / "a.gpkg", shapely.box(0, 0, 1, 1), layer="one", n=[1])
    write_vectors(path, shapely.box(0, 0, 2, 2), layer="two", append=True, n=[2])
    with pytest.raises(GeoError, match=r"a\.gpkg has 2 layers: one, two"):
        read_layer(path)
    with pytest.raises(GeoError, match=r"no layer 'three'.*one, two"):
        read_layer(path, "three")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"features": []}', '{"type": "FeatureColl'])
def test_damaged_files_are_one_clear_error(tmp_path, content):
    path = tmp_path / "a.geojson"
    path.write_text(content)
    with pytest.raises(GeoError, match=r"a\.geojson cannot be read as a vector layer"):
        read_layer(path)
    with pytest.raises(GeoError, match="No such file"):
        read_layer(tmp_path / "b.gpkg")


def test_missing_crs_is_refused(tmp_path):
    path = write_vectors(tmp_path / "a.shp", shapely.box(0, 0, 1, 1), crs=None, n=[1])
    with pytest.raises(GeoError, match=r"a\.shp, layer 'a', declares no CRS"):
        read_layer(path)


@pytest.mark.parametrize(
    "member", [3, {"type": "name", "properties": {"name": "EPSG:0"}}, {"properties": {}}]
)
@pytest.mark.parametrize("first", [True, False])
def test_unknown_crs_of_geojson_is_refused_and_not_taken_for_degrees(tmp_path, member, first):
    path = write_labels(tmp_path / "a.geojson", square(0, 0, 9, 9), crs=None)
    content = json.loads(path.read_text())
    content = {"crs": member} | content if first else content | {"crs": member}
    path.write_text(json.dumps(content))
    with pytest.raises(GeoError, match=r"a\.geojson: its member 'crs' begins .* no known CRS"):
        read_layer(path)


def test_property_called_crs_is_no_declaration(tmp_path):
    coordinates = square(0, 0, 9, 9, crs="EPSG:4326")
    path = write_labels(tmp_path / "a.geojson", coordinates, properties=[{"crs": "mine"}], crs=None)
    assert read_layer(path).crs == "EPSG:4326"


@pytest.mark.parametrize(
    ("crs", "declared", "reason"),
    [
        (UTM, None, "whose coordinates are degrees, but holds x 300000 to .* projected CRS"),
        (UTM, "EPSG:4326", "whose coordinates are degrees"),
        ("EPSG:4326", UTM, "EPSG:32633, which is used from x 166021 .*look like degrees"),
    ],
)
def test_coordinates_that_contradict_their_crs_are_refused(tmp_path, crs, declared, reason):
    path = write_labels(tmp_path / "a.geojson", square(0, 0, 9, 9, crs=crs), crs=declared)
    with pytest.raises(GeoError, match=rf"a\.geojson declares .*{reason}"):
        read_layer(path)


def test_small_numbers_are_sound_where_a_projection_has_them():
    check_coordinates((-50, -50, 50, 50), "EPSG:3857", "a")
    check_coordinates((170, -20, 190, -10), "EPSG:4326", "a")
    with pytest.raises(GeoError, match="not finite"):
        check_coordinates((0, 0, float("nan"), 1), "EPSG:4326", "a")


def test_unit_of_a_crs_in_metres():
    assert metres_per_unit(UTM) == 1.0
    assert metres_per_unit("EPSG:2264") == pytest.approx(1200 / 3937)
    with pytest.raises(GeoError, match="counts degrees"):
        metres_per_unit("EPSG:4326")
    with pytest.raises(GeoError, match="names no known coordinate reference system"):
        metres_per_unit("EPSG:0")


@given(
    longitude=st.floats(-179, 178),
    latitude=st.floats(-80, 80),
    width=st.floats(1e-5, 0.5),
    height=st.floats(1e-5, 0.5),
)
@settings(deadline=None, max_examples=50)
def test_area_of_a_square_of_degrees_is_that_of_the_ellipsoids_zone(
    longitude, latitude, width, height
):
    """The closed form of the area between two parallels (Snyder 1987, 3-12)."""
    e2 = 0.00669437999014
    e = np.sqrt(e2)

    def q(phi):
        s = np.sin(np.radians(phi))
        inner = np.log((1 - e * s) / (1 + e * s)) / (2 * e)
        return (1 - e2) * (s / (1 - e2 * s * s) - inner)

    zone = 6378137.0**2 / 2 * np.radians(width) * (q(latitude + height) - q(latitude))
    box = shapely.box(longitude, latitude, longitude + width, latitude + height)
    (area,) = area_m2([box], "EPSG:4326")
    assert area == pytest.approx(zone, rel=1e-4, abs=1e-3)


def test_area_does_not_depend_on_the_crs_and_counts_holes_out():
    ring = shapely.box(5e5, 4e6, 5e5 + 100, 4e6 + 100).difference(
        shapely.box(5e5 + 10, 4e6 + 10, 5e5 + 60, 4e6 + 60)
    )
    both = shapely.multipolygons([ring, shapely.box(6e5, 4e6, 6e5 + 10, 4e6 + 10)])
    for shape, flat in ((ring, 7500), (both, 7600)):
        for crs in (UTM, "EPSG:4326", "EPSG:3857"):
            moved = reproject(np.array([shape], dtype=object), UTM, crs)
            scale = 0.9996**2 if shape is ring else 1.0
            assert area_m2(moved, crs)[0] == pytest.approx(flat / scale, rel=1e-3)
    assert area_m2([shapely.Point(0, 0)], UTM).tolist() == [0]
    assert area_m2([], UTM).shape == (0,)


TRANSFORMS = {
    "north-up": (0.5, 0, WEST, 0, -0.5, NORTH),
    "south-up": (0.5, 0, WEST, 0, 0.5, NORTH),
    "rotated": (0.4, 0.3, WEST, 0.3, -0.4, NORTH),
    "sheared": (0.5, 0.1, WEST, 0.0, -0.25, NORTH),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_polygons_land_on_their_pixels_under_any_transform(tmp_path, transform, crs):
    scene = read_scene(write_scene(tmp_path / "a.tif", transform=transform))
    drawn_at = np.array(
        [shapely.box(4.2, 8.2, 20.2, 30.2), shapely.box(90, 0, 95, 9)], dtype=object
    )
    moved = reproject(to_map(drawn_at, scene), UTM, crs)
    shapes = SceneShapes(moved, crs, scene)
    assert shapes.indices.tolist() == [0]
    assert np.array_equal(mask_of(shapes.shapes, scene.whole), drawn((4, 8, 20, 30)))
    touched = mask_of(shapes.shapes, scene.whole, all_touched=True)
    assert np.array_equal(touched, drawn((4, 8, 21, 31)))
    assert np.allclose(to_pixels(moved, crs, scene)[0].bounds, (4.2, 8.2, 20.2, 30.2), atol=1e-3)


@given(
    corner=st.tuples(st.integers(-20, 60), st.integers(-20, 60)),
    side=st.integers(1, 50),
    shape=st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0.1, 40), st.floats(0.1, 40)),
)
@settings(deadline=None)
def test_mask_of_a_window_is_that_part_of_the_scenes(corner, side, shape):
    x, y, width, height = shape
    polygon = shapely.Polygon([(x, y), (x + width, y + height / 3), (x + width / 2, y + height)])
    whole = mask_of([polygon], Box(y0=-80, x0=-80, y1=160, x1=160))
    box = Box(y0=corner[0], x0=corner[1], y1=corner[0] + side, x1=corner[1] + side)
    part = mask_of([polygon], box)
    assert np.array_equal(part, whole[box.y0 + 80 : box.y1 + 80, box.x0 + 80 : box.x1 + 80])


def test_resampled_windows_have_the_mask_of_their_own_grid():
    polygon = shapely.box(4, 8, 20, 30)
    half = mask_of([polygon], Box(y0=0, x0=0, y1=64, x1=64), (32, 32))
    assert np.array_equal(half, drawn((2, 4, 10, 15), size=(32, 32)))
    double = mask_of([polygon], Box(y0=0, x0=0, y1=32, x1=32), (64, 64))
    assert np.array_equal(double, drawn((8, 16, 40, 60)))
