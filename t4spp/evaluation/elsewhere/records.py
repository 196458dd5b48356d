"""JSON files of other systems: lists that are too long to hold, read record by record."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from t4spp.errors import RunError

Record = dict[str, Any]
Key = Callable[[Record, str], Hashable]
"""What a record belongs to; told the record and where it stands, for errors."""
_CHUNK = 1 << 20
_MARGIN = 32
"""Characters: damage that lies nearer to the end of what was read may be a record cut there."""
_BLANK = " \t\r\n"
_NOT_READ = {
    RecursionError: "objects are nested too deeply",
    ValueError: "a whole number has too many digits",
}
"""Why Python does not read what the grammar of JSON admits."""


def read_json(path: Path, what: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        what: it is, for errors ("the truth").

    Raises:
        RunError: it is missing or malformed; names line and column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(
            f"{what} {path} is not valid JSON: {error.msg} at line {error.lineno}, column "
            f"{error.colno}. The file may be cut off; write or fetch it again."
        ) from error
    except UnicodeDecodeError as error:
        raise RunError(f"{what} {path} is not UTF-8 text: {error.reason}.") from error
    except (RecursionError, ValueError) as error:
        raise RunError(f"{what} {path} is not usable JSON: {_NOT_READ[type(error)]}.") from error
    except OSError as error:
        raise RunError(f"{what} {path} cannot be read: {error.strerror or error}.") from error


class GroupedRecords:
    """A JSON list of objects on disk, grouped by a key; only where they stand is kept.

    The file is read twice: once to find the records, and once as they are asked for. It must not
    change meanwhile. Use it in a ``with`` block.
    """

    def __init__(
        self, path: Path, key: Key, *, progress: Callable[[int], object] | None = None
    ) -> None:
        """Find the records.

        Args:
            path: the file.
            key: of a record; raises RunError for one that has none.
            progress: told how many bytes have just been read.

        Raises:
            RunError: the file is missing, malformed, or no list of objects.
        """
        self.path = path
        self.length = 0
        self.first: Record | None = None
        self._places: dict[Hashable, array[int]] = {}
        self._file: IO[bytes] | None = None
        for number, (start, end, record) in enumerate(_scan(path, progress)):
            where = f"{path}, record {number + 1}"
            self._places.setdefault(key(record, where), array("q")).extend((number, start, end))
            self.first = record if self.first is None else self.first
            self.length += 1

    def __len__(self) -> int:
        """Number of records."""
        return self.length

    @property
    def keys(self) -> set[Hashable]:
        """The keys that have records."""
        return set(self._places)

    def count(self, key: Hashable) -> int:
        """How many records a key has."""
        return len(self._places.get(key, ())) // 3

    def __enter__(self) -> GroupedRecords:
        """Open the file."""
        self._file = self.path.open("rb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def of(self, key: Hashable) -> Iterator[tuple[str, Record]]:
        """Where each record of a key stands, for errors, and the record; in the file's order.

        Raises:
            RunError: the file has changed.
        """
        if self._file is None:
            raise RuntimeError("GroupedRecords.of outside its with block")
        places = self._places.get(key, array("q"))
        for place in range(0, len(places), 3):
            number, start, end = places[place : place + 3]
            where = f"{self.path}, record {number + 1}"
            self._file.seek(start)
            try:
                record = json.loads(self._file.read(end - start))
            except UnicodeDecodeError as error:
                raise RunError(f"{where} is not UTF-8 text: {error.reason}.") from error
            except ValueError as error:
                raise RunError(f"{where} changed while it was read: {error}.") from error
            if not isinstance(record, dict):
                raise RunError(f"{where} changed while it was read.")
            yield where, record


def _scan(
    path: Path, progress: Callable[[int], object] | None
) -> Iterator[tuple[int, int, Record]]:
    """(first byte, byte behind the last, record) of each object of a list.

    Bytes are read as Latin-1, so that a character is a byte; JSON's own signs are the same in it.
    """
    decode = json.JSONDecoder().raw_decode
    try:
        with path.open("rb") as file:
            text = _Text(file, progress)
            if text.skip(_BLANK) != "[":
                raise _malformed(path, text.place, "a list of objects must begin with '['")
            text.at += 1
            sign = text.skip(_BLANK)
            while sign != "]":
                if sign != "{":
                    raise _malformed(path, text.place, "expected an object")
                record = _record(path, text, decode)
                yield record
                sign = text.skip(_BLANK)
                if sign == ",":
                    text.at += 1
                    sign = text.skip(_BLANK)
                    if sign == "]":
                        raise _malformed(path, text.place, "expected an object behind the comma")
                elif sign != "]":
                    raise _malformed(path, text.place, "expected ',' or ']'")
            text.at += 1
            if text.skip(_BLANK):
                raise _malformed(path, text.place, "something stands behind the list")
    except OSError as error:
        raise RunError(
            f"the predictions {path} cannot be read: {error.strerror or error}."
        ) from error


def _record(
    path: Path, text: _Text, decode: Callable[[str, int], tuple[Any, int]]
) -> tuple[int, int, Record]:
    while True:
        start = text.place
        try:
            record, end = decode(text.buffer, text.at)
        except json.JSONDecodeError as error:
            cut = error.pos > len(text.buffer) - _MARGIN or error.msg.startswith("Unterminated")
            if not cut or not text.more():
                place = text.base + error.pos
                raise _malformed(path, place, error.msg) from error
        except (RecursionError, ValueError) as error:
            raise _malformed(path, start, _NOT_READ[type(error)]) from error
        else:
            text.at = end
            return start, text.place, record


class _Text:
    """A window on a file: ``buffer`` begins at byte ``base``, ``at`` is the place in it."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], object] | None) -> None:
        self.file, self.progress = file, progress
        self.buffer, self.base, self.at = "", 0, 0

    @property
    def place(self) -> int:
        """The byte of the file that ``at`` means."""
        return self.base + self.at

    def more(self) -> bool:
        """Read on: as much again as is left, so that a long record is not parsed too often."""
        self.buffer, self.base, self.at = self.buffer[self.at :], self.place, 0
        data = self.file.read(max(_CHUNK, len(self.buffer)))
        self.buffer += data.decode("latin-1")
        if self.progress is not None:
            self.progress(len(data))
        return bool(data)

    def skip(self, signs: str) -> str:
        """Go past ``signs``; the next one, or "" at the file's end."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in signs:
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""


def _malformed(path: Path, place: int, what: str) -> RunError:
    with path.open("rb") as file:
        before = file.read(place)
    line = before.count(b"\n") + 1
    column = place - (before.rfind(b"\n") + 1) + 1
    return RunError(
        f"the predictions {path} are no JSON list of objects: {what} at line {line}, column "
        f"{column}. The file may be cut off, or be the truth; write or fetch it again."
    )
