"""What evaluation in space wrote of each window, read again for pictures and maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t4spp.errors import RunError
from t4spp.evaluation.predictions import predictions_path
from t4spp.report.runs import RunView

LAYERS_NAME = "layers.gpkg"


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowRow:
    """One window and label.

    Attributes:
        id: the sample's.
        scene: name of the scene.
        label: what was compared.
        iou: None where it was not scored.
        missed: share of the window's pixels; None where none counts.
        invented: likewise.
        crs: of the outline.
        outline: shapely polygon.
    """

    id: str
    scene: str
    label: str
    iou: float | None
    missed: float | None
    invented: float | None
    crs: str
    outline: Any


def layers_of(view: RunView) -> Path:
    """Where a run keeps the layers of the split that is shown."""
    return predictions_path(view.folder, view.split).with_name(f"{view.split}.{LAYERS_NAME}")


def read_window_rows(path: Path) -> list[WindowRow]:
    """The layers ``windows`` of a file that ``t4spp evaluate`` wrote; none where there is no file.

    Raises:
        RunError: the file is damaged.
    """
    if not path.is_file():
        return []
    import shapely
    from pyogrio import list_layers
    from pyogrio.errors import DataLayerError, DataSourceError, FieldError
    from pyogrio.raw import read

    rows = []
    try:
        names = [str(name) for name, _ in list_layers(path) if str(name).startswith("windows")]
        for name in names:
            meta, _, geometries, columns = read(path, layer=name)
            table = dict(zip(meta["fields"].tolist(), columns, strict=True))
            for index, geometry in enumerate(geometries):
                rows.append(
                    WindowRow(
                        id=str(table["id"][index]),
                        scene=str(table["scene"][index]),
                        label=str(table["label"][index]),
                        iou=_number(table["iou"][index]),
                        missed=_number(table["missed_share"][index]),
                        invented=_number(table["invented_share"][index]),
                        crs=str(meta["crs"]),
                        outline=shapely.get_geometry(shapely.from_wkb(geometry), 0),
                    )
                )
    except (DataSourceError, DataLayerError, FieldError, KeyError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}: {error}). Write it again with: "
            f"t4spp evaluate {path.parent.parent}"
        ) from error
    return rows


def _number(value: Any) -> float | None:
    number = float(value)
    return None if number != number else number
