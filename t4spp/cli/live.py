"""Masks on a terminal while they are written: two pixels a character, the upper half-block.

Where the stream is no terminal, lines say how far the answer is.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

import numpy as np
import numpy.typing as npt

from t4spp.report.overlay import label_colours
from t4spp.schemes.base import SEG_OPEN, Scheme

if TYPE_CHECKING:
    from t4spp.decoding.answers import Growing
    from t4spp.types import Decoded, Image

HALF_BLOCK = "\N{UPPER HALF BLOCK}"
COLUMNS = 64
"""Pixels of the picture's width, at most; a terminal that is narrower has its own number."""
ROWS = 64
"""Pixels of its height, at most: twice as many as lines."""
PAUSE = 0.05
"""Seconds between two pictures, at least."""
_SHARE = 0.6
"""Of a mask's colour in a masked pixel."""


class LiveView:
    """A picture that is drawn again, in its place, whenever the answer has grown."""

    def __init__(
        self,
        stream: TextIO,
        scheme: Scheme,
        image: Image,
        labels: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the picture, made small and grey.

        Args:
            stream: drawn on, if it is a terminal; else written to line by line.
            scheme: decodes.
            image: uint8[H, W, 3].
            labels: that the prompt admits.
            clock: seconds.
        """
        self._stream = stream
        self._scheme = scheme
        self._labels = tuple(labels)
        self._colours = label_colours(self._labels)
        self._clock = clock
        self._drawn = float("-inf")
        self._num_lines = 0
        self._ground = small(image)

    def title(self, text: str) -> None:
        """Say what is asked, above the picture."""
        self._stream.write(f"{text}\n")

    def __call__(self, growing: Growing) -> None:
        """Show how far an answer is."""
        now = self._clock()
        if not growing.ended and now - self._drawn < PAUSE:
            return
        self._drawn = now
        height, width = self._ground.shape[:2]
        decoded = growing.decode(self._scheme, (height, width), self._labels)
        if self._stream.isatty():
            self._draw(growing, decoded)
        else:
            self._stream.write(f"{self._numbers(growing, decoded)}\n")
        self._stream.flush()

    def _draw(self, growing: Growing, decoded: Decoded) -> None:
        columns = shutil.get_terminal_size().columns
        lines = picture_lines(painted(self._ground, decoded, self._labels, self._colours))
        descriptor = growing.text[growing.text.rfind(SEG_OPEN) :].replace("\n", " ")
        tail = "".join(c if c.isprintable() else "?" for c in descriptor)[-(columns - 1) :]
        lines += [tail, self._numbers(growing, decoded)[: columns - 1]]
        if self._num_lines:
            self._stream.write(f"\x1b[{self._num_lines}F")
        self._num_lines = len(lines)
        self._stream.write("".join(f"{line}\x1b[K\n" for line in lines))

    def _numbers(self, growing: Growing, decoded: Decoded) -> str:
        size = (self._ground.shape[0], self._ground.shape[1])
        covered = np.zeros(size, dtype=np.bool_)
        for label in self._labels:
            covered |= decoded.union(label, size)
        return (
            f"{growing.num_tokens} tokens in {growing.num_passes} passes "
            f"({growing.num_tokens / max(growing.num_passes, 1):.1f} a pass), "
            f"{covered.mean():.1%} of the picture masked" + (", done" if growing.ended else "")
        )


def small(image: Image) -> Image:
    """The picture in grey, uint8[h, w, 3], as the terminal has room for it; h is even."""
    from PIL import Image as Pictures

    height, width = image.shape[:2]
    terminal = shutil.get_terminal_size()
    most = min(COLUMNS, terminal.columns - 1)
    # Below the picture stand two lines and the cursor's; a drawing that scrolls leaves scraps.
    lines = max(1, terminal.lines - 3)
    scale = min(most / width, min(ROWS, 2 * lines) / height)
    columns, rows = max(1, round(width * scale)), max(2, 2 * int(height * scale / 2 + 1e-9))
    grey = Pictures.fromarray(image).convert("L").resize((columns, rows))
    return np.repeat(np.asarray(grey, dtype=np.uint8)[..., None] // 2 + 40, 3, axis=2)


def painted(
    ground: Image,
    decoded: Decoded,
    labels: Sequence[str],
    colours: dict[str, tuple[int, int, int]],
) -> Image:
    """``ground``, uint8[h, w, 3], with the regions of each label in its colour."""
    found: npt.NDArray[np.float32] = ground.astype(np.float32)
    for label in labels:
        mask = decoded.union(label, (ground.shape[0], ground.shape[1]))
        colour = np.array(colours[label], dtype=np.float32)
        found[mask] = (1 - _SHARE) * found[mask] + _SHARE * colour
    return found.astype(np.uint8)


def picture_lines(image: Image) -> list[str]:
    """uint8[h, w, 3], h even, as h / 2 lines of half-blocks in 24-bit colours."""
    lines = []
    for upper, lower in zip(image[0::2], image[1::2], strict=True):
        line, before = [], ""
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            code = "\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*top, *bottom)
            line.append((code if code != before else "") + HALF_BLOCK)
            before = code
        lines.append("".join(line) + "\x1b[0m")
    return lines
