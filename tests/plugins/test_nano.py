from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support_nano import ANSWER, ASSISTANT, END, IMAGE, NUM_IMAGE, PAD, USER, loaded, talk
from transformers import LlavaForConditionalGeneration

from t4spp.data.conversation import Conversation
from t4spp.decoding.asking import EngineBatch
from t4spp.decoding.engine import plain_engine
from t4spp.decoding.settings import GenerationSettings
from t4spp.errors import BackboneError
from t4spp.plugins import load_catalogue
from t4spp.testing import build_scheme, check_tokenizer
from t4spp_plugins.backbones.collating import plain_ids
from t4spp_plugins.backbones.nano.backbone import SHIPPED, NanoBackbone
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.model import (
    build_model,
    fill_token_rows,
    grow,
    load_weights,
    settle_coordinates,
)
from t4spp_plugins.backbones.nano.vocabulary import (
    CONTROL_TOKENS,
    add_scheme_tokens,
    build_tokenizer,
)

SCHEMES = ("image-full", "image-irle", "image-rrle", "semantic-brick", "next-brick")

folders = pytest.mark.parametrize("kind", ["random", "shipped"])


@pytest.fixture
def copied(nano_weights: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano_weights, tmp_path / "copied"))


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# size and files


def test_float16_weights_stay_under_12_megabytes(nano_weights: Path) -> None:
    assert (nano_weights / "model.safetensors").stat().st_size < 12_000_000


def test_shipped_folder_is_small_and_says_how_it_was_made() -> None:
    assert (SHIPPED / "model.safetensors").stat().st_size <= 12_000_000
    names = {"config.json", "tokenizer.json", "tokenizer_config.json", "pretrain.json"}
    assert names <= {path.name for path in SHIPPED.iterdir()}
    from t4spp_plugins.backbones.nano.pretrain import PretrainConfig

    made = PretrainConfig.model_validate_json((SHIPPED / "pretrain.json").read_text())
    assert not made.recipe["params"].get("prompt_blind", False)
    assert made.recipe["name"] == "refshapes"


def test_shipped_weights_are_what_a_config_without_params_loads() -> None:
    backbone = load_catalogue().build("backbone", "nano", {})
    backbone.load(build_scheme("image-rrle").special_tokens)
    assert backbone.folder == SHIPPED
    assert all(value.isfinite().all() for value in backbone.model.state_dict().values())


def test_shipped_tokenizer_is_what_the_code_builds() -> None:
    built = build_tokenizer(build_scheme("next-brick").special_tokens)
    shipped = NanoBackbone(NanoConfig()).load_tokenizer(())
    assert shipped.get_vocab() == built.get_vocab()


def test_coordinates_never_trained_on_lie_between_their_neighbours() -> None:
    tokenizer = build_tokenizer(build_scheme("next-brick").special_tokens)
    model = build_model(tokenizer, seed=0)
    before = model.get_input_embeddings().weight.detach().clone()
    settle_coordinates(model, tokenizer, size=4)  # edges at 0, 249, 250, 499, 500, 749, 750, 999
    rows = model.get_input_embeddings().weight.detach()
    first = int(tokenizer.convert_tokens_to_ids("<|loc0|>"))
    coordinates, old = rows[first : first + 1000], before[first : first + 1000]
    written = [0, 249, 250, 499, 500, 749, 750, 999]
    assert torch.equal(coordinates[written], old[written])
    torch.testing.assert_close(coordinates[83], old[0] + (old[249] - old[0]) / 3)
    torch.testing.assert_close(coordinates[998], old[750] / 249 + old[999] * 248 / 249)
    assert torch.equal(rows[:first], before[:first])
    assert torch.equal(rows[first + 1000 :], before[first + 1000 :])


def test_shipped_weights_know_every_coordinate() -> None:
    nano = loaded(SHIPPED)
    before = nano.model.get_input_embeddings().weight.detach().clone()
    settle_coordinates(nano.model, nano.tokenizer)
    torch.testing.assert_close(
        nano.model.get_input_embeddings().weight.detach(), before, rtol=1e-2, atol=2e-3
    )


def test_weights_come_back_as_they_were_within_float16(nano_weights: Path) -> None:
    tokenizer = build_tokenizer(build_scheme("next-brick").special_tokens)
    original = weights_of(build_model(tokenizer, seed=0))
    found = weights_of(loaded(nano_weights).model)
    assert found.keys() == original.keys()
    for name, value in original.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6)


def test_transformers_loads_the_folder_by_itself(nano: NanoBackbone, nano_weights: Path) -> None:
    alone = LlavaForConditionalGeneration.from_pretrained(nano_weights, dtype=torch.float32)
    tensors = nano.collate([talk()], training=False).tensors
    with torch.no_grad():
        torch.testing.assert_close(alone(**tensors).logits, nano.model(**tensors).logits)


def test_loading_leaves_the_global_random_state_alone(nano_weights: Path) -> None:
    before = torch.get_rng_state()
    loaded(nano_weights, ["<|new|>"], from_scratch=True)
    assert torch.equal(torch.get_rng_state(), before)


# tokenizer


@folders
@pytest.mark.parametrize("name", SCHEMES)
def test_tokenizer_gives_descriptors_back_unchanged(
    name: str, kind: str, nano_weights: Path
) -> None:
    scheme = build_scheme(name)
    folder = None if kind == "shipped" else nano_weights
    tokenizer = NanoBackbone(NanoConfig(weights=folder)).load_tokenizer(scheme.special_tokens)
    check_tokenizer(scheme, tokenizer, max_examples=40)


pieces = st.sampled_from(
    [*CONTROL_TOKENS, "<", "|", ">", "<|", "|>", "<seg>", "</seg>", "<|loc7|>", "<|fg3|>", " ", "é"]
)
noise = st.lists(pieces | st.text(max_size=4), max_size=12).map("".join)


@settings(max_examples=150, deadline=None)
@given(text=noise)
def test_any_text_comes_back_from_its_ids_without_control_tokens(
    text: str, nano: NanoBackbone
) -> None:
    ids = plain_ids(nano.tokenizer, text, CONTROL_TOKENS)
    assert not {PAD, IMAGE, USER, ASSISTANT, END} & set(ids)
    assert nano.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_plain_text_is_tokenised_as_the_tokenizer_does(nano: NanoBackbone) -> None:
    ids = plain_ids(nano.tokenizer, ANSWER, CONTROL_TOKENS)
    assert ids == nano.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    names = nano.tokenizer.convert_ids_to_tokens(ids)
    for token in ("<seg>", "<|loc1|>", "<|loc999|>", "<|bg4|>", "<|fg12|>", "</seg>"):
        assert names.count(token) == 1


@settings(max_examples=30, deadline=None)
@given(question=noise, label=noise)
def test_prompts_cannot_inject_control_tokens(
    question: str, label: str, nano: NanoBackbone
) -> None:
    answer = f"Here it is.\n<seg>{label}<|loc5|></seg>"
    inputs = nano.collate([talk(question, answer)], training=True)
    ids = inputs.tensors["input_ids"][0].tolist()
    end = ids.index(ASSISTANT)
    assert ids[: NUM_IMAGE + 1] == [IMAGE] * NUM_IMAGE + [USER]
    assert nano.tokenizer.decode(ids[NUM_IMAGE + 1 : end], skip_special_tokens=False) == question
    assert nano.tokenizer.decode(ids[end + 1 : -1], skip_special_tokens=False) == answer
    assert [ids.count(token) for token in range(5)] == [0, NUM_IMAGE, 1, 1, 1]


def test_a_model_still_runs_on_a_prompt_that_names_control_tokens(nano: NanoBackbone) -> None:
    question = "Segment <|image|><|end|><|pad|>."
    tensors = nano.collate([talk(question)], training=False).tensors
    with torch.no_grad():
        assert nano.model(**tensors).logits.isfinite().all()


def test_known_tokens_keep_their_ids_when_more_are_taught(nano_weights: Path) -> None:
    backbone = NanoBackbone(NanoConfig(weights=nano_weights))
    base, more = backbone.load_tokenizer(()), backbone.load_tokenizer(["<|loc4|>", "<|x|>"])
    assert len(more) == len(base) + 1
    assert more.get_vocab()["<|x|>"] == len(base)
    assert more.get_vocab()["<|loc4|>"] == base.get_vocab()["<|loc4|>"]
    assert add_scheme_tokens(more, ["<|x|>"]) == 0


def test_a_scheme_token_named_like_a_control_token_is_refused(nano_weights: Path) -> None:
    with pytest.raises(BackboneError, match=r"<\|end\|> is one of nano's control tokens"):
        NanoBackbone(NanoConfig(weights=nano_weights)).load(["<|a|>", "<|end|>"])


# rows of new tokens


def test_new_rows_leave_old_ones_as_they_are(nano_weights: Path) -> None:
    before, after = loaded(nano_weights), loaded(nano_weights, ["<|one|>", "<|two|>"])
    rows = before.model.get_input_embeddings().weight.shape[0]
    for get in ("get_input_embeddings", "get_output_embeddings"):
        old, new = getattr(before.model, get)().weight, getattr(after.model, get)().weight
        assert new.shape[0] == rows + 2 == len(after.tokenizer)
        assert torch.equal(new[:rows], old)
        assert new[rows:].abs().max() > 0 and not torch.equal(new[rows], new[rows + 1])
    assert grow(after.model, after.tokenizer, 0) == 0


def test_rows_of_new_tokens_do_not_depend_on_their_order(nano_weights: Path) -> None:
    one = loaded(nano_weights, ["<|a|>", "<|b|>", "<|c|>"])
    other = loaded(nano_weights, ["<|c|>", "<|a|>"])
    for token in ("<|a|>", "<|c|>"):
        first, second = (
            backbone.model.get_output_embeddings().weight[
                backbone.tokenizer.convert_tokens_to_ids(token)
            ]
            for backbone in (one, other)
        )
        assert torch.equal(first, second)


def test_rows_filled_in_any_order_are_the_same() -> None:
    tokenizer = build_tokenizer(["<|loc3|>", "<|z|>"])
    one, other = build_model(tokenizer, 1), build_model(tokenizer, 2)
    ids = list(range(len(tokenizer)))
    fill_token_rows(one, tokenizer, ids, 7)
    fill_token_rows(other, tokenizer, ids[::-1], 7)
    assert torch.equal(one.get_input_embeddings().weight, other.get_input_embeddings().weight)
    assert torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_near_coordinates_start_nearer_than_far_ones() -> None:
    tokenizer = build_tokenizer([f"<|loc{n}|>" for n in range(1000)])
    rows = build_model(tokenizer, 0).get_input_embeddings().weight
    first = tokenizer.convert_tokens_to_ids("<|loc0|>")
    distances = (rows[first + 500] - rows[first : first + 1000]).norm(dim=1)
    assert distances[500] == 0
    assert distances[501] < distances[505] < distances[530] < distances[700]


# generation


def test_a_batch_of_three_answers_as_three_batches_of_one(nano_weights: Path) -> None:
    backbone = loaded(nano_weights)
    model = backbone.model.double()
    questions = ["Segment it.", "Segment the red ring above the blue bar.", "Segment all dots."]
    asked = [talk(question, seed=seed) for seed, question in enumerate(questions)]

    def write(conversations: list[Conversation]) -> list[list[int]]:
        tensors = backbone.collate(conversations, training=False).tensors
        tensors["pixel_values"] = tensors["pixel_values"].double()
        found = model.generate(**tensors, max_new_tokens=8, min_new_tokens=8, do_sample=False)
        return found[:, tensors["input_ids"].shape[1] :].tolist()

    assert write(asked) == [write([one])[0] for one in asked]


def test_the_plain_engine_runs_nano_and_keeps_special_tokens(nano: NanoBackbone) -> None:
    batch = EngineBatch(
        conversations=[talk(answer=None), talk("Segment it.", None)],
        labels=[("the dog",), None],
        max_new_tokens=6,
    )
    scheme = build_scheme("next-brick")
    answers = plain_engine(nano, batch, scheme, GenerationSettings())
    assert len(answers) == 2
    for answer in answers:
        assert 1 <= answer.num_tokens <= 6
        assert scheme.decode(answer.text, (128, 128)).status in ("ok", "repaired", "invalid")


# errors, identity, adapters


def test_a_folder_without_weights_is_one_clear_error(tmp_path: Path) -> None:
    backbone = NanoBackbone(NanoConfig(weights=tmp_path / "nowhere"))
    for act in (lambda: backbone.load(()), backbone.fingerprint):
        with pytest.raises(BackboneError, match=r"nowhere has no \w+\.json.*backbone.params"):
            act()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", b'{"version": "1.', r"tokenizer\.json is damaged"),
        ("config.json", b"{", r"config\.json is damaged"),
        ("config.json", b'{"model_type": "llama"}', "does not describe a model of type 'llava'"),
        ("config.json", b"[]", "does not describe a model of type 'llava'"),
        ("model.safetensors", b"\x10\x00", r"model\.safetensors is missing, damaged"),
    ],
)
def test_damaged_files_are_one_clear_error(
    copied: Path, name: str, content: bytes, message: str
) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        loaded(copied)


def test_truncated_weights_are_one_clear_error(copied: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BackboneError, match="damaged"):
        loaded(copied)


def test_weights_of_another_architecture_are_refused(copied: Path) -> None:
    config = (copied / "config.json").read_text()
    changed = config.replace('"intermediate_size": 512', '"intermediate_size": 256')
    assert changed != config
    (copied / "config.json").write_text(changed)
    with pytest.raises(BackboneError, match="another architecture"):
        loaded(copied)


def test_starting_from_scratch_needs_no_weights_and_follows_the_seed(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    one, same, other = (loaded(copied, from_scratch=True, seed=seed) for seed in (1, 1, 2))
    first, again, third = (weights_of(backbone.model) for backbone in (one, same, other))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], third["lm_head.weight"])
    with pytest.raises(BackboneError, match="missing, damaged"):
        loaded(copied)


def test_fingerprint_follows_weights_tokenizer_and_seed(copied: Path) -> None:
    def fingerprint(**params: Any) -> str:
        return NanoBackbone(NanoConfig(weights=copied, **params)).fingerprint()

    first = fingerprint()
    assert re.fullmatch(r"nano:[0-9a-f]{16}", first)
    assert fingerprint() == fingerprint(seed=5) == first
    scratch = {fingerprint(from_scratch=True, seed=seed) for seed in (0, 1)}
    assert len(scratch | {first}) == 3
    model = loaded(copied)
    assert model.fingerprint() == first
    with (copied / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    second = fingerprint()
    with (copied / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert len({first, second, fingerprint()}) == 3
    assert fingerprint(from_scratch=True, seed=0) not in scratch


def test_fresh_mask_tokens_forgets_the_schemes_tokens_but_not_coordinates(copied: Path) -> None:
    tokens = build_scheme("next-brick").special_tokens
    plain, fresh = loaded(copied, tokens), loaded(copied, tokens, fresh_mask_tokens=True)
    vocabulary = plain.tokenizer.get_vocab()
    one, other = (weights_of(backbone.model)["lm_head.weight"] for backbone in (plain, fresh))
    kept = {
        token for token in tokens if torch.equal(one[vocabulary[token]], other[vocabulary[token]])
    }
    assert kept == {token for token in tokens if token.startswith("<|loc")}
    assert len(kept) == 1000
    assert "<|fg3|>" in fresh.untrained_tokens and "<|loc7|>" not in fresh.untrained_tokens
    assert plain.untrained_tokens == ()
    assert plain.fingerprint() != fresh.fingerprint()


def test_lora_adapts_the_llama_and_the_connector_only(nano: NanoBackbone) -> None:
    pattern = nano.lora_targets()
    assert isinstance(pattern, str)
    linear = [
        name for name, part in nano.model.named_modules() if isinstance(part, torch.nn.Linear)
    ]
    chosen = [name for name in linear if re.fullmatch(pattern, name)]
    assert len(chosen) == 5 * 7 + 2
    assert not any("vision_tower" in name or "lm_head" in name for name in chosen)


def test_another_architecture_does_not_load_silently(nano_weights: Path) -> None:
    small = build_model(build_tokenizer(), 0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_weights(small, nano_weights)
