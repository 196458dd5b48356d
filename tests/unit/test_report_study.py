"""What a study's page draws from the scores of its runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from t4spp.components import Component
from t4spp.config import ComponentConfig, RunConfig
from t4spp.plugins import Catalogue, Entry
from t4spp.report.runs import RunView
from t4spp.report.study import baseline_table, score_charts, tell_apart
from t4spp.report.tables import column_headings, component_text, score_columns

SCORE = {"value": 0.6, "low": 0.5, "high": 0.7}


def view(name: str, folder: str = "", scheme: str = "next-brick", **given: Any) -> RunView:
    config = RunConfig.model_validate(
        {
            "name": name,
            "scheme": {"name": scheme},
            "backbone": {"name": "nano"},
            "data": {"recipe": {"name": "geotiff"}},
        }
    )
    folder_path = Path("runs") / (folder or name)
    return RunView(folder=folder_path, config=config, config_text="", split="val", **given)


def scene_metrics(value: float, tokens: float | None) -> dict[str, Any]:
    return {
        "protocols": {
            "native": {"mean_iou": SCORE, "ciou": SCORE},
            "scene": {"iou": {**SCORE, "value": value}, "mean_iou": SCORE},
            "objects": {"f1": SCORE},
        },
        "space": {"tokens_per_hectare": tokens},
    }


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    views = [view("study", "a"), view("study", "b"), view("other", "c")]
    tell_apart(views)
    assert [each.label for each in views] == ["a", "b", "other"]


def test_scenes_stand_against_tokens_a_hectare_and_baselines_below_them() -> None:
    baselines = {
        "everything": {"scene": {"iou": {"value": 0.45}}},
        "mean mask, best threshold": {"scene": {"iou": {"value": 0.45}}},
        "nothing": {"scene": {"iou": {"value": 0.0}}},
    }
    views = [
        view("fine", metrics=scene_metrics(0.7, 1800.0), baselines=baselines),
        view("coarse", scheme="image-rrle", metrics=scene_metrics(0.5, 200.0)),
    ]
    charts = score_charts(views)
    assert [chart.title for chart in charts] == [
        "Scene IoU against tokens a hectare",
        "Object F1 against tokens a hectare",
    ]
    first = charts[0].svg
    assert "fine: 0.7 at 1800; coarse: 0.5 at 200" in first
    assert "everything, mean mask, best threshold: 0.45" in first and "nothing" not in first
    assert charts[0].legend == (("next-brick", "line-a"), ("image-rrle", "line-b"))
    assert len(re.findall(r'<line class="level"', first)) == 1
    assert '<line class="level"' not in charts[1].svg


def test_runs_without_tokens_have_no_chart() -> None:
    assert score_charts([view("a", metrics=scene_metrics(0.5, None))]) == ()
    assert score_charts([view("a")]) == ()


def test_baselines_that_runs_disagree_on_are_no_line() -> None:
    views = [
        view(
            name,
            metrics=scene_metrics(0.5, 100.0),
            baselines={"everything": {"scene": {"iou": {"value": value}}}},
        )
        for name, value in (("a", 0.45), ("b", 0.55))
    ]
    assert '<line class="level"' not in score_charts(views)[0].svg


def test_baseline_table_has_the_runs_own_scores_first() -> None:
    baselines = {"everything": {"native": {"mean_iou": {"value": 0.4}}}}
    metrics = {"protocols": {"native": {"mean_iou": {"value": 0.6}}}}
    views = [view("a", metrics=metrics, baselines=baselines), view("b", metrics=metrics)]
    headings, rows = baseline_table(views)
    assert headings == ["mean IoU"]
    assert [(row.run, row.baseline, row.values) for row in rows] == [
        ("a", "the run", ("0.600",)),
        ("a", "everything", ("0.400",)),
    ]
    assert baseline_table([view("b", metrics=metrics)])[1] == []


@pytest.mark.parametrize(
    ("protocols", "headings"),
    [
        ({"native": {"mean_iou": SCORE, "acc@0.5": SCORE}}, ["mean IoU", "Acc@0.5"]),
        (
            scene_metrics(0.5, 1.0)["protocols"],
            ["native mean IoU", "scene IoU", "objects F1"],
        ),
    ],
)
def test_comparison_of_scenes_is_kept_to_the_scores_that_a_study_rests_on(
    protocols: dict[str, Any], headings: list[str]
) -> None:
    assert column_headings(score_columns([protocols])) == headings


class Windows(BaseModel):
    size: int | None = None
    edge: str = "pad"


class Params(BaseModel):
    windows: Windows = Windows()
    label: str = "building"


def test_recipe_is_told_without_the_defaults_inside_its_parameters() -> None:
    component = Component(name="tiles", config=Params, build=lambda config: None)
    catalogue = Catalogue(
        components={
            "recipe": {"tiles": Entry(component=component, distribution="tests", plugin="tests")}
        }
    )
    changed = ComponentConfig(
        name="tiles", params={"windows": {"size": 256, "edge": "pad"}, "label": "building"}
    )
    assert component_text(catalogue, "recipe", changed) == 'tiles:windows={"size": 256}'
    plain = ComponentConfig(name="tiles", params=Params().model_dump())
    assert component_text(catalogue, "recipe", plain) == "tiles"
