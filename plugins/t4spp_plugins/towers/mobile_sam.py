"""MobileSAM's image encoder: TinyViT with a neck, 1024 x 1024 pixels to 256 x 64 x 64 features.

Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications"
(arXiv 2306.14289), section 3. The transformer is timm's ``TinyVit`` in its sizes for 5 million
parameters, without the last stage's stride; here are the neck, the names of the checkpoint and
SAM's way of laying a picture into the square.

Shapes: B pictures, H x W pixels.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

from t4spp.errors import WeightsError
from t4spp.weights.reading import read_checkpoint

if TYPE_CHECKING:
    from t4spp.features import FeatureCache
    from t4spp.types import Image

FRAME = 1024
"""Height and width of the square that a picture is laid into, in pixels."""
CELLS = 64
"""Rows and columns of the features."""
WIDTH = 256
"""Channels of the features."""

_PREFIX = "image_encoder."
_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)

_NAMES: tuple[tuple[str, str], ...] = (
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.(\d+)\.blocks\.", r"stages.\1.blocks."),
    (r"\.c\.weight$", ".conv.weight"),
)
"""From the names of MobileSAM's file to timm's, in this order."""


class MobileSamEncoder(nn.Module):
    """Pictures float32[B, 3, 1024, 1024], normalised, to features float32[B, 256, 64, 64]."""

    img_size = FRAME
    """The name under which ``segment_anything.modeling.Sam`` asks for it."""

    def __init__(self) -> None:
        """Make the layers, with random weights."""
        from timm.layers.norm import LayerNorm2d
        from timm.models.tiny_vit import TinyVit

        super().__init__()
        trunk: Any = TinyVit(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        # MobileSAM keeps 64 x 64 cells: the last merging narrows nothing.
        trunk.stages[3].downsample.conv2.conv.stride = (1, 1)
        trunk.head = nn.Identity()
        self.trunk = trunk
        self.neck = nn.Sequential(
            nn.Conv2d(320, WIDTH, 1, bias=False),
            LayerNorm2d(WIDTH, eps=1e-6),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(WIDTH, eps=1e-6),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode; see the class."""
        features: Tensor = self.neck(self.trunk.forward_features(pixels))
        return features


def load_mobile_sam(path: Path) -> tuple[MobileSamEncoder, dict[str, Tensor]]:
    """Read MobileSAM's checkpoint.

    Args:
        path: ``mobile_sam.pt``, or the same tensors as safetensors.

    Returns:
        The encoder, frozen and in evaluation mode, and the tensors of the prompt encoder and the
        mask decoder under SAM's own names.

    Raises:
        WeightsError: the file is missing, damaged, or of another model.
    """
    tensors = read_checkpoint(path)
    own = {
        name.removeprefix(_PREFIX): value
        for name, value in tensors.items()
        if name.startswith(_PREFIX)
    }
    encoder = MobileSamEncoder()
    wanted = encoder.state_dict()
    # The classifier that TinyViT was distilled with is no part of the encoder.
    renamed = {
        _rename(name): value
        for name, value in own.items()
        if not name.startswith(("head.", "norm_head."))
    }
    strange = sorted(set(wanted) ^ set(renamed)) or sorted(
        name for name in wanted if wanted[name].shape != renamed[name].shape
    )
    if strange:
        raise WeightsError(
            f"{path} is not MobileSAM's checkpoint: {len(strange)} of the image encoder's tensors "
            f"are missing, unknown or of another shape, the first is {strange[0]!r}. Get it with "
            "`t4spp weights get mobilesam`."
        )
    encoder.load_state_dict(renamed)
    encoder.requires_grad_(False).eval().to(memory_format=torch.channels_last)
    return encoder, {name: value for name, value in tensors.items() if not name.startswith(_PREFIX)}


def _rename(name: str) -> str:
    if name.startswith("neck."):
        return name
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    # A stage of MobileSAM ends with the merging that opens timm's next stage.
    merging = re.match(r"^layers\.(\d+)\.downsample\.(.*)$", name)
    if merging:
        name = f"stages.{int(merging[1]) + 1}.downsample.{merging[2]}"
    return f"trunk.{name}"


def frame_size(size: tuple[int, int]) -> tuple[int, int]:
    """Pixels (rows, columns) that a picture of (H, W) takes in the square, from its upper left.

    The longer side becomes 1024; the shorter keeps its proportion, and at least one pixel.
    """
    scale = FRAME / max(size)
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def preprocess(image: Image) -> Tensor:
    """A picture as SAM sees it: uint8[H, W, 3] -> float32[3, 1024, 1024].

    Resized bilinearly with antialiasing until the longer side has 1024 pixels, normalised by
    ImageNet's mean and deviation, then padded with zeros at the right and at the bottom.
    """
    height, width = frame_size((image.shape[0], image.shape[1]))
    picture = Pictures.fromarray(image).resize((width, height), Pictures.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    normal = (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_DEVIATION)[:, None, None]
    return nn.functional.pad(normal, (0, FRAME - width, 0, FRAME - height))


@torch.inference_mode()
def encode(image: Image, encoder: nn.Module) -> Tensor:
    """The features of one picture uint8[H, W, 3], float32[256, 64, 64] on the CPU."""
    device = next(encoder.parameters()).device
    features: Tensor = encoder(preprocess(image)[None].to(device))[0]
    return features.float().cpu()


def embed(image: Image, encoder: nn.Module, cache: FeatureCache, key: str) -> Tensor:
    """The features of one picture, read from ``cache`` or put into it.

    Args:
        image: uint8[H, W, 3].
        encoder: :class:`MobileSamEncoder`, or another of SAM's.
        cache: shared by whoever encodes with these weights.
        key: names the weights and the preprocessing; see :func:`tower_key`.

    Returns:
        float32[256, 64, 64], rounded to what the cache stores.
    """
    return cache.get(image, key, lambda: encode(image, encoder))


def tower_key(encoder: nn.Module) -> str:
    """Names an encoder's weights and this module's way to lay pictures out, for the cache.

    The tensors decide, not the file that they came from: a model that was saved with its tower
    finds what MobileSAM itself has encoded.
    """
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return f"sam-{FRAME}-{digest.hexdigest()[:16]}"
