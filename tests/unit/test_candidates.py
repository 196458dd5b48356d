"""The answer on which several drawn answers agree most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4spp.components import Backbone
from t4spp.data.conversation import Conversation
from t4spp.decoding.answers import Answer
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.candidates import agreeing, agreement, choose
from t4spp.decoding.settings import GenerationSettings
from t4spp.schemes.base import Scheme
from t4spp.testing import build_scheme
from t4spp.types import Decoded, Region

LEFT = "<seg>dog| others| dog| others</seg>"
TOP = "<seg>dog| dog| others| others</seg>"
RIGHT = "<seg>others| dog| others| dog</seg>"
NOTHING = "<seg>others| others| others| others</seg>"
INVALID = "I see no such thing."


def scheme() -> Scheme:
    return build_scheme("image-full", grid=2)


def answers(*texts: str) -> list[Answer]:
    return [Answer(text=text, num_tokens=7, num_passes=8) for text in texts]


def decoded(*masks: Sequence[int], label: str = "dog") -> list[Decoded]:
    return [
        Decoded(
            regions=(Region(label=label, mask=np.array([mask], dtype=np.bool_)),)
            if any(mask)
            else (),
            status="ok",
        )
        for mask in masks
    ]


def test_agreement_is_the_mean_iou_with_the_others() -> None:
    found = decoded((1, 1, 0, 0), (1, 1, 0, 0), (0, 1, 1, 0))
    assert agreement(found, (1, 4), ("dog",)) == pytest.approx([2 / 3, 2 / 3, 1 / 3])


def test_answers_without_a_region_agree_by_one_with_each_other_and_by_none_with_masks() -> None:
    found = decoded((0, 0), (0, 0), (1, 0))
    assert agreement(found, (1, 2), ("dog",)).tolist() == [0.5, 0.5, 0.0]


def test_labels_that_were_not_asked_for_do_not_count() -> None:
    found = decoded((1, 0), (1, 0)) + decoded((1, 0), label="cat")
    assert agreement(found, (1, 2), ("cat",)).tolist() == [0.5, 0.5, 0.0]
    assert agreement(found, (1, 2), None).tolist() == [0.5, 0.5, 0.0]


def test_the_mean_runs_over_the_labels_that_one_of_two_answers_bears() -> None:
    dog, cat = decoded((1, 1))[0], decoded((1, 0), label="cat")[0]
    both = Decoded(regions=(*dog.regions, *cat.regions), status="ok")
    assert agreement([both, dog, dog], (1, 2), None).tolist() == [0.5, 0.75, 0.75]


def test_the_answer_that_agrees_most_is_kept_with_the_cost_of_all() -> None:
    kept = choose(answers(RIGHT, TOP, LEFT, NOTHING), scheme(), (4, 4), ("dog",))
    assert kept == Answer(text=TOP, num_tokens=7, num_passes=32, others=(RIGHT, LEFT, NOTHING)), (
        "the top shares a quarter with left and right each, which share nothing"
    )


def test_the_first_of_equals_is_kept() -> None:
    kept = choose(answers(RIGHT, LEFT, LEFT, RIGHT), scheme(), (4, 4), ("dog",))
    assert kept.text == RIGHT


def test_an_answer_that_cannot_be_read_is_kept_only_where_none_can() -> None:
    kept = choose(answers(INVALID, INVALID, LEFT), scheme(), (4, 4), ("dog",))
    assert (kept.text, kept.others) == (LEFT, (INVALID, INVALID))
    assert choose(answers(INVALID, INVALID), scheme(), (4, 4), ("dog",)).text == INVALID


def test_answers_that_cannot_be_read_do_not_vote_for_nothing() -> None:
    """Unreadable answers hold no region, as an answer does that says nothing is there."""
    said = answers(INVALID, INVALID, INVALID, NOTHING, LEFT, LEFT)
    assert choose(said, scheme(), (4, 4), ("dog",)).text == LEFT


def test_large_pictures_are_compared_at_256_pixels_a_side() -> None:
    kept = choose(answers(RIGHT, TOP, LEFT), scheme(), (4000, 30000), ("dog",))
    assert kept.text == TOP


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=2, max_size=6))
def test_agreement_lies_in_0_to_1_and_follows_the_order(masks: list[list[bool]]) -> None:
    found = decoded(*masks)
    score = agreement(found, (1, 5), ("dog",))
    assert ((score >= 0) & (score <= 1)).all()
    assert agreement(found[::-1], (1, 5), ("dog",)) == pytest.approx(score[::-1])


class Talker:
    """An engine that says a prompt's texts one call after the other; without any, None."""

    def __init__(self, texts: dict[str, list[str]]) -> None:
        self.texts = texts
        self.seeds: list[int] = []

    def __call__(
        self, backbone: Backbone, batch: EngineBatch, scheme: Scheme, settings: GenerationSettings
    ) -> list[Answer | None]:
        for conversation in batch.conversations:
            assert conversation.load_image().shape == (4, 4, 3)
        turn = len(self.seeds)
        self.seeds.append(batch.seed)
        texts = [self.texts[conversation.id] for conversation in batch.conversations]
        return [answers(said[turn])[0] if said else None for said in texts]


def test_a_batch_is_answered_as_often_as_there_are_candidates() -> None:
    talker = Talker({"a": [LEFT, TOP, TOP], "long": [], "b": [NOTHING, NOTHING, TOP]})
    read = []

    def picture() -> Any:
        read.append(1)
        return np.zeros((4, 4, 3), np.uint8)

    batch = EngineBatch(
        conversations=[
            Conversation(id=n, question="?", answer=None, size=(4, 4), load_image=picture)
            for n in talker.texts
        ],
        labels=[("dog",), ("dog",), None],
        max_new_tokens=9,
    )
    backbone: Any = None
    kept = agreeing(talker)(
        backbone, batch, scheme(), GenerationSettings(candidates=3, temperature=1.0)
    )
    assert [answer and answer.text for answer in kept] == [TOP, None, NOTHING]
    assert len(set(talker.seeds)) == 3
    assert len(read) == 3, "one picture for each prompt, however many candidates"
