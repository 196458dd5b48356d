from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from t4spp.data.conversation import Conversation
from t4spp.testing import build_scheme
from t4spp.types import Box
from t4spp_plugins.backbones.nano.backbone import NanoBackbone
from t4spp_plugins.backbones.nano.batches import SceneBatches, TextPlan
from t4spp_plugins.backbones.nano.config import NanoConfig
from t4spp_plugins.backbones.nano.dense import (
    DenseHeads,
    DenseOutputs,
    dense_loss,
    dense_targets,
    smooth_edges,
)
from t4spp_plugins.backbones.nano.guides import CursorHead, Guide, cursor_loss, token_shares
from t4spp_plugins.backbones.nano.learner import (
    FAR_LAYER,
    NEAR_LAYER,
    REGION_HEAD,
    RUN_HEAD,
    Learner,
    pointing_loss,
    text_loss,
)
from t4spp_plugins.backbones.nano.optimiser import PairedOptimiser
from t4spp_plugins.backbones.nano.pretrain import PretrainConfig, main
from t4spp_recipes.synthetic.params import COLOURS, SHAPE_NAMES, RefShapesParams
from t4spp_recipes.synthetic.refshapes import RefShapes

NUM_IMAGE = 256
PAD, IMAGE, USER, ASSISTANT, END = range(5)
COLOUR_NAMES = tuple(COLOURS)


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
    return Learner(nano.model, heads, CursorHead(192, (16, 16)))


def batch_of(
    nano: NanoBackbone, *, box_share: float = 0.0, scenes: int = 2, more_scenes: int = 0
) -> dict[str, Tensor]:
    recipe = RefShapes(RefShapesParams(prompts_per_scene=4))
    plan = TextPlan(
        tokenizer=nano.tokenizer,
        scheme=build_scheme("next-brick"),
        shape=(16, 16),
        prompts=4,
        fixed=0.5,
        box_share=box_share,
        seed=0,
    )
    batches = SceneBatches(
        lambda: recipe.samples("train"),
        first=14,
        num_batches=1,
        scenes=scenes,
        more_scenes=more_scenes,
        colours=COLOUR_NAMES,
        shapes=SHAPE_NAMES,
        plan=plan,
    )
    (batch,) = batches
    return batch


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


def test_pretraining_writes_conversations_as_the_backbone_does(nano: NanoBackbone) -> None:
    from t4spp.data.conversations import ConversationBuilder

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


def test_batches_do_not_depend_on_the_number_of_workers() -> None:
    recipe = RefShapes(RefShapesParams())
    batches = SceneBatches(
        lambda: recipe.samples("train"),
        first=5,
        num_batches=5,
        scenes=1,
        colours=COLOUR_NAMES,
        shapes=SHAPE_NAMES,
    )
    alone = [batch["images"] for batch in batches]
    shared = [batch["images"] for batch in DataLoader(batches, batch_size=None, num_workers=2)]
    assert len(alone) == len(shared) == 5
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_scene_batches_without_text_hold_pictures_and_dense_targets() -> None:
    recipe = RefShapes(RefShapesParams())
    batches = SceneBatches(
        lambda: recipe.samples("train"),
        first=0,
        num_batches=2,
        scenes=3,
        colours=COLOUR_NAMES,
        shapes=SHAPE_NAMES,
    )
    first, second = batches
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "images": (3, 128, 128, 3),
        "colour": (3, 256),
        "shape": (3, 256),
        "edges": (3, 256, 4),
        "pixels": (3, 256, 64),
    }
    picture = recipe.samples("train").scene(3).render()
    assert np.array_equal(second["images"][0].numpy(), picture)


# dense supervision


@dataclass
class Block:
    """A rectangle of a hand-made scene."""

    colour: str
    shape: str
    mask: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, colour: str, shape: str, y0: int, x0: int, y1: int, x1: int) -> Block:
        mask = np.zeros((32, 32), dtype=bool)
        mask[y0:y1, x0:x1] = True
        return cls(colour, shape, mask)

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def box(self) -> Box | None:
        return Box.of_mask(self.mask)


def test_dense_targets_of_a_tiny_scene() -> None:
    # 4 x 4 tokens of 8 x 8 pixels; a large block over rows 0..2, a small one in the middle of it
    large = Block.of("red", "square", 0, 0, 20, 16)
    small = Block.of("cyan", "ring", 8, 8, 12, 12)
    large.mask &= ~small.mask
    far = Block.of("red", "ring", 30, 30, 32, 32)
    targets = dense_targets([small, large, far], ("red", "cyan"), ("ring", "square"), 32)
    assert targets["colour"].reshape(4, 4).tolist() == [
        [1, 1, 0, 0],
        [1, 2, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 0, 1],
    ]
    assert targets["shape"].reshape(4, 4).tolist() == [
        [2, 2, 0, 0],
        [2, 1, 0, 0],
        [2, 2, 0, 0],
        [0, 0, 0, 1],
    ]
    edges = targets["edges"].reshape(4, 4, 4)
    assert edges[0, 0].tolist() == [0, 0, 19 * 4, 15 * 4]
    assert edges[1, 1].tolist() == [8 * 4, 8 * 4, 11 * 4, 11 * 4]
    assert edges[3, 3].tolist() == [120, 120, 124, 124]
    assert edges[0, 2].tolist() == [-1, -1, -1, -1]
    pixels = targets["pixels"].reshape(4, 4, 8, 8)
    assert pixels.sum((2, 3)).tolist() == [
        [64, 64, 0, 0],
        [64, 16, 0, 0],
        [32, 32, 0, 0],
        [0, 0, 0, 4],
    ]
    assert pixels[1, 1, :4, :4].all()
    assert pixels[3, 3, 6:, 6:].all()


def test_an_object_of_few_pixels_in_a_token_is_not_its_target() -> None:
    corner = Block.of("red", "ring", 6, 6, 24, 24)
    targets = dense_targets([corner], ("red",), ("ring",), 32)
    assert targets["colour"].reshape(4, 4).tolist() == [
        [0, 1, 1, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 0],
    ]


def test_smoothed_edges_are_distributions_around_the_edge() -> None:
    soft = smooth_edges(torch.tensor([[0, 5, 64, 127]]), sigma=0.8)
    assert soft.shape == (1, 4, 128)
    torch.testing.assert_close(soft.sum(-1), torch.ones(1, 4))
    assert soft.argmax(-1).tolist() == [[0, 5, 64, 127]]
    assert soft[0, 1, 4] == soft[0, 1, 6] > soft[0, 1, 7]


def test_dense_loss_falls_to_its_floor_where_the_heads_are_right() -> None:
    split = RefShapes(RefShapesParams()).samples("train")
    found = dense_targets(split.scene(0).objects, COLOUR_NAMES, SHAPE_NAMES, 128)
    targets = {name: torch.from_numpy(value)[None] for name, value in found.items()}
    edges = targets["edges"].clamp(min=0)

    def outputs(scale: float) -> DenseOutputs:
        one_hot = nn.functional.one_hot
        return (
            scale * one_hot(targets["colour"], len(COLOUR_NAMES) + 1).float(),
            scale * one_hot(targets["shape"], len(SHAPE_NAMES) + 1).float(),
            (smooth_edges(edges, 0.8) + 1e-9).log(),
            scale * (2 * targets["pixels"] - 1),
            (edges + 0.5) / 128,
        )

    right, readings = dense_loss(outputs(30.0), targets)
    assert readings == {
        "colour": 1.0,
        "shape": 1.0,
        "edge_error": 0.0,
        "place_error": 0.0,
        "edge_within_1": 1.0,
        "pixels": 1.0,
    }
    wrong, worse = dense_loss(outputs(-30.0), targets)
    assert right < 4 < wrong
    assert worse["colour"] == worse["pixels"] == 0.0


def test_text_loss_smooths_coordinates_and_reads_each_kind_of_token() -> None:
    first = 10
    labels = torch.tensor([first + 500, first + 1000 + 3, 2, first + 20])
    logits = torch.full((4, first + 1032), -30.0)
    logits[0, first + 495] = 30  # five steps off, within one pixel of 128
    logits[1, first + 1003] = 30
    logits[2, 3] = 30  # a wrong word
    logits[3, first + 60] = 30  # forty steps off
    decides = torch.tensor([False, False, True, False])
    near, readings = text_loss(logits, labels, decides, first, sigma=4.0)
    assert readings == {
        "within_pixel": 0.5,
        "loc_error": 22.5,
        "bricks": 1.0,
        "words": 0.0,
        "decisions": 0.0,
    }
    logits[3] = -30.0
    logits[3, first + 15] = 30
    nearer, _ = text_loss(logits, labels, decides, first, sigma=4.0)
    assert nearer < near
    light, _ = text_loss(logits, labels, torch.zeros(4, dtype=torch.bool), first, sigma=4.0)
    assert light < nearer, "a wrong decision weighs more than another wrong word"


# optimiser


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])
        self.head = nn.Linear(4, 2)


def test_learning_rate_warms_up_stays_and_falls() -> None:
    module = TwoParts()
    optimiser = PairedOptimiser(
        [(module, 0.5)], learning_rate=0.1, steps=10, warmup=2, decay=0.5, max_grad_norm=1.0
    )
    rates, used = [], []
    for _ in range(10):
        rates.append(round(optimiser.rate(), 6))
        module.head(module.layers[0](torch.ones(1, 4))).sum().backward()
        optimiser.step()
        used.append({round(g["lr"], 6) for o in optimiser.optimisers for g in o.param_groups})
    assert rates == [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02]
    assert used == [{round(rate / 2, 6)} for rate in rates]


def test_matrices_inside_layers_go_to_muon_and_the_rest_to_adamw() -> None:
    module = TwoParts()
    optimiser = PairedOptimiser([(module, 1.0)], learning_rate=0.1, steps=10)
    adamw, muon = optimiser.optimisers
    assert [p for g in muon.param_groups for p in g["params"]] == [module.layers[0].weight]
    rest = {id(p) for g in adamw.param_groups for p in g["params"]}
    assert rest == {
        id(module.layers[0].bias),
        id(module.head.weight),
        id(module.head.bias),
    }


def test_a_step_moves_every_parameter_clears_gradients_and_tells_the_norm() -> None:
    torch.manual_seed(0)
    module = TwoParts()
    before = [parameter.clone() for parameter in module.parameters()]
    optimiser = PairedOptimiser([(module, 1.0)], learning_rate=0.1, steps=5, warmup=1)
    (1000 * module.head(module.layers[0](torch.ones(1, 4))).sum()).backward()
    norm = torch.stack([p.grad.norm() for p in module.parameters()]).norm().item()
    assert optimiser.step() == pytest.approx(norm, rel=1e-4)
    assert norm > 100
    for old, parameter in zip(before, module.parameters(), strict=True):
        assert parameter.grad is None
        assert 0 < (parameter - old).abs().max() < 1


# the whole


@pytest.mark.slow
def test_two_steps_a_stage_write_weights_that_load_and_resume(tmp_path: Path) -> None:
    stages = [
        {"name": name, "steps": 2, "scenes": 2, "prompts": 4, "box_share": share}
        | (
            {"point_from": "answer", "run_weight": 0.5, "cursor_weight": 0.5, "more_scenes": 2}
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
    further = NanoBackbone(NanoConfig(weights=tmp_path / "onward" / "weights"))
    further.load(build_scheme("next-brick").special_tokens)
    torch.testing.assert_close(
        further.model.lm_head.weight, backbone.model.lm_head.weight, rtol=1e-2, atol=1e-4
    )


def test_pointing_loss_of_nothing_is_zero_not_nan() -> None:
    loss, on_target = pointing_loss(torch.zeros(0, 256), torch.zeros(0, 256))
    assert loss.item() == on_target == 0.0


def test_pointing_loss_wants_all_attention_on_the_region() -> None:
    wanted = torch.tensor([[0.0, 1.0, 0.0]])
    loss, on_target = pointing_loss(torch.tensor([[0.0, 50.0, 0.0]]), wanted)
    assert loss.item() < 1e-6 and on_target == 1.0
    loss, on_target = pointing_loss(torch.tensor([[50.0, 0.0, 0.0]]), wanted)
    assert loss.item() == pytest.approx(50.0) and on_target == 0.0


# guides


def test_a_guide_counts_written_cells_and_finds_both_ends_of_runs(nano: NanoBackbone) -> None:
    names = ["<seg>", "<|loc0|>", "<|loc250|>", "<|loc500|>", "<|loc750|>"]
    names += ["<|bg16|>", "<|bg4|>", "<|fg8|>", "<|bg4|>", "<|fg16|>"]
    ids = nano.tokenizer.convert_tokens_to_ids(names)
    cursor, runs = Guide(nano.tokenizer, (16, 16))(ids)
    assert cursor.tolist() == [-1, -1, -1, -1, 0, 16, 20, 28, 32, -1]
    assert not runs[:4].any() and not runs[9].any()
    half_row = 0.5 / 32
    assert runs[4].tolist() == pytest.approx([half_row, 0.25, 0.75])
    assert runs[5].tolist() == pytest.approx([3 * half_row, 0.25, 0.375])
    assert runs[6].tolist() == pytest.approx([3 * half_row, 0.375, 0.625])
    assert runs[8].tolist() == pytest.approx([5 * half_row, 0.25, 0.75])


def test_a_guide_starts_anew_with_each_region_and_ignores_cells_beyond_the_grid(
    nano: NanoBackbone,
) -> None:
    box = [f"<|loc{step}|>" for step in (0, 0, 999, 999)]
    names = [*box, *["<|fg16|>"] * 17, *box, "<|fg3|>"]
    cursor, _ = Guide(nano.tokenizer, (16, 16))(nano.tokenizer.convert_tokens_to_ids(names))
    assert cursor.tolist() == [-1] * 3 + [16 * row for row in range(16)] + [-1] * 5 + [0, -1]


def test_cursor_loss_is_zero_where_row_and_column_are_right() -> None:
    logits = torch.zeros(2, 5)
    logits[0, 1] = logits[0, 2 + 2] = 50.0
    logits[1, 0] = logits[1, 2 + 0] = 50.0
    loss, right = cursor_loss(logits, torch.tensor([5, 0]), (2, 3))
    assert loss.item() < 1e-6 and right == 1.0
    loss, right = cursor_loss(logits, torch.tensor([5, 1]), (2, 3))
    assert loss.item() > 1 and right == 0.5
    loss, right = cursor_loss(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), (2, 3))
    assert loss.item() == right == 0.0


def test_token_shares_are_bilinear_weights_of_the_nearest_tokens() -> None:
    shares = token_shares(torch.tensor([[0.125, 0.375], [0.25, 0.5], [0.0, 1.0]]), 4)
    assert shares[0].tolist() == [0, 1, 0, 0] + [0] * 12
    assert shares[1].reshape(4, 4)[:2, 1:3].flatten().tolist() == [0.25] * 4
    assert shares[2].tolist() == [0, 0, 0, 1] + [0] * 12
    torch.testing.assert_close(shares.sum(1), torch.ones(3))


def test_scenes_that_processes_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="15 scenes a step cannot be shared among 2 processes"):
        PretrainConfig.model_validate(
            {"num_processes": 2, "stages": [{"name": "vision", "steps": 1, "scenes": 15}]}
        )
