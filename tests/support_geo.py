"""Scenes and vector layers that tests write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WEST, NORTH = 300_000.0, 4_000_000.0
"""UTM zone 33, metres; pixels are 0.5 m."""
UTM = "EPSG:32633"


def write_scene(
    path: Path,
    pixels: np.ndarray | None = None,
    *,
    side: int = 64,
    column: int = 0,
    row: int = 0,
    transform: tuple[float, ...] | None = None,
    crs: str | None = UTM,
    **profile: Any,
) -> Path:
    """A scene of side x side pixels; (0, 0) has its north-west corner at (WEST, NORTH)."""
    import rasterio

    path.parent.mkdir(exist_ok=True, parents=True)
    if pixels is None:
        pixels = np.full((3, side, side), 90, dtype=np.uint8)
    if transform is None:
        transform = (0.5, 0, WEST + 32 * column, 0, -0.5, NORTH - 32 * row)
    with rasterio.open(
        path,
        "w",
        driver=profile.pop("driver", "GTiff"),
        count=pixels.shape[0],
        height=pixels.shape[1],
        width=pixels.shape[2],
        dtype=pixels.dtype,
        crs=crs,
        transform=rasterio.Affine(*transform),
        **profile,
    ) as scene:
        scene.write(pixels)
    return path


def square(x0, y0, x1, y1, crs=UTM):
    """Coordinates of a rectangle given in pixels from the north-west corner of scene (0, 0)."""
    points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    xs = [WEST + 0.5 * x for x, _ in points]
    ys = [NORTH - 0.5 * y for _, y in points]
    if crs != UTM:
        from rasterio.warp import transform

        xs, ys = transform(UTM, crs, xs, ys)
    return [[list(pair) for pair in zip(xs, ys, strict=True)]]


def write_labels(path: Path, *coordinates, properties=(), crs="urn:ogc:def:crs:EPSG::32633"):
    """GeoJSON polygons; ``crs`` None leaves the member out."""
    features = [
        {
            "type": "Feature",
            "properties": properties[index] if properties else {},
            "geometry": {"type": "Polygon", "coordinates": item},
        }
        for index, item in enumerate(coordinates)
    ]
    content: dict[str, Any] = {"type": "FeatureCollection"}
    if crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content | {"features": features}))
    return path


def drawn(*boxes, size=(64, 64)):
    """bool[H, W] with rectangles (x0, y0, x1, y1)."""
    mask = np.zeros(size, dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask
