from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, entry_points
from pathlib import Path
from typing import Any

import pytest

from t4spp.cli import COMMANDS, build_parser, main
from t4spp.errors import RunError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], None]:
    """Replaces the command ``bench`` by a function."""

    def replaced(run: Callable[[Any], Any]) -> None:
        module = types.ModuleType("t4spp.cli.bench", "Measure.")
        module.run = run  # type: ignore[attr-defined]
        module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "t4spp.cli.bench", module)

    return replaced


def raising(error: BaseException) -> Callable[[Any], Any]:
    def run(args: Any) -> Any:
        raise error

    return run


def test_success_is_0(command: Any) -> None:
    command(lambda args: 0)
    assert main(["bench"]) == 0


def test_users_mistake_is_2_and_one_message(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(RunError("the folder exists")))
    assert main(["bench", "--json"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "t4spp: error: the folder exists\n")


def test_debug_shows_the_traceback(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(RunError("the folder exists")))
    assert main(["--debug", "bench"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_fault_of_ours_is_1_without_traceback(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(KeyError("grid")))
    assert main(["bench"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("t4spp: internal error: KeyError: 'grid'")
    assert "Traceback" not in err
    assert "t4spp doctor" in err


def test_interrupt_is_130_and_one_line(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(KeyboardInterrupt()))
    assert main(["bench"]) == 130
    assert capsys.readouterr().err == "t4spp: interrupted\n"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "x.bin"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_full_disk_is_the_users_to_mend(
    command: Any, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    command(raising(error))
    assert main(["bench"]) == 2
    assert "the disk is full" in capsys.readouterr().err


def test_full_disk_behind_another_error_is_recognised(command: Any) -> None:
    error = RuntimeError("unexpected pos")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    command(raising(error))
    assert main(["bench"]) == 2


def test_refused_permission_is_the_users_to_mend(
    command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(PermissionError(errno.EACCES, "Permission denied", "x.bin")))
    assert main(["bench"]) == 2
    assert "x.bin" in capsys.readouterr().err


def test_unknown_command_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cieling"]) == 2
    assert "Did you mean 'ceiling'?" in capsys.readouterr().err


def test_unknown_option_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--jsn"]) == 2
    assert "--jsn" in capsys.readouterr().err


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert name in out
        assert summary in out


@pytest.mark.parametrize("command_name", COMMANDS)
def test_every_command_has_its_own_help(
    command_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command_name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: t4spp {command_name}")
    assert "--json" in out


def test_common_options_stand_before_or_after_the_command(command: Any) -> None:
    seen = []

    def remember(args: Any) -> int:
        seen.append((args.json, args.verbose, args.plugin_file))
        return 0

    command(remember)
    main(["--json", "-v", "--plugin-file", "a.py", "bench", "-v", "--plugin-file", "b.py"])
    main(["bench", "--json"])
    assert seen == [(True, 2, ["a.py", "b.py"]), (True, 0, [])]


LIGHT = {"annotated_types", "numpy", "pluggy", "pydantic", "pydantic_core", "ruamel"}
LIGHT |= {"typing_extensions", "typing_inspection"}
"""The packages that starting may load, besides t4spp's own and the standard library."""


def loaded_by(*commands: Sequence[str]) -> set[str]:
    """The packages that running commands loads, t4spp, the plugins' and Python's left out."""
    script = (
        "import json, sys; before = set(sys.modules); import t4spp.cli\n"
        "for command in json.loads(sys.argv[1]): assert t4spp.cli.main(command) == 0, command\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(new - set(sys.stdlib_module_names))), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own = {point.module.partition(".")[0] for point in entry_points(group="t4spp")} | {"t4spp"}
    loaded: list[str] = json.loads(done.stderr.splitlines()[-1])
    return {name for name in loaded if name not in own and not name.startswith("_sysconfigdata")}


def test_help_loads_nothing_but_the_standard_library() -> None:
    assert loaded_by(["--help"], ["--version"]) == set()


@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "--json"], ["weights", "list"]])
def test_listing_plugins_loads_no_heavy_package(arguments: list[str]) -> None:
    """No torch, transformers, matplotlib, scipy, PIL, rasterio, timm, ...: whatever is not light.

    It is what makes a start take well under a second, told without a clock.
    """
    assert loaded_by(arguments) <= LIGHT


def test_help_of_no_command_loads_a_heavy_package() -> None:
    assert loaded_by(*([name, "--help"] for name in COMMANDS)) <= LIGHT


def test_checking_a_config_loads_no_heavy_package(project: Path) -> None:
    config = project / "configs" / "experiments" / "quickstart.yaml"
    assert loaded_by(["config", "check", str(config)]) <= LIGHT


def test_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "t4spp", "plugins"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_environment_of_the_importing_program_is_left_alone() -> None:
    script = "import os; before = dict(os.environ); import t4spp.cli; assert before == os.environ"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "t4spp 0.1.0\n"


def test_plugins_lists_name_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--kind", "recipe", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    refshapes = next(item for item in listed["components"] if item["name"] == "refshapes")
    assert (refshapes["kind"], refshapes["distribution"]) == ("recipe", "t4spp")
    assert {item["kind"] for item in listed["components"]} == {"recipe"}


def test_plugins_shows_a_plugin_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from pydantic import BaseModel\n"
        "from t4spp.components import Component\n"
        "from t4spp.hookspecs import hookimpl\n"
        "class Params(BaseModel): pass\n"
        "@hookimpl\n"
        "def t4spp_refiners():\n"
        "    return [Component(name='sharper', config=Params, build=list, summary='sharpens')]\n"
    )
    assert main(["plugins", "--plugin-file", str(file)]) == 0
    assert "sharper" in capsys.readouterr().out


def test_doctor_tells_versions_devices_and_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["t4spp"] == "0.1.0"
    assert found["packages"]["torch"]
    assert any(device.startswith("cpu") for device in found["devices"])
    assert "refshapes" in found["plugins"]["recipe"]
    assert found["problems"] == []


def test_doctor_works_from_the_source_tree_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def not_installed(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("t4spp.cli.doctor.requires", not_installed)
    assert main(["doctor", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["packages"]) == {"wandb"}


def test_doctor_survives_colliding_plugins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("T4SPP_PLUGINS", "nowhere")
    assert main(["doctor"]) == 0
    assert "PROBLEM: plugins: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "a.png", "dog", "--rum", "x"], "--rum. Did you mean '--run'?"),
        (["ceiling", "--recipie=x"], "--recipie. Did you mean '--recipe'?"),
        (["bench", "codec", "--cocoo", "x"], "--cocoo. Did you mean '--coco'?"),
    ],
)
def test_a_misspelt_option_is_named_even_where_another_is_missing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith(f"unrecognized arguments: {message}")


def test_what_stands_behind_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--run", "nowhere", "-o", "y", "--", "a.png", "--debug"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    args = build_parser("predict").parse_args(["--run", "x", "-o", "y", "--", "a.png", "--dog"])
    assert (args.picture, args.prompt) == ("a.png", ["--dog"])
