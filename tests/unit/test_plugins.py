from __future__ import annotations

import importlib
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from t4spp.errors import ConfigError, PluginError
from t4spp.plugins import HOOKS, KINDS, Catalogue, load_catalogue

HEADER = """
from pydantic import BaseModel, ConfigDict
from t4spp.components import Component
from t4spp.hookspecs import hookimpl

class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    grid: int = 16
    mode: str = "plain"

def build(params):
    return ("built", params.grid, params.mode)

def component(name, requires=()):
    return Component(name=name, config=Params, build=build, summary="s", requires=requires)
"""


def plugin_file(folder: Path, body: str, name: str = "extra") -> Path:
    path = folder / f"{name}.py"
    path.write_text(HEADER + dedent(body))
    return path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs a distribution with one entry point, as pip would."""

    def installed(distribution: str, body: str, *, plugin: str = "extra") -> None:
        site = tmp_path / f"site-{distribution}"
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        module = f"{distribution.replace('-', '_')}_plugin"
        (site / f"{module}.py").write_text(HEADER + dedent(body))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2")
        (info / "entry_points.txt").write_text(f"[t4spp]\n{plugin} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module, raising=False)

    return installed


OFFERS_PLUS = """
    @hookimpl
    def t4spp_schemes():
        return [component("plus")]
"""


def test_each_kind_has_one_hook() -> None:
    assert KINDS == ("scheme", "backbone", "refiner", "recipe", "tracker")
    assert list(HOOKS.values()) == [
        "t4spp_schemes",
        "t4spp_backbones",
        "t4spp_refiners",
        "t4spp_recipes",
        "t4spp_trackers",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_hook_fills_the_catalogue_under_its_kind(kind: str, tmp_path: Path) -> None:
    file = plugin_file(
        tmp_path,
        f"""
        @hookimpl
        def {HOOKS[kind]}():
            return [component("plus")]
        """,
    )
    catalogue = load_catalogue([file])
    assert catalogue.build(kind, "plus", {"grid": 8}) == ("built", 8, "plain")
    assert catalogue.components[kind]["plus"].distribution == str(file)


def test_the_core_schemes_come_through_the_same_hook() -> None:
    catalogue = load_catalogue()
    assert {"image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick"} <= set(
        catalogue.names("scheme")
    )
    assert catalogue.broken == ()


def test_installed_plugin_is_found_with_its_distribution_and_version(install: Any) -> None:
    install("t4spp-plus", OFFERS_PLUS)
    entry = load_catalogue().components["scheme"]["plus"]
    assert (entry.distribution, entry.version, entry.plugin) == ("t4spp-plus", "1.2", "extra")


def test_two_plugins_with_one_name_are_an_error_that_names_both(install: Any) -> None:
    install("t4spp-plus", OFFERS_PLUS)
    install("other-plus", OFFERS_PLUS)
    with pytest.raises(PluginError, match=r"scheme 'plus': other-plus .* and t4spp-plus"):
        load_catalogue()


def test_one_plugin_may_not_offer_a_name_twice(tmp_path: Path) -> None:
    file = plugin_file(
        tmp_path,
        """
        @hookimpl
        def t4spp_schemes():
            return [component("plus"), component("plus")]
        """,
    )
    with pytest.raises(PluginError, match=r"two plugins offer the scheme 'plus'"):
        load_catalogue([file])


def test_one_name_may_serve_two_kinds(tmp_path: Path) -> None:
    file = plugin_file(
        tmp_path,
        """
        @hookimpl
        def t4spp_schemes():
            return [component("plus")]

        @hookimpl
        def t4spp_recipes():
            return [component("plus")]
        """,
    )
    catalogue = load_catalogue([file])
    assert "plus" in catalogue.names("scheme")
    assert "plus" in catalogue.names("recipe")


def test_misspelt_hook_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "@hookimpl\ndef t4spp_scheme():\n    return []\n")
    with pytest.raises(PluginError, match=r"'t4spp_scheme' is no hook.*Did you mean 't4spp_scheme"):
        load_catalogue([file])


def test_marked_function_of_any_name_must_be_a_hook(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "@hookimpl\ndef schemes():\n    return []\n")
    with pytest.raises(PluginError, match=r"'schemes' is no hook"):
        load_catalogue([file])


def test_unmarked_misspelt_hook_is_an_error(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "def t4spp_recipe():\n    return []\n")
    with pytest.raises(PluginError, match=r"Did you mean 't4spp_recipes'"):
        load_catalogue([file])


def test_unmarked_hook_is_an_error_because_it_would_be_ignored(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "def t4spp_schemes():\n    return []\n")
    with pytest.raises(PluginError, match=r"not marked with @t4spp.hookspecs.hookimpl"):
        load_catalogue([file])


def test_hook_with_arguments_that_it_does_not_get_is_an_error(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "@hookimpl\ndef t4spp_schemes(config):\n    return []\n")
    with pytest.raises(PluginError, match=r"config"):
        load_catalogue([file])


def test_misspelt_hook_of_an_installed_plugin_says_how_to_go_on(install: Any) -> None:
    install("t4spp-plus", "@hookimpl\ndef t4spp_schemas():\n    return []\n")
    with pytest.raises(PluginError, match=r"of t4spp-plus.*T4SPP_PLUGINS"):
        load_catalogue()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import package_that_is_nowhere", "No module named 'package_that_is_nowhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        ("@hookimpl\ndef t4spp_schemes():\n    return 1 / 0\n", "ZeroDivisionError"),
        ("@hookimpl\ndef t4spp_schemes():\n    return ['plus']\n", "'plus'"),
        ("@hookimpl\ndef t4spp_schemes():\n    return None\n", "NoneType"),
    ],
)
def test_broken_plugin_is_listed_and_breaks_nothing_else(
    install: Any, body: str, reason: str
) -> None:
    install("t4spp-plus", body)
    catalogue = load_catalogue()
    assert [(plugin.name, plugin.distribution) for plugin in catalogue.broken] == [
        ("extra", "t4spp-plus")
    ]
    assert reason in catalogue.broken[0].reason
    assert "refshapes" in catalogue.names("recipe")


def test_missing_name_mentions_the_broken_plugins(install: Any) -> None:
    install("t4spp-plus", "import package_that_is_nowhere")
    with pytest.raises(PluginError, match=r"Broken plugins.*package_that_is_nowhere"):
        load_catalogue().get("scheme", "plus")


def test_environment_restricts_what_loads(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install("t4spp-plus", OFFERS_PLUS)
    monkeypatch.setenv("T4SPP_PLUGINS", "extra, recipes-synthetic")
    catalogue = load_catalogue()
    assert catalogue.names("scheme") == ["plus"]
    assert catalogue.names("recipe") == ["mask-shapes", "refshapes"]
    assert catalogue.names("backbone") == []


def test_environment_that_is_empty_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4SPP_PLUGINS", "")
    catalogue = load_catalogue()
    assert [catalogue.names(kind) for kind in KINDS] == [[], [], [], [], []]


def test_environment_that_names_no_plugin_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T4SPP_PLUGINS", "shemes")
    with pytest.raises(PluginError, match=r"'shemes', which is no installed.*'schemes'"):
        load_catalogue()


def test_only_may_name_a_distribution_too(install: Any) -> None:
    install("t4spp-plus", OFFERS_PLUS, plugin="schemes")
    assert load_catalogue(only=["t4spp-plus:schemes"]).names("scheme") == ["plus"]


def test_two_distributions_may_share_an_entry_point_name(install: Any) -> None:
    install("t4spp-plus", OFFERS_PLUS, plugin="schemes")
    assert {"plus", "next-brick"} <= set(load_catalogue(only=["schemes"]).names("scheme"))


def test_plugin_file_loads_on_request_only(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, OFFERS_PLUS)
    assert "plus" not in load_catalogue().names("scheme")
    assert "plus" in load_catalogue([file]).names("scheme")


@pytest.mark.parametrize("name", ["missing.py", "words.txt"])
def test_plugin_file_that_is_no_python_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(PluginError, match=name):
        load_catalogue([tmp_path / name])


def test_plugin_file_that_fails_is_an_error_because_it_was_asked_for(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "import package_that_is_nowhere")
    with pytest.raises(PluginError, match=r"extra\.py cannot be loaded: ModuleNotFoundError"):
        load_catalogue([file])


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    file = plugin_file(
        tmp_path,
        """
        @hookimpl
        def t4spp_schemes():
            return [component("plus"), component("heavy", requires=("package_that_is_nowhere",))]
        """,
    )
    return load_catalogue([file])


def test_unknown_name_offers_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(PluginError, match=r"unknown scheme 'pluss'; valid: .*Did you mean 'plus'"):
        catalogue.get("scheme", "pluss")


def test_unknown_kind_offers_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(PluginError, match=r"unknown kind 'schem'.*Did you mean 'scheme'"):
        catalogue.get("schem", "plus")


def test_wrong_parameters_are_all_named_with_path_value_and_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError) as raised:
        catalogue.build("scheme", "plus", {"grdi": 3, "mode": 7}, where="scheme.params")
    assert str(raised.value).splitlines() == [
        "scheme 'plus': scheme.params.mode: input should be a valid string, received 7",
        "scheme 'plus': scheme.params.grdi: unknown key (received 3); valid keys: grid, mode. "
        "Did you mean 'grid'?",
    ]


def test_text_is_no_number(catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError, match=r"grid: input should be a valid integer, received '8'"):
        catalogue.build("scheme", "plus", {"grid": "8"})


def test_missing_requirement_is_an_error_at_build_only(catalogue: Catalogue) -> None:
    assert catalogue.validate("scheme", "heavy", {"grid": 3}).model_dump()["grid"] == 3
    with pytest.raises(PluginError, match=r"needs package_that_is_nowhere.*pip install"):
        catalogue.build("scheme", "heavy", {})


WEIGHTS = """
    from t4spp.manifest import WeightsEntry, WeightsFile

    def entry(name):
        file = WeightsFile(name="a.bin", num_bytes=3, sha256="0" * 64)
        return WeightsEntry(name=name, summary="s", licence="MIT", files=(file,))

    @hookimpl
    def t4spp_weights():
        return {offered}
"""


def test_weights_come_through_their_hook_with_their_distribution(install: Any) -> None:
    install("weights-dist", WEIGHTS.format(offered="[entry('tiny')]"))
    offer = load_catalogue().weights["tiny"]
    assert (offer.distribution, offer.version) == ("weights-dist", "1.2")
    assert offer.entry.files[0].name == "a.bin"


def test_two_manifests_with_one_name_are_an_error_that_names_both(install: Any) -> None:
    install("weights-one", WEIGHTS.format(offered="[entry('tiny')]"))
    install("weights-two", WEIGHTS.format(offered="[entry('tiny')]"))
    with pytest.raises(PluginError, match=r"two plugins offer the weights 'tiny'") as caught:
        load_catalogue()
    assert "weights-one" in str(caught.value)
    assert "weights-two" in str(caught.value)


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("['tiny']", "expected t4spp.manifest.WeightsEntry"),
        ("entry('tiny')", "expected a list of WeightsEntry"),
        ("[entry('../tiny')]", "not a plain name"),
    ],
)
def test_manifest_that_is_none_is_an_error(tmp_path: Path, offered: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        load_catalogue([plugin_file(tmp_path, WEIGHTS.format(offered=offered))])
