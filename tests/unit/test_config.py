from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from t4spp.components import Component
from t4spp.config import (
    ComponentConfig,
    RunConfig,
    components_of,
    config_hash,
    dump_config,
    load_config,
)
from t4spp.errors import ConfigError
from t4spp.plugins import KINDS, Catalogue, Entry


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: int | tuple[int, int] = 16
    root: Path | None = None


class RequiredParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    needed: str


def _entry(name: str, model: type[BaseModel] = Params) -> Entry:
    component = Component(name=name, config=model, build=lambda params: params)
    return Entry(component=component, distribution="test", plugin="test")


@pytest.fixture
def catalogue() -> Catalogue:
    components = {kind: {name: _entry(name) for name in ("one", "two")} for kind in KINDS}
    components["refiner"]["none"] = _entry("none")
    components["scheme"]["strict"] = _entry("strict", RequiredParams)
    return Catalogue(components=components)


MINIMAL = """
name: small
scheme: {name: one}
backbone: {name: one}
data: {recipe: {name: one}}
"""


@pytest.fixture
def load(tmp_path: Path, catalogue: Catalogue) -> Callable[..., RunConfig]:
    def loaded(text: str = MINIMAL, *overrides: str, base: str | None = None) -> RunConfig:
        if base is not None:
            (tmp_path / "base.yaml").write_text(base)
        file = tmp_path / "run.yaml"
        file.write_text(text)
        return load_config(file, overrides, catalogue)

    return loaded


def errors_of(load: Callable[..., RunConfig], *args: str, **kwargs: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        load(*args, **kwargs)
    return str(raised.value)


def test_minimal_config_gets_the_papers_defaults(load: Callable[..., RunConfig]) -> None:
    config = load()
    assert config.refiner.name == "none"
    assert config.training.mode == "none"
    assert config.training.learning_rate == 2e-4
    assert config.training.betas == (0.9, 0.95)
    assert config.training.batch_size == 128
    assert (config.training.lora.rank, config.training.lora.alpha) == (64, 128)
    assert config.evaluation.bootstrap == 1000
    assert config.data.max_length == 2048


def test_defaults_of_component_parameters_are_written_out(load: Callable[..., RunConfig]) -> None:
    assert load().scheme.params == {"grid": 16, "root": None}


def test_config_is_frozen(load: Callable[..., RunConfig]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().name = "other"


def test_all_faults_are_reported_at_once(load: Callable[..., RunConfig], tmp_path: Path) -> None:
    text = """
name: small
scheme: {name: one, params: {grdi: 3}}
backbone: {name: thre}
data: {recipe: {name: two, params: {grid: x}}, train_splitt: no}
training: {mode: lor, steps: true, lora: {rnk: 3}}
tracking: {trackers: [{name: tow}, 3]}
"""
    file = tmp_path / "run.yaml"
    lines = errors_of(load, text, "training.learning_rate=-1").splitlines()
    assert lines[0] == "10 faults in the config:"
    assert sorted(lines[1:]) == sorted(
        [
            f"  - {file}: scheme.params.grdi: unknown key (received 3); valid keys: grid, root. "
            "Did you mean 'grid'?",
            f"  - {file}: backbone.name: unknown backbone 'thre'; valid: one, two.",
            f"  - {file}: data.recipe.params.grid: input should be a valid integer, received 'x'; "
            "or input should be a valid array, received 'x'",
            f"  - {file}: data.train_splitt: unknown key (received 'no'); valid keys: recipe, "
            "mixture, train_split, eval_split, max_train_samples, max_eval_samples, templates, "
            "max_length, companions, augment, prompting. Did you mean 'train_split'?",
            f"  - {file}: training.mode: expected 'lora', 'full' or 'none', received 'lor'. "
            "Did you mean 'lora'?",
            f"  - {file}: training.steps: input should be a valid integer, received True",
            f"  - {file}: training.lora.rnk: unknown key (received 3); valid keys: rank, alpha, "
            "dropout, targets. Did you mean 'rank'?",
            f"  - {file}: tracking.trackers.0.name: unknown tracker 'tow'; valid: one, two. "
            "Did you mean 'two'?",
            f"  - {file}: tracking.trackers.1: expected a mapping with keys name, params, "
            "received 3",
            "  - --set training.learning_rate=-1: training.learning_rate: input should be "
            "greater than 0, received -1",
        ]
    )


def test_candidates_that_cannot_disagree_are_refused(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, MINIMAL, "generation.candidates=8")
    assert "candidates is 8, but at temperature 0 all of them are one answer" in message
    warm = ("generation.temperature=0.7", "generation.candidates=2")
    message = errors_of(load, MINIMAL, *warm)
    assert "candidates is 2, and two answers agree with each other alike: take 1, or 3" in message
    assert load(MINIMAL, warm[0], "generation.candidates=3").generation.candidates == 3


def test_missing_sections_are_named(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, "name: small\nscheme: {}\n")
    for key in ("scheme.name", "backbone", "data"):
        assert f"{key}: required, and missing" in message


def test_parameter_that_a_component_requires_is_named(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, MINIMAL, "scheme.name=strict")
    assert message.endswith("scheme.params.needed: required, and missing")


def test_component_that_is_plain_text_is_an_error(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, MINIMAL, "scheme=two")
    assert "scheme: expected a mapping with keys name, params, received 'two'" in message


@pytest.mark.parametrize("text", ["", "- a\n", "words"])
def test_file_without_a_mapping_is_an_error(load: Callable[..., RunConfig], text: str) -> None:
    assert "expected a mapping at the top" in errors_of(load, text)


def test_missing_file_is_an_error(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_config(tmp_path / "nowhere.yaml", (), catalogue)


def test_word_no_stays_a_word(load: Callable[..., RunConfig]) -> None:
    assert load(MINIMAL, "data.train_split=no").data.train_split == "no"


def test_set_reaches_new_and_old_keys_and_the_last_one_wins(load: Callable[..., RunConfig]) -> None:
    sets = ("training.lora.rank=8", "scheme.params.grid=[24, 16]", "seed=1", "seed=2")
    config = load(MINIMAL, *sets)
    assert config.training.lora.rank == 8
    assert config.scheme.params["grid"] == [24, 16]
    assert config.seed == 2


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", ".a=3"])
def test_malformed_set_is_an_error(load: Callable[..., RunConfig], override: str) -> None:
    assert f"--set {override}: expected KEY.KEY=VALUE" in errors_of(load, MINIMAL, override)


def test_set_value_with_a_tag_is_an_error(load: Callable[..., RunConfig]) -> None:
    assert "the tag" in errors_of(load, MINIMAL, "seed=!!int 3")


def test_set_reaches_into_a_list_by_position(load: Callable[..., RunConfig]) -> None:
    text = MINIMAL + "tracking: {trackers: [{name: one}, {name: two}]}\n"
    config = load(text, "tracking.trackers.1.params.grid=3")
    assert [tracker.params["grid"] for tracker in config.tracking.trackers] == [16, 3]
    assert "'2' is no position" in errors_of(load, text, "tracking.trackers.2.name=one")


GRID_9 = MINIMAL.replace("scheme: {name: one}", "scheme: {name: one, params: {grid: 9}}")


def test_new_name_drops_inherited_parameters(load: Callable[..., RunConfig]) -> None:
    assert load(GRID_9, "scheme.name=two").scheme.params["grid"] == 16


@pytest.mark.parametrize(
    "overrides",
    [
        ("scheme.name=two", "scheme.params.grid=7"),
        ("scheme.params.grid=7", "scheme.name=two"),
    ],
)
def test_new_name_keeps_parameters_that_are_set_too(
    load: Callable[..., RunConfig], overrides: tuple[str, ...]
) -> None:
    config = load(GRID_9, *overrides)
    assert (config.scheme.name, config.scheme.params["grid"]) == ("two", 7)


def test_same_name_keeps_inherited_parameters(load: Callable[..., RunConfig]) -> None:
    assert load(GRID_9, "scheme.name=one").scheme.params["grid"] == 9


def test_extends_merges_mappings_and_replaces_lists(load: Callable[..., RunConfig]) -> None:
    config = load(
        "extends: base.yaml\nname: child\ntraining: {betas: [0.8, 0.9]}\n",
        base=GRID_9 + "training: {mode: lora, steps: 5, betas: [0.7, 0.7]}\n",
    )
    assert (config.name, config.scheme.params["grid"]) == ("child", 9)
    assert (config.training.steps, config.training.betas) == (5, (0.8, 0.9))


def test_extends_with_another_component_drops_the_bases_parameters(
    load: Callable[..., RunConfig],
) -> None:
    config = load("extends: base.yaml\nscheme: {name: two}\n", base=GRID_9)
    assert config.scheme.params["grid"] == 16


def test_fault_in_the_base_names_the_base(load: Callable[..., RunConfig], tmp_path: Path) -> None:
    message = errors_of(load, "extends: base.yaml\n", base=MINIMAL + "sed: 3\n")
    assert message.startswith(f"{tmp_path / 'base.yaml'}: sed: unknown key")


def test_extends_goes_one_level_only(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, "extends: base.yaml\n", base="extends: other.yaml\n")
    assert "one level is allowed" in message


@pytest.mark.parametrize("value", ["nowhere.yaml", "[base.yaml]", "3", "''"])
def test_extends_that_names_no_file_is_an_error(load: Callable[..., RunConfig], value: str) -> None:
    assert "extends: " in errors_of(load, f"extends: {value}\n")


def test_resolved_config_is_read_back_equal(
    load: Callable[..., RunConfig], tmp_path: Path, catalogue: Catalogue
) -> None:
    config = load(
        MINIMAL + "tracking: {trackers: [{name: one}]}\n",
        "data.train_split=no",
        "name='12'",
        "training={mode: full, steps: 3, init_from: runs/first, learning_rate: 1e-5}",
        "scheme.params={grid: [3, 4], root: some/folder}",
    )
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config))
    assert load_config(again, (), catalogue) == config
    assert "extends" not in again.read_text()


def test_hash_changes_with_any_value_and_with_nothing_else(load: Callable[..., RunConfig]) -> None:
    assert config_hash(load()) == config_hash(load("# a comment\n" + MINIMAL))
    assert config_hash(load()) != config_hash(load(MINIMAL, "seed=1"))
    assert len(config_hash(load())) == 16


def test_components_are_listed_with_their_key_paths(load: Callable[..., RunConfig]) -> None:
    config = load(MINIMAL + "tracking: {trackers: [{name: two}]}\n")
    assert [(kind, where, item.name) for kind, where, item in components_of(config)] == [
        ("scheme", "scheme", "one"),
        ("backbone", "backbone", "one"),
        ("refiner", "refiner", "none"),
        ("recipe", "data.recipe", "one"),
        ("tracker", "tracking.trackers.0", "two"),
    ]


def test_training_needs_steps(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, MINIMAL, "training.mode=lora")
    assert "training: mode lora needs steps of 1 or more" in message


def test_micro_batches_must_fill_the_batch(load: Callable[..., RunConfig]) -> None:
    message = errors_of(load, MINIMAL, "training.batch_size=8", "training.micro_batch_size=3")
    assert "batch_size 8 is no multiple of micro_batch_size 3" in message


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_numbers_must_be_finite(load: Callable[..., RunConfig], value: str) -> None:
    override = f"training.learning_rate={value}"
    assert "training.learning_rate: input should be" in errors_of(load, MINIMAL, override)


def test_component_config_can_be_made_in_python() -> None:
    assert ComponentConfig(name="one").params == {}
