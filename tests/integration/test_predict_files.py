import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t4spp.api import Segmenter
from t4spp.cli import main
from t4spp.errors import ConfigError, RecipeError, RunError, SchemeError
from t4spp.plugins import load_catalogue

PLUGIN = Path(__file__).resolve().parents[1] / "support_threshold.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(
        json.dumps(
            {
                "name": "threshold",
                "scheme": {"name": "semantic-brick", "params": {"grid": 8}},
                "backbone": {"name": "threshold"},
                "data": {"recipe": {"name": "refshapes"}},
            }
        )
    )
    return folder


@pytest.fixture
def segmenter(run):
    return Segmenter.from_run(run, catalogue=load_catalogue(plugin_files=[PLUGIN]))


def _picture(height=40, width=60):
    """A red square at rows 8..24, columns 16..32, and a blue one at rows 4..12, columns 44..52."""
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    image[8:24, 16:32] = (220, 20, 20)
    image[4:12, 44:52] = (20, 20, 220)
    return image


def _red():
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[8:24, 16:32] = True
    return mask


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(_picture()).save(path)
    return path


def _predict(run, *arguments):
    return main(["predict", *map(str, arguments), "--run", str(run), "--plugin-file", str(PLUGIN)])


def test_one_label_is_written_as_0_and_255(run, photo, tmp_path):
    assert _predict(run, photo, "red square", "-o", tmp_path / "out.png") == 0
    with Image.open(tmp_path / "out.png") as mask:
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask), np.where(_red(), 255, 0))
    with Image.open(tmp_path / "out.overlay.png") as overlay:
        assert overlay.size == (60, 40)
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["labels"] == {
        "red square": {
            "value": 255,
            "area": 256,
            "box": {"y0": 8, "x0": 16, "y1": 24, "x1": 32},
            "num_regions": 1,
        }
    }
    assert record["size"] == [40, 60]
    assert (record["prompt"], record["status"], record["problems"]) == ("red square", "ok", [])
    assert record["text"].startswith("Here.\n<seg>")
    assert record["seconds"] > 0


def test_several_labels_are_written_as_an_indexed_picture(run, photo, tmp_path):
    assert _predict(run, photo, "--label", "red square,blue square", "-o", tmp_path / "o.png") == 0
    with Image.open(tmp_path / "o.png") as mask:
        assert mask.mode == "P"
        indices = np.asarray(mask)
        palette = mask.getpalette()
    assert np.array_equal(indices == 1, _red())
    assert (indices == 2).sum() == 64
    assert palette[:3] == [0, 0, 0]
    assert palette[3:6] != palette[6:9]
    labels = json.loads((tmp_path / "o.json").read_text())["labels"]
    assert {label: part["value"] for label, part in labels.items()} == {
        "red square": 1,
        "blue square": 2,
    }


def test_exif_orientation_is_respected(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by a quarter; upright it is 60 wide
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(_picture())).save(path, exif=exif)
    assert _predict(run, path, "red square", "-o", tmp_path / "out.png") == 0
    with Image.open(tmp_path / "out.png") as mask:
        assert np.array_equal(np.asarray(mask) > 0, _red())


def test_folder_of_pictures_and_file_of_prompts_write_every_pair(run, photo, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.jpg", "b.png"):
        Image.fromarray(_picture()).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("red square\n\nthe Blue one!\n")
    assert _predict(run, folder, prompts, "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "a.1-red-square.json",
        "a.2-the-blue-one.json",
        "b_jpg.1-red-square.json",
        "b_jpg.2-the-blue-one.json",
        "b_png.1-red-square.json",
        "b_png.2-the-blue-one.json",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 18


def test_existing_outputs_need_overwrite(run, photo, tmp_path, capsys):
    output = tmp_path / "out.png"
    output.write_text("precious")
    assert _predict(run, photo, "red square", "-o", output) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert not (tmp_path / "out.json").exists()
    assert _predict(run, photo, "red square", "-o", output, "--overwrite") == 0


def test_picture_itself_is_never_overwritten(run, photo, capsys):
    before = photo.read_bytes()
    assert _predict(run, photo, "red square", "-o", photo, "--overwrite") == 2
    assert photo.read_bytes() == before


def test_truncated_picture_is_one_clear_error_and_writes_nothing(run, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "b.jpg")
    Image.fromarray(noise).save(folder / "a.jpg")
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:1500])
    assert _predict(run, folder, "red square", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert str(folder / "b.jpg") in error
    assert "truncated" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png", "dog", "-o", "out.png"], "nowhere.png does not exist"),
        (["PHOTO", "-o", "out.png"], "no prompt"),
        (["PHOTO", "a|b", "-o", "out.png"], "'a|b' cannot be written"),
        (["PHOTO", "--label", "a,,b", "-o", "out.png"], "none of them empty"),
        (["PHOTO", "--label", "dog,others", "-o", "out.png"], "background"),
        (["PHOTO", "dog", "-o", "out.jpg"], "PNG"),
        (["FOLDER", "dog", "-o", "out.png"], "folder"),
        (["EMPTY", "dog", "-o", "out"], "holds no picture"),
        (["PHOTO", "dog", "--prompts", "x.txt", "-o", "out.png"], "not both"),
        (["PHOTO", "--prompts", "x.txt", "-o", "out.png"], "x.txt cannot be read"),
        (["PHOTO", "dog", "-o", "out.png", "--set", "refiner.name=non"], "'none'"),
    ],
)
def test_wrong_input_is_one_clear_error(
    run, photo, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    known = {"PHOTO": str(photo), "FOLDER": str(tmp_path), "EMPTY": str(tmp_path / "empty")}
    assert _predict(run, *(known.get(argument, argument) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_folder_that_is_no_run_is_one_clear_error(photo, tmp_path, capsys):
    assert _predict(tmp_path / "nowhere", photo, "dog", "-o", tmp_path / "out.png") == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["scheme.name=next-brick", "scheme.params.grid=9"])
def test_another_scheme_than_the_runs_is_one_clear_error(run, photo, tmp_path, capsys, change):
    given = (photo, "red square", "-o", tmp_path / "out.png")
    assert _predict(run, *given, "--set", change) == 2
    error = capsys.readouterr().err
    assert "is a run of the scheme semantic-brick@" in error
    assert "name the config file" in error
    assert not (tmp_path / "out.png").exists()
    assert _predict(run, *given, "--set", "scheme.params.grid=8") == 0


def test_json_lists_what_was_written(run, photo, tmp_path, capsys):
    assert _predict(run, photo, "red square", "-o", tmp_path / "out.png", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)["predictions"]
    assert record["mask"] == str(tmp_path / "out.png")


@pytest.mark.parametrize("kind", ["path", "text", "pil", "array"])
def test_python_takes_a_path_a_pil_picture_or_an_array(segmenter, photo, kind):
    image = {
        "path": photo,
        "text": str(photo),
        "pil": Image.fromarray(_picture()),
        "array": _picture(),
    }[kind]
    found = segmenter.segment(image, "red square")
    assert found.status == "ok"
    assert np.array_equal(found.mask, _red())
    assert found.text.startswith("Here.")
    assert [region.label for region in found.regions] == ["red square"]


def test_python_tells_several_labels_apart(segmenter):
    found = segmenter.segment(_picture(), "", labels=["red square", "blue square"])
    assert found.prompt == "red square|blue square"
    assert np.array_equal(found.union("red square"), _red())
    assert found.union("blue square").sum() == 64
    assert found.mask.sum() == 256 + 64


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA", "I;16"])
def test_every_kind_of_picture_is_read(segmenter, tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((40, 60), 40000, dtype=np.uint16))
    else:
        picture = Image.fromarray(_picture()).convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16") else "x.png")
    picture.save(path)
    assert segmenter.segment(path, "red square").size == (40, 60)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
    ],
)
def test_array_of_another_kind_is_refused(segmenter, array):
    with pytest.raises(ConfigError, match=r"uint8\[H, W, 3\]"):
        segmenter.segment(array, "dog")


def test_python_errors_are_the_projects_own(segmenter, tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        segmenter.segment(tmp_path / "nowhere.png", "dog")
    with pytest.raises(ConfigError, match="prompt is empty"):
        segmenter.segment(_picture(), "")
    with pytest.raises(SchemeError, match="cannot be written"):
        segmenter.segment(_picture(), "two\nlines")
    with pytest.raises(RunError, match="is no run"):
        Segmenter.from_run(tmp_path)


def test_oracle_refuses_a_photograph(run, photo, tmp_path, capsys):
    arguments = ["--set", "backbone.name=oracle", "-o", tmp_path / "out.png"]
    assert _predict(run, photo, "dog", *arguments) == 2
    assert "answers from the truth" in capsys.readouterr().err
