"""What evaluation in space draws: a GeoPackage of windows and objects with what they scored.

It opens in QGIS as it is. Layers: ``windows`` (what each window scored), ``predicted`` and ``true``
(objects, found or not). A layer has one CRS; scenes of another one have layers of their own, whose
names end in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from t4spp.errors import RunError
from t4spp.evaluation.spatial_scenes import SceneScore
from t4spp.evaluation.spatial_scores import SpatialScores
from t4spp.evaluation.spatial_windows import WindowAnswer
from t4spp.training.atomic import TEMPORARY_SUFFIX, discard

LAYERS_SUFFIX = ".layers.gpkg"
"""``predictions/<split>.layers.gpkg`` lies beside the answers."""

Rows = list[dict[str, Any]]


def layers_path(predictions: Path) -> Path:
    """Where the layers of a predictions file lie."""
    return predictions.with_name(f"{predictions.stem}{LAYERS_SUFFIX}")


def write_layers(path: Path, scores: SpatialScores) -> list[str]:
    """Write the GeoPackage completely or not at all; an earlier one is replaced.

    Args:
        path: the file.
        scores: of a split.

    Returns:
        The names of its layers.

    Raises:
        RunError: it cannot be written.
    """
    layers: dict[tuple[str, str], Rows] = {}
    for window in scores.windows:
        layers.setdefault(("windows", window.geo.crs), []).append(_window_row(window))
    for score in scores.scenes:
        layers.setdefault(("predicted", score.crs), []).extend(_predicted_rows(score))
        layers.setdefault(("true", score.crs), []).extend(_true_rows(score))
    names = _names(list(layers))
    partial = path.with_name(f"{path.stem}{TEMPORARY_SUFFIX}{path.suffix}")
    discard(partial)
    try:
        for number, (key, rows) in enumerate(layers.items()):
            _write(partial, names[key], key[1], rows, append=number > 0)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"the layers {path} cannot be written: {error}. Make room, or choose another run "
            "folder; --set evaluation.layers=false leaves them out."
        ) from error
    finally:
        discard(partial)
    return list(names.values())


def _names(keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A name a (kind, CRS): the kind alone for its first CRS."""
    names: dict[tuple[str, str], str] = {}
    for kind, crs in keys:
        name = kind
        if kind in names.values():
            stem = f"{kind}_{re.sub(r'[^A-Za-z0-9]+', '_', crs)[:20].strip('_')}"
            name, number = stem, 2
            while name in names.values():
                name, number = f"{stem}_{number}", number + 1
        names[kind, crs] = name
    return names


def _window_row(window: WindowAnswer) -> dict[str, Any]:
    counted = window.counted()
    total = int(np.count_nonzero(counted))
    truth, answer = window.truth() & counted, window.answer() & counted
    return {
        "geometry": footprint(window),
        "id": window.id,
        "scene": Path(window.scene).stem,
        "prompt": window.prompt,
        "label": window.label,
        "iou": window.iou,
        "status": window.status,
        "num_tokens": window.num_tokens,
        "true_share": np.count_nonzero(truth) / total if total else None,
        "predicted_share": np.count_nonzero(answer) / total if total else None,
        "missed_share": np.count_nonzero(truth & ~answer) / total if total else None,
        "invented_share": np.count_nonzero(answer & ~truth) / total if total else None,
        "tags": "|".join(window.tags),
    }


def footprint(window: WindowAnswer) -> Any:
    """The window as a shapely polygon in its scene's CRS."""
    import shapely

    a, b, c, d, e, f = window.geo.transform
    height, width = window.size
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in corners])


def _predicted_rows(score: SceneScore) -> Rows:
    matches, areas = score.objects.matches, score.objects.predicted_area
    return [
        {
            "geometry": polygon,
            "scene": score.name,
            "label": score.label,
            "area_m2": float(areas[index]),
            "found": bool(matches.true_of[index] >= 0),
            "iou": float(matches.ious[index]),
            "counts": bool(score.objects.predicted_counts[index]),
        }
        for index, polygon in enumerate(score.predicted)
    ]


def _true_rows(score: SceneScore) -> Rows:
    matches, areas = score.objects.matches, score.objects.true_area
    rows = []
    for index, polygon in enumerate(score.true):
        partner = int(matches.predicted_of[index])
        rows.append(
            {
                "geometry": polygon,
                "scene": score.name,
                "label": score.label,
                "area_m2": float(areas[index]),
                "found": partner >= 0,
                "iou": float(matches.ious[partner]) if partner >= 0 else 0.0,
                "counts": bool(score.objects.true_counts[index]),
            }
        )
    return rows


_FIELDS: Mapping[str, Any] = {"iou": np.float64, "area_m2": np.float64, "num_tokens": np.float64}
"""Columns that may be empty, or that are numbers; shares are among them by their name's end."""


def _write(path: Path, name: str, crs: str, rows: Rows, *, append: bool) -> None:
    import shapely
    from pyogrio.raw import write

    fields = [key for key in rows[0] if key != "geometry"] if rows else ["label"]
    columns = []
    for key in fields:
        values = [row[key] for row in rows]
        if key in _FIELDS or key.endswith("_share"):
            columns.append(np.array([np.nan if v is None else v for v in values], dtype=np.float64))
        elif values and isinstance(values[0], bool):
            columns.append(np.array(values, dtype=np.bool_))
        else:
            columns.append(np.array(values, dtype=object))
    geometries = np.array([shapely.to_wkb(_multi(row["geometry"])) for row in rows], dtype=object)
    write(
        path,
        geometries,
        columns,
        fields,
        layer=name,
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs=crs,
        append=append,
    )


def _multi(polygon: Any) -> Any:
    import shapely

    return polygon if polygon.geom_type == "MultiPolygon" else shapely.MultiPolygon([polygon])
