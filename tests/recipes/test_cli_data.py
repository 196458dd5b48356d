from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t4spp.cli import main


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A dataset of one picture with two classes, as command-line parameters."""
    for name, array in (
        ("masks/a.png", np.repeat([[0], [1]], 12, axis=1).repeat(5, axis=0)),
        ("images/a.png", np.full((10, 12, 3), 99)),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        Image.fromarray(array.astype(np.uint8)).save(path)
    return [
        "--recipe",
        "semantic-folder",
        "--param",
        f"masks={tmp_path / 'masks'}",
        "--param",
        f"images={tmp_path / 'images'}",
        "--param",
        "classes=[sky, no]",
    ]


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_data_list_names_recipes_with_sources_and_licences(capsys):
    code, content = run_json(capsys, "data", "list")
    assert code == 0
    recipes = {recipe["name"]: recipe for recipe in content["recipes"]}
    assert {"coco-instances", "semantic-folder"} <= recipes.keys()
    for name in ("coco-instances", "semantic-folder"):
        assert recipes[name]["sources"]
        assert all(source["licence"] and source["url"] for source in recipes[name]["sources"])
    assert main(["data", "list"]) == 0
    assert "licence: annotations CC BY 4.0" in capsys.readouterr().out


def test_data_check_counts_samples(capsys, arguments):
    code, content = run_json(capsys, "data", "check", *arguments)
    assert code == 0
    assert content["ok"] is True
    assert content["splits"] == {
        "all": {
            "num_samples": 2,
            "num_images": 1,
            "num_targets": 2,
            "num_without_target": 0,
            "num_in_words": 0,
            "num_with_ignored_pixels": 0,
        }
    }


def test_data_check_reports_damage_and_exits_2(capsys, arguments, tmp_path):
    (tmp_path / "images" / "a.png").unlink()
    assert main(["data", "check", *arguments]) == 2
    captured = capsys.readouterr()
    assert "problem: semantic-folder: 1 of 1 pictures of the split 'all' are not in" in captured.err
    assert "the first is a (.jpg, .png, ...)" in captured.err
    assert "counted: masks_without_picture 1" in captured.out
    assert main(["data", "check", "--quick", *arguments]) == 0


@pytest.mark.parametrize("options", [[], ["--no-pictures"]])
def test_data_preview_writes_a_page_that_asks_the_network_for_nothing(
    capsys, arguments, tmp_path, options
):
    page = tmp_path / "page.html"
    assert main(["data", "preview", *arguments, *options, "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<h2>sky</h2>" in text
    assert "<h2>no</h2>" in text
    assert "data:image/" in text
    assert "http" not in text
    assert "<script" not in text


def test_data_preview_shows_the_descriptor(arguments, tmp_path):
    page = tmp_path / "page.html"
    scheme = "next-brick:grid=4"
    assert main(["data", "preview", *arguments, "--scheme", scheme, "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "sky&lt;|loc0|&gt;&lt;|loc0|&gt;&lt;|loc499|&gt;&lt;|loc999|&gt;" in text
    assert "decoded (ok)" in text


def test_data_preview_writes_a_picture(arguments, tmp_path):
    path = tmp_path / "sheet.png"
    assert main(["data", "preview", *arguments, "-n", "1", "-o", str(path)]) == 0
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        assert picture.width > 300


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["data", "check"], "--recipe NAME is missing"),
        (["data", "check", "--recipe", "semantic-foldr"], "Did you mean 'semantic-folder'?"),
        (["data", "check", "--recipe", "coco-instances"], "annotations"),
        (["data", "preview", "--recipe", "x", "-o", "a.gif"], "unknown recipe 'x'"),
    ],
)
def test_mistakes_exit_2_with_one_message(capsys, extra, message):
    assert main(extra) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_preview_needs_an_output_it_can_write(capsys, arguments, tmp_path):
    assert main(["data", "preview", *arguments, "-o", "a.gif"]) == 2
    assert "-o FILE.html or -o FILE.png" in capsys.readouterr().err
    missing = str(tmp_path / "none" / "a.html")
    assert main(["data", "preview", *arguments, "-o", missing]) == 2
    assert "its folder does not exist" in capsys.readouterr().err


def test_data_check_names_every_damaged_file_of_a_split(capsys, arguments, tmp_path):
    for folder in ("masks", "images"):
        picture = Image.open(tmp_path / folder / "a.png")
        for stem in "bc":
            picture.save(tmp_path / folder / f"{stem}.png")
    for damaged in ("masks/a.png", "masks/b.png", "images/c.png"):
        whole = (tmp_path / damaged).read_bytes()
        (tmp_path / damaged).write_bytes(whole[: len(whole) // 2])
    code, content = run_json(capsys, "data", "check", *arguments)
    assert code == 2
    assert content["ok"] is False
    named = [message.split(" cannot be read")[0] for message in content["problems"]]
    assert named == [
        str(tmp_path / name) for name in ("masks/a.png", "masks/b.png", "images/c.png")
    ]
    assert content["splits"] == {}
