"""``t4spp bench``: every kind has a parser of its own."""

from __future__ import annotations

import importlib

import pytest

from t4spp.cli import build_parser, main
from t4spp.cli.bench import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_a_module_that_parses_and_runs(kind: str) -> None:
    module = importlib.import_module(f"t4spp.cli.bench_{kind}")
    assert callable(module.run)
    assert build_parser("bench").parse_args([kind]).kind == kind


def test_common_options_add_up_on_both_sides_of_the_kind() -> None:
    arguments = ["-v", "--plugin-file", "a.py", "codec", "-v", "--json", "--plugin-file", "b.py"]
    args = build_parser("bench").parse_args(arguments)
    assert (args.verbose, args.json, args.plugin_file) == (2, True, ["a.py", "b.py"])


def test_bench_without_a_kind_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 2
    assert "KIND" in capsys.readouterr().err


def test_unknown_kind_names_the_valid_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codce"]) == 2
    err = capsys.readouterr().err
    assert all(kind in err for kind in KINDS)


def test_option_of_no_kind_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codec", "--repeat", "2"]) == 2
    assert "--repeat. Did you mean '--repeats'?" in capsys.readouterr().err
