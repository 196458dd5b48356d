"""What evaluation in space remembers of each scored window: where it lies, truth and answer.

Masks are kept as bits of their boxes, occupancies as compressed bytes, so that a split of ten
thousand windows takes tens of megabytes; a whole scene is put together only when it is scored.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import PairScore, scored_labels
from t4spp.geo.blending import INSIDE, Levels, levels_of
from t4spp.types import BoolMask, Box, Decoded, GeoRef, Sample


@dataclass(frozen=True, kw_only=True)
class PackedMask:
    """A mask bool[H, W], as the bits of the box around it; None of both where it is empty."""

    size: tuple[int, int]
    box: Box | None
    bits: bytes = b""

    @classmethod
    def of(cls, mask: BoolMask) -> PackedMask:
        """Pack bool[H, W]."""
        size = (mask.shape[0], mask.shape[1])
        box = Box.of_mask(mask)
        if box is None:
            return cls(size=size, box=None)
        return cls(
            size=size, box=box, bits=zlib.compress(np.packbits(mask[box.slices]).tobytes(), 1)
        )

    def mask(self) -> BoolMask:
        """bool[H, W]."""
        mask = np.zeros(self.size, dtype=np.bool_)
        if self.box is not None:
            shape = (self.box.height, self.box.width)
            bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
            inside = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)
            mask[self.box.slices] = inside.astype(np.bool_)
        return mask


@dataclass(frozen=True, kw_only=True)
class PackedLevels:
    """A region's occupancy uint8[H, W] (see :func:`t4spp.geo.blending.levels_of`), compressed.

    What is kept is the box around the levels above 0; None where there are none.
    """

    size: tuple[int, int]
    box: Box | None
    content: bytes = b""

    @classmethod
    def of(cls, levels: Levels) -> PackedLevels:
        """Pack uint8[H, W]."""
        size = (levels.shape[0], levels.shape[1])
        box = Box.of_mask(levels > 0)
        if box is None:
            return cls(size=size, box=None)
        return cls(size=size, box=box, content=zlib.compress(levels[box.slices].tobytes(), 1))

    def levels(self) -> Levels:
        """uint8[H, W], ``INSIDE`` and more exactly on the region's mask."""
        levels = np.zeros(self.size, dtype=np.uint8)
        if self.box is not None:
            shape = (self.box.height, self.box.width)
            content = np.frombuffer(zlib.decompress(self.content), dtype=np.uint8)
            levels[self.box.slices] = content.reshape(shape)
        return levels


@dataclass(frozen=True, kw_only=True)
class WindowAnswer:
    """One label of one georeferenced sample: truth, answer and what it scored.

    Attributes:
        position: of the sample in its split.
        id: the sample's.
        prompt: what was asked.
        label: what is compared.
        scene: path of the scene.
        box: the window in the scene's pixels; may reach beyond the scene.
        size: (H, W) of the window's picture, which the masks have.
        geo: of the window's picture.
        targets: the true masks of the label.
        regions: the answered regions' occupancy.
        ignored: pixels that are not scored; None where all are.
        status: of the answer.
        num_tokens: of the answer; None where nothing tokenised it.
        iou: of the window's unions; None where the label was not scored in it.
        tags: of the sample.
    """

    position: int
    id: str
    prompt: str
    label: str
    scene: str
    box: Box
    size: tuple[int, int]
    geo: GeoRef
    targets: tuple[PackedMask, ...]
    regions: tuple[PackedLevels, ...]
    ignored: PackedMask | None
    status: str
    num_tokens: int | None
    iou: float | None
    tags: tuple[str, ...]

    def truth(self) -> BoolMask:
        """The union of the targets, bool[H, W]."""
        union = np.zeros(self.size, dtype=np.bool_)
        for target in self.targets:
            union |= target.mask()
        return union

    def levels(self) -> Levels:
        """uint8[H, W]: the highest occupancy of any region; ``INSIDE`` and more is answered."""
        highest = np.zeros(self.size, dtype=np.uint8)
        for region in self.regions:
            np.maximum(highest, region.levels(), out=highest)
        return highest

    def answer(self) -> BoolMask:
        """The union of the regions, bool[H, W]."""
        answered: BoolMask = self.levels() >= INSIDE
        return answered

    def counted(self) -> BoolMask:
        """bool[H, W], False where pixels are not scored."""
        if self.ignored is None:
            return np.ones(self.size, dtype=np.bool_)
        return ~self.ignored.mask()


def is_placed(sample: Sample) -> bool:
    """Whether a sample says which part of which scene it shows."""
    return sample.geo is not None and sample.geo.scene is not None and sample.geo.box is not None


class WindowCollector:
    """Keeps what :func:`t4spp.evaluation.scoring.score_answers` compares, window by window."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.windows: list[WindowAnswer] = []
        self.num_unplaced = 0

    def extend(self, other: WindowCollector) -> None:
        """Add what another one has collected."""
        self.windows.extend(other.windows)
        self.num_unplaced += other.num_unplaced

    def __call__(
        self,
        position: int,
        sample: Sample,
        prediction: Prediction,
        decoded: Decoded,
        pairs: Sequence[PairScore],
    ) -> None:
        """Remember one scored sample; one that lies in no scene is counted and left out."""
        if not is_placed(sample):
            self.num_unplaced += 1
            return
        assert sample.geo is not None and sample.geo.scene is not None
        assert sample.geo.box is not None
        ious = {pair.label: pair.iou for pair in pairs}
        ignored = None if sample.ignore is None else PackedMask.of(sample.ignore)
        for label in scored_labels(sample):
            regions = [region for region in decoded.regions if region.label == label]
            self.windows.append(
                WindowAnswer(
                    position=position,
                    id=sample.id,
                    prompt=sample.prompt,
                    label=label,
                    scene=sample.geo.scene,
                    box=sample.geo.box,
                    size=sample.size,
                    geo=sample.geo,
                    targets=tuple(
                        PackedMask.of(target.mask)
                        for target in sample.targets
                        if target.label == label
                    ),
                    regions=tuple(
                        PackedLevels.of(levels_of(region.mask, region.soft)) for region in regions
                    ),
                    ignored=ignored,
                    status=decoded.status,
                    num_tokens=prediction.num_tokens,
                    iou=ious.get(label),
                    tags=sample.tags,
                )
            )
