"""Pages made from a run's folder that is written here, with a scheme of the core and no model."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from t4spp import cli
from t4spp.components import Component, Recipe, Refiner
from t4spp.config import dump_config, load_config
from t4spp.errors import RecipeError, RunError
from t4spp.plugins import KINDS, Catalogue, Entry
from t4spp.report.compare import write_comparison
from t4spp.report.html import Report, report_on, write_report
from t4spp.report.runs import open_run
from t4spp.schemes.plugin import t4spp_schemes
from t4spp.types import Decoded, Image, Region, Sample, Target

NASTY = '</pre><script>alert("x")</script>'
IDS = tuple(f"s{number}" for number in range(8))


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: bool = True


class Squares(Recipe):
    """Eight pictures with a square each; ``s7`` has none. One label bears markup."""

    def __init__(self, params: Plain) -> None:
        self.params = params

    @property
    def splits(self) -> tuple[str, ...]:
        return ("val",)

    def samples(self, split: str) -> Sequence[Sample]:
        return [self.sample(number) for number in range(len(IDS))]

    def sample(self, number: int) -> Sample:
        mask = np.zeros((48, 64), dtype=np.bool_)
        mask[8:40, 4 + 4 * number : 36 + 4 * number] = True
        label = "the <b>first</b> one" if number == 0 else f"square {number}"

        def load() -> Image:
            return np.full((48, 64, 3), 20 * number, np.uint8)

        return Sample(
            id=IDS[number],
            size=(48, 64),
            prompt=label,
            labels=(label,),
            targets=() if number == 7 else (Target(label=label, mask=mask),),
            load_image=load if self.params.pictures else None,
            tags=("no-target",) if number == 7 else (),
        )


class Emptying(Refiner):
    """Empties every mask, so that coarse and final differ."""

    def refine(self, image: Image, decoded: Decoded) -> Decoded:
        regions = tuple(
            Region(label=region.label, mask=np.zeros_like(region.mask))
            for region in decoded.regions
        )
        return Decoded(regions=regions, status=decoded.status, problems=decoded.problems)


def missing_weights(config: Plain) -> Any:
    raise RecipeError("its weights are not on this machine")


@pytest.fixture
def catalogue() -> Catalogue:
    parts: dict[str, list[Component]] = {
        "scheme": t4spp_schemes(),
        "backbone": [Component(name="nobody", config=Plain, build=lambda config: None)],
        "recipe": [Component(name="squares", config=Plain, build=Squares)],
        "refiner": [
            Component(name="none", config=Plain, build=lambda config: None),
            Component(name="emptying", config=Plain, build=lambda config: Emptying()),
            Component(name="absent", config=Plain, build=missing_weights),
        ],
        "tracker": [],
    }
    return Catalogue(
        components={
            kind: {
                part.name: Entry(component=part, distribution="tests", plugin="tests")
                for part in parts[kind]
            }
            for kind in KINDS
        }
    )


def write_config(folder: Path, catalogue: Catalogue, *overrides: str) -> Any:
    folder.mkdir(parents=True)
    source = folder / "source.yaml"
    source.write_text(
        "name: demo\nscheme: {name: next-brick}\nbackbone: {name: nobody}\n"
        "data: {recipe: {name: squares}}\n"
    )
    config = load_config(source, overrides, catalogue)
    source.unlink()
    (folder / "config.yaml").write_text(dump_config(config))
    return config


def write_run(folder: Path, catalogue: Catalogue, *overrides: str, text_of_s1: str = "") -> Path:
    """A run whose answers are the truth's descriptors; ``s1`` may answer something else."""
    config = write_config(folder, catalogue, *overrides)
    scheme = catalogue.build("scheme", config.scheme.name, config.scheme.params)
    (folder / "predictions").mkdir()
    predictions, scores = [], []
    for number, sample in enumerate(Squares(Plain()).samples("val")):
        text = f"Here.\n<seg>{scheme.encode(sample.targets, sample.size)}</seg>"
        if number == 1 and text_of_s1:
            text = text_of_s1
        status = scheme.decode(text, sample.size, sample.labels).status
        line = {
            "id": sample.id,
            "prompt": sample.prompt,
            "labels": list(sample.labels),
            "text": text,
            "num_tokens": 40 + number,
            "num_passes": 41,
            "seconds": 0.25,
        }
        predictions.append(line)
        score = {"id": sample.id, "label": sample.labels[0], "status": status}
        score |= {"iou": 1 - number / 10, "intersection": 1, "union": 1, "tags": []}
        scores.append(score | {"has_target": bool(sample.targets)})
    write_lines(folder / "predictions" / "val.jsonl", predictions)
    write_lines(folder / "predictions" / "val.scores.jsonl", scores)
    meta = {"scheme": scheme.fingerprint(), "config_hash": "0", "backbone": "nobody@1"}
    meta |= {"split": "val", "num_samples": len(IDS), "schema": 1, "checkpoint": ""}
    (folder / "predictions" / "val.meta.json").write_text(json.dumps(meta))
    interval = {"value": 0.812, "low": 0.75, "high": 0.875}
    metrics = {
        "schema": 1,
        "protocols": {"native": {"mean_iou": interval, "n_acc": {"value": None}}},
        "answers": {
            "num_answers": 8,
            "ok": 7,
            "repaired": 0,
            "invalid": 1,
            "problems": {"unreadable": {"answers": 1, "occurrences": 2}},
            "tags": {"no-target": {"num_samples": 1, "ok": 1, "n_acc": interval}},
        },
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    events = [
        {"step": step, "time": "t", "kind": "train", "loss": 1 / step, "lr": 0.1}
        for step in (1, 2, 3)
    ]
    write_lines(folder / "events.jsonl", events)
    return folder


def write_lines(path: Path, values: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def text_of(page: str) -> str:
    """The page without its tags, entities resolved, blanks joined."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_report_shows_scores_answers_curves_gallery_and_config(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    run = write_run(tmp_path / "run", catalogue, "scheme.params.grid=12")
    path = write_report(run, catalogue)
    assert path == run / "report.html"
    page = path.read_text(encoding="utf-8")
    text = text_of(page)
    assert "next-brick:grid=12" in text
    assert "0.812 0.750 to 0.875" in text
    assert "unreadable 1 2" in text
    assert "ok 7 87.5 %" in text
    assert "no-target 1" in text
    assert "Training loss" in text and "Learning rate" in text
    for title in ("Best", "Median", "Worst", "No target"):
        assert title in text
    assert "40 tokens" in text and "41 passes" in text
    assert "name: demo" in text
    assert page.count("<img ") == 4 * (3 * 2 + 1)
    assert "t4spp" in text and "python" in text


def test_page_is_one_file_that_asks_the_network_for_nothing(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    page = write_report(write_run(tmp_path / "run", catalogue), catalogue).read_text()
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []
    assert (
        "<script" not in page
        and "@import" not in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert "default-src 'none'" in page


def test_every_picture_has_words_for_those_who_do_not_see_it(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    page = write_report(write_run(tmp_path / "run", catalogue), catalogue).read_text()
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', page)) == page.count("<img ")
    assert '<html lang="en">' in page


def test_text_of_a_model_is_escaped(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue, f"name={json.dumps(NASTY)}", text_of_s1=NASTY)
    page = write_report(run, catalogue).read_text()
    assert "<script" not in page and "<b>first" not in page
    assert NASTY in html.unescape(page)
    assert "the <b>first</b> one" in html.unescape(page)


def test_invalid_answer_is_shown_with_its_problem(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue, text_of_s1="I cannot see it.")
    text = text_of(write_report(run, catalogue).read_text())
    assert "I cannot see it." in text
    assert re.search(r"square 1 .{0,40}invalid", text)


def test_coarse_and_final_masks_are_told_apart(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue, "refiner.name=emptying")
    text = text_of(write_report(run, catalogue).read_text())
    assert "Coarse 1.000 Final 0.000" in text


def test_refiner_that_cannot_be_built_costs_the_final_mask_not_the_page(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    run = write_run(tmp_path / "run", catalogue, "refiner.name=absent")
    text = text_of(write_report(run, catalogue).read_text())
    assert "its weights are not on this machine" in text
    assert "Coarse 1.000 Final 1.000" in text


def test_run_without_answers_has_a_page_that_says_so(tmp_path: Path, catalogue: Catalogue) -> None:
    write_config(tmp_path / "run", catalogue)
    text = text_of(write_report(tmp_path / "run", catalogue).read_text())
    assert "No answers for the split 'val'" in text
    assert "Nothing was logged" in text
    assert "Gallery" not in text


def test_answers_that_are_not_scored_are_shown_all_the_same(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    run = write_run(tmp_path / "run", catalogue)
    (run / "metrics.json").unlink()
    (run / "predictions" / "val.scores.jsonl").unlink()
    text = text_of(write_report(run, catalogue).read_text())
    assert "First answers" in text and "t4spp evaluate" in text


def change_prompts(run: Path, *ids: str) -> None:
    """As if the run had been asked something else than the recipe asks now."""
    path = run / "predictions" / "val.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [line | {"prompt": "a dog"} if line["id"] in ids else line for line in lines])


def test_answer_to_a_prompt_that_the_recipe_no_longer_asks_is_not_pictured(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    run = write_run(tmp_path / "run", catalogue)
    change_prompts(run, "s0", "s6")
    page = write_report(run, catalogue).read_text()
    assert "2 answer(s) cannot be pictured, the first to 's0'" in text_of(page)
    assert page.count("<article") == 5


def test_recipe_without_pictures_is_noted(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue, "data.recipe.params.pictures=false")
    text = text_of(write_report(run, catalogue).read_text())
    assert "No picture of the sample 's0'" in text


def test_cut_events_are_counted_on_the_page(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue)
    with (run / "events.jsonl").open("a") as stream:
        stream.write('{"step": 4, "ti')
    assert "1 line(s) of events.jsonl" in text_of(write_report(run, catalogue).read_text())


def test_pictures_beyond_the_size_limit_are_left_out_and_counted(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    run = write_run(tmp_path / "run", catalogue)
    report = report_on(open_run(run, catalogue), catalogue, max_megabytes=0.02)
    page = report.path.read_text()
    assert 0 < page.count("<article") < 7
    assert f"{7 - page.count('<article')} more sample(s) were left out" in text_of(page)


def test_answers_of_another_scheme_are_refused(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("grid: 16", "grid: 8"))
    with pytest.raises(RunError, match="was written with the scheme"):
        write_report(run, catalogue)


@pytest.mark.parametrize("name", ["metrics.json", "predictions/val.scores.jsonl"])
def test_damaged_file_is_named(tmp_path: Path, catalogue: Catalogue, name: str) -> None:
    run = write_run(tmp_path / "run", catalogue)
    (run / name).write_text("{")
    with pytest.raises(RunError, match=re.escape(Path(name).name)):
        write_report(run, catalogue)


def test_folder_that_is_no_run_is_the_users_error(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(RunError, match="is no run"):
        write_report(tmp_path, catalogue)


def test_unknown_split_names_those_that_are_there(tmp_path: Path, catalogue: Catalogue) -> None:
    run = write_run(tmp_path / "run", catalogue)
    with pytest.raises(RunError, match="it has: val"):
        write_report(run, catalogue, split="test")


def compare(tmp_path: Path, catalogue: Catalogue, *overrides: str) -> Report:
    first = write_run(tmp_path / "a", catalogue, "name=first")
    second = write_run(tmp_path / "b", catalogue, "name=second", *overrides, text_of_s1="Nothing.")
    return write_comparison([first, second], catalogue, tmp_path / "both.html", per_group=2)


def test_comparison_sets_scores_configs_and_the_same_samples_side_by_side(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    report = compare(tmp_path, catalogue, "scheme.params.grid=8")
    page = report.path.read_text()
    text = text_of(page)
    assert "first a next-brick nobody none 0.812" in text
    assert "second b next-brick:grid=8" in text
    assert "scheme.params.grid 16 8" in text
    assert "Where the runs differ most" in text
    assert page.count("<article") == 6
    assert page.count("<img ") == 6 * 4  # image, truth and one picture a run
    assert [run["name"] for run in report.to_json()["runs"]] == ["first", "second"]
    assert report.to_json()["runs"][0]["scores"]["native/mean_iou/low"] == 0.75


def test_answers_to_different_prompts_are_not_set_side_by_side(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    compare(tmp_path, catalogue)
    change_prompts(tmp_path / "b", *IDS[1:])
    folders = [tmp_path / "a", tmp_path / "b"]
    page = write_comparison(folders, catalogue, tmp_path / "again.html").path.read_text()
    assert page.count("<article") == 1


def test_runs_on_other_data_are_compared_by_their_scores_alone(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    report = compare(tmp_path, catalogue, "data.recipe.params.pictures=false")
    text = text_of(report.path.read_text())
    assert "different recipes" in text and "0.812" in text
    assert "Where the runs differ most" not in text


def test_command_writes_the_page_and_one_json_object(
    tmp_path: Path,
    catalogue: Catalogue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("t4spp.cli.report.catalogue_of", lambda args: catalogue)
    run = write_run(tmp_path / "run", catalogue)
    page = tmp_path / "page.html"
    assert cli.main(["report", str(run), "-o", str(page), "--samples", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(page)
    assert told["runs"][0]["answers"] == {"ok": 7, "repaired": 0, "invalid": 1}
    assert page.read_text().count("<article") == 4


def test_command_on_a_missing_run_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    assert "is no run" in capsys.readouterr().err
