"""Every point of every sweep that ships is a run that the program takes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from t4spp.cli import build_parser
from t4spp.config import load_config
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.yaml12 import read_yaml

PROJECT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((PROJECT / "configs" / "sweeps").rglob("*.yaml"))

pytest.importorskip("wandb", reason="the sweeps' own package is not installed")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def points(sweep: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid, as wandb's agent is sent it."""
    names = list(sweep["parameters"])
    choices = [sweep["parameters"][name].get("values") or [sweep["parameters"][name]["value"]]
               for name in names]  # fmt: skip
    for values in itertools.product(*choices):
        yield {name: {"value": value} for name, value in zip(names, values, strict=True)}


def command_of(sweep: dict[str, Any], point: dict[str, Any]) -> list[str]:
    """What wandb's agent starts for a point, by its own functions."""
    from wandb.sdk.launch.sweeps import utils

    made: dict[str, Any] = utils.create_sweep_command_args({"args": point})
    made["env"] = ["/usr/bin/env"]
    words: list[str] = []
    for part in utils.create_sweep_command(list(sweep["command"])):
        macro = part[2:-1] if part.startswith("${") and part.endswith("}") else None
        words += made[macro] if macro is not None else [part]
    return words


def started(words: list[str], folder: Path) -> list[str]:
    """The arguments that t4spp gets: the command runs, with a stand-in for the program."""
    stand_in = folder / "t4spp"
    stand_in.write_text(
        "#!/bin/sh\nexec python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"\n"
    )
    stand_in.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words,
        env={**os.environ, "PATH": path, "WANDB_RUN_ID": "abc12"},
        capture_output=True,
        text=True,
        check=True,
    )
    arguments: list[str] = json.loads(done.stdout)
    return arguments


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_point_of_a_sweep_is_a_valid_run(
    path: Path, catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    sweep = read_yaml(path)
    seen = set()
    for point in points(sweep):
        command, *rest = started(command_of(sweep, point), tmp_path)
        assert command == "run"
        args = build_parser("run").parse_args(rest)
        assert "abc12" in args.output
        config = load_config(args.config, args.set, catalogue)
        for name, chosen in point.items():
            value: Any = config.model_dump(mode="json")
            for key in name.split("."):
                value = value[key]
            assert value == chosen["value"], name
        assert [tracker.params["mode"] for tracker in config.tracking.trackers] == ["online"]
        seen.add(tuple(str(chosen["value"]) for chosen in point.values()))
    assert len(seen) == len(list(points(sweep))) > 1


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_metric_of_a_sweep_is_one_that_a_run_logs(path: Path) -> None:
    split, protocol, metric = read_yaml(path)["metric"]["name"].split("/")
    assert (split, protocol) == ("val", "scene")
    from t4spp.evaluation.spatial_scores import scene_terms

    assert metric in scene_terms([])
