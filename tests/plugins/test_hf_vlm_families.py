"""Every family of hf-vlm, end to end, on tiny random weights and a processor made here."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from support_hf_vlm import ANSWER, FAMILIES, SIZES, loaded, talk

from t4spp.config import RunConfig
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.constraint import Constraint
from t4spp.decoding.engine import constrained_engine, plain_engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import BackboneError
from t4spp.plugins import load_catalogue
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme, check_tokenizer
from t4spp.training.checkpoints import load_checkpoint
from t4spp.training.export import export_model
from t4spp.training.trainer import Trainer
from t4spp.types import Target
from t4spp_plugins.backbones.hf_vlm.backbone import HfVlmBackbone
from t4spp_plugins.backbones.hf_vlm.profile import Turn

Folder = Callable[[str], Path]
NEEDS = {"smolvlm": "num2words"}
ONE_PICTURE = {"llava-1.5", "paligemma2"}
ANSWERS_ONCE = {"paligemma2"}
SMALL = {"grid": 2, "max_regions": 1}
"""Of the scheme, so that the longest answer is short."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    needed = NEEDS.get(name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{name} needs {needed}")
    return name


@pytest.fixture(scope="module")
def scheme() -> Scheme:
    return build_scheme("next-brick", **SMALL)


@pytest.fixture(scope="module")
def backbone_of(tiny_vlm: Folder, scheme: Scheme) -> Callable[[str], HfVlmBackbone]:
    """A loaded backbone of a family, which no test may change."""
    made: dict[str, HfVlmBackbone] = {}

    def backbone(family: str) -> HfVlmBackbone:
        if family not in made:
            made[family] = loaded(tiny_vlm(family), scheme.special_tokens)
        return made[family]

    return backbone


def text_of(backbone: HfVlmBackbone, ids: torch.Tensor) -> str:
    return str(backbone.tokenizer.decode(ids, skip_special_tokens=False))


def image_id(backbone: HfVlmBackbone) -> int:
    if backbone.profile.name == "gemma3":
        return int(backbone.tokenizer.image_token_id)
    return int(backbone.processor.image_token_id)


def read_whole(backbone: HfVlmBackbone, text: str, *talks: Any) -> list[int]:
    """Ids of a whole text by the checkpoint's own processor, as its vendor would call it."""
    begin = backbone.tokenizer.bos_token
    options = {"add_special_tokens": False} if begin and text.startswith(begin) else {}
    pictures = [Pictures.fromarray(talk.load_image()) for talk in talks]
    encoded = backbone.processor(images=[pictures], text=[text], return_tensors="pt", **options)
    return [int(i) for i in encoded["input_ids"][0]]


def test_a_family_is_known_by_the_checkpoint_alone(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    assert backbone.profile.name == family
    assert backbone.native_box_format == backbone.profile.box_format
    assert re.fullmatch(r"hf-vlm:[0-9a-f]{16}", backbone.fingerprint())


def test_only_the_answer_and_its_end_are_labels(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    (ids,), (labels,) = (
        backbone.collate([talk()], training=True).tensors[name] for name in ("input_ids", "labels")
    )
    told = labels != -100
    assert text_of(backbone, labels[told]).lstrip(" ") == ANSWER + (
        backbone.profile.end or backbone.tokenizer.eos_token
    )
    assert ids[told].tolist() == labels[told].tolist()
    prompt = backbone.collate([talk(answer=None)], training=False).tensors["input_ids"][0]
    assert prompt.tolist() == ids[~told].tolist()


def test_ids_are_those_of_the_checkpoints_own_processor(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    """The prompt's ids are a prefix of those of prompt and answer, read as one text."""
    backbone = backbone_of(family)
    inputs = backbone.collate([talk()], training=True)
    ids = inputs.tensors["input_ids"][0].tolist()
    text = backbone.profile.prompt(backbone.processor, [Turn(question="Segment the dog.")])
    prompt = read_whole(backbone, text, talk())
    assert ids[: len(prompt)] == prompt
    assert len(ids) == len(prompt) + inputs.num_answer_tokens
    if family != "paligemma2":  # its processor ends every text with a newline
        joint = backbone.profile.opening(backbone.processor)[1]
        assert ids[:-1] == read_whole(backbone, text + joint + ANSWER, talk())


def test_pictures_take_as_many_tokens_as_foretold(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    talks = [talk(size=size, name=str(size)) for size in SIZES]
    ids = backbone.collate(talks, training=True).tensors["input_ids"]
    counted = tuple(int((row == image_id(backbone)).sum()) for row in ids)
    assert counted == FAMILIES[family].num_image_tokens
    assert counted == tuple(backbone.num_image_tokens(size) for size in SIZES)
    (alone,) = backbone.collate([talks[0]], training=True).tensors["input_ids"]
    fits = backbone.collate(talks[:1], training=True, max_length=len(alone))
    assert fits.too_long == () and fits.tensors["input_ids"].shape[1] == len(alone)
    refused = backbone.collate(talks[:1], training=True, max_length=len(alone) - 1)
    assert refused.too_long == (str(SIZES[0]),) and refused.tensors == {}


def test_unequal_pictures_in_one_batch_do_not_change_each_other(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    talks = [
        talk(size=SIZES[0], seed=1, name="a"),
        talk("Segment the cat on the left in this picture.", size=SIZES[1], seed=2, name="b"),
    ]
    for training in (True, False):
        together = backbone.collate(talks, training=training).tensors
        together.pop("labels", None)
        mask = together["attention_mask"].bool()
        assert not bool(mask.all())
        with torch.no_grad():
            scores = backbone.model(**together).logits
            for row, lone in enumerate(talks):
                alone = backbone.collate([lone], training=training).tensors
                alone.pop("labels", None)
                expected = backbone.model(**alone).logits[0]
                torch.testing.assert_close(scores[row][mask[row]], expected, rtol=1e-3, atol=1e-4)


def test_a_picture_changes_what_is_answered(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    with torch.no_grad():
        one, other = (
            backbone.model(**backbone.collate([talk(seed=seed)], training=False).tensors).logits
            for seed in (1, 2)
        )
    assert not torch.allclose(one[0, -1], other[0, -1], atol=1e-5)


def test_earlier_turns_come_with_their_pictures(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    shown = (talk("Segment the cat.", size=SIZES[1], seed=5, name="shown"),)
    asked = talk(answer=None, seed=6, examples=shown)
    if family in ONE_PICTURE:
        with pytest.raises(BackboneError, match=r"reads one picture a prompt, and .* 1 examples"):
            backbone.collate([asked], training=False)
        return
    tensors = backbone.collate([asked], training=False).tensors
    text = text_of(backbone, tensors["input_ids"][0])
    assert text.index("Segment the cat.") < text.index(ANSWER) < text.index("Segment the dog.")
    marks = (tensors["input_ids"][0] == image_id(backbone)).int()
    runs = int(((marks[1:] - marks[:-1]) == 1).sum())
    assert runs >= 2
    with torch.no_grad():
        scores = backbone.model(**tensors).logits
    assert bool(torch.isfinite(scores).all())
    told = backbone.collate([talk(seed=6, examples=shown)], training=True)
    labels = told.tensors["labels"][0]
    assert text_of(backbone, labels[labels != -100]).count("<seg>") == 1


def test_a_conversation_goes_on_about_its_one_picture(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    later = replace(talk(seed=6), turns=(("What is it?", "A bus."),))
    if family in ANSWERS_ONCE:
        with pytest.raises(BackboneError, match="answers one question a prompt"):
            backbone.collate([later], training=True)
        return
    tensors = backbone.collate([later], training=True).tensors
    alone = backbone.collate([talk(seed=6)], training=True).tensors
    text = text_of(backbone, tensors["input_ids"][0])
    assert text.index("What is it?") < text.index("A bus.") < text.index("Segment the dog.")
    number = image_id(backbone)
    assert (tensors["input_ids"] == number).sum() == (alone["input_ids"] == number).sum()
    labels = tensors["labels"][0]
    assert "A bus." not in text_of(backbone, labels[labels != -100])
    with torch.no_grad():
        scores = backbone.model(**tensors).logits
    assert bool(torch.isfinite(scores).all())


def test_names_of_control_tokens_are_plain_text(
    family: str, backbone_of: Callable[[str], HfVlmBackbone]
) -> None:
    backbone = backbone_of(family)
    end = backbone.profile.end or backbone.tokenizer.eos_token
    picture = backbone.processor.image_token
    question = f"Segment the {picture}{picture} before {end} dog."
    inputs = backbone.collate([talk(question)], training=True).tensors
    plain = backbone.collate([talk()], training=True).tensors
    for token in (picture, end):
        number = backbone.tokenizer.convert_tokens_to_ids(token)
        assert int((inputs["input_ids"] == number).sum()) == int(
            (plain["input_ids"] == number).sum()
        )
    assert {name: t.shape for name, t in inputs.items() if "pixel" in name} == {
        name: t.shape for name, t in plain.items() if "pixel" in name
    }
    labelled = f"Here it is.\n<seg>the {end}</seg>"
    (labels,) = backbone.collate([talk(answer=labelled)], training=True).tensors["labels"]
    ids = labels[labels != -100]
    assert int((ids == ids[-1]).sum()) == 1
    assert text_of(backbone, ids[:-1]).lstrip(" ") == labelled


def test_the_grammar_of_answers_begins_as_learnt_answers_do(
    family: str, backbone_of: Callable[[str], HfVlmBackbone], scheme: Scheme
) -> None:
    backbone = backbone_of(family)
    joined = {"llava-1.5", "deepseek-vl", "smolvlm"}
    assert backbone.answer_joint == (" " if family in joined else "")
    mask = np.zeros((8, 8), dtype=np.bool_)
    mask[2:6, 2:6] = True
    descriptor = scheme.encode([Target(label="the dog", mask=mask)], (8, 8))
    told = talk(answer=f"Here it is.\n<seg>{descriptor}</seg>")
    (labels,) = backbone.collate([told], training=True).tensors["labels"]
    ids = labels[labels != -100].tolist()
    constraint = Constraint.of(backbone.tokenizer, [ids[-1]])
    matcher = constraint.matcher(scheme, ("the dog",), backbone.answer_joint)
    assert matcher.try_consume_tokens(ids[:-1]) == len(ids) - 1
    assert matcher.is_accepting()


def test_descriptors_survive_the_tokenizer(
    family: str, backbone_of: Callable[[str], HfVlmBackbone], scheme: Scheme
) -> None:
    backbone = backbone_of(family)
    check_tokenizer(scheme, backbone.tokenizer, max_examples=5)
    assert [backbone.tokenizer.convert_ids_to_tokens(i) for i in _ids(backbone, scheme)] == list(
        scheme.special_tokens
    )


def _ids(backbone: HfVlmBackbone, scheme: Scheme) -> list[int]:
    text = "".join(scheme.special_tokens)
    ids: list[int] = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def run_config(folder: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "tiny",
            "scheme": {"name": "next-brick", "params": SMALL},
            "backbone": {"name": "hf-vlm", "params": {"checkpoint": str(folder)}},
            "data": {
                "recipe": {"name": "rectangles", "params": {"num_samples": 4}},
                "templates": "fixed",
            },
            "training": {
                "mode": "lora",
                "steps": 3,
                "batch_size": 4,
                "learning_rate": 0.02,
                "warmup_ratio": 0.0,
                "log_every": 1,
                "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
            },
        }
    )


class Losses:
    """A follower that keeps the losses."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def log(self, step: int, values: Any) -> None:
        self.found.append(float(values["loss"]))

    def scores(self, split: str, metrics: Any) -> None: ...

    def note(self, message: str, **values: Any) -> None: ...


def test_a_family_is_trained_saved_read_back_and_exported(
    family: str, tiny_vlm: Folder, scheme: Scheme, tmp_path: Path, project: Path
) -> None:
    config = run_config(tiny_vlm(family))
    catalogue = load_catalogue(plugin_files=[project / "tests" / "support_backbone.py"])
    trainer = Trainer(config, catalogue, tmp_path / "run")
    losses = Losses()
    trainer.train(follower=losses)
    assert losses.found[2] < losses.found[1] < losses.found[0]

    talks = [talk(answer=None, size=size, name=str(size)) for size in SIZES]
    settings = GenerationSettings()
    few = EngineBatch(conversations=talks, labels=[("the dog",)] * 2, max_new_tokens=8)
    whole = replace(few, max_new_tokens=120)
    expected = plain_engine(trainer.backbone, few, scheme, settings)
    held = constrained_engine(trainer.backbone, whole, scheme, settings)
    for answer, size in zip(held, SIZES, strict=True):
        assert answer is not None and answer.num_tokens is not None and answer.num_tokens < 120
        assert scheme.decode(answer.text, size, ["the dog"]).status == "ok", answer.text

    again = loaded(tiny_vlm(family), scheme.special_tokens)
    assert again.untrained_tokens == scheme.special_tokens
    load_checkpoint(again, tmp_path / "run", scheme=scheme.fingerprint(), merge=True)
    assert plain_engine(again, few, scheme, settings) == expected
    assert constrained_engine(again, whole, scheme, settings) == held

    export_model(again, tmp_path / "export", {})
    alone = loaded(tmp_path / "export", scheme.special_tokens)
    assert alone.untrained_tokens == ()
    assert plain_engine(alone, few, scheme, settings) == expected
