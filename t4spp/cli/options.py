"""Arguments that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t4spp.errors import ConfigError
from t4spp.plugins import Catalogue, load_catalogue

if TYPE_CHECKING:
    from t4spp.config import ComponentConfig


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``FILE`` and ``--set``; read them with :func:`t4spp.config.load_config`."""
    parser.add_argument("config", metavar="FILE", help="a run's config, YAML")
    add_set_argument(parser)


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """``--set KEY.KEY=VALUE``, repeatable, as ``args.set``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.KEY=VALUE",
        help="change one value of the config, for example scheme.name=next-brick; may be repeated; "
        "--KEY.KEY=VALUE is short for it",
    )


def add_recipe_arguments(parser: argparse._ActionsContainer, *, required: bool = True) -> None:
    """``--recipe NAME`` and ``--param KEY=VALUE``; read them with :func:`recipe_of`."""
    parser.add_argument("--recipe", required=required, metavar="NAME", help="a dataset's recipe")
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the recipe, the value in YAML; may be repeated",
    )


def add_scheme_argument(parser: argparse._ActionsContainer, *, required: bool = False) -> None:
    """``--scheme NAME[:KEY=VALUE,...]``, repeatable; read it with :func:`schemes_of`."""
    parser.add_argument(
        "--scheme",
        action="append",
        default=None if required else [],
        required=required,
        metavar="NAME[:KEY=VALUE,...]",
        help="a descriptor scheme, for example image-rrle:grid=16; may be repeated",
    )


def recipe_of(args: argparse.Namespace) -> ComponentConfig:
    """The recipe that ``--recipe`` and ``--param`` name."""
    from t4spp.config import ComponentConfig

    return ComponentConfig(name=args.recipe, params=parse_params(args.param, "--param"))


def schemes_of(args: argparse.Namespace) -> list[ComponentConfig]:
    """The schemes that ``--scheme`` names, in their order."""
    return [parse_component(text, "--scheme") for text in args.scheme]


def catalogue_of(args: argparse.Namespace) -> Catalogue:
    """The installed plugins and those of ``--plugin-file``."""
    return load_catalogue(plugin_files=args.plugin_file)


def parse_component(text: str, option: str) -> ComponentConfig:
    """``name`` or ``name:key=value,key=value``; commas inside brackets or quotes do not part.

    Raises:
        ConfigError: the text is not of that form.
    """
    from t4spp.config import ComponentConfig

    name, colon, rest = text.partition(":")
    if not name or (colon and not rest):
        raise ConfigError(f"{option} {text}: expected NAME or NAME:KEY=VALUE,KEY=VALUE")
    params = parse_params(_parted(rest), f"{option} {text}:") if rest else {}
    return ComponentConfig(name=name, params=params)


def parse_params(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """``key=value`` each, the value in YAML 1.2; ``windows.size=256`` reaches into ``windows``.

    Raises:
        ConfigError: a pair has no key or no ``=``, or a key stands twice.
    """
    params: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise ConfigError(f"{option} {pair}: expected KEY=VALUE")
        inner = params
        for part in parts[:-1]:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{option} {pair}: {part!r} has a value already")
        if parts[-1] in inner:
            raise ConfigError(f"{option} {pair}: {key.strip()!r} is given twice")
        inner[parts[-1]] = parse_value(value, f"{option} {pair}")
    return params


def parse_value(text: str, source: str) -> Any:
    """A value as YAML 1.2 reads it: ``16``, ``nearest``, ``[24, 16]``, ``"16"``.

    Raises:
        ConfigError: the text is not YAML.
    """
    from t4spp.yaml12 import parse_yaml

    return parse_yaml(text, source=source)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip())


def _parted(text: str) -> Iterator[str]:
    depth = 0
    quote = ""
    start = 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:position]
            start = position + 1
    yield text[start:]
