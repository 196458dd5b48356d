"""The example plugin as a user would install it: a package of its own, found by entry point."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLE = PROJECT / "examples" / "t4spp-example-plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the plugin was installed into."""
    folder = tmp_path_factory.mktemp("example")
    source = folder / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("*.egg-info", "build"))
    target = folder / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(target), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the plugin on its path."""
    paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_installed_plugin_is_listed_under_its_own_name(installed: Path) -> None:
    done = python(installed, "-m", "t4spp", "plugins", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    mine = {
        (item["kind"], item["name"])
        for item in listed["components"]
        if item["distribution"] == "t4spp-example-plugin"
    }
    assert mine == {("scheme", "column-rle"), ("recipe", "checkerboards")}
    assert listed["broken"] == []


def test_the_plugins_own_tests_pass(installed: Path) -> None:
    tests = str(EXAMPLE / "tests")
    done = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
    assert done.returncode == 0, done.stdout


def test_scheme_can_be_named_in_a_config(installed: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "name: charts\nscheme: {name: column-rle, params: {grid: 8}}\n"
        "backbone: {name: oracle}\ndata: {recipe: {name: checkerboards}}\n"
    )
    assert python(installed, "-m", "t4spp", "config", "check", str(file)).returncode == 0
    done = python(
        installed, "-m", "t4spp", "config", "check", str(file), "--set", "scheme.params.grid=no"
    )
    assert done.returncode == 2
    assert "scheme.params.grid" in done.stderr


def test_ceiling_measures_the_plugins_scheme_on_its_recipe(installed: Path) -> None:
    recipe = ["--recipe", "checkerboards", "--param", "size=64", "--param", "num_samples=8"]
    done = python(
        installed, "-m", "t4spp", "ceiling", *recipe, "--scheme", "column-rle:grid=16", "--json"
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["recipe"] == "checkerboards"
    assert measured["num_targets"] == 8
    assert measured["schemes"][0]["name"] == "column-rle"
    assert 0.5 < measured["schemes"][0]["mean_iou"] <= 1.0


def test_without_the_plugin_its_scheme_is_unknown() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "t4spp",
            "ceiling",
            "--recipe",
            "refshapes",
            "--scheme",
            "colum-rle",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown scheme" in done.stderr
