"""The config of ``t4spp ceiling --frontier``: recipes, and schemes that vary in one parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from t4spp.config import ComponentConfig, ConfigModel
from t4spp.config_layers import Layers, read_layers
from t4spp.errors import ConfigError
from t4spp.plugins import Catalogue
from t4spp.validation import Fault, report_faults, validate

GRIDS = [8, 12, 16, 24, 32]
VERTICES = [8, 12, 16, 24, 32]


class LineConfig(ConfigModel):
    """A scheme, measured at several values of one parameter: a line of the plot."""

    name: str
    """As `t4spp plugins` lists it."""
    params: dict[str, Any] = Field(default_factory=dict)
    """What all points of the line share."""
    vary: dict[str, list[Any]] = Field(default_factory=dict, max_length=1)
    """One parameter and its values; without it, the line is one point."""

    @model_validator(mode="after")
    def _values(self) -> Self:
        for key, values in self.vary.items():
            if not values:
                raise ValueError(f"vary.{key} has no value")
            if key in self.params:
                raise ValueError(f"{key} is in params and in vary")
        return self

    def points(self) -> list[ComponentConfig]:
        """The schemes of the line, in order."""
        if not self.vary:
            return [ComponentConfig(name=self.name, params=self.params)]
        ((key, values),) = self.vary.items()
        return [
            ComponentConfig(name=self.name, params={**self.params, key: value}) for value in values
        ]


class MeasuredRecipeConfig(ComponentConfig):
    """A recipe, and which of its samples are measured."""

    split: str | None = None
    """A split of the recipe; without it, its first one."""
    limit: int | None = Field(default=None, ge=1)
    """The first samples of the split only."""
    min_share: float = Field(default=0.0, ge=0, lt=1)
    """Targets that cover less of their picture are left out; 0.01 is 1 %."""


DEFAULT_SCHEMES: Mapping[str, Mapping[str, Any]] = {
    "image-rrle": {"name": "image-rrle", "vary": {"grid": [8, 16, 32, 64]}},
    "semantic-brick": {"name": "semantic-brick", "vary": {"grid": [8, 16, 32]}},
    "next-brick": {"name": "next-brick", "vary": {"grid": GRIDS}},
    "span-brick": {"name": "span-brick", "vary": {"grid": GRIDS}},
    "vq-mask": {"name": "vq-mask", "vary": {"num_codes": [4, 8, 12, 16]}},
    "box-outline": {"name": "box-outline", "vary": {"worth": [0.02, 0.01, 0.005, 0.002, 0.001]}},
    "polygon": {"name": "polygon", "vary": {"max_vertices": VERTICES}},
    "polygon, 32 bins": {
        "name": "polygon",
        "params": {"bins": 32},
        "vary": {"max_vertices": VERTICES},
    },
    "polygon, 64 bins": {
        "name": "polygon",
        "params": {"bins": 64},
        "vary": {"max_vertices": VERTICES},
    },
}
"""What is measured where no schemes are named; the core's own."""


class FrontierConfig(ConfigModel):
    """What a frontier is measured over."""

    name: str = Field(default="frontier", min_length=1)
    """The title of its plot."""
    recipes: dict[str, MeasuredRecipeConfig] = Field(min_length=1)
    """A panel each, by title."""
    schemes: dict[str, LineConfig] = Field(
        default_factory=lambda: {key: dict(value) for key, value in DEFAULT_SCHEMES.items()},
        min_length=1,
        validate_default=True,
    )
    """A line each, by title."""


def load_frontier(
    path: str | Path, overrides: Sequence[str], catalogue: Catalogue
) -> FrontierConfig:
    """Read and check a frontier's config; ``extends`` and ``--set`` work as in a run's.

    Raises:
        ConfigError: naming every unknown key, wrong value and unknown component at once.
    """
    return resolve_frontier(read_layers(Path(path), overrides), catalogue)


def resolve_frontier(layers: Layers, catalogue: Catalogue) -> FrontierConfig:
    """Check merged layers; see :func:`load_frontier`."""
    config = validate(FrontierConfig, layers.data)
    if isinstance(config, list):
        raise ConfigError(report_faults([layers.locate(fault) for fault in config]))
    faults: list[Fault] = []
    for title, recipe in config.recipes.items():
        faults += _faults(catalogue, "recipe", ("recipes", title), recipe)
    for title, line in config.schemes.items():
        for point in line.points():
            faults += _faults(catalogue, "scheme", ("schemes", title), point)
    if faults:
        told = dict.fromkeys(layers.locate(fault) for fault in faults)
        raise ConfigError(report_faults(list(told)))
    return config


def _faults(
    catalogue: Catalogue, kind: str, where: tuple[str, str], component: ComponentConfig
) -> list[Fault]:
    if component.name not in catalogue.components.get(kind, {}):
        message = catalogue.unknown(kind, component.name)
        return [Fault(path=(*where, "name"), message=message)]
    model = catalogue.get(kind, component.name).config
    found = validate(model, component.params, (*where, "params"))
    return found if isinstance(found, list) else []
