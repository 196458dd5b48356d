from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t4spp.errors import RecipeError
from t4spp_recipes.natural.referring import safe_pickle
from t4spp_recipes.natural.referring.safe_pickle import read_plain_pickle


@pytest.fixture
def read(tmp_path: Path):
    def make(data: bytes) -> Any:
        path = tmp_path / "refs(unc).p"
        path.write_bytes(data)
        return read_plain_pickle(path)

    return make


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_plain_data_of_every_protocol_are_read_as_they_were_written(
    tmp_path_factory, value, protocol
):
    path = tmp_path_factory.mktemp("pickles") / "x.p"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path) == value


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_with_a_recipe_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("pickles") / "x.p"
    path.write_bytes(data)
    try:
        read_plain_pickle(path)
    except RecipeError as error:
        assert str(path) in str(error)


def test_values_shared_by_the_memo_are_read(read):
    shared = ["dog"]
    assert read(pickle.dumps([shared, shared], protocol=2)) == [["dog"], ["dog"]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # As Python 2's cPickle writes [{'sent': 'dog', 'ref_id': 1L, 'ok': True}].
        (b"(lp1\n(dp2\nS'sent'\np3\nS'dog'\np4\nsS'ref_id'\np5\nL1L\nsS'ok'\np6\nI01\nsa.",
         [{"sent": "dog", "ref_id": 1, "ok": True}]),
        (b"S'it\\'s \\x41\\n'\n.", "it's A\n"),
        (b'S"caf\\xc3\\xa9"\n.', "café"),
        (b"S'caf\\xe9'\n.", "café"),
        (b"Vcaf\\u00e9\n.", "café"),
        (b"\x80\x02]q\x01(U\x03dogq\x02h\x02e.", ["dog", "dog"]),
        (b"\x80\x02U\x04caf\xe9.", "café"),
        (b"T\x03\x00\x00\x00dog.", "dog"),
        (b"F1.5\n.", 1.5),
        (b"I-12\n.", -12),
        (b"(I1\nI2\nt.", (1, 2)),
        (b"\x80\x02}q\x00(K\x01K\x02u.", {1: 2}),
    ],
)  # fmt: skip
def test_python_2_pickles_are_read_with_their_byte_strings_as_texts(read, data, expected):
    assert read(data) == expected


class _Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


class _Plain:
    """An object with a state."""


HOSTILE = {
    "os.system": lambda p, flag: pickle.dumps([_Calls(os.system, f"echo > {flag}")], protocol=p),
    "builtins.eval": lambda p, flag: pickle.dumps(
        _Calls(eval, f"open({str(flag)!r}, 'w').close()"), protocol=p
    ),
    "builtins.exec": lambda p, flag: pickle.dumps(
        {"refs": _Calls(exec, f"open({str(flag)!r}, 'w').close()")}, protocol=p
    ),
    "subprocess": lambda p, flag: pickle.dumps(
        _Calls(subprocess.Popen, ["touch", str(flag)]), protocol=p
    ),
    "numpy array": lambda p, flag: pickle.dumps(np.arange(3), protocol=p),
    "numpy scalar": lambda p, flag: pickle.dumps([np.int64(3)], protocol=p),
    "object with a state": lambda p, flag: pickle.dumps(_Plain(), protocol=p),
    "a class by name": lambda p, flag: pickle.dumps(os.system, protocol=p),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_would_call_or_import_is_refused_and_runs_nothing(
    read, tmp_path, name, protocol
):
    flag = tmp_path / "it ran"
    data = HOSTILE[name](protocol, flag)
    with pytest.raises(RecipeError, match="is refused, nothing in it was run"):
        read(data)
    assert not flag.exists()


def test_the_hostile_pickles_of_these_tests_do_run_when_unpickled(tmp_path):
    # Otherwise the test above could not fail.
    flag = tmp_path / "it ran"
    pickle.loads(HOSTILE["builtins.eval"](2, flag))
    assert flag.exists()


@pytest.mark.parametrize(
    ("data", "opcode"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL"),
        (b"(ios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'true'\no.", "GLOBAL"),
        (b"\x8c\x02os\x8c\x06system\x93.", "STACK_GLOBAL"),
        (b"S'x'\n)R.", "REDUCE"),
        (b"]}b.", "BUILD"),
        (b"S'x'\n)\x81.", "NEWOBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"P1\n.", "PERSID"),
        (b"K\x01Q.", "BINPERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"\xff.", "0xff"),
    ],
)
def test_each_opcode_that_does_more_than_build_data_is_refused_by_name(read, data, opcode):
    with pytest.raises(RecipeError, match=f"holds the opcode {opcode}"):
        read(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        # Each of these asks for gigabytes in a few bytes.
        (b"\x8d" + struct.pack("<Q", 2**62) + b"x.", "claims 4611686018427387904 bytes"),
        (b"X" + struct.pack("<I", 2**32 - 1) + b"x.", "claims 4294967295 bytes"),
        (b"\x8e" + struct.pack("<Q", 2**40) + b".", "claims 1099511627776 bytes"),
        (b"T" + struct.pack("<I", 2**32 - 1) + b".", "claims 4294967295 bytes"),
        (b"\x8b" + struct.pack("<I", 2**31) + b".", "a number has 2147483648 bytes"),
        (b"L" + b"9" * 100_000 + b"L\n.", "is not a whole number"),
        (b"I" + b"9" * 100_000 + b"\n.", "is not a whole number"),
        (b"\x95" + struct.pack("<Q", 2**50) + b".", "a frame claims"),
    ],
)
def test_a_claim_of_more_bytes_than_the_file_has_is_refused_at_once(read, data, reason):
    with pytest.raises(RecipeError, match=reason):
        read(data)


def test_a_memo_number_of_four_billion_allocates_nothing(read):
    # CPython's own unpickler would lay out a table of that many entries.
    assert read(b"K\x07r" + struct.pack("<I", 2**32 - 1) + b".") == 7
    assert read(b"K\x07p99999999999999999999\n.") == 7


def test_lists_shared_in_powers_of_two_are_refused(read):
    # Thirty small lists stand for two thousand million values.
    nested: Any = []
    for _ in range(30):
        nested = [nested, nested]
    with pytest.raises(RecipeError, match="values where shared ones count again"):
        read(pickle.dumps(nested, protocol=2))


def test_a_list_that_contains_itself_is_refused(read):
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RecipeError, match="or contain themselves"):
        read(pickle.dumps(loop, protocol=2))


def test_deep_nesting_is_refused_without_a_recursion_error(read):
    with pytest.raises(RecipeError, match="nested more than 32 deep"):
        read(b")" + b"\x85" * 200_000 + b".")
    with pytest.raises(RecipeError, match="stack instead of one"):
        read(b"]" * 100_000 + b".")


def test_more_values_than_a_dataset_can_hold_are_refused(read, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_VALUES", 1000)
    with pytest.raises(RecipeError, match="holds more than 1000 values"):
        read(pickle.dumps(list(range(2000)), protocol=2))
    with pytest.raises(RecipeError, match="sets more than 1000 marks"):
        read(b"(" * 2000 + b".")
    with pytest.raises(RecipeError, match="keeps more than 1000 values"):
        read(b"N" + b"\x94" * 2000 + b".")
    with pytest.raises(RecipeError, match="keeps more than 1000 values"):
        read(b"N" + b"".join(b"p%d\n" % number for number in range(2000)) + b".")


MERSENNE = 2**61 - 1  # Python's hash of a whole number is its rest by this


@pytest.mark.parametrize(
    "data",
    [
        # 40,000 keys of one hash each; with no bound on them these take minutes.
        b"}(" + b"".join(b"L%dL\nN" % (k * MERSENNE) for k in range(1, 40_000)) + b"u.",
        b"}(" + b"".join(b"I%d\nN" % (k * MERSENNE) for k in range(1, 40_000)) + b"u.",
        b"}("
        + b"".join(
            b"\x8a\x0a" + (k * MERSENNE).to_bytes(10, "little") + b"N" for k in range(40_000)
        )
        + b"u.",
        b"N" + b"".join(b"p%d\n" % (k * MERSENNE) for k in range(1, 40_000)) + b".",
    ],
    ids=["keys-L", "keys-I", "keys-LONG1", "memo"],
)
def test_numbers_whose_hashes_were_made_equal_are_refused(read, data):
    with pytest.raises(RecipeError, match="more than 1000 numbers beyond 64 bits"):
        read(data)


def test_a_long_text_shared_many_times_is_refused(read):
    # 200 times a megabyte, in one megabyte.
    with pytest.raises(RecipeError, match="more than 134217728 characters, shared ones counted"):
        read(pickle.dumps(["x" * 2**20] * 200, protocol=2))
    with pytest.raises(RecipeError, match="more than 134217728 characters"):
        read(pickle.dumps([{"x" * 2**20: number} for number in range(200)], protocol=2))


def test_a_file_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 10)
    path = tmp_path / "x.p"
    path.write_bytes(b"N" * 11)
    with pytest.raises(RecipeError, match="has 11 bytes, more than the 10"):
        read_plain_pickle(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends before its STOP"),
        (b"N", "ends before its STOP"),
        (b".", "ends with 0 values"),
        (b"NN.", "ends with 2 values"),
        (b"(N.", "ends with 1 values"),
        (b"a.", "empty stack"),
        (b"(a.", "empty stack"),
        (b"K\x01(K\x02s.", "empty stack"),
        (b"e.", "mark that is not there"),
        (b"g5\n.", "recalls the value 5"),
        (b"K\x01K\x02a.", "appends to a int"),
        (b"]K\x01K\x02s.", "sets a key of a list"),
        (b"}(K\x01u.", "a key without a value"),
        (b"}]K\x02s.", "a list as its key"),
        (b"Sdog\n.", "not a text in quotes"),
        (b"S'\\x4'\n.", "broken escape"),
        (b"\x80\x09N.", "protocol 9"),
        (b"Ix\n.", "is not a whole number"),
        (b"Fx\n.", "is not a number"),
        (b"X\x01\x00\x00\x00\xff.", "is not UTF-8"),
    ],
)
def test_damage_is_refused_with_its_reason(read, data, reason):
    with pytest.raises(RecipeError, match=reason):
        read(data)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"refs\(unc\)\.p cannot be read: No such file"):
        read_plain_pickle(tmp_path / "refs(unc).p")


def test_reading_imports_no_pickle_module():
    code = (
        "import sys; sys.modules['pickle'] = None; sys.modules['_pickle'] = None\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('safe', {safe_pickle.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print(module._Reader(b'(lp0\\nI7\\na.').run())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[7]", done.stderr
