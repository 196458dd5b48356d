"""``hf-sam``: tiny random models of every family, and MobileSAM's weights across libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support_sams import decoded, picture, square

from t4spp.errors import WeightsError
from t4spp.plugins import load_catalogue
from t4spp.types import Box
from t4spp_plugins.refiners.hf_sam import HfSam, load_hf_sam
from t4spp_plugins.refiners.prompting import Prompts

PROMPTS = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 8}
DECODER = {
    "hidden_size": 16,
    "mlp_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
VIT = {
    "hidden_size": 24,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "mlp_dim": 48,
    "window_size": 4,
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
}


def tiny_sam() -> Any:
    config = transformers.SamConfig(
        vision_config=VIT,
        prompt_encoder_config={**PROMPTS, "image_embedding_size": 8},
        mask_decoder_config=DECODER,
    )
    return transformers.SamModel(config)


def tiny_sam_hq() -> Any:
    config = transformers.SamHQConfig(
        vision_config=VIT,
        prompt_encoder_config={**PROMPTS, "image_embedding_size": 8},
        mask_decoder_config={**DECODER, "vit_dim": 24},
    )
    return transformers.SamHQModel(config)


def tiny_sam2() -> Any:
    config = transformers.Sam2Config(
        vision_config=transformers.Sam2VisionConfig(
            backbone_config=transformers.Sam2HieraDetConfig(
                hidden_size=8,
                image_size=[128, 128],
                blocks_per_stage=[1, 1, 2, 1],
                embed_dim_per_stage=[8, 16, 32, 64],
                num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[4, 4, 4, 4],
                global_attention_blocks=[3],
            ),
            backbone_channel_list=[64, 32, 16, 8],
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
            fpn_hidden_size=16,
        ),
        prompt_encoder_config={**PROMPTS, "image_size": 128, "patch_size": 16},
        mask_decoder_config=DECODER,
    )
    return transformers.Sam2Model(config)


FAMILIES = {"sam": tiny_sam, "sam_hq": tiny_sam_hq, "sam2": tiny_sam2}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    model = FAMILIES[request.param]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # as drawn, all answers are nearly alike
                parameter.mul_(8)
    model.save_pretrained(folder)
    return folder


FREE = {"reach": None, "min_agreement": 0.0, "min_score": 0.0, "min_cell": 0.0}


def test_every_family_refines_and_repeats_bit_for_bit(checkpoint: Path) -> None:
    box = Box(y0=30, x0=40, y1=80, x1=90)
    regions = decoded(square(30, 40, 50, box=box), square(5, 5, 40), square(50, 90, 60))
    params = {"checkpoint": str(checkpoint), **FREE}
    found = [
        load_catalogue().build("refiner", "hf-sam", params).refine(picture(), regions)
        for _ in range(2)
    ]
    for one, other in zip(found[0].regions, found[1].regions, strict=True):
        assert one.mask.shape == (120, 160)
        assert one.mask.tobytes() == other.mask.tobytes()
        assert one.soft.tobytes() == other.soft.tobytes()


def prompts_for(model: HfSam, num: int) -> Prompts:
    generator = torch.Generator().manual_seed(0)
    frame = model.frame((120, 160))
    corners = torch.rand(num, 4, generator=generator) * frame.side / 2
    corners[:, 2:] += corners[:, :2]
    return Prompts(
        points=torch.rand(num, 4, 2, generator=generator) * frame.side,
        kinds=torch.tensor([1, 0, 1, -1]).expand(num, -1),
        boxes=corners,
        masks=torch.randn(num, 1, frame.low, frame.low, generator=generator),
    )


def test_regions_together_get_what_each_gets_alone(checkpoint: Path) -> None:
    model = HfSam(load_hf_sam(str(checkpoint)))
    prompts = prompts_for(model, 3)
    encoded = model.encode(picture())
    logits, scores = model.decode(encoded, prompts)
    assert logits.shape == (3, model.frame((120, 160)).low, model.frame((120, 160)).low)
    assert not torch.allclose(logits[0], logits[1], atol=1e-4)
    for at in range(3):
        one = Prompts(
            points=prompts.points[at : at + 1],
            kinds=prompts.kinds[at : at + 1],
            boxes=prompts.boxes[at : at + 1],
            masks=prompts.masks[at : at + 1],
        )
        alone, score = model.decode(encoded, one)
        assert torch.allclose(alone[0], logits[at], atol=1e-4)
        assert torch.allclose(score[0], scores[at], atol=1e-5)


def test_every_prompt_has_a_say(checkpoint: Path) -> None:
    model = HfSam(load_hf_sam(str(checkpoint)))
    encoded = model.encode(picture())
    prompts = prompts_for(model, 1)
    first, _ = model.decode(encoded, prompts)
    changes = {
        "points": prompts.points + 9,
        "kinds": 1 - prompts.kinds.abs(),
        "boxes": prompts.boxes + 9,
        "masks": prompts.masks + 3,
    }
    for name, changed in changes.items():
        given = {field: getattr(prompts, field) for field in changes}
        other, _ = model.decode(encoded, Prompts(**{**given, name: changed}))
        assert not torch.equal(first, other), name


def test_picture_is_encoded_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = HfSam(load_hf_sam(str(checkpoint)))
    calls = []
    encode = model._encode
    monkeypatch.setattr(model, "_encode", lambda image: calls.append(1) or encode(image))
    first = model.encode(picture())
    again = model.encode(picture())
    assert len(calls) == 1
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_only_sam_2_sees_pictures_stretched(checkpoint: Path) -> None:
    model = HfSam(load_hf_sam(str(checkpoint)))
    frame = model.frame((60, 120))
    side = frame.side
    assert frame.inner == ((side, side) if "sam2" in checkpoint.name else (side // 2, side))


def test_pixels_are_those_of_transformers_own_processor(checkpoint: Path) -> None:
    model = HfSam(load_hf_sam(str(checkpoint)))
    side = model.frame((60, 120)).side
    if "sam2" in checkpoint.name:
        processor = transformers.Sam2ImageProcessor(size={"height": side, "width": side})
    else:
        processor = transformers.SamImageProcessor(
            size={"longest_edge": side}, pad_size={"height": side, "width": side}
        )
    image = picture((60, 120))
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(model._pixels(image), expected, atol=0.02)


def test_what_is_no_sam_is_refused(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="type 'llama'; valid: sam, sam_hq, sam2"):
        load_hf_sam(str(tmp_path))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_hf_sam(str(tmp_path / "gone"))


def test_checkpoint_without_some_tensors_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_sam().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 tensors of SamModel"):
        load_hf_sam(str(tmp_path))


def test_pickled_checkpoint_is_not_read(tmp_path: Path) -> None:
    model = tiny_sam()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="safetensors"):
        load_hf_sam(str(tmp_path))


RENAMED = (
    (r"^mask_decoder\.transformer\.(.*)\.mlp\.lin", r"mask_decoder.transformer.\1.mlp.lin"),
    (r"transformer\.norm_final_attn", "transformer.layer_norm_final_attn"),
    (r"(layers\.\d+)\.norm(\d)", r"\1.layer_norm\2"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"^prompt_encoder\.mask_downscaling\.0", "prompt_encoder.mask_embed.conv1"),
    (r"^prompt_encoder\.mask_downscaling\.1", "prompt_encoder.mask_embed.layer_norm1"),
    (r"^prompt_encoder\.mask_downscaling\.3", "prompt_encoder.mask_embed.conv2"),
    (r"^prompt_encoder\.mask_downscaling\.4", "prompt_encoder.mask_embed.layer_norm2"),
    (r"^prompt_encoder\.mask_downscaling\.6", "prompt_encoder.mask_embed.conv3"),
    (r"^prompt_encoder\.point_embeddings", "prompt_encoder.point_embed"),
    (
        r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix",
        "shared_image_embedding.positional_embedding",
    ),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0", r"\1.proj_in"),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1", r"\1.layers.0"),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2", r"\1.proj_out"),
)
"""From SAM's names to transformers'."""


@pytest.mark.slow
def test_mobile_sams_decoder_says_the_same_in_both_libraries() -> None:
    """The package's decoder and transformers' SamModel, of other authors, on the same features."""
    pytest.importorskip("segment_anything")
    pytest.importorskip("timm")
    from t4spp_plugins.refiners.segment_anything_model import checkpoint_path, load_sam

    try:
        path = checkpoint_path("mobilesam")
    except WeightsError as error:
        pytest.skip(f"MobileSAM's weights cannot be had here: {error}")
    own = load_catalogue().build("refiner", "sam", {}).model
    _, tensors = load_sam(path)
    # transformers' own default is 1e-6, with which logits differ by up to 0.08
    config = transformers.SamConfig(mask_decoder_config={"layer_norm_eps": 1e-5})
    config.vision_config.num_hidden_layers = 0
    config.vision_config.global_attn_indexes = []
    theirs = transformers.SamModel(config)
    renamed = {}
    for name, value in tensors.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    shared = renamed["shared_image_embedding.positional_embedding"]
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = shared
    result = theirs.load_state_dict(renamed, strict=False)
    assert result.unexpected_keys == []
    assert all(name.startswith("vision_encoder.") for name in result.missing_keys)
    other = HfSam(theirs)
    features = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    prompts = prompts_for(other, 4)
    quick = own._settle()
    found, scores = own.decode(quick.prepare(features), prompts)
    expected, expected_scores = other.decode((features,), prompts)
    assert torch.allclose(found, expected, atol=5e-4)
    assert torch.allclose(scores, expected_scores, atol=1e-4)
    assert np.ptp(expected.numpy()) > 5
