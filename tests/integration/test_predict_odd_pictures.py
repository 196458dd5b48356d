"""``t4spp predict`` with the weights that ship, on every kind of picture that people bring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support_pictures import write_bomb, write_odd_pictures

from t4spp.cli import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        json.dumps(
            {
                "name": "odd",
                "scheme": {"name": "next-brick", "params": {"grid": 4, "max_regions": 1}},
                "backbone": {"name": "nano"},
                "data": {"recipe": {"name": "refshapes"}},
            }
        )
    )
    return folder


def test_nano_answers_about_every_odd_picture(run, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = write_odd_pictures(folder)
    out = tmp_path / "out"
    assert main(["predict", str(folder), "red square", "--run", str(run), "-o", str(out)]) == 0
    sizes = {}
    for path in pictures:
        with Image.open(out / f"{path.stem}.png") as mask:
            sizes[path.name] = mask.size
            assert set(np.unique(np.asarray(mask))) <= {0, 255}
        with Image.open(out / f"{path.stem}.overlay.png") as overlay:
            assert (overlay.mode, overlay.size) == ("RGB", sizes[path.name])
        record = json.loads((out / f"{path.stem}.json").read_text())
        assert record["status"] in ("ok", "repaired", "invalid")
        assert record["num_tokens"] > 0
    assert sizes.pop("thin.png") == (4000, 1)
    assert sizes.pop("tall.png") == (1, 4000)
    assert sizes.pop("turned.jpg") == (32, 48)
    assert set(sizes.values()) == {(48, 32)}


@pytest.mark.parametrize("kind", ["bomb", "float", "truncated"])
def test_picture_that_cannot_be_read_is_one_error_before_anything_is_written(
    run, tmp_path, capsys, kind
):
    path = tmp_path / "a.tif"
    if kind == "bomb":
        path = write_bomb(tmp_path / "a.png")
    else:
        Image.fromarray(np.zeros((8, 8), np.float32 if kind == "float" else np.uint16)).save(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    arguments = ["predict", str(path), "dog", "--run", str(run), "-o", str(tmp_path / "o.png")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path} cannot be read as a picture" in error
    assert not (tmp_path / "o.png").exists()
