"""A new connector learns words for what lies under the image tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("timm", reason="smol needs timm (the extra smol)")

from t4spp.types import BoolMask, Image, Sample, Target
from t4spp_plugins.backbones.smol.aligning import (
    about_one_picture,
    align,
    token_shares,
    truth_of,
    with_masks,
    word_loss,
)
from t4spp_plugins.backbones.smol.model import SmolConnector

WORDS = {"others": torch.eye(8)[0], "sky": torch.eye(8)[1], "road": torch.eye(8)[2]}


def asked(
    label: str,
    mask: BoolMask,
    image_id: str = "p",
    ignore: BoolMask | None = None,
) -> Sample:
    """A sample whose picture shows the mask in its first channel."""

    def load_image() -> Image:
        return np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)

    return Sample(
        id=f"{image_id}-{label}",
        size=(mask.shape[0], mask.shape[1]),
        prompt=label,
        labels=(label,),
        targets=(Target(label=label, mask=mask),) if mask.any() else (),
        load_image=load_image,
        image_id=image_id,
        ignore=ignore,
    )


def half(top: bool) -> BoolMask:
    mask = np.zeros((32, 64), dtype=np.bool_)
    mask[:16] = top
    mask[16:] = not top
    return mask


def test_questions_in_words_teach_nothing_of_what_lies_where() -> None:
    masks = [asked("sky", half(True)), asked("road", half(False), image_id="q")]
    words = replace(masks[0], id="talk", kind="dialogue", targets=(), labels=(), answers=("a",))
    together = [words, masks[0], words, masks[1]]
    drawn = with_masks(together, torch.Generator().manual_seed(0))
    assert sorted(next(drawn) for _ in range(4)) == [1, 1, 3, 3]
    assert about_one_picture(together, 1) == [masks[0]]
    assert list(with_masks([words], torch.Generator().manual_seed(0))) == []


def test_shares_of_tokens_are_those_of_the_padded_square() -> None:
    mask = np.zeros((32, 64), dtype=np.bool_)
    mask[0:4, 0:6] = True
    shares = token_shares(mask).reshape(16, 16)
    assert shares[0, :3].tolist() == [1.0, 0.5, 0.0]
    assert float(shares.sum()) == pytest.approx(24 / 16)
    assert token_shares(np.ones((32, 64), dtype=np.bool_)).reshape(16, 16)[8:].eq(0).all()


def test_neighbours_about_the_same_picture_are_found_and_no_others() -> None:
    samples = [asked("sky", half(True), name) for name in ("a", "b", "b", "b", "c", "b")]
    found = about_one_picture(samples, 2)
    assert [id(sample) for sample in found] == [id(sample) for sample in samples[1:4]]


def test_a_sample_whose_picture_has_no_name_stands_alone() -> None:
    nameless = [asked("sky", half(True), "") for _ in range(3)]
    assert about_one_picture(nameless, 1) == [nameless[1]]


def test_what_is_not_scored_and_what_is_not_there_count_for_nothing() -> None:
    ignore = np.zeros((32, 64), dtype=np.bool_)
    ignore[:, :32] = True
    nothing = np.zeros((32, 64), dtype=np.bool_)
    truth = truth_of([asked("sky", half(True), ignore=ignore), asked("road", nothing)])
    sky = truth.shares["sky"].reshape(16, 16)
    assert sky[:4, 8:].eq(1).all() and sky[:, :8].eq(0).all() and sky[4:].eq(0).all()
    assert truth.shares["road"].eq(0).all()
    assert truth.inside.reshape(16, 16)[:8, 8:].eq(1).all()
    assert truth.inside.reshape(16, 16)[:, :8].eq(0).all()


def test_tokens_that_are_the_right_words_lose_least() -> None:
    truth = truth_of([asked("sky", half(True)), asked("road", half(False))])
    right = torch.stack(
        [WORDS["sky"] if share > 0.5 else WORDS["road"] for share in truth.shares["sky"]]
    )[None]
    wrong = torch.stack(
        [WORDS["road"] if share > 0.5 else WORDS["sky"] for share in truth.shares["sky"]]
    )[None]
    good, bad = (float(word_loss(tokens, [truth], WORDS.__getitem__)) for tokens in (right, wrong))
    assert good < 1e-6 < 19 < bad


def test_a_label_that_nobody_asked_for_in_a_picture_is_no_rival_there() -> None:
    truth = truth_of([asked("sky", half(True))])
    other = truth_of([asked("road", half(True))])
    tokens = WORDS["road"].expand(1, 256, 8)
    alone = word_loss(tokens, [truth], WORDS.__getitem__)
    both = word_loss(tokens.expand(2, 256, 8), [truth, other], WORDS.__getitem__)
    other_alone = word_loss(tokens, [other], WORDS.__getitem__)
    assert float(both) == pytest.approx((float(alone) + float(other_alone)) / 2, rel=1e-4)


def features(image: Image) -> Tensor:
    """The brightness of 64 x 64 cells in every second channel; pictures of 32 x 64 pixels."""
    bright = torch.zeros(1, 1, 64, 64)
    bright[0, 0, :32] = torch.from_numpy(image[:, :, 0] / 255.0).float()
    shown = bright[0].expand(256, 64, 64).clone()
    shown[::2] *= -1
    return shown


def new_connector() -> SmolConnector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmolConnector(16, 8)


def test_a_connector_learns_the_words_for_what_it_sees_the_same_each_time() -> None:
    generator = np.random.default_rng(0)
    masks = [generator.random((4, 8)) < 0.5 for _ in range(12)]
    samples = [
        asked("sky", np.kron(mask, np.ones((8, 8), dtype=np.bool_)), f"p{number}")
        for number, mask in enumerate(masks)
    ]

    def taught() -> tuple[SmolConnector, list[float]]:
        connector, losses = new_connector(), []
        align(
            connector,
            samples[:10],
            features=features,
            word=WORDS.__getitem__,
            steps=25,
            seed=0,
            progress=losses.append,
        )
        return connector, losses

    connector, losses = taught()
    assert len(losses) == 25 and losses[-1] < 0.5 * losses[0]
    held_out = samples[10]
    with torch.no_grad():
        (tokens,) = connector(features(held_out.image)[None], torch.tensor([held_out.size]))
    is_sky = tokens @ WORDS["sky"] > tokens @ WORDS["others"]
    truth = truth_of([held_out])
    inside = truth.inside > 0
    assert torch.equal(is_sky[inside], truth.shares["sky"][inside] > 0.5)
    again, _ = taught()
    assert torch.equal(again.hidden.weight, connector.hidden.weight)
