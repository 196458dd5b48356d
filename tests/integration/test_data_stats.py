"""`t4spp data stats` and `t4spp data preview`: literal counts, and the text as a model sees it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from t4spp.cli import main
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.statistics import TokenCost, measure, summary
from t4spp.report.bars import histogram
from t4spp.report.contact_sheet import make_tile, sheet_html
from t4spp.testing import build_scheme
from t4spp.types import Sample, Target


def block(height: int, width: int) -> np.ndarray:
    mask = np.zeros((100, 120), dtype=np.bool_)
    mask[:height, :width] = True
    return mask


def sample(number: int, *targets: tuple[str, np.ndarray], **values) -> Sample:
    given = {
        "id": f"s{number}",
        "size": (100, 120),
        "prompt": "the dog",
        "labels": ("dog",),
        "image_id": f"p{number // 2}",
        "targets": tuple(Target(label=label, mask=mask) for label, mask in targets),
        **values,
    }
    return Sample(**given)


def test_statistics_count_what_is_there() -> None:
    samples = [
        sample(0, ("dog", block(10, 10)), ("dog", block(40, 40))),
        sample(1, ("dog", block(100, 100)), ignore=block(1, 1), tags=("far",)),
        sample(2, labels=("gnu", "dog"), kind="conditioned"),
        sample(3, prompt="How many are there?", kind="dialogue", labels=(), answers=("Two.",)),
    ]
    told = measure(samples).to_json()
    assert told["kinds"] == {"partial": 2, "conditioned": 1, "dialogue": 1}
    assert (told["num_samples"], told["num_images"], told["num_targets"]) == (4, 2, 3)
    assert told["without_target"] == 1
    assert told["no_target_share"] == pytest.approx(1 / 3)
    assert told["with_ignored_pixels"] == 1
    assert told["picture_sizes"] == {"100x120": 2}
    assert told["labels"] == {"dog": 3}
    assert told["absent_labels"] == {"gnu": 1, "dog": 1}
    assert told["object_sizes"] == {"small": 1, "medium": 1, "large": 1}
    assert told["target_pixels"]["median"] == 1600
    assert told["target_share"]["max"] == pytest.approx(10000 / 12000)
    assert told["targets_a_sample"]["mean"] == 1.0
    assert told["prompt_words"]["max"] == 4
    assert told["tags"] == {"far": 1}
    assert summary([]) is None


def test_tokens_are_of_whole_conversations_by_scheme() -> None:
    scheme = build_scheme("image-rrle", grid=2)
    cost = TokenCost(name="r", builder=ConversationBuilder(scheme, "fixed"), count=len)
    words = TokenCost(name="w", builder=ConversationBuilder(scheme), count=lambda t: len(t.split()))
    told = measure([sample(0, ("dog", block(100, 120)))], [cost, words]).to_json()["schemes"]
    descriptor = "dog *2\n dog *2\n"
    assert told["r"]["descriptor_tokens"]["max"] == len(descriptor)
    assert told["r"]["answer_tokens"]["max"] == len(f"Here it is.\n<seg>{descriptor}</seg>")
    assert told["r"]["question_tokens"]["max"] == len("Segment the dog.")
    assert told["w"]["descriptor_tokens"]["max"] == 4


def test_samples_that_a_scheme_cannot_write_are_counted_with_the_reason() -> None:
    scheme = build_scheme("image-rrle", grid=2)
    cost = TokenCost(name="r", builder=ConversationBuilder(scheme), count=len)
    told = measure([sample(0, ("a | b", block(100, 120)))], [cost]).to_json()["schemes"]["r"]
    assert told["refused"] == 1
    assert told["answer_tokens"] is None
    assert "'a | b' cannot be written" in next(iter(told["refused_because"]))


def test_command_prints_one_object_and_writes_a_page_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "stats.html"
    capsys.readouterr()
    code = main(
        ["data", "stats", "--recipe", "refshapes", "--split", "val", "--limit", "30", "--json",
         "--scheme", "next-brick:grid=8", "--scheme", "image-rrle:grid=8", "-o", str(page)]
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert told["num_samples"] == 30
    assert list(told["schemes"]) == ["next-brick:grid=8", "image-rrle:grid=8"]
    brick, rows = (own["answer_tokens"]["mean"] for own in told["schemes"].values())
    assert 0 < brick < rows
    text = page.read_text()
    assert text.count("<svg") >= 6
    assert "image-rrle:grid=8" in text
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_histogram_gives_whole_numbers_a_bar_each_and_nothing_for_nothing() -> None:
    svg = histogram([1, 1, 2, 5], title="t", x_label="x")
    assert re.findall(r"<title>(.*?)</title>", svg) == [
        "0.5 to 1.5: 2",
        "1.5 to 2.5: 1",
        "4.5 to 5.5: 1",
    ]
    assert histogram([], title="t", x_label="x") == ""
    ends = histogram([0.34791, 17.99927], title="t", x_label="x", logarithmic=True)
    assert (">0.348</text>" in ends, ">18</text>" in ends) == (True, True)
    assert histogram([3.0], title="t", x_label="x", logarithmic=True).count("<rect") == 1


def test_preview_shows_the_whole_conversation_with_its_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    capsys.readouterr()
    code = main(
        ["data", "preview", "--recipe", "refshapes", "--split", "val", "-n", "2", "-o", str(page),
         "--scheme", "next-brick:grid=8", "--templates", "fixed", "--json"]
    )  # fmt: skip
    told = json.loads(capsys.readouterr().out)["samples"]
    assert code == 0
    text = html.unescape(page.read_text())
    for one in told:
        assert re.fullmatch(r"Segment .+\.", one["question"])
        assert re.fullmatch(r"Here it is\.\n<seg>.*</seg>", one["answer"], re.DOTALL)
        assert one["question"] in text
        assert one["answer"] in text
        assert f"Assistant · {one['tokens']['answer']} tokens" in text
        assert one["tokens"]["answer"] > one["tokens"]["descriptor"] > 0


def test_preview_onto_a_folder_says_to_choose_another_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.html").mkdir()
    given = ["--recipe", "refshapes", "-n", "1", "-o", str(tmp_path / "page.html")]
    assert main(["data", "preview", *given]) == 2
    assert "Choose another place with -o" in capsys.readouterr().err


def test_preview_of_a_dialogue_shows_its_words_and_no_mask() -> None:
    asked = sample(
        0, prompt="Is it <b>raining</b>?", kind="dialogue", labels=(), answers=("no", "not at all")
    )
    tile = make_tile(asked, build_scheme("next-brick"), pixels=False, count=len)
    assert (tile.question, tile.answer, tile.descriptor) == ("Is it <b>raining</b>?", "no", None)
    page = sheet_html([tile], "t", [])
    assert "Is it &lt;b&gt;raining&lt;/b&gt;?" in page
    assert "not at all" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["stats", "-o", "x.png"], "-o FILE.html"),
        (["stats", "--limit", "0"], "--limit 0"),
        (["stats", "--scheme", "next-brick", "--scheme", "next-brick"], "named twice"),
        (["preview"], "-o FILE.html or -o FILE.png"),
    ],
)
def test_wrong_option_is_the_users_error(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *options, "--recipe", "refshapes"]) == 2
    assert said in capsys.readouterr().err
