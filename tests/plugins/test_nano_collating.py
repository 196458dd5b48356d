"""nano's batches: each conversation behind its picture, or several behind one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_nano import ANSWER, ASSISTANT, IMAGE, NUM_IMAGE, PAD, USER, loaded, talk

from t4spp.components import ModelInputs
from t4spp.errors import BackboneError
from t4spp.testing import build_scheme
from t4spp.training.batches import answer_loss, count_answer_tokens
from t4spp_plugins.backbones.nano.backbone import NanoBackbone
from t4spp_plugins.backbones.nano.collating import to_pixels
from t4spp_plugins.backbones.nano.config import NanoConfig


def test_training_batch_pads_right_and_labels_answers_only(nano: NanoBackbone) -> None:
    short = "Here it is.\n<seg>others</seg>"
    pair = [talk(name="long"), talk("Segment it.", short, name="short")]
    inputs = nano.collate(pair, training=True)
    assert set(inputs.tensors) == {"input_ids", "attention_mask", "pixel_values", "labels"}
    ids, mask, labels = (inputs.tensors[k] for k in ("input_ids", "attention_mask", "labels"))
    assert ids.shape == mask.shape == labels.shape and ids.dtype == torch.int64
    assert inputs.tensors["pixel_values"].shape == (2, 3, 128, 128)
    answers = [ANSWER, short]
    for row, conversation in enumerate(pair):
        length = int(mask[row].sum())
        assert mask[row].tolist() == [1] * length + [0] * (ids.shape[1] - length)
        assert ids[row, length:].eq(PAD).all()
        told = labels[row] != -100
        assert torch.equal(ids[row][told], labels[row][told])
        start = ids[row].tolist().index(ASSISTANT) + 1
        assert torch.nonzero(told).flatten().tolist() == list(range(start, length))
        text = nano.tokenizer.decode(labels[row][told], skip_special_tokens=False)
        assert text == answers[row] + "<|end|>"
        question = nano.tokenizer.decode(ids[row, NUM_IMAGE + 1 : start - 1])
        assert question == conversation.question
        assert ids[row, : NUM_IMAGE + 1].tolist() == [IMAGE] * NUM_IMAGE + [USER]
    assert inputs.num_answer_tokens == int((labels != -100).sum())
    assert inputs.too_long == ()


def test_generation_batch_pads_left_and_leaves_answers_out(nano: NanoBackbone) -> None:
    pair = [talk("Segment the small dog on the left."), talk("Segment it.")]
    inputs = nano.collate(pair, training=False)
    assert set(inputs.tensors) == {"input_ids", "attention_mask", "pixel_values"}
    assert inputs.num_answer_tokens == 0
    ids, mask = inputs.tensors["input_ids"], inputs.tensors["attention_mask"]
    assert ids[:, -1].tolist() == [ASSISTANT, ASSISTANT]
    assert mask[0].all() and not mask[1].all()
    padding = int((mask[1] == 0).sum())
    assert mask[1].tolist() == [0] * padding + [1] * (ids.shape[1] - padding)
    assert ids[1, :padding].eq(PAD).all() and ids[1, padding] == IMAGE


def test_earlier_turns_stand_behind_the_one_picture_and_bear_no_loss(nano: NanoBackbone) -> None:
    later = replace(talk("And the cat?", "A van."), turns=(("What is it?", "A bus."),))
    inputs = nano.collate([later], training=True)
    ids, labels = inputs.tensors["input_ids"][0], inputs.tensors["labels"][0]
    assert ids.tolist().count(IMAGE) == NUM_IMAGE
    assert nano.tokenizer.decode(ids[NUM_IMAGE:]) == (
        "<|user|>What is it?<|assistant|>A bus.<|end|>"
        "<|user|>And the cat?<|assistant|>A van.<|end|>"
    )
    assert nano.tokenizer.decode(labels[labels != -100]) == "A van.<|end|>"
    asked = nano.collate([later], training=False).tensors["input_ids"][0]
    assert asked.tolist() == ids[: len(asked)].tolist() and asked[-1] == ASSISTANT


@pytest.mark.parametrize("training", [True, False])
def test_image_tokens_count_in_max_length_and_nothing_is_cut(
    nano: NanoBackbone, training: bool
) -> None:
    pair = [talk(name="short"), talk("Segment the dog on the far left.", name="long")]
    whole = nano.collate(pair, training=training).tensors["attention_mask"].sum(1).tolist()
    assert NUM_IMAGE < whole[0] < whole[1]

    def collate(limit: int) -> ModelInputs:
        return nano.collate(pair, training=training, max_length=limit)

    assert collate(whole[1]).too_long == ()
    less = collate(whole[1] - 1)
    assert less.too_long == ("long",)
    assert less.tensors["input_ids"].shape == (1, whole[0])
    assert collate(whole[0] - 1).too_long == ("short", "long")
    assert collate(NUM_IMAGE).tensors == {}


def summed_loss(nano: NanoBackbone, inputs: ModelInputs) -> torch.Tensor:
    tensors = dict(inputs.tensors)
    labels = tensors.pop("labels")
    return answer_loss(nano.model(**tensors, use_cache=False).logits, labels)


def test_a_pack_learns_what_its_conversations_learn_apart(nano_weights: Path) -> None:
    nano = loaded(nano_weights, build_scheme("next-brick").special_tokens)
    short = "Here it is.\n<seg>others</seg>"
    packs = [
        [talk(name="a"), talk("Segment the small cat.", short, name="b"), talk(name="c")],
        [talk("Segment it.", seed=1, name="d")],
    ]
    packed = nano.collate_packs(packs)
    apart = nano.collate([each for pack in packs for each in pack], training=True)
    assert packed.tensors["pixel_values"].shape[0] == 2 < apart.tensors["pixel_values"].shape[0]
    assert packed.num_answer_tokens == apart.num_answer_tokens
    assert count_answer_tokens(packed) == count_answer_tokens(apart) == packed.num_answer_tokens
    gradients = []
    for inputs in (packed, apart):
        nano.model.zero_grad()
        loss = summed_loss(nano, inputs)
        loss.backward()
        gradients.append({n: p.grad.clone() for n, p in nano.model.named_parameters()})
        if inputs is packed:
            expected = loss.detach()
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=0)
    assert loss > 1
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-3)
    assert all(gradient.isfinite().all() for gradient in gradients[0].values())


def test_a_pack_holds_what_fits_behind_its_first_conversation(nano: NanoBackbone) -> None:
    short, long = talk(name="short"), talk("Segment the dog on the far left.", name="long")
    length = nano.collate([short], training=True).tensors["input_ids"].shape[1]
    inputs = nano.collate_packs([[long, short], [short, long, short]], max_length=length)
    assert (inputs.too_long, inputs.unpacked) == (("long",), ("long", "short"))
    assert inputs.tensors["input_ids"].shape == (2, length)
    twice = nano.collate_packs([[short, long, short]], max_length=2 * length - NUM_IMAGE)
    assert (twice.too_long, twice.unpacked) == ((), ("long",))
    assert twice.tensors["input_ids"].shape == (1, 2 * length - NUM_IMAGE)
    assert nano.collate_packs([[long]], max_length=length).tensors == {}


def test_attention_that_would_add_the_mask_is_refused(nano_weights: Path) -> None:
    nano = loaded(nano_weights)
    nano.model.set_attn_implementation({"text_config": "eager"})
    with pytest.raises(BackboneError, match="'eager' attention does not obey"):
        nano.collate_packs([[talk()]])


def test_pictures_of_any_size_make_one_batch(nano: NanoBackbone) -> None:
    sizes = [(128, 128), (40, 300), (1, 1), (500, 90)]
    inputs = nano.collate([talk(size=size) for size in sizes], training=True)
    pixels = inputs.tensors["pixel_values"]
    assert pixels.shape == (4, 3, 128, 128) and pixels.dtype == torch.float32
    assert pixels.min() >= -1 and pixels.max() <= 1
    with torch.no_grad():
        assert nano.model(**inputs.tensors).loss.isfinite()
    assert {nano.num_image_tokens(size) for size in sizes} == {256}


def test_pixels_run_from_minus_one_to_one_channels_first() -> None:
    picture = np.zeros((128, 128, 3), dtype=np.uint8)
    picture[5, 7] = (255, 0, 255)
    pixels = to_pixels(picture)
    assert pixels[:, 5, 7].tolist() == [1.0, -1.0, 1.0]
    assert pixels[:, 7, 5].tolist() == [-1.0, -1.0, -1.0]


def test_training_without_an_answer_names_the_conversation(nano: NanoBackbone) -> None:
    with pytest.raises(ValueError, match="'x7' has no answer"):
        nano.collate([talk(answer=None, name="x7")], training=True)


def test_collating_before_loading_says_so(nano_weights: Path) -> None:
    with pytest.raises(BackboneError, match="before load"):
        NanoBackbone(NanoConfig(weights=nano_weights)).collate([talk()], training=False)
