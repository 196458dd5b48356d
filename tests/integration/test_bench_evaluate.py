"""`t4spp bench evaluate` on a few small answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t4spp.cli import main


@pytest.mark.parametrize("scheme", ["next-brick:grid=8", "image-rrle:grid=8"])
def test_bench_scores_the_same_with_and_without_workers(
    tmp_path: Path, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for workers in (0, 2):
        capsys.readouterr()
        code = main(
            ["bench", "evaluate", "--num", "150", "--size", "48x64", "--scheme", scheme,
             "--workers", str(workers), "--folder", str(tmp_path), "--json"]
        )  # fmt: skip
        assert code == 0
        found.append(json.loads(capsys.readouterr().out))
    alone, shared = found
    assert alone["num"] == 150
    assert alone["size"] == [48, 64]
    assert 0.2 < alone["mean_iou"] < 0.8  # half of the answers are to another shape
    assert shared["mean_iou"] == alone["mean_iou"]
    assert alone["masks_per_second"] > 0
    assert alone["ratio"] == pytest.approx(
        alone["masks_per_second"] / alone["yardstick_masks_per_second"], rel=0.02
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num", "0"], "--num 0"),
        (["--size", "48"], "HEIGHTxWIDTH"),
        (["--workers", "-1"], "--workers -1"),
        (["--protocol", "nativ"], "native"),
        (["--folder", "missing"], "--folder missing"),
    ],
)
def test_wrong_option_is_the_users_error(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "evaluate", *options]) == 2
    assert said in capsys.readouterr().err
