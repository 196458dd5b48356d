"""What a mask tokenizer's training makes small.

Legend: ``B`` masks, ``T`` side of the target.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mask_loss(logits: Tensor, target: Tensor, *, cross_entropy: float, overlap: float) -> Tensor:
    """Cross-entropy of the pixels, and 1 - soft IoU of each mask.

    The soft IoU is sum(p t) / sum(p + t - p t) (M. A. Rahman and Y. Wang, "Optimizing
    Intersection-over-Union in Deep Neural Networks for Image Segmentation", 2016).

    Args:
        logits: float[B, S, S]; interpolated to the target's side where that is larger.
        target: float[B, T, T] in 0..1.
        cross_entropy: weight of the first.
        overlap: weight of the second.

    Returns:
        float[], the mean over masks.
    """
    side = target.shape[-1]
    if logits.shape[-1] != side:
        logits = functional.interpolate(logits[:, None], size=(side, side), mode="bilinear")[:, 0]
    inside = torch.sigmoid(logits)
    shared = (inside * target).sum(dim=(1, 2))
    union = inside.sum(dim=(1, 2)) + target.sum(dim=(1, 2)) - shared
    lost = 1 - (shared / union.clamp_min(1e-6)).mean()
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return cross_entropy * entropy + overlap * lost
