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
"""Pixels along a side of a mask's picture."""
SHOWN = 12
"""Masks that are drawn."""
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
        found[event["step"], "iou" in event] = event
    return [found[key] for key in sorted(found)]


def draw_curve(events: Path, target: Path, title: str) -> None:
    """Loss and held-out IoU over steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_events(events)
    losses = [line for line in lines if "loss" in line]
    scores = [line for line in lines if "iou" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot([e["step"] for e in losses], [e["loss"] for e in losses], linewidth=0.8)
    left.set(title=f"{title}: loss", xlabel="step")
    keys = [key for key in (scores[-1] if scores else {}) if key.startswith("iou_")]
    for key in keys or ["iou"]:
        label = f"{key.removeprefix('iou_')} codes" if keys else "all codes"
        points = [e for e in scores if key in e]
        right.plot([e["step"] for e in points], [e[key] for e in points], marker=".", label=label)
    right.set(title="held-out mean IoU", xlabel="step")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", reverse=True)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)


def draw_reconstructions(tokenizer: MaskTokenizer, masks: Sequence[BoolMask], target: Path) -> None:
    """Masks, from the worst to the best, beside what prefixes of their codes say, as a PNG.

    White is kept, red lost, blue added.
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
    sheet = np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)
    Image.fromarray(sheet).save(target)


def _row(tokenizer: MaskTokenizer, mask: BoolMask, lengths: Sequence[int]) -> Pixels:
    codes = tokenizer.encode(field_of(mask, tokenizer.shape.side))
    size = (mask.shape[0], mask.shape[1])
    tiles = [_tile(mask, mask)]
    for length in lengths:
        found, _ = spread_logits(tokenizer.decode(codes[:length]), size)
        tiles.append(_tile(mask, found))
    padded = [np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for tile in tiles]
    return np.concatenate([*padded, np.full((TILE + GAP, 2 * GAP, 3), 255, np.uint8)], axis=1)


def _tile(mask: BoolMask, found: BoolMask) -> Pixels:
    """A mask and its copy in four colours, as large as fits a tile."""
    from PIL import Image

    colours: Any = np.array([[_NEITHER, _ADDED], [_LOST, _BOTH]], dtype=np.uint8)
    painted = colours[mask.astype(int), found.astype(int)]
    scale = TILE / max(mask.shape)
    height, width = (max(1, round(length * scale)) for length in mask.shape)
    picture = Image.fromarray(painted).resize((width, height), Image.Resampling.NEAREST)
    tile = np.full((TILE, TILE, 3), 255, dtype=np.uint8)
    top, left = (TILE - height) // 2, (TILE - width) // 2
    tile[top : top + height, left : left + width] = np.asarray(picture)
    return tile
