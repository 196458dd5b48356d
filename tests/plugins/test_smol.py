"""The backbone smol, with a tiny Llama and a tower of random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_nano import talk
from support_smol import write_language_model, write_tower
from torch import Tensor

pytest.importorskip("timm", reason="smol needs timm (the extra smol)")

from t4spp.components import ModelInputs
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.engine import plain_engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import BackboneError
from t4spp.features import FeatureCache
from t4spp.testing import build_scheme, check_tokenizer
from t4spp.training.batches import answer_loss, count_answer_tokens
from t4spp.training.checkpoints import read_adapter, write_adapter
from t4spp.training.lora import prepare_lora
from t4spp_plugins.backbones.collating import plain_ids
from t4spp_plugins.backbones.smol.backbone import SmolBackbone
from t4spp_plugins.backbones.smol.config import SmolParams
from t4spp_plugins.backbones.smol.configuration import NUM_IMAGE_TOKENS
from t4spp_plugins.backbones.smol.model import SmolForConditionalGeneration, token_places
from t4spp_plugins.backbones.smol.parts import CONTROL_TOKENS, IMAGE
from t4spp_plugins.backbones.smol.processing import make_processor
from t4spp_plugins.towers.mobile_sam import preprocess

TOKENS = build_scheme("next-brick").special_tokens


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("smol")
    return {
        "tower": write_tower(folder / "tower.safetensors"),
        "language_model": write_language_model(folder / "llama"),
    }


FEATURES = FeatureCache(num_in_memory=32)
"""Of all tests here: the tower is as large as the real one, and takes seconds a picture."""


def loaded(**params: Any) -> SmolBackbone:
    backbone = SmolBackbone(SmolParams(cache_features=False, **params))
    backbone.cache = FEATURES
    backbone.load(TOKENS)
    return backbone


@pytest.fixture(scope="module")
def smol(parts: dict[str, Path]) -> SmolBackbone:
    return loaded(**parts)


def model_of(smol: SmolBackbone) -> SmolForConditionalGeneration:
    assert isinstance(smol.model, SmolForConditionalGeneration)
    return smol.model


def test_a_picture_takes_256_tokens_at_the_head_of_the_users_turn(smol: SmolBackbone) -> None:
    inputs = smol.collate([talk(size=(40, 60))], training=True)
    assert set(inputs.tensors) == {
        "input_ids",
        "attention_mask",
        "image_features",
        "image_sizes",
        "labels",
        "guide",
    }
    assert inputs.tensors["image_features"].shape == (1, 256, 64, 64)
    assert inputs.tensors["image_sizes"].tolist() == [[40, 60]]
    text = smol.tokenizer.decode(inputs.tensors["input_ids"][0])
    assert text.replace(IMAGE * 256, "{picture}") == (
        "<|im_start|>user\n{picture}\nSegment the dog.<|im_end|>\n<|im_start|>assistant\n"
        "Here it is.\n<seg>the dog<|loc1|><|loc22|><|loc333|><|loc999|><|bg4|><|fg12|></seg>"
        "<|im_end|>"
    )
    told = inputs.tensors["labels"][0]
    assert smol.tokenizer.decode(told[told != -100]).startswith("Here it is.\n<seg>the dog")


def test_the_tokenizer_gives_descriptors_back(smol: SmolBackbone) -> None:
    check_tokenizer(build_scheme("next-brick"), smol.tokenizer, max_examples=20)


@pytest.mark.parametrize("name", CONTROL_TOKENS)
def test_names_of_control_tokens_in_a_question_are_text(smol: SmolBackbone, name: str) -> None:
    ids = plain_ids(smol.tokenizer, f"Segment {name} now", CONTROL_TOKENS)
    assert smol.tokenizer.convert_tokens_to_ids(name) not in ids
    assert smol.tokenizer.decode(ids) == f"Segment {name} now"


def test_a_scheme_may_not_take_a_control_token(parts: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"<\|im_end\|> is one of the model's control tokens"):
        SmolBackbone(SmolParams(**parts)).load(["<|im_end|>"])


def test_tokens_of_the_picture_know_where_they_lie_in_it() -> None:
    places = token_places(torch.tensor([[512, 1024], [1024, 512]]))
    assert places.shape == (2, 256, 33)
    wide, tall = places.reshape(2, 16, 16, 33)
    # Half of the frame is padding, below a wide picture and beside a tall one.
    assert wide[:8, :, -1].eq(0).all() and wide[8:, :, -1].eq(1).all()
    assert tall[:, :8, -1].eq(0).all() and tall[:, 8:, -1].eq(1).all()
    # The first sine of y: half a turn from the top to the bottom of the picture.
    assert wide[:8, 0, 0].tolist() == pytest.approx(
        [np.sin(np.pi * (row + 0.5) / 8) for row in range(8)], abs=1e-5
    )


def test_features_and_pixels_give_the_same_logits(smol: SmolBackbone) -> None:
    model = model_of(smol)
    picture = talk(size=(30, 50))
    tensors = smol.collate([picture], training=False).tensors
    by_features = model(**tensors).logits
    del tensors["image_features"]
    by_pixels = model(**tensors, pixel_values=preprocess(picture.load_image())[None]).logits
    assert torch.allclose(by_features, by_pixels, atol=1e-3)


def test_another_picture_gives_other_logits(smol: SmolBackbone) -> None:
    one, two = (
        smol.collate([talk(size=(30, 50), seed=seed)], training=False).tensors for seed in (0, 1)
    )
    assert torch.equal(one["input_ids"], two["input_ids"])
    assert not torch.allclose(model_of(smol)(**one).logits, model_of(smol)(**two).logits, atol=1e-4)


def summed_loss(smol: SmolBackbone, inputs: ModelInputs) -> Tensor:
    tensors = dict(inputs.tensors)
    labels = tensors.pop("labels")
    return answer_loss(model_of(smol)(**tensors).logits, labels)


def test_conversations_behind_one_picture_learn_as_they_would_apart(smol: SmolBackbone) -> None:
    pack = [talk("Segment the dog."), talk("Segment the very small cat.", name="b")]
    packed = smol.collate_packs([pack])
    apart = smol.collate(pack, training=True)
    assert count_answer_tokens(packed) == count_answer_tokens(apart) == packed.num_answer_tokens
    assert packed.tensors["input_ids"].shape[1] < 2 * apart.tensors["input_ids"].shape[1]
    assert float(summed_loss(smol, packed).detach()) == pytest.approx(
        float(summed_loss(smol, apart).detach()), rel=1e-4
    )


def test_image_tokens_count_in_max_length(smol: SmolBackbone) -> None:
    pair = [talk(name="short"), talk("Segment the dog on the far left.", name="long")]
    lengths = smol.collate(pair, training=False).tensors["attention_mask"].sum(1).tolist()
    assert NUM_IMAGE_TOKENS < lengths[0] < lengths[1]
    assert smol.collate(pair, training=False, max_length=lengths[1] - 1).too_long == ("long",)
    assert smol.num_image_tokens((30, 50)) == 256


def test_answers_in_a_batch_of_unequal_prompts_are_those_given_alone(smol: SmolBackbone) -> None:
    scheme = build_scheme("next-brick")
    talks = [talk(answer=None), talk("Segment the cat on the left.", answer=None, name="b", seed=1)]

    def answers(conversations: list[Any]) -> list[str]:
        batch = EngineBatch(
            conversations=conversations, labels=[None] * len(conversations), max_new_tokens=12
        )
        return [a.text for a in plain_engine(smol, batch, scheme, GenerationSettings()) if a]

    together = answers(talks)
    assert together == [answers([one])[0] for one in talks]
    assert together == answers(talks)


def test_training_changes_adapter_connector_and_new_rows_and_saves_just_these(
    parts: dict[str, Path], tmp_path: Path
) -> None:
    smol = loaded(**parts)
    model = model_of(smol)
    embeddings = model.get_input_embeddings().weight.detach().clone()
    tower = {name: value.clone() for name, value in model.tower.state_dict().items()}
    inputs = smol.collate([talk()], training=True)
    learning = prepare_lora(smol, TOKENS, rank=4, alpha=8, dropout=0.0, targets=None)
    optimizer = torch.optim.AdamW([p for p in learning.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        learning.train()
        loss = summed_loss(smol, inputs)
        losses.append(float(loss.detach()))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(value, tower[name]) for name, value in model.tower.state_dict().items())

    write_adapter(learning, tmp_path / "adapter")
    from safetensors.torch import load_file

    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any("connector" in name for name in saved)
    assert not any("tower" in name for name in saved)
    rows = sum(value.numel() for name, value in saved.items() if "token" in name)
    assert rows == len(TOKENS) * embeddings.shape[1]

    learning.eval()
    trained = model_of(smol)(**smol.collate([talk()], training=False).tensors).logits
    again = loaded(**parts)
    adapted = prepare_lora(again, TOKENS, rank=4, alpha=8, dropout=0.0, targets=None)
    read_adapter(adapted, tmp_path / "adapter")
    adapted.eval()
    tensors = again.collate([talk()], training=False).tensors
    assert torch.allclose(model_of(again)(**tensors).logits, trained, atol=1e-5)


def test_a_saved_model_is_loaded_by_transformers_and_as_weights(
    parts: dict[str, Path], smol: SmolBackbone, tmp_path: Path
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model_of(smol).save_pretrained(tmp_path)
    make_processor(smol.tokenizer).save_pretrained(tmp_path)
    tensors = smol.collate([talk()], training=False).tensors
    expected = model_of(smol)(**tensors).logits
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert torch.allclose(plain(**tensors).logits, expected, atol=1e-5)

    whole = loaded(weights=tmp_path)
    assert len(whole.tokenizer) == len(smol.tokenizer)
    assert whole.untrained_tokens == () and smol.untrained_tokens == TOKENS
    assert whole.fingerprint() != smol.fingerprint()
    own = whole.collate([talk()], training=False).tensors
    assert torch.equal(own["input_ids"], tensors["input_ids"])
    assert torch.equal(own["image_features"], tensors["image_features"])
    assert torch.allclose(model_of(whole)(**own).logits, expected, atol=1e-5)

    processor = AutoProcessor.from_pretrained(tmp_path)
    chat = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]}],
        add_generation_prompt=True,
    )
    seen = processor(images=talk().load_image().copy(), text=chat, return_tensors="pt")
    same = smol.collate([talk("Where?")], training=False).tensors
    assert torch.equal(seen["input_ids"], same["input_ids"])
    assert torch.allclose(plain(**seen).logits, model_of(smol)(**same).logits, atol=1e-3)


def test_the_processor_refuses_pictures_without_a_place(smol: SmolBackbone) -> None:
    with pytest.raises(ValueError, match="0 image tokens in the text for 1 pictures"):
        make_processor(smol.tokenizer)(images=talk().load_image(), text="Where?")


def test_pictures_and_image_tokens_must_match(smol: SmolBackbone) -> None:
    tensors = smol.collate([talk()], training=False).tensors
    tensors["input_ids"] = tensors["input_ids"][:, 9:]
    tensors["attention_mask"] = tensors["attention_mask"][:, 9:]
    with pytest.raises(ValueError, match="253 image tokens for 1 pictures of 256 tokens"):
        model_of(smol)(**tensors)


def test_equal_parts_and_seed_give_equal_weights_and_fingerprint(
    parts: dict[str, Path], smol: SmolBackbone
) -> None:
    again, other = loaded(**parts), loaded(**parts, seed=1)
    assert again.fingerprint() == smol.fingerprint() != other.fingerprint()
    one, two, three = (
        model_of(backbone).connector.hidden.weight for backbone in (smol, again, other)
    )
    assert torch.equal(one, two) and not torch.equal(one, three)


def test_a_folder_that_is_no_smol_is_refused(parts: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match="is no folder of a smol model"):
        SmolBackbone(SmolParams(weights=parts["language_model"])).load(TOKENS)


def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    with pytest.raises(BackboneError, match=r"junk\.gguf cannot be read as a language model"):
        SmolBackbone(SmolParams(language_model=tmp_path / "junk.gguf")).load(TOKENS)


def test_collating_before_loading_says_so(parts: dict[str, Path]) -> None:
    with pytest.raises(BackboneError, match=r"collate\(\) before load\(\)"):
        SmolBackbone(SmolParams(**parts)).collate([talk()], training=False)


@pytest.mark.slow
def test_the_real_language_model_still_knows_its_facts() -> None:
    from t4spp.weights import fetch
    from t4spp_plugins.backbones.smol.parts import (
        load_language_model,
        load_tokenizer,
        plain_language_model,
    )

    gguf = fetch("smollm2-135m") / "SmolLM2-135M-Instruct.Q4_1.gguf"
    folder = plain_language_model(gguf)
    model, tokenizer = load_language_model(folder), load_tokenizer(folder, ())
    assert not hasattr(model.config, "quantization_config")
    chat = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(chat, return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0, ids["input_ids"].shape[1] :])
