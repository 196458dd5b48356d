"""A leaderboard's config: its cells, and what is refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from t4spp.errors import ConfigError
from t4spp.leaderboard.config import Cell, LeaderboardConfig, load_leaderboard
from t4spp.plugins import Catalogue, load_catalogue

RUN: dict[str, Any] = {
    "name": "base",
    "scheme": {"name": "next-brick", "params": {"grid": 8, "coordinates": "digits"}},
    "backbone": {"name": "nano"},
    "data": {"recipe": {"name": "refshapes"}},
    "training": {"mode": "full"},
}
BOARD: dict[str, Any] = {
    "run": "base.yaml",
    "seeds": [4, 7],
    "budgets": {"steps": 30, "target_tokens": 5000},
    "schemes": {
        "bricks": {"name": "next-brick"},
        "rows": {"name": "image-rrle", "set": {"generation.max_new_tokens": 99}},
    },
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def load(
    folder: Path, catalogue: Catalogue, *overrides: str, base: Any = None, **changes: Any
) -> tuple[LeaderboardConfig, tuple[Cell, ...]]:
    (folder / "base.yaml").write_text(json.dumps({**RUN, **(base or {})}))
    (folder / "board.yaml").write_text(json.dumps({**BOARD, **changes}))
    return load_leaderboard(folder / "board.yaml", overrides, catalogue)


def fault(folder: Path, catalogue: Catalogue, *overrides: str, **changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, catalogue, *overrides, **changes)
    return str(caught.value)


def test_every_scheme_budget_and_seed_is_a_cell_the_first_seed_first(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    _, cells = load(tmp_path, catalogue)
    assert [(cell.seed, cell.budget, cell.scheme) for cell in cells] == [
        (4, "steps", "bricks"),
        (4, "steps", "rows"),
        (4, "tokens", "bricks"),
        (4, "tokens", "rows"),
        (7, "steps", "bricks"),
        (7, "steps", "rows"),
        (7, "tokens", "bricks"),
        (7, "tokens", "rows"),
    ]
    assert len({cell.place for cell in cells}) == 8


def test_cells_differ_in_scheme_budget_and_seed_alone(tmp_path: Path, catalogue: Catalogue) -> None:
    _, cells = load(tmp_path, catalogue)
    first, _, by_tokens, rows_by_tokens = cells[:4]
    assert (first.config.training.steps, first.config.training.target_tokens) == (30, None)
    assert (by_tokens.config.training.steps, by_tokens.config.training.target_tokens) == (0, 5000)
    assert first.config.scheme.params["grid"] == 16  # the run's own 8 is not the entry's
    assert rows_by_tokens.config.generation.max_new_tokens == 99
    assert first.config.generation.max_new_tokens is None
    assert all(cell.config.backbone == first.config.backbone for cell in cells)
    assert [cell.config.seed for cell in cells] == [4] * 4 + [7] * 4


def test_set_reaches_the_run_by_run_and_else_the_leaderboard(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    config, cells = load(
        tmp_path, catalogue, "run.training.batch_size=3", "seeds=[1]", "budgets.target_tokens=null"
    )
    assert config.seeds == (1,)
    assert [cell.config.training.batch_size for cell in cells] == [3, 3]
    assert {cell.budget for cell in cells} == {"steps"}


def test_the_ranking_protocol_is_scored_even_where_the_run_does_not_ask(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    _, cells = load(tmp_path, catalogue, protocol="lisa", metric="ciou")
    assert cells[0].config.evaluation.protocols == ("native", "lisa")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budgets": {}}, "give steps, target_tokens, or both"),
        ({"seeds": [1, 1]}, "must be one or more, each once"),
        ({"seeds": []}, "must be one or more, each once"),
        ({"schemes": {"a b": {"name": "polygon"}, "A-B": {"name": "polygon"}}}, "share the folder"),
        ({"breakdowns": ["size"]}, "'size' is no break-down: area, share"),
        ({"orderings": {"x": {"above": "brick", "below": "rows"}}}, "Did you mean 'bricks'"),
        ({"orderings": {"x": {"above": "rows", "below": "rows"}}}, "above and below are both"),
        (
            {
                "orderings": {
                    "x": {
                        "above": "bricks",
                        "below": "rows",
                        "where": {"by": "share", "bins": ["tiny"]},
                    }
                }
            },
            "'tiny' is none of share's: below 1 %",
        ),
        ({"schemes": {"x": {"name": "polygon", "set": {"seed": 3}}}}, "sets this itself"),
        ({"schemes": {"x": {"name": "polygon", "set": {"scheme.name": "a"}}}}, "sets this itself"),
        (
            {"schemes": {"x": {"name": "polygon", "set": {"training": {"steps": 9}}}}},
            "set.training.steps: the leaderboard sets this itself",
        ),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": [2**32]}, "less than or equal to 4294967295"),
        ({"protocol": "instances", "metric": "segm_ap"}, "segm_ap is no sum over samples"),
        ({"schemes": {}}, "schemes"),
        ({"protocol": "natif"}, "protocol"),
        ({"metric": "mean-iou"}, "native has no score 'mean-iou'; it has mean_iou, ciou"),
        ({"protocol": "contour", "metric": "ahd"}, "a distance, of which less is better"),
        ({"run": "other.yaml"}, "no file"),
        ({"metrics": "iou"}, "metrics"),
    ],
)
def test_faults_of_the_config_are_told(
    tmp_path: Path, catalogue: Catalogue, changes: dict[str, Any], told: str
) -> None:
    assert told in fault(tmp_path, catalogue, **changes)


def test_faults_of_all_cells_are_told_at_once_with_their_scheme(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    message = fault(
        tmp_path,
        catalogue,
        schemes={
            "a": {"name": "polygone"},
            "b": {"name": "span-brick", "params": {"grid": 0}},
            "c": {"name": "polygon", "set": {"generation.tokens": 3}},
        },
    )
    assert "schemes.a" in message and "polygone" in message
    assert "schemes.b" in message and "grid" in message
    assert "schemes.c.set" in message and "generation.tokens" in message
    assert message.count("grid") == 1  # once, not once a budget


@pytest.mark.parametrize(
    "override",
    ["training.steps=9", "training={steps: 9}", "seed=3", "name=x", "scheme.params.grid=8"],
)
def test_values_of_the_run_that_would_be_ignored_are_refused(
    tmp_path: Path, catalogue: Catalogue, override: str
) -> None:
    message = fault(tmp_path, catalogue, f"run.{override}")
    assert f"--set run.{override}: the leaderboard sets" in message


def test_a_run_that_trains_nothing_is_refused(tmp_path: Path, catalogue: Catalogue) -> None:
    message = fault(tmp_path, catalogue, base={"training": {"mode": "none"}})
    assert "every cell would be the same untrained model" in message
