"""Mask tokenizers: numpy against torch, codes, files, the training's laws, measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support_tokenizer import write_tokenizer

from t4spp.errors import ConfigError, RunError, SchemeError
from t4spp.mask_tokenizer.codes import codes_of, digits_of, values_of
from t4spp.mask_tokenizer.networks import decode, encode
from t4spp.mask_tokenizer.shape import TokenizerShape
from t4spp.mask_tokenizer.tokenizer import MaskTokenizer, identity_of, load_tokenizer
from t4spp.plugins import load_catalogue
from t4spp.schemes.mask_fields import field_of
from t4spp.tokenizer_training.config import (
    TokenizerConfig,
    dump_tokenizer_config,
    load_tokenizer_config,
)
from t4spp.tokenizer_training.losses import mask_loss
from t4spp.tokenizer_training.masks import MaskCounts, Part, masks_of, parts_of
from t4spp.tokenizer_training.measuring import measure_reconstruction, prefix_lengths
from t4spp.tokenizer_training.networks import TokenizerNetworks
from t4spp.tokenizer_training.pictures import read_events
from t4spp.tokenizer_training.running import prepare_folder
from t4spp.tokenizer_training.training import train_tokenizer
from t4spp.types import BoolMask, Sample, Target

PROJECT = Path(__file__).resolve().parents[2]
GLOBAL: dict[str, Any] = {
    "side": 8, "patch": 8, "codes_per_patch": 3, "levels": (4, 3), "width": 16, "blocks": 2,
}  # fmt: skip
PLACES: dict[str, Any] = {
    **GLOBAL, "layout": "image", "patch": 2, "codes_per_patch": 2, "kernel": 3,
}  # fmt: skip


def nothing(_: int) -> None:
    """Progress that nobody watches."""


def disc(side: int, radius: float, y: float = 0.5, x: float = 0.5) -> BoolMask:
    rows, columns = (np.indices((side, side)) + 0.5) / side
    return np.asarray(np.hypot(rows - y, columns - x) < radius)


def randomised(sizes: dict[str, Any]) -> TokenizerNetworks:
    """Networks of which no layer is zero."""
    torch.manual_seed(0)
    networks = TokenizerNetworks(TokenizerShape.model_validate(sizes))
    with torch.no_grad():
        for weights in networks.parameters():
            weights.normal_(0, 0.4)
    return networks


@pytest.mark.parametrize("sizes", [GLOBAL, PLACES])
def test_numpy_and_torch_networks_agree(sizes: dict[str, Any]) -> None:
    networks = randomised(sizes)
    shape, arrays = networks.shape, networks.arrays()
    field = np.random.default_rng(1).random((8, 8)).astype(np.float32)
    with torch.no_grad():
        values = networks.encode(torch.from_numpy(field)[None])
        logits = networks.decode(values)[0].numpy()
    features = encode(field * 2 - 1, shape, arrays)
    codes = codes_of(features, shape.levels)
    assert np.allclose(values_of(codes, shape.levels), values[0].numpy(), atol=1e-5)
    assert np.allclose(
        decode(values[0].numpy(), shape, arrays), logits, atol=1e-4 * np.abs(logits).max()
    )


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.data())
def test_every_code_is_one_point_of_the_lattice(levels: list[int], data: st.DataObject) -> None:
    code = data.draw(st.integers(0, int(np.prod(levels)) - 1))
    values = values_of(np.array(code), levels)
    assert values.shape == (len(levels),) and np.abs(values).max() <= 1
    inner = np.arctanh(np.clip(values, -0.999999, 0.999999)).astype(np.float32)
    assert int(codes_of(inner, levels)) == code


def test_digits_are_the_nearest_levels() -> None:
    features = np.arctanh(np.array([-0.9, -0.4, 0.3, 0.9], dtype=np.float32))
    assert digits_of(features[:, None], [3]).ravel().tolist() == [0, 1, 1, 2]
    assert values_of(np.array([0, 1, 2, 5]), [3, 2]).tolist() == [
        [-1, -1], [0, -1], [1, -1], [1, 1],
    ]  # fmt: skip


def test_saved_tokenizer_is_read_back_the_same(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "t")
    tokenizer = load_tokenizer(folder, "box")
    assert tokenizer.identity == json.loads((folder / "tokenizer.json").read_text())["sha256"]
    field = disc(8, 0.4).astype(np.float64)
    codes = tokenizer.encode(field)
    assert codes.shape == (3,) and codes.max() < 12
    assert np.array_equal(tokenizer.decode(codes), tokenizer.decode(codes.tolist()))
    assert tokenizer.decode([]).shape == (8, 8)


def test_codes_are_the_same_whatever_was_coded_before(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path / "t"), "box")
    fields = [disc(8, radius).astype(np.float64) for radius in (0.2, 0.3, 0.5)]
    forth = [tokenizer.encode(field).tolist() for field in fields]
    back = [tokenizer.encode(field).tolist() for field in fields[::-1]]
    assert forth == back[::-1]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"side": 30, "patch": 16}, "patch 16 does not divide side 30"),
        ({"levels": (1, 4)}, "2 or more"),
        ({"levels": (16,) * 5}, "number of new tokens"),
        ({"kernel": 2}, "kernel"),
        ({"side": 512, "patch": 512}, "patch"),
        ({"side": 512, "patch": 1, "codes_per_patch": 1}, "262144 codes of a mask; at most 4096"),
        ({"side": 256, "patch": 8, "codes_per_patch": 8}, "8192 codes of a mask"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TokenizerShape.model_validate(sizes)


def test_loss_is_least_for_the_mask_itself_and_counts_small_masks_as_large_ones() -> None:
    target = torch.from_numpy(np.stack([disc(16, 0.1), disc(16, 0.45)])).float()
    right, wrong = (target * 2 - 1) * 20, (0.5 - target) * 40
    weights = {"cross_entropy": 0.0, "overlap": 1.0}
    assert mask_loss(right, target, **weights).item() == pytest.approx(0, abs=1e-5)
    assert mask_loss(wrong, target, **weights).item() == pytest.approx(1, abs=1e-5)
    one_wrong = [torch.stack([wrong[0], right[1]]), torch.stack([right[0], wrong[1]])]
    losses = [mask_loss(logits, target, **weights).item() for logits in one_wrong]
    assert losses == pytest.approx([0.5, 0.5], abs=1e-5)


def test_linear_start_already_decodes_and_prefixes_are_coarser() -> None:
    rng = np.random.default_rng(0)
    masks = [disc(16, rng.uniform(0.2, 0.5), *rng.uniform(0.3, 0.7, 2)) for _ in range(300)]
    fields = torch.from_numpy(np.stack(masks)).float()
    networks = TokenizerNetworks(
        TokenizerShape(side=16, patch=16, codes_per_patch=4, levels=(8, 8, 8), width=16)
    )
    networks.start_linear(fields)
    tokenizer = MaskTokenizer(networks.shape, networks.arrays(), "start")
    found = measure_reconstruction(tokenizer, masks[:60], nothing)
    assert list(found.prefixes) == [1, 2, 4]
    assert 0.5 < found.prefixes[1] < found.prefixes[2] < found.prefixes[4] == found.iou
    assert found.iou > 0.8
    assert 0 < found.contour_distance < 2


def config_of(**training: Any) -> TokenizerConfig:
    return TokenizerConfig.model_validate(
        {
            "name": "small",
            "shape": {**GLOBAL, "levels": (8, 8)},
            "data": [{"recipe": {"name": "mask-shapes"}}],
            "training": {
                "steps": 40, "batch_size": 32, "log_every": 10, "evaluate_every": 20,
                "save_every": 10, "learning_rate": 0.01, "warmup_steps": 2, **training,
            },
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def fields() -> Any:
    rng = np.random.default_rng(0)
    masks = [disc(8, rng.uniform(0.2, 0.6), *rng.uniform(0.2, 0.8, 2)) for _ in range(200)]
    return np.stack(masks).astype(np.uint8) * 255


def losses_in(folder: Path) -> dict[float, float]:
    events = read_events(folder / "events.jsonl")
    return {event["step"]: event["loss"] for event in events if "loss" in event}


def test_training_learns(fields: Any, tmp_path: Path) -> None:
    train_tokenizer(config_of(steps=300), fields, tmp_path, lambda _: {"iou": 0.5}, nothing)
    losses = losses_in(tmp_path)
    assert list(losses) == list(range(10, 301, 10))
    assert losses[300] < 0.95 * losses[10]


def test_resumed_training_ends_as_an_uninterrupted_one(fields: Any, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()

    class Stopped(Exception):
        pass

    done = 0

    def stop_in_the_middle(count: int) -> None:
        nonlocal done
        done += count
        if done == 25:
            raise Stopped

    config = config_of()
    one = train_tokenizer(config, fields, whole, lambda _: {"iou": 0.0}, nothing)
    with pytest.raises(Stopped):
        train_tokenizer(config, fields, parts, lambda _: {"iou": 0.0}, stop_in_the_middle)
    two = train_tokenizer(config, fields, parts, lambda _: {"iou": 0.0}, nothing)
    assert (one.resumed_from, two.resumed_from) == (None, 20)
    for name, array in one.networks.arrays().items():
        assert np.array_equal(array, two.networks.arrays()[name]), name
    assert losses_in(whole) == losses_in(parts)


def test_damaged_state_is_one_clear_error(fields: Any, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"state\.pt.*--overwrite"):
        train_tokenizer(config_of(), fields, tmp_path, lambda _: {}, nothing)


def stopped_at(config: TokenizerConfig, fields: Any, folder: Path, step: int) -> None:
    """Leave what a training leaves that was ended at a step."""

    class Stopped(Exception):
        pass

    done = 0

    def stop(count: int) -> None:
        nonlocal done
        done += count
        if done == step:
            raise Stopped

    with pytest.raises(Stopped):
        train_tokenizer(config, fields, folder, lambda _: {"iou": 0.0}, stop)


def test_training_goes_on_with_the_masks_that_it_began_with(fields: Any, tmp_path: Path) -> None:
    stopped_at(config_of(), fields, tmp_path, 15)
    others = fields.copy()
    others[3, 0, 0] ^= 255
    with pytest.raises(RunError, match=r"state\.pt.*began with other masks.*--overwrite"):
        train_tokenizer(config_of(), others, tmp_path, lambda _: {}, nothing)


def test_torn_event_costs_no_other(fields: Any, tmp_path: Path) -> None:
    stopped_at(config_of(), fields, tmp_path, 25)
    with (tmp_path / "events.jsonl").open("a") as events:
        events.write('{"step": 30, "lo')
    train_tokenizer(config_of(), fields, tmp_path, lambda _: {"iou": 0.0}, nothing)
    assert list(losses_in(tmp_path)) == [10, 20, 30, 40]
    (tmp_path / "events.jsonl").write_text("[]\n{}\n3\n")
    assert read_events(tmp_path / "events.jsonl") == []


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"learning_rate": 1e30, "warmup_steps": 0}, "its loss is nan after step"),
        ({"learning_rate": 1e6, "steps": 1}, "left the range of float16 after step 1"),
    ],
)
def test_training_that_diverges_is_one_clear_error(
    training: dict[str, Any], message: str, fields: Any, tmp_path: Path
) -> None:
    config = config_of(**{"evaluate_every": 40, "save_every": 40, **training})
    with pytest.raises(RunError, match=f"small diverged: .*{message}.*training.learning_rate"):
        train_tokenizer(config, fields, tmp_path, lambda _: {"iou": 0.0}, nothing)
    assert not (tmp_path / "state.pt").exists()


@pytest.mark.parametrize("damage", ["nan", "inf", "whole numbers", "bf16"])
def test_weights_that_are_no_finite_numbers_are_refused(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save

    folder = write_tokenizer(tmp_path / "t")
    path, card = folder / "tokenizer.safetensors", folder / "tokenizer.json"
    weights = load_file(path)
    name = "decoder.leave.bias"
    if damage in ("nan", "inf"):
        weights[name][3] = float(damage)
    else:
        weights[name] = weights[name].to(torch.bfloat16 if damage == "bf16" else torch.int32)
    content = save(weights)
    known = json.loads(card.read_text())
    shape = TokenizerShape.model_validate(known["shape"])
    card.write_text(json.dumps({**known, "sha256": identity_of(shape, content)}))
    path.write_bytes(content)
    with pytest.raises(SchemeError, match=r"tokenizer\.safetensors: .*(finite|numpy cannot read)"):
        load_tokenizer(folder, "box")


def test_another_seed_makes_another_tokenizer(fields: Any, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        config = config_of(steps=3).model_copy(update={"seed": seed})
        found.append(train_tokenizer(config, fields, folder, lambda _: {}, nothing).networks)
    first, second = (networks.arrays()["encoder.enter.weight"] for networks in found)
    assert not np.array_equal(first, second)


def test_targets_are_cut_to_their_boxes_and_empty_ones_counted() -> None:
    mask = np.zeros((10, 12), dtype=np.bool_)
    mask[2:5, 3:9] = True
    targets = (Target(label="a", mask=mask), Target(label="b", mask=np.zeros_like(mask)))
    sample = Sample(id="s", size=(10, 12), prompt="a", targets=targets)
    part = Part(samples=[sample] * 3, limit=2, name="x")
    counts = MaskCounts()
    boxes = list(masks_of(part, "box", counts))
    assert [box.shape for box in boxes] == [(3, 6), (3, 6)] and boxes[0].all()
    assert (counts.num_masks, counts.num_empty) == (2, 1)
    assert [m.shape for m in masks_of(part, "image", MaskCounts())] == [(10, 12)] * 2


def test_codebook_use_counts_what_occurs(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path / "t"), "box")
    found = measure_reconstruction(tokenizer, [disc(9, 0.4)] * 5, nothing)
    codes = set(tokenizer.encode(field_of(disc(9, 0.4), 8)).tolist())
    assert found.num_masks == 5
    assert found.codes_used <= 3 / 12 and found.perplexity <= 3.0001
    assert prefix_lengths(tokenizer) == [1, 2, 3] and len(codes) <= 3


@pytest.mark.parametrize("path", sorted((PROJECT / "configs/tokenizers").glob("*.yaml")))
def test_shipped_tokenizer_config_is_valid_and_read_back_equal(path: Path, tmp_path: Path) -> None:
    config = load_tokenizer_config(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump_tokenizer_config(config))
    assert load_tokenizer_config(again) == config
    assert str(path.relative_to(PROJECT)) in path.read_text()
    shipped = load_tokenizer(None, config.shape.layout)
    assert shipped.shape == config.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "data: required"),
        ("name: x\ndata: []\n", "data"),
        ("name: x\ndata: [{recipe: {name: a}}]\nshape: {sides: 3}\n", "Did you mean 'side'"),
        ("name: x\ndata: [{recipe: {name: a}}]\ntraining: {steps: 0}\n", "steps"),
    ],
)
def test_wrong_config_names_the_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_tokenizer_config(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"train_split": "tain"}, "no split 'tain'.*Did you mean 'train'"),
        ({"eval_split": "train"}, "masks that were learnt"),
        ({"eval_split": None}, "no part has an eval_split"),
        ({"recipe": {"name": "mask-shape"}}, "Did you mean 'mask-shapes'"),
    ],
)
def test_wrong_sources_are_refused(source: dict[str, Any], message: str) -> None:
    entry = {"recipe": {"name": "mask-shapes"}, **source}
    config = TokenizerConfig.model_validate({"name": "x", "data": [entry]})
    with pytest.raises(Exception, match=message) as raised:
        parts_of(config, load_catalogue())
    assert type(raised.value).__name__ in ("ConfigError", "PluginError")


def test_folder_of_another_training_is_left_alone(tmp_path: Path) -> None:
    config = config_of()
    prepare_folder(tmp_path / "run", config, overwrite=False)
    prepare_folder(tmp_path / "run", config, overwrite=False)
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(RunError, match="another config"):
        prepare_folder(tmp_path / "run", other, overwrite=False)
    (tmp_path / "run" / "state.pt").write_text("old")
    prepare_folder(tmp_path / "run", other, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml"]
    (tmp_path / "file").touch()
    for taken in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match=r"is a file|cannot be written there"):
            prepare_folder(taken, config, overwrite=True)
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    (experiment / "config.yaml").write_text("name: camvid\nscheme: {name: next-brick}\n")
    (experiment / "metrics.json").write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="not the config of a tokenizer's training"):
            prepare_folder(experiment, config, overwrite=overwrite)
    assert (experiment / "metrics.json").read_text() == "{}"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="no training's folder"):
        prepare_folder(tmp_path / "mine", config, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
