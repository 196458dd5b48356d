"""The documentation says what the code says."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel

from t4spp import config, hookspecs
from t4spp.cli import COMMANDS, build_parser
from t4spp.plugins import HOOKS, WEIGHTS_HOOK, load_catalogue

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"


def hook_names() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith("t4spp_")]


def test_catalogue_asks_every_hook() -> None:
    assert hook_names() == [*HOOKS.values(), WEIGHTS_HOOK]


@pytest.mark.parametrize("name", hook_names())
def test_documented_hook_has_the_codes_signature(name: str) -> None:
    text = (DOCS / "hooks.md").read_text()
    signature = inspect.signature(getattr(hookspecs, name))
    written = f"def {name}{signature}".replace("'", "")
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None, f"docs/hooks.md has no section {name}"
    assert written in section.group(1)


def test_docs_describe_no_hook_that_is_gone() -> None:
    written = re.findall(r"^## (t4spp_\w+)", (DOCS / "hooks.md").read_text(), re.MULTILINE)
    assert written == hook_names()


@pytest.mark.parametrize("name", hook_names())
def test_every_hook_has_a_test(name: str) -> None:
    tests = (PROJECT / "tests" / "unit" / "test_plugins.py").read_text()
    assert name in tests


def config_models() -> list[type[BaseModel]]:
    return [
        model
        for model in vars(config).values()
        if inspect.isclass(model)
        and issubclass(model, config.ConfigModel)
        and model is not config.ConfigModel
    ]


@pytest.mark.parametrize("model", config_models(), ids=lambda model: model.__name__)
def test_every_config_field_is_documented(model: type[BaseModel]) -> None:
    text = (DOCS / "configuration.md").read_text()
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name} has no docstring"
        assert f"| `{name}` |" in text, f"docs/configuration.md does not list {name}"


def test_documented_defaults_are_the_codes() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]+) \|", (DOCS / "configuration.md").read_text(), re.MULTILINE
    )
    shown = [(name, default.strip()) for name, default in rows if name != "key"]
    expected = []
    for model in config_models():
        for name, field in model.model_fields.items():
            expected.append((name, config_default(field.get_default(call_default_factory=True))))
    assert sorted(shown) == sorted(expected)


def config_default(value: object) -> str:
    if type(value).__name__ == "PydanticUndefinedType":
        return "required"
    if isinstance(value, BaseModel):
        name = getattr(value, "name", None)
        return f"`{name}`" if name is not None else "see below"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None:
        return "null"
    if value == {}:
        return "`{}`"
    return f"`{value}`"


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_or_docs_name_every_command(command: str) -> None:
    pages = [PROJECT / "README.md", *DOCS.glob("*.md")]
    assert any(f"t4spp {command}" in page.read_text() for page in pages)


def written_commands() -> list[str]:
    """Every ``t4spp ...`` line of the pages' code blocks and of the configs' heads."""
    blocks = [
        block
        for page in (PROJECT / "README.md", *DOCS.glob("*.md"), *PROJECT.glob("examples/*/*.md"))
        for block in re.findall(
            r"^```[a-z]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        )
    ]
    for path in (PROJECT / "configs").rglob("*.yaml"):
        head = [line[1:] for line in path.read_text().splitlines() if line.startswith("#")]
        blocks.append("\n".join(head))
    joined = "\n".join(blocks).replace("\\\n", " ")
    return re.findall(r"^ *(t4spp .*)$", joined, re.MULTILINE)


def test_pages_hold_commands() -> None:
    assert len(written_commands()) > 40


@pytest.mark.parametrize("line", sorted(set(written_commands())))
def test_written_command_is_one_that_the_program_takes(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if words[0].isupper() or words[0].startswith("-"):
        return  # `t4spp COMMAND --help`
    args = build_parser(words[0]).parse_args(words[1:])
    for name in vars(args).values():
        if isinstance(name, str) and name.startswith("configs/") and not Path(name).stem.isupper():
            assert (PROJECT / name).is_file(), name


def test_plugin_of_the_page_for_newcomers_works(tmp_path: Path) -> None:
    text = (DOCS / "write-a-plugin.md").read_text()
    code = re.search(
        r"Save this as `mine.py`:\n\n```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    assert code is not None
    file = tmp_path / "mine.py"
    file.write_text(code.group(1))
    scheme = load_catalogue([file]).build("scheme", "tall-rrle", {"rows": 24})
    assert scheme.encode([], (48, 48)) == " others *8\n".join([""] * 25)[1:]


def test_links_between_pages_lead_somewhere() -> None:
    pages = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
