"""Where smol is taught to look while it learns to write bricks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_nano import talk
from support_smol import write_language_model, write_tower

pytest.importorskip("timm", reason="smol needs timm (the extra smol)")

from t4spp.features import FeatureCache
from t4spp.testing import build_scheme
from t4spp.types import Target
from t4spp_plugins.backbones.smol.backbone import SmolBackbone
from t4spp_plugins.backbones.smol.config import SmolParams
from t4spp_plugins.backbones.smol.guiding import BrickGuide
from t4spp_plugins.backbones.smol.parts import load_tokenizer

FEATURES = FeatureCache(num_in_memory=8)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("smol")
    return {
        "tower": write_tower(folder / "tower.safetensors"),
        "language_model": write_language_model(folder / "llama"),
    }


def loaded(parts: dict[str, Path], scheme: str = "next-brick", **params: Any) -> SmolBackbone:
    backbone = SmolBackbone(SmolParams(cache_features=False, **parts, **params))
    backbone.cache = FEATURES
    backbone.load(build_scheme(scheme).special_tokens)
    return backbone


@pytest.fixture(scope="module")
def smol(parts: dict[str, Path]) -> SmolBackbone:
    return loaded(parts)


def corner_answer() -> str:
    """Two by two cells, the upper left one outside the object, in the picture's lower half."""
    mask = np.zeros((100, 100), dtype=np.bool_)
    mask[50:, :] = True
    mask[50:75, :50] = False
    scheme = build_scheme("next-brick", grid=2)
    return scheme.encode([Target(label="car", mask=mask)], mask.shape)


def test_tokens_are_told_the_place_of_what_follows_them(parts: dict[str, Path]) -> None:
    tokens = build_scheme("next-brick", grid=2).special_tokens
    tokenizer = load_tokenizer(parts["language_model"], tokens)
    ids = tokenizer(corner_answer(), add_special_tokens=False)["input_ids"]
    names = tokenizer.convert_ids_to_tokens(ids)
    assert names[3:] == [
        "<|loc500|>",
        "<|loc0|>",
        "<|loc999|>",
        "<|loc999|>",
        "<|bg1|>",
        "<|fg1|>",
        "<|fg2|>",
    ]
    half, low = 0.25 * 0.999, 0.75 * 0.999
    upper, lower = 0.5 + 0.25 * 0.499, 0.5 + 0.75 * 0.499
    wanted = [
        [-1, -1, upper, low, upper, low],  # its top: the only cell of the first row
        [-1, -1, lower, half, lower, half],  # its left edge
        [-1, -1, lower, half, lower, low],  # its bottom
        [-1, -1, upper, low, lower, low],  # its right edge
        [0.25, 0.25, upper, 0, upper, 0.4995],  # the first brick's place in the grid, its ends
        [0.25, 0.75, upper, 0.4995, upper, 0.999],
        [0.75, 0.25, lower, 0, lower, 0.999],
        [-1] * 6,
    ]
    told = BrickGuide(tokenizer)(ids)
    assert (told[:2] == -1).all()
    np.testing.assert_allclose(told[2:], wanted, atol=1e-6)


def test_a_grid_that_does_not_come_out_is_told_nothing(parts: dict[str, Path]) -> None:
    scheme = build_scheme("next-brick", grid=2)
    tokenizer = load_tokenizer(parts["language_model"], scheme.special_tokens)
    ids = tokenizer(corner_answer() + "<|fg1|>", add_special_tokens=False)["input_ids"]
    assert (BrickGuide(tokenizer)(ids) == -1).all()


@pytest.mark.parametrize("scheme", ["image-rrle", "semantic-brick"])
def test_schemes_without_bricks_as_tokens_are_not_guided(
    parts: dict[str, Path], scheme: str
) -> None:
    smol = loaded(parts, scheme)
    assert "guide" not in smol.collate([talk()], training=True).tensors


def test_the_guide_can_be_turned_off_and_is_not_there_in_generation(
    parts: dict[str, Path], smol: SmolBackbone
) -> None:
    assert "guide" in smol.collate([talk()], training=True).tensors
    assert "guide" not in smol.collate([talk()], training=False).tensors
    assert "guide" not in loaded(parts, guide=0).collate([talk()], training=True).tensors


def guided(smol: SmolBackbone, inputs: Any) -> torch.Tensor:
    model: Any = smol.model
    loss: torch.Tensor = model(**inputs.tensors).auxiliary_loss
    return loss


def full_talk(name: str = "a", question: str = "Segment the car.") -> Any:
    scheme = build_scheme("next-brick")
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[5:30, 10:50] = True
    text = scheme.encode([Target(label="car", mask=mask)], mask.shape)
    return talk(question, name=name, answer=f"It is <seg>{text}</seg>.")


def test_conversations_behind_one_picture_are_guided_as_they_would_be_apart(
    smol: SmolBackbone,
) -> None:
    pack = [full_talk(), full_talk("b", "Segment the very large car there.")]
    packed = guided(smol, smol.collate_packs([pack]))
    apart = guided(smol, smol.collate(pack, training=True))
    assert float(packed.detach()) == pytest.approx(float(apart.detach()), rel=1e-4)
    assert float(packed.detach()) > 0


def test_a_few_steps_lower_what_the_guide_asks(parts: dict[str, Path]) -> None:
    smol = loaded(parts)
    inputs = smol.collate([full_talk()], training=True)
    model: Any = smol.model
    optimizer = torch.optim.AdamW(model.language_model.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        loss = guided(smol, inputs)
        losses.append(float(loss.detach()))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.9 * losses[0]


def test_the_weight_scales_the_loss_and_an_answer_without_bricks_bears_none(
    parts: dict[str, Path], smol: SmolBackbone
) -> None:
    strong = loaded(parts, guide=3.0)
    inputs = smol.collate([full_talk()], training=True)
    once = float(guided(smol, inputs).detach())
    assert float(guided(strong, inputs).detach()) == pytest.approx(10 * once, rel=1e-4)
    empty = talk(answer="There is none: <seg>others</seg>")
    nothing = guided(smol, smol.collate([empty], training=True))
    assert float(nothing.detach()) == 0
