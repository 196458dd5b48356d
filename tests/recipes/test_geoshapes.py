"""The recipe geoshapes: generated scenes, read as GeoTIFF and GeoPackage; and `data write`."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from t4spp.cli import main
from t4spp.errors import RecipeError
from t4spp.types import Sample
from t4spp_recipes.remote_sensing.geoshapes.params import GeoShapesConfig

pytest.importorskip("rasterio")
shapely = pytest.importorskip("shapely")

from t4spp_recipes.remote_sensing.geoshapes.recipe import GeoShapes  # noqa: E402

SMALL = {"num": 2, "size": (512, 512)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def recipe(cache: Path, **params: Any) -> GeoShapes:
    given = {"scenes": SMALL, "cache_dir": cache, **params}
    return GeoShapes(GeoShapesConfig.model_validate(given))


def outline(sample: Sample) -> Any:
    """The ground of a sample's window."""
    assert sample.geo is not None
    a, b, c, d, e, f = sample.geo.transform
    height, width = sample.size
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])


def test_nothing_is_generated_before_it_is_asked_for(tmp_path: Path) -> None:
    made = recipe(tmp_path, split={"val_share": 0.25})
    assert made.splits == ("all", "train", "val")
    assert made.scene_view().windows.size == 256
    assert list(tmp_path.iterdir()) == []
    made.samples("all")
    assert [path.name for path in made.scene_paths()] == ["geoshapes-00.tif", "geoshapes-01.tif"]


def test_samples_are_the_same_from_run_to_run(cache: Path, tmp_path: Path) -> None:
    one, two = recipe(cache).samples("all"), recipe(tmp_path).samples("all")
    assert [sample.id for sample in one] == [sample.id for sample in two]
    assert np.array_equal(one[5].image, two[5].image)
    assert np.array_equal(one[5].targets[0].mask, two[5].targets[0].mask)


def test_every_window_is_asked_for_the_classes_that_it_shows(cache: Path) -> None:
    samples = recipe(cache).samples("all")
    assert {sample.image_id for sample in samples} == {
        f"geoshapes-{scene:02d}-y{y}-x{x}" for scene in (0, 1) for y in (0, 256) for x in (0, 256)
    }
    assert {sample.prompt for sample in samples} == {"building", "field", "road", "water"}
    assert all(sample.targets and sample.size == (256, 256) for sample in samples)


def test_picture_shows_what_the_target_covers(cache: Path) -> None:
    samples = [sample for sample in recipe(cache).samples("all") if sample.prompt == "water"]
    for sample in samples:
        water = np.logical_or.reduce([target.mask for target in sample.targets])
        red, _, blue = sample.image[water].mean(axis=0)
        assert blue > red + 30
        assert sample.image[~water].mean(axis=0)[2] < blue


def test_rotated_scene_of_twelve_bits_with_gaps_has_the_same_targets(cache: Path) -> None:
    plain = recipe(cache).samples("all")
    odd = recipe(
        cache, scenes={**SMALL, "orientation": "rotated", "dtype": "uint16", "gaps": True}
    ).samples("all")
    by_id = {sample.id: sample for sample in odd}
    corner = by_id["geoshapes-00-y0-x0-road"]
    assert corner.ignore is not None
    assert corner.ignore[0, 0]
    assert not corner.ignore[-1, -1]
    for sample in plain:
        if sample.id not in by_id:
            continue  # wholly in the gap
        other = by_id[sample.id]
        assert other.image.dtype == np.uint8
        known = np.ones(sample.size, bool) if other.ignore is None else ~other.ignore
        one, two = (
            np.logical_or.reduce([target.mask for target in each.targets]) & known
            for each in (sample, other)
        )
        assert np.count_nonzero(one ^ two) <= 2


def test_attributes_and_relations_are_asked_for(cache: Path) -> None:
    samples = recipe(
        cache,
        prompts={
            "classes": "none",
            "attributes": ["the {roof:material} roofs"],
            "relations": 2,
            "related": ["building"],
            "no_target_share": 0.2,
        },
    ).samples("all")
    prompts = {sample.prompt for sample in samples}
    assert "the clay tiles roofs" in prompts
    assert any(prompt.startswith("the largest") for prompt in prompts)
    absent = [sample for sample in samples if not sample.targets]
    assert len(absent) / len(samples) == pytest.approx(0.2, abs=0.03)


def test_no_ground_is_in_two_splits(cache: Path) -> None:
    made = recipe(cache, windows={"size": 128}, split={"val_share": 0.2, "test_share": 0.2})
    grounds = {
        name: shapely.union_all([outline(sample) for sample in made.samples(name)])
        for name in ("train", "val", "test")
    }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert grounds[one].intersection(grounds[other]).area < 1e-3
    assert min(ground.area for ground in grounds.values()) > 0


def test_descriptors_of_a_grid_of_32_reach_every_class(cache: Path) -> None:
    from t4spp.plugins import load_catalogue

    scheme = load_catalogue().build("scheme", "next-brick", {"grid": 32, "max_regions": 64})
    inside: dict[str, int] = {}
    around: dict[str, int] = {}
    for sample in recipe(cache).samples("all"):
        decoded = scheme.decode(scheme.encode(sample.targets, sample.size), sample.size)
        mask = decoded.union(sample.prompt, sample.size)
        truth = np.logical_or.reduce([target.mask for target in sample.targets])
        inside[sample.prompt] = inside.get(sample.prompt, 0) + int((mask & truth).sum())
        around[sample.prompt] = around.get(sample.prompt, 0) + int((mask | truth).sum())
    assert {name: inside[name] / around[name] > 0.97 for name in around} == dict.fromkeys(
        ("building", "field", "road", "water"), True
    )


def test_samples_can_be_handed_to_workers(cache: Path) -> None:
    samples = recipe(cache).samples("all")
    again = pickle.loads(pickle.dumps(samples))
    assert np.array_equal(again[3].image, samples[3].image)
    assert again[3].targets[0].label == samples[3].targets[0].label


def test_config_of_the_page_about_remote_sensing_is_valid(project: Path, tmp_path: Path) -> None:
    from t4spp.config import load_config
    from t4spp.plugins import load_catalogue

    page = (project / "docs" / "remote-sensing.md").read_text()
    written = page.partition("```yaml\n# mine.yaml\n")[2].partition("```")[0]
    path = tmp_path / "mine.yaml"
    path.write_text(written)
    assert load_config(path, (), load_catalogue()).data.recipe.name == "geotiff"


def test_data_write_puts_scenes_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "scenes"
    command = ["data", "write", "--recipe", "geoshapes", "--param", "scenes.num=1"]
    command += ["--param", "scenes.size=[256, 320]", "-o", str(out), "--json"]
    assert main(command) == 0
    written = json.loads(capsys.readouterr().out)
    assert written == {"recipe": "geoshapes", "files": [str(out / "geoshapes-00.tif")]}
    assert sorted(path.name for path in out.iterdir()) == ["geoshapes-00.gpkg", "geoshapes-00.tif"]
    assert main(command) == 2
    assert "exists and is left alone" in capsys.readouterr().err


def test_data_write_of_a_recipe_without_files_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["data", "write", "--recipe", "refshapes", "-o", str(out)]) == 2
    assert "RefShapes generates no files" in capsys.readouterr().err
    assert not out.exists()
    assert main(["data", "write", "--recipe", "geoshapes"]) == 2
    assert "-o FOLDER is missing" in capsys.readouterr().err


def test_data_write_over_a_file_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["data", "write", "--recipe", "geoshapes", "-o", str(blocked)]) == 2
    assert "cannot be made a folder" in capsys.readouterr().err


def test_unknown_split_names_the_valid_ones(cache: Path) -> None:
    with pytest.raises(RecipeError, match=r"no split 'val'.*Its splits are: all"):
        recipe(cache).samples("val")
