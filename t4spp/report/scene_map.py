"""A segmented scene to look at: a quick-look picture, the difference from the truth, a map page.

The map is one file that asks the network for nothing: pictures inside as data URIs, outlines as
numbers, and a viewer of its own that pans, zooms and switches layers.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from t4spp.geo.crs import LONGITUDE_LATITUDE, name_of, reproject_points
from t4spp.geo.layers import Feature
from t4spp.geo.scenes import Scene
from t4spp.report.gallery import data_uri
from t4spp.report.html import environment, now, software_versions, write_page
from t4spp.report.overlay import Colour, draw_overlay, label_colours
from t4spp.types import BoolMask, Image

MISSED: Colour = (235, 20, 80)
"""True pixels that the mask lacks: crimson, as no label's colour is."""
INVENTED: Colour = (0, 220, 235)
"""Pixels of the mask that are not true: cyan, likewise."""
AGREED: Colour = (240, 240, 240)
"""Pixels that are inside in both."""
NO_DATA: Colour = (128, 130, 134)
MAP_MEGABYTES = 8.0
"""What the outlines on the page may weigh; the smallest objects are left out beyond it."""


def write_quicklook(path: Path, image: Image, masks: Mapping[str, BoolMask]) -> None:
    """A PNG of the scene with the masks over it.

    Args:
        path: of the PNG.
        image: uint8[h, w, 3], the scene's overview.
        masks: bool[h, w] by label.
    """
    _save(path, draw_overlay(image, list(masks.items()), alpha=0.4))


def write_difference(
    path: Path, image: Image, masks: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]
) -> None:
    """A PNG of where the masks and the truth differ, phrases below each other.

    Grey scene, white where both are inside, crimson what is missed, cyan what is invented.

    Args:
        path: of the PNG.
        image: uint8[h, w, 3], the scene's overview.
        masks: bool[P, h, w].
        true: bool[P, h, w].
    """
    panels = []
    for mask, truth in zip(masks, true, strict=True):
        panel = np.repeat((image.mean(axis=2, keepdims=True) * 0.5).astype(np.uint8), 3, axis=2)
        panel[mask & truth] = AGREED
        panel[truth & ~mask] = MISSED
        panel[mask & ~truth] = INVENTED
        panels.append(panel)
    _save(path, np.concatenate(panels, axis=0))


def write_map(
    path: Path,
    *,
    scene: Scene,
    image: Image,
    valid: BoolMask,
    masks: Mapping[str, BoolMask],
    true: Mapping[str, BoolMask] | None,
    objects: Sequence[Feature],
    num_objects: int,
    record: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        scene: its size, CRS and transform.
        image: uint8[h, w, 3], the scene's overview.
        valid: bool[h, w], where it has data.
        masks: bool[h, w] by label.
        true: bool[h, w] by label, where it is known.
        objects: the ones whose outlines are shown, large ones first.
        num_objects: of the whole layer.
        record: the content of ``scene.json``.

    Raises:
        RunError: the file cannot be written.
    """
    colours = label_colours(masks)
    picture = np.where(valid[..., None], image, np.array(NO_DATA, np.uint8)).astype(np.uint8)
    layers = [{"name": "picture", "kind": "picture", "uri": data_uri(picture), "shown": True}]
    for label, mask in masks.items():
        layers.append(
            {
                "name": label,
                "kind": "mask",
                "colour": _css(colours[label]),
                "uri": _tinted(mask, colours[label]),
                "shown": True,
            }
        )
        if true is not None:
            layers.append(
                {
                    "name": f"{label}: difference",
                    "kind": "difference",
                    "uri": _difference(mask, true[label]),
                    "shown": False,
                }
            )
    outlines = _outlines(objects, list(masks))
    data = {
        "size": list(scene.size),
        "transform": list(scene.transform),
        "crs": name_of(scene.crs),
        "metres": scene.pixel_size[1],
        "labels": [{"name": label, "colour": _css(colours[label])} for label in masks],
        "layers": layers,
        "objects": outlines,
    }
    page = (
        environment()
        .get_template("map.html")
        .render(
            title=scene.name,
            scene=scene,
            crs=name_of(scene.crs),
            corners=_corners(scene),
            record=record,
            colours={label: _css(colour) for label, colour in colours.items()},
            num_shown=len(outlines),
            num_objects=num_objects,
            has_truth=true is not None,
            missed=_css(MISSED),
            invented=_css(INVENTED),
            data=_script_json(data),
            versions=software_versions()[:2],
            written=now(),
        )
    )
    write_page(path, page)


def _outlines(objects: Sequence[Feature], labels: list[str]) -> list[dict[str, Any]]:
    """Rings as flat lists of scene pixels, tenths; as many objects as may stand on the page."""
    budget = MAP_MEGABYTES * 1e6
    found = []
    for feature in objects:
        shape = feature.outline
        parts = [shape] if shape.geom_type == "Polygon" else list(shape.geoms)
        rings = [
            [round(float(value), 1) for value in np.asarray(ring.coords)[:-1, :2].ravel()]
            for part in parts
            for ring in (part.exterior, *part.interiors)
        ]
        budget -= 7 * sum(map(len, rings)) + 80
        if budget < 0:
            break
        found.append(
            {
                "n": feature.number,
                "l": labels.index(feature.label),
                "a": round(feature.area, 1),
                "s": round(feature.score, 3),
                "w": feature.num_windows,
                "r": rings,
            }
        )
    return found


def _corners(scene: Scene) -> str | None:
    """Longitudes and latitudes that the scene spans; None where its CRS has none."""
    from t4spp.errors import GeoError

    try:
        x, y = reproject_points(scene.outline(), scene.crs, LONGITUDE_LATITUDE).T
    except GeoError:
        return None
    return f"{x.min():.5f} to {x.max():.5f} E, {y.min():.5f} to {y.max():.5f} N"


def _tinted(mask: BoolMask, colour: Colour) -> str:
    return _png(np.where(mask[..., None], np.array([*colour, 255], np.uint8), np.uint8(0)))


def _difference(mask: BoolMask, true: BoolMask) -> str:
    picture = np.zeros((*mask.shape, 4), dtype=np.uint8)
    picture[true & ~mask] = (*MISSED, 255)
    picture[mask & ~true] = (*INVENTED, 255)
    return _png(picture)


def _png(picture: npt.NDArray[np.uint8]) -> str:
    from PIL import Image as PILImage

    stream = io.BytesIO()
    PILImage.fromarray(picture).quantize(8).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _script_json(data: Any) -> str:
    """JSON that may stand inside a script element, whatever its texts hold."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _save(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    from PIL import Image as PILImage

    partial = path.with_name(f"{path.name}.writing")
    try:
        PILImage.fromarray(picture).save(partial, format="PNG")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
