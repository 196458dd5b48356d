"""Bad input, as a user meets it: one clear error, exit code 2, and nothing on disk has changed.

A full disk while a checkpoint is written: tests/unit/test_checkpoints.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t4spp.cli import main

SUPPORT = Path(__file__).resolve().parents[1] / "support_backbone.py"
TINY = """
name: tiny
scheme: {name: next-brick, params: {grid: 2}}
backbone: {name: tiny-text}
data: {recipe: {name: rectangles, params: {num_samples: 6}}, eval_split: train}
training: {mode: full, steps: 1, batch_size: 2, save_every: 1}
"""
ORACLE = """
name: classes
scheme: {name: image-rrle, params: {grid: 4}}
backbone: {name: oracle}
data:
  recipe:
    name: semantic-folder
    params: {images: images, masks: masks, classes: [sky, road]}
  eval_split: all
"""

Refused = Callable[..., str]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two configs, a picture, a prepared dataset."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T4SPP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "oracle.yaml").write_text(ORACLE)
    noise = np.random.default_rng(0)
    for stem in "ab":
        for folder, array in (
            ("masks", noise.integers(0, 2, (40, 50))),
            ("images", noise.integers(0, 256, (40, 50, 3))),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            suffix = ".png" if folder == "masks" or stem == "a" else ".jpg"
            file = tmp_path / folder / f"{stem}{suffix}"
            Image.fromarray(array.astype(np.uint8)).save(file)
    return tmp_path


@pytest.fixture
def refused(house: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail as the user's mistake; returns its message."""

    def run(*arguments: str) -> str:
        before = contents(house)
        capsys.readouterr()
        assert main([*arguments, "--plugin-file", str(SUPPORT)]) == 2
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "error: " in printed.err
        assert contents(house) == before
        return printed.err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, the cache left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "cache" not in path.parts
    }


def cut(path: Path, num_bytes: int) -> None:
    """Leave only the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:num_bytes])


@pytest.mark.parametrize("command", ["run", "train"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("scheme.name=next-brik", "Did you mean 'next-brick'?"),
        ("backbone.name=tiny-txt", "Did you mean 'tiny-text'?"),
        ("data.recipe.name=rectangle", "Did you mean 'rectangles'?"),
        ("scheme.params.gird=3", "Did you mean 'grid'?"),
        ("backbone.params.hiden=3", "Did you mean 'hidden'?"),
        ("training.step=3", "Did you mean 'steps'?"),
    ],
)
def test_unknown_name_or_parameter(
    refused: Refused, command: str, change: str, message: str
) -> None:
    error = refused(command, "tiny.yaml", "--set", change)
    assert message in error
    assert change.partition("=")[0] in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: !!python/name:os.system x\n", "line 1, column 7: the tag"),
        ("name: a\nseed: 1\nname: b\n", "line 3, column 1: the key 'name' stands twice"),
    ],
)
@pytest.mark.parametrize("command", ["run", "train", "config check", "evaluate"])
def test_yaml_with_a_tag_or_a_duplicate_key(
    house: Path, refused: Refused, command: str, text: str, message: str
) -> None:
    (house / "bad.yaml").write_text(text)
    assert f"bad.yaml: {message}" in refused(*command.split(), "bad.yaml")


def test_missing_folder(refused: Refused) -> None:
    gone = "data.recipe.params.masks=nowhere"
    assert "nowhere cannot be used, it does not exist" in refused(
        "run", "oracle.yaml", "--set", gone
    )


@pytest.mark.parametrize(("name", "size"), [("a.png", 900), ("b.jpg", 900)])
def test_truncated_picture(house: Path, refused: Refused, name: str, size: int) -> None:
    cut(house / "images" / name, size)
    recipe = ["--recipe", "semantic-folder", "--param", "images=images", "--param", "masks=masks"]
    recipe += ["--param", "classes=[sky, road]"]
    error = refused("data", "preview", *recipe, "-o", "sheet.png")
    assert f"{name} cannot be read as a picture" in error
    assert main(["data", "check", *recipe]) == 2


def test_truncated_mask(house: Path, refused: Refused) -> None:
    cut(house / "masks" / "b.png", 100)
    assert "b.png cannot be read as a picture" in refused("run", "oracle.yaml")


def test_mask_of_another_size_than_its_picture(house: Path, refused: Refused) -> None:
    Image.new("L", (25, 20)).save(house / "masks" / "a.png")
    error = refused("run", "oracle.yaml")
    assert "a.png is 40 x 50 pixels" in error
    assert "are 20 x 25" in error


def test_picture_missing_where_pixels_are_needed(house: Path, refused: Refused) -> None:
    (house / "images" / "a.png").unlink()
    recipe = ["--recipe", "semantic-folder", "--param", "images=images", "--param", "masks=masks"]
    recipe += ["--param", "classes=[sky, road]"]
    assert "the picture a" in refused("data", "preview", *recipe, "-o", "sheet.png")
    assert main(["data", "preview", *recipe, "--no-pictures", "-o", "sheet.png"]) == 0
    assert main(["run", "oracle.yaml"]) == 0  # the oracle looks at masks alone


@pytest.mark.parametrize("command", ["run", "evaluate"])
@pytest.mark.parametrize(
    "change",
    [
        "data.recipe.params.masks=nowhere",
        "data.eval_split=vale",
        "backbone={name: nano, params: {weights: nowhere}}",
        "training.init_from=nowhere",
        "evaluation.protocols=[natve]",
    ],
)
def test_a_mistake_leaves_no_folder_and_no_finished_run_behind_it_damaged(
    house: Path, refused: Refused, command: str, change: str
) -> None:
    if "init_from" in change:
        change = "backbone={name: nano}", change
    changes = [part for text in np.atleast_1d(change) for part in ("--set", str(text))]
    refused(command, "oracle.yaml", *changes)
    assert not (house / "runs").exists()
    assert main([command, "oracle.yaml"]) == 0
    refused(command, "oracle.yaml", "--overwrite", *changes)


def test_class_that_no_descriptor_can_carry(refused: Refused) -> None:
    error = refused("run", "oracle.yaml", "--set", "data.recipe.params.classes=[sky, 'a|b']")
    assert "class 1 is called 'a|b', which no descriptor can carry" in error


def test_label_that_the_scheme_cannot_write(house: Path, refused: Refused) -> None:
    assert main(["run", "tiny.yaml", "--plugin-file", str(SUPPORT)]) == 0
    for label in ("a|b", "others", "a <|fg1|>"):
        error = refused("predict", "images/a.png", label, "--run", "runs/tiny", "-o", "out.png")
        assert "cannot be written" in error


def test_output_folder_that_exists(refused: Refused) -> None:
    assert main(["run", "oracle.yaml"]) == 0
    error = refused("run", "oracle.yaml")
    assert "--resume" in error
    assert "--overwrite" in error


def test_predictions_of_another_scheme(refused: Refused) -> None:
    assert main(["run", "oracle.yaml"]) == 0
    for change in ("scheme.name=image-irle", "scheme.params.grid=5"):
        error = refused("evaluate", "runs/classes", "--set", change)
        assert "is a run of the scheme image-rrle@1:" in error


def test_checkpoint_of_another_backbone(refused: Refused) -> None:
    assert main(["train", "tiny.yaml", "--plugin-file", str(SUPPORT)]) == 0
    error = refused("evaluate", "runs/tiny", "--set", "backbone.params.hidden=32")
    assert "backbone" in error
