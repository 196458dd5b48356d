"""``t4spp ceiling`` and ``t4spp bench codec`` from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t4spp.cli import main
from t4spp.testing import build_tokenizer

CEILING_KEYS = {
    "name",
    "params",
    "mean_iou",
    "mean_tokens",
    "p95_tokens",
    "lost",
    "encode_us",
    "decode_us",
}


@pytest.fixture
def annotations(shared_data: Path) -> Path:
    path = shared_data / "coco" / "coco_val100" / "instances_val2014_100.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    build_tokenizer(()).save_pretrained(str(tmp_path / "tokenizer"))
    return tmp_path / "tokenizer"


def test_ceilings_on_coco(
    annotations: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["ceiling", "--recipe", "coco-instances", "--param", f"annotations={annotations}",
         "--scheme", "image-rrle:grid=16", "--scheme", "next-brick:grid=16",
         "--scheme", "next-brick:grid=32", "--tokenizer", str(tokenizer), "--json"]
    )  # fmt: skip
    assert code == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"recipe", "num_targets", "schemes"}
    assert (found["recipe"], found["num_targets"]) == ("coco-instances", 830)
    assert [set(scheme) for scheme in found["schemes"]] == [CEILING_KEYS] * 3
    rrle, brick, fine = found["schemes"]
    assert (rrle["name"], rrle["params"]) == ("image-rrle", {"grid": 16})
    assert rrle["mean_iou"] == pytest.approx(0.337, abs=0.01)
    assert rrle["lost"] == pytest.approx(0.38, abs=0.01)
    assert brick["mean_iou"] >= 0.92 and brick["lost"] == 0
    assert brick["mean_tokens"] <= 55 <= brick["p95_tokens"] + 30
    assert fine["mean_iou"] >= 0.965


def test_table_for_people(
    annotations: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["ceiling", "--recipe", "coco-instances", "--param", f"annotations={annotations}",
         "--scheme", "next-brick:grid=[8,4]", "--tokenizer", str(tokenizer), "--limit", "10"]
    )  # fmt: skip
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "coco-instances: 10 targets, each alone"
    assert lines[1].split()[0] == "scheme"
    assert lines[2].startswith("next-brick:grid=[8, 4]")


def test_image_wise_codes_keep_objects_above_one_per_cent_of_their_picture(
    annotations: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["ceiling", "--recipe", "coco-instances", "--param", f"annotations={annotations}",
         "--scheme", "vq-mask:layout=image", "--tokenizer", str(tokenizer),
         "--min-share", "0.01", "--json"]
    )  # fmt: skip
    assert code == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert (found["min_share"], found["num_targets"], found["num_small"]) == (0.01, 297, 533)
    assert "533 targets below --min-share are left out" in printed.err
    (scheme,) = found["schemes"]
    assert scheme["mean_iou"] >= 0.85 and scheme["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scheme", "next-brick", "--min-share", "1"], "--min-share 1.0: expected a share"),
        (["--scheme", "next-brick", "--min-share", "nan"], "--min-share nan"),
        (["--scheme", "next-brick", "--min-share", "0.99", "--limit", "2"], "no target from 0.99"),
        (["--scheme", "next-bricks"], "Did you mean 'next-brick'?"),
        (["--scheme", "next-brick:gird=3"], "Did you mean 'grid'?"),
        (["--scheme", "next-brick:grid=0"], "grid"),
        (["--scheme", "next-brick", "--split", "trian"], "--split trian"),
        (["--scheme", "next-brick", "--limit", "0"], "--limit 0"),
        (["--scheme", "next-brick", "--tokenizer", "/nowhere"], "--tokenizer /nowhere"),
        (["--scheme", "next-brick", "--tokenizer", "/"], "--tokenizer /"),
    ],
)
def test_mistakes_are_one_message_and_exit_2(
    arguments: list[str], message: str, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [] if "--tokenizer" in arguments else ["--tokenizer", str(tokenizer)]
    assert main(["ceiling", "--recipe", "refshapes", *named, *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_codec_bench_prints_a_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codec", "--masks", "5", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"], found["num_masks"], found["side"]) == ("refshapes", 5, 64)
    assert [scheme["name"] for scheme in found["schemes"]] == ["image-rrle", "next-brick"]
    ratios = [s[f"{way}_ratio"] for s in found["schemes"] for way in ("encode", "decode")]
    assert found["ratio"] == min(ratios) > 0
