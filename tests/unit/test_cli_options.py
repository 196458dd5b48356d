from __future__ import annotations

from typing import Any

import pytest

from t4spp.cli import build_parser
from t4spp.cli.options import parse_component, parse_params, parse_value
from t4spp.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("next-brick", "next-brick", {}),
        ("image-rrle:grid=16", "image-rrle", {"grid": 16}),
        ("a:grid=[24,16],upsample=nearest", "a", {"grid": [24, 16], "upsample": "nearest"}),
        ("a:root=C:/x=y", "a", {"root": "C:/x=y"}),
        ("a:label='x,y',small=true", "a", {"label": "x,y", "small": True}),
        ("a:none=null,word=no", "a", {"none": None, "word": "no"}),
    ],
)
def test_component_text_is_read(text: str, name: str, params: dict[str, Any]) -> None:
    component = parse_component(text, "--scheme")
    assert (component.name, component.params) == (name, params)


@pytest.mark.parametrize("text", ["", ":grid=3", "a:", "a:grid", "a:=3", "a:g=1,g=2", "a:g=!!x 1"])
def test_malformed_component_text_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_component(text, "--scheme")
    assert str(raised.value).startswith(f"--scheme {text}")


def test_params_are_yaml_values() -> None:
    assert parse_params(["annotations=a/b.json", "seed=3", "classes=[a, no]"], "--param") == {
        "annotations": "a/b.json",
        "seed": 3,
        "classes": ["a", "no"],
    }


@pytest.mark.parametrize(
    ("text", "value"), [("16", 16), ('"16"', "16"), ("1e-3", 1e-3), ("no", "no"), ("", None)]
)
def test_value_follows_yaml_1_2(text: str, value: object) -> None:
    assert parse_value(text, "--param") == value


def test_dotted_option_sets_a_value_of_the_config_as_sweeps_write_it() -> None:
    args = build_parser("run").parse_args(
        ["c.yaml", "--scheme.name=next-brick", "--set", "seed=3", "--a.b_c.0.d=[1, 2]"]
    )
    assert args.set == ["scheme.name=next-brick", "seed=3", "a.b_c.0.d=[1, 2]"]


def test_dotted_option_is_unknown_where_no_config_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        build_parser("report").parse_args(["runs/x", "--scheme.name=next-brick"])
    assert "unrecognized arguments: --scheme.name" in capsys.readouterr().err
