"""A leaderboard's page and Markdown, read back by their tables, with runs written here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from t4spp.components import Component, Recipe
from t4spp.config import dump_config, load_config
from t4spp.plugins import KINDS, Catalogue, Entry
from t4spp.report.leaderboard_page import leaderboard_markdown, write_leaderboard_page
from t4spp.report.leaderboard_samples import choose_samples
from t4spp.report.leaderboard_words import change_sentence, clock, findings
from t4spp.report.runs import open_run
from t4spp.schemes.plugin import t4spp_schemes
from t4spp.types import Image, Sample, Target

NASTY = "<script>alert(\"x\")</script> 'q' | &amp;"
IDS = tuple(f"s{number}" for number in range(8))
GRIDS = {"fine": 16, "middle": 12, "coarse": 8}
VOID = {"meta", "img", "br", "link"}


@dataclass
class Node:
    """An element of a page; ``parts`` are texts and elements."""

    name: str
    attributes: Mapping[str, str]
    parts: list[Node | str] = field(default_factory=list)

    def all(self, name: str, kind: str = "") -> list[Node]:
        """The elements below it of a name and a class, in the page's order."""
        found = []
        for part in self.parts:
            if isinstance(part, Node):
                if part.name == name and (not kind or kind in part.classes):
                    found.append(part)
                found += part.all(name, kind)
        return found

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def text(self) -> str:
        texts = [part if isinstance(part, str) else part.text for part in self.parts]
        return " ".join(" ".join(texts).split())


class Reader(HTMLParser):
    """Reads a page into nodes and holds its tags to be balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Node("page", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, {key: value or "" for key, value in attrs})
        self.open[-1].parts.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].parts.append(Node(tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1].name != "style":
            self.open[-1].parts.append(data)


def read(path: Path) -> Node:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert len(reader.open) == 1
    return reader.root


def rows(page: Node, kind: str) -> list[list[str]]:
    """The texts of a table's body."""
    (found,) = page.all("table", kind)[:1]
    lines = found.all("tbody")[0].all("tr")
    return [[p.text for p in line.parts if isinstance(p, Node)] for line in lines]


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Squares(Recipe):
    """Eight pictures with a square each."""

    @property
    def splits(self) -> tuple[str, ...]:
        return ("val",)

    def samples(self, split: str) -> Sequence[Sample]:
        return [self.sample(number) for number in range(len(IDS))]

    def sample(self, number: int) -> Sample:
        mask = np.zeros((48, 64), dtype=np.bool_)
        mask[8:40, 4 + 4 * number : 36 + 4 * number] = True

        def load() -> Image:
            return np.full((48, 64, 3), 20 * number, np.uint8)

        label = f"square {number}"
        return Sample(
            id=IDS[number],
            size=(48, 64),
            prompt=label,
            labels=(label,),
            targets=(Target(label=label, mask=mask),),
            load_image=load,
        )


@pytest.fixture
def catalogue() -> Catalogue:
    parts: dict[str, list[Component]] = {
        "scheme": t4spp_schemes(),
        "backbone": [Component(name="nobody", config=Plain, build=lambda config: None)],
        "recipe": [Component(name="squares", config=Plain, build=lambda config: Squares())],
        "refiner": [Component(name="none", config=Plain, build=lambda config: None)],
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


def write_run(folder: Path, catalogue: Catalogue, grid: int, ious: Sequence[float]) -> Path:
    """A scored run whose answers are the truth's descriptors."""
    folder.mkdir(parents=True)
    source = folder / "source.yaml"
    source.write_text(
        f"name: run\nscheme: {{name: next-brick, params: {{grid: {grid}}}}}\n"
        "backbone: {name: nobody}\ndata: {recipe: {name: squares}}\n"
    )
    config = load_config(source, (), catalogue)
    source.unlink()
    (folder / "config.yaml").write_text(dump_config(config))
    scheme = catalogue.build("scheme", config.scheme.name, config.scheme.params)
    answers, scores = [], []
    for sample, iou in zip(Squares().samples("val"), ious, strict=True):
        text = f"Here.\n<seg>{scheme.encode(sample.targets, sample.size)}</seg>"
        answers.append(
            {"id": sample.id, "prompt": sample.prompt, "labels": list(sample.labels)}
            | {"text": text, "num_tokens": 40, "num_passes": 41, "seconds": 0.25}
        )
        scores.append(
            {"id": sample.id, "image_id": f"picture {sample.id}", "label": sample.labels[0]}
            | {"iou": iou, "status": "ok", "tags": [], "has_target": True}
        )
    (folder / "predictions").mkdir()
    write_lines(folder / "predictions" / "val.jsonl", answers)
    write_lines(folder / "predictions" / "val.scores.jsonl", scores)
    meta = {"scheme": scheme.fingerprint(), "config_hash": "0", "backbone": "nobody@1"}
    meta |= {"split": "val", "num_samples": len(IDS), "schema": 1, "checkpoint": ""}
    (folder / "predictions" / "val.meta.json").write_text(json.dumps(meta))
    (folder / "metrics.json").write_text(json.dumps({"schema": 1, "protocols": {}}))
    (folder / "report.html").write_text("a report")
    return folder


def write_lines(path: Path, values: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


NOTHING = dict.fromkeys(
    (
        *("score", "low", "high", "steps", "target_tokens", "training_seconds", "loss"),
        *("tokens", "seconds", "well_formed", "repaired", "invalid"),
    )
)
COSTS = {"steps": 400, "target_tokens": 598123.4, "training_seconds": 312.0, "loss": 0.41}
COSTS |= {"tokens": 51.24, "seconds": 0.13, "well_formed": 0.981}


def cell(scheme: str, budget: str, seed: int, status: str = "done", **given: Any) -> dict[str, Any]:
    folder = f"cells/{scheme}/{budget}/seed-{seed}"
    log = f"logs/{scheme}-{budget}-{seed}.log"
    own = {"scheme": scheme, "budget": budget, "seed": seed, "folder": folder, "log": log}
    done = {**COSTS, "score": 0.7, "low": 0.6, "high": 0.8} if status == "done" else {}
    return {**own, "status": status, "error": None, **NOTHING, **done, **given}


def standing(scheme: str, rank: int | None, value: float | None, **given: Any) -> dict[str, Any]:
    score: dict[str, Any] = dict.fromkeys(("value", "low", "high"))
    if value is not None:
        score = {"value": value, "low": value - 0.05, "high": value + 0.05}
    own = {"scheme": scheme, "rank": rank, "num_seeds": 2 if rank else 0, "score": score}
    seeds = [] if value is None else [value - 0.01, value + 0.01]
    costs = COSTS if rank else dict.fromkeys(COSTS)
    return {**own, "by_seed": seeds, **costs, "bins": {}, **given}


def pair(first: str, second: str, difference: float, half: float) -> dict[str, Any]:
    low, high = difference - half, difference + half
    ends = {"low": low, "high": high, "outside": low > 0 or high < 0}
    return {"first": first, "second": second, "difference": difference, **ends}


def leaderboard(**given: Any) -> dict[str, Any]:
    """Three schemes, two budgets, two seeds; everything done."""
    budgets = {
        "steps": {"title": "equal steps", "amount": 400, "unit": "steps"},
        "tokens": {"title": "equal target tokens", "amount": 600000, "unit": "target tokens"},
    }
    bins = {"share": {"below 1 %": {"value": 0.31, "low": 0.2, "high": 0.4, "num_samples": 31}}}
    better = {"share": {"below 1 %": {"value": 0.42, "low": 0.3, "high": 0.5, "num_samples": 31}}}
    content = {
        "schema": 1,
        "name": "refshapes",
        "config": "configs/leaderboards/refshapes.yaml",
        "protocol": "native",
        "metric": "mean_iou",
        "split": "val",
        "num_samples": 1200,
        "seeds": [0, 1],
        "resamples": 2000,
        "budgets": budgets,
        "schemes": {
            title: {"name": "next-brick", "params": {"grid": grid}} for title, grid in GRIDS.items()
        },
        "cells": [cell(s, b, seed) for s in GRIDS for b in budgets for seed in (0, 1)],
        "standings": {
            "steps": [
                standing("middle", 1, 0.7, tokens=80.0, bins=bins),
                standing("fine", 2, 0.69, tokens=60.5, bins=better),
                standing("coarse", 3, 0.5, tokens=20.0),
            ],
            "tokens": [
                standing("fine", 1, 0.72),
                standing("coarse", 2, 0.6),
                standing("middle", 3, 0.55),
            ],
        },
        "pairs": {
            "steps": [
                pair("fine", "middle", -0.01, 0.03),
                pair("fine", "coarse", 0.19, 0.03),
                pair("middle", "coarse", 0.2, 0.03),
            ],
            "tokens": [
                pair("fine", "middle", 0.17, 0.03),
                pair("fine", "coarse", 0.12, 0.03),
                pair("middle", "coarse", -0.05, 0.02),
            ],
        },
        "orderings": [],
        "notes": [],
    }
    return content | given


def written(tmp_path: Path, catalogue: Catalogue, result: Mapping[str, Any], **given: Any) -> Node:
    path = tmp_path / "leaderboard.html"
    write_leaderboard_page(result, tmp_path, catalogue, path, **given)
    return read(path)


def test_standings_are_in_the_order_of_the_first_budget_with_both_ranks(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    found = rows(written(tmp_path, catalogue, leaderboard(), per_group=0), "standings")
    assert [line[0].split()[0] for line in found] == ["middle", "fine", "coarse"]
    assert [line[1] for line in found] == ["1", "2", "3"]
    assert [line[4] for line in found] == ["3 down 2", "1 up 1", "2 up 1"]
    assert [line[2] for line in found] == [
        "0.700 0.650 to 0.750",
        "0.690 ≈ first 0.640 to 0.740",
        "0.500 0.450 to 0.550",
    ]


def test_bars_have_a_dot_for_each_seed_on_one_scale(tmp_path: Path, catalogue: Catalogue) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    strips = page.all("div", "strip")
    assert len(strips) == 6
    assert {len(strip.all("u")) for strip in strips} == {2}
    # scores to 0.77 are drawn on 0 to 0.8
    assert strips[0].all("i")[0].attributes["style"] == "left:0.00%;width:87.50%"
    assert strips[0].all("b")[0].attributes["style"] == "left:81.25%;width:12.50%"
    assert [dot.attributes["style"] for dot in strips[0].all("u")] == ["left:86.25%", "left:88.75%"]


def test_finding_tells_who_leads_and_whether_the_lead_is_more_than_chance() -> None:
    steps, tokens = findings(leaderboard())
    assert (steps.leader, steps.score) == ("middle", "mean IoU 0.700 (0.650 to 0.750)")
    assert steps.sentences == (
        "Its lead over fine is +0.010 (-0.020 to +0.040): zero lies inside the interval, so the "
        "two are not told apart.",
        "Of these, fine writes least: 60.5 tokens an answer against 80.0.",
    )
    assert (tokens.leader, tokens.amount) == ("fine", "600,000 target tokens")
    assert tokens.sentences == (
        "Its lead over coarse is +0.120 (+0.090 to +0.150): zero lies outside the interval.",
    )


def test_swapped_pairs_are_told_and_those_outside_both_intervals_named() -> None:
    assert change_sentence(leaderboard()) == (
        "Between the budgets 2 of 3 pairs swap their order, 1 of them outside the intervals of "
        "both (middle above coarse at equal steps, and the other way round at equal target tokens)."
    )
    same = leaderboard()
    same["pairs"]["tokens"] = same["pairs"]["steps"]
    assert "same order" in change_sentence(same)


def test_matrix_has_the_sign_of_row_minus_column_and_marks_what_leaves_zero_out(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    first, second = page.all("table", "matrix")
    lines = [[td for td in tr.all("td")] for tr in first.all("tbody")[0].all("tr")]
    assert [th.text for th in first.all("tbody")[0].all("th")] == ["1 middle", "2 fine", "3 coarse"]
    assert [[td.text for td in line] for line in lines] == [
        ["", "+0.010", "+0.200"],
        ["-0.010", "", "+0.190"],
        ["-0.200", "-0.190", ""],
    ]
    assert [[td.classes for td in line] for line in lines] == [
        [["self"], ["inside"], ["above"]],
        [["inside"], ["self"], ["above"]],
        [["below"], ["below"], ["self"]],
    ]
    assert lines[2][0].attributes["title"] == "coarse minus middle: -0.200 (-0.230 to -0.170)"
    assert second.all("tbody")[0].all("th")[0].text == "1 fine"
    assert "Of 3 pairs, 2 lie outside; about 0.15 would by chance" in page.text
    assert "not corrected for the number of pairs" in page.text
    assert rows(page, "pairs")[0] == ["middle", "fine", "+0.010", "-0.020 to +0.040", "inside"]


def test_pair_that_was_not_measured_is_a_dash(tmp_path: Path, catalogue: Catalogue) -> None:
    result = leaderboard()
    del result["pairs"]["steps"][0]
    page = written(tmp_path, catalogue, result, per_group=0)
    matrix = page.all("table", "matrix")[0]
    unknown = matrix.all("td", "unknown")
    assert [td.text for td in unknown] == ["–", "–"]
    assert unknown[0].attributes["title"] == "middle against fine: not measured"
    assert "no interval says how sure" in page.text


def test_costs_are_told_under_both_budgets(tmp_path: Path, catalogue: Catalogue) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    line = rows(page, "costs")[0]
    steps = ["80.0", "130 ms", "98.1 %", "400", "598,123", "5.2 min"]
    assert line == ["middle", *steps, "51.2", *steps[1:]]


def test_verdicts_of_orderings_are_told_and_counted(tmp_path: Path, catalogue: Catalogue) -> None:
    def ordering(verdict: str, value: float | None, **given: Any) -> dict[str, Any]:
        ends = {"low": None, "high": None}
        if value is not None:
            ends = {"low": value - 0.01, "high": value + 0.01}
        own = {"title": f"it {verdict}", "source": None, "budget": "steps", "above": "fine"}
        own |= {"below": "coarse", "where": None, "difference": value, **ends}
        return {**own, "num_samples": 400, "num_seeds": [2, 1], "verdict": verdict, **given}

    where = {"by": "share", "bins": ["below 1 %"]}
    result = leaderboard(
        orderings=[
            ordering("holds", 0.04, source="A paper, table 6", where=where),
            ordering("reversed", -0.04),
            ordering("inside the interval", 0.001),
            ordering("not measured", None, num_seeds=[0, 2], budget="tokens"),
        ]
    )
    page = written(tmp_path, catalogue, result, per_group=0)
    assert "1 holds, 1 is reversed, 1 lies inside the interval, 1 is not measured." in page.text
    found = rows(page, "orderings")
    assert found[0] == [
        "it holds A paper, table 6",
        "fine above coarse share of the picture: below 1 %",
        "equal steps",
        "+0.040 +0.030 to +0.050",
        "",
        "2 and 1",
        "holds",
    ]
    assert [line[-1] for line in found[1:]] == ["reversed", "inside the interval", "not measured"]
    assert found[3][2:4] == ["equal target tokens", "–"]
    bars = page.all("div", "gap")
    assert [bar.all("i")[0].classes for bar in bars] == [["ok"], ["invalid"], ["open"]]


def test_breakdown_has_the_best_of_a_bin_in_bold_and_dashes_where_nothing_is(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    (table,) = [t for t in page.all("table") if "By share of the picture" in t.text]
    assert "below 1 % 31 samples" in table.text
    lines = table.all("tbody")[0].all("tr")
    assert [line.text for line in lines] == [
        "middle 0.310 0.200 to 0.400",
        "fine 0.420 0.300 to 0.500",
        "coarse –",
    ]
    assert [b.text for b in table.all("b")] == ["0.420"]


def test_charts_set_the_score_against_tokens(tmp_path: Path, catalogue: Catalogue) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    first, second = page.all("svg")
    told = "Equal steps: 400 steps: middle: 0.7 at 80; fine: 0.69 at 60.5; coarse: 0.5 at 20"
    assert first.attributes["aria-label"] == told
    assert "600,000 target tokens" in second.attributes["aria-label"]


def test_failed_and_waiting_cells_are_told_with_what_goes_on(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    result = leaderboard()
    result["cells"][0] = cell("fine", "steps", 0, "failed", error="RuntimeError: <no memory>")
    result["cells"][6] = cell("middle", "tokens", 0, "waiting")
    result["cells"][7] = cell("middle", "tokens", 1, "waiting")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "fine-steps-0.log").write_text("RuntimeError")
    page = written(tmp_path, catalogue, result, per_group=0)
    assert "Runs done 9 of 12" in page.text
    assert "Failed 1" in page.text
    (failure,) = page.all("div", "failure")
    assert failure.text.startswith("fine Equal steps, seed 0 failed")
    assert failure.all("pre")[0].text == "RuntimeError: <no memory>"
    assert failure.all("a")[0].attributes["href"] == "logs/fine-steps-0.log"
    assert rows(page, "waiting") == [["middle", "Equal target tokens", "0, 1"]]
    command = f"t4spp leaderboard configs/leaderboards/refshapes.yaml -o {tmp_path}"
    assert command in page.text


def test_everything_done_has_no_section_of_unfinished_runs(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    page = written(tmp_path, catalogue, leaderboard(), per_group=0)
    assert "Unfinished" not in page.text and "Runs done 12 of 12" in page.text


def test_scheme_without_a_finished_run_stands_last_with_dashes(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    result = leaderboard()
    result["standings"]["steps"][2] = standing("coarse", None, None)
    result["standings"]["steps"][1]["num_seeds"] = 1
    page = written(tmp_path, catalogue, result, per_group=0)
    found = rows(page, "standings")
    assert found[2][1:4] == ["–", "–", "no finished run"]
    assert found[2][4] == "2"  # no rank before, so no change
    assert found[1][2].endswith("1 of 2 seeds")


def test_leaderboard_of_which_nothing_is_done_has_a_page(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    result = leaderboard(pairs={"steps": [], "tokens": []})
    result["cells"] = [cell(s, b, 0, "waiting") for s in GRIDS for b in ("steps", "tokens")]
    for budget in result["standings"]:
        result["standings"][budget] = [standing(title, None, None) for title in GRIDS]
    page = written(tmp_path, catalogue, result)
    assert page.text.count("No run has finished yet.") == 2
    assert [line[1] for line in rows(page, "standings")] == ["–"] * 3
    assert page.all("svg") == [] and page.all("table", "matrix") == []
    assert "Runs done 0 of 6" in page.text
    assert "No run has finished yet." in leaderboard_markdown(result)


def test_one_scheme_one_budget_one_seed_has_a_page(tmp_path: Path, catalogue: Catalogue) -> None:
    result = leaderboard(seeds=[3], pairs={"steps": []})
    result["budgets"] = {"steps": result["budgets"]["steps"]}
    result["schemes"] = {"fine": result["schemes"]["fine"]}
    result["cells"] = [cell("fine", "steps", 3)]
    result["standings"] = {"steps": [standing("fine", 1, 0.7, num_seeds=1, by_seed=[0.7])]}
    page = written(tmp_path, catalogue, result, per_group=0)
    assert "It is the only scheme with a finished run." in page.text
    assert "Mean IoU, of one seed." in page.text and "pictures alone are drawn" in page.text
    assert "Seed 3" in page.text and "Between the budgets" not in page.text
    assert len(page.all("div", "strip")) == 1


def test_names_and_notes_with_markup_are_escaped(tmp_path: Path, catalogue: Catalogue) -> None:
    result = leaderboard(name=NASTY, notes=[NASTY])
    result["orderings"] = [{"title": NASTY, "source": NASTY, "budget": "steps", "above": NASTY}]
    result["schemes"][NASTY] = result["schemes"]["fine"]
    result["standings"]["steps"][0]["scheme"] = NASTY
    result["pairs"]["steps"].append(pair(NASTY, "fine", 0.1, 0.05))
    result["cells"].append(cell(NASTY, "steps", 0, "failed", error=NASTY))
    page = written(tmp_path, catalogue, result)
    assert page.all("script") == []
    assert page.all("h1")[0].text == NASTY
    assert page.all("table", "standings")[0].text.count(NASTY) == 1
    assert page.all("pre")[0].text == NASTY
    policy = [m.attributes for m in page.all("meta") if "http-equiv" in m.attributes]
    assert policy[0]["content"].startswith("default-src 'none'")
    text = leaderboard_markdown(result)
    assert "<script" not in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") - line.count("\\|") for line in lines if "&lt;script" in line} >= {6}


def test_runs_are_linked_where_they_have_a_report(tmp_path: Path, catalogue: Catalogue) -> None:
    result = leaderboard()
    write_run(tmp_path / "cells/fine/steps/seed-0", catalogue, 16, [0.5] * 8)
    output = tmp_path / "pages" / "board.html"
    output.parent.mkdir()
    write_leaderboard_page(result, tmp_path, catalogue, output, per_group=0)
    (table,) = read(output).all("table", "cells")
    assert [a.attributes["href"] for a in table.all("a")] == [
        "../cells/fine/steps/seed-0/report.html"
    ]
    assert len(table.all("tbody")[0].all("tr")) == 12


def write_runs(tmp_path: Path, catalogue: Catalogue, budgets: Sequence[str] = ("steps",)) -> None:
    scores = {
        "fine": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2],
        "middle": [0.9, 0.8, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2],
        "coarse": [0.9, 0.8, 0.7, 0.6, 0.9, 0.4, 0.3, 0.1],
    }
    for budget in budgets:
        for title, ious in scores.items():
            folder = tmp_path / "cells" / title / budget / "seed-0"
            write_run(folder, catalogue, GRIDS[title], ious)


def test_samples_on_which_the_schemes_differ_most_come_first(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_runs(tmp_path, catalogue)
    views = [open_run(tmp_path / "cells" / title / "steps/seed-0", catalogue) for title in GRIDS]
    assert [(title, ids) for title, _, ids in choose_samples(views, 2)] == [
        ("Where they differ most", ["s2", "s4"]),
        ("All right", ["s0", "s1"]),
        ("All wrong", ["s7", "s6"]),
    ]
    assert [title for title, _, _ in choose_samples(views[:1], 2)] == ["All right", "All wrong"]


def test_no_picture_is_shown_twice_in_a_group_while_there_are_others(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_runs(tmp_path, catalogue)
    scores = tmp_path / "cells/fine/steps/seed-0/predictions/val.scores.jsonl"
    scores.write_text(scores.read_text().replace("picture s1", "picture s0"))
    views = [open_run(tmp_path / "cells" / title / "steps/seed-0", catalogue) for title in GRIDS]
    chosen = {title: ids for title, _, ids in choose_samples(views, 2)}
    assert chosen["All right"] == ["s0", "s3"]


def test_the_same_samples_are_pictured_under_each_scheme(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_runs(tmp_path, catalogue, ("steps", "tokens"))
    page = written(tmp_path, catalogue, leaderboard(), per_group=2)
    cards = page.all("article")
    assert len(cards) == 2 * 3 * 2
    captions = [[c.text for c in card.all("figcaption")] for card in cards]
    assert [text.split()[0] for text in captions[0]] == [
        "Image",
        "Truth",
        "middle",
        "fine",
        "coarse",
    ]
    assert [text.split()[0] for text in captions[6][2:]] == ["fine", "coarse", "middle"]
    assert all(img.attributes["src"].startswith("data:image/") for img in page.all("img"))
    assert all(img.attributes["alt"] for img in page.all("img"))


def test_run_that_cannot_be_opened_is_noted_and_costs_its_own_pictures_alone(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_runs(tmp_path, catalogue)
    (tmp_path / "cells/fine/steps/seed-0/config.yaml").unlink()
    coarse = tmp_path / "cells/coarse/steps/seed-0/config.yaml"
    coarse.write_text(coarse.read_text().replace("grid: 8", "grid: 9"))
    page = written(tmp_path, catalogue, leaderboard(), per_group=1)
    notices = " ".join(each.text for each in page.all("div", "notice"))
    assert "fine, seed 0, is not pictured" in notices and "is no run" in notices
    assert "coarse, seed 0, is not pictured" in notices
    captions = [c.text.split()[0] for c in page.all("article")[0].all("figcaption")]
    assert captions == ["Image", "Truth", "middle"]


def test_pictures_beyond_the_size_limit_are_left_out_and_counted(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    write_runs(tmp_path, catalogue)
    page = written(tmp_path, catalogue, leaderboard(), per_group=2, max_megabytes=0.06)
    left = re.search(r"(\d+) more sample\(s\) were left out", page.text)
    assert left is not None
    assert 0 < len(page.all("article")) == 6 - int(left[1])
    assert (tmp_path / "leaderboard.html").stat().st_size < 0.06e6 + 120_000


def test_markdown_has_the_numbers_of_the_page() -> None:
    text = leaderboard_markdown(leaderboard(notes=["One seed is missing."]))
    lines = text.splitlines()
    assert lines[0] == "# refshapes"
    assert "| middle | 1 | 0.700 (0.650 to 0.750) | 3 (down 2) | 0.550 (0.500 to 0.600) |" in lines
    assert "| fine | Equal steps | 60.5 | 130 ms | 98.1 % | 400 | 598,123 | 5.2 min |" in lines
    assert "| coarse | **-0.200** | **-0.190** |  |" in lines
    assert "| middle |  | +0.010 | **+0.200** |" in lines
    assert "- One seed is missing." in lines
    assert "12 of 12 runs are done, 0 failed." in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1.0 min"), (3569, "59.5 min")]
)
def test_long_times_are_told_in_their_own_unit(seconds: float, text: str) -> None:
    assert clock(seconds) == text
    assert clock(3571) == "1.0 h" and clock(None) == "–" and clock(float("nan")) == "–"


maybe = st.one_of(st.none(), st.floats(-2, 2))


@settings(max_examples=60, deadline=None)
@given(values=st.lists(maybe, min_size=12, max_size=12), name=st.text(), title=st.text(min_size=1))
def test_any_numbers_and_names_give_whole_tables_without_none(
    values: list[float | None], name: str, title: str
) -> None:
    result = leaderboard(name=name)
    result["schemes"][title] = result["schemes"].pop("fine")
    for entry, value in zip(result["standings"]["steps"], values, strict=False):
        if entry["scheme"] == "fine":
            entry["scheme"] = title
        entry["score"] = {"value": value, "low": values[3], "high": values[4]}
        entry["by_seed"] = [each for each in values[:3] if each is not None]
        entry["rank"] = None if value is None else 1
        entry["tokens"] = values[5]
    for one, value in zip(result["pairs"]["tokens"], values[6:], strict=False):
        one |= {"difference": value, "low": values[9], "high": values[10], "outside": None}
    tables = re.findall(r"(?:^\|.*\n)+", leaderboard_markdown(result), flags=re.MULTILINE)
    assert len(tables) >= 2
    for table in tables:
        lines = table.splitlines()
        assert len({line.count("|") - line.count("\\|") for line in lines}) == 1
        for line in lines[2:]:
            assert not re.search(r"\| *(nan|inf|None)\b", line)
