"""A training's pictures: its curve, and masks beside what their codes say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.mask_tokenizer.tokenizer import MaskTokenizer
from t4spp.schemes.mask_fields import field_of, spread_logits
from t4spp.tokenizer_training.measuring import overlap, prefix_lengths
from t4spp.types import BoolMask

TILE = 96
"""Pixels along a side of a mask's picture, where several are in a row."""
SHOWN = 12
"""Masks that are drawn."""
CAPTION = 18
"""Height in pixels of the words under a row of pictures."""
GAP = 4
"""Pixels between pictures."""
_BOTH, _LOST, _ADDED, _NEITHER = (235, 235, 235), (222, 74, 60), (64, 132, 220), (32, 34, 40)

Pixels = npt.NDArray[np.uint8]
"""uint8[H, W, 3]."""


def read_events(path: Path) -> list[dict[str, float]]:
    """The lines of ``events.jsonl``; of a step that was taken twice, the later ones."""
    found: dict[tuple[float, bool], dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a killed process
        if isinstance(event, dict) and "step" in event:
            found[event["step"], "iou" in event] = event
    return [found[key] for key in sorted(found)]


def draw_curve(events: Path, target: Path, title: str) -> None:
    """Loss, and of held-out masks IoU, contour distance and codes in use, over steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_events(events)
    losses = [line for line in lines if "loss" in line]
    scores = [line for line in lines if "iou" in line]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
    (left, right), (apart, used) = figure.subplots(2, 2, sharex=True)
    left.plot([e["step"] for e in losses], [e["loss"] for e in losses], linewidth=0.8)
    left.set(title="loss of the step's masks")
    keys = [key for key in (scores[-1] if scores else {}) if key.startswith("iou_")]
    for key in keys or ["iou"]:
        number = key.removeprefix("iou_")
        label = ("1 code" if number == "1" else f"{number} codes") if keys else "all codes"
        points = [e for e in scores if key in e]
        right.plot([e["step"] for e in points], [e[key] for e in points], marker=".", label=label)
    right.set(title="held-out mean IoU")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", reverse=True)
    for axes, key, scale, name in (
        (apart, "contour_distance", 1, "held-out contours, pixels apart"),
        (used, "codes_used", 100, "codes in use, % of the codebook"),
    ):
        points = [e for e in scores if key in e]
        axes.plot([e["step"] for e in points], [scale * e[key] for e in points], marker=".")
        axes.set(title=name, xlabel="step")
    for axes in (left, right, apart, used):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)


def draw_reconstructions(tokenizer: MaskTokenizer, masks: Sequence[BoolMask], target: Path) -> None:
    """Masks, from the worst to the best, beside what prefixes of their codes say, as a PNG.

    White is kept, red lost, blue added; the numbers are IoU.
    """
    from PIL import Image

    lengths = prefix_lengths(tokenizer)
    side = tokenizer.shape.side
    scored = []
    for mask in masks[:240]:
        codes = tokenizer.encode(field_of(mask, side))
        found, _ = spread_logits(tokenizer.decode(codes), (mask.shape[0], mask.shape[1]))
        scored.append((overlap(found, mask), mask))
    scored.sort(key=lambda pair: pair[0])
    places = np.linspace(0, len(scored) - 1, min(SHOWN, len(scored))).round().astype(int)
    rows = [_row(tokenizer, scored[place][1], lengths) for place in places.tolist()]
    half = -(-len(rows) // 2)
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    names = ["mask", *("1 code" if length == 1 else f"{length} codes" for length in lengths)]
    heads = [_captions(names, _side(lengths))] * 2
    columns = [
        np.concatenate([head, *part])
        for head, part in zip(heads, (rows[:half], rows[half:]), strict=True)
        if part
    ]
    Image.fromarray(np.concatenate(columns, axis=1)).save(target)


def _row(tokenizer: MaskTokenizer, mask: BoolMask, lengths: Sequence[int]) -> Pixels:
    codes = tokenizer.encode(field_of(mask, tokenizer.shape.side))
    size = (mask.shape[0], mask.shape[1])
    side = _side(lengths)
    tiles, names = [_tile(mask, mask, side)], [f"{mask.shape[1]} x {mask.shape[0]} px"]
    for length in lengths:
        found, _ = spread_logits(tokenizer.decode(codes[:length]), size)
        tiles.append(_tile(mask, found, side))
        names.append(f"{overlap(found, mask):.2f}")
    padded = [np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in tiles]
    tiles_row = np.concatenate([*padded, np.full((side + GAP, 2 * GAP, 3), 255, np.uint8)], axis=1)
    return np.concatenate([tiles_row, _captions(names, side)])


def _side(lengths: Sequence[int]) -> int:
    """Of the tiles: two in a row have room for more than many have."""
    return TILE if len(lengths) > 1 else 2 * TILE


def _captions(names: Sequence[str], side: int) -> Pixels:
    """Words under or over a row of tiles, each in the middle of its own."""
    from PIL import Image, ImageDraw

    width = len(names) * (side + GAP) + 2 * GAP
    picture = Image.new("RGB", (width, CAPTION), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for place, name in enumerate(names):
        across = place * (side + GAP) + side / 2
        draw.text((across, CAPTION / 2 - 2), name, fill=_NEITHER, anchor="mm")
    return np.asarray(picture)


def _tile(mask: BoolMask, found: BoolMask, side: int) -> Pixels:
    """A mask and its copy in four colours, as large as fits a tile."""
    from PIL import Image

    colours: Any = np.array([[_NEITHER, _ADDED], [_LOST, _BOTH]], dtype=np.uint8)
    painted = colours[mask.astype(int), found.astype(int)]
    scale = side / max(mask.shape)
    height, width = (max(1, round(length * scale)) for length in mask.shape)
    picture = Image.fromarray(painted).resize((width, height), Image.Resampling.NEAREST)
    tile = np.full((side, side, 3), 255, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    tile[top : top + height, left : left + width] = np.asarray(picture)
    return tile
