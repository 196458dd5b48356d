"""What hf-vlm says of checkpoints, parameters and machines that do not fit, and what it trains."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support_hf_vlm import FAMILIES, SIZES, byte_level, loaded, sentencepiece, talk

from t4spp.errors import BackboneError, ConfigError
from t4spp.plugins import load_catalogue
from t4spp.training.lora import prepare_full, prepare_lora
from t4spp_plugins.backbones.hf_vlm.backbone import HfVlmBackbone
from t4spp_plugins.backbones.hf_vlm.checkpoint import find
from t4spp_plugins.backbones.hf_vlm.config import HfVlmConfig
from t4spp_plugins.backbones.hf_vlm.families import families
from t4spp_plugins.backbones.hf_vlm.words import FreeText, decoded, learn

Folder = Callable[[str], Path]
NEW = ("<|a|>", "<|b|>", "<|c|>")
OTHER_DISTRIBUTION = """
from dataclasses import replace

from t4spp.hookspecs import hookimpl
from t4spp_plugins.backbones.hf_vlm.component import family_component
from t4spp_plugins.backbones.hf_vlm.families import families


@hookimpl
def t4spp_backbones():
    return [family_component(replace(families()["qwen2-vl"], name="my-vlm"))]
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def damaged(tiny_vlm: Folder, tmp_path: Path) -> Path:
    """A copy of a checkpoint that a test may spoil."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_vlm("qwen2-vl"), folder)
    return folder


def backbone(checkpoint: str | Path | None = None, **params: Any) -> HfVlmBackbone:
    name = None if checkpoint is None else str(checkpoint)
    return HfVlmBackbone(HfVlmConfig(checkpoint=name, **params))


def test_every_family_has_a_tiny_checkpoint_and_a_default_one() -> None:
    assert sorted(families()) == sorted(FAMILIES)
    for profile in families().values():
        assert re.fullmatch(r"[\w-]+/[\w.-]+", profile.checkpoint)
        assert set(profile.parts) == {"vision", "connector", "language"}


def test_a_config_names_a_checkpoint_or_a_family() -> None:
    def check(**params: str) -> None:
        load_catalogue().validate("backbone", "hf-vlm", params)

    check(family="qwen2-vl")
    check(checkpoint="owner/name")
    with pytest.raises(ConfigError, match=r"name a checkpoint .* or a family"):
        check()
    with pytest.raises(ConfigError, match=r"family: no such family; .* Did you mean 'qwen2-vl'"):
        check(family="qwen2-v")
    with pytest.raises(ConfigError, match="quantization"):
        check(checkpoint="owner/name", quantization="2bit")


def test_an_absent_folder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"nowhere is no folder here, and no hub name"):
        backbone(tmp_path / "nowhere").load(())


def test_a_checkpoint_that_cannot_be_had_says_what_was_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    find.cache_clear()
    with pytest.raises(BackboneError) as caught:
        backbone(family="qwen2-vl", revision="v9").load(())
    message = str(caught.value)
    assert "Qwen/Qwen2-VL-2B-Instruct at 'v9' cannot be had" in message
    assert "the folder Qwen/Qwen2-VL-2B-Instruct: absent" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert "hf download Qwen/Qwen2-VL-2B-Instruct" in message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json that can be read"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
        (lambda f: (f / "config.json").write_text("{}"), "names no model_type"),
        (
            lambda f: (f / "config.json").write_text('{"model_type": "qwen2_v"}'),
            "type 'qwen2_v', for which there is no family.*Did you mean 'qwen2_vl'",
        ),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            r"no \*.safetensors file.*pytorch_model.bin, which could run code",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"x" * 99),
            "model in .* cannot be loaded",
        ),
        (lambda f: (f / "tokenizer.json").unlink(), "has no processor of the family qwen2-vl"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    damaged: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    spoil(damaged)
    with pytest.raises(BackboneError, match=message):
        backbone(damaged).load(())


def test_a_checkpoint_without_all_weights_is_refused(damaged: Path) -> None:
    path = damaged / "model.safetensors"
    weights = load_file(path)
    del weights["model.norm.weight"]  # as the hub has it
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lack 1 of the model's, .*language_model.norm.weight"):
        backbone(damaged).load(())


def test_a_checkpoint_of_another_family_is_refused(tiny_vlm: Folder) -> None:
    with pytest.raises(
        BackboneError, match=r"type 'qwen2_vl', and the family gemma3 serves gemma3"
    ):
        backbone(tiny_vlm("qwen2-vl"), family="gemma3").load(())


def test_switches_that_need_a_package_or_a_gpu_say_so(
    tiny_vlm: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder, known = tiny_vlm("qwen2-vl"), importlib.util.find_spec
    switches = {
        "bitsandbytes": {"quantization": "4bit"},
        "flash_attn": {"attention": "flash_attention_2"},
    }
    for package, switch in switches.items():
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *_, p=package: None if name == p else known(name),
        )
        with pytest.raises(BackboneError, match="is not installed"):
            backbone(folder, **switch).load(())
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: known("json"))
        with pytest.raises(BackboneError, match="needs a CUDA GPU, and this process sees none"):
            backbone(folder, **switch).load(())
        monkeypatch.setattr(importlib.util, "find_spec", known)


def test_nothing_is_collated_before_the_model_is_loaded(tiny_vlm: Folder) -> None:
    with pytest.raises(BackboneError, match="must be called first"):
        backbone(tiny_vlm("qwen2-vl")).collate([talk()], training=True)


def test_a_conversation_to_train_on_needs_an_answer(tiny_vlm: Folder) -> None:
    with pytest.raises(ValueError, match="'a' has no answer"):
        loaded(tiny_vlm("qwen2-vl")).collate([talk(answer=None)], training=True)


def test_a_picture_that_a_family_cannot_read_is_named(tiny_vlm: Folder) -> None:
    thin = talk(size=(1, 400), name="thin")
    with pytest.raises(BackboneError, match=r"cannot read conversation 'thin'.* 1 x 400 pixels"):
        loaded(tiny_vlm("qwen2-vl")).collate([thin], training=True)
    inputs = loaded(tiny_vlm("llava-1.5")).collate([talk(size=(1, 4000))], training=True)
    assert inputs.tensors["pixel_values"].shape == (1, 3, 16, 16)


def test_bounds_on_pixels_bound_the_tokens(tiny_vlm: Folder) -> None:
    for params, expected in (
        ({"max_pixels": 16 * 16}, [2, 2]),
        ({"min_pixels": 64 * 64}, [77, 72]),
        ({}, [28, 18]),
    ):
        model = loaded(tiny_vlm("qwen2-vl"), **params)
        ids = model.collate([talk(size=size) for size in SIZES], training=True).tensors["input_ids"]
        counts = [int((row == model.processor.image_token_id).sum()) for row in ids]
        assert counts == [model.num_image_tokens(size) for size in SIZES] == expected


@pytest.mark.parametrize(
    ("family", "tiles", "expected"),
    [
        ("internvl3", 1, [4, 4]),
        ("internvl3", 2, [12, 12]),
        ("llava-onevision", 1, [26, 28]),
        ("smolvlm", 1, [4, 4]),
        ("smolvlm", 4, [20, 12]),
    ],
)
def test_a_bound_on_tiles_bounds_the_tokens(
    tiny_vlm: Folder, family: str, tiles: int, expected: list[int]
) -> None:
    if family == "smolvlm":
        pytest.importorskip("num2words")
    model = loaded(tiny_vlm(family), max_tiles=tiles)
    talks = [talk(size=size) for size in SIZES]
    tensors = model.collate(talks, training=True).tensors
    counts = [int((row == model.processor.image_token_id).sum()) for row in tensors["input_ids"]]
    assert counts == [model.num_image_tokens(size) for size in SIZES] == expected
    with torch.no_grad():
        assert bool(torch.isfinite(model.model(**tensors).logits).all())


def test_a_size_that_a_family_does_not_take_is_refused(tiny_vlm: Folder) -> None:
    with pytest.raises(BackboneError, match=r"max_tiles=4: .*qwen2-vl.* takes: min_pixels, max_p"):
        backbone(tiny_vlm("qwen2-vl"), max_tiles=4).load(())
    with pytest.raises(BackboneError, match="takes: none: its pictures have one size"):
        backbone(tiny_vlm("llava-1.5"), min_pixels=4).load(())


def test_all_of_a_wide_picture_reaches_llava(tiny_vlm: Folder) -> None:
    """Its published settings cut the middle out."""
    model = loaded(tiny_vlm("llava-1.5"))
    left, right = talk(size=(16, 64)), talk(size=(16, 64))
    right.load_image()[:, -8:] = 255 - right.load_image()[:, -8:]
    one, other = (
        model.collate([each], training=False).tensors["pixel_values"] for each in (left, right)
    )
    assert bool(torch.equal(one[..., :12], other[..., :12]))
    assert not torch.equal(one[..., -2:], other[..., -2:])


def test_new_tokens_take_ready_rows_before_the_tables_grow(tiny_vlm: Folder) -> None:
    folder = tiny_vlm("qwen2-vl")
    plain = loaded(folder)
    ready = plain.model.get_input_embeddings().weight.shape[0]
    known = len(plain.tokenizer)
    assert ready == known + 7
    model = loaded(folder, NEW)
    table = model.model.get_input_embeddings().weight.detach()
    assert table.shape[0] == ready
    assert model.model.get_output_embeddings().weight is model.model.get_input_embeddings().weight
    before = plain.model.get_input_embeddings().weight.detach()
    assert bool(torch.equal(table[:known], before[:known]))
    rows = table[known : known + 3]
    mean = before[:known].mean(0)
    assert 0 < float((rows - mean).std()) < 0.3 * float(before[:known].std())
    assert bool(
        torch.equal(rows, loaded(folder, NEW).model.get_input_embeddings().weight[known:][:3])
    )
    assert model.untrained_tokens == NEW
    many = tuple(f"<|x{number}|>" for number in range(20))
    grown = loaded(folder, many).model
    assert grown.get_input_embeddings().weight.shape[0] == known + 20
    assert grown.get_output_embeddings().weight is grown.get_input_embeddings().weight


def test_an_untied_head_gets_rows_of_its_own(tiny_vlm: Folder) -> None:
    plain, model = loaded(tiny_vlm("qwen3-vl")), loaded(tiny_vlm("qwen3-vl"), NEW)
    known = len(plain.tokenizer)
    head, table = model.model.get_output_embeddings(), model.model.get_input_embeddings()
    assert head.weight is not table.weight
    expected = plain.model.get_output_embeddings().weight[:known].mean(0)
    torch.testing.assert_close(head.weight[known], expected, atol=0.02, rtol=0)
    assert not torch.equal(head.weight[known], table.weight[known])


def test_a_schemes_token_may_not_be_a_control_token(tiny_vlm: Folder) -> None:
    with pytest.raises(BackboneError, match=r"token <\|im_start\|> is a control token"):
        loaded(tiny_vlm("qwen2-vl"), ("<|a|>", "<|im_start|>"))


def adapted(model: HfVlmBackbone) -> dict[str, set[str]]:
    """Parts whose layers LoRA adapts or that are trained whole, with their names."""
    prepared = prepare_lora(model, (), rank=2, alpha=4, dropout=0.0, targets=None)
    names = [n for n, p in prepared.named_parameters() if p.requires_grad]
    found: dict[str, set[str]] = {}
    for name in names:
        plain = name.removeprefix("base_model.model.")
        for part, described in model.profile.parts.items():
            if re.match(described.prefix, plain):
                found.setdefault(part, set()).add(plain)
    assert sum(map(len, found.values())) == len(names)
    return found


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_language_model_and_connector_are_adapted_by_default(tiny_vlm: Folder, family: str) -> None:
    if family == "smolvlm":
        pytest.importorskip("num2words")
    found = adapted(loaded(tiny_vlm(family)))
    assert sorted(found) == ["connector", "language"]
    assert len(found["language"]) == 2 * 2 * 7  # A and B of seven layers in two blocks
    both = adapted(loaded(tiny_vlm(family), freeze=("language", "connector")))
    assert sorted(both) == ["vision"]
    assert len(both["vision"]) >= 2 * 2 * 4


def test_freezing_everything_leaves_lora_nothing(tiny_vlm: Folder) -> None:
    model = loaded(tiny_vlm("qwen2-vl"), freeze=("vision", "connector", "language"))
    with pytest.raises(BackboneError, match=r"freeze=vision, connector, language leaves LoRA no"):
        model.lora_targets()
    with pytest.raises(ConfigError, match="has nothing to train"):
        prepare_full(model.model, model.frozen_weights())


def test_full_training_leaves_frozen_parts_alone(tiny_vlm: Folder) -> None:
    model = loaded(tiny_vlm("qwen2-vl"))
    prepare_full(model.model, model.frozen_weights())
    moving = {n for n, p in model.model.named_parameters() if p.requires_grad}
    assert not any(name.startswith("model.visual.blocks") for name in moving)
    assert "model.visual.merger.mlp.0.weight" in moving
    assert "model.language_model.embed_tokens.weight" in moving
    open_to_all = loaded(tiny_vlm("qwen2-vl"), freeze=())
    prepare_full(open_to_all.model, open_to_all.frozen_weights())
    assert all(p.requires_grad for p in open_to_all.model.parameters())


def test_gradient_checkpointing_changes_no_gradient(tiny_vlm: Folder) -> None:
    found = []
    for switched in (False, True):
        model = loaded(tiny_vlm("qwen2-vl"), gradient_checkpointing=switched)
        assert model.model.is_gradient_checkpointing is switched
        model.model.train()
        tensors = model.collate([talk()], training=True).tensors
        model.model(**tensors, use_cache=False).loss.backward()
        found.append(model.model.model.language_model.layers[0].mlp.up_proj.weight.grad)
    torch.testing.assert_close(found[0], found[1])


def test_weights_and_pixels_come_in_the_type_that_is_asked_for(tiny_vlm: Folder) -> None:
    model = loaded(tiny_vlm("llava-1.5"), dtype="bfloat16", attention="eager")
    assert model.model.dtype == torch.bfloat16
    assert model.model.config._attn_implementation == "eager"
    tensors = model.collate([talk()], training=False).tensors
    assert tensors["pixel_values"].dtype == torch.bfloat16
    with torch.no_grad():
        assert bool(torch.isfinite(model.model(**tensors).logits).all())


def test_a_fingerprint_follows_the_weights_not_the_place(damaged: Path, tiny_vlm: Folder) -> None:
    original = backbone(tiny_vlm("qwen2-vl")).fingerprint()
    assert backbone(damaged).fingerprint() == original
    path = damaged / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][0] += 1
    save_file(weights, path, metadata={"format": "pt"})
    assert backbone(damaged).fingerprint() != original


def test_a_fingerprint_follows_the_tokenizer(damaged: Path) -> None:
    before = backbone(damaged).fingerprint()
    path = damaged / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    assert backbone(damaged).fingerprint() != before


def test_large_weight_files_are_sampled(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from t4spp_plugins.backbones.hf_vlm import checkpoint

    monkeypatch.setattr(checkpoint, "_WHOLE", 0)
    monkeypatch.setattr(checkpoint, "_SAMPLE", 256)
    before = checkpoint.fingerprint(damaged)
    path = damaged / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert checkpoint.fingerprint(damaged) != before


def test_the_blank_that_old_llama_tokenizers_put_behind_added_tokens_is_mended() -> None:
    tokenizer = sentencepiece([], "</s>", "<pad>", "<s>", prefix=True)
    plain = tokenizer("the dog", add_special_tokens=False)["input_ids"]
    tokenizer.add_tokens(["<|a|>"], special_tokens=True)
    text = "the dog<|a|> is<|a|></seg>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert decoded(tokenizer, ids) == "the dog<|a|>  is<|a|> </seg>"
    assert learn(tokenizer, ["<|a|>"]) == []
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert decoded(tokenizer, ids) == text
    assert tokenizer("the dog", add_special_tokens=False)["input_ids"] == plain


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    from tokenizers import normalizers

    tokenizer = byte_level([])
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("d", "t")
    with pytest.raises(BackboneError, match="does not give a descriptor back"):
        learn(tokenizer, ["<|a|>"])


def test_free_text_is_cut_inside_control_tokens_that_overlap() -> None:
    tokenizer = byte_level(["<x><y>", "<y>"])
    text = FreeText(tokenizer, ["<x><y>", "<y>"])
    ids = text.answer("a <x><y> b", tail="", joint="")
    assert decoded(tokenizer, ids) == "a <x><y> b"
    assert not {tokenizer.convert_tokens_to_ids(name) for name in ("<x><y>", "<y>")} & set(ids)


def test_another_distribution_offers_a_family_of_its_own(tiny_vlm: Folder, tmp_path: Path) -> None:
    path = tmp_path / "my_vlm.py"
    path.write_text(OTHER_DISTRIBUTION)
    catalogue = load_catalogue(plugin_files=[path])
    built = catalogue.build("backbone", "my-vlm", {"checkpoint": str(tiny_vlm("qwen2-vl"))})
    built.load(NEW)
    assert built.collate([talk()], training=True).num_answer_tokens > 0
    with pytest.raises(ConfigError, match="family"):
        catalogue.validate("backbone", "my-vlm", {"family": "gemma3"})


def test_listing_plugins_imports_neither_torch_nor_transformers() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from t4spp.plugins import load_catalogue; "
        "assert 'hf-vlm' in load_catalogue().names('backbone'); "
        "from t4spp_plugins.backbones.hf_vlm.families import families; families(); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def table(text: str, title: str) -> list[list[str]]:
    """The rows of the first table below a title, cells without backquotes and escapes."""
    below = text.split(f"\n## {title}\n", 1)[1]
    rows = []
    for line in below.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            rows.append([cell.strip().strip("`").replace("\\|", "|") for cell in cells])
        elif rows:
            break
    return rows[2:]


def test_the_page_of_backbones_names_every_family(project: Path) -> None:
    rows = table((project / "docs" / "backbones.md").read_text(), "The families of hf-vlm")
    written = {row[0]: (row[1], None if row[4] == "none" else row[4]) for row in rows}
    assert written == {
        profile.name: (profile.checkpoint, profile.box_format) for profile in families().values()
    }


def test_the_page_of_backbones_has_every_parameter(project: Path) -> None:
    rows = table((project / "docs" / "backbones.md").read_text(), "Parameters")
    written = {name: row[1] for row in rows for name in re.findall(r"\w+", row[0])}
    assert written == {
        name: "[vision]" if name == "freeze" else str(field.default).lower()
        for name, field in HfVlmConfig.model_fields.items()
    }


def test_the_page_on_families_has_every_field_of_a_profile(project: Path) -> None:
    from dataclasses import fields

    from t4spp_plugins.backbones.hf_vlm.profile import Profile

    rows = table((project / "docs" / "add-a-family.md").read_text(), "In this repository")
    assert [row[0] for row in rows] == [field.name for field in fields(Profile)]


def test_no_code_of_a_checkpoint_is_run(damaged: Path) -> None:
    mark = damaged / "ran"
    (damaged / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Model: ...\n")
    path = damaged / "config.json"
    own = {"AutoConfig": "own.Model", "AutoModelForImageTextToText": "own.Model"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": own}))
    loaded(damaged)
    assert not mark.exists()
