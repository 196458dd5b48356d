"""Every config that ships is valid, and says how to launch it."""

from __future__ import annotations

from pathlib import Path

import pytest

from t4spp.config import RunConfig, dump_config, load_config
from t4spp.plugins import Catalogue, load_catalogue
from t4spp.yaml12 import read_yaml

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = PROJECT / "configs"
RUNS = sorted((CONFIGS / "experiments").rglob("*.yaml"))
SWEEPS = sorted((CONFIGS / "sweeps").rglob("*.yaml"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_shipped_config_is_valid(path: Path, catalogue: Catalogue) -> None:
    assert isinstance(load_config(path, (), catalogue), RunConfig)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_shipped_config_is_read_back_equal(
    path: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    config = load_config(path, (), catalogue)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config))
    assert load_config(again, (), catalogue) == config


@pytest.mark.parametrize("path", [*RUNS, *SWEEPS], ids=lambda path: path.stem)
def test_shipped_config_says_how_to_launch_it(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(str(path.relative_to(PROJECT)) in line for line in header)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_file_is_plain_yaml(path: Path) -> None:
    assert isinstance(read_yaml(path), dict)


def test_base_configs_are_extended_by_an_experiment_or_run_by_a_leaderboard() -> None:
    extended = {
        line.partition(":")[2].strip().rpartition("/")[2]
        for path in RUNS
        for line in path.read_text().splitlines()
        if line.startswith("extends:")
    }
    extended |= {
        line.partition(":")[2].strip().rpartition("/")[2]
        for path in (CONFIGS / "leaderboards").glob("*.yaml")
        for line in path.read_text().splitlines()
        if line.startswith("run:")
    }
    bases = {path.name for path in (CONFIGS / "base").glob("*.yaml")}
    assert bases - extended == set()
