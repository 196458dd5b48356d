"""Dense supervision for nano's vision tower: what lies under each image token.

In pretraining only. Every token (8 x 8 pixels) of a generated scene classifies the colour, the
shape and the box edges of the object under it and draws that object's pixels, so that colour,
shape, extent and outline can be read off the tower's features before the language model has to.

Shapes: B scenes, N tokens (rows x columns), P = 64 pixels a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 8
LEAST_PIXELS = 8
"""A token sees an object that covers this many of its 64 pixels."""
EDGE_BINS = 128


DenseOutputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class SceneObject(Protocol):
    """What dense targets need of an object in a scene."""

    colour: str
    shape: str
    mask: npt.NDArray[np.bool_]
    area: int
    box: Any


def dense_targets(
    objects: Sequence[SceneObject], colours: Sequence[str], shapes: Sequence[str], size: int
) -> dict[str, npt.NDArray[Any]]:
    """Targets of one scene.

    Returns:
        ``colour``, ``shape`` int64[N] (0: ground), ``edges`` int64[N, 4] (y0, x0, y1 - 1,
        x1 - 1 of the object's box in 0..127, -1 where there is none), ``pixels``
        float32[N, 64], the object's pixels under the token. Where several objects meet, the
        smallest one counts, since it is seen by the fewest tokens.
    """
    side = size // PATCH
    colour = np.zeros((side, side), dtype=np.int64)
    shape = np.zeros((side, side), dtype=np.int64)
    edges = np.full((side, side, 4), -1, dtype=np.int64)
    pixels = np.zeros((side, side, PATCH * PATCH), dtype=np.float32)
    for thing in sorted(objects, key=lambda item: -item.area):
        by_token = thing.mask.reshape(side, PATCH, side, PATCH).transpose(0, 2, 1, 3)
        blocks = by_token.reshape(side, side, PATCH * PATCH)
        seen = blocks.sum(axis=2) >= min(LEAST_PIXELS, max(thing.area // 4, 1))
        colour[seen] = 1 + list(colours).index(thing.colour)
        shape[seen] = 1 + list(shapes).index(thing.shape)
        box = thing.box
        bounds = np.array([box.y0, box.x0, box.y1 - 1, box.x1 - 1]) * EDGE_BINS // size
        edges[seen] = bounds
        pixels[seen] = blocks[seen]
    tokens = side * side
    return {
        "colour": colour.reshape(tokens),
        "shape": shape.reshape(tokens),
        "edges": edges.reshape(tokens, 4),
        "pixels": pixels.reshape(tokens, PATCH * PATCH),
    }


class DenseHeads(nn.Module):
    """Linear read-outs of the tower's features; thrown away after pretraining."""

    def __init__(self, width: int, num_colours: int, num_shapes: int) -> None:
        """Width of the features, and how many colours and shapes there are."""
        super().__init__()
        self.sizes = (num_colours + 1, num_shapes + 1, 4 * EDGE_BINS, PATCH * PATCH, 4)
        self.read = nn.Linear(width, sum(self.sizes))
        nn.init.normal_(self.read.weight, std=0.02)
        nn.init.zeros_(self.read.bias)

    def forward(self, features_BNC: Tensor) -> DenseOutputs:
        """Logits of colour, shape, edges (B, N, 4, 128), pixels (B, N, 64); edges in 0..1."""
        read = self.read(features_BNC).float().split(self.sizes, dim=-1)
        colour, shape, edges, pixels, places = read
        return colour, shape, edges.unflatten(-1, (4, EDGE_BINS)), pixels, places


def smooth_edges(edges: Tensor, sigma: float) -> Tensor:
    """Gaussian targets around edge bins: int64[M, 4] -> float32[M, 4, 128], each row sums to 1."""
    bins = torch.arange(EDGE_BINS, dtype=torch.float32, device=edges.device)
    return torch.softmax(-((bins - edges[..., None]) ** 2) / (2 * sigma**2), dim=-1)


def dense_loss(
    outputs: DenseOutputs, targets: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """The auxiliary loss and its readings.

    Args:
        outputs: of :class:`DenseHeads`.
        targets: of :func:`dense_targets`, stacked to (B, N, ...).

    Returns:
        A scalar, and ``colour``/``shape`` accuracy under objects, mean edge error in bins,
        share of edges within one bin, and pixel accuracy.
    """
    colour, shape, edges, pixels, places = outputs
    seen = targets["colour"] > 0
    weight = torch.where(seen, 1.0, 0.25)

    def weighted(logits: Tensor, truth: Tensor) -> Tensor:
        loss = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
        return (loss * weight.flatten()).sum() / weight.sum()

    edge_logits = edges[seen]
    truth = targets["edges"][seen]
    soft = smooth_edges(truth, sigma=0.8)
    edge_loss = -(soft * edge_logits.log_softmax(-1)).sum(-1).mean()
    pixel_loss = F.binary_cross_entropy_with_logits(pixels[seen], targets["pixels"][seen])
    loss = weighted(colour, targets["colour"]) + weighted(shape, targets["shape"])
    place_loss = (places[seen] - (truth + 0.5) / EDGE_BINS).abs().mean()
    loss = loss + 0.5 * edge_loss + 2.0 * pixel_loss + 10.0 * place_loss
    with torch.no_grad():
        error = (edge_logits.argmax(-1) - truth).abs().float()
        readings = {
            "colour": (colour.argmax(-1) == targets["colour"])[seen].float().mean().item(),
            "shape": (shape.argmax(-1) == targets["shape"])[seen].float().mean().item(),
            "edge_error": error.mean().item(),
            "place_error": place_loss.item() * EDGE_BINS,
            "edge_within_1": (error <= 1).float().mean().item(),
            "pixels": ((pixels[seen] > 0) == (targets["pixels"][seen] > 0.5)).float().mean().item(),
        }
    return loss, readings
