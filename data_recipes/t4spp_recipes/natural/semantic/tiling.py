"""Windows over pictures that are too large to be read at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t4spp.types import Box


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Square windows in rows and columns; the last ones are moved back into the picture.

    Attributes:
        size: side of a window in pixels.
        overlap: pixels that neighbours share, below ``size``.
        compat: None: every window is ``size`` x ``size``; where the picture is smaller it reaches
            beyond, to the right and below. ``mmseg``: as mmsegmentation's converter, which does
            not pad a side that is shorter while the other is exactly ``size``, and then cuts
            from the wrong end. ``devkit``: as iSAID's own, which leaves a picture whole unless
            both sides exceed ``size``.
    """

    size: int
    overlap: int
    compat: Literal["mmseg", "devkit"] | None = None

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """The windows of a picture of (H, W), each once, by columns as the published ones."""
        height, width = size
        if self.compat == "devkit" and not (height > self.size and width > self.size):
            return (Box(y0=0, x0=0, y1=height, x1=width),)
        if self.compat == "mmseg" and self.size in size and min(size) < self.size:
            return self._cut_from_the_wrong_end(size)
        found: dict[tuple[int, int], Box] = {}
        step = self.size - self.overlap
        for left in range(0, max(width, self.size), step):
            for top in range(0, max(height, self.size), step):
                x0 = max(0, min(left, width - self.size))
                y0 = max(0, min(top, height - self.size))
                found[y0, x0] = Box(y0=y0, x0=x0, y1=y0 + self.size, x1=x0 + self.size)
        return tuple(found.values())

    def _cut_from_the_wrong_end(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """The one window that numpy gives for rows (or columns) -k to the end: the last k."""
        height, width = size
        if height < self.size:
            return (Box(y0=max(0, height - (self.size - height)), x0=0, y1=height, x1=width),)
        return (Box(y0=0, x0=max(0, width - (self.size - width)), y1=height, x1=width),)

    def fingerprint(self) -> str:
        """What an index of windows depends on."""
        return f"{self.size}-{self.overlap}-{self.compat}"
