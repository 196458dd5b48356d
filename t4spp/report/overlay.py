"""Masks drawn over a picture, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from t4spp.types import BoolMask, Box, Image, SoftMask

Colour = tuple[int, int, int]
"""Red, green, blue in 0..255."""

# Okabe and Ito's colours (black left out), then the darker ones of Tol's "muted" set, which
# differ from them in lightness and not in hue alone.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (51, 34, 136),
    (136, 34, 85),
    (17, 119, 51),
    (136, 204, 238),
    (221, 204, 119),
)


def label_colour(label: str) -> Colour:
    """The colour of a label; the same in every process and every picture."""
    return PALETTE[zlib.crc32(label.encode()) % len(PALETTE)]


def label_colours(labels: Iterable[str]) -> dict[str, Colour]:
    """A colour for each label, distinct while the palette lasts.

    Each label gets :func:`label_colour`, unless an alphabetically earlier label of this set holds
    it: then the next free colour. The order of ``labels`` does not matter.
    """
    colours: dict[str, Colour] = {}
    free = list(PALETTE)
    for label in sorted(set(labels)):
        wanted = label_colour(label)
        if free and wanted not in free:
            start = PALETTE.index(wanted)
            around = PALETTE[start:] + PALETTE[:start]
            wanted = next(colour for colour in around if colour in free)
        if wanted in free:
            free.remove(wanted)
        colours[label] = wanted
    return colours


def _dilate(mask: BoolMask) -> BoolMask:
    """Grow bool[H, W] by one pixel to its four neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _erode(mask: BoolMask) -> BoolMask:
    """Shrink bool[H, W] by one pixel; outside the picture counts as inside the mask.

    So no line runs along the picture's border where an object leaves the frame.
    """
    return ~_dilate(~mask)


def outline_of(mask: BoolMask, width: int = 1) -> BoolMask:
    """The pixels of bool[H, W] ``mask`` that lie within ``width`` of its edge.

    An object thinner than two widths is all outline; a mask that fills the picture has none but
    gets a frame, so that it can be seen at all.
    """
    inner = mask
    for _ in range(width):
        inner = _erode(inner)
    line = mask & ~inner
    if mask.any() and not line.any():
        line = mask.copy()
        line[width:-width, width:-width] = False
    return line


def draw_overlay(
    image: Image,
    regions: Sequence[tuple[str, BoolMask]],
    *,
    alpha: float = 0.45,
    outline: bool = True,
    fade: float = 0.0,
    colours: Mapping[str, Colour] | None = None,
) -> Image:
    """Draw masks over a picture.

    Outlines are opaque, with a dark halo outside, so that a one-pixel object stays visible and a
    mask stands out on a ground of its own colour. Regions are drawn in order; all outlines lie
    over all fills.

    Args:
        image: uint8[H, W, 3].
        regions: (label, bool[H, W]) pairs; a label may repeat (instances).
        alpha: opacity of the fill, 0..1.
        outline: draw outlines.
        fade: 0..1, how far the picture is greyed first, so that masks cannot be mistaken for it.
        colours: a colour by label, to share between pictures; labels not in it, and all labels by
            default, take :func:`label_colours`.

    Returns:
        uint8[H, W, 3], a new array.

    Raises:
        ValueError: a mask of another size than the picture, or ``alpha`` outside 0..1.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the picture must be uint8[H, W, 3], not shape {image.shape}")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in 0..1, not {alpha}")
    size = image.shape[:2]
    for label, mask in regions:
        if mask.shape != size:
            raise ValueError(f"the mask of {label!r} has shape {mask.shape}, the picture {size}")
    palette = {**label_colours(label for label, _ in regions), **(colours or {})}
    canvas = _faded(image, fade)
    for label, mask in regions:
        _blend(canvas, mask, palette[label], alpha)
    if outline:
        width = max(1, round(min(size) / 250))
        for label, mask in regions:
            line = outline_of(mask, width)
            _blend(canvas, _dilate(line) & ~mask, (0, 0, 0), 0.55)
            _blend(canvas, line, palette[label], 1.0)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _faded(image: Image, fade: float) -> npt.NDArray[np.float32]:
    """float32[H, W, 3]: less colour and less contrast, down to a pale grey picture at 1."""
    picture = image.astype(np.float32)
    pale = 0.45 * picture.mean(axis=2, keepdims=True) + 0.55 * 180.0
    faded: npt.NDArray[np.float32] = (1.0 - fade) * picture + fade * pale
    return faded


def _blend(
    canvas: npt.NDArray[np.float32], where: BoolMask, colour: Colour, opacity: float
) -> None:
    """Mix ``colour`` into float32[H, W, 3] ``canvas`` in place."""
    canvas[where] = (1.0 - opacity) * canvas[where] + opacity * np.asarray(colour, np.float32)


def draw_occupancy(
    image: Image,
    regions: Sequence[tuple[str, SoftMask]],
    boxes: Sequence[tuple[str, Box]] = (),
    *,
    alpha: float = 0.75,
    colours: Mapping[str, Colour] | None = None,
) -> Image:
    """Draw what a descriptor's grid says before thresholding: the fuller a cell, the stronger.

    Args:
        image: uint8[H, W, 3].
        regions: (label, float32[H, W] in 0..1) pairs.
        boxes: (label, box) pairs, drawn as frames.
        alpha: opacity where a cell is full.
        colours: a colour by label; :func:`label_colours` for those that it lacks.

    Returns:
        uint8[H, W, 3], a new array.
    """
    names = [label for label, _ in regions] + [label for label, _ in boxes]
    palette = {**label_colours(names), **(colours or {})}
    canvas = _faded(image, 1.0)
    for label, soft in regions:
        weight = (alpha * np.clip(soft, 0.0, 1.0))[..., np.newaxis]
        canvas = (1.0 - weight) * canvas + weight * np.asarray(palette[label], np.float32)
    width = max(1, round(min(image.shape[:2]) / 250))
    for label, box in boxes:
        frame = np.zeros(image.shape[:2], dtype=np.bool_)
        frame[box.slices] = True
        inner = np.zeros_like(frame)
        inner[box.y0 + width : max(box.y1 - width, 0), box.x0 + width : max(box.x1 - width, 0)] = (
            True
        )
        _blend(canvas, frame & ~inner, palette[label], 1.0)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
