from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.errors import ConfigError
from t4spp.yaml12 import dump_yaml, parse_yaml

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abno1.~:- "), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("12", 12),
        ("+12", 12),
        ("-3", -3),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("9" * 5000, "9" * 5000),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1e-4", 1e-4),
        ("1.", 1.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("'12'", "12"),
        ('"no"', "no"),
        ("[1, no, {a: 2}]", [1, "no", {"a": 2}]),
        ("|\n  two\n  lines\n", "two\nlines\n"),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(text, "x")
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object:os.system x", "line 1, column 4: the tag"),
        ("a: !!str 3", "the tag"),
        ("a: !mine {b: 1}", "the tag !mine"),
        ("a: !!set {b}", "the tag"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands twice"),
        ("a: {b: 1, b: 1}", "the key 'b' stands twice"),
        ("a: &x 1\nb: *x", "the anchor &x"),
        ("1: 2", "the key 1 is not text"),
        ("no: 1\n? [a]\n: 2", "is not text"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("%YAML 1.1\n---\na: no", "only YAML 1.2"),
        ("a: [1, 2", "line 1"),
        ("a: b: c", "line 1"),
        ("a:\n\tb: c", "line 2"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_not_plain_yaml_is_an_error_that_names_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_yaml(text, "file.yaml")
    assert str(raised.value).startswith("file.yaml: ")
    assert message in str(raised.value)


@given(PLAIN)
def test_what_is_dumped_is_read_back_equal(value: Any) -> None:
    assert parse_yaml(dump_yaml(value), "x") == value


@given(st.text())
def test_any_text_parses_or_is_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "x")
    except ConfigError as error:
        assert str(error).startswith("x: ")
