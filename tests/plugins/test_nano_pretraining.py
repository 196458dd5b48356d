from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support_nano import (
    COLOUR_NAMES,
    IMAGE,
    NUM_IMAGE,
    PAD,
    batch_of,
)
from torch import Tensor

from t4spp.errors import ConfigError
from t4spp.testing import build_scheme
from t4spp_plugins.backbones.nano.backbone import NanoBackbone
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.dense import DenseHeads
from t4spp_plugins.backbones.nano.learner import (
    FAR_LAYER,
    NEAR_LAYER,
    REGION_HEAD,
    RUN_HEAD,
    Learner,
)
from t4spp_plugins.backbones.nano.objective import Objective
from t4spp_plugins.backbones.nano.pretrain import Pretraining, main
from t4spp_plugins.backbones.nano.stages import PretrainConfig, Stage
from t4spp_recipes.synthetic.params import SHAPE_NAMES


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def nano(nano_weights: Path) -> NanoBackbone:
    backbone = NanoBackbone(NanoConfig(weights=nano_weights))
    backbone.load(build_scheme("next-brick").special_tokens)
    backbone.model.set_attn_implementation({"text_config": "eager"})
    return backbone


@pytest.fixture(scope="module")
def learner(nano: NanoBackbone) -> Learner:
    torch.manual_seed(0)
    heads = DenseHeads(192, len(COLOUR_NAMES), len(SHAPE_NAMES))
    return Learner(nano.model, heads, (16, 16))


# packed conversations


@dataclass
class Packed:
    """What one packed pass over a batch gave, and what separate passes give."""

    logits: Tensor
    expected: Tensor
    looked: Tensor
    attended: Tensor


def run_both(
    nano: NanoBackbone,
    learner: Learner,
    lengths: Sequence[int],
    layer: int = FAR_LAYER,
    head: int = REGION_HEAD,
) -> Packed:
    batch = batch_of(nano)
    ids = batch["ids"]
    told = ids != PAD
    asked = batch["cursor"] >= 0
    with torch.no_grad():
        passed = learner.read_text(learner.tower(batch["images"]), ids, lengths)
        expected, attended = [], []
        for row in range(len(ids)):
            text = ids[row][told[row]]
            picture = batch["images"][row // 4].permute(2, 0, 1).float() / 127.5 - 1
            whole = torch.cat([torch.full((NUM_IMAGE,), IMAGE), text])[None]
            found = learner.model(
                input_ids=whole, pixel_values=picture[None], output_attentions=True
            )
            expected.append(found.logits[0, NUM_IMAGE:])
            at = torch.nonzero(asked[row]).flatten()
            seen = found.attentions[layer][0, head, NUM_IMAGE + at, :NUM_IMAGE]
            attended.append(seen / seen.sum(-1, keepdim=True))
        return Packed(
            logits=learner.model.lm_head(passed.hidden[told]),
            expected=torch.cat(expected),
            looked=learner.looked(passed, asked, layer, head).softmax(-1),
            attended=torch.cat(attended),
        )


@pytest.mark.parametrize("lengths", [(0,), (60,), (36, 96), (10_000,)])
def test_packed_conversations_equal_separate_ones(
    nano: NanoBackbone, learner: Learner, lengths: tuple[int, ...]
) -> None:
    counts = (batch_of(nano)["ids"] != PAD).sum(1)
    assert counts.max() > 96 > 36 > counts.min(), "the batch has rows of every group"
    packed = run_both(nano, learner, lengths)
    assert packed.logits.shape == packed.expected.shape
    assert (packed.logits - packed.expected).abs().max() < 1e-4
    assert packed.expected.std() > 1e-2


@pytest.mark.parametrize(
    ("layer", "head"), [(FAR_LAYER, REGION_HEAD), (FAR_LAYER, RUN_HEAD), (NEAR_LAYER, RUN_HEAD)]
)
def test_where_a_head_looks_is_its_attention(
    nano: NanoBackbone, learner: Learner, layer: int, head: int
) -> None:
    packed = run_both(nano, learner, (36, 96), layer, head)
    assert packed.looked.shape == packed.attended.shape == (len(packed.looked), NUM_IMAGE)
    assert len(packed.looked) > 100
    torch.testing.assert_close(packed.looked, packed.attended, rtol=1e-3, atol=1e-5)


# objective


def test_each_weight_of_a_stage_scales_its_own_loss(nano: NanoBackbone, learner: Learner) -> None:
    tokens = nano.tokenizer.convert_tokens_to_ids(["<|loc0|>", "<seg>"])
    objective = Objective(
        learner=learner,
        shape=(16, 16),
        first_step=tokens[0],
        opening=tokens[1],
        bfloat16=False,
    )
    batch = batch_of(nano, more_scenes=1)
    names = ["dense", "pointing", "run", "start", "reading", "cursor"]
    nothing = {f"{name}_weight": 0.0 for name in names}

    def total(**weights: float) -> float:
        stage = Stage(name="text", steps=1, scenes=2, prompts=4, **{**nothing, **weights})
        with torch.no_grad():
            return float(objective(stage, batch)[0])

    base = total()
    shares = [total(**{f"{name}_weight": 1.0}) - base for name in names]
    assert min(shares) > 0.1
    assert len({round(share, 3) for share in shares}) == len(names)
    doubled = [total(**{f"{name}_weight": 2.0}) - base for name in names]
    assert doubled == pytest.approx([2 * share for share in shares], rel=1e-4)


def test_guides_read_where_they_are_told_to(nano: NanoBackbone, learner: Learner) -> None:
    """With read-outs that always say the picture's last bin, only ends there are read."""
    tokens = nano.tokenizer.convert_tokens_to_ids(["<|loc0|>", "<seg>"])
    objective = Objective(
        learner=learner, shape=(16, 16), first_step=tokens[0], opening=tokens[1], bfloat16=False
    )
    batch = batch_of(nano)
    fills = batch["cursor"] >= 0
    batch["runs"][fills] = torch.tensor([0.25, 0.5, 1.0])
    learner.near.bias.data = torch.zeros(2 * 128)
    learner.far.bias.data = torch.zeros(128)
    learner.near.bias.data[[32, 128 + 64]] = 100.0
    learner.far.bias.data[127] = 100.0
    stage = Stage(name="text", steps=1, scenes=2, prompts=4)
    with torch.no_grad():
        readings = objective(stage, batch)[1]
        assert (readings["read_start"], readings["read_end"]) == (1.0, 1.0)
        batch["runs"][fills] = torch.tensor([0.5, 0.5, 0.5])
        readings = objective(stage, batch)[1]
    assert (readings["read_start"], readings["read_end"]) == (0.5, 0.0)


# the whole


@pytest.mark.slow
def test_two_steps_a_stage_write_weights_that_load_and_resume(tmp_path: Path) -> None:
    stages = [
        {"name": name, "steps": 2, "scenes": 2, "prompts": 4, "box_share": share}
        | (
            {
                "point_from": "answer",
                "run_weight": 0.5,
                "start_weight": 0.3,
                "cursor_weight": 0.5,
                "cursor_layer": 2,
                "reading_weight": 0.5,
                "brick_weight": 3.0,
                "more_scenes": 2,
                "edge_slips": 0.5,
                "brick_slips": 0.2,
            }
            if share
            else {}
        )
        for name, share in (("vision", 0.0), ("text", 1.0), ("text", 0.5))
    ]
    described = {"stages": stages, "num_processes": 1, "num_threads": 1, "bfloat16": False}
    path, output = tmp_path / "config.json", tmp_path / "out"
    path.write_text(json.dumps(described))
    assert main([str(path), "-o", str(output)]) == 0
    made = output / "weights"
    assert {file.name for file in made.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "pretrain.json",
    }
    config = PretrainConfig.model_validate_json((made / "pretrain.json").read_text())
    assert [stage.name for stage in config.stages] == ["vision", "text", "text"]
    events = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]
    assert [(event["stage"], event["step"]) for event in events if "val" in event] == [
        ("vision", 2),
        ("text", 2),
        ("text", 2),
    ]
    assert all(np.isfinite(event["loss"]) for event in events if "loss" in event)
    backbone = NanoBackbone(NanoConfig(weights=made))
    backbone.load(build_scheme("next-brick").special_tokens)
    first = backbone.model.lm_head.weight.clone()
    assert first.isfinite().all()

    assert main([str(path), "-o", str(output), "--first-stage", "2"]) == 0
    backbone.load(())
    torch.testing.assert_close(backbone.model.lm_head.weight, first, rtol=1e-2, atol=1e-4)

    onward = json.dumps({**described, "stages": [{**stages[2], "learning_rate": 1e-9}]})
    path.write_text(onward)
    assert main([str(path), "-o", str(tmp_path / "onward"), "--init", str(made)]) == 0
    state, before = (load_file(output / f"{stage}-text.safetensors") for stage in (2, 1))
    assert {name.split(".")[0] for name in state} == {"model", "heads", "cursor", "near", "far"}
    still = {name for name, value in state.items() if torch.equal(value, before[name])}
    assert still <= {"model.model.vision_tower.place"}, "a stage trains everything"
    older = {name: value for name, value in state.items() if not name.startswith("near.")}
    save_file(older, tmp_path / "older.safetensors")
    again = tmp_path / "again"
    assert main([str(path), "-o", str(again), "--init", str(tmp_path / "older.safetensors")]) == 0
    other = {name: value for name, value in state.items() if "lm_head" not in name}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="1 of its weights are missing"):
        main([str(path), "-o", str(again), "--init", str(tmp_path / "other.safetensors")])
    further = NanoBackbone(NanoConfig(weights=tmp_path / "onward" / "weights"))
    further.load(build_scheme("next-brick").special_tokens)
    torch.testing.assert_close(
        further.model.lm_head.weight, backbone.model.lm_head.weight, rtol=1e-2, atol=1e-4
    )


def test_a_stage_starts_from_the_average_of_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[float, float]] = []

    def run(self: Pretraining, stage: Stage, first_scene: int) -> None:
        """Instead of training: tell what the stage begins with, leave a number of its own."""
        head, near = self.learner.model.lm_head.weight, self.learner.near.bias
        begun.append((head.mean().item(), near.mean().item()))
        torch.nn.init.constant_(head, 4.0 * len(begun))
        torch.nn.init.constant_(near, 4.0 * len(begun))
        self.save(stage)
        if len(begun) == 1:
            path = self.state_file(stage)
            state = {name: value for name, value in load_file(path).items() if "near" not in name}
            save_file(state, path)

    monkeypatch.setattr(Pretraining, "run", run)
    vision = {"name": "vision", "steps": 1}
    stages = [vision, vision, {"name": "text", "steps": 1, "average": {0: 0.25, 1: 0.75}}]
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"num_processes": 1, "stages": stages}))
    assert main([str(path), "-o", str(tmp_path / "out")]) == 0
    assert begun[1:] == [(4.0, 4.0), (7.0, 8.0)], "not all states have the second"


@pytest.mark.parametrize("average", [{1: 1.0}, {0: 0.5}, {0: 1.5, 1: -0.5}, {-1: 1.0}])
def test_averages_of_what_is_not_there_are_refused(average: dict[int, float]) -> None:
    stages = [{"name": "vision", "steps": 1}, {"name": "text", "steps": 1, "average": average}]
    with pytest.raises(ValueError, match=r"stage 1: average .* must name stages before it"):
        PretrainConfig.model_validate({"num_processes": 1, "stages": stages})


def test_scenes_that_processes_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="15 scenes a step cannot be shared among 2 processes"):
        PretrainConfig.model_validate(
            {"num_processes": 2, "stages": [{"name": "vision", "steps": 1, "scenes": 15}]}
        )


@pytest.mark.parametrize("params", [{"row_marks": True}, {"keep_small": False}])
def test_slips_that_cannot_be_written_are_refused_before_the_first_stage(
    params: dict[str, bool], tmp_path: Path
) -> None:
    path, output = tmp_path / "config.json", tmp_path / "out"
    scheme = {"name": "next-brick", "params": params}
    stages = [{"name": "vision", "steps": 1}, {"name": "text", "steps": 1, "brick_slips": 0.1}]
    path.write_text(json.dumps({"scheme": scheme, "num_processes": 1, "stages": stages}))
    with pytest.raises(ConfigError, match="next-brick without row_marks and with keep_small"):
        main([str(path), "-o", str(output)])
    assert not output.exists()


@pytest.mark.parametrize("scheme", ["semantic-brick", "image-rrle"])
def test_a_scheme_without_coordinate_tokens_is_refused(scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    stages = [{"name": "vision", "steps": 1}]
    path.write_text(json.dumps({"scheme": {"name": scheme}, "num_processes": 1, "stages": stages}))
    with pytest.raises(ConfigError, match=f"'{scheme}' is none. Use next-brick"):
        main([str(path), "-o", str(tmp_path / "out")])
