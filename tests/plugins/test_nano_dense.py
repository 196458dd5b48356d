from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from t4spp.types import Box
from t4spp_plugins.backbones.nano.dense import (
    DenseOutputs,
    dense_loss,
    dense_targets,
    smooth_edges,
)
from t4spp_recipes.synthetic.params import COLOURS, SHAPE_NAMES, RefShapesParams
from t4spp_recipes.synthetic.refshapes import RefShapes

COLOUR_NAMES = tuple(COLOURS)


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
