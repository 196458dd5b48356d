"""What each sample adds to the sums that scores are made of, on disk, for comparing runs.

``predictions/<split>.sums.jsonl``: a first line ``{"schema", "columns": {protocol: [name]}}``, then
a line a sample: ``{"id", "image_id", "sums": {protocol: [number]}}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from t4spp.errors import RunError
from t4spp.evaluation.protocols.base import EvaluationProtocol, HasImage

SCHEMA = 1

Floats = npt.NDArray[np.float64]


def sums_path(predictions: Path) -> Path:
    """The file beside a predictions file."""
    return predictions.with_name(f"{predictions.stem}.sums.jsonl")


@dataclass(frozen=True, kw_only=True, eq=False)
class ProtocolSums:
    """One protocol's parts of a run.

    Attributes:
        columns: their names.
        ids: the samples that the protocol measured, N.
        image_ids: the picture of each.
        values: float64[N, C].
    """

    columns: tuple[str, ...]
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    values: Floats


def sums_lines(
    ids: Mapping[int, str],
    protocols: Mapping[str, EvaluationProtocol[Any]],
    rows: Mapping[str, Sequence[HasImage]],
) -> Iterator[str]:
    """The file, line by line.

    Args:
        ids: of the samples, by position, in the split's order.
        protocols: by name.
        rows: of all processes, by protocol.
    """
    columns: dict[str, list[str]] = {}
    found: dict[str, tuple[Floats, dict[int, int]]] = {}
    pictures: dict[int, str] = {}
    for name, protocol in protocols.items():
        own = rows[name]
        if not own:
            continue
        names, values = protocol.summands(own)
        if not names:
            continue
        columns[name] = list(names)
        places = {
            position: place for place, position in enumerate(sorted({r.position for r in own}))
        }
        summed = np.zeros((len(places), len(names)))
        np.add.at(summed, [places[row.position] for row in own], values)
        found[name] = (summed, places)
        pictures.update((row.position, row.image_id) for row in own)
    yield json.dumps({"schema": SCHEMA, "columns": columns}, ensure_ascii=False) + "\n"
    for position, key in ids.items():
        sums = {
            name: [_short(value) for value in summed[places[position]].tolist()]
            for name, (summed, places) in found.items()
            if position in places
        }
        if sums:
            line = {"id": key, "image_id": pictures[position], "sums": sums}
            yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def read_sums(path: Path) -> dict[str, ProtocolSums]:
    """The parts of a run by protocol.

    Raises:
        RunError: the file is damaged, or of another schema.
    """
    with path.open(encoding="utf-8") as stream:
        try:
            return _read(stream)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is damaged ({type(error).__name__}: {error}). Write it again with: "
                "t4spp evaluate RUN"
            ) from error


def _read(stream: IO[str]) -> dict[str, ProtocolSums]:
    head = json.loads(stream.readline())
    if head["schema"] != SCHEMA:
        raise ValueError(f"schema {head['schema']!r}, this t4spp reads {SCHEMA}")
    columns = {name: tuple(map(str, names)) for name, names in head["columns"].items()}
    ids: dict[str, list[str]] = {name: [] for name in columns}
    pictures: dict[str, list[str]] = {name: [] for name in columns}
    values: dict[str, list[Floats]] = {name: [] for name in columns}
    for line in stream:
        row = json.loads(line)
        for name, numbers in row["sums"].items():
            if len(numbers) != len(columns[name]):
                raise ValueError(f"{len(numbers)} numbers of {name} for {row['id']!r}")
            if not np.isfinite(np.array(numbers, dtype=np.float64)).all():
                raise ValueError(f"{name} of {row['id']!r} has something else than numbers")
            ids[name].append(str(row["id"]))
            pictures[name].append(str(row["image_id"]))
            values[name].append(np.array(numbers, dtype=np.float64))
    return {
        name: ProtocolSums(
            columns=columns[name],
            ids=tuple(ids[name]),
            image_ids=tuple(pictures[name]),
            values=np.stack(values[name]),
        )
        for name in columns
        if ids[name]
    }


def _short(value: float) -> float | int:
    """Whole numbers without a point."""
    return int(value) if value.is_integer() else value
