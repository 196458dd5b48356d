"""Prompts about one picture that are learnt together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from t4spp.components import Backbone, ModelInputs
from t4spp.config import AugmentConfig, RunConfig
from t4spp.data.augment import Augmenter
from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.data.order import GlobalOrder
from t4spp.errors import ConfigError
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme
from t4spp.training.batches import StepBatches
from t4spp.training.trainer import Trainer
from t4spp.types import Sample, Target

SIDES = np.zeros((8, 8, 3), dtype=np.uint8)
SIDES[:, :4] = 200
PROMPTS = ("sky", "road", "the left tree", "car")


def samples(named: bool = True) -> list[Sample]:
    """Six pictures of four prompts each; the car is one pixel in the upper left corner."""
    made = []
    for picture in range(6):
        for place, prompt in enumerate(PROMPTS):
            mask = np.zeros((8, 8), dtype=bool)
            if prompt == "car":
                mask[0, 0] = True
            else:
                mask[2 * place : 2 * place + 4] = True
            made.append(
                Sample(
                    id=f"{picture}-{prompt}",
                    size=(8, 8),
                    prompt=prompt,
                    targets=(Target(label=prompt, mask=mask),),
                    labels=(prompt,),
                    load_image=lambda: SIDES,
                    image_id=str(picture) if named else "",
                )
            )
    return made


class Packer(Backbone):
    """Keeps the packs that it is given."""

    packs = True

    def __init__(self) -> None:
        self.seen: list[list[list[Conversation]]] = []

    def load(self, scheme_tokens: Sequence[str]) -> None: ...

    def fingerprint(self) -> str:
        return "packer"

    def collate_packs(self, packs: Any, *, max_length: int | None = None) -> ModelInputs:
        self.seen.append([list(pack) for pack in packs])
        too_long = tuple(pack[0].id for pack in packs if pack[0].id == "0-sky")
        unpacked = tuple(c.id for pack in packs for c in pack[1:] if c.id == "0-road")
        return ModelInputs(
            tensors={"labels": torch.ones(1, 3)}, too_long=too_long, unpacked=unpacked
        )


def batches_of(
    companions: int, augment: AugmentConfig | None = None, named: bool = True
) -> tuple[StepBatches, Packer]:
    packer = Packer()
    batches = StepBatches(
        samples=samples(named),
        builder=ConversationBuilder(build_scheme("next-brick"), "fixed", 0),
        augmenter=None if augment is None else Augmenter(augment, 0),
        backbone=packer,
        order=GlobalOrder(24, 4, seed=0),
        rank=0,
        num_processes=1,
        micro_batch_size=2,
        num_micro_batches=2,
        max_length=2048,
        num_steps=12,
        companions=companions,
    )
    return batches, packer


def packs_of(batches: StepBatches, packer: Packer, steps: Sequence[int]) -> list[list[str]]:
    packer.seen.clear()
    for step in steps:
        assert batches[step].error is None
    return [[each.id for each in pack] for packs in packer.seen for pack in packs]


def test_companions_are_other_prompts_about_the_samples_picture() -> None:
    batches, packer = batches_of(3)
    packs = packs_of(batches, packer, range(6))
    assert len(packs) == 24, "every sample leads one pack an epoch"
    assert {pack[0] for pack in packs} == {sample.id for sample in samples()}
    for pack in packs:
        assert len(pack) == len(set(pack)) == 4
        assert len({name.split("-")[0] for name in pack}) == 1


def test_fewer_companions_are_drawn_evenly_by_epoch_and_repeatably() -> None:
    batches, packer = batches_of(1)
    epochs = [packs_of(batches, packer, range(first, first + 6)) for first in range(0, 240, 6)]
    assert all(len(pack) == 2 for packs in epochs for pack in packs)
    assert sorted(pack[0] for pack in epochs[0]) == sorted(pack[0] for pack in epochs[1])
    assert sorted(epochs[0]) != sorted(epochs[1])
    again, other = batches_of(1)
    assert packs_of(again, other, range(6)) == epochs[0]
    taken = Counter(pack[1].split("-")[1] for packs in epochs for pack in packs)
    assert set(taken) == set(PROMPTS) and sum(taken.values()) == 960
    assert max(taken.values()) - min(taken.values()) < 100, "whatever their place in the picture"


def test_a_picture_without_a_name_is_its_samples_alone() -> None:
    batches, packer = batches_of(3, named=False)
    assert all(len(pack) == 1 for pack in packs_of(batches, packer, range(6)))


def test_companions_count_as_samples_and_what_does_not_fit_does_not() -> None:
    batches, _ = batches_of(3)
    steps = [batches[step] for step in range(6)]
    assert sum(len(batch.too_long) for batch in steps) == 1
    assert sum(batch.num_unpacked for batch in steps) == 3
    assert sum(batch.num_samples for batch in steps) == 24 * 4 - 1 - 3


def test_a_pack_shares_one_change_of_its_picture() -> None:
    """A crop without the car, or a mirror before a prompt that says left, goes without them."""
    batches, packer = batches_of(3, AugmentConfig(mirror=0.5, min_crop=0.5))
    found = set()
    for pack in packs_of(batches, packer, range(12)):
        found.add(frozenset(name.split("-")[1] for name in pack))
    assert frozenset(PROMPTS) in found
    assert any("car" not in prompts for prompts in found)
    assert any("the left tree" not in prompts for prompts in found)
    for packs in packer.seen:
        for pack in packs:
            sizes = {conversation.size for conversation in pack}
            pictures = [conversation.load_image() for conversation in pack]
            assert len(sizes) == 1 and pictures[0].shape[:2] in sizes
            assert all(np.array_equal(picture, pictures[0]) for picture in pictures)
            assert all("others" not in str(conversation.answer) for conversation in pack)
            if any(conversation.id.endswith("left tree") for conversation in pack):
                assert not pictures[0][0, -1].any(), "not mirrored: dark on the right"


def run_config(backbone: str, mode: str = "full", **data: Any) -> RunConfig:
    recipe = {"name": "refshapes", "params": {"prompts_per_scene": 4, "num_scenes": {"train": 3}}}
    return RunConfig.model_validate(
        {
            "name": "companions",
            "scheme": {"name": "next-brick"},
            "backbone": {"name": backbone},
            "data": {"recipe": recipe, **data},
            "training": {
                **{"mode": mode, "steps": 2, "batch_size": 2, "learning_rate": 1e-4},
                **{"save_every": 1, "log_every": 1},
            },
        }
    )


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_training_with_companions_counts_them(mode: str, tmp_path: Path) -> None:
    run = run_config("nano", mode, companions=3)
    summary = Trainer(run, load_catalogue(), tmp_path / "run").train()
    assert (summary.samples, summary.too_long, summary.unwritable) == (16, 0, 0)
    assert summary.unpacked == 0
    assert summary.loss is not None and 0 < summary.loss < 10


class Killed(Exception):
    """Stands for a process that ends in the middle of a run."""


class StopAfterOneStep:
    """A follower that ends the run once its first checkpoint is written."""

    def log(self, step: int, values: Any) -> None:
        if step > 1:
            raise Killed

    def scores(self, split: str, metrics: Any) -> None: ...

    def note(self, message: str, **values: Any) -> None: ...


def test_a_resumed_run_with_companions_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Changed pictures and fewer companions than there are: both are drawn by step alone."""
    catalogue = load_catalogue()
    run = run_config("nano", companions=2, augment={"mirror": 0.5, "colour": 0.3})
    whole = Trainer(run, catalogue, tmp_path / "whole").train()
    with pytest.raises(Killed):
        Trainer(run, catalogue, tmp_path / "killed").train(follower=StopAfterOneStep())
    trainer = Trainer(run, catalogue, tmp_path / "killed")
    trainer.claim(resume=True)
    again = trainer.train()
    assert again.resumed_from == 1
    assert (again.samples, again.answer_tokens) == (whole.samples, whole.answer_tokens)
    (first,) = whole.checkpoint.glob("*/*.safetensors")
    (second,) = again.checkpoint.glob("*/*.safetensors")
    assert second.read_bytes() == first.read_bytes()


def test_a_backbone_that_cannot_pack_says_so(project: Path, tmp_path: Path) -> None:
    catalogue = load_catalogue(plugin_files=[project / "tests" / "support_backbone.py"])
    with pytest.raises(ConfigError, match=r"data\.companions=2: the backbone 'tiny-text' cannot"):
        Trainer(run_config("tiny-text", companions=2), catalogue, tmp_path / "run")
