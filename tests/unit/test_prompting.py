"""Explanations of schemes, and answered examples before a question."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support_experiment import tiny_experiment

from t4spp.components import Backbone
from t4spp.config import load_config
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.prompting import ExamplePool
from t4spp.errors import BackboneError, ConfigError
from t4spp.schemes.base import SEG_CLOSE, SEG_OPEN, Scheme
from t4spp.schemes.explaining import EXAMPLE_SIZE, example_mask
from t4spp.testing import assert_same_regions, build_scheme
from t4spp.training.binding import binding_config
from t4spp.training.trainer import Trainer
from t4spp.types import Decoded, Region, Sample, Target

SCHEMES = (
    "image-full",
    "image-irle",
    "image-rrle",
    "semantic-brick",
    "next-brick",
    "span-brick",
    "box-outline",
)


def sample(number: int, picture: str = "", kind: str = "partial", label: str = "dog") -> Sample:
    mask = np.zeros((8, 8), dtype=np.bool_)
    mask[: 1 + number % 8] = True
    return Sample(
        id=f"s{number}",
        size=(8, 8),
        prompt=label,
        labels=(label,),
        targets=(Target(label=label, mask=mask),),
        load_image=lambda: np.full((8, 8, 3), number, np.uint8),
        image_id=picture or f"p{number}",
        kind=kind,  # type: ignore[arg-type]
    )


def builder(samples: Sequence[Sample], shots: int = 2, **options: bool) -> ConversationBuilder:
    return ConversationBuilder(
        build_scheme("image-rrle", grid=2),
        "fixed",
        pool=ExamplePool(samples, shots, seed=3),
        **options,
    )


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("grid", [16, [3, 24]], ids=str)
def test_the_worked_example_is_what_the_scheme_writes_on_a_small_grid(
    name: str, grid: int | list[int]
) -> None:
    scheme = build_scheme(name, grid=grid)
    small = build_scheme(name, grid=[4, 4] if grid == 16 else [3, 4])
    text = scheme.explain(["cat on the left", "others"])
    example = text.split("the text is:\n")[1]
    target = Target(label="cat on the left", mask=example_mask())
    decoded = small.decode(example, EXAMPLE_SIZE, ["cat on the left"])
    assert decoded.status == "ok"
    assert_same_regions(decoded.regions, small.quantize([target], EXAMPLE_SIZE))


@pytest.mark.parametrize("name", SCHEMES)
def test_an_explanation_tells_the_answers_grid_and_the_word_for_background(name: str) -> None:
    text = build_scheme(name, grid=[12, 20]).explain()
    assert "12 rows and 20 columns" in text
    assert '"others"' in text
    assert 'shows "dog"' in text


def test_an_explanation_word_for_word() -> None:
    assert build_scheme("semantic-brick").explain(["boat"]) == (
        "Write each region by itself, at most 16, ordered by the upper edges of their bounding "
        "boxes. A box is four whole numbers from 0 to 999: its upper, left, lower and right edge, "
        "in thousandths of the picture's height and width. The box is divided into a grid of 16 "
        "rows and 16 columns of cells, each of which lies in the region or not. The first line of "
        'a region is its label, "| " and the four numbers of its box. Then follow 16 lines, one '
        "for each row from top to bottom: from left to right, a run of cells outside the region is "
        'written as "off" and their number, a run inside as "on" and their number; the numbers of '
        'a line sum to 16. Where there is nothing, write "others" alone.\n'
        "An example, on a grid of 4 rows and 4 columns instead of 16 and 16. In a picture whose "
        'right half shows "boat", all but the upper left quarter of that half, the text is:\n'
        "boat| 0 500 999 999\noff2 on2\noff2 on2\non4\non4"
    )


@pytest.mark.parametrize(("coordinates", "marks"), [("tokens", True), ("digits", False)])
def test_next_bricks_explanation_follows_its_parameters(coordinates: str, marks: bool) -> None:
    text = build_scheme("next-brick", grid=4, coordinates=coordinates, row_marks=marks).explain()
    assert ("<|loc0|>" in text) == (coordinates == "tokens")
    assert ("<|row|>" in text) == marks
    assert "An example. In a picture" in text


def test_a_plugins_scheme_is_explained_by_its_example() -> None:
    class Plain(Scheme):
        name = "plain"

        def encode(self, targets: object, size: object, ignore: object = None) -> str:
            return f"{targets[0].label} {int(targets[0].mask.sum())}"  # type: ignore[index]

        def decode(self, text: str, size: object, labels: object = None) -> Decoded:
            raise NotImplementedError

        def quantize(self, targets: object, size: object, ignore: object = None) -> tuple[Region]:
            raise NotImplementedError

        def grammar(self, labels: object = None) -> str:
            raise NotImplementedError

        def max_tokens(self, tokenizer: object, labels: object = None) -> int:
            raise NotImplementedError

    text = Plain(build_scheme("image-rrle").params).explain(["cat"])
    assert text.endswith("the text is:\ncat 2400")


def test_the_question_carries_the_explanation_of_its_own_label() -> None:
    scheme = build_scheme("image-rrle", grid=2)
    talk = ConversationBuilder(scheme, "fixed", explain=True).build(sample(0, label="cat"))
    assert talk is not None
    assert talk.question == (
        'Segment cat.\n\nAnswer with the sentence "Here it is.", a line break, and the mask as '
        "text between <seg> and </seg>; write nothing else. " + scheme.explain(["cat"])
    )
    assert talk.question.endswith("the text is:\nothers *1| cat *1\n others *1| cat *1")


PIXELS = "[x0, y0, x1, y1] in pixels"


@pytest.mark.parametrize("name", ["semantic-brick", "next-brick"])
def test_boxes_that_the_model_knows_are_told_apart_from_the_schemes(name: str) -> None:
    scheme = build_scheme(name, grid=2)
    talk = ConversationBuilder(scheme, "fixed", explain=True, native_boxes=PIXELS).build(sample(0))
    assert talk is not None
    before, _, after = talk.question.partition(
        "Elsewhere you may write a box as [x0, y0, x1, y1] in pixels; here write it as told below, "
        "in that order and unit. "
    )
    assert before.endswith("write nothing else. ")
    assert after == scheme.explain(["dog"])


@pytest.mark.parametrize(
    ("name", "native", "explain"),
    [
        ("image-rrle", PIXELS, True),
        ("semantic-brick", None, True),
        ("semantic-brick", PIXELS, False),
    ],
)
def test_boxes_are_not_spoken_of_where_nobody_writes_or_explains_them(
    name: str, native: str | None, explain: bool
) -> None:
    scheme = build_scheme(name, grid=2)
    asks = ConversationBuilder(scheme, "fixed", explain=explain, native_boxes=native)
    talk = asks.build(sample(0))
    assert talk is not None
    assert "Elsewhere" not in talk.question


def test_training_and_evaluation_ask_with_the_backbones_own_box_format(tmp_path: Path) -> None:
    data = {"recipe": {"name": "rectangles"}, "prompting": {"explain": True}}
    training = {"mode": "full", "steps": 1}
    scheme = {"name": "semantic-brick"}
    experiment = tiny_experiment(tmp_path, data=data, training=training, scheme=scheme)
    backbone = experiment.new_backbone()
    backbone.native_box_format = PIXELS
    trainer = Trainer(experiment.config, experiment.catalogue, tmp_path / "run", backbone=backbone)
    for asks in (trainer.builder, experiment.builder(backbone)):
        talk = asks.build(experiment.samples("val")[0])
        assert talk is not None
        assert "Elsewhere you may write a box as [x0, y0, x1, y1] in pixels;" in talk.question


def test_examples_are_answered_turns_about_other_pictures() -> None:
    samples = [sample(n, picture=f"p{n // 2}") for n in range(12)]
    talk = builder(samples, shots=3).build(samples[4])
    assert talk is not None
    assert talk.answer is None
    assert len(talk.examples) == 3
    pictures = [example.image_id for example in talk.examples]
    assert len({*pictures, "p2"}) == 4, "each another picture, none the question's"
    for example in talk.examples:
        assert re.fullmatch(rf"Here it is\.\n{SEG_OPEN}.*{SEG_CLOSE}", example.answer or "", re.S)
        assert example.question == "Segment dog."
        assert int(example.load_image()[0, 0, 0]) == int(example.id[1:])
        assert example.examples == ()


def test_only_the_first_turn_explains() -> None:
    samples = [sample(n) for n in range(9)]
    talk = builder(samples, explain=True).build(samples[0])
    assert talk is not None
    told = ["An example" in t.question for t in (*talk.examples, talk)]
    assert told == [True, False, False]


def test_the_same_examples_are_drawn_again_and_others_in_another_epoch() -> None:
    samples = [sample(n) for n in range(40)]

    def drawn(epoch: int | None) -> list[str]:
        training = epoch is not None
        talk = builder(samples, shots=4).build(samples[0], training, epoch or 0)
        assert talk is not None
        return [example.id for example in talk.examples]

    assert drawn(None) == drawn(None)
    assert drawn(0) == drawn(0) != drawn(1)


def test_examples_are_of_the_questions_kind_and_can_be_written() -> None:
    samples = [sample(0), sample(1, kind="open"), sample(2, label="a|b"), sample(3)]
    talk = builder(samples, shots=1).build(samples[0])
    assert talk is not None
    assert [example.id for example in talk.examples] == ["s3"]


def test_too_few_examples_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    samples = [sample(0), sample(1), sample(2, picture="p0")]
    asks = builder(samples, shots=2)
    with caplog.at_level(logging.WARNING):
        talk = asks.build(samples[0])
    assert talk is not None
    assert [example.id for example in talk.examples] == ["s1"]
    assert asks.counters["short_of_shots"] == 1
    assert "sample 's0' is asked with 1 of 2 examples" in caplog.text


def test_a_config_draws_from_its_training_split(tmp_path: Path) -> None:
    data = {"recipe": {"name": "rectangles"}, "prompting": {"explain": True, "shots": 2}}
    experiment = tiny_experiment(tmp_path, data=data)
    talk = experiment.builder(experiment.new_backbone()).build(experiment.samples("val")[0])
    assert talk is not None
    assert len(talk.examples) == 2
    assert talk.examples[0].question.startswith("Segment ") or "box" in talk.examples[0].question
    assert "thousandths of the picture's height" in talk.examples[0].question


def test_prompting_is_bound_only_where_it_is_used(tmp_path: Path) -> None:
    recipe = {"name": "rectangles"}
    plain = binding_config(tiny_experiment(tmp_path, data={"recipe": recipe}).config)
    assert "prompting" not in plain["data"], "checkpoints from before it existed stay valid"
    assert "train_split" not in plain["data"]
    few = {"recipe": recipe, "prompting": {"shots": 1}}
    shown = binding_config(tiny_experiment(tmp_path, data=few).config)
    assert shown["data"]["prompting"] == {"explain": False, "shots": 1}
    assert shown["data"]["train_split"] == "train"


def test_companions_and_examples_exclude_each_other(tmp_path: Path) -> None:
    data = {"recipe": {"name": "rectangles"}, "companions": 2, "prompting": {"shots": 1}}
    with pytest.raises(ConfigError, match=r"companions is 2 and prompting\.shots 1"):
        tiny_experiment(tmp_path, data=data)


def test_nano_reads_one_picture_a_prompt_and_says_so() -> None:
    from t4spp_plugins.backbones.nano.backbone import NanoBackbone
    from t4spp_plugins.backbones.nano.config import NanoConfig

    samples = [sample(n) for n in range(4)]
    nano = NanoBackbone(NanoConfig(from_scratch=True))
    nano.load(())
    talk = builder(samples, shots=2).build(samples[0])
    assert talk is not None
    with pytest.raises(BackboneError, match=r"'s0' shows 2 examples.*data\.prompting\.shots=0"):
        nano.collate([talk], training=False)


def test_new_tokens_on_an_unmodified_model_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tiny_experiment(tmp_path)
    backbone: Backbone = experiment.new_backbone()
    backbone.untrained_tokens = ("<|loc0|>", "<|fg1|>")
    monkeypatch.setattr(type(experiment), "new_backbone", lambda _: backbone)
    with caplog.at_level(logging.WARNING):
        assert experiment.untrained_backbone is backbone
    assert "2 of the scheme's tokens, the first is <|loc0|>, are new" in caplog.text
    assert "scheme.name=semantic-brick" in caplog.text


def test_nano_knows_the_tokens_it_was_trained_on() -> None:
    from t4spp_plugins.backbones.nano.backbone import NanoBackbone
    from t4spp_plugins.backbones.nano.config import NanoConfig

    nano = NanoBackbone(NanoConfig(from_scratch=True))
    nano.load(["<|loc4|>", "<|other|>"])
    assert nano.untrained_tokens == ("<|other|>",)


def test_the_zero_shot_config_asks_an_unmodified_model_inside_the_grammar() -> None:
    project = Path(__file__).resolve().parents[2]
    config = load_config(project / "configs" / "experiments" / "zero-shot.yaml")
    assert config.training.mode == "none"
    assert config.data.prompting.explain
    assert config.generation.constrained
    assert build_scheme(config.scheme.name, **config.scheme.params).special_tokens == ()
