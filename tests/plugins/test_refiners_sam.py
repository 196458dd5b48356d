"""``sam``: the segment-anything package's parts, with random and with MobileSAM's real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support_sams import decoded, picture, square

from t4spp.errors import ConfigError, WeightsError
from t4spp.features import FeatureCache
from t4spp.plugins import load_catalogue
from t4spp.types import Box, Region, Target

pytest.importorskip("segment_anything")
pytest.importorskip("timm")

from t4spp_plugins.refiners.configs import SamConfig
from t4spp_plugins.refiners.mask_decoder import QuickMaskDecoder
from t4spp_plugins.refiners.prompted import PromptedRefiner
from t4spp_plugins.refiners.prompting import Prompts
from t4spp_plugins.refiners.segment_anything_model import (
    SegmentAnything,
    checkpoint_path,
    load_prompt_parts,
    load_sam,
)


class Averages(torch.nn.Module):
    """Stands for an image encoder: 16 x 16 pixels' mean colours, projected at random."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        weight = torch.randn(256, 3, 1, 1, generator=torch.Generator().manual_seed(1))
        self.weight = torch.nn.Parameter(weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.count += 1
        small = torch.nn.functional.avg_pool2d(pixels, 16)
        return torch.nn.functional.conv2d(small, self.weight)


def random_parts() -> tuple[torch.nn.Module, torch.nn.Module]:
    """SAM's prompt encoder and mask decoder with seeded random weights."""
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    torch.manual_seed(0)
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    return prompts.eval(), MaskDecoder(transformer_dim=256, transformer=transformer).eval()


@pytest.fixture(scope="module")
def parts() -> tuple[torch.nn.Module, torch.nn.Module]:
    return random_parts()


def model_of(parts, **options) -> SegmentAnything:
    return SegmentAnything(Averages(), *parts, key="averages", cache=FeatureCache(), **options)


def some_prompts(num: int, *, boxes: bool) -> Prompts:
    generator = torch.Generator().manual_seed(num)
    corners = torch.rand(num, 4, generator=generator) * 400
    corners[:, 2:] += corners[:, :2]
    return Prompts(
        points=torch.rand(num, 6, 2, generator=generator) * 1000,
        kinds=torch.tensor([1, 1, 0, 0, -1, 1]).expand(num, -1),
        boxes=corners if boxes else None,
        masks=torch.randn(num, 1, 256, 256, generator=generator) * 4,
    )


@pytest.mark.parametrize("boxes", [False, True])
def test_quick_decoder_is_the_packages(parts, boxes: bool) -> None:
    prompt_encoder, decoder = parts
    model = model_of(parts)
    image = picture()
    prompts = some_prompts(4, boxes=boxes)
    logits, scores = model.decode(model.encode(image), prompts)
    features = model.cache.get(image, "averages", lambda: torch.empty(0))[None]
    assert features.shape == (1, 256, 64, 64)
    with torch.inference_mode():
        sparse, dense = prompt_encoder(
            points=(prompts.points - 0.5, prompts.kinds),
            boxes=None if prompts.boxes is None else prompts.boxes - 0.5,
            masks=prompts.masks,
        )
        expected, expected_scores = decoder(
            image_embeddings=features,
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    assert torch.allclose(logits, expected[:, 0], atol=1e-4, rtol=1e-4)
    assert torch.allclose(scores, expected_scores[:, 0], atol=1e-5)


def test_slices_of_a_call_change_nothing(parts, monkeypatch: pytest.MonkeyPatch) -> None:
    from t4spp_plugins.refiners import segment_anything_model as module

    model, prompts = model_of(parts), some_prompts(5, boxes=False)
    encoded = model.encode(picture())
    sliced, _ = model.decode(encoded, prompts)
    monkeypatch.setattr(module, "AT_ONCE_ON_A_PROCESSOR", 5)
    whole, _ = model.decode(encoded, prompts)
    assert torch.allclose(sliced, whole, atol=1e-4)


def test_same_predictions_refined_twice_give_the_same_masks_bit_for_bit(parts) -> None:
    box = Box(y0=30, x0=40, y1=80, x1=90)
    regions = decoded(square(30, 40, 50, box=box), square(5, 5, 40), square(50, 90, 60))
    params = SamConfig(reach=None, min_agreement=0.0, min_score=0.0, min_cell=0.0)
    found = [
        PromptedRefiner(model_of(random_parts()), params).refine(picture(), regions)
        for _ in range(2)
    ]
    for one, other in zip(found[0].regions, found[1].regions, strict=True):
        assert one.mask.tobytes() == other.mask.tobytes()
        assert one.soft.tobytes() == other.soft.tobytes()
    assert any(r.mask.sum() not in (0, r.mask.size) for r in found[0].regions)


def test_picture_known_to_the_shared_cache_is_not_encoded_again(parts) -> None:
    cache = FeatureCache()
    first, second = Averages(), Averages()
    for encoder in (first, first, second):
        model = SegmentAnything(encoder, *parts, key="averages", cache=cache)
        PromptedRefiner(model, SamConfig(passes=1)).refine(picture(), decoded(square(30, 40, 50)))
    assert (first.count, second.count) == (1, 0)


def test_parts_that_do_not_fit_are_named(parts, tmp_path: Path) -> None:
    prompt_encoder, decoder = parts
    tensors = {f"prompt_encoder.{n}": v for n, v in prompt_encoder.state_dict().items()}
    tensors |= {f"mask_decoder.{n}": v for n, v in decoder.state_dict().items()}
    loaded = load_prompt_parts(tensors, tmp_path)
    assert torch.equal(loaded[1].iou_token.weight, decoder.iou_token.weight)
    del tensors["mask_decoder.iou_token.weight"]
    with pytest.raises(WeightsError, match=r"mask decoder.*'iou_token\.weight'"):
        load_prompt_parts(tensors, tmp_path)


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"image_encoder.patch_embed.proj.weight": torch.zeros(64, 3, 16, 16)}, path)
    with pytest.raises(WeightsError, match="width 64 is none of SAM's"):
        load_sam(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError):
        load_sam(path)


def test_checkpoint_that_would_run_code_is_never_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Harm:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "harm.pth"
    torch.save({"state_dict": Harm()}, path)
    with pytest.raises(WeightsError, match="refused"):
        load_catalogue().build("refiner", "sam", {"weights": str(path)})
    assert not marker.exists()


@pytest.mark.parametrize("weights", ["gone/sam.pth", "sam.pth", "mobilesan"])
def test_unknown_weights_are_the_users_mistake(weights: str) -> None:
    with pytest.raises(WeightsError):
        checkpoint_path(weights)


@pytest.mark.parametrize(
    "params",
    [{"passes": 0}, {"num_points": -1}, {"certainty": 1.0}, {"reach": 0}, {"min_agreement": 1.5}],
)
def test_params_out_of_range_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        load_catalogue().build("refiner", "sam", params)


@pytest.mark.slow
def test_vit_b_is_told_by_its_first_layer_and_filled(tmp_path: Path) -> None:
    from segment_anything import sam_model_registry

    torch.manual_seed(0)
    path = tmp_path / "vit_b.pth"
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    encoder, rest = load_sam(path)
    assert sum(p.numel() for p in encoder.parameters()) > 85_000_000
    assert {name.split(".")[0] for name in rest} == {"prompt_encoder", "mask_decoder"}
    load_prompt_parts(rest, path)


@pytest.fixture(scope="module")
def mobile_sam() -> PromptedRefiner:
    try:
        checkpoint_path("mobilesam")
    except WeightsError as error:
        pytest.skip(f"MobileSAM's weights cannot be had here: {error}")
    refiner: PromptedRefiner = load_catalogue().build("refiner", "sam", {})
    return refiner


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A light disc on dark, blurred ground, and its mask."""
    rows, columns = np.ogrid[:240, :320]
    disc = (rows - 110) ** 2 + (columns - 170) ** 2 < 70**2
    image = np.where(disc[..., None], (220, 190, 120), (40, 60, 80)).astype(np.int64)
    noise = np.random.default_rng(0).integers(-8, 9, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), disc


@pytest.mark.slow
def test_mobile_sam_sharpens_a_coarse_disc_and_repeats_it(mobile_sam: PromptedRefiner) -> None:
    image, disc = scene()
    scheme = load_catalogue().build("scheme", "image-rrle", {"grid": 16})
    (coarse,) = scheme.quantize([Target(label="disc", mask=disc)], disc.shape)
    results = [mobile_sam.refine(image, decoded(coarse)).regions[0] for _ in range(2)]

    def iou(region: Region) -> float:
        return float((region.mask & disc).sum() / (region.mask | disc).sum())

    assert iou(coarse) < 0.93
    assert iou(results[0]) > 0.97
    assert results[0].mask.tobytes() == results[1].mask.tobytes()
    assert results[0].soft.tobytes() == results[1].soft.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 4000), (3, 3)])
def test_mobile_sam_takes_odd_pictures(mobile_sam: PromptedRefiner, size) -> None:
    full = Region(label="x", mask=np.ones(size, dtype=np.bool_))
    one = np.zeros(size, dtype=np.bool_)
    one[0, 1] = True
    fine = mobile_sam.refine(picture(size), decoded(full, Region(label="y", mask=one)))
    assert [region.mask.shape for region in fine.regions] == [size, size]
    assert all(region.mask.any() for region in fine.regions)


@pytest.mark.slow
def test_mobile_sam_decoder_is_the_packages_with_real_weights(mobile_sam: PromptedRefiner) -> None:
    model = mobile_sam.model
    assert isinstance(model, SegmentAnything)
    quick = QuickMaskDecoder(model.prompt_encoder, model.decoder)
    features = torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.1
    prompts = some_prompts(3, boxes=True)
    with torch.inference_mode():
        sparse, dense = model.prompt_encoder(
            points=(prompts.points, prompts.kinds), boxes=prompts.boxes, masks=prompts.masks
        )
        expected, _ = model.decoder(
            image_embeddings=features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        found, _ = quick(quick.prepare(features), sparse, prompts.masks)
    assert torch.allclose(found, expected[:, 0], atol=1e-3)
