"""Plain YAML 1.2: mappings, lists and scalars of the core schema, and nothing else.

``no``, ``on`` and ``2020-01-01`` are words, ``0o17`` is a number, ``1e-4`` is a float. Tags,
anchors, aliases, duplicate keys, keys that are no text, several documents and ``%YAML 1.1`` are
errors that name the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from t4spp.errors import ConfigError

_LONGEST_NUMBER = 4000
"""Characters; beyond, Python refuses to read a number, so the text stays text."""
_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is not plain YAML 1.2.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file. Name a YAML file, for example one of configs/experiments."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, source: str) -> Any:
    """The value that YAML 1.2 text says; None for empty text.

    Raises:
        ConfigError: the text is not plain YAML 1.2. The message starts with ``source``.
    """
    reader = _Reader(source)
    try:
        return reader.document(YAML(typ="safe", pure=True).parse(StringIO(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ConfigError(f"{source}: {line}{error.problem or error.context}") from error
    except YAMLError as error:
        raise ConfigError(f"{source}: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error


def scalar(text: str) -> Any:
    """An unquoted scalar by the core schema of YAML 1.2."""
    if len(text) > _LONGEST_NUMBER:
        return text
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return _TRUE.fullmatch(text) is not None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text) or _NAN.fullmatch(text):
        return float(text.replace(".", "", 1)) if text[-1] in "fFnN" else float(text)
    return text


def dump_yaml(value: Any) -> str:
    """Plain YAML that :func:`parse_yaml` reads back equal; keys keep their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 4096
    yaml.representer.ignore_aliases = lambda _: True
    stream = StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()


class _Reader:
    """Builds values from the parser's events."""

    def __init__(self, source: str) -> None:
        self.source = source

    def document(self, events: Iterator[Any]) -> Any:
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, StreamStartEvent | StreamEndEvent):
                continue
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.error(event, "a second document; a file holds one")
                if event.version is not None and tuple(event.version) != (1, 2):
                    raise self.error(event, "only YAML 1.2 is read")
                value = self.node(next(events), events)
        return value

    def node(self, event: Any, events: Iterator[Any]) -> Any:
        if isinstance(event, AliasEvent):
            raise self.error(event, f"the alias *{event.anchor} is not allowed; write the value")
        if event.anchor is not None:
            raise self.error(event, f"the anchor &{event.anchor} is not allowed; write the value")
        if getattr(event, "tag", None) is not None:
            raise self.error(event, f"the tag {event.tag} is not allowed; write a plain value")
        if isinstance(event, ScalarEvent):
            plain = event.style is None or event.style == ""
            return scalar(event.value) if plain else event.value
        if isinstance(event, SequenceStartEvent):
            return self.sequence(events)
        if isinstance(event, MappingStartEvent):
            return self.mapping(events)
        raise self.error(event, "not plain YAML")

    def sequence(self, events: Iterator[Any]) -> list[Any]:
        items = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self.node(event, events))
        return items

    def mapping(self, events: Iterator[Any]) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            key = self.node(event, events)
            if not isinstance(key, str):
                raise self.error(event, f"the key {key!r} is not text; quote it")
            if key in pairs:
                raise self.error(event, f"the key {key!r} stands twice in one mapping")
            pairs[key] = self.node(next(events), events)
        return pairs

    def error(self, event: Any, message: str) -> ConfigError:
        mark = event.start_mark
        return ConfigError(
            f"{self.source}: line {mark.line + 1}, column {mark.column + 1}: {message}"
        )
