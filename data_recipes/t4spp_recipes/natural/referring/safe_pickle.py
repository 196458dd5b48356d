"""Reads pickles of plain data without the pickle module: there is nothing here that could run.

RefCOCO's ``refs(unc).p`` are pickles, and unpickling by Python's own module can call anything. This
reader knows the opcodes that build ``None``, booleans, numbers, texts, lists, tuples and
dictionaries (protocols 0 to 5, as Python 2 and 3 write them) and refuses every other: it cannot
import, call or rebuild an object, and its memory is bounded by the file's length. Opcodes:
CPython's ``Lib/pickletools.py`` describes them.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from t4spp.errors import RecipeError

MAX_BYTES = 256 * 2**20
"""Files beyond this are refused; the largest of the datasets has about 50 MiB."""
MAX_VALUES = 12_000_000
"""Values that a file may hold, shared ones counted wherever they stand."""
MAX_CHARS = 2**27
"""Characters of its texts, shared ones counted wherever they stand; the datasets need 40 million
at the most."""
MAX_DEPTH = 32
"""Containers within containers; the datasets need five."""
MAX_LARGE_NUMBERS = 1000
"""Whole numbers beyond 64 bits; the datasets have none. Python's hashes of such numbers can be made
equal, so that a dictionary or set of many takes a time that grows with their square."""
MAX_NUMBER_CHARS = 40
"""Digits of a number; Python's time to read one grows with their square."""

_REFUSED = {
    ord("c"): "GLOBAL, which imports an object by name",
    0x93: "STACK_GLOBAL, which imports an object by name",
    ord("R"): "REDUCE, which calls a function",
    ord("b"): "BUILD, which sets an object's state",
    ord("i"): "INST, which makes an object of a class",
    ord("o"): "OBJ, which makes an object of a class",
    0x81: "NEWOBJ, which makes an object of a class",
    0x92: "NEWOBJ_EX, which makes an object of a class",
    0x82: "EXT1, which imports a registered object",
    0x83: "EXT2, which imports a registered object",
    0x84: "EXT4, which imports a registered object",
    ord("P"): "PERSID, which asks the program for an object",
    ord("Q"): "BINPERSID, which asks the program for an object",
    0x96: "BYTEARRAY8, a byte array",
    0x97: "NEXT_BUFFER, data from outside the file",
    0x98: "READONLY_BUFFER, data from outside the file",
    0x8F: "EMPTY_SET, a set",
    0x90: "ADDITEMS, a set",
    0x91: "FROZENSET, a set",
}


class _Refused(Exception):
    """The file asks for more than plain data, or is damaged; ``str`` says what."""


_Value = Any


class _Reader:
    """One pass over the bytes of a pickle, with a stack and a memo of its own."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[_Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Value] = {}
        self.num_values = 0
        self.num_large = 0
        self.actions = self._actions()

    def run(self) -> _Value:
        """The one value that the pickle holds."""
        data, actions, stack, memo = self.data, self.actions, self.stack, self.memo
        stop, put, most = ord("."), ord("p"), MAX_VALUES
        size = len(data)
        while True:
            if self.at >= size:
                raise _Refused("it ends before its STOP; the file is truncated")
            code = data[self.at]
            self.at += 1
            below = self.marks[-1] if self.marks else 0
            if code == put and len(stack) > below and len(memo) < most:
                memo[self.decimal()] = stack[-1]  # every other opcode of a protocol 0 file
                continue
            action = actions.get(code)
            if action is not None:
                action()
            elif code == stop:
                break
            else:
                reason = _REFUSED.get(code, f"0x{code:02x}, which is no opcode of a pickle")
                raise _Refused(f"it holds the opcode {reason}")
        if len(self.stack) != 1 or self.marks:
            raise _Refused(f"it ends with {len(self.stack)} values on its stack instead of one")
        return self.stack[0]

    # Reading bytes

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes; never allocates more than the file has."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise _Refused(f"a value claims {size} bytes, {len(self.data) - self.at} are left")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, layout: str, size: int) -> Any:
        """A number of ``struct``'s layout."""
        return struct.unpack(layout, self.take(size))[0]

    def line(self) -> bytes:
        """Up to the next line break, which is skipped."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise _Refused("a value has no end; the file is truncated")
        part = self.data[self.at : end]
        self.at = end + 1
        return part

    def decimal(self) -> int:
        """A whole number in decimal digits, as a line."""
        at = self.at
        end = self.data.find(b"\n", at)
        if 0 <= end - at <= MAX_NUMBER_CHARS:
            self.at = end + 1
            try:
                return self.bounded(int(self.data[at:end]))
            except ValueError:
                pass
        raise _Refused(f"{self.data[at : at + MAX_NUMBER_CHARS]!r} is not a whole number")

    def bounded(self, value: int) -> int:
        """A whole number; those beyond 64 bits are counted, and few may be."""
        if not -(2**63) <= value < 2**63:
            self.num_large += 1
            if self.num_large > MAX_LARGE_NUMBERS:
                raise _Refused(f"it holds more than {MAX_LARGE_NUMBERS} numbers beyond 64 bits")
        return value

    # Stack and memo

    def push(self, value: _Value) -> None:
        """Put a new value on the stack."""
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise _Refused(f"it holds more than {MAX_VALUES} values")
        self.stack.append(value)

    def pop(self) -> _Value:
        """Take the topmost value."""
        self.top()
        return self.stack.pop()

    def top(self) -> _Value:
        """The topmost value, which stays; never one from below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Refused("it uses a value of an empty stack")
        return self.stack[-1]

    def mark(self) -> None:
        """Remember the stack's height."""
        if len(self.marks) >= MAX_VALUES:
            raise _Refused(f"it sets more than {MAX_VALUES} marks")
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[_Value]:
        """Take what lies above the last mark, and the mark."""
        if not self.marks:
            raise _Refused("it uses a mark that is not there")
        position = self.marks.pop()
        values = self.stack[position:]
        del self.stack[position:]
        return values

    def remember(self, key: int) -> None:
        """Keep the topmost value under a number, in a dictionary: a large one costs nothing."""
        if len(self.memo) >= MAX_VALUES:
            raise _Refused(f"it keeps more than {MAX_VALUES} values")
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        """Push a value that was kept."""
        if key not in self.memo:
            raise _Refused(f"it recalls the value {key}, which it never kept")
        self.push(self.memo[key])

    # Texts and numbers

    def quoted(self) -> None:
        """A Python 2 ``str`` as source text."""
        part = self.line().strip()
        if len(part) < 2 or part[:1] not in (b"'", b'"') or part[-1:] != part[:1]:
            raise _Refused(f"{part[:40]!r} is not a text in quotes")
        body = part[1:-1]
        if b"\\" in body:
            try:
                body = codecs.escape_decode(body)[0]
            except ValueError as error:
                raise _Refused(f"a text has a broken escape: {error}") from None
        self.push(_text(body))

    def unicode_line(self) -> None:
        """A text with escapes of code points."""
        part = self.line()
        try:
            self.push(part.decode("raw-unicode-escape"))
        except UnicodeDecodeError as error:
            raise _Refused(f"a text has a broken escape: {error.reason}") from None

    def utf8(self, size: int) -> None:
        """A text of ``size`` bytes; Python writes lone surrogates, too."""
        try:
            self.push(self.take(size).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise _Refused(f"a text is not UTF-8: {error.reason}") from None

    def whole(self) -> None:
        """A line: a whole number, or protocol 1's booleans."""
        if self.data[self.at : self.at + 3] in (b"00\n", b"01\n"):
            self.push(self.line() == b"01")
            return
        self.push(self.decimal())

    def long_line(self) -> None:
        """A line: Python 2's long, with or without its L."""
        end = self.data.find(b"\n", self.at)
        if end > self.at and self.data[end - 1 : end] == b"L":
            part = self.take(end - 1 - self.at)
            self.at = end + 1
            try:
                self.push(self.bounded(int(part if len(part) <= MAX_NUMBER_CHARS else b"too long")))
            except ValueError:
                raise _Refused(f"{part[:MAX_NUMBER_CHARS]!r} is not a whole number") from None
            return
        self.push(self.decimal())

    def long_bytes(self, size: int) -> None:
        """A whole number in two's complement, little-endian."""
        if size > MAX_NUMBER_CHARS:
            raise _Refused(f"a number has {size} bytes")
        self.push(self.bounded(int.from_bytes(self.take(size), "little", signed=True)))

    def float_line(self) -> None:
        """A line: a floating-point number."""
        part = self.line()
        try:
            self.push(float(part))
        except ValueError:
            raise _Refused(f"{part[:40]!r} is not a number") from None

    # Containers

    def append(self, values: list[_Value]) -> None:
        """Append to the list on top of the stack."""
        target = self.top()
        if type(target) is not list:
            raise _Refused(f"it appends to a {type(target).__name__}")
        target.extend(values)

    def set_items(self, values: list[_Value]) -> None:
        """Set keys of the dictionary on top of the stack."""
        target = self.top()
        if type(target) is not dict:
            raise _Refused(f"it sets a key of a {type(target).__name__}")
        if len(values) % 2:
            raise _Refused("a dictionary has a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if key is not None and type(key) not in (str, int, float, bool):
                raise _Refused(f"a dictionary has a {type(key).__name__} as its key")
            target[key] = value

    def set_one(self) -> None:
        """Key and value, from the stack."""
        value = self.pop()
        key = self.pop()
        target = self.top()
        if type(target) is dict and type(key) is str:
            target[key] = value
        else:
            self.set_items([key, value])

    def append_one(self) -> None:
        """One value, from the stack."""
        value = self.pop()
        target = self.top()
        if type(target) is list:
            target.append(value)
        else:
            self.append([value])

    def new_dict(self) -> None:
        """A dictionary of what lies above the mark."""
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def new_tuple(self, size: int) -> None:
        """A tuple of the topmost values."""
        values = [self.pop() for _ in range(size)]
        self.push(tuple(reversed(values)))

    def append_many(self) -> None:
        """What lies above the mark, to the list below it."""
        self.append(self.since_mark())

    def set_many(self) -> None:
        """What lies above the mark, to the dictionary below it."""
        self.set_items(self.since_mark())

    def protocol(self) -> None:
        """The first opcode since protocol 2."""
        number = self.number("<B", 1)
        if number > 5:
            raise _Refused(f"it is of protocol {number}; 0 to 5 are known")

    def frame(self) -> None:
        """A frame's length; frames only help to read ahead."""
        size = self.number("<Q", 8)
        if size > len(self.data) - self.at:
            raise _Refused(f"a frame claims {size} bytes, {len(self.data) - self.at} are left")

    def _actions(self) -> dict[int, Callable[[], None]]:
        push, number = self.push, self.number
        named: dict[str | int, Callable[[], Any]] = {
            "(": self.mark,
            "0": self.discard,
            "1": self.since_mark,
            "2": lambda: push(self.top()),
            "N": lambda: push(None),
            0x88: lambda: push(True),
            0x89: lambda: push(False),
            "I": self.whole,
            "J": lambda: push(number("<i", 4)),
            "K": lambda: push(number("<B", 1)),
            "M": lambda: push(number("<H", 2)),
            "L": self.long_line,
            0x8A: lambda: self.long_bytes(number("<B", 1)),
            0x8B: lambda: self.long_bytes(number("<I", 4)),
            "F": self.float_line,
            "G": lambda: push(number(">d", 8)),
            "S": self.quoted,
            "T": lambda: push(_text(self.take(number("<I", 4)))),
            "U": lambda: push(_text(self.take(number("<B", 1)))),
            "B": lambda: push(_text(self.take(number("<I", 4)))),
            "C": lambda: push(_text(self.take(number("<B", 1)))),
            0x8E: lambda: push(_text(self.take(number("<Q", 8)))),
            "V": self.unicode_line,
            "X": lambda: self.utf8(number("<I", 4)),
            0x8C: lambda: self.utf8(number("<B", 1)),
            0x8D: lambda: self.utf8(number("<Q", 8)),
            "]": lambda: push([]),
            "l": lambda: push(self.since_mark()),
            "a": self.append_one,
            "e": self.append_many,
            ")": lambda: push(()),
            "t": lambda: push(tuple(self.since_mark())),
            0x85: lambda: self.new_tuple(1),
            0x86: lambda: self.new_tuple(2),
            0x87: lambda: self.new_tuple(3),
            "}": lambda: push({}),
            "d": self.new_dict,
            "s": self.set_one,
            "u": self.set_many,
            "p": lambda: self.remember(self.decimal()),
            "q": lambda: self.remember(number("<B", 1)),
            "r": lambda: self.remember(number("<I", 4)),
            0x94: lambda: self.remember(len(self.memo)),
            "g": lambda: self.recall(self.decimal()),
            "h": lambda: self.recall(number("<B", 1)),
            "j": lambda: self.recall(number("<I", 4)),
            0x80: self.protocol,
            0x95: self.frame,
        }
        return {ord(key) if isinstance(key, str) else key: act for key, act in named.items()}

    def discard(self) -> None:
        """Drop the topmost value, or a mark that stands there."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()


def _text(part: bytes) -> str:
    """Python 2's ``str``: UTF-8 where it is that, else Latin-1, which every byte string is."""
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError:
        return part.decode("latin-1")


def _check_extent(value: _Value) -> None:
    """Refuse what is small in the file but endless to walk: loops, and what many share."""
    num = num_chars = 0
    pending: list[tuple[_Value, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _Refused(
                f"its containers are nested more than {MAX_DEPTH} deep, or contain themselves"
            )
        parts = item.values() if type(item) is dict else item
        num += len(parts)
        if num > MAX_VALUES:
            raise _Refused(f"it holds more than {MAX_VALUES} values where shared ones count again")
        num_chars += sum(len(part) for part in parts if type(part) is str)
        if type(item) is dict:
            num_chars += sum(len(key) for key in item if type(key) is str)
        if num_chars > MAX_CHARS:
            raise _Refused(
                f"its texts have more than {MAX_CHARS} characters, shared ones counted "
                "wherever they stand"
            )
        pending += [
            (part, depth + 1) for part in parts if type(part) in (list, tuple, dict) and part
        ]


def read_plain_pickle(path: Path) -> _Value:
    """What a pickle of plain data holds: None, bool, int, float, str, list, tuple, dict.

    Args:
        path: the file. Python 2's byte strings become texts (UTF-8, else Latin-1), as do bytes.

    Raises:
        RecipeError: the file is missing, damaged, too large, or asks for anything but plain data:
            no function, class or module that it names is touched.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RecipeError(
                f"{path} has {size} bytes, more than the {MAX_BYTES} that a file of referring "
                "expressions can need. Is it the file that the dataset distributes?"
            )
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        value = _Reader(data).run()
        if type(value) in (list, tuple, dict):
            _check_extent(value)
    except _Refused as error:
        raise RecipeError(
            f"{path} is refused, nothing in it was run: {error}. The datasets' own files hold "
            "lists, dictionaries, numbers and texts only: this one is damaged or not theirs; "
            "fetch it again from where the dataset is distributed."
        ) from None
    return value
