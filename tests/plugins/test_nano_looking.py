"""``backbone.params.look``: nano is told, while it is trained, what a question asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support_nano import ANSWER, ASSISTANT, NUM_IMAGE, loaded, talk

from t4spp.data.conversation import Conversation
from t4spp.data.conversations import ConversationBuilder
from t4spp.testing import build_scheme
from t4spp.types import Sample, Target
from t4spp_plugins.backbones.nano.looking import look_loss


def shown(conversation: Conversation, rows: slice, columns: slice) -> Conversation:
    mask = np.zeros(conversation.size, dtype=bool)
    mask[rows, columns] = True
    return replace(conversation, load_target=lambda: mask)


def loss_of(backbone: Any, conversations: list[Conversation]) -> torch.Tensor:
    inputs = backbone.collate(conversations, training=True)
    tensors = {name: value for name, value in inputs.tensors.items() if name != "labels"}
    found: torch.Tensor = backbone.model(**tensors).auxiliary_loss
    return found


def test_each_image_token_is_told_its_share_of_the_mask(nano_weights: Path) -> None:
    backbone = loaded(nano_weights, look=1.0)
    # Tokens see 8 x 8 of 128 pixels: one whole row of tokens, half of the next.
    told = shown(talk(answer=ANSWER), slice(0, 12), slice(0, 128))
    apart = shown(talk("Segment the very big dog."), slice(8, 16), slice(120, 128))
    inputs = backbone.collate([told, apart], training=True)
    shares = inputs.tensors["looked_for"].reshape(2, 16, 16)
    assert shares[0, 0].tolist() == [1.0] * 16
    assert shares[0, 1].tolist() == [0.5] * 16
    assert shares[0, 2:].sum() == 0
    assert shares[1].nonzero().tolist() == [[1, 15]]
    ids, places = inputs.tensors["input_ids"], inputs.tensors["asked_at"]
    assert [int(ids[row, place]) for row, place in enumerate(places[:, 0])] == [ASSISTANT] * 2


def test_questions_behind_one_picture_have_targets_of_their_own(nano_weights: Path) -> None:
    backbone = loaded(nano_weights, look=1.0)
    first = shown(talk(), slice(0, 64), slice(0, 128))
    second = shown(talk("And the cat?"), slice(64, 128), slice(0, 128))
    inputs = backbone.collate_packs([[first, second], [first]])
    assert inputs.tensors["asked_at"].shape == (2, 2)
    assert inputs.tensors["asked_at"][1, 1] == -1
    sums = inputs.tensors["looked_for"].reshape(2, 2, 2, 128).sum(-1)
    assert sums.tolist() == [[[128, 0], [0, 128]], [[128, 0], [0, 0]]]


def test_without_the_weight_nothing_is_told_and_answers_are_the_same(nano_weights: Path) -> None:
    plain, looking = loaded(nano_weights), loaded(nano_weights, look=5.0)
    assert "looked_for" not in plain.collate([talk()], training=True).tensors
    assert plain.fingerprint() == looking.fingerprint()
    assert plain.model is not None and looking.model is not None
    assert list(plain.model.state_dict()) == list(looking.model.state_dict())
    asked = [talk(answer=None)]
    inputs = looking.collate(asked, training=False)
    assert "looked_for" not in inputs.tensors
    written = [
        backbone.model.generate(**inputs.tensors, max_new_tokens=6, do_sample=False).tolist()
        for backbone in (plain, looking)
    ]
    assert written[0] == written[1]


def test_the_loss_teaches_the_model_to_see_what_is_asked_for(nano_weights: Path) -> None:
    backbone = loaded(nano_weights, look=2.0)
    assert backbone.model is not None
    batch = [
        shown(talk(seed=seed, name=str(seed)), slice(0, 64), slice(64 * (seed % 2), 128))
        for seed in range(2)
    ]
    before = loss_of(backbone, batch)
    backbone.model.train()
    optimizer = torch.optim.Adam(backbone.model.parameters(), lr=2e-3)
    for _ in range(12):
        optimizer.zero_grad()
        loss_of(backbone, batch).backward()
        optimizer.step()
    assert loss_of(backbone, batch).item() < 0.7 * before.item()


def test_the_weight_scales_the_loss_of_each_answer(nano_weights: Path) -> None:
    batch = [shown(talk(), slice(0, 30), slice(0, 50))]
    one, three = (loss_of(loaded(nano_weights, look=look), batch) for look in (1.0, 3.0))
    assert three.item() == pytest.approx(3 * one.item(), rel=1e-5)
    twice = loss_of(loaded(nano_weights, look=1.0), batch * 2)
    assert twice.item() == pytest.approx(2 * one.item(), rel=1e-4)


@given(wanted=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), sure=st.floats(0.1, 50))
def test_the_loss_is_least_where_agreement_says_the_share(wanted: list[float], sure: float) -> None:
    """Literal hidden states: a question along the first axis, tokens along or against it."""
    hidden = torch.zeros(1, 5, 2)
    hidden[0, 4, 0] = sure
    for place, share in enumerate(wanted):
        hidden[0, place, 0] = 1.0 if share > 0.5 else -1.0
    told = torch.tensor([[wanted]])
    right = look_loss(hidden, told, torch.tensor([[4]]))
    wrong = look_loss(hidden, 1 - told, torch.tensor([[4]]))
    assert float(right) <= float(wrong) + 1e-6
    assert float(look_loss(hidden, told, torch.tensor([[-1]]))) == 0.0


def test_a_training_conversation_knows_the_union_of_its_targets() -> None:
    masks = [np.zeros((8, 8), dtype=bool) for _ in range(2)]
    masks[0][:2, :2] = masks[1][6:, 6:] = True
    sample = Sample(
        id="a",
        size=(8, 8),
        prompt="dog",
        targets=tuple(Target(label="dog", mask=mask) for mask in masks),
        labels=("dog",),
    )
    builder = ConversationBuilder(build_scheme("next-brick", grid=4), "fixed", 0)
    trained, asked = builder.build(sample, training=True), builder.build(sample)
    assert trained is not None and trained.load_target is not None
    assert (trained.load_target() == (masks[0] | masks[1])).all()
    assert asked is not None and asked.load_target is None
    assert NUM_IMAGE == 256
