"""MobileSAM's image encoder: its file, its frame, and what it makes of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support_smol import write_tower

from t4spp.errors import WeightsError
from t4spp.features import FeatureCache
from t4spp.types import Image

pytest.importorskip("timm", reason="MobileSAM's encoder needs timm (the extras sam and smol)")

from t4spp_plugins.towers.mobile_sam import (
    embed,
    encode,
    frame_size,
    load_mobile_sam,
    preprocess,
    tower_key,
)


@pytest.fixture(scope="module")
def tower_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tower(tmp_path_factory.mktemp("tower") / "tower.safetensors")


def drawn_picture() -> Image:
    rows, columns = np.arange(192)[:, None], np.arange(256)[None]
    channels = (
        np.broadcast_to(rows, (192, 256)),
        np.broadcast_to(columns, (192, 256)),
        (rows * columns) % 256,
    )
    picture = np.stack(channels, axis=2).astype(np.uint8)
    picture[50:100, 60:160] = [250, 20, 30]
    return picture


@pytest.mark.parametrize(
    "size", [(360, 480), (480, 360), (100, 100), (1, 4000), (4000, 1), (5, 7), (1024, 768)]
)
def test_pictures_lie_in_the_frame_as_transformers_sam_lays_them(size: tuple[int, int]) -> None:
    from transformers import SamImageProcessor

    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if min(size) > 1:
        theirs = SamImageProcessor()(
            picture.copy(), return_tensors="pt", input_data_format="channels_last"
        )
        # Both round to grey levels in between, and now and then to different ones.
        difference = (preprocess(picture) - theirs["pixel_values"][0]).abs()
        assert float(difference.max()) < 1.01 / 57.12
        assert float((difference > 1e-5).float().mean()) < 0.001
    height, width = frame_size(size)
    assert max(height, width) == 1024 and min(height, width) >= 1
    pixels = preprocess(picture)
    assert pixels.shape == (3, 1024, 1024)
    assert not pixels[:, height:].any() and not pixels[:, :, width:].any()


def test_the_file_of_another_model_is_refused(tower_file: Path, tmp_path: Path) -> None:
    tensors = load_file(tower_file)
    del tensors["image_encoder.neck.0.weight"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match=r"not MobileSAM's checkpoint.*neck\.0\.weight"):
        load_mobile_sam(tmp_path / "cut.safetensors")


def test_a_tensor_of_another_shape_is_refused(tower_file: Path, tmp_path: Path) -> None:
    tensors = load_file(tower_file)
    tensors["image_encoder.neck.0.weight"] = torch.zeros(256, 160, 1, 1)
    save_file(tensors, tmp_path / "narrow.safetensors")
    with pytest.raises(WeightsError, match=r"another shape, the first is 'neck\.0\.weight'"):
        load_mobile_sam(tmp_path / "narrow.safetensors")


def test_every_tensor_of_the_file_finds_its_place(tower_file: Path) -> None:
    encoder, rest = load_mobile_sam(tower_file)
    tensors = load_file(tower_file)
    own = encoder.state_dict()
    assert torch.equal(
        own["trunk.stages.3.downsample.conv2.conv.weight"],
        tensors["image_encoder.layers.2.downsample.conv2.c.weight"],
    )
    assert torch.equal(
        own["trunk.stages.2.blocks.4.attn.qkv.weight"],
        tensors["image_encoder.layers.2.blocks.4.attn.qkv.weight"],
    )
    assert list(rest) == ["prompt_encoder.no_mask_embed.weight"]
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_picture_is_encoded_once_and_the_second_reading_is_the_same(
    tower_file: Path, tmp_path: Path
) -> None:
    encoder, _ = load_mobile_sam(tower_file)
    key = tower_key(encoder)
    cache = FeatureCache(tmp_path)
    first = embed(drawn_picture(), encoder, cache, key)
    again = embed(drawn_picture(), encoder, cache, key)
    other_process = embed(drawn_picture(), encoder, FeatureCache(tmp_path), key)
    assert first.shape == (256, 64, 64) and first.dtype == torch.float32
    assert torch.equal(first, again) and torch.equal(first, other_process)
    assert cache.counters == {"encoded": 1, "memory": 1}


@pytest.mark.slow
def test_the_real_encoder_agrees_with_its_authors_implementation() -> None:
    """Expected: MobileSAM's own code, on the same file and picture."""
    from t4spp.weights import fetch

    encoder, rest = load_mobile_sam(fetch("mobilesam") / "mobile_sam.pt")
    features = encode(drawn_picture(), encoder)
    assert features.shape == (256, 64, 64)
    assert float(features.std()) == pytest.approx(0.10402, abs=1e-4)
    expected = {
        (0, 0, 0): -0.0315,
        (17, 10, 20): 0.01421,
        (100, 30, 30): -0.05031,
        (200, 47, 63): 0.18087,
        (255, 63, 63): -0.09551,
        (64, 5, 50): 0.08477,
    }
    found = {place: float(features[place]) for place in expected}
    assert found == pytest.approx(expected, abs=1e-4)
    assert len(rest) == 137
