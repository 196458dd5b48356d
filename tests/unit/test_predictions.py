import dataclasses
import json

import pytest

from t4spp.decoding.generate import resume_point
from t4spp.decoding.prediction import Prediction
from t4spp.errors import RunError
from t4spp.evaluation.predictions import (
    PredictionMeta,
    PredictionWriter,
    check_scheme,
    match_samples,
    meta_path,
    predictions_path,
    read_meta,
    read_predictions,
)
from t4spp.types import Sample


def _prediction(number, **fields):
    values = {
        "id": f"s{number}",
        "prompt": "the dog",
        "labels": ("the dog",),
        "text": "Here.\n<seg></seg>",
        "num_tokens": 5,
        "num_passes": 5,
        "seconds": 0.25,
        **fields,
    }
    return Prediction(**values)


META = PredictionMeta(
    scheme="next-brick@1:aa", config_hash="bb", backbone="oracle:cc", split="val", num_samples=3
)


@pytest.fixture
def path(tmp_path):
    return predictions_path(tmp_path, "val")


def _write(path, numbers, **options):
    with PredictionWriter(path, META, **options) as writer:
        for number in numbers:
            writer.write(_prediction(number))
    return writer


def test_a_line_holds_the_seven_documented_keys(path):
    _write(path, [0])
    assert path.read_text() == (
        '{"id": "s0", "prompt": "the dog", "labels": ["the dog"], '
        '"text": "Here.\\n<seg></seg>", "num_tokens": 5, "num_passes": 5, "seconds": 0.25}\n'
    )


def test_meta_says_what_made_the_predictions(path):
    _write(path, [0])
    assert json.loads(meta_path(path).read_text()) == {
        "backbone": "oracle:cc",
        "checkpoint": "",
        "config_hash": "bb",
        "num_samples": 3,
        "schema": 1,
        "scheme": "next-brick@1:aa",
        "split": "val",
    }
    assert read_meta(path) == META


@pytest.mark.parametrize("text", ["zwei\nZeilen", "\u2028\u0085", 'quote " \\', "hund 犬 🐕", ""])
def test_any_text_survives_the_file(path, text):
    with PredictionWriter(path, META) as writer:
        writer.write(_prediction(0, text=text))
    assert read_predictions(path)[0].text == text


def test_the_candidates_that_were_not_kept_survive_the_file(path):
    with PredictionWriter(path, META) as writer:
        writer.write(_prediction(0, others=("a", "")))
    assert read_predictions(path)[0].others == ("a", "")


def test_every_prediction_is_on_disk_as_soon_as_it_is_written(path):
    with PredictionWriter(path, META) as writer:
        writer.write(_prediction(0))
        assert [prediction.id for prediction in read_predictions(path)] == ["s0"]


def test_existing_predictions_are_refused_and_stay(path):
    _write(path, [0])
    before = path.read_bytes()
    with pytest.raises(RunError, match="--resume, or replace it by --overwrite"):
        PredictionWriter(path, META)
    assert path.read_bytes() == before


def test_resume_goes_on_after_what_is_there(path):
    _write(path, [0, 1])
    _write(path, [2], resume=True)
    assert [prediction.id for prediction in read_predictions(path)] == ["s0", "s1", "s2"]


def test_line_that_an_interruption_cut_is_left_out_and_replaced(path):
    _write(path, [0, 1])
    path.write_bytes(path.read_bytes()[:-20])
    assert [prediction.id for prediction in read_predictions(path)] == ["s0"]
    _write(path, [1], resume=True)
    assert [prediction.id for prediction in read_predictions(path)] == ["s0", "s1"]


def test_overwrite_starts_anew(path):
    _write(path, [0, 1])
    _write(path, [2], overwrite=True)
    assert [prediction.id for prediction in read_predictions(path)] == ["s2"]


@pytest.mark.parametrize("field", ["scheme", "config_hash", "backbone", "checkpoint", "split"])
def test_resume_under_anything_else_is_refused(path, field):
    _write(path, [0])
    other = dataclasses.replace(META, **{field: "other"})
    with pytest.raises(RunError, match="other"):
        PredictionWriter(path, other, resume=True)


def test_predictions_of_another_scheme_are_refused(path):
    with pytest.raises(RunError, match=r"next-brick@1:aa.*image-rrle@1:zz"):
        check_scheme(META, "image-rrle@1:zz", path)


@pytest.mark.parametrize(
    "line", ["not json", "[]", '{"id": "s0"}', '{"id": "s0", "labels": 3}', "null"]
)
def test_damaged_line_is_named_by_its_number(path, line):
    _write(path, [0])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(RunError, match="line 2"):
        read_predictions(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 2}'])
def test_damaged_meta_is_one_clear_error(path, text):
    _write(path, [0])
    meta_path(path).write_text(text)
    with pytest.raises(RunError, match=r"val\.meta\.json"):
        read_meta(path)


def test_missing_files_are_one_clear_error(path):
    with pytest.raises(RunError, match="does not exist"):
        read_predictions(path)
    with pytest.raises(RunError, match="is missing"):
        read_meta(path)


def _sample(number, prompt="the dog"):
    return Sample(id=f"s{number}", size=(4, 4), prompt=prompt, targets=())


def test_predictions_are_matched_by_id_in_the_samples_order(path):
    found = match_samples([_prediction(1), _prediction(0)], [_sample(0), _sample(1)], path)
    assert [prediction.id for prediction in found] == ["s0", "s1"]


def test_missing_answer_names_the_sample(path):
    with pytest.raises(RunError, match=r"no answer for the sample 's1'"):
        match_samples([_prediction(0)], [_sample(0), _sample(1)], path)


def test_answer_to_another_prompt_is_refused(path):
    with pytest.raises(RunError, match="'the cat'"):
        match_samples([_prediction(0)], [_sample(0, "the cat")], path)


def test_id_that_is_answered_twice_is_refused(path):
    with pytest.raises(RunError, match="twice"):
        match_samples([_prediction(0), _prediction(0)], [_sample(0)], path)


def test_resume_starts_at_the_edge_of_a_batch_unless_all_is_done():
    assert resume_point(0, 10, 4) == 0
    assert resume_point(7, 10, 4) == 4
    assert resume_point(8, 10, 4) == 8
    assert resume_point(10, 10, 4) == 10
