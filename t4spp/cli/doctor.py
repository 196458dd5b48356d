"""Versions, devices and plugins of this machine, to be pasted into a bug report."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import t4spp
from t4spp.cli.options import catalogue_of, print_json
from t4spp.cli.plugins import broken
from t4spp.errors import PluginError
from t4spp.plugins import KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Print what a bug report needs; 0 even where something is broken, which it says."""
    found = examine(args)
    if args.json:
        print_json(found)
        return 0
    print(f"t4spp {found['t4spp']}, Python {found['python']}, {found['platform']}")
    print(f"{found['cpu_count']} CPU cores")
    for name, installed in found["packages"].items():
        print(f"  {name} {installed or 'NOT INSTALLED'}")
    for device in found["devices"]:
        print(f"device: {device}")
    for kind, names in found["plugins"].items():
        print(f"{kind}: {', '.join(names) or 'none'}")
    for plugin in found["broken"]:
        print(f"BROKEN plugin {plugin['name']} of {plugin['distribution']}: {plugin['reason']}")
    for problem in found["problems"]:
        print(f"PROBLEM: {problem}")
    return 0


def examine(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that ``doctor`` prints, as JSON has it."""
    problems: list[str] = []
    devices = _devices(problems)
    plugins: dict[str, list[str]] = {}
    broken_plugins: list[dict[str, str]] = []
    try:
        catalogue = catalogue_of(args)
        plugins = {kind: catalogue.names(kind) for kind in KINDS}
        broken_plugins = broken(catalogue)
    except PluginError as error:
        problems.append(f"plugins: {error}")
    return {
        "t4spp": t4spp.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": _packages(),
        "devices": devices,
        "plugins": plugins,
        "broken": broken_plugins,
        "problems": problems,
    }


def _packages() -> dict[str, str | None]:
    """The versions of what t4spp depends on, extras included; None where one is missing."""
    try:
        required = requires("t4spp") or []
    except PackageNotFoundError:  # run from its source, not installed
        required = []
    names = sorted({_name(line) for line in required if "extra ==" not in line} | {"wandb"})
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _name(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position]
    return requirement


def _devices(problems: list[str]) -> list[str]:
    try:
        import torch
        import torchvision  # noqa: F401 - a pair that does not match fails here
    except (ImportError, RuntimeError, OSError) as error:
        problems.append(
            f"torch or torchvision cannot be imported ({error}). Install both in one command: "
            f"{sys.executable} -m pip install --upgrade torch torchvision"
        )
        return []
    devices = [
        f"cuda:{index} {torch.cuda.get_device_name(index)}, "
        f"{torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB"
        for index in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, f"cpu, {torch.get_num_threads()} threads"]
