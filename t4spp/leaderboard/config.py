"""The config of ``t4spp leaderboard``: a run's config, and its schemes, budgets and seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from t4spp.config import ComponentConfig, ConfigModel, ProtocolName, RunConfig, resolve_config
from t4spp.config_layers import merge_layers, parse_override, read_layers
from t4spp.errors import ConfigError, nearest
from t4spp.evaluation.bins import BREAKDOWNS
from t4spp.evaluation.coco_scores import CocoScores
from t4spp.evaluation.protocols.catalogue import PROTOCOLS
from t4spp.plugins import Catalogue
from t4spp.training.binding import leaves
from t4spp.validation import Fault, report_faults, validate
from t4spp.yaml12 import dump_yaml

Budget = Literal["steps", "tokens"]

BUDGET_TITLES: Mapping[Budget, str] = {"steps": "equal steps", "tokens": "equal target tokens"}
"""What a page calls the columns."""
_AMOUNT_KEYS: Mapping[Budget, str] = {"steps": "steps", "tokens": "target_tokens"}
_OWN_KEYS = ("scheme", "seed", "name", "training.steps", "training.target_tokens")
"""What the leaderboard says of each cell, so that ``set`` may not."""


class EntryConfig(ComponentConfig):
    """A scheme, as the run's config names it."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Further values of the run's config for this scheme alone, by dotted key."""

    @model_validator(mode="after")
    def _leaves_the_budget(self) -> Self:
        for key, value in self.set.items():
            for own in _own_keys_in(_nested(key, value)):
                raise ValueError(f"set.{own}: the leaderboard sets this itself, cell by cell")
        return self


class BudgetsConfig(ConfigModel):
    """What every scheme is trained for: a column each."""

    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; null: no such column."""
    target_tokens: int | None = Field(default=None, ge=1)
    """Answer tokens trained on; null: no such column."""

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.steps is None and self.target_tokens is None:
            raise ValueError("give steps, target_tokens, or both")
        return self

    def amounts(self) -> dict[Budget, int]:
        """The amount of each column, in order."""
        both: tuple[tuple[Budget, int | None], ...] = (
            ("steps", self.steps),
            ("tokens", self.target_tokens),
        )
        return {name: amount for name, amount in both if amount is not None}


class WhereConfig(ConfigModel):
    """Samples whose truth is alike."""

    by: str
    """A break-down: area, share, instances, parts, compactness."""
    bins: tuple[str, ...] = Field(min_length=1)
    """Names of its bins."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = {one.name: one.bins for one in BREAKDOWNS}
        check_breakdown(self.by)
        for name in self.bins:
            if name not in known[self.by]:
                raise ValueError(
                    f"bins: {name!r} is none of {self.by}'s: {', '.join(known[self.by])}."
                    f"{nearest(name, known[self.by])}"
                )
        return self


class OrderingConfig(ConfigModel):
    """An ordering that is expected, and asked of every column."""

    above: str
    """Title of the scheme that is expected to score higher."""
    below: str
    """Title of the other one."""
    source: str | None = None
    """Who says so."""
    where: WhereConfig | None = None
    """Over these samples only; null: over all."""


class LeaderboardConfig(ConfigModel):
    """Which schemes are trained from one start, how long and how often, and what ranks them."""

    name: str = Field(default="leaderboard", min_length=1)
    """Its title, and its folder's name."""
    run: Path
    """A run's config, what all cells share; relative to this file."""
    schemes: dict[str, EntryConfig] = Field(min_length=1)
    """A row each, by title."""
    budgets: BudgetsConfig
    """A column each."""
    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = (0, 1, 2)
    """Each cell is trained once with every seed."""
    protocol: ProtocolName = "native"
    """The protocol that ranks; the run's own are reported too."""
    metric: str = "mean_iou"
    """The score of it that ranks; higher is better."""
    resamples: int = Field(default=2000, ge=100)
    """Draws of pictures and seeds behind each 95 % interval."""
    keep_weights: bool = True
    """Whether the checkpoints of finished runs stay; false: only what they answered and scored."""
    breakdowns: tuple[str, ...] = ("share",)
    """By what the truth is like: area, share, instances, parts, compactness."""
    orderings: dict[str, OrderingConfig] = Field(default_factory=dict)
    """Orderings to check, by title."""

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} must be one or more, each once")
        return self

    @model_validator(mode="after")
    def _titles_make_folders(self) -> Self:
        slugs: dict[str, str] = {}
        for title in self.schemes:
            slug = slug_of(title)
            if slug in slugs:
                raise ValueError(
                    f"schemes: {slugs[slug]!r} and {title!r} would share the folder {slug!r}; "
                    "name one of them otherwise"
                )
            slugs[slug] = title
        return self

    @model_validator(mode="after")
    def _orderings_name_schemes(self) -> Self:
        for title, ordering in self.orderings.items():
            for scheme in (ordering.above, ordering.below):
                if scheme not in self.schemes:
                    raise ValueError(
                        f"orderings.{title}: {scheme!r} is none of the schemes' titles: "
                        f"{', '.join(self.schemes)}.{nearest(scheme, self.schemes)}"
                    )
            if ordering.above == ordering.below:
                raise ValueError(f"orderings.{title}: above and below are both {ordering.above!r}")
        return self

    @model_validator(mode="after")
    def _ranks_by_a_score(self) -> Self:
        metrics = PROTOCOLS[self.protocol]().metrics
        if self.metric not in metrics:
            raise ValueError(
                f"metric: {self.protocol} has no score {self.metric!r}; it has "
                f"{', '.join(metrics)}.{nearest(self.metric, metrics)}"
            )
        if metrics[self.metric].higher_is_better is False:
            raise ValueError(
                f"metric: {self.metric} is a distance, of which less is better, and a leaderboard "
                "ranks by more: take another score of the protocol"
            )
        if isinstance(metrics[self.metric], CocoScores):
            raise ValueError(
                f"metric: {self.metric} is no sum over samples, and the intervals draw samples "
                "anew: take another score of the protocol"
            )
        return self

    @model_validator(mode="after")
    def _breakdowns_exist(self) -> Self:
        for name in self.breakdowns:
            check_breakdown(name)
        return self


def check_breakdown(name: str) -> None:
    """Refuse what is no break-down by the truth's shape.

    Raises:
        ValueError: with the valid names.
    """
    known = [one.name for one in BREAKDOWNS]
    if name not in known:
        raise ValueError(f"{name!r} is no break-down: {', '.join(known)}.{nearest(name, known)}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training with its evaluation.

    Attributes:
        scheme: the row's title.
        budget: the column.
        seed: of everything random in it.
        config: the resolved config of the run.
    """

    scheme: str
    budget: Budget
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """``scheme, column, seed`` for people; its run's name."""
        return self.config.name

    @property
    def place(self) -> str:
        """The run's folder, relative to the leaderboard's."""
        return f"cells/{slug_of(self.scheme)}/{self.budget}/seed-{self.seed}"

    @property
    def log(self) -> str:
        """What the run said, relative to the leaderboard's folder."""
        return f"logs/{slug_of(self.scheme)}-{self.budget}-{self.seed}.log"


def slug_of(title: str) -> str:
    """A title as a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "scheme"


def load_leaderboard(
    path: str | Path, overrides: Sequence[str], catalogue: Catalogue
) -> tuple[LeaderboardConfig, tuple[Cell, ...]]:
    """Read and check a leaderboard's config and the run's config of every cell.

    ``--set run.KEY=VALUE`` changes the run's config, any other ``--set`` the leaderboard's.

    Returns:
        The config, and its cells: of the first seed all, then of the next, so that an interrupted
        leaderboard has whole columns first.

    Raises:
        ConfigError: naming every unknown key, wrong value and unknown component at once.
    """
    path = Path(path)
    own = [text for text in overrides if not text.startswith("run.")]
    of_run = [text.removeprefix("run.") for text in overrides if text.startswith("run.")]
    for text in of_run:
        for key in _own_keys_in(parse_override(text)[0]):
            raise ConfigError(
                f"--set run.{text}: the leaderboard sets {key} itself, cell by cell. Change its "
                "schemes, seeds or budgets instead."
            )
    layers = read_layers(path, own)
    config = validate(LeaderboardConfig, layers.data)
    if isinstance(config, list):
        raise ConfigError(report_faults([layers.locate(fault) for fault in config]))
    base = path.parent / config.run
    if not base.is_file():
        fault = Fault(path=("run",), message=f"no file {base}; paths are relative to {path.parent}")
        raise ConfigError(layers.locate(fault))
    cells = tuple(_cells(config, base, of_run, catalogue, str(path)))
    return config, cells


def dump_leaderboard(config: LeaderboardConfig) -> str:
    """The config as YAML."""
    return dump_yaml(config.model_dump(mode="json"))


def _cells(
    config: LeaderboardConfig,
    base: Path,
    of_run: Sequence[str],
    catalogue: Catalogue,
    source: str,
) -> Iterator[Cell]:
    faults: list[str] = []
    resolved: dict[tuple[Budget, str], RunConfig] = {}
    for budget, amount in config.budgets.amounts().items():
        training = {"steps": 0, "target_tokens": None, _AMOUNT_KEYS[budget]: amount}
        for title, entry in config.schemes.items():
            where = f"{source}: schemes.{title}"
            scheme = {"name": entry.name, "params": entry.params}
            layers = merge_layers(
                [
                    (read_layers(base, of_run).data, str(base)),
                    ({"scheme": {"params": None}}, where),  # the run's own scheme has others
                    ({"scheme": scheme, "training": training}, where),
                    *((_nested(key, value), f"{where}.set") for key, value in entry.set.items()),
                ],
                source=str(base),
            )
            try:
                resolved[budget, title] = _runnable(resolve_config(layers, catalogue), config, base)
            except ConfigError as error:
                faults += [line.removeprefix("  - ") for line in str(error).splitlines()]
    if faults:
        told = [line for line in dict.fromkeys(faults) if not line.endswith("in the config:")]
        raise ConfigError(report_faults(told))
    for seed in config.seeds:
        for (budget, title), run in resolved.items():
            named = {"name": f"{title}, {BUDGET_TITLES[budget]}, seed {seed}", "seed": seed}
            yield Cell(scheme=title, budget=budget, seed=seed, config=run.model_copy(update=named))


def _runnable(run: RunConfig, config: LeaderboardConfig, base: Path) -> RunConfig:
    """The run with the ranking protocol among its own.

    Raises:
        ConfigError: it trains nothing.
    """
    if run.training.mode == "none":
        raise ConfigError(
            f"{base}: training.mode is none, so every cell would be the same untrained model. Set "
            "it to lora or full."
        )
    if config.protocol in run.evaluation.protocols:
        return run
    protocols = (*run.evaluation.protocols, config.protocol)
    evaluation = run.evaluation.model_copy(update={"protocols": protocols})
    return run.model_copy(update={"evaluation": evaluation})


def _own_keys_in(values: Mapping[str, Any]) -> list[str]:
    """The keys in nested values of a run's config that the leaderboard sets itself."""
    return [
        key
        for key, _ in leaves(values)
        if any(key == own or key.startswith(f"{own}.") for own in _OWN_KEYS)
    ]


def _nested(key: str, value: Any) -> dict[str, Any]:
    """``a.b`` and a value as ``{"a": {"b": value}}``."""
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)
