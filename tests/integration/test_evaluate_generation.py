import json

import numpy as np
import pytest
from PIL import Image
from support_experiment import PLUGIN, texts_in, tiny_experiment

from t4spp.api import Segmenter
from t4spp.cli import main
from t4spp.components import Backbone
from t4spp.data.head import Head
from t4spp.decoding.answers import Answer, read_answer
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.bounds import TokenBounds
from t4spp.decoding.generate import generate
from t4spp.decoding.processes import Crew
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import RecipeError, RunError
from t4spp.evaluation.during_training import TrainingEvaluator
from t4spp.evaluation.experiment import Experiment
from t4spp.evaluation.run import evaluate_split, generate_split


def _generate(experiment, backbone=None, crew=None, engine=None, **settings):
    values = {"batch_size": 2, "max_new_tokens": 9, **settings}
    options = {} if engine is None else {"engine": engine}
    backbone = backbone or experiment.new_backbone()
    return list(
        generate(
            backbone,
            experiment.samples("val"),
            experiment.scheme,
            experiment.builder(backbone),
            GenerationSettings(**values),
            crew=crew or Crew(),
            **options,
        )
    )


def test_predictions_come_in_the_samples_order_with_their_costs(tmp_path):
    predictions = _generate(tiny_experiment(tmp_path))
    assert [prediction.id for prediction in predictions] == [f"r{i}" for i in range(7)]
    for prediction in predictions:
        assert 1 <= prediction.num_tokens <= 9
        assert prediction.num_passes == prediction.num_tokens
        assert prediction.seconds > 0


def test_answers_do_not_depend_on_the_batch_they_are_padded_in(tmp_path):
    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()
    alone = [prediction.text for prediction in _generate(experiment, backbone, batch_size=1)]
    assert [p.text for p in _generate(experiment, backbone, batch_size=5)] == alone


def test_sampling_repeats_under_one_seed_and_differs_under_another(tmp_path):
    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()

    def texts(seed):
        return [p.text for p in _generate(experiment, backbone, temperature=1.0, seed=seed)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_of_several_drawn_answers_one_is_kept_and_all_are_on_disk_and_paid_for(tmp_path):
    generation = {"batch_size": 2, "max_new_tokens": 9, "temperature": 1.0, "candidates": 3}
    generation["engine"] = "generate"  # a pass a token
    experiment = tiny_experiment(tmp_path, generation=generation)
    path = generate_split(experiment, tmp_path / "one", "val")
    again = generate_split(experiment, tmp_path / "two", "val")
    lines, same = ([json.loads(x) for x in p.read_text().splitlines()] for p in (path, again))
    assert len(lines) == 7
    for line, twin in zip(lines, same, strict=True):
        assert (line["text"], line["others"]) == (twin["text"], twin["others"])
        assert len({line["text"], *line["others"]}) > 1
        assert len(line["others"]) == 2
        assert line["num_tokens"] + 2 <= line["num_passes"] <= 3 * 9
    assert evaluate_split(experiment, tmp_path / "one", "val")["answers"]["num_answers"] == 7


def test_sampling_leaves_the_global_random_state_alone(tmp_path):
    import torch

    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _generate(experiment, backbone, temperature=1.0)
    assert torch.equal(torch.rand(3), expected)


def test_generation_leaves_the_models_mode_as_it_was(tmp_path):
    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()
    backbone.model.train()
    _generate(experiment, backbone)
    assert backbone.model.training


def test_end_token_is_cut_and_counted_and_scheme_tokens_are_kept(tmp_path):
    import torch

    experiment = tiny_experiment(tmp_path)
    tokenizer = experiment.new_backbone().tokenizer
    sample = experiment.samples("val")[0]
    text = f"Here it is.\n<seg>{experiment.scheme.encode(sample.targets, sample.size)}</seg>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    answer = read_answer(torch.tensor([*ids, end, pad, pad]), tokenizer, [end])
    assert answer == Answer(text=text, num_tokens=len(ids) + 1, num_passes=len(ids) + 1)
    assert experiment.scheme.special_tokens[0].startswith("<|")
    assert experiment.scheme.decode(answer.text, sample.size, sample.labels).status == "ok"


def test_answer_without_an_end_token_is_taken_whole(tmp_path):
    import torch

    tokenizer = tiny_experiment(tmp_path).new_backbone().tokenizer
    ids = tokenizer("no end", add_special_tokens=False).input_ids
    assert read_answer(torch.tensor(ids), tokenizer, [tokenizer.eos_token_id]).text == "no end"


def test_bound_covers_every_whole_answer_of_the_truth(tmp_path):
    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()
    tokenizer = backbone.tokenizer
    bounds = TokenBounds(tokenizer, experiment.scheme)
    builder = experiment.builder(backbone)
    for sample in experiment.samples("val"):
        answer = builder.build(sample, training=True).answer
        assert len(tokenizer(answer).input_ids) + 1 <= bounds.of(sample.labels)


def test_another_engine_replaces_the_plain_one(tmp_path):
    experiment = tiny_experiment(tmp_path)
    seen = []

    def engine(backbone, batch, scheme, settings):
        assert isinstance(backbone, Backbone)
        assert isinstance(batch, EngineBatch)
        seen.append((batch.labels, batch.max_new_tokens))
        return [Answer(text=c.id, num_tokens=2, num_passes=1) for c in batch.conversations]

    predictions = _generate(experiment, engine=engine)
    assert [prediction.text for prediction in predictions] == [f"r{i}" for i in range(7)]
    assert seen[0] == ([("red box",), ("blue box",)], 9)


class _Rank(Crew):
    """One of several processes, without the others: it keeps what it answered."""

    is_main = True

    def gather(self, items):
        return list(items)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_shares_of_several_processes_make_up_the_whole_without_repeats(tmp_path, size):
    experiment = tiny_experiment(tmp_path)
    backbone = experiment.new_backbone()
    whole = [prediction.text for prediction in _generate(experiment, backbone)]
    found = {}
    for rank in range(size):
        for prediction in _generate(experiment, backbone, crew=_Rank(rank=rank, size=size)):
            assert prediction.id not in found
            found[prediction.id] = prediction.text
    assert [found[f"r{i}"] for i in range(7)] == whole


def test_interrupted_generation_resumes_to_the_same_file(tmp_path):
    experiment = tiny_experiment(tmp_path)
    whole = generate_split(experiment, tmp_path / "whole", "val")
    run = tmp_path / "run"

    def stop(number):
        stop.answered += number
        if stop.answered >= 4:
            raise KeyboardInterrupt

    stop.answered = 0
    with pytest.raises(KeyboardInterrupt):
        generate_split(experiment, run, "val", progress=stop)
    path = run / "predictions" / "val.jsonl"
    assert texts_in(path) == texts_in(whole)[:4]
    path.write_bytes(path.read_bytes()[:-7])
    told = []
    generate_split(experiment, run, "val", resume=True, progress=told.append)
    assert told == [2, 2, 2, 1]
    assert texts_in(path) == texts_in(whole)


def test_resuming_finished_predictions_loads_no_weights(tmp_path, monkeypatch):
    experiment = tiny_experiment(tmp_path)
    generate_split(experiment, tmp_path, "val")
    monkeypatch.setattr(Experiment, "new_backbone", None)
    generate_split(experiment, tmp_path, "val", resume=True)


def test_unreadable_picture_is_named_and_earlier_answers_are_kept(tmp_path):
    recipe = {"name": "rectangles", "params": {"num_samples": 7, "broken": 5}}
    experiment = tiny_experiment(tmp_path, data={"recipe": recipe})
    with pytest.raises(RecipeError, match="picture 5 is truncated"):
        generate_split(experiment, tmp_path, "val")
    assert len(texts_in(tmp_path / "predictions" / "val.jsonl")) == 4


def test_prompt_longer_than_max_length_is_counted_and_not_asked(tmp_path, caplog):
    # "Segment red box.\n" takes 17 tokens of this tokenizer, a blue box one more.
    recipe = {"name": "rectangles", "params": {"num_samples": 5}}
    data = {"recipe": recipe, "max_length": 17, "templates": "fixed"}
    experiment = tiny_experiment(
        tmp_path, data=data, generation={"batch_size": 3, "max_new_tokens": 4}
    )
    path = generate_split(experiment, tmp_path, "val")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("refused") for line in lines] == [None, "prompt-too-long"] * 2 + [None]
    assert [line["num_passes"] > 0 for line in lines] == [True, False] * 2 + [True]
    assert [line["text"] == "" for line in lines] == [False, True] * 2 + [False]
    assert "sample 'r1' takes more than data.max_length=17 tokens" in caplog.text
    answers = evaluate_split(experiment, tmp_path, "val")["answers"]
    assert answers["problems"]["prompt-too-long"] == {"answers": 2, "occurrences": 2}
    assert answers["num_answers"] == 5


def test_prompt_for_a_label_that_cannot_be_written_is_counted_and_not_asked(tmp_path, caplog):
    recipe = {"name": "rectangles", "params": {"num_samples": 5, "bad_label": 3}}
    path = generate_split(tiny_experiment(tmp_path, data={"recipe": recipe}), tmp_path, "val")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("refused") for line in lines] == [None] * 3 + ["unwritable-label", None]
    assert (lines[3]["text"], lines[3]["num_passes"]) == ("", 0)
    assert "sample 'r3' is not asked: the label" in caplog.text
    answers = evaluate_split(tiny_experiment(tmp_path, data={"recipe": recipe}), tmp_path, "val")
    assert answers["answers"]["problems"]["unwritable-label"]["answers"] == 1


def test_nothing_is_generated_where_every_prompt_is_too_long(tmp_path):
    data = {"recipe": {"name": "rectangles", "params": {"num_samples": 3}}, "max_length": 16}
    path = generate_split(tiny_experiment(tmp_path, data=data), tmp_path, "val")
    assert texts_in(path) == ["", "", ""]


def test_python_and_predict_keep_the_candidates_that_were_not_chosen(tmp_path, capsys):
    drawn = {"max_new_tokens": 9, "temperature": 1.0, "candidates": 3}
    experiment = tiny_experiment(tmp_path, generation=drawn)
    segmenter = Segmenter(experiment, experiment.new_backbone())
    found = segmenter.segment(np.zeros((8, 8, 3), np.uint8), "the dog")
    assert len(found.others) == 2
    options = ["--plugin-file", str(PLUGIN)]
    assert (
        main(["evaluate", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "run"), *options]) == 0
    )
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "dark.png")
    mask = tmp_path / "out.png"
    asked = ["predict", str(tmp_path / "dark.png"), "the dog", "--run", str(tmp_path / "run")]
    assert main([*asked, "-o", str(mask), *options]) == 0
    record = json.loads(mask.with_suffix(".json").read_text())
    assert (record["text"], record["others"]) == (found.text, list(found.others))


def test_python_says_that_a_prompt_is_too_long(tmp_path):
    experiment = tiny_experiment(
        tmp_path, data={"recipe": {"name": "rectangles"}, "max_length": 16}
    )
    segmenter = Segmenter(experiment, experiment.new_backbone())
    with pytest.raises(RunError, match=r"does not fit data\.max_length=16"):
        segmenter.segment(np.zeros((8, 8, 3), np.uint8), "the dog")


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"training": {"keep_last": 5, "micro_batch_size": 2, "log_every": 1}}, True),
        ({"training": {"num_workers": 1, "save_every": 1, "evaluate_every": 1}}, True),
        ({"evaluation": {"bootstrap": 11}}, True),
        ({"training": {"learning_rate": 0.1}}, False),
        ({"generation": {"max_new_tokens": 8}}, False),
        ({"seed": 1}, False),
    ],
)
def test_only_settings_that_shape_answers_change_their_hash(tmp_path, changes, same):
    base = {"mode": "full", "steps": 2, "batch_size": 4}
    one = tiny_experiment(tmp_path, training=base).answers_hash()
    changed = {**changes, "training": {**base, **changes.get("training", {})}}
    assert (tiny_experiment(tmp_path, **changed).answers_hash() == one) is same


def test_run_that_should_be_trained_and_is_not_says_how(tmp_path):
    training = {"mode": "full", "steps": 2, "batch_size": 2}
    with pytest.raises(RunError, match="t4spp train"):
        generate_split(tiny_experiment(tmp_path, training=training), tmp_path, "val")


def test_evaluation_during_training_scores_the_first_samples_and_writes_nothing(tmp_path):
    training = {"mode": "full", "steps": 2, "batch_size": 2, "eval_samples": 3}
    experiment = tiny_experiment(tmp_path, training=training)
    before = sorted(tmp_path.iterdir())
    metrics = TrainingEvaluator(experiment)(experiment.new_backbone(), 5)
    assert (metrics["step"], metrics["num_samples"]) == (5, 3)
    assert metrics["protocols"]["native"]["mean_iou"]["value"] is not None
    assert metrics["protocols"]["native"]["mean_iou"]["low"] is None
    assert sorted(tmp_path.iterdir()) == before


def test_head_is_the_first_samples_read_lazily():
    class Lazy:
        def __len__(self):
            return 10

        def __getitem__(self, index):
            return index

    head = Head(Lazy(), 3)
    assert (len(head), list(head), head[-1], list(head[1:])) == (3, [0, 1, 2], 2, [1, 2])
    with pytest.raises(IndexError):
        head[3]
