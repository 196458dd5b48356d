"""Checking untyped values against pydantic models, with errors that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from t4spp.errors import nearest

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a config."""

_MAX_SHOWN = 120
"""Characters of a received value that a message quotes."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One wrong value: where it stands (keys and list positions) and what is wrong with it."""

    path: KeyPath
    message: str

    def text(self) -> str:
        """``a.b.0: what is wrong``."""
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def dotted(path: Sequence[str | int]) -> str:
    """A key path as it is written after ``--set``: ``data.recipe.params.root``."""
    return ".".join(str(part) for part in path)


def shown(value: object) -> str:
    """A received value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def validate(
    model: type[Model], data: Mapping[str, Any], where: KeyPath = ()
) -> Model | list[Fault]:
    """Check ``data`` against ``model`` strictly, as if it were JSON: no text for numbers.

    Args:
        model: the pydantic model.
        data: keys and values; tuples, lists and paths are fine.
        where: the key path that ``data`` stands at, put before each fault's own path.

    Returns:
        The model's instance, or every fault found.
    """
    try:
        try:
            return model.model_validate_json(to_json(data, inf_nan_mode="constants"), strict=True)
        except PydanticSerializationError:
            return model.model_validate(data)
    except ValidationError as error:
        return _merge_alternatives(
            [_fault(model, data, details, where) for details in error.errors(include_url=False)]
        )


def _fault(
    model: type[BaseModel], data: Mapping[str, Any], details: ErrorDetails, where: KeyPath
) -> Fault:
    path = tuple(details["loc"])
    received = details["input"]
    kind = details["type"]
    if kind == "extra_forbidden":
        fields = field_names(_model_at(model, path[:-1]))
        listed = f"valid keys: {', '.join(fields)}" if fields else "no key is valid here"
        name = str(path[-1])
        message = f"unknown key (received {shown(received)}); {listed}.{nearest(name, fields)}"
    elif kind == "missing":
        message = "required, and missing"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        fields = field_names(_model_at(model, path))
        keys = f" with keys {', '.join(fields)}" if fields else ""
        message = f"expected a mapping{keys}, received {shown(received)}"
    elif kind == "literal_error":
        expected = str(details.get("ctx", {}).get("expected", ""))
        choices = [part.strip("' ") for part in expected.replace(" or ", ", ").split(",")]
        message = (
            f"expected {expected}, received {shown(received)}.{nearest(str(received), choices)}"
        )
    elif kind in ("value_error", "assertion_error"):
        raw = details.get("ctx", {}).get("error", details["msg"])
        message = f"{raw} (received {shown(received)})"
    else:
        text = details["msg"]
        message = f"{text[:1].lower()}{text[1:]}, received {shown(received)}"
    return Fault(path=where + _in_data(data, path, kind), message=message)


def _merge_alternatives(faults: list[Fault]) -> list[Fault]:
    """One fault a place: a union of types reports each of its members."""
    merged: dict[KeyPath, list[str]] = {}
    for fault in faults:
        messages = merged.setdefault(fault.path, [])
        if fault.message not in messages:
            messages.append(fault.message)
    return [Fault(path=path, message="; or ".join(found)) for path, found in merged.items()]


def field_names(model: type[BaseModel] | None) -> list[str]:
    """The keys that a mapping may have there."""
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that holds the fields at a key path, through containers and optionals."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None:
            return None
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        if field is not None:
            current = _model_in(field.annotation)
        elif part != current.__name__:
            return None
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _in_data(data: Any, path: KeyPath, kind: str) -> KeyPath:
    """Pydantic's location without the names of union members that it puts in between."""
    kept: list[str | int] = []
    current = data
    for position, part in enumerate(path):
        is_key = isinstance(current, Mapping) and part in current
        is_position = (
            isinstance(current, list | tuple) and isinstance(part, int) and part < len(current)
        )
        if is_key or is_position:
            kept.append(part)
            current = current[part]
        elif kind == "missing" and position == len(path) - 1:
            kept.append(part)
    return tuple(kept)


def report_faults(lines: Sequence[str]) -> str:
    """Every fault of a config in one message, a line each where there are several."""
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} faults in the config:\n" + "\n".join(f"  - {line}" for line in lines)
