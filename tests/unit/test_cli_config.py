from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from t4spp.cli import main
from t4spp.config import EvaluationConfig
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.yaml12 import parse_yaml


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(
        "name: small\nscheme: {name: next-brick, params: {grid: 9}}\n"
        "backbone: {name: oracle}\ndata: {recipe: {name: refshapes}}\n"
    )
    return file


def test_check_says_ok(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(config_file)]) == 0
    assert f"{config_file}: ok" in capsys.readouterr().out


def test_unknown_protocol_is_told_with_the_other_faults(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--set", "evaluation.protocols=[nativ]", "--set", "seed=-1"]
    assert main(["config", "check", str(config_file), *changes]) == 2
    error = capsys.readouterr().err
    assert "2 faults" in error
    assert "evaluation.protocols.0: expected 'native', 'text4seg', 'lisa', " in error
    assert "received 'nativ'." in error
    assert "Did you mean 'native'?" in error
    assert main(["config", "check", str(config_file), "--set", "evaluation.protocols=[]"]) == 2
    assert "name at least one protocol" in capsys.readouterr().err


def test_config_knows_every_protocol_that_scores() -> None:
    known = EvaluationConfig.model_fields["protocols"].annotation
    assert get_args(get_args(known)[0]) == tuple(PROTOCOLS)


def test_show_prints_the_resolved_config(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", str(config_file), "--set", "seed=5"]) == 0
    shown = parse_yaml(capsys.readouterr().out, "shown")
    assert list(shown) == [
        "name",
        "seed",
        "scheme",
        "backbone",
        "refiner",
        "data",
        "training",
        "generation",
        "evaluation",
        "tracking",
    ]
    assert (shown["seed"], shown["scheme"]["params"]["grid"]) == (5, 9)


def test_show_json_is_one_object(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", str(config_file), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["scheme"]["name"] == "next-brick"
    assert len(shown["hash"]) == 16


def test_swapping_the_scheme_is_one_set(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "scheme.name=image-rrle", "--set", "scheme.params.grid=24"]
    assert main(["config", "show", str(config_file), *sets]) == 0
    scheme = parse_yaml(capsys.readouterr().out, "shown")["scheme"]
    assert (scheme["name"], scheme["params"]["grid"]) == ("image-rrle", 24)


def test_wrong_scheme_and_parameter_exit_2_and_stand_in_one_message(
    config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "scheme.name=nxt-brick", "--set", "data.recipe.params.sed=1"]
    assert main(["config", "check", str(config_file), *sets]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--set scheme.name=nxt-brick: scheme.name: unknown scheme 'nxt-brick'" in err
    assert "Did you mean 'next-brick'?" in err
    assert "--set data.recipe.params.sed=1: data.recipe.params.sed: unknown key" in err
    assert "Did you mean 'seed'?" in err


@pytest.mark.parametrize("text", ["name: !!python/name:os.system x\n", "name: a\nname: b\n"])
def test_yaml_with_a_tag_or_a_duplicate_key_exits_2(
    config_file: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    config_file.write_text(text)
    assert main(["config", "check", str(config_file)]) == 2
    assert str(config_file) in capsys.readouterr().err
