"""What a mask tokenizer keeps of held-out masks: IoU, contour distance, use of the codebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.evaluation.contours import contour_distances, diagonal
from t4spp.mask_tokenizer.tokenizer import MaskTokenizer
from t4spp.schemes.mask_fields import field_of, spread_logits
from t4spp.types import BoolMask


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """How masks come back from their codes, at their own resolution.

    Attributes:
        num_masks: that were measured.
        iou: mean IoU with the mask.
        iou_p05: its 5th percentile.
        contour_distance: mean average Hausdorff distance of the contours, in pixels; see
            :mod:`t4spp.evaluation.contours`.
        contour_share: the same as a share of the diagonal of what the field shows, mean.
        codes_used: share of the codebook that occurs at all.
        perplexity: exp of the entropy of all codes written; the codebook's size where all are
            equally common.
        prefixes: codes of a prefix -> mean IoU, of one patch's codes.
    """

    num_masks: int
    iou: float
    iou_p05: float
    contour_distance: float
    contour_share: float
    codes_used: float
    perplexity: float
    prefixes: dict[int, float]

    def as_json(self) -> dict[str, Any]:
        """As the tokenizer's card has it."""
        return {**asdict(self), "prefixes": {str(n): iou for n, iou in self.prefixes.items()}}


def overlap(first: BoolMask, second: BoolMask) -> float:
    """IoU of two masks of which one at least has a pixel."""
    return int(np.count_nonzero(first & second)) / int(np.count_nonzero(first | second))


def prefix_lengths(tokenizer: MaskTokenizer) -> list[int]:
    """1, 2, 4, ... up to all codes; all alone where codes stand for places."""
    shape = tokenizer.shape
    lengths = [2**power for power in range(shape.num_codes.bit_length())]
    return [*(n for n in lengths if n < shape.num_codes and shape.grid == 1), shape.num_codes]


def measure_reconstruction(
    tokenizer: MaskTokenizer, masks: Sequence[BoolMask], advance: Callable[[int], object]
) -> Reconstruction:
    """Write and read every mask, each alone, as the scheme does.

    Args:
        tokenizer: that is measured.
        masks: bool[H, W] each, with a pixel at least; what the field shows.
        advance: told about masks done.
    """
    lengths = prefix_lengths(tokenizer)
    ious: dict[int, list[float]] = {length: [] for length in lengths}
    distances: list[float] = []
    shares: list[float] = []
    counts = np.zeros(tokenizer.shape.codebook, dtype=np.int64)
    for mask in masks:
        size = (mask.shape[0], mask.shape[1])
        codes = tokenizer.encode(field_of(mask, tokenizer.shape.side))
        counts += np.bincount(codes, minlength=counts.size)
        for length in lengths:
            found, _ = spread_logits(tokenizer.decode(codes[:length]), size)
            ious[length].append(overlap(found, mask))
        distances.append(contour_distances(found, mask).ahd)
        shares.append(distances[-1] / diagonal(size))
        advance(1)
    whole = ious[lengths[-1]]
    return Reconstruction(
        num_masks=len(masks),
        iou=float(np.mean(whole)),
        iou_p05=float(np.percentile(whole, 5)),
        contour_distance=float(np.mean(distances)),
        contour_share=float(np.mean(shares)),
        codes_used=float((counts > 0).mean()),
        perplexity=_perplexity(counts),
        prefixes={length: float(np.mean(found)) for length, found in ious.items()},
    )


def _perplexity(counts: npt.NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
