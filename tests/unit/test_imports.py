"""The layers of the house: imports point down, and the core knows no plugin."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CORE = PROJECT / "t4spp"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "resident", "seeds", "types"),
    ("pictures", "geo"),
    ("components", "manifest"),
    ("hookspecs", "validation", "yaml12"),
    ("plugins",),
    ("weights",),
    ("features",),
    ("config_layers",),
    ("config",),
    ("mask_tokenizer",),
    ("schemes",),
    ("data",),
    ("training",),
    ("decoding",),
    ("evaluation",),
    ("tracking",),
    ("report",),
    ("prediction_files", "tokenizer_training", "leaderboard"),
    ("api", "testing", "bench", "scene_prediction"),
    ("cli",),
    ("__main__",),
)
"""From the bottom to the top; design.md's house, in its order."""

RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def modules() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Modules that a file imports when it runs, at the top or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in for_types_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name"
            if node.module == "t4spp":
                for alias in node.names:
                    yield f"t4spp.{alias.name}", node.lineno
            else:
                yield node.module or "", node.lineno


def part_of(name: str) -> str:
    """``t4spp.schemes.grid`` -> ``schemes``; the facade ``t4spp`` itself -> empty."""
    return [*name.split("."), ""][1]


def test_core_imports_no_plugin_and_no_recipe() -> None:
    offenders = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in modules()
        for name, line in imported(path)
        if name.split(".")[0] in ("t4spp_plugins", "t4spp_recipes")
    ]
    assert offenders == []


def test_core_names_no_plugin_module_in_text_either() -> None:
    offenders = [
        str(path.relative_to(PROJECT))
        for path in modules()
        if "import_module" in path.read_text(encoding="utf-8")
        and "t4spp_plugins." in path.read_text(encoding="utf-8")
    ]
    assert offenders == []


def test_every_core_module_has_a_layer() -> None:
    parts = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in modules()}
    assert parts - {"__init__"} - set(RANK) == set()


def test_imports_point_down() -> None:
    offenders = []
    for path in modules():
        own = path.relative_to(CORE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name, line in imported(path):
            other = part_of(name) if name.split(".")[0] == "t4spp" else ""
            if other in RANK and RANK[other] > RANK[own]:
                offenders.append(f"{path.relative_to(PROJECT)}:{line}: {own} imports {name}")
    assert offenders == []


def test_layers_of_one_rank_have_no_circle() -> None:
    pairs = {
        (own, part_of(name))
        for path in modules()
        if (own := path.relative_to(CORE).parts[0].removesuffix(".py")) in RANK
        for name, _ in imported(path)
        if name.startswith("t4spp.") and part_of(name) in RANK and part_of(name) != own
    }
    assert [pair for pair in sorted(pairs) if (pair[1], pair[0]) in pairs] == []


@pytest.mark.parametrize("folder", ["plugins/t4spp_plugins", "data_recipes/t4spp_recipes"])
def test_registration_modules_are_light(folder: str) -> None:
    """What ``t4spp plugins`` imports is pydantic and the core's descriptions, nothing heavy."""
    heavy = {"torch", "torchvision", "transformers", "peft", "accelerate", "matplotlib", "scipy"}
    offenders = []
    for path in sorted((PROJECT / folder).rglob("plugin.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            offenders += [f"{path.name}: {name}" for name in names if name.split(".")[0] in heavy]
    assert offenders == []


def test_importing_t4spp_loads_nothing_heavy() -> None:
    script = (
        "import sys, t4spp, t4spp.config, t4spp.testing; "
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
