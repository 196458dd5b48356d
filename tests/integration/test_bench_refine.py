"""``t4spp bench refine`` from end to end, with refiners and pictures whose scores are known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from pydantic import BaseModel, ConfigDict

from t4spp.cli import main
from t4spp.components import Component, Refiner
from t4spp.evaluation.refine_bench import Entrant, Picture, measure_refiners
from t4spp.evaluation.refine_timing import time_refiner
from t4spp.hookspecs import hookimpl
from t4spp.plugins import load_catalogue
from t4spp.types import Decoded, Image, Region


class ReddishParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: int = 200


class Reddish(Refiner):
    """Says of every region: where the picture is red enough."""

    def __init__(self, params: ReddishParams) -> None:
        self.params = params

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        return self.refine_under(image, decoded, [self.params])[0]

    def refine_under(self, image: Image, decoded: Decoded, configs: Sequence[Any]) -> list[Decoded]:
        return [
            Decoded(
                regions=tuple(
                    Region(label=region.label, mask=image[..., 0] >= config.at_least)
                    for region in decoded.regions
                ),
                status=decoded.status,
            )
            for config in configs
        ]

    def choices(self) -> Mapping[str, Sequence[Any]]:
        return {"at_least": (200, 100)}


@hookimpl
def t4spp_refiners() -> list[Component]:
    return [Component(name="reddish", config=ReddishParams, build=Reddish)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 64 x 64 with one red disc each: of 250, 250 and, in c, 150."""
    rows, columns = np.ogrid[:64, :64]
    for stem, red in (("a", 250), ("b", 250), ("c", 150)):
        disc = (rows - 30) ** 2 + (columns - 33) ** 2 < (10 + ord(stem) - 97) ** 2
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[disc, 0] = red
        for name, array in (("images", picture), ("masks", disc.astype(np.uint8))):
            (tmp_path / name).mkdir(exist_ok=True)
            Pictures.fromarray(array).save(tmp_path / name / f"{stem}.png")
    return tmp_path


def bench(folder: Path, *options: str) -> list[str]:
    recipe = f"instance-folder:images={folder / 'images'},masks={folder / 'masks'}"
    return ["--plugin-file", __file__, "bench", "refine", "--recipe", recipe, *options]


def rows_of(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["rows"]
    return {(row["refiner"], row["objects"]): row for row in found["rows"]}


def test_table_of_a_refiner_that_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--scheme", "next-brick:grid=4", "--refiner", "reddish:at_least=100", "--json"]
    assert main(bench(folder, *options, "--refiner", "none", "--no-leave-one-out")) == 0
    rows = rows_of(capsys)
    known = rows["reddish:at_least=100", "all"]
    assert (known["scheme"], known["n"], known["refined_iou"]) == ("next-brick:grid=4", 3, 1.0)
    assert 0.7 < known["coarse_iou"] < 1
    assert known["gain"] == pytest.approx(1 - known["coarse_iou"])
    assert known["gain_low"] <= known["gain"] <= known["gain_high"]
    none = rows["none", "all"]
    assert none["coarse_iou"] == none["refined_iou"] == known["coarse_iou"]
    assert (rows["none", "large"]["n"], rows["none", "small"]["n"]) == (3, 0)
    assert rows["none", "small"]["refined_iou"] is None
    assert len(rows) == 6


def test_thresholds_are_chosen_by_the_other_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """200 and 100 find a and b alike, so without c its picture gets the first, which misses it."""
    assert main(bench(folder, "--scheme", "next-brick:grid=4", "--refiner", "reddish")) == 0
    printed = capsys.readouterr().out
    for line in ("0:a: at_least=100", "0:b: at_least=100", "0:c: at_least=200"):
        assert line.removeprefix("0:") in printed
    assert "all pictures: at_least=100" in printed
    options = ["--scheme", "next-brick:grid=4", "--refiner", "reddish", "--json"]
    assert main(bench(folder, *options)) == 0
    rows = rows_of(capsys)
    assert rows["reddish", "all"]["refined_iou"] == pytest.approx(2 / 3)
    assert rows["reddish/left-one-out", "all"]["refined_iou"] == pytest.approx(2 / 3)


def disc(radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:64, :64]
    return (rows - 30) ** 2 + (columns - 33) ** 2 < radius**2


class Careless(Reddish):
    """Leaves regions alone, or, from 100 on, says the same disc of every region."""

    def refine_under(self, image: Image, decoded: Decoded, configs: Sequence[Any]) -> list[Decoded]:
        said = Decoded(regions=(Region(label="x", mask=disc(13)),), status="ok")
        return [decoded if config.at_least > 100 else said for config in configs]


def test_choice_harms_no_scheme() -> None:
    """What gains much on one scheme and loses a little on another is not chosen."""
    catalogue = load_catalogue()
    picture = Picture(
        name="p",
        load=lambda: np.zeros((64, 64, 3), np.uint8),
        truths=(("x", disc(12)),),
        num_samples=1,
    )
    coarse = catalogue.build("scheme", "image-rrle", {"grid": 4})
    fine = catalogue.build("scheme", "next-brick", {"grid": 16})
    entrant = Entrant(
        name="careless",
        refiner=Careless(ReddishParams()),
        configs=(ReddishParams(at_least=100), ReddishParams(at_least=200)),
    )
    alone = measure_refiners([picture], {"coarse": coarse}, [entrant], resamples=10)
    assert alone.rows[0]["gain"] > 0.2
    assert alone.chosen["careless"][""] == {"at_least": 100}
    both = measure_refiners([picture], {"coarse": coarse, "fine": fine}, [entrant], resamples=10)
    losses = [row["gain"] for row in both.rows if row["scheme"] == "fine"]
    assert -0.2 < losses[0] < 0
    assert both.chosen["careless"][""] == {"at_least": 200}


def test_timing_tells_ten_regions_beside_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--scheme", "next-brick:grid=4", "--refiner", "guided-filter", "--timing", "--json"]
    assert main(bench(folder, *options, "--no-leave-one-out")) == 0
    found = json.loads(capsys.readouterr().out)
    (timing,) = found["timing"]
    assert timing["num_many"] == 10
    assert timing["ratio"] == pytest.approx(timing["many_seconds"] / timing["one_seconds"])


def test_timing_never_shows_a_refiner_the_same_picture() -> None:
    seen: list[bytes] = []

    class Seeing(Refiner):
        def refine(self, image: Image, decoded: Decoded) -> Decoded:
            seen.append(image.tobytes())
            return decoded

    picture = Picture(
        name="p",
        load=lambda: np.zeros((64, 64, 3), np.uint8),
        truths=(("x", disc(12)),),
        num_samples=1,
    )
    scheme = load_catalogue().build("scheme", "next-brick", {})
    time_refiner("seeing", Seeing(), picture, scheme, repeats=4)
    assert len(seen) == len(set(seen)) == 9


def test_folder_without_the_photographs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "refine", "--photographs", str(tmp_path), "--refiner", "none"]) == 2
    assert "coco_val100" in capsys.readouterr().err


def test_photographs_hold_the_39_instances(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--photographs", str(shared_data), "--refiner", "none", "--json"]
    assert main(["bench", "refine", *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    by_size = {row["objects"]: row for row in rows if row["scheme"] == "image-rrle:grid=16"}
    assert {name: row["n"] for name, row in by_size.items()} == {
        "all": 39,
        "large": 17,
        "small": 22,
    }
    assert by_size["all"]["coarse_iou"] == pytest.approx(0.398, abs=5e-4)
    assert by_size["large"]["coarse_iou"] == pytest.approx(0.741, abs=5e-4)


@pytest.mark.slow
def test_mobile_sam_gains_what_it_must_and_harms_nothing(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("segment_anything")
    pytest.importorskip("timm")
    options = ["--photographs", str(shared_data), "--refiner", "sam", "--json"]
    assert main(["bench", "refine", *options]) == 0
    rows = {
        (row["scheme"], row["refiner"], row["objects"]): row
        for row in json.loads(capsys.readouterr().out)["rows"]
    }
    for refiner in ("sam", "sam/left-one-out"):
        assert rows["image-rrle:grid=16", refiner, "large"]["gain"] >= 0.10
        assert rows["next-brick:grid=16", refiner, "all"]["gain"] >= 0
