"""A small picture of a whole scene, put together from windows as they pass by."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box, Image


class Overview:
    """The scene at a side of at most some thousand pixels; no pixel is read for it.

    Attributes:
        image: uint8[h, w, 3]; 0 where no window has passed.
        valid: bool[h, w], where a window with data has.
        factor: scene pixels a pixel of the overview.
    """

    def __init__(self, size: tuple[int, int], side: int = 2048) -> None:
        """Begin.

        Args:
            size: (H, W) of the scene.
            side: the longest that the overview may be, pixels.
        """
        self.factor = max(max(size) / side, 1.0)
        self._size = size
        shape = tuple(max(round(length / self.factor), 1) for length in size)
        self.image: Image = np.zeros((*shape, 3), dtype=np.uint8)
        self.valid: BoolMask = np.zeros(shape, dtype=np.bool_)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the overview."""
        return self.valid.shape[0], self.valid.shape[1]

    def add(self, box: Box, image: Image, valid: BoolMask) -> None:
        """Lay a window's picture down.

        Args:
            box: in the scene's pixels; may reach beyond it.
            image: uint8[h, w, 3], of whatever resolution.
            valid: bool[h, w].
        """
        from PIL import Image as PILImage

        rows = self._axis(0, box.y0, box.y1, image.shape[0])
        columns = self._axis(1, box.x0, box.x1, image.shape[1])
        if rows is None or columns is None:
            return
        (first_row, y), (first_column, x) = rows, columns
        shrink = max(int(self.factor * image.shape[0] / box.height), 1)
        height, width = (
            min(round((length - start) * pixels / side), pixels)
            for length, start, pixels, side in zip(
                self._size,
                (box.y0, box.x0),
                image.shape[:2],
                (box.height, box.width),
                strict=True,
            )
        )
        small = image[:height, :width]  # what lies beyond the scene must not darken its border
        if shrink > 1:
            small = np.asarray(PILImage.fromarray(small).reduce(shrink))
        near_y = np.minimum(y // shrink, small.shape[0] - 1)
        near_x = np.minimum(x // shrink, small.shape[1] - 1)
        place = (
            slice(first_row, first_row + y.size),
            slice(first_column, first_column + x.size),
        )
        seen = valid[y][:, x]
        self.image[place][seen] = small[near_y][:, near_x][seen]
        self.valid[place] |= seen

    def _axis(
        self, axis: int, start: int, stop: int, length: int
    ) -> tuple[int, npt.NDArray[np.int64]] | None:
        """First pixel of the overview in a window, and the picture's pixels under each."""
        count = self.size[axis]
        step = self._size[axis] / count
        first = max(math.ceil(start / step - 0.5), 0)
        last = min(math.ceil(stop / step - 0.5), count)
        if first >= last:
            return None
        centres = (np.arange(first, last) + 0.5) * step - start
        return first, np.minimum((centres * length / (stop - start)).astype(np.int64), length - 1)
