"""Asking a SAM for masks: the paper's passes, many regions of one picture at a time.

Text4Seg (arXiv 2410.09855), section 3.3: the coarse mask as logits and points from it are the
first prompt; the predicted logits take the mask's place in the passes after it.

Legend: N regions, P points of a region, L the side of the low-resolution logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from t4spp.features import picture_hash
from t4spp.types import Image, Region, SoftMask
from t4spp_plugins.refiners.configs import PromptParams
from t4spp_plugins.refiners.frames import Frame
from t4spp_plugins.refiners.keeping import occupancy
from t4spp_plugins.refiners.points import draw_points

MOST_LOGIT = 32.0
"""Predicted logits are held within this before they are fed back, as SAM's own training does."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """What one call of the decoder is asked, in the encoder's pixels.

    Attributes:
        points: float32[N, P, 2], (x, y) from the upper left corner; the middle of the first pixel
            is (0.5, 0.5). P may be 0.
        kinds: int64[N, P]: 1 on the object, 0 beside it, -1 no point.
        boxes: float32[N, 4], (x0, y0, x1, y1), the far edges exclusive; None for none.
        masks: float32[N, 1, L, L] of logits.
    """

    points: Tensor
    kinds: Tensor
    boxes: Tensor | None
    masks: Tensor


class SamModel(ABC):
    """A SAM of some library: encodes a picture, decodes prompts about it."""

    @abstractmethod
    def frame(self, size: tuple[int, int]) -> Frame:
        """The square that a picture of (H, W) pixels lies in."""

    @abstractmethod
    def encode(self, image: Image) -> tuple[Tensor, ...]:
        """What the decoder needs of a picture uint8[H, W, 3]; encodes it at most once."""

    @abstractmethod
    def decode(self, encoded: tuple[Tensor, ...], prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Logits float32[N, L, L] and SAM's own estimates of their IoU, float32[N], on the CPU."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """What SAM makes of one region.

    Attributes:
        position: of the region in what was asked.
        logits: float32[H, W]; the object where they are positive.
        score: the IoU that SAM predicts for it.
    """

    position: int
    logits: SoftMask
    score: float


def propose(
    model: SamModel, image: Image, regions: Sequence[Region], params: PromptParams
) -> Iterator[Proposal]:
    """Masks for regions of one picture, which is encoded once; in no particular order.

    Args:
        model: the SAM.
        image: uint8[H, W, 3].
        regions: none is empty.
        params: passes, points, regions a call.
    """
    if not regions:
        return
    encoded = model.encode(image)
    picture = picture_hash(image)
    frame = model.frame((image.shape[0], image.shape[1]))
    boxed = [params.boxes and region.box is not None for region in regions]
    for has_box in (False, True):
        positions = [at for at, found in enumerate(boxed) if found == has_box]
        for start in range(0, len(positions), params.regions_per_call):
            part = positions[start : start + params.regions_per_call]
            prompts = _prompts([regions[at] for at in part], picture, frame, params, has_box)
            logits, scores = _passes(model, encoded, prompts, params.passes)
            for at, found, score in zip(part, logits, scores, strict=True):
                yield Proposal(position=at, logits=frame.to_picture(found), score=float(score))


@torch.inference_mode()
def _passes(
    model: SamModel, encoded: tuple[Tensor, ...], prompts: Prompts, passes: int
) -> tuple[Tensor, Tensor]:
    logits, scores = model.decode(encoded, prompts)
    for _ in range(passes - 1):
        fed = logits.clamp(-MOST_LOGIT, MOST_LOGIT)[:, None]
        again = Prompts(points=prompts.points, kinds=prompts.kinds, boxes=prompts.boxes, masks=fed)
        logits, scores = model.decode(encoded, again)
    return logits, scores


def _prompts(
    regions: Sequence[Region], picture: str, frame: Frame, params: PromptParams, has_box: bool
) -> Prompts:
    drawn = [
        draw_points(region, picture=picture, num_points=params.num_points, seed=params.seed)
        for region in regions
    ]
    boxes = None
    if has_box:
        corners = np.array(
            [[(box.x0, box.y0), (box.x1, box.y1)] for r in regions if (box := r.box) is not None],
            dtype=np.float64,
        )
        boxes = torch.from_numpy(frame.at(corners).reshape(-1, 4)).float()
    masks = [frame.mask_prompt(occupancy(region), params.certainty) for region in regions]
    return Prompts(
        points=torch.from_numpy(frame.at(np.stack([places for places, _ in drawn]))).float(),
        kinds=torch.from_numpy(np.stack([kinds for _, kinds in drawn])),
        boxes=boxes,
        masks=torch.stack(masks)[:, None],
    )
