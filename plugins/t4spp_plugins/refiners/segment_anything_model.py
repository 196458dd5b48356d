"""SAM by the ``segment-anything`` package: ViT-B, ViT-L, ViT-H, and MobileSAM's TinyViT.

Kirillov et al., "Segment Anything" (arXiv 2304.02643), appendix A.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from t4spp.errors import WeightsError
from t4spp.types import Image
from t4spp.weights import fetch, find_entry, read_checkpoint
from t4spp_plugins.refiners.configs import SamConfig
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.mask_decoder import QuickMaskDecoder
from t4spp_plugins.refiners.prompted import PromptedRefiner
from t4spp_plugins.refiners.prompting import Prompts, SamModel
from t4spp_plugins.towers.mobile_sam import FRAME, embed, load_mobile_sam, tower_key

if TYPE_CHECKING:
    from t4spp.features import FeatureCache

WIDTH = 256
"""Channels of the features, the prompts and the decoder."""
CELLS = 64
"""Rows and columns of the features."""

AT_ONCE_ON_A_PROCESSOR = 3
"""Regions that go through the decoder side by side where there is no GPU: what caches hold."""

_VITS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""By the width of the first layer."""
_FIRST_LAYER = "image_encoder.patch_embed.proj.weight"


def build_sam_refiner(config: SamConfig) -> PromptedRefiner:
    """The refiner ``sam``.

    Raises:
        WeightsError: the weights are unknown, missing, damaged or of another model.
    """
    path = checkpoint_path(config.weights)
    encoder, rest = load_sam(path)
    model = SegmentAnything(
        encoder,
        *load_prompt_parts(rest, path),
        key=tower_key(encoder),
        on_disk=config.cache_features,
    )
    return PromptedRefiner(model, config)


def checkpoint_path(weights: str) -> Path:
    """The file that ``weights`` means: a path, or an entry of the manifest, fetched if absent.

    Raises:
        WeightsError: neither a file nor the name of a single checkpoint.
    """
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if path.suffix or path.exists() or len(path.parts) > 1:
        raise WeightsError(
            f"refiner sam: {weights} is no file. refiner.params.weights is a SAM checkpoint, or "
            "a name of `t4spp weights list`."
        )
    entry = find_entry(weights)
    return fetch(entry) / entry.files[0].name


def load_sam(path: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """The image encoder, frozen, and the other parts' tensors under SAM's names.

    Raises:
        WeightsError: the file is damaged, or neither SAM's nor MobileSAM's.
    """
    tensors = read_checkpoint(path)
    first = tensors.get(_FIRST_LAYER)
    if first is None:
        return load_mobile_sam(path)
    kind = _VITS.get(first.shape[0])
    if kind is None:
        raise WeightsError(
            f"{path}: a ViT of width {first.shape[0]} is none of SAM's; valid: "
            f"{', '.join(f'{width} ({name})' for width, name in _VITS.items())}."
        )
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        encoder: nn.Module = sam_model_registry[kind]().image_encoder
    own, rest = _parted(tensors, "image_encoder.")
    _fill(encoder, own, path, f"{kind} image encoder")
    return encoder, rest


def load_prompt_parts(tensors: dict[str, Tensor], path: Path) -> tuple[nn.Module, nn.Module]:
    """The prompt encoder and the mask decoder, which are the same in SAM and MobileSAM.

    Args:
        tensors: under SAM's names.
        path: where they come from, for the error.

    Raises:
        WeightsError: tensors are missing, unknown or of another shape.
    """
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    with torch.device("meta"):
        prompt_encoder = PromptEncoder(
            embed_dim=WIDTH,
            image_embedding_size=(CELLS, CELLS),
            input_image_size=(FRAME, FRAME),
            mask_in_chans=16,
        )
        decoder = MaskDecoder(
            transformer_dim=WIDTH,
            transformer=TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8),
        )
    prompts, rest = _parted(tensors, "prompt_encoder.")
    masks, _ = _parted(rest, "mask_decoder.")
    _fill(prompt_encoder, prompts, path, "prompt encoder")
    _fill(decoder, masks, path, "mask decoder")
    return prompt_encoder, decoder


class SegmentAnything(SamModel):
    """SAM's three parts, on the GPU where there is one."""

    def __init__(
        self,
        encoder: nn.Module,
        prompt_encoder: Any,
        decoder: nn.Module,
        *,
        key: str,
        on_disk: bool = False,
        cache: FeatureCache | None = None,
    ) -> None:
        """Keep the parts, frozen; they move to the device when they are first used.

        Args:
            encoder: float[B, 3, 1024, 1024] to float[B, 256, 64, 64].
            prompt_encoder: of the ``segment-anything`` package.
            decoder: likewise.
            key: names the encoder's weights, for the cache of features.
            on_disk: keep features on disk.
            cache: of features; None takes the one that backbones share.
        """
        self.encoder = encoder.requires_grad_(False).eval()
        self.prompt_encoder = prompt_encoder.requires_grad_(False).eval()
        self.decoder = decoder.requires_grad_(False).eval()
        self.key = key
        self.on_disk = on_disk
        self.cache = cache
        self._device = torch.device("cpu")
        self._quick: QuickMaskDecoder | None = None

    def frame(self, size: tuple[int, int]) -> Frame:
        """The longer side is 1024 pixels, the rest padding."""
        return Frame(size=size)

    def encode(self, image: Image) -> tuple[Tensor, ...]:
        """What all prompts about the picture share; its features come from the cache if known."""
        from t4spp.features import shared_cache

        quick = self._settle()
        # Asked for late, so that a backbone's own cache is found.
        cache = self.cache or shared_cache(on_disk=self.on_disk)
        features = embed(image, self.encoder, cache, self.key)[None].to(self._device)
        with torch.inference_mode():
            return quick.prepare(features)

    @torch.inference_mode()
    def decode(self, encoded: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, Tensor]:
        """One call for all prompts; see :class:`SamModel`."""
        quick = self._settle()
        # The package adds half a pixel to every coordinate.
        points = (prompts.points - 0.5).to(self._device), prompts.kinds.to(self._device)
        boxes = None if prompts.boxes is None else (prompts.boxes - 0.5).to(self._device)
        sparse, _ = self.prompt_encoder(points=points, boxes=boxes, masks=None)
        masks = prompts.masks.to(self._device)
        at_once = AT_ONCE_ON_A_PROCESSOR if self._device.type == "cpu" else len(masks)
        parts = [
            quick((encoded[0], encoded[1]), *part)
            for part in zip(torch.split(sparse, at_once), torch.split(masks, at_once), strict=True)
        ]
        logits, scores = (torch.cat(found) for found in zip(*parts, strict=True))
        return logits.float().cpu(), scores.float().cpu()

    def _settle(self) -> QuickMaskDecoder:
        """Bring the parts to their device when they are first needed."""
        if self._quick is None:
            self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            for part in (self.encoder, self.prompt_encoder, self.decoder):
                part.to(self._device)
            with torch.inference_mode():
                self._quick = QuickMaskDecoder(self.prompt_encoder, self.decoder)
        return self._quick


def _parted(tensors: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    own = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    rest = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    return own, rest


def _fill(module: nn.Module, tensors: dict[str, Tensor], path: Path, what: str) -> None:
    """Give a module without storage its tensors."""
    wanted = module.state_dict()
    wrong = sorted(set(wanted) ^ set(tensors)) or sorted(
        name for name in wanted if wanted[name].shape != tensors[name].shape
    )
    if wrong:
        raise WeightsError(
            f"{path} is no SAM checkpoint: {len(wrong)} tensors of the {what} are missing, unknown "
            f"or of another shape, the first is {wrong[0]!r}. Valid: the published checkpoints of "
            "SAM and MobileSAM; see `t4spp weights list`."
        )
    module.load_state_dict(tensors, assign=True)
