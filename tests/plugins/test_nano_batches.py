"""What nano's pretraining reads: scenes, conversations, dense targets, slips."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from support_nano import END, NUM_IMAGE, PAD, batch_of, batches_of
from torch import Tensor
from torch.utils.data import DataLoader

from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.testing import build_scheme
from t4spp.types import Box
from t4spp_plugins.backbones.nano.backbone import NanoBackbone
from t4spp_recipes.synthetic.params import RefShapesParams
from t4spp_recipes.synthetic.refshapes import RefShapes


def test_pretraining_writes_conversations_as_the_backbone_does(nano: NanoBackbone) -> None:
    batch = batch_of(nano)
    split = RefShapes(RefShapesParams(prompts_per_scene=4)).samples("train")
    for row, index in enumerate(range(56, 64)):
        mode = "fixed" if index % 100 < 50 else "varied"
        built = ConversationBuilder(build_scheme("next-brick"), mode, 0).build(
            split[index], training=True
        )
        assert isinstance(built, Conversation)
        tensors = nano.collate([built], training=True).tensors
        length = tensors["input_ids"].shape[1] - NUM_IMAGE
        assert torch.equal(tensors["input_ids"][0, NUM_IMAGE:], batch["ids"][row, :length])
        assert torch.equal(tensors["labels"][0, NUM_IMAGE:], batch["labels"][row, :length])
        assert batch["ids"][row, length:].eq(PAD).all()


def test_box_only_answers_stop_after_the_first_box(nano: NanoBackbone) -> None:
    whole, cut = batch_of(nano), batch_of(nano, box_share=1.0)
    first = nano.tokenizer.convert_tokens_to_ids("<|loc0|>")
    num_cut = 0
    for full, short in zip(whole["ids"].tolist(), cut["ids"].tolist(), strict=True):
        kept = [token for token in short if token != PAD]
        assert full[: len(kept)] == kept
        located = [token for token in kept if first <= token < first + 1000]
        assert len(located) in (0, 4)
        assert kept[-1] == (located[-1] if located else END)
        num_cut += bool(located)
    assert num_cut >= 4


def test_points_are_the_shares_of_the_first_region_by_token(nano: NanoBackbone) -> None:
    points = batch_of(nano)["point"]
    split = RefShapes(RefShapesParams(prompts_per_scene=4)).samples("train")
    assert points.shape == (8, NUM_IMAGE)
    for row, index in enumerate(range(56, 64)):
        targets = split[index].targets
        if not targets:
            assert points[row].sum() == 0
            continue
        boxes = [Box.of_mask(target.mask) for target in targets]
        first = min(range(len(targets)), key=lambda at: (boxes[at].y0, boxes[at].x0))
        mask = targets[first].mask
        assert points[row].sum() == pytest.approx(1)
        for token in range(NUM_IMAGE):
            y, x = divmod(token, 16)
            share = mask[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].sum() / mask.sum()
            assert points[row, token] == pytest.approx(share)


def test_more_scenes_stand_behind_those_with_text(nano: NanoBackbone) -> None:
    without, more = batch_of(nano), batch_of(nano, more_scenes=3)
    scenes = RefShapes(RefShapesParams()).samples("train")
    assert more["images"].shape == (5, 128, 128, 3) and more["edges"].shape == (5, 256, 4)
    assert np.array_equal(more["images"][4].numpy(), scenes.scene(18).render())
    for name in ("ids", "labels", "point", "cursor", "runs"):
        assert torch.equal(more[name], without[name])


def test_slips_stand_in_the_text_and_what_should_stand_there_is_learnt(
    nano: NanoBackbone,
) -> None:
    true, slipped = batch_of(nano), batch_of(nano, slips=True)
    told = slipped["labels"] != -100
    off = slipped["ids"] != slipped["labels"]
    assert 0.05 < (off & told).sum() / told.sum() < 0.4
    first = nano.tokenizer.convert_tokens_to_ids("<|loc0|>")

    def coordinates(labels: Tensor) -> list[int]:
        return labels[(labels >= first) & (labels < first + 1000)].tolist()

    assert coordinates(slipped["labels"]) == coordinates(true["labels"])
    assert torch.equal(slipped["point"], true["point"])
    for row in range(len(told)):
        cursor, runs = slipped["cursor"][row], slipped["runs"][row]
        filled = cursor[cursor >= 0].tolist()
        falls = [after for before, after in pairwise([256, *filled]) if after <= before]
        assert falls == [0] * (true["cursor"][row] == 0).sum(), "each region's grid is filled once"
        assert (runs[cursor >= 0][:, 2] > runs[cursor >= 0][:, 1]).all()
    cut, both = batch_of(nano, box_share=1.0), batch_of(nano, box_share=1.0, slips=True)
    assert torch.equal(cut["ids"], both["ids"]), "answers cut after the box have no slips"


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    batches = batches_of(first=5, num_batches=5, scenes=1)
    alone = [batch["images"] for batch in batches]
    shared = [batch["images"] for batch in DataLoader(batches, batch_size=None, num_workers=2)]
    assert len(alone) == len(shared) == 5
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_scene_batches_without_text_hold_pictures_and_dense_targets() -> None:
    first, second = batches_of(first=0, num_batches=2, scenes=3)
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "images": (3, 128, 128, 3),
        "colour": (3, 256),
        "shape": (3, 256),
        "edges": (3, 256, 4),
        "pixels": (3, 256, 64),
    }
    picture = RefShapes(RefShapesParams()).samples("train").scene(3).render()
    assert np.array_equal(second["images"][0].numpy(), picture)
