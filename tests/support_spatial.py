"""A scene on disk, windows over it and answers about them, as evaluation in space gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from t4spp.decoding.prediction import Prediction
from t4spp.evaluation.pairs import score_pairs
from t4spp.evaluation.spatial_windows import WindowAnswer, WindowCollector
from t4spp.geo.scenes import Scene, read_scene
from t4spp.geo.windows import Window, WindowView, plan_windows
from t4spp.types import BoolMask, Decoded, Region, Sample, Target

UTM = "EPSG:32616"


def write_scene(path: Path, size: tuple[int, int], *, pixel: float = 0.5, crs: str = UTM) -> Scene:
    """A grey GeoTIFF of square pixels, north up."""
    import rasterio
    from rasterio.transform import from_origin

    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=size[0],
        width=size[1],
        count=1,
        dtype="uint8",
        crs=crs,
        transform=from_origin(740_000.0, 3_720_000.0, pixel, pixel),
    ) as dataset:
        dataset.write(np.full((1, *size), 100, np.uint8))
    return read_scene(path)


def squares(size: tuple[int, int], *corners: tuple[int, int, int]) -> list[BoolMask]:
    """One mask of the scene a (top, left, side)."""
    masks = []
    for top, left, side in corners:
        mask = np.zeros(size, dtype=np.bool_)
        mask[top : top + side, left : left + side] = True
        masks.append(mask)
    return masks


def cut(mask: BoolMask, window: Window) -> BoolMask:
    """What a window shows of a scene's mask, padded with nothing, by the nearest pixel."""
    box = window.box
    whole = np.zeros((box.height, box.width), dtype=np.bool_)
    part = mask[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1]
    whole[: part.shape[0], : part.shape[1]] = part
    rows = ((np.arange(window.out_size[0]) + 0.5) * box.height / window.out_size[0]).astype(int)
    columns = ((np.arange(window.out_size[1]) + 0.5) * box.width / window.out_size[1]).astype(int)
    cut_out: BoolMask = whole[rows[:, None], columns]
    return cut_out


def answered(
    scene: Scene,
    view: WindowView,
    truth: Sequence[BoolMask],
    answer: Sequence[BoolMask],
    *,
    label: str = "building",
    ignore: BoolMask | None = None,
    num_tokens: int | None = 10,
) -> list[WindowAnswer]:
    """Windows over a scene whose truth and whose answers are masks of the whole scene."""
    collector = WindowCollector()
    for position, window in enumerate(plan_windows(scene, view)):
        here = None
        if ignore is not None or window.padded:
            beyond = np.ones(scene.size, dtype=np.bool_) if ignore is None else ~ignore
            here = ~cut(beyond, window)
        sample = Sample(
            id=f"{scene.name}/{position}",
            size=window.out_size,
            prompt=label,
            labels=(label,),
            targets=tuple(
                Target(label=label, mask=mask)
                for mask in (cut(mask, window) for mask in truth)
                if mask.any()
            ),
            ignore=here,
            geo=scene.geo(window.box, window.out_size),
        )
        decoded = Decoded(
            regions=tuple(
                Region(label=label, mask=mask)
                for mask in (cut(mask, window) for mask in answer)
                if mask.any()
            ),
            status="ok",
        )
        prediction = Prediction(
            id=sample.id,
            prompt=label,
            labels=(label,),
            text="",
            num_tokens=num_tokens,
            num_passes=1,
            seconds=0.1,
        )
        collector(position, sample, prediction, decoded, score_pairs(position, sample, decoded))
    return collector.windows
