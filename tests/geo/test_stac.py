"""Scenes named by STAC metadata on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t4spp.errors import GeoError
from t4spp.geo.stac import is_stac, read_stac

GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(number: str, **assets: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": number,
        "geometry": None,
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "links": [],
        "assets": assets,
    }


def catalogue(*links: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "all",
        "description": "all",
        "links": [{"rel": rel, "href": href} for rel, href in links],
    }


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_relative_href_counts_from_the_items_file(tmp_path: Path) -> None:
    scene = touch(tmp_path / "pixels" / "north.tif")
    path = write(tmp_path / "items" / "a.json", item("a", image={"href": "../pixels/north.tif"}))
    assert [p.resolve() for p in read_stac(path).paths] == [scene.resolve()]


def test_href_with_percent_codes_and_file_uri_are_paths(tmp_path: Path) -> None:
    one, two = touch(tmp_path / "scene one.tif"), touch(tmp_path / "two.tif")
    first = write(tmp_path / "a.json", item("a", image={"href": "./scene%20one.tif"}))
    second = write(tmp_path / "b.json", item("b", image={"href": f"file://{two}"}))
    assert [p.resolve() for p in read_stac(first).paths] == [one.resolve()]
    assert read_stac(second).paths == (two,)


def test_catalogue_is_followed_through_children_in_order_each_file_once(tmp_path: Path) -> None:
    for name in ("1.tif", "2.tif", "3.tif"):
        touch(tmp_path / name)
    write(tmp_path / "a.json", item("a", image={"href": "1.tif"}))
    write(tmp_path / "deep" / "b.json", item("b", image={"href": "../2.tif"}))
    write(tmp_path / "c.json", item("c", image={"href": "3.tif"}, again={"href": "x.jpg"}))
    write(
        tmp_path / "deep" / "catalog.json",
        catalogue(("item", "b.json"), ("child", "../catalog.json"), ("root", "../catalog.json")),
    )
    root = write(
        tmp_path / "catalog.json",
        catalogue(("item", "a.json"), ("child", "deep/catalog.json"), ("item", "c.json")),
    )
    found = read_stac(root)
    assert [path.name for path in found.paths] == ["1.tif", "2.tif", "3.tif"]
    assert found.num_items == 3


def test_item_collection_repeats_and_items_without_scene_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "1.tif")
    features = [
        item("a", image={"href": "1.tif"}),
        item("b", image={"href": "1.tif"}),
        item("c", quicklook={"href": "c.jpg"}),
    ]
    path = write(tmp_path / "all.json", {"type": "FeatureCollection", "features": features})
    found = read_stac(path)
    assert [p.name for p in found.paths] == ["1.tif"]
    assert found.counters == {"stac_scenes_repeated": 1, "stac_items_without_scene": 1}


def test_asset_that_is_a_folder_means_every_geotiff_in_it(tmp_path: Path) -> None:
    for name in ("b.tif", "a.TIFF", "notes.txt"):
        touch(tmp_path / "chips" / name)
    path = write(tmp_path / "i.json", item("i", chips={"href": "chips", "type": GEOTIFF}))
    assert [p.name for p in read_stac(path).paths] == ["a.TIFF", "b.tif"]


def test_scene_of_several_assets_is_the_visual_one_then_the_data(tmp_path: Path) -> None:
    for name in ("v.tif", "d.tif", "o.tif"):
        touch(tmp_path / name)
    data = {"href": "d.tif", "roles": ["data"]}
    visual = {"href": "v.tif", "roles": ["visual"]}
    overview = {"href": "o.tif", "roles": ["overview"]}
    both = write(tmp_path / "both.json", item("i", d=data, v=visual, o=overview))
    only = write(tmp_path / "only.json", item("i", d=data, o=overview, x={"href": "o.tif"}))
    assert [p.name for p in read_stac(both).paths] == ["v.tif"]
    assert [p.name for p in read_stac(only).paths] == ["d.tif"]
    assert [p.name for p in read_stac(both, asset="o").paths] == ["o.tif"]


def test_unclear_scene_is_refused_with_the_assets_names(tmp_path: Path) -> None:
    touch(tmp_path / "1.tif")
    bands = {name: {"href": "1.tif", "roles": ["data"]} for name in ("B02", "B03")}
    path = write(tmp_path / "i.json", item("i", **bands))
    with pytest.raises(GeoError, match=r"2 GeoTIFF assets \(B02, B03\).*stac_asset"):
        read_stac(path)
    with pytest.raises(GeoError, match=r"no asset 'B2'.*Did you mean 'B0"):
        read_stac(path, asset="B2")


@pytest.mark.parametrize("href", ["https://example.org/a.tif", "s3://bucket/a.tif"])
def test_remote_scene_is_refused(tmp_path: Path, href: str) -> None:
    path = write(tmp_path / "i.json", item("i", image={"href": href}))
    with pytest.raises(GeoError, match=r"is remote.*Only files on disk"):
        read_stac(path)


def test_missing_scene_and_missing_child_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "i.json", item("i", image={"href": "gone.tif"}))
    with pytest.raises(GeoError, match=r"asset 'image' is .*gone\.tif, which does not exist"):
        read_stac(path)
    root = write(tmp_path / "catalog.json", catalogue(("item", "gone.json")))
    with pytest.raises(GeoError, match=r"gone\.json cannot be read.*whole catalogue"):
        read_stac(root)


def test_remote_child_of_a_catalogue_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "c.json", catalogue(("child", "https://example.org/catalog.json")))
    with pytest.raises(GeoError, match=r"a link of .* is remote"):
        read_stac(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "no STAC item"),
        ('{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "no STAC item"),
        ('{"type": "Feature", "stac_version": "1.0.0"}', "damaged STAC metadata"),
        ('{"type": "Feature", "stac_version": "1.0.0", "id": "a", "assets": 3}', "damaged STAC"),
    ],
)
def test_what_is_no_stac_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(GeoError, match=message):
        read_stac(path)


def test_items_without_any_scene_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "i.json", item("i", quicklook={"href": "a.jpg"}))
    with pytest.raises(GeoError, match="names no scene: 1 STAC items"):
        read_stac(path)


def test_stac_is_told_from_plain_geojson(tmp_path: Path) -> None:
    stac = write(tmp_path / "s.json", item("i"))
    plain = write(tmp_path / "p.json", {"type": "FeatureCollection", "features": []})
    assert (is_stac(stac), is_stac(plain), is_stac(tmp_path / "none.json")) == (True, False, False)


def test_banepas_own_item_names_its_48_tiles(shared_data: Path) -> None:
    path = shared_data / "rs_banepa" / "buildings-banepa-segmentation" / "stac-item.json"
    assert len(read_stac(path).paths) == 48
