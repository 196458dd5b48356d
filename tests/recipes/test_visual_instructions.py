"""Conversations about pictures in each distributed layout, and what is left out of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from t4spp.cli import main
from t4spp.data.vocabulary import labels_of
from t4spp.errors import RecipeError
from t4spp_recipes.natural.instruction_config import VisualInstructionsConfig
from t4spp_recipes.natural.visual_instructions import VisualInstructions


def draw(folder: Path, *names: str, size: tuple[int, int] = (12, 8)) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 30, 30)).save(path)
    return folder


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def write_lines(path: Path, values: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def recipe(annotations: Path | dict[str, Path], images: Path, **more: Any) -> VisualInstructions:
    config = VisualInstructionsConfig(annotations=annotations, images=images, **more)
    return VisualInstructions(config)


def said(*turns: str) -> list[dict[str, str]]:
    return [
        {"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(turns)
    ]


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    draw(tmp_path / "pictures", "coco/a.jpg", "vg/a.jpg")
    records = [
        {
            "id": "1",
            "image": "coco/a.jpg",
            "conversations": said("<image>\nWhat is red?", "A bus.", "Which?", "The left one."),
        },
        {"id": "1", "image": "vg/a.jpg", "conversations": said("How many?\n<image>", "Two.")},
        {"id": "2", "conversations": said("Tell a joke.", "No.")},
        {"id": "3", "image": ["coco/a.jpg", "vg/a.jpg"], "conversations": said("?", "!")},
        {
            "id": "4",
            "image": "coco/a.jpg",
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "gpt", "value": "Hello."},
                {"from": "human", "value": "Anyone?"},
                {"from": "human", "value": "<image>\nWhat is it?"},
                {"from": "gpt", "value": "A van."},
                {"from": "human", "value": "And this?"},
            ],
        },
    ]
    return write(tmp_path / "mix.json", records)


def test_each_question_of_a_conversation_stands_behind_the_turns_before_it(llava: Path) -> None:
    found = recipe(llava, llava.parent / "pictures")
    samples = found.samples("all")
    assert [(s.id, s.prompt, s.answers, s.context) for s in samples] == [
        ("1-1", "What is red?", ("A bus.",), ()),
        ("1-2", "Which?", ("The left one.",), (("What is red?", "A bus."),)),
        ("1", "How many?", ("Two.",), ()),
        ("4", "What is it?", ("A van.",), ()),
    ]
    assert {s.kind for s in samples} == {"dialogue"}
    assert all(s.targets == () and s.labels == () and s.size == (8, 12) for s in samples)
    assert [s.image_id for s in samples] == ["coco/a.jpg", "coco/a.jpg", "vg/a.jpg", "coco/a.jpg"]
    assert samples[2].image.shape == (8, 12, 3)


def test_what_is_left_out_of_conversations_is_counted(llava: Path) -> None:
    found = recipe(llava, llava.parent / "pictures", turns="first")
    assert [s.id for s in found.samples("all")] == ["1-1", "1", "4"]
    assert found.counters() == {
        "records_of_text_only": 1,
        "records_of_several_pictures": 1,
        "turns_of_others": 1,
        "answers_without_question": 1,
        "questions_without_answer": 2,
        "further_turns_left_out": 1,
    }


def test_an_instruction_stands_behind_every_question(llava: Path) -> None:
    samples = recipe(llava, llava.parent / "pictures", instruction="Be brief.").samples("all")
    assert samples[1].prompt == "Which?\nBe brief."
    assert samples[1].context == (("What is red?\nBe brief.", "A bus."),)


def test_that_questions_have_no_labels_is_known_without_their_pictures(llava: Path) -> None:
    (llava.parent / "empty").mkdir()
    samples = recipe(llava, llava.parent / "empty").samples("all")
    assert len(samples) and labels_of(samples) == frozenset()


def test_records_of_one_id_are_told_apart(tmp_path: Path) -> None:
    draw(tmp_path, "a.jpg")
    records = [
        {"id": name, "image": "a.jpg", "conversations": said("Is it?", "Yes.")}
        for name in ("x", "x", "x#2", "x")
    ]
    found = recipe(write(tmp_path / "a.json", records), tmp_path)
    assert [s.id for s in found.samples("all")] == ["x", "x#2", "x#2#2", "x#3"]
    assert found.counters() == {"ids_that_repeat": 3}


def test_vqa_takes_questions_and_answers_from_its_two_files(tmp_path: Path) -> None:
    draw(tmp_path / "val2014", "COCO_val2014_000000000042.jpg")
    people = ["net"] * 3 + ["racket"] * 4 + ["bat"] * 3
    annotations = {
        "annotations": [
            {
                "question_id": 42000,
                "image_id": 42,
                "answer_type": "other",
                "multiple_choice_answer": "net",
                "answers": [
                    {"answer": text, "answer_confidence": "yes", "answer_id": number}
                    for number, text in enumerate(people, start=1)
                ],
            },
            {"question_id": 9, "image_id": 42, "answers": [{"answer": "x"}]},
        ]
    }
    questions = {
        "questions": [
            {"question_id": 42000, "image_id": 42, "question": "What is this?"},
            {"question_id": 42001, "image_id": 42, "question": "Unanswered?"},
        ]
    }
    answers = write(tmp_path / "v2_mscoco_val2014_annotations.json", annotations)
    asked = write(tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json", questions)
    found = recipe(answers, tmp_path / "val2014", questions=asked)
    assert found.splits == ("all", "val")
    (sample,) = found.samples("val")
    assert (sample.id, sample.prompt, sample.tags) == (
        "42000", "What is this?", ("answer-type:other",),
    )  # fmt: skip
    assert sample.answers == ("net",) * 3 + ("racket",) * 4 + ("bat",) * 3
    assert found.counters() == {
        "annotations_without_question": 1,
        "questions_without_annotation": 1,
    }
    assert [m for m in found.verify() if "214354" in m] == [
        f"{answers}: 2 records, and the file of this name is distributed with 214354. Fetch it "
        "again, or give a part another name."
    ]


def test_each_of_vqas_files_alone_says_which_other_is_needed(tmp_path: Path) -> None:
    asked = write(tmp_path / "q.json", {"questions": []})
    answers = write(tmp_path / "a.json", {"annotations": [{"question_id": 1, "image_id": 1}]})
    with pytest.raises(RecipeError, match="Give it as 'questions'"):
        recipe(asked, tmp_path)
    with pytest.raises(RecipeError, match="Give the file of questions as 'questions'"):
        recipe(answers, tmp_path)


@pytest.mark.parametrize("file", ["annotations", "questions"])
def test_a_vqa_record_whose_question_id_is_no_id_is_named(tmp_path: Path, file: str) -> None:
    records = {
        "annotations": {"question_id": 1, "image_id": 5, "answers": [{"answer": "x"}]},
        "questions": {"question_id": 1, "image_id": 5, "question": "What?"},
    }
    records[file]["question_id"] = [1]
    paths = {
        name: write(tmp_path / f"{name}.json", {name: [record]}) for name, record in records.items()
    }
    with pytest.raises(RecipeError, match=rf"{file}\.json: record 0 needs a question_id"):
        recipe(paths["annotations"], tmp_path, questions=paths["questions"])


def test_pope_is_read_from_json_lines(tmp_path: Path) -> None:
    draw(tmp_path, "COCO_val2014_000000310196.jpg")
    lines = [
        {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "A?", "label": "yes"},
        {"question_id": 2, "image": "COCO_val2014_000000310196.jpg", "text": "B?", "label": "no"},
    ]
    found = recipe(write_lines(tmp_path / "pope.json", lines), tmp_path)
    assert [(s.id, s.prompt, s.answers) for s in found.samples("all")] == [
        ("1", "A?", ("yes",)),
        ("2", "B?", ("no",)),
    ]
    assert found.verify() == []


def test_a_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    path = tmp_path / "qa.jsonl"
    lines = [
        {"question": "One\u2028two?", "image": "a.png", "answer": "a\u0085b"},
        {"question": "Three?", "image": "a.png", "answer": "c"},
    ]
    path.write_text("\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    found = recipe(path, tmp_path)
    assert [(s.prompt, s.answers) for s in found.samples("all")] == [
        ("One\u2028two?", ("a\u0085b",)),
        ("Three?", ("c",)),
    ]


def test_question_and_answers_are_read_and_the_most_frequent_answer_is_learnt(
    tmp_path: Path,
) -> None:
    draw(tmp_path, "a.png")
    lines = [
        {"question": "Colour?", "image": "a.png", "answers": ["red", "blue", "blue"]},
        {"question": "Number?", "image": "a.png", "answer": 3},
        {"question": "Nothing?", "image": "a.png", "answer": ""},
    ]
    found = recipe(write_lines(tmp_path / "qa.jsonl", lines), tmp_path)
    assert [(s.id, s.answers) for s in found.samples("all")] == [
        ("0", ("blue", "blue", "red")),
        ("1", ("3",)),
    ]
    assert found.counters() == {"empty_turns": 1}


def test_a_picture_of_another_folder_is_not_taken_for_one_of_the_same_name(tmp_path: Path) -> None:
    draw(tmp_path / "pictures", "vg/7.jpg", "coco/train2017/000000000009.jpg")
    records = [
        {"id": "a", "image": "gqa/7.jpg", "conversations": said("What?", "That.")},
        {"id": "b", "image": "train/000000000009.jpg", "conversations": said("What?", "That.")},
    ]
    path = write(tmp_path / "a.json", records)
    found = recipe(path, tmp_path / "pictures")
    with pytest.raises(RecipeError, match=r"gqa/7\.jpg of question 'a' was not found"):
        found.samples("all")[0]
    assert found.samples("all")[1].size == (8, 12)
    (missing,) = found.verify()
    assert "1 of 2 pictures" in missing and "the first is gqa/7.jpg" in missing
    skipped = recipe(path, tmp_path / "pictures", missing_pictures="skip")
    assert [s.id for s in skipped.samples("all")] == ["b"]
    assert skipped.counters() == {"records_without_picture": 1}


def test_val_share_parts_pictures_and_not_questions(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(10)]
    draw(tmp_path, *names)
    records = [
        {"id": f"{name}{copy}", "image": name, "conversations": said("What?", "That.")}
        for name in names
        for copy in "ab"
    ]
    found = recipe(write(tmp_path / "a.json", records), tmp_path, val_share=0.3)
    train, val = ({s.image_id for s in found.samples(split)} for split in ("train", "val"))
    assert len(val) == 3 and len(train) == 7 and not train & val
    assert len(found.samples("val")) == 6


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "holds no record"),
        ("{", "not JSON"),
        ('[{"image": "a.jpg"}]', "layout cannot be told by the keys image"),
        ('[{"image": "a.jpg", "conversations": [{"from": "human"}]}]', r"conversations\[0\] needs"),
        ('[{"conversations": []}]', "none of its 1 records"),
        ('[{"image": "a.jpg", "text": "?", "label": "maybe"}]', "POPE's are yes and no"),
        ('{"a": 1}\n{"b": ', "a.json:2: neither JSON nor JSON lines"),
    ],
)
def test_damaged_files_are_refused_with_what_is_wrong(
    tmp_path: Path, content: str, expected: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(RecipeError, match=expected):
        recipe(path, tmp_path)


def test_data_check_says_where_a_missing_file_is_to_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = ["--param", f"annotations={tmp_path / 'gone.json'}", "--param", f"images={tmp_path}"]
    assert main(["data", "check", "--recipe", "visual-instructions", *params]) == 2
    error = capsys.readouterr().err
    assert "gone.json does not exist" in error
    assert "https://visualqa.org/download.html (annotations CC BY 4.0" in error


def test_data_check_counts_what_it_left_out(
    llava: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = ["--param", f"annotations={llava}", "--param", f"images={llava.parent / 'pictures'}"]
    assert main(["data", "check", "--recipe", "visual-instructions", *params, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    counted = told["splits"]["all"]
    assert (counted["num_samples"], counted["num_in_words"], counted["num_without_target"]) == (
        4, 4, 0,
    )  # fmt: skip
    assert told["counters"]["records_of_text_only"] == 1


def test_a_preview_shows_what_was_said_before(llava: Path, tmp_path: Path) -> None:
    params = ["--param", f"annotations={llava}", "--param", f"images={llava.parent / 'pictures'}"]
    page = tmp_path / "preview.html"
    arguments = ["data", "preview", "--recipe", "visual-instructions", *params, "-o", str(page)]
    assert main(arguments) == 0
    assert "<pre>What is red?\nA bus.</pre>" in page.read_text()
